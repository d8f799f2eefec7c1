//! Running tasks: one in atomic mode, all that are pending in mutex mode.
//!
//! Read it top to bottom: the tasks are prepared, their protocols answer over an overlay, and only then the overlay, the
//! receipts and the continuations are written to the open bucket. Nothing before the line changes anything.

use std::cell::RefCell;

use crate::abi::Hook;
use crate::bucket::{Chain, Entry, Mode};
use crate::car::Car;
use crate::cid::{CarId, Cid};
use crate::dag_cbor::collected;
use crate::did::BucketId;
use crate::error::{Abort, Failure};
use crate::fork::{Outgoing, Planned, Reach, accept};
use crate::host::Host;
use crate::limits::{CHAIN_WORK_MAX, FORK_DEPTH_MAX};
use crate::map::Bytes;
use crate::open::{Open, State};
use crate::protocol::{Call, Cx, Op, Packed, Protocols, Reply, encodable};
use crate::receipt::Receipt;
use crate::right::Right;
use crate::task::Task;
use crate::ucan::Did;

/// A task to run, with what its queue item said.
pub(crate) struct Ready {
    pub id: CarId,
    /// What is known of the CAR before it runs.
    pub entry: Entry,
    pub car: Car,
    pub task: Task,
    pub right: Right,
    /// What it continues.
    pub chain: Option<Chain>,
    pub caller: u64,
    /// Who signed it, or what it continues.
    pub issuer: Option<Did>,
    pub hook: Option<Hook>,
    /// Why it may not run any more, though it was admitted.
    pub refused: Option<Failure>,
}

impl Ready {
    fn depth(&self) -> u64 {
        self.chain.as_ref().map_or(0, |chain| chain.depth)
    }

    fn work(&self) -> u64 {
        self.chain.as_ref().map_or(CHAIN_WORK_MAX, |chain| chain.work)
    }

    fn cause(&self) -> Option<CarId> {
        self.chain.as_ref().map(|chain| chain.cause)
    }
}

/// A task that ran: all that a replay stores of it.
#[derive(Debug, Clone)]
pub struct Execution {
    /// The bucket that it ran on.
    pub bucket: BucketId,
    /// The task.
    pub task: Task,
    /// Id of the input CAR.
    pub ran: CarId,
    /// The input CAR.
    pub car: Vec<u8>,
    /// Id of the receipt CAR.
    pub receipt: CarId,
    /// The receipt CAR.
    pub receipt_car: Vec<u8>,
    /// Whether the receipt holds an `ok`.
    pub ok: bool,
    /// 1 for the first run, then one more for each forced one.
    pub version: u64,
    /// The receipt that asked for it.
    pub cause: Option<CarId>,
    /// The CARs that it schedules.
    pub forks: Vec<CarId>,
    /// Its index rows.
    pub ops: Vec<Op>,
    /// Blocks that it keeps in the index.
    pub blocks: Vec<(Cid, Vec<u8>)>,
    /// How many keys it changed.
    pub writes: usize,
    /// Whom to tell.
    pub hook: Option<Hook>,
}

/// Runs `batch` on the open bucket, in one call per protocol when the bucket is in mutex mode. Continuations for others are
/// added to `outgoing`, and counted in `planned`.
pub(crate) fn run<H: Host>(
    state: &State<'_, H>,
    open: &mut Open<'_, H>,
    protocols: &Protocols,
    batch: Vec<Ready>,
    outgoing: &mut Vec<Outgoing>,
    planned: &RefCell<Planned>,
) -> Result<Vec<Execution>, Abort> {
    let committed = open.entries()?;
    let rights = collected(batch.iter().map(|ready| (ready.id, &ready.right)));
    let reach = Reach { state, open, rights, planned };
    let mut cx = Cx::new(&committed, &open.id, open.host.epoch(), &reach);
    let replies = match open.bucket.mode {
        Mode::Atomic => one_by_one(&mut cx, protocols, &batch)?,
        Mode::Mutex => all_at_once(&mut cx, protocols, &batch)?,
    };
    let changes = cx.overlay.changes;

    // After this point the tasks have run: what follows only writes.
    if !changes.is_empty() {
        let mut entries = committed.0;
        for (key, value) in changes {
            match value {
                Some(value) => entries.set(&key, &Bytes(value))?,
                None => drop(entries.delete(&key)?),
            }
        }
        open.bucket.root = entries.flush()?;
    }
    batch.into_iter().zip(replies).map(|(ready, reply)| settle(open, ready, reply, outgoing)).collect()
}

fn call(ready: &Ready) -> Call<'_> {
    let Ready { id, task, car, caller, issuer, right, .. } = ready;
    let (alone, full) = (matches!(right, Right::Alone), right.is_full());
    Call { id: *id, task, car, caller: *caller, issuer: issuer.as_ref(), alone, full }
}

