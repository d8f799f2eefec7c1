//! The machine: create, schedule, run, invoke. One function, [`apply`], takes a message from one state root to the next, the
//! same in wasm on the FVM, in process and in a replay.

use cid::Cid;
use fvm_shared::ActorID;
use fvm_shared::address::Address;

use crate::abi::*;
use crate::batch::{self, Execution, Ready};
use crate::bucket::{Bucket, Entries, Entry, Item, Receipts};
use crate::car::Car;
use crate::cid::CarId;
use crate::did::BucketId;
use crate::error::Abort;
use crate::host::Host;
use crate::limits::{CAR_BYTES_MAX, CONTROLLERS_MAX, RUN_MAX};
use crate::open::Open;
use crate::protocol::Protocols;
use crate::state;
use crate::task::Task;

/// What a message did.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The actor's new state root.
    pub state: Cid,
    /// The message's return value.
    pub returned: Returned,
    /// The tasks that ran, in their order.
    pub ran: Vec<Execution>,
}

/// Applies a message to the state under `root`. An [`Abort`] means that nothing changed.
pub fn apply<H: Host>(host: &H, protocols: &Protocols, root: &Cid, message: Message) -> Result<Applied, Abort> {
    if host.caller() != host.origin() {
        return Err(Abort::NotTopLevel);
    }
    if host.value_received() {
        return Err(Abort::Value);
    }
    match message {
        Message::Create(params) => create(host, root, params),
        Message::Schedule(params) => schedule(host, protocols, root, params),
        Message::Run(params) => run(host, protocols, root, params),
        Message::Invoke(params) => invoke(host, protocols, root, params),
    }
}

fn create<H: Host>(host: &H, root: &Cid, params: CreateParams) -> Result<Applied, Abort> {
    let store = host.store();
    let controllers = controllers(host, &params.controllers)?;
    let mut buckets = state::buckets::<H::Store, H::Hasher>(store, root)?;
    let key = params.bucket.as_str().as_bytes();
    if buckets.get(key)?.is_some() {
        return Err(Abort::BucketExists(params.bucket));
    }
    // After this point it must succeed.
    let empty = Entries::<H::Store, H::Hasher>::empty(store, "entries").flush()?;
    let receipts = Receipts::<H::Store, H::Hasher>::empty(store, "receipts").flush()?;
    let returned = CreateReturn { controllers: controllers.clone(), root: empty };
    let bucket =
        Bucket { controllers, mode: params.mode, root: empty, queue: None, head: 0, tail: 0, receipts, ran: 0 };
    buckets.set(key, &bucket)?;
    let state = buckets.flush()?;
    Ok(Applied { state, returned: Returned::Create(returned), ran: vec![] })
}

fn controllers<H: Host>(host: &H, addresses: &[Address]) -> Result<Vec<ActorID>, Abort> {
    if addresses.len() > CONTROLLERS_MAX {
        return Err(Abort::Controllers(format!("expected at most {CONTROLLERS_MAX}, got {}", addresses.len())));
    }
    if addresses.is_empty() {
        return Ok(vec![host.caller()]);
    }
    let resolve = |address: &Address| {
        // The first letter depends on a setting of the process; the machine's words must not.
        let unknown = || {
            let name = address.to_string();
            Abort::Controllers(format!("the chain doesn't know f{} yet: send it some FIL first", &name[1..]))
        };
        host.resolve(address).ok_or_else(unknown)
    };
    let mut ids: Vec<ActorID> = addresses.iter().map(resolve).collect::<Result<_, _>>()?;
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// A CAR that may be queued or run: everything about it is checked.
fn admit<'h, H: Host>(
    host: &'h H,
    protocols: &Protocols,
    root: &Cid,
    params: CarParams,
) -> Result<(Open<'h, H>, CarId, Car, Task), Abort> {
    if params.car.len() > CAR_BYTES_MAX {
        return Err(Abort::TooLarge(params.car.len()));
    }
    let open = Open::load(host, root, &params.bucket)?;
    open.check_controller()?;
    let car = Car::decode::<H::Hasher>(params.car)?;
    let task = Task::from_ipld(car.root_value())?;
    if task.sub != params.bucket {
        return Err(Abort::Subject { sub: task.sub, bucket: params.bucket });
    }
    if protocols.find(&task.cmd).is_none() {
        return Err(Abort::CommandUnknown { cmd: task.cmd, known: protocols.commands() });
    }
    let id = car.id::<H::Hasher>();
    Ok((open, id, car, task))
}

