//! What the indexer says of `store`: rows of entries, outboxes and the service, as the bucket's protocol wrote them.
//!
//! The indexer is taken at its word here; what counts is in receipts, see [`super::verify`].

use bucket_core::cid::{CarId, Cid};
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_protocols::store::{Entry, Outbox, Provider, Row};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::car::{Hashed, check_hash};
use crate::dag_json;
use crate::error::ClientError;
use crate::fetch::Gateway;
use crate::ucan::{Held, Token};

/// Rows and buckets of one request: the most that the indexer gives.
const PAGE: usize = 1000;

/// A bucket in the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: BucketId,
    /// The root of its state: as long as it is the same, all rows are.
    pub root: String,
}

/// Rows of a bucket, at the epoch of the newest indexed tipset.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    /// That epoch.
    pub epoch: i64,
    /// Rows in the order of their keys.
    pub rows: Vec<Row>,
    /// What is wrong with those that can't be read.
    pub unreadable: Vec<String>,
}

pub(super) fn in_path(bucket: &BucketId) -> String {
    // A percent sign is the only character of a DID that a URL's path reads otherwise.
    bucket.as_str().replace('%', "%25")
}

fn epoch(page: &Value) -> i64 {
    page["head"]["epoch"].as_i64().unwrap_or_default()
}

/// All buckets that the indexer follows and that aren't halted, and the epoch of the newest indexed tipset.
pub async fn buckets(gateway: &Gateway) -> Result<(i64, Vec<Listed>), ClientError> {
    let (mut all, mut head) = (Vec::new(), i64::MAX);
    pages(gateway, &format!("v1/buckets?limit={PAGE}"), |page| {
        head = head.min(epoch(page));
        for item in page["items"].as_array().into_iter().flatten() {
            let id = item["id"].as_str().and_then(|id| id.parse().ok());
            if let (Some(id), Some(root), true) = (id, item["root"].as_str(), item["halted"].is_null()) {
                all.push(Listed { id, root: root.to_owned() });
            }
        }
    })
    .await?;
    Ok((head, all))
}

/// Who serves a bucket.
pub async fn provider(gateway: &Gateway, bucket: &BucketId) -> Result<Option<Provider>, ClientError> {
    let key = json!(["store", "provider"]);
    let found = rows(gateway, bucket, &format!("gte={key}&lte={key}")).await?;
    let mut found = found.readable()?.into_iter();
    Ok(found.find_map(|row| if let Row::Provider(provider) = row { Some(provider) } else { None }))
}

/// What waits to be done for a bucket's entries.
pub async fn outboxes(gateway: &Gateway, bucket: &BucketId) -> Result<(Rows, Vec<Outbox>), ClientError> {
    let mut found = rows(gateway, bucket, &below("outbox")).await?;
    let of = |row| if let Row::Outbox(outbox) = row { Some(outbox) } else { None };
    let outboxes = std::mem::take(&mut found.rows).into_iter().filter_map(of).collect();
    Ok((found, outboxes))
}

/// All entries of a bucket.
pub async fn entries(gateway: &Gateway, bucket: &BucketId) -> Result<Vec<Entry>, ClientError> {
    let found = rows(gateway, bucket, &below("entry")).await?.readable()?;
    Ok(found.into_iter().filter_map(|row| if let Row::Entry(entry) = row { Some(entry) } else { None }).collect())
}

/// The entry of a CAR, and the epoch of the newest indexed tipset.
pub async fn entry(gateway: &Gateway, bucket: &BucketId, link: &CarId) -> Result<(i64, Option<Entry>), ClientError> {
    let key = json!(["store", "entry", link.to_string()]);
    let found = rows(gateway, bucket, &format!("gte={key}&lte={key}")).await?;
    let epoch = found.epoch;
    let mut found = found.readable()?.into_iter();
    Ok((epoch, found.find_map(|row| if let Row::Entry(entry) = row { Some(entry) } else { None })))
}

/// The keys of `["store", kind, …]`: strings come before lists.
fn below(kind: &str) -> String {
    format!("gt={}&lt={}", json!(["store", kind]), json!(["store", kind, []]))
}

async fn rows(gateway: &Gateway, bucket: &BucketId, range: &str) -> Result<Rows, ClientError> {
    let mut found = Rows { epoch: i64::MAX, rows: vec![], unreadable: vec![] };
    pages(gateway, &format!("v1/buckets/{}/kv?limit={PAGE}&{range}", in_path(bucket)), |page| {
        found.epoch = found.epoch.min(epoch(page));
        for item in page["items"].as_array().into_iter().flatten() {
            match row(item) {
                Ok(row) => found.rows.extend(row),
                Err(why) => found.unreadable.push(format!("row {} of {bucket}: {why}", item["key"])),
            }
        }
    })
    .await?;
    Ok(found)
}

fn row(item: &Value) -> Result<Option<Row>, String> {
    let protocol = item["protocol"].as_str().unwrap_or_default();
    let value = |field: &str| dag_json::from_json(&item[field]).map_err(|error| error.to_string());
    let (key, value): (Ipld, Ipld) = (value("key")?, value("value")?);
    Row::read(protocol, &key, &value).map_err(|failure| failure.to_string())
}

impl Rows {
    /// The rows, when all of them can be read.
    fn readable(self) -> Result<Vec<Row>, ClientError> {
        match self.unreadable.into_iter().next() {
            Some(why) => Err(ClientError::Input(format!("{why}: is the indexer of another version?"))),
            None => Ok(self.rows),
        }
    }
}

async fn pages(gateway: &Gateway, path: &str, mut each: impl FnMut(&Value)) -> Result<(), ClientError> {
    let mut cursor = String::new();
    loop {
        let page = gateway.json(&format!("{path}{cursor}")).await?;
        each(&page);
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(()),
        }
    }
}

/// A block that the indexer serves, hashed again.
pub async fn block(gateway: &Gateway, cid: &Cid) -> Result<Vec<u8>, ClientError> {
    let (status, body) = gateway.get(&format!("ipfs/{cid}?format=raw"), "application/vnd.ipld.raw").await?;
    if status != StatusCode::OK {
        let why = format!("expected the block {cid}, got HTTP status {status}");
        return Err(ClientError::Indexer { url: gateway.url().to_owned(), why });
    }
    match check_hash(cid, &body) {
        Hashed::Same => Ok(body),
        _ => Err(ClientError::Mismatch { expected: cid.to_string(), got: "something else".into() }),
    }
}

/// The delegations of a provider's row.
pub async fn held(gateway: &Gateway, proofs: &[Cid]) -> Result<Vec<Held>, ClientError> {
    let mut held = Vec::new();
    for proof in proofs {
        held.push(Held::new(Token::new(block(gateway, proof).await?))?);
    }
    Ok(held)
}
