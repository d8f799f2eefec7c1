//! Running tasks: one in atomic mode, all that are pending in mutex mode.
//!
//! Read it top to bottom: the tasks are prepared, their protocols answer over an overlay, and only then the overlay, the
//! receipts and the continuations are written to the open bucket. Nothing before the line changes anything.

use crate::bucket::{Entry, Item, Mode};
use crate::car::Car;
use crate::cid::{CarId, Hasher};
use crate::did::BucketId;
use crate::error::{Abort, Failure};
use crate::host::Host;
use crate::limits::FORK_DEPTH_MAX;
use crate::map::Bytes;
use crate::open::Open;
use crate::protocol::{Call, Cx, Op, Protocols, Reply, Tools, encodable};
use crate::receipt::Receipt;
use crate::task::Task;

/// A task to run, with what its queue item said.
pub(crate) struct Ready {
    pub id: CarId,
    /// What is known of the CAR before it runs.
    pub entry: Entry,
    pub car: Car,
    pub task: Task,
    pub depth: u64,
    pub cause: Option<CarId>,
    pub caller: u64,
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
}

/// Runs `batch` on the open bucket, in one call per protocol when the bucket is in mutex mode.
pub(crate) fn run<H: Host>(
    open: &mut Open<'_, H>,
    protocols: &Protocols,
    batch: Vec<Ready>,
) -> Result<Vec<Execution>, Abort> {
    let committed = open.entries()?;
    let mut cx = Cx::new(&committed, &open.id, open.host.epoch(), tools::<H::Hasher>());
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
    batch.into_iter().zip(replies).map(|(ready, reply)| settle(open, ready, reply)).collect()
}

fn tools<H: Hasher>() -> Tools {
    Tools { hash: H::sha2_256, pack: Task::to_car_from::<H> }
}

fn call(ready: &Ready) -> Call<'_> {
    Call { id: ready.id, task: &ready.task, car: &ready.car, caller: ready.caller }
}

/// What the machine itself says no to, before a protocol is asked: only continuations can get so far.
fn refused(protocols: &Protocols, ready: &Ready) -> Option<Reply> {
    let failure = if ready.depth > FORK_DEPTH_MAX {
        Failure::new("DepthExceeded", format!("expected at most {FORK_DEPTH_MAX} continuations in a row, got one more"))
    } else if protocols.find(&ready.task.cmd).is_none() {
        let message = format!("unknown command {}: expected one of {}", ready.task.cmd, protocols.commands());
        Failure::new("CommandUnknown", message)
    } else {
        return None;
    };
    Some(Reply { out: Err(failure), forks: vec![], ops: vec![] })
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
fn settle<H: Host>(open: &mut Open<'_, H>, ready: Ready, reply: Reply) -> Result<Execution, Abort> {
    let before = ready.entry;
    let version = before.version + 1;
    let receipt = Receipt {
        ran: ready.id,
        out: reply.out,
        fork: reply.forks.iter().map(|car| CarId::of::<H::Hasher>(car)).collect(),
        cause: ready.cause,
        prior: before.receipt.map(|prior| (prior, version)),
    };
    let receipt_car = receipt.to_car::<H::Hasher>();
    let id = CarId::of::<H::Hasher>(&receipt_car);
    open.set_entry(&ready.id, Entry { receipt: Some(id), version, pending: before.pending })?;
    open.bucket.ran += 1;
    for (car, fork) in reply.forks.iter().zip(&receipt.fork) {
        continue_with(open, &ready, id, fork, car)?;
    }
    Ok(Execution {
        bucket: open.id.clone(),
        ran: ready.id,
        car: ready.car.into_bytes(),
        receipt: id,
        receipt_car,
        ok: receipt.out.is_ok(),
        version,
        cause: ready.cause,
        forks: receipt.fork,
        ops: reply.ops,
        task: ready.task,
    })
}

/// Schedules a continuation, unless this very CAR ran before or is pending.
fn continue_with<H: Host>(
    open: &mut Open<'_, H>,
    parent: &Ready,
    cause: CarId,
    fork: &CarId,
    car: &[u8],
) -> Result<(), Abort> {
    let known = open.entry(fork)?;
    if known != Entry::default() {
        return Ok(());
    }
    let item = |cid| Item {
        car: cid,
        depth: parent.depth + 1,
        cause: Some(Bytes(cause.0.to_vec())),
        caller: parent.caller,
        force: false,
    };
    let number = open.enqueue(car, item)?;
    open.set_entry(fork, Entry { pending: Some(number), ..known })
}
