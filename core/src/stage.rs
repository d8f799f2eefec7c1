//! Staging: a CAR that is too large for one message comes in pieces, from anybody, and then runs by its id alone.
//!
//! `Stage` names the CAR, its size and the hash of each piece; `Chunk` brings a piece, in any order; with the last one the
//! whole is hashed, and from then on it is ready for everybody. What is staged stays in state at the sender's cost, so each
//! sender may have [`STAGES_MAX`] of them, and after [`STAGE_EPOCHS`] anybody may `Drop` them. The pieces are RAW blocks and
//! are never put together in state: a queue's item links to them.

use std::collections::BTreeMap;

use cid::Cid;
use fvm_ipld_blockstore::Blockstore;
use fvm_ipld_encoding::tuple::*;
use fvm_shared::ActorID;
use fvm_shared::clock::ChainEpoch;

use crate::abi::{ChunkParams, DropParams, Returned, StageParams, StageReturn};
use crate::cid::{CarId, DAG_CBOR, Hasher, RAW};
use crate::error::Abort;
use crate::execute::Applied;
use crate::host::Host;
use crate::limits::{CHUNK_BYTES_MAX, CHUNKS_MAX, STAGE_EPOCHS, STAGED_BYTES_MAX, STAGES_MAX};
use crate::map::{Bytes, Map};
use crate::open::{State, get, put};
use crate::state::{self, STAGES};

/// A CAR that is staged.
#[derive(Debug, Clone, PartialEq, Serialize_tuple, Deserialize_tuple)]
pub struct Stage {
    /// Who staged it.
    pub owner: ActorID,
    /// Its size in bytes.
    pub size: u64,
    /// After this epoch anybody may drop it.
    pub expires: ChainEpoch,
    /// Its pieces.
    pub chunks: Vec<Chunk>,
}

/// A piece.
#[derive(Debug, Clone, PartialEq, Serialize_tuple, Deserialize_tuple)]
pub struct Chunk {
    /// Its SHA-256, while it is missing.
    pub hash: Option<Bytes>,
    /// Then where it is.
    pub link: Option<Cid>,
}

/// HAMT\[owner (8 bytes, big-endian), CAR id (32 bytes)\]Stage while pieces are missing, \[CAR id\]Stage when it is ready, and
/// \[owner\]u64, how many an owner has of both.
type Stages<'s, S, H> = Map<'s, S, H, Stage>;

fn open_key(owner: ActorID, car: &CarId) -> Vec<u8> {
    [&owner.to_be_bytes()[..], &car.0].concat()
}

/// Whether a key of the map is that of a CAR whose pieces are all there.
pub(crate) fn is_ready(key: &[u8]) -> bool {
    key.len() == 32
}

/// Whether a key of the map is that of an owner's count.
pub(crate) fn is_count(key: &[u8]) -> bool {
    key.len() == 8
}

impl Stage {
    fn missing(&self) -> Vec<u64> {
        (0..).zip(&self.chunks).filter(|(_, chunk)| chunk.link.is_none()).map(|(index, _)| index).collect()
    }

    /// The pieces, when all are there.
    pub(crate) fn pieces(&self) -> Result<Vec<Cid>, Abort> {
        let missing = || Abort::State("a piece of a ready CAR is missing".into());
        self.chunks.iter().map(|chunk| chunk.link.ok_or_else(missing)).collect()
    }

    /// The CAR, put together.
    pub(crate) fn read<S: Blockstore>(&self, store: &S) -> Result<Vec<u8>, Abort> {
        let mut car = Vec::new();
        for piece in self.pieces()? {
            car.extend(get(store, &piece, "a piece of a CAR")?);
        }
        Ok(car)
    }

    fn told(&self, car: CarId) -> StageReturn {
        StageReturn { car, missing: self.missing(), expires: self.expires }
    }
}

/// The map of what is staged, open for one message.
struct Opened<'s, 'h, H: Host> {
    state: &'s mut State<'h, H>,
    stages: Stages<'h, H::Store, H::Hasher>,
}

fn load<'h, H: Host>(state: &State<'h, H>) -> Result<Stages<'h, H::Store, H::Hasher>, Abort> {
    match state.buckets.get_as::<Cid>(STAGES)? {
        Some(root) => Stages::load(state.host.store(), &root, "stages"),
        None => Ok(Stages::empty(state.host.store(), "stages")),
    }
}

impl<'s, 'h, H: Host> Opened<'s, 'h, H> {
    fn new(state: &'s mut State<'h, H>) -> Result<Self, Abort> {
        let stages = load(state)?;
        Ok(Self { state, stages })
    }

