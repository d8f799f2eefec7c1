//! The head of the chain: what the index says it is, the push's receipt verified against the chain, and the tree's nodes.

use std::collections::BTreeSet;

use bucket_core::car::Car;
use bucket_core::cid::{CarId, NativeHasher};
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::task::Task;
use bucket_protocols::space::head::Head;
use bucket_protocols::space::push::PUSH;
use reqwest::StatusCode;

use super::evidence::{self, Vouched};
use super::kept::{Evidence, Holds as _};
use super::model::is_later;
use super::remote::{Moved, Remote};
use super::settle::settle;
use super::store::Replica;
use super::{SpaceError, millis, provider};
use crate::actor::ActorClient;
use crate::dag_json;
use crate::error::ClientError;
use crate::fetch::{Fetched, Gateway};
use crate::task;

/// What a pull did.
#[derive(Debug, Clone, PartialEq)]
pub struct Pulled {
    /// The head now.
    pub head: Head,
    /// The push that led to it, if anybody ever pushed.
    pub car: Option<CarId>,
    /// What moved.
    pub moved: Moved,
    /// Whether the head is a new one.
    pub advanced: bool,
    /// The chain took back the head that was here.
    pub taken_back: bool,
    /// Who signed its receipt.
    pub signer: Option<BucketId>,
    /// Whether that is somebody whom this replica didn't trust before, and doesn't yet.
    pub stranger: bool,
}

/// A head that the chain committed to.
struct Found {
    head: Head,
    evidence: Evidence,
    signer: Option<BucketId>,
}

impl Found {
    /// What the index says while nobody has pushed.
    fn nothing() -> Self {
        Self { head: Head::empty::<NativeHasher>(), evidence: Evidence::default(), signer: None }
    }
}

/// Brings a replica to the chain's head. Its edits wait on.
pub async fn pull(replica: &Replica, client: &ActorClient) -> Result<Pulled, ClientError> {
    let gateway = client.gateway()?;
    let remote = Remote::new(gateway.url())?;
    // Makes the replica, if it is a new one.
    let before = replica.write(|kept| kept.head())?;
    provider::learn(replica, client).await?;
    learn_revocations(replica, client).await?;
    let found = find(replica.space(), client, gateway).await?.unwrap_or_else(Found::nothing);
    let stranger = replica.write(|kept| Ok(!found.signer.as_ref().map_or(Ok(true), |signer| kept.meet(signer))?))?;
    let mut taken_back = false;
    if is_later(&before, &found.head) {
        taken_back = !still_there(replica, client, &before).await?;
    }
    let mut moved = Moved::default();
    if taken_back || is_later(&found.head, &before) {
        moved = remote.complete(replica, &found.head.root).await?;
    }
    replica.write(|kept| match taken_back {
        true => kept.go(&found.head, &found.evidence),
        false => kept.advance(&found.head, &found.evidence).map(drop),
    })?;
    settle(replica, client).await?;
    let values = remote.values(replica).await?;
    moved = Moved { values: values.values, bytes: moved.bytes + values.bytes, ..moved };
    let (head, (car, _)) = replica.read(|kept| Ok((kept.head()?, kept.evidence()?)))?;
    let advanced = head != before;
    Ok(Pulled { head, car, moved, advanced, taken_back, signer: found.signer, stranger })
}

/// Whether the chain still has the push that led to the replica's head: then the index is behind.
async fn still_there(replica: &Replica, client: &ActorClient, head: &Head) -> Result<bool, ClientError> {
    let (Some(car), _) = replica.read(|kept| kept.evidence())? else { return Ok(false) };
    let out = client.outcome(replica.space(), &car).await?;
    Ok(out.and_then(|out| Head::from_ipld(&out.ok()?).ok()).as_ref() == Some(head))
}

/// One row of the index that the protocol wrote; anybody may write rows of the same key by another.
pub(super) async fn row(
    space: &BucketId,
    gateway: &Gateway,
    protocol: &str,
    key: &str,
) -> Result<Option<Ipld>, ClientError> {
    // A percent sign is the only character of a DID that a URL's path reads otherwise.
    let did = space.as_str().replace('%', "%25");
    let key = format!("[\"{protocol}\",\"{key}\"]");
    let page = gateway.json(&format!("v1/buckets/{did}/kv?gte={key}&lte={key}")).await?;
    let rows = page["items"].as_array().into_iter().flatten();
    let own = rows.into_iter().find(|row| row["protocol"] == protocol);
    own.map(|row| dag_json::from_json(&row["value"])).transpose()
}