fn schedule<H: Host>(host: &H, protocols: &Protocols, root: &Cid, params: CarParams) -> Result<Applied, Abort> {
    let force = params.force;
    let (mut open, id, car, _) = admit(host, protocols, root, params)?;
    let entry = open.entry(&id)?;
    let scheduled = |status, position, receipt| ScheduleReturn { car: id, status, position, receipt };
    let unchanged = |returned| Ok(Applied { state: *root, returned: Returned::Schedule(returned), ran: vec![] });
    if let Some(number) = entry.pending {
        let returned = scheduled(Status::Pending, Some(open.position(number)?), entry.receipt);
        // It ran while it waited and would fall out of the queue.
        if force && entry.receipt.is_some() && open.force(number)? {
            let (_, state) = open.commit()?;
            return Ok(Applied { state, returned: Returned::Schedule(returned), ran: vec![] });
        }
        return unchanged(returned);
    }
    if entry.receipt.is_some() && !force {
        return unchanged(scheduled(Status::Done, None, entry.receipt));
    }
    open.check_room()?;
    let item = |cid| Item { car: cid, depth: 0, cause: None, caller: host.caller(), force };
    let number = open.enqueue(car.bytes(), item)?;
    open.set_entry(&id, Entry { pending: Some(number), ..entry })?;
    let returned = scheduled(Status::Pending, Some(open.position(number)?), entry.receipt);
    let (_, state) = open.commit()?;
    Ok(Applied { state, returned: Returned::Schedule(returned), ran: vec![] })
}

fn invoke<H: Host>(host: &H, protocols: &Protocols, root: &Cid, params: CarParams) -> Result<Applied, Abort> {
    let force = params.force;
    let (mut open, id, car, task) = admit(host, protocols, root, params)?;
    let entry = open.entry(&id)?;
    if let (Some(receipt), false) = (entry.receipt, force) {
        let returned = InvokeReturn { receipt, ran: false, ok: None, root: open.bucket.root };
        return Ok(Applied { state: *root, returned: Returned::Invoke(returned), ran: vec![] });
    }
    // A continuation that is invoked before its turn is still the continuation of its cause.
    let (depth, cause) = match entry.pending {
        Some(number) => open.item(number).and_then(|item| Ok((item.depth, item.cause()?)))?,
        None => (0, None),
    };
    let ready = Ready { id, entry, car, task, depth, cause, caller: host.caller() };
    let ran = batch::run(&mut open, protocols, vec![ready])?;
    let (bucket, state) = open.commit()?;
    let [execution] = &ran[..] else { return Err(Abort::State("one task ran as several".into())) };
    let returned = InvokeReturn { receipt: execution.receipt, ran: true, ok: Some(execution.ok), root: bucket.root };
    Ok(Applied { state, returned: Returned::Invoke(returned), ran })
}

fn run<H: Host>(host: &H, protocols: &Protocols, root: &Cid, params: RunParams) -> Result<Applied, Abort> {
    if params.max == 0 {
        return Err(Abort::RunZero);
    }
    let mut open = Open::load(host, root, &params.bucket)?;
    if open.bucket.pending() == 0 {
        return Err(Abort::QueueEmpty(params.bucket));
    }
    let mut ran = Vec::new();
    let mut left = params.max.min(RUN_MAX);
    // Continuations queue up behind and run in the next round while there is room.
    while left > 0 && open.bucket.pending() > 0 {
        let count = open.bucket.pending().min(left);
        let batch = take(&mut open, count)?;
        left -= count;
        ran.extend(batch::run(&mut open, protocols, batch)?);
    }
    let failed = ran.iter().filter(|execution| !execution.ok).count() as u64;
    let (bucket, state) = open.commit()?;
    let returned = RunReturn { ran: ran.len() as u64, failed, pending: bucket.pending(), root: bucket.root };
    Ok(Applied { state, returned: Returned::Run(returned), ran })
}

/// Takes `count` tasks from the queue's head; those that ran meanwhile and are not forced fall out.
fn take<H: Host>(open: &mut Open<'_, H>, count: u64) -> Result<Vec<Ready>, Abort> {
    let mut batch = Vec::new();
    for _ in 0..count {
        let (item, bytes) = open.dequeue()?;
        let car = Car::decode::<H::Hasher>(bytes)?;
        let id = car.id::<H::Hasher>();
        let entry = Entry { pending: None, ..open.entry(&id)? };
        if entry.receipt.is_some() && !item.force {
            open.set_entry(&id, entry)?;
            continue;
        }
        let (cause, task) = (item.cause()?, Task::from_ipld(car.root_value())?);
        batch.push(Ready { id, entry, car, task, depth: item.depth, cause, caller: item.caller });
    }
    Ok(batch)
}

/// Answers `Receipt`: done, pending, or not found.
pub fn receipt<H: Host>(host: &H, root: &Cid, params: &ReceiptParams) -> Result<ReceiptReturn, Abort> {
    let open = Open::load(host, root, &params.bucket)?;
    let entry = open.entry(&params.car)?;
    let position = entry.pending.map(|number| open.position(number)).transpose()?;
    let status = match (entry.receipt, position) {
        (Some(_), _) => Status::Done,
        (None, Some(_)) => Status::Pending,
        (None, None) => Status::NotFound,
    };
    Ok(ReceiptReturn { status, receipt: entry.receipt, version: entry.version, position })
}

/// Answers `Bucket`: the bucket's record.
pub fn bucket<H: Host>(host: &H, root: &Cid, id: &BucketId) -> Result<Bucket, Abort> {
    state::bucket::<H::Store, H::Hasher>(host.store(), root, id)
}
