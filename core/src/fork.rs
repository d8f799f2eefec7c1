//! Continuations on their way: packed while their task runs, checked against the right that it has, and then put into a
//! bucket's queue, here or in another instance of the actor.
//!
//! What can't go to a bucket of this instance is a failure of the task that asks for it. What another instance refuses is told
//! by a receipt of the continuation itself, `Undelivered`, in the bucket that asked for it.

use std::cell::RefCell;
use std::collections::BTreeMap;

use fvm_shared::ActorID;

use crate::abi::DeliverParams;
use crate::authority;
use crate::batch::{Execution, Ready, settle};
use crate::bucket::{Chain, Entry, Item};
use crate::car::{Car, CarError};
use crate::cid::{CarId, Cid, Hasher};
use crate::create;
use crate::dag_cbor;
use crate::did::BucketId;
use crate::error::{Abort, Error, Failure, explain};
use crate::host::Host;
use crate::limits::{
    CAR_BYTES_MAX, FORK_BYTES_MAX, FORK_SIGNATURES_MAX, GAS_BASE, GAS_BYTE, GAS_READ, GAS_SEND, GAS_SIGNATURE,
    PROOFS_MAX,
};
use crate::open::{Open, State};
use crate::protocol::{Ask, Call, Fork, Machine, Packed, Reply};
use crate::right::{self, Asked, Asker, Right};

/// What a running task can reach.
pub(crate) struct Reach<'a, 'h, H: Host> {
    pub state: &'a State<'h, H>,
    pub open: &'a Open<'h, H>,
    /// The right of each task of the batch, by its CAR.
    pub rights: BTreeMap<CarId, &'a Right>,
    pub planned: &'a RefCell<Planned>,
}

/// What the tasks before asked for in the same message, in whichever round, and no map shows yet.
#[derive(Clone, Default)]
pub(crate) struct Planned {
    /// Continuations for a bucket, of each caller.
    queued: BTreeMap<BucketId, BTreeMap<ActorID, u64>>,
    brought: BTreeMap<[u8; 32], CarId>,
}

/// Turns what the machine refuses into a failure; what is broken stays an abort.
fn refused(abort: Abort) -> Error {
    match abort {
        Abort::State(_) => abort.into(),
        no => Failure::new("ForkRefused", no.to_string()).into(),
    }
}

fn invalid(error: CarError) -> Error {
    Failure::new("ForkInvalid", error.to_string()).into()
}

impl<H: Host> Machine for Reach<'_, '_, H> {
    fn sha2_256(&self, data: &[u8]) -> [u8; 32] {
        H::Hasher::sha2_256(data)
    }

    fn pack(&self, forks: Vec<Fork>, call: &Call<'_>) -> Result<Vec<Packed>, Error> {
        let mut planned = self.planned.borrow().clone();
        let (mut bytes, mut signatures) = (0, 0);
        let one = |fork| {
            let packed = self.pack_one(fork, call, &mut planned, &mut signatures)?;
            bytes += packed.car.len();
            match bytes > FORK_BYTES_MAX {
                true => Err(too_large(FORK_BYTES_MAX, "continuations", " together")),
                false => Ok(packed),
            }
        };
        let packed = forks.into_iter().map(one).collect::<Result<_, _>>()?;
        *self.planned.borrow_mut() = planned;
        Ok(packed)
    }
}

fn too_large(most: usize, what: &str, how: &str) -> Error {
    Failure::new("ForkTooLarge", format!("expected {what} of at most {most} bytes{how}, got more")).into()
}

/// A CAR of an invocation that is a block of another one, with the blocks that it links to.
fn signed<H: Hasher>(source: &Car, cid: &Cid) -> Result<Vec<u8>, Error> {
    let (Some(block), Some(value)) = (source.block(cid), source.value(cid)) else {
        return Err(Failure::new("ForkInvalid", format!("expected the invocation {cid} in the CAR, got none")).into());
    };
    let mut wanted = Vec::new();
    dag_cbor::links(&value, &mut wanted);
    let mut transaction = source.pack::<H>(wanted).map_err(invalid)?;
    transaction.write_block(cid.codec(), block);
    Ok(transaction.commit().expect("the invocation was written"))
}