    fn count(&mut self, owner: ActorID, change: impl FnOnce(u64) -> u64) -> Result<(), Abort> {
        let key = owner.to_be_bytes();
        match change(self.stages.get_as(&key)?.unwrap_or_default()) {
            0 => self.stages.delete(&key).map(drop),
            count => self.stages.set_as(&key, &count),
        }
    }

    /// Writes the map, or takes it out of the state when nothing is staged any more: equal states have equal roots.
    fn close(mut self) -> Result<(), Abort> {
        if self.stages.is_empty() {
            return self.state.buckets.delete(STAGES).map(drop);
        }
        let root = self.stages.flush()?;
        self.state.buckets.set_as(STAGES, &root)
    }
}

fn invalid<T>(why: String) -> Result<T, Abort> {
    Err(Abort::StageInvalid(why))
}

fn check_params(params: &StageParams) -> Result<(), Abort> {
    let (size, count) = (params.size, params.chunks.len());
    if size == 0 || size > STAGED_BYTES_MAX as u64 {
        return invalid(format!("expected a CAR of 1 to {STAGED_BYTES_MAX} bytes, got one of {size}"));
    }
    if count == 0 || count > CHUNKS_MAX {
        return invalid(format!("expected 1 to {CHUNKS_MAX} pieces, got {count}"));
    }
    match params.chunks.iter().find(|hash| hash.0.len() != 32) {
        Some(hash) => invalid(format!("expected the SHA-256 of each piece, 32 bytes, got {}", hash.0.len())),
        None => Ok(()),
    }
}

/// `Stage`: begins, or answers how far it is. To begin anew with other pieces, drop it first.
pub(crate) fn stage<H: Host>(host: &H, root: &Cid, params: StageParams) -> Result<Applied, Abort> {
    check_params(&params)?;
    let mut state = State::load(host, root)?;
    let (owner, car) = (host.caller(), params.car);
    let mut open = Opened::new(&mut state)?;
    if let Some(stage) = open.stages.get(&car.0)?.or(open.stages.get(&open_key(owner, &car))?) {
        return Ok(Applied::quiet(*root, Returned::Stage(stage.told(car))));
    }
    if open.stages.get_as::<u64>(&owner.to_be_bytes())?.unwrap_or_default() >= STAGES_MAX {
        return Err(Abort::StagesFull(owner));
    }
    let chunks = params.chunks.into_iter().map(|hash| Chunk { hash: Some(hash), link: None }).collect();
    let stage = Stage { owner, size: params.size, expires: host.epoch() + STAGE_EPOCHS, chunks };
    open.stages.set(&open_key(owner, &car), &stage)?;
    open.count(owner, |count| count + 1)?;
    open.close()?;
    Ok(Applied::quiet(state.flush()?, Returned::Stage(stage.told(car))))
}

/// `Chunk`: takes a piece; with the last one the CAR is ready.
pub(crate) fn chunk<H: Host>(host: &H, root: &Cid, params: ChunkParams) -> Result<Applied, Abort> {
    let ChunkParams { car, index, data } = params;
    if data.len() > CHUNK_BYTES_MAX {
        return invalid(format!("expected a piece of at most {CHUNK_BYTES_MAX} bytes, got {}", data.len()));
    }
    let mut state = State::load(host, root)?;
    let owner = host.caller();
    let key = open_key(owner, &car);
    let mut open = Opened::new(&mut state)?;
    let Some(mut stage) = open.stages.get(&key)? else {
        return match open.stages.get(&car.0)? {
            Some(ready) => Ok(Applied::quiet(*root, Returned::Chunk(ready.told(car)))),
            None => Err(Abort::StageUnknown(car)),
        };
    };
    let count = stage.chunks.len();
    let place = usize::try_from(index).ok().and_then(|index| stage.chunks.get_mut(index));
    let Some(place) = place else { return invalid(format!("expected a piece from 0 to {}, got {index}", count - 1)) };
    match &place.hash {
        Some(hash) if hash.0[..] == H::Hasher::sha2_256(&data) => {}
        Some(_) => return invalid(format!("piece {index} doesn't have the hash that was announced")),
        None => return Ok(Applied::quiet(*root, Returned::Chunk(stage.told(car)))),
    }
    *place = Chunk { hash: None, link: Some(put(host.store(), RAW, &data, "a piece of a CAR")?) };
    if stage.missing().is_empty() {
        verify::<H>(host, &stage, &car)?;
        open.stages.delete(&key)?;
        open.ready(&car, &stage)?;
    } else {
        open.stages.set(&key, &stage)?;
    }
    open.close()?;
    Ok(Applied::quiet(state.flush()?, Returned::Chunk(stage.told(car))))
}

