//! The walk from a header to an entry, which prover and verifier take alike.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use bucket_core::abi::{ReceiptReturn, Status};
use bucket_core::bucket::{Bucket, Entry, Receipts};
use bucket_core::cid::{CarId, NativeHasher};
use bucket_core::dag_cbor;
use bucket_core::error::Abort;
use bucket_core::state;
use bucket_rpc::json::{BlockHeader, blake2b_cid};
use cid::Cid;
use fvm_ipld_blockstore::Blockstore;
use fvm_ipld_hamt::Hamt;
use fvm_shared::HAMT_BIT_WIDTH;
use fvm_shared::address::Address;
use fvm_shared::state::{ActorState, StateRoot, StateTreeVersion};

use super::{Proof, ProofError, Query};

/// Blocks by their CIDs. Nothing gets in that wasn't hashed and isn't strict DAG-CBOR.
#[derive(Debug, Default)]
pub(super) struct Blocks(BTreeMap<Cid, Vec<u8>>);

impl Blocks {
    /// Takes a block that should have this CID.
    pub(super) fn add(&mut self, expected: Cid, data: Vec<u8>) -> Result<(), ProofError> {
        let got = blake2b_cid(&data);
        if got != expected {
            return Err(ProofError::Hash { expected, got: got.into() });
        }
        dag_cbor::validate(&data).map_err(|error| block("strict DAG-CBOR", &expected, error))?;
        match self.0.insert(expected, data) {
            None => Ok(()),
            Some(_) => Err(ProofError::Twice(expected)),
        }
    }

    pub(super) fn cids(&self) -> impl Iterator<Item = &Cid> {
        self.0.keys()
    }

    /// Looks up what is asked. [`ProofError::Missing`] names the next block that the way leads to.
    pub(super) fn walk(&self, query: &Query) -> Result<Proof, ProofError> {
        let trail = Trail { blocks: &self.0, seen: RefCell::default(), missing: Cell::default() };
        let end = walk(&trail, query);
        // Those who read through the trail tell of a missing block in words.
        if let Some(missing) = trail.missing.get() {
            return Err(ProofError::Missing(missing));
        }
        let End { height, code, bucket_exists, found } = end?;
        Ok(Proof { query: query.clone(), height, code, bucket_exists, found, blocks: trail.seen.into_inner() })
    }
}

/// A store that remembers which blocks were read, in the order of the first reading, and which one was missing.
struct Trail<'b> {
    blocks: &'b BTreeMap<Cid, Vec<u8>>,
    seen: RefCell<Vec<(Cid, Vec<u8>)>>,
    missing: Cell<Option<Cid>>,
}

impl Blockstore for Trail<'_> {
    fn get(&self, cid: &Cid) -> anyhow::Result<Option<Vec<u8>>> {
        let Some(data) = self.blocks.get(cid) else {
            self.missing.set(Some(*cid));
            return Ok(None);
        };
        let mut seen = self.seen.borrow_mut();
        if !seen.iter().any(|(known, _)| known == cid) {
            seen.push((*cid, data.clone()));
        }
        Ok(Some(data.clone()))
    }

    fn put_keyed(&self, cid: &Cid, _: &[u8]) -> anyhow::Result<()> {
        anyhow::bail!("expected only reads, got a write of {cid}")
    }
}

impl Trail<'_> {
    fn block(&self, cid: &Cid) -> Result<Vec<u8>, ProofError> {
        // A store of blocks in memory doesn't fail.
        self.get(cid).ok().flatten().ok_or(ProofError::Missing(*cid))
    }
}

struct End {
    height: i64,
    code: Cid,
    bucket_exists: bool,
    found: ReceiptReturn,
}

fn walk(trail: &Trail<'_>, query: &Query) -> Result<End, ProofError> {
    let header = header(trail, &query.header)?;
    let actors = actors(trail, &header.parent_state_root)?;
    let actor = actor(trail, &actors, query)?;
    let bucket = match state::bucket::<_, NativeHasher>(trail, &actor.state, &query.bucket) {
        Ok(bucket) => Some(bucket),
        Err(Abort::BucketUnknown(_)) => None,
        Err(error) => return Err(ProofError::State(error)),
    };
    let found = match &bucket {
        Some(bucket) => found(trail, bucket, &query.car)?,
        None => ReceiptReturn { status: Status::NotFound, receipt: None, version: 0, position: None },
    };
    Ok(End { height: header.height, code: actor.code, bucket_exists: bucket.is_some(), found })
}

fn header(trail: &Trail<'_>, cid: &Cid) -> Result<BlockHeader, ProofError> {
    const WHAT: &str = "a block header";
    let bytes = trail.block(cid)?;
    let header = BlockHeader::from_cbor(&bytes).map_err(|error| block(WHAT, cid, error))?;
    match header.to_cbor() {
        Ok(again) if again == bytes => Ok(header),
        _ => Err(block(WHAT, cid, "its encoding is not the one that is hashed on the chain")),
    }
}

/// The root of the actors' HAMT.
fn actors(trail: &Trail<'_>, cid: &Cid) -> Result<Cid, ProofError> {
    const WHAT: &str = "the root of a state tree of version 5";
    let root: StateRoot = fvm_ipld_encoding::from_slice(&trail.block(cid)?).map_err(|error| block(WHAT, cid, error))?;
    // Before version 5 an actor had no f4 address: its encoding was another one.
    match root.version {
        StateTreeVersion::V5 => Ok(root.actors),
        other => Err(block(WHAT, cid, format!("got version {}", other as u64))),
    }
}

fn actor(trail: &Trail<'_>, actors: &Cid, query: &Query) -> Result<ActorState, ProofError> {
    let wrong = |error: fvm_ipld_hamt::Error| block("a HAMT of actors", actors, error);
    let hamt = Hamt::<_, ActorState>::load_with_bit_width(actors, trail, HAMT_BIT_WIDTH).map_err(wrong)?;
    let found = hamt.get(&Address::new_id(query.actor).to_bytes()).map_err(wrong)?;
    found.cloned().ok_or(ProofError::ActorMissing { actor: query.actor, header: query.header })
}

/// What the actor's `Receipt` answers for such a bucket (`bucket_core::execute::receipt`).
fn found(trail: &Trail<'_>, bucket: &Bucket, car: &CarId) -> Result<ReceiptReturn, ProofError> {
    let receipts = Receipts::<_, NativeHasher>::load(trail, &bucket.receipts, "receipts").map_err(ProofError::State)?;
    let entry: Entry = receipts.get(&car.0).map_err(ProofError::State)?.unwrap_or_default();
    let before = |number: u64| {
        let error = || ProofError::State(Abort::State(format!("task {number} is before the queue's head")));
        number.checked_sub(bucket.head).ok_or_else(error)
    };
    let position = entry.pending.map(before).transpose()?;
    let status = match (entry.receipt, position) {
        (Some(_), _) => Status::Done,
        (None, Some(_)) => Status::Pending,
        (None, None) => Status::NotFound,
    };
    Ok(ReceiptReturn { status, receipt: entry.receipt, version: entry.version, position })
}

fn block(what: &'static str, cid: &Cid, why: impl ToString) -> ProofError {
    ProofError::Block { what, cid: (*cid).into(), why: why.to_string() }
}