impl<H: Host> Reach<'_, '_, H> {
    fn pack_one(
        &self,
        fork: Fork,
        call: &Call<'_>,
        planned: &mut Planned,
        signatures: &mut usize,
    ) -> Result<Packed, Error> {
        let bytes = match &fork.ask {
            Ask::Task(task) => task.to_car_from::<H::Hasher>(call.car).map_err(invalid)?,
            Ask::Signed(cid) => signed::<H::Hasher>(call.car, cid)?,
        };
        if bytes.len() > CAR_BYTES_MAX {
            return Err(too_large(CAR_BYTES_MAX, "a continuation", ""));
        }
        let car = Car::decode::<H::Hasher>(bytes).map_err(invalid)?;
        let asked = Asked::read::<H::Hasher>(&car).map_err(refused)?;
        if matches!(fork.ask, Ask::Signed(_)) && asked.request.is_none() {
            return Err(Failure::new("ForkInvalid", "expected a signed invocation, got something else").into());
        }
        *signatures += asked.request.as_ref().map_or(0, |request| 1 + request.proofs.len());
        if *signatures > FORK_SIGNATURES_MAX {
            let message = format!("expected at most {FORK_SIGNATURES_MAX} signatures of all continuations, got more");
            return Err(Failure::new("ForksMany", message).into());
        }
        authority::check_name::<H::Hasher>(&asked.task, &car).map_err(|denied| refused(denied.into()))?;
        let at = fork.at.filter(|at| *at != self.open.host.this());
        // If it could not be delivered, its receipt would be taken for one of this bucket's own CARs, which then never runs.
        if let Some(at) = at.filter(|_| asked.task.sub == self.open.id) {
            let message = format!("expected another bucket in f0{at}, got the bucket that asks");
            return Err(Failure::new("ForkRefused", message).into());
        }
        let full = match at {
            Some(_) => false,
            None => self.admit(&car, &asked, call, planned)?,
        };
        let (id, signed, speaks) = (asked.id, asked.signed::<H::Hasher>(), self.right(call).is_full());
        Ok(Packed { id, car: car.into_bytes(), task: asked.task, signed, at, full, speaks })
    }

    /// Whether a continuation may go into a queue of this instance, and with all rights.
    fn admit(&self, car: &Car, asked: &Asked, call: &Call<'_>, planned: &mut Planned) -> Result<bool, Error> {
        if let Some(invocation) = asked.signed::<H::Hasher>() {
            let by = *planned.brought.entry(invocation).or_insert(asked.id);
            if by != asked.id {
                return Err(refused(Abort::Replayed(by)));
            }
        }
        if asked.task.sub == self.open.id {
            return self.admit_own(car, asked, call);
        }
        let mut target = self.state.open(&asked.task.sub).map_err(refused)?;
        if target.entry(&asked.id)? != Entry::default() {
            // It is there already, and nothing will come of it.
            return Ok(false);
        }
        // Whoever may do a little on this bucket doesn't speak for it.
        let from = self.right(call).is_full().then_some(&self.open.id);
        let asker = Asker::Bucket { from, caller: call.caller, issuer: call.issuer };
        let right = right::check(&target, car, asked, asker).map_err(refused)?;
        let queued = planned.queued.entry(target.id.clone()).or_default();
        let mine = queued.entry(call.caller).or_default();
        target.check_sender(call.caller, *mine).map_err(refused)?;
        *mine += 1;
        target.check_room(queued.values().sum::<u64>() - 1).map_err(refused)?;
        Ok(right.is_full())
    }

    fn right(&self, call: &Call<'_>) -> &Right {
        self.rights.get(&call.id).copied().unwrap_or(&Right::Open)
    }

    fn admit_own(&self, car: &Car, asked: &Asked, call: &Call<'_>) -> Result<bool, Error> {
        let open = self.open;
        if asked.request.is_some() {
            let asker = Asker::Bucket { from: Some(&open.id), caller: call.caller, issuer: call.issuer };
            return Ok(right::check(open, car, asked, asker).map_err(refused)?.is_full());
        }
        let right = self.right(call);
        if right.covers(open, &asked.task)? {
            return Ok(right.is_full());
        }
        let message = format!("expected a continuation within the right of its cause, got {}", asked.task.cmd);
        Err(Failure::new("ForkRefused", message).into())
    }
}

/// A continuation that goes elsewhere once all tasks of the message have run.
pub(crate) struct Outgoing {
    pub packed: Packed,
    pub chain: Chain,
    pub caller: ActorID,
}

/// Puts a continuation into its bucket's queue, unless this very CAR ran before or is pending there.
pub(crate) fn accept<H: Host>(open: &mut Open<'_, H>, outgoing: Outgoing) -> Result<Entry, Abort> {
    let Outgoing { packed, chain, caller } = outgoing;
    let known = open.entry(&packed.id)?;
    if known != Entry::default() {
        return Ok(known);
    }
    if let Some(invocation) = packed.signed {
        open.set_brought(&invocation, packed.id)?;
    }
    if chain.foreign {
        open.count_in(caller)?;
    }
    let item = Item { car: open.write_car(&packed.car)?, caller, force: false, chain: Some(chain), hook: None };
    open.enqueue(&packed.id, known, &item)?;
    open.entry(&packed.id)
}

