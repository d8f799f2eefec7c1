//! Software transactional memory: an atomic change of one entry, with the effects that it asks for.
//!
//! An entry lives at a [`Path`], in a *cell*: its state and, in the same bytes, the *outbox* of effects that are still to be
//! delivered. Both change together or not at all, so no effect is lost, and none is there that the state doesn't know of. A
//! cell's version is the CID of its bytes.
//!
//! [`transact`] reads a cell, lets a pure `update` decide, and swaps in what comes of it if the cell is still what was read.
//! Else it begins again: `update` may run many times, and only what the last run said counts. Entries at different paths have
//! nothing to do with each other.

mod cell;
// Threads are for native hosts.
#[cfg(not(target_family = "wasm"))]
mod shared;

use fvm_shared::clock::ChainEpoch;

pub use cell::{Cell, Item, Key};
#[cfg(not(target_family = "wasm"))]
pub use shared::Shared;

use crate::cid::{CarId, Cid, DAG_CBOR, sha2_cid};
use crate::dag_cbor::Ipld;
use crate::did::BucketId;
use crate::effect::Effect;
use crate::error::{Abort, Error, Failure};
use crate::limits::{OUTBOX_ITEMS_MAX, TRIES_MAX};
use crate::protocol::Cx;

/// Where an entry is: `[with, CAR]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path {
    /// The bucket.
    pub bucket: BucketId,
    /// What the entry is about.
    pub link: CarId,
}

/// What came of a [`Cells::swap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    /// The cell is the new one.
    Swapped,
    /// The cell was no longer what had been seen, and stays.
    Conflict,
}

/// Where cells are kept.
pub trait Cells {
    /// SHA-256, as the host computes it.
    fn sha2_256(&self, bytes: &[u8]) -> [u8; 32];

    /// The bytes of a cell.
    fn load(&self, path: &Path) -> Result<Option<Vec<u8>>, Error>;

    /// Puts `next` in place of the cell of version `seen` (`None`: of no cell), at once and only of that.
    fn swap(&mut self, path: &Path, seen: Option<Cid>, next: Vec<u8>) -> Result<Swap, Error>;
}

/// What an update decides.
#[derive(Debug, Clone, PartialEq)]
pub struct Update<T> {
    /// The new state; `None` leaves it as it is.
    pub state: Option<Ipld>,
    /// Effects for the outbox, behind those in it.
    pub effects: Vec<(Key, Effect)>,
    /// Effects that are answered and leave the outbox. Those that aren't in it do no harm.
    pub settled: Vec<Key>,
    /// The answer.
    pub out: T,
}

impl<T> Update<T> {
    /// Nothing changes.
    pub fn same(out: T) -> Self {
        Self { state: None, effects: vec![], settled: vec![], out }
    }
}

/// A transaction that came to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Done<T> {
    /// What the update answered, in the try that counted.
    pub out: T,
    /// How many times the update ran.
    pub tries: u32,
    /// The cell before.
    pub before: Option<Cell>,
    /// The cell after.
    pub after: Option<Cell>,
}

/// Changes the entry at `path` as `update` says, all or nothing, at epoch `now`. `update` gets the state, or `None` where there
/// is none; it may run many times and has to be free of side effects.
///
/// Nothing is written when nothing changes.
///
/// # Errors
/// - Those of `update` and of `cells`, at once.
/// - [`Failure`] `Contended`, when others were quicker [`TRIES_MAX`] times.
/// - [`Failure`] `OutboxFull`, `CellTooLarge`, `EffectInvalid`: the new cell is out of bounds.
pub fn transact<C: Cells, T>(
    cells: &mut C,
    path: &Path,
    now: ChainEpoch,
    update: impl Fn(Option<&Ipld>) -> Result<Update<T>, Error>,
) -> Result<Done<T>, Error> {
    for tries in 1..=TRIES_MAX {
        let seen = cells.load(path)?;
        let before = seen.as_deref().map(|bytes| Cell::decode(bytes, path)).transpose()?;
        let Update { state, effects, settled, out } = update(before.as_ref().map(|cell| &cell.state))?;
        let after = step(before.clone(), state, effects, &settled, now)?;
        if after == before {
            return Ok(Done { out, tries, before, after });
        }
        let next = after.as_ref().map_or_else(|| Ok(vec![]), Cell::encode)?;
        // After this point only the cells may say no.
        let version = seen.map(|bytes| sha2_cid(DAG_CBOR, &cells.sha2_256(&bytes)));
        if cells.swap(path, version, next)? == Swap::Swapped {
            return Ok(Done { out, tries, before, after });
        }
    }
    let message =
        format!("expected to change the entry of {} within {TRIES_MAX} tries, got a conflict each time", path.link);
    Err(Failure::new("Contended", message).into())
}

/// The cell with an update's changes.
fn step(
    before: Option<Cell>,
    state: Option<Ipld>,
    effects: Vec<(Key, Effect)>,
    settled: &[Key],
    since: ChainEpoch,
) -> Result<Option<Cell>, Error> {
    let (state, mut outbox) = match (before, state) {
        (Some(cell), state) => (state.unwrap_or(cell.state), cell.outbox),
        (None, Some(state)) => (state, vec![]),
        (None, None) if effects.is_empty() => return Ok(None),
        (None, None) => return Err(Abort::State("effects of an entry that has no state".into()).into()),
    };
    outbox.retain(|item| !settled.contains(&item.key));
    for (key, effect) in effects {
        effect.check().map_err(|error| Failure::new("EffectInvalid", error.to_string()))?;
        if outbox.iter().any(|item| item.key == key) {
            return Err(Abort::State(format!("effect {key} is in the outbox already")).into());
        }
        outbox.push(Item { key, since, effect });
    }
    if outbox.len() > OUTBOX_ITEMS_MAX {
        let message = format!("expected at most {OUTBOX_ITEMS_MAX} effects to wait for delivery, got {}", outbox.len());
        return Err(Failure::new("OutboxFull", message).into());
    }
    Ok(Some(Cell { state, outbox }))
}

/// A bucket's cells on chain. Within a message nobody else writes, so there are no conflicts.
impl Cells for Cx<'_> {
    fn sha2_256(&self, bytes: &[u8]) -> [u8; 32] {
        Cx::sha2_256(self, bytes)
    }

    fn load(&self, path: &Path) -> Result<Option<Vec<u8>>, Error> {
        if path.bucket != *self.bucket() {
            return Err(Abort::State(format!("a cell of {} was asked for in {}", path.bucket, self.bucket())).into());
        }
        self.get(&path.link.0)
    }

    fn swap(&mut self, path: &Path, seen: Option<Cid>, next: Vec<u8>) -> Result<Swap, Error> {
        let version = self.load(path)?.map(|bytes| sha2_cid(DAG_CBOR, &Cx::sha2_256(self, &bytes)));
        if version != seen {
            return Ok(Swap::Conflict);
        }
        self.put(&path.link.0, next);
        Ok(Swap::Swapped)
    }
}
