//! `/v1/buckets`: records and queues, read from the actor's state at the index's head.

use axum::Json;
use axum::extract::{Path, State};
use bucket_core::bucket::Bucket;
use bucket_core::car::Car;
use bucket_core::cid::{CarId, NativeHasher};
use bucket_core::did::BucketId;
use serde::{Deserialize, Serialize};

use super::error::ApiError;
use super::page::{Asked, At, List, actor_id, cursor, limit, read_cursor};
use super::{App, bucket_id};
use crate::store::{Created, Halt, StoreError, Tipset};
use crate::view::{self, Queued};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageQuery {
    cursor: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize)]
pub(super) struct BucketItem {
    id: String,
    mode: String,
    controllers: Vec<String>,
    root: String,
    pending: u64,
    ran: u64,
    created: At,
    halted: Option<HaltItem>,
}

#[derive(Serialize)]
struct HaltItem {
    epoch: i64,
    reason: String,
    ours: String,
    chain: String,
}

impl BucketItem {
    fn new(created: &Created, record: &Bucket, halts: &[Halt]) -> Self {
        let halt = halts.iter().find(|halt| halt.bucket == created.bucket.as_str());
        Self {
            id: created.bucket.to_string(),
            mode: record.mode.to_string(),
            controllers: record.controllers.iter().map(|id| actor_id(*id)).collect(),
            root: record.root.to_string(),
            pending: record.pending(),
            ran: record.ran,
            created: At::new(created.height, &created.tipset),
            halted: halt.cloned().map(|Halt { height, reason, ours, chain, .. }| HaltItem {
                epoch: height,
                reason,
                ours,
                chain,
            }),
        }
    }
}

pub(super) async fn list(
    State(app): State<App>,
    Asked(query): Asked<PageQuery>,
) -> Result<Json<List<BucketItem>>, ApiError> {
    let after: Option<String> = read_cursor(query.cursor.as_deref())?;
    let page = app.store.buckets(after.as_deref(), limit(query.limit)?).await?;
    let halts = app.store.halts().await?;
    let rows = page.rows.clone();
    let records = app.read(page.head.state, move |blocks, state| {
        rows.iter().map(|created| view::record(blocks, state, &created.bucket)).collect::<anyhow::Result<Vec<_>>>()
    });
    let records = records.await?;
    let items = page.rows.iter().zip(&records);
    let items =
        items.filter_map(|(created, record)| Some(BucketItem::new(created, record.as_ref()?, &halts))).collect();
    let last = page.rows.last().filter(|_| page.more);
    let cursor = last.map(|created| cursor(&created.bucket)).transpose()?;
    Ok(Json(List { head: At::from(&page.head), items, cursor }))
}

#[derive(Serialize)]
pub(super) struct One {
    head: At,
    #[serde(flatten)]
    bucket: BucketItem,
}

pub(super) async fn one(State(app): State<App>, Path(id): Path<String>) -> Result<Json<One>, ApiError> {
    let id = bucket_id(&id)?;
    let (head, created, record) = app.record(&id).await?;
    let halts = app.store.halts().await?;
    Ok(Json(One { head: At::from(&head), bucket: BucketItem::new(&created, &record, &halts) }))
}

#[derive(Serialize)]
pub(super) struct QueueItem {
    position: u64,
    car: CarId,
    cmd: String,
    caller: String,
    depth: u64,
    cause: Option<CarId>,
    force: bool,
}

impl QueueItem {
    fn new(record: &Bucket, queued: Queued) -> anyhow::Result<Self> {
        let Queued { number, item, car } = queued;
        let car = Car::decode::<NativeHasher>(car)?;
        let (depth, cause) = item.chain.map_or((0, None), |chain| (chain.depth, Some(chain.cause)));
        Ok(Self {
            position: number - record.head,
            car: car.id::<NativeHasher>(),
            cmd: view::task(&car)?.cmd,
            caller: actor_id(item.caller),
            depth,
            cause,
            force: item.force,
        })
    }
}

pub(super) async fn queue(
    State(app): State<App>,
    Path(id): Path<String>,
    Asked(query): Asked<PageQuery>,
) -> Result<Json<List<QueueItem>>, ApiError> {
    let id = app.following(&id)?;
    let from: u64 = read_cursor(query.cursor.as_deref())?.unwrap_or(0);
    let limit = limit(query.limit)?;
    let (head, _, record) = app.record(&id).await?;
    let (bucket, tail) = (record.clone(), record.tail);
    let items = app.read(head.state, move |blocks, _| {
        let queued = view::queue(blocks, &bucket, from, limit)?;
        let next = queued.last().map(|last| last.number + 1);
        let items: anyhow::Result<Vec<_>> = queued.into_iter().map(|queued| QueueItem::new(&bucket, queued)).collect();
        Ok((items?, next))
    });
    let (items, next) = items.await?;
    let cursor = next.filter(|next| *next < tail).map(|next| cursor(&next)).transpose()?;
    Ok(Json(List { head: At::from(&head), items, cursor }))
}

impl App {
    /// A bucket's record at the index's head.
    pub(super) async fn record(&self, id: &BucketId) -> Result<(Tipset, Created, Bucket), ApiError> {
        let unknown = || ApiError::BucketUnknown(id.to_string());
        let head = self.store.head().await?.ok_or(StoreError::Empty)?;
        let created = self.store.created(id).await?.ok_or_else(unknown)?;
        let bucket = id.clone();
        let record = self.read(head.state, move |blocks, state| view::record(blocks, state, &bucket)).await?;
        Ok((head, created, record.ok_or_else(unknown)?))
    }
}