/// Delivers what goes to other buckets, in order, and answers the exit codes of other instances. `open` is the bucket that
/// sends; what could not be delivered becomes one of its receipts.
pub(crate) fn send_all<'h, H: Host>(
    state: &mut State<'h, H>,
    open: &mut Open<'h, H>,
    outgoing: Vec<Outgoing>,
    ran: &mut Vec<Execution>,
) -> Result<Vec<u32>, Abort> {
    let mut sent = Vec::new();
    for outgoing in outgoing {
        let Some(at) = outgoing.packed.at else {
            let mut target = state.open(&outgoing.packed.task.sub)?;
            accept(&mut target, outgoing)?;
            state.close(target)?;
            continue;
        };
        let gas = outgoing.gas();
        let Outgoing { packed, chain, caller } = outgoing;
        let from = packed.speaks.then(|| open.id.clone());
        let params = DeliverParams { car: packed.car.clone(), from, chain: chain.clone(), caller };
        let code = open.host.deliver(at, &params, gas)?;
        sent.push(code);
        if code != 0 {
            ran.push(undelivered(open, packed, &chain, caller, at, code)?);
        }
    }
    Ok(sent)
}

/// Gas that has to be left for the dearest of the continuations that go to other instances.
pub(crate) fn reserve(outgoing: &[Outgoing]) -> u64 {
    let far = outgoing.iter().filter(|outgoing| outgoing.packed.at.is_some());
    far.map(|outgoing| outgoing.gas() + GAS_BASE).max().unwrap_or_default()
}

impl Outgoing {
    fn gas(&self) -> u64 {
        gas(self.packed.car.len(), self.packed.signed.map_or(0, |_| PROOFS_MAX + 1))
    }
}

/// Gas that another instance may take for a continuation.
pub(crate) fn gas(bytes: usize, signatures: usize) -> u64 {
    GAS_SEND + (GAS_BYTE + GAS_READ) * bytes as u64 + GAS_SIGNATURE * signatures as u64
}

fn undelivered<H: Host>(
    open: &mut Open<'_, H>,
    packed: Packed,
    chain: &Chain,
    caller: ActorID,
    at: ActorID,
    code: u32,
) -> Result<Execution, Abort> {
    let why = explain(code).unwrap_or("another reason");
    let failure = Failure::new("Undelivered", format!("f0{at} refused the continuation with exit code {code}: {why}"));
    let ready = Ready {
        id: packed.id,
        entry: open.entry(&packed.id)?,
        car: Car::decode::<H::Hasher>(packed.car)?,
        task: packed.task,
        right: Right::Open,
        chain: Some(chain.clone()),
        caller,
        issuer: chain.issuer.clone(),
        hook: None,
        refused: None,
    };
    settle(open, ready, Reply::failure(failure), &mut vec![])
}

/// Whether a bucket of another instance is who its name says: only a key had to sign for its bucket. One that has a bucket of
/// that name here speaks for itself here; over there, what it revoked here may still count.
fn is_beyond_doubt<H: Host>(state: &State<'_, H>, name: &BucketId) -> Result<bool, Abort> {
    Ok(create::needs_proof(name) && state.buckets.get(name.as_str().as_bytes())?.is_none())
}

/// Takes a continuation from another instance, whose code is the same: what it says of its bucket is true.
pub(crate) fn deliver<'h, H: Host>(
    state: &State<'h, H>,
    params: DeliverParams,
) -> Result<(Open<'h, H>, CarId, Entry), Abort> {
    let host = state.host;
    if !host.is_instance(host.caller()) {
        return Err(Abort::NotInstance(host.caller()));
    }
    let DeliverParams { car, from, chain, caller } = params;
    if car.len() > CAR_BYTES_MAX {
        return Err(Abort::TooLarge(car.len()));
    }
    let car = Car::decode::<H::Hasher>(car)?;
    let asked = Asked::read::<H::Hasher>(&car)?;
    let mut open = state.open(&asked.task.sub)?;
    let id = asked.id;
    let known = open.entry(&id)?;
    if known != Entry::default() {
        return Ok((open, id, known));
    }
    let from = match &from {
        Some(name) if is_beyond_doubt(state, name)? => Some(name),
        _ => None,
    };
    let right = right::check(&open, &car, &asked, Asker::Bucket { from, caller, issuer: chain.issuer.as_ref() })?;
    open.check_room(0)?;
    let (full, signed) = (right.is_full(), asked.signed::<H::Hasher>());
    let packed = Packed { id, car: car.into_bytes(), task: asked.task, signed, at: None, full, speaks: false };
    let entry = accept(&mut open, Outgoing { packed, chain: Chain { full, foreign: true, ..chain }, caller })?;
    Ok((open, id, entry))
}