/// Asks the chain which delegations of edits that wait were taken back, and whether those still are that were.
async fn learn_revocations(replica: &Replica, client: &ActorClient) -> Result<(), ClientError> {
    let known = replica.read(|kept| kept.revocable())?;
    if known.is_empty() {
        return Ok(());
    }
    let mut revocations = client.revocations(replica.space()).await?;
    let mut revoked = BTreeSet::new();
    for mark in known {
        if revocations.has(&mark).await? {
            revoked.insert(mark);
        }
    }
    Ok(replica.write(|kept| kept.set_revoked(&revoked))?)
}

async fn find(space: &BucketId, client: &ActorClient, gateway: &Gateway) -> Result<Option<Found>, ClientError> {
    let Some(row) = row(space, gateway, "space", "head").await? else { return Ok(None) };
    let wrong = |why: String| ClientError::Indexer { url: gateway.url().to_owned(), why };
    let head = Head::from_ipld(&row).map_err(wrong)?;
    let link = if let Ipld::Map(row) = &row { row.get("car") } else { None };
    let car = match link {
        Some(Ipld::Link(cid)) => CarId::try_from(cid).map_err(|error| wrong(error.to_string()))?,
        _ => return Err(wrong("expected the head's “car” to be a link, got something else".into())),
    };
    verify(space, client, gateway, head, car).await.map(Some)
}

/// Checks that the chain committed to a receipt of this push, and that it tells this head.
async fn verify(
    space: &BucketId,
    client: &ActorClient,
    gateway: &Gateway,
    head: Head,
    car: CarId,
) -> Result<Found, ClientError> {
    let fetched = client.fetch_receipt(space, &car).await?;
    // What other commands answer is what their callers like.
    let asked = asked(gateway, &car).await?;
    let told = head_of(&fetched);
    if asked.cmd != PUSH || told.as_ref() != Some(&head) {
        let expected = format!("the receipt of a push that led to edit {} with root {}", head.seq, head.root);
        let got = format!("that of {} {}", asked.cmd, told.map_or_else(String::new, |told| told.root.to_string()));
        return Err(ClientError::Mismatch { expected, got });
    }
    let (signed, signer) = signed(space, gateway, &head, &car).await?.unzip();
    Ok(Found { head, evidence: Evidence { car: Some(car), signed }, signer })
}

/// What a CAR that ran asked for.
pub(super) async fn asked(gateway: &Gateway, car: &CarId) -> Result<Task, ClientError> {
    let car = Car::decode::<NativeHasher>(gateway.fetch(car).await?).map_err(bucket_core::error::Abort::Car)?;
    Ok(task::asked(&car)?)
}

/// The head that a receipt tells.
pub(super) fn head_of(fetched: &Fetched) -> Option<Head> {
    fetched.receipt.out.as_ref().ok().and_then(|out| Head::from_ipld(out).ok())
}

/// The receipt as the indexer signs it, and who that is. An indexer that can't is no reason to refuse the head.
pub(super) async fn signed(
    space: &BucketId,
    gateway: &Gateway,
    head: &Head,
    car: &CarId,
) -> Result<Option<(Vec<u8>, BucketId)>, ClientError> {
    let did = space.as_str().replace('%', "%25");
    let path = format!("v1/buckets/{did}/receipts/{car}/signed?format=ucan");
    let (status, bytes) = gateway.get(&path, "application/vnd.ipld.car").await?;
    if status != StatusCode::OK {
        return Ok(None);
    }
    let vouched = evidence::read(&bytes, space, millis() / 1000)?;
    match vouched {
        Vouched { head: told, by, .. } if told == *head => Ok(Some((bytes, by))),
        Vouched { head: told, .. } => {
            Err(SpaceError::Evidence(format!("expected root {}, got {}", head.root, told.root)).into())
        }
    }
}
