//! `/v1/buckets/{id}/receipts`: what ran, in its order, and what came of one CAR.

use axum::Json;
use axum::extract::{Path, State};
use bucket_core::cid::{CarId, NativeHasher};
use bucket_core::receipt::Receipt;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

use super::App;
use super::error::ApiError;
use super::page::{Asked, At, List, actor_id, cursor, dag_json, limit, read_cursor};
use crate::store::{Place, Placed};
use crate::view;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    cursor: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    reverse: bool,
}

#[derive(Serialize)]
pub(super) struct ReceiptItem {
    ran: CarId,
    receipt: CarId,
    ok: bool,
    version: u64,
    cmd: String,
    epoch: i64,
    tipset: Vec<String>,
    /// Whether the chain can't take it back any more.
    r#final: bool,
    message: String,
    caller: String,
    cause: Option<CarId>,
    forks: Vec<CarId>,
    links: Links,
}

#[derive(Serialize)]
struct Links {
    ran: String,
    receipt: String,
}

impl ReceiptItem {
    fn new(placed: Placed, finalized: i64) -> Self {
        let Placed { executed, place, tipset } = placed;
        let At { epoch, tipset } = At::new(place.height, &tipset);
        let link = |id: &CarId| format!("/ipfs/{id}?format=car");
        Self {
            links: Links { ran: link(&executed.ran), receipt: link(&executed.receipt) },
            ran: executed.ran,
            receipt: executed.receipt,
            ok: executed.ok,
            version: executed.version,
            cmd: executed.cmd,
            epoch,
            tipset,
            r#final: epoch <= finalized,
            message: executed.message.to_string(),
            caller: actor_id(executed.caller),
            cause: executed.cause,
            forks: executed.forks,
        }
    }
}

/// Where a page ended. With the tipset's key, so that a reorganisation in between is noticed.
#[derive(Serialize, Deserialize)]
struct Mark {
    height: i64,
    at: i64,
    tipset: String,
}

pub(super) async fn list(
    State(app): State<App>,
    Path(id): Path<String>,
    Asked(query): Asked<ListQuery>,
) -> Result<Json<List<ReceiptItem>>, ApiError> {
    let bucket = app.following(&id)?;
    let limit = limit(query.limit)?;
    let mark: Option<Mark> = read_cursor(query.cursor.as_deref())?;
    if let Some(mark) = &mark
        && app.store.tipset(&mark.tipset).await?.is_none()
    {
        return Err(ApiError::CursorReverted);
    }
    let after = mark.map(|Mark { height, at, .. }| Place { height, at });
    let page = app.store.executions(&bucket, after, limit, query.reverse).await?;
    let page = page.ok_or_else(|| ApiError::BucketUnknown(bucket.to_string()))?;
    let last = page.rows.last().filter(|_| page.more);
    let mark =
        last.map(|placed| Mark { height: placed.place.height, at: placed.place.at, tipset: placed.tipset.clone() });
    let cursor = mark.map(|mark| cursor(&mark)).transpose()?;
    let finalized = app.status.get().finalized.unwrap_or(i64::MIN);
    let items = page.rows.into_iter().map(|placed| ReceiptItem::new(placed, finalized)).collect();
    Ok(Json(List { head: At::from(&page.head), items, cursor }))
}

/// What is known of a CAR.
#[derive(Serialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub(super) enum One {
    Done {
        head: At,
        /// How many tasks are before it, when it is to run again.
        position: Option<u64>,
        #[serde(flatten)]
        item: Box<ReceiptItem>,
        /// The receipt's `out`, as DAG-JSON.
        out: Box<RawValue>,
    },
    Pending {
        head: At,
        /// How many tasks are before it.
        position: u64,
    },
}

pub(super) async fn one(
    State(app): State<App>,
    Path((id, car)): Path<(String, String)>,
) -> Result<Json<One>, ApiError> {
    let bucket = app.following(&id)?;
    let car: CarId = car.parse().map_err(|error| ApiError::CarIdInvalid(format!("{error}")))?;
    let (head, _, record) = app.record(&bucket).await?;
    let first = record.head;
    let entry = app.read(head.state, move |blocks, _| view::entry(blocks, &record, &car)).await?;
    let position = entry.pending.map(|number| number.saturating_sub(first));
    let head = At::from(&head);
    match (app.store.execution(&bucket, &car).await?, position) {
        (Some(placed), position) => {
            let out = app.out(&placed.executed.receipt).await?;
            let finalized = app.status.get().finalized.unwrap_or(i64::MIN);
            let item = Box::new(ReceiptItem::new(placed, finalized));
            Ok(Json(One::Done { head, position, item, out }))
        }
        (None, Some(position)) => Ok(Json(One::Pending { head, position })),
        (None, None) => Err(ApiError::ReceiptNotFound(car.to_string())),
    }
}

impl App {
    /// The bytes of a CAR that the index names.
    pub(super) async fn car(&self, id: &CarId) -> Result<Bytes, ApiError> {
        let missing = || ApiError::Internal(anyhow::anyhow!("{id} is indexed, but its CAR is missing"));
        self.cars.get(id).await?.ok_or_else(missing)
    }

    /// A receipt's `out` as it stands there: `{"ok": …}` or `{"error": {name, message}}`.
    async fn out(&self, receipt: &CarId) -> Result<Box<RawValue>, ApiError> {
        let bytes = self.car(receipt).await?;
        let receipt =
            Receipt::from_car::<NativeHasher>(bytes.to_vec()).map_err(|error| ApiError::Internal(error.into()))?;
        let (key, value) = match receipt.out {
            Ok(value) => ("ok", dag_json(&value)?),
            Err(failure) => {
                let error = serde_json::json!({"name": failure.name, "message": failure.message});
                ("error", serde_json::value::to_raw_value(&error).map_err(|error| ApiError::Internal(error.into()))?)
            }
        };
        serde_json::value::to_raw_value(&BTreeMap::from([(key, value)]))
            .map_err(|error| ApiError::Internal(error.into()))
    }
}