fn verify<H: Host>(host: &H, stage: &Stage, car: &CarId) -> Result<(), Abort> {
    let bytes = stage.read(host.store())?;
    let (size, got) = (stage.size, CarId::of::<H::Hasher>(&bytes));
    if bytes.len() as u64 != size || got != *car {
        let got = format!("{} bytes of {got}", bytes.len());
        return invalid(format!("expected the pieces to be {size} bytes of {car}, got {got}: drop it and begin anew"));
    }
    Ok(())
}

impl<H: Host> Opened<'_, '_, H> {
    /// Files a complete CAR under its id. One that is there already stays for the longer of both times.
    fn ready(&mut self, car: &CarId, stage: &Stage) -> Result<(), Abort> {
        let Some(there) = self.stages.get(&car.0)? else { return self.stages.set(&car.0, stage) };
        self.count(stage.owner, |count| count.saturating_sub(1))?;
        let expires = there.expires.max(stage.expires);
        self.stages.set(&car.0, &Stage { expires, ..there })
    }
}

/// `Drop`: what is incomplete by its owner at any time, everything by anybody once it is old. A ready CAR may be what others
/// count on, who staged the same.
pub(crate) fn drop_stage<H: Host>(host: &H, root: &Cid, params: DropParams) -> Result<Applied, Abort> {
    let DropParams { car, owner } = params;
    let mut state = State::load(host, root)?;
    let mut open = Opened::new(&mut state)?;
    let ready = open.stages.get(&car.0)?.filter(|stage| stage.owner == owner);
    let (key, theirs) = match ready {
        Some(_) => (car.0.to_vec(), false),
        None => (open_key(owner, &car), host.caller() == owner),
    };
    let stage = open.stages.get(&key)?.ok_or(Abort::StageUnknown(car))?;
    if !theirs && host.epoch() <= stage.expires {
        return Err(Abort::StageKept { car, expires: stage.expires });
    }
    open.stages.delete(&key)?;
    open.count(owner, |count| count.saturating_sub(1))?;
    open.close()?;
    let told = StageReturn { car, missing: vec![], expires: stage.expires };
    Ok(Applied::quiet(state.flush()?, Returned::Drop(told)))
}

/// A CAR that is ready.
pub(crate) fn find<H: Host>(state: &State<'_, H>, car: &CarId) -> Result<Stage, Abort> {
    load(state)?.get(&car.0)?.ok_or(Abort::StageUnknown(*car))
}

/// Forgets a CAR that was scheduled or ran.
pub(crate) fn take<H: Host>(state: &mut State<'_, H>, car: &CarId) -> Result<(), Abort> {
    let mut open = Opened::new(state)?;
    let Some(stage) = open.stages.get(&car.0)? else { return Ok(()) };
    open.stages.delete(&car.0)?;
    open.count(stage.owner, |count| count.saturating_sub(1))?;
    open.close()
}

/// The list of a CAR's pieces, as a queue's item links to it.
pub(crate) fn list<H: Host>(host: &H, stage: &Stage) -> Result<Cid, Abort> {
    let list = fvm_ipld_encoding::to_vec(&stage.pieces()?);
    let list = list.map_err(|error| Abort::State(format!("failed to list a CAR's pieces: {error}")))?;
    put(host.store(), DAG_CBOR, &list, "the list of a CAR's pieces")
}

/// What must hold of what is staged: owners' counts, and complete CARs.
pub(crate) fn check<S: Blockstore, H: Hasher>(
    store: &S,
    root: &Cid,
    violations: &mut Vec<String>,
) -> Result<(), Abort> {
    let Some(stages) = state::buckets::<S, H>(store, root)?.get_as::<Cid>(STAGES)? else { return Ok(()) };
    let stages = Stages::<S, H>::load(store, &stages, "stages")?;
    let (mut counts, mut owned) = (BTreeMap::new(), BTreeMap::<ActorID, u64>::new());
    stages.each_of(is_count, |key, count: u64| {
        counts.insert(key.try_into().map_or(0, u64::from_be_bytes), count);
    })?;
    let mut ready = Vec::new();
    stages.each_of(
        |key| !is_count(key),
        |key, stage: Stage| {
            *owned.entry(stage.owner).or_default() += 1;
            if is_ready(key) {
                ready.push((key.to_vec(), stage));
            }
        },
    )?;
    if counts != owned {
        violations.push(format!("staged CARs of owners: {owned:?}, counted {counts:?}"));
    }
    for (key, stage) in ready {
        if CarId::of::<H>(&stage.read(store)?).0[..] != key[..] {
            violations.push("a staged CAR is ready, and is another".into());
        }
    }
    Ok(())
}
