//! `/v1/buckets/{id}/kv`: a range of the rows that protocols wrote for the bucket, in the order of their keys.

use axum::Json;
use axum::extract::{Path, State};
use bucket_core::dag_cbor::{self, Ipld};
use bucket_protocols::kv::charwise;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::App;
use super::error::ApiError;
use super::page::{Asked, At, List, cursor, dag_json, limit, read_cursor};
use crate::store::{Range, Row};

/// Values of one page, in bytes; one more row may go over it.
const PAGE_BYTES: usize = 4 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RangeQuery {
    gt: Option<String>,
    gte: Option<String>,
    lt: Option<String>,
    lte: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    reverse: bool,
    cursor: Option<String>,
}

/// The row that a page ended with.
#[derive(Serialize, Deserialize)]
struct Mark {
    key: Vec<u8>,
    protocol: String,
}

#[derive(Serialize)]
pub(super) struct RowItem {
    key: Box<RawValue>,
    value: Box<RawValue>,
    protocol: String,
}

impl RowItem {
    fn new(row: Row) -> Result<Self, ApiError> {
        let value = dag_cbor::decode(&row.value).map_err(|error| ApiError::Internal(error.into()))?;
        Ok(Self { key: dag_json(&decoded(row.key))?, value: dag_json(&value)?, protocol: row.protocol })
    }
}

/// The key's value; a key that isn't charwise is shown as bytes.
fn decoded(key: Vec<u8>) -> Ipld {
    let value = std::str::from_utf8(&key).ok().and_then(|text| charwise::decode(text).ok());
    value.unwrap_or(Ipld::Bytes(key))
}

/// The encoding of a bound that is given as JSON.
fn bound(name: &str, json: &str) -> Result<Vec<u8>, ApiError> {
    let invalid = |why: String| ApiError::KeyInvalid(format!("{name}: {why}"));
    let value: Ipld = serde_ipld_dagjson::from_slice(json.as_bytes())
        .map_err(|_| invalid(format!("expected a key as JSON, like [\"a\"] or \"a\", got {json}")))?;
    charwise::encode(&value).map(String::into_bytes).map_err(|error| invalid(error.to_string()))
}

/// The least byte string behind `key`.
fn behind(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

impl RangeQuery {
    fn range(&self) -> Result<Range, ApiError> {
        let of = |name, json: &Option<String>| json.as_deref().map(|json| bound(name, json)).transpose();
        let both = |a: &str, b: &str| ApiError::QueryInvalid(format!("expected {a} or {b}, got both"));
        let from = match (of("gte", &self.gte)?, of("gt", &self.gt)?) {
            (Some(_), Some(_)) => return Err(both("gt", "gte")),
            (Some(key), None) => key,
            (None, Some(key)) => behind(key),
            (None, None) => vec![],
        };
        let to = match (of("lt", &self.lt)?, of("lte", &self.lte)?) {
            (Some(_), Some(_)) => return Err(both("lt", "lte")),
            (Some(key), None) => Some(key),
            (None, key) => key.map(behind),
        };
        let mark: Option<Mark> = read_cursor(self.cursor.as_deref())?;
        Ok(Range {
            from,
            to,
            after: mark.map(|mark| (mark.key, mark.protocol)),
            reverse: self.reverse,
            limit: limit(self.limit)?,
            bytes: PAGE_BYTES,
        })
    }
}

pub(super) async fn range(
    State(app): State<App>,
    Path(id): Path<String>,
    Asked(query): Asked<RangeQuery>,
) -> Result<Json<List<RowItem>>, ApiError> {
    let bucket = app.following(&id)?;
    let page = app.store.rows(&bucket, &query.range()?).await?;
    let page = page.ok_or_else(|| ApiError::BucketUnknown(bucket.to_string()))?;
    let last = page.rows.last().filter(|_| page.more);
    let mark = last.map(|row| cursor(&Mark { key: row.key.clone(), protocol: row.protocol.clone() })).transpose()?;
    let items = page.rows.into_iter().map(RowItem::new).collect::<Result<_, _>>()?;
    Ok(Json(List { head: At::from(&page.head), items, cursor: mark }))
}