/// What the machine itself says no to, before a protocol is asked: only what waited in a queue can get so far.
fn refused(protocols: &Protocols, ready: &Ready) -> Option<Reply> {
    let failure = if let Some(failure) = &ready.refused {
        failure.clone()
    } else if ready.depth() > FORK_DEPTH_MAX {
        Failure::new("DepthExceeded", format!("expected at most {FORK_DEPTH_MAX} continuations in a row, got one more"))
    } else if ready.work() == 0 {
        let message =
            format!("expected at most {CHAIN_WORK_MAX} units of work of one CAR and its continuations, got more");
        Failure::new("BudgetExceeded", message)
    } else if protocols.find(&ready.task.cmd).is_none() {
        let message = format!("unknown command {}: expected one of {}", ready.task.cmd, protocols.commands());
        Failure::new("CommandUnknown", message)
    } else {
        return None;
    };
    Some(Reply::failure(failure))
}

fn one_by_one(cx: &mut Cx<'_>, protocols: &Protocols, batch: &[Ready]) -> Result<Vec<Reply>, Abort> {
    let one = |ready: &Ready| {
        let Some((number, protocol)) = protocols.find(&ready.task.cmd) else { return Ok(refused(protocols, ready)) };
        if let Some(reply) = refused(protocols, ready) {
            return Ok(Some(reply));
        }
        (cx.number, cx.name) = (number, protocol.name());
        let call = call(ready);
        cx.attempt(&call, |cx| protocol.execute(cx, &call)).map(Some)
    };
    let replies: Result<Vec<Option<Reply>>, Abort> = batch.iter().map(one).collect();
    complete(replies?)
}

fn all_at_once(cx: &mut Cx<'_>, protocols: &Protocols, batch: &[Ready]) -> Result<Vec<Reply>, Abort> {
    let mut replies: Vec<Option<Reply>> = batch.iter().map(|ready| refused(protocols, ready)).collect();
    for (number, protocol) in protocols.0 {
        let mine = |at: &usize| replies[*at].is_none() && protocol.commands().contains(&batch[*at].task.cmd.as_str());
        let places: Vec<usize> = (0..batch.len()).filter(mine).collect();
        if places.is_empty() {
            continue;
        }
        (cx.number, cx.name) = (*number, protocol.name());
        let calls: Vec<Call<'_>> = places.iter().map(|at| call(&batch[*at])).collect();
        let answers = protocol.execute_all(cx, &calls)?;
        if answers.len() != places.len() {
            let what = format!("protocol {} answered {} of {} calls", protocol.name(), answers.len(), places.len());
            return Err(Abort::State(what));
        }
        for (at, answer) in places.into_iter().zip(answers) {
            let readable = answer.out.as_ref().map_or(Ok(()), encodable);
            readable.map_err(|why| Abort::State(format!("protocol {}: {why}", protocol.name())))?;
            replies[at] = Some(answer);
        }
    }
    complete(replies)
}

fn complete(replies: Vec<Option<Reply>>) -> Result<Vec<Reply>, Abort> {
    replies.into_iter().map(|reply| reply.ok_or_else(|| Abort::State("a task got no answer".into()))).collect()
}

/// Writes the receipt's id and the continuations of one task.
pub(crate) fn settle<H: Host>(
    open: &mut Open<'_, H>,
    ready: Ready,
    reply: Reply,
    outgoing: &mut Vec<Outgoing>,
) -> Result<Execution, Abort> {
    let before = ready.entry;
    let version = before.version + 1;
    let receipt = Receipt {
        ran: ready.id,
        fork: reply.forks.iter().map(|fork| fork.id).collect(),
        cause: ready.cause(),
        prior: before.receipt.map(|prior| (prior, version)),
        out: reply.out,
    };
    let receipt_car = receipt.to_car::<H::Hasher>();
    let id = CarId::of::<H::Hasher>(&receipt_car);
    open.set_entry(&ready.id, Entry { receipt: Some(id), version, ..before })?;
    open.bucket.ran += 1;
    let work = share(&ready, reply.writes, &reply.forks);
    for packed in reply.forks {
        let (depth, issuer, full) = (ready.depth() + 1, ready.issuer.clone(), packed.full);
        let foreign = packed.at.is_some() || packed.task.sub != open.id;
        let chain = Chain { cause: id, depth, work, issuer, full, foreign };
        let continuation = Outgoing { packed, chain, caller: ready.caller };
        // Its own come before what is next in this message; others learn of it when all is done.
        match foreign {
            true => outgoing.push(continuation),
            false => drop(accept(open, continuation)?),
        }
    }
    Ok(Execution {
        bucket: open.id.clone(),
        ran: ready.id,
        cause: ready.cause(),
        car: ready.car.into_bytes(),
        receipt: id,
        receipt_car,
        ok: receipt.out.is_ok(),
        version,
        forks: receipt.fork,
        ops: reply.ops,
        blocks: reply.blocks,
        writes: reply.writes,
        hook: ready.hook,
        task: ready.task,
    })
}

/// The work that is left for each continuation of a task.
fn share(ready: &Ready, writes: usize, forks: &[Packed]) -> u64 {
    let kib = |packed: &Packed| packed.car.len().div_ceil(1024) as u64;
    let done = 1 + writes as u64 + forks.iter().map(kib).sum::<u64>();
    ready.work().saturating_sub(done) / forks.len().max(1) as u64
}
