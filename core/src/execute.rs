//! The machine: create, schedule, run, invoke. One function, [`apply`], takes a message from one state root to the next, the
//! same in wasm on the FVM, in process and in a replay.

use std::cell::RefCell;

use cid::Cid;

use crate::abi::*;
use crate::batch::{self, Execution, Ready};
use crate::bucket::{Bucket, Chain, Entry, Item};
use crate::car::Car;
use crate::cid::CarId;
use crate::create;
use crate::did::BucketId;
use crate::error::Abort;
use crate::fork::{self, Outgoing};
use crate::host::Host;
use crate::limits::*;
use crate::open::{Open, State};
use crate::protocol::Protocols;
use crate::right::{self, Asked, Asker, Right};
use crate::stage;
use crate::state;
use crate::take::{Taking, issuer};

/// What a message did.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The actor's new state root.
    pub state: Cid,
    /// The message's return value.
    pub returned: Returned,
    /// The tasks that ran, in their order.
    pub ran: Vec<Execution>,
    /// The buckets that changed.
    pub touched: Vec<BucketId>,
}

impl Applied {
    /// Nothing ran, and no bucket changed.
    pub(crate) fn quiet(state: Cid, returned: Returned) -> Self {
        Self { state, returned, ran: vec![], touched: vec![] }
    }
}

/// Applies a message to the state under `root`. An [`Abort`] means that nothing changed.
pub fn apply<H: Host>(host: &H, protocols: &Protocols, root: &Cid, message: Message) -> Result<Applied, Abort> {
    // Replays see every call of these two, in traces; what runs tasks has to lie open.
    let inner = matches!(message, Message::Schedule(_) | Message::Deliver(_));
    if !inner && host.caller() != host.origin() {
        return Err(Abort::NotTopLevel);
    }
    if host.value_received() {
        return Err(Abort::Value);
    }
    match message {
        Message::Create(params) => create::create(host, root, params),
        Message::Schedule(params) => schedule(host, protocols, root, params),
        Message::Run(params) => run(host, protocols, root, params),
        Message::Invoke(params) => invoke(host, protocols, root, params),
        Message::Stage(params) => stage::stage(host, root, params),
        Message::Chunk(params) => stage::chunk(host, root, params),
        Message::Drop(params) => stage::drop_stage(host, root, params),
        Message::Deliver(params) => deliver(host, root, params),
    }
}

/// A CAR that may be queued or run: everything about it is checked.
struct Admitted {
    car: Car,
    asked: Asked,
    right: Right,
    /// What is known of it.
    entry: Entry,
    /// Where its pieces are, if it was staged.
    staged: Option<stage::Stage>,
    force: bool,
    hook: Option<Hook>,
}

/// Opens the bucket and admits a CAR, or finds that it is nothing new.
fn admit<'h, H: Host>(
    state: &State<'h, H>,
    protocols: &Protocols,
    params: CarParams,
) -> Result<(Open<'h, H>, Admitted), Abort> {
    let CarParams { bucket, car, force, hook } = params;
    check_hook(hook.as_ref())?;
    let open = state.open(&bucket)?;
    let (bytes, staged) = match CarId::try_from(&car[..]) {
        Ok(id) => {
            let stage = stage::find(state, &id)?;
            (stage.read(state.host.store())?, Some(stage))
        }
        Err(_) if car.len() > CAR_BYTES_MAX => return Err(Abort::TooLarge(car.len())),
        Err(_) => (car, None),
    };
    let car = Car::decode::<H::Hasher>(bytes)?;
    let asked = Asked::read::<H::Hasher>(&car)?;
    if asked.task.sub != bucket {
        return Err(Abort::Subject { sub: asked.task.sub, bucket });
    }
    if protocols.find(&asked.task.cmd).is_none() {
        return Err(Abort::CommandUnknown { cmd: asked.task.cmd, known: protocols.commands() });
    }
    let caller = state.host.caller();
    let right = right::check(&open, &car, &asked, Asker::Sender(caller))?;
    // Whoever carries a signed invocation may not repeat it.
    if force && asked.request.is_some() && !open.is_controller(caller) {
        return Err(Abort::Forbidden { caller, bucket });
    }
    let entry = open.entry(&asked.id)?;
    Ok((open, Admitted { car, asked, right, entry, staged, force, hook }))
}

/// A hook may not reach what only this actor may do, nor an instance of it.
fn check_hook(hook: Option<&Hook>) -> Result<(), Abort> {
    const EXPORTED_MIN: u64 = 1 << 24;
    match hook.map(|hook| hook.method) {
        Some(method) if method < EXPORTED_MIN || method::is_own(method) => Err(Abort::Hook(format!(
            "expected a method from {EXPORTED_MIN} on (FRC-0042) that is none of this actor's, got {method}"
        ))),
        _ => Ok(()),
    }
}

/// Remembers that a signed invocation came, in this CAR and in no other.
fn bring<H: Host>(open: &mut Open<'_, H>, asked: &Asked, entry: Entry) -> Result<(), Abort> {
    match asked.signed::<H::Hasher>() {
        Some(invocation) if entry == Entry::default() => open.set_brought(&invocation, asked.id),
        _ => Ok(()),
    }
}

fn schedule<H: Host>(host: &H, protocols: &Protocols, root: &Cid, params: CarParams) -> Result<Applied, Abort> {
    let mut state = State::load(host, root)?;
    let (mut open, admitted) = admit(&state, protocols, params)?;
    let Admitted { car, asked, entry, staged, force, hook, .. } = admitted;
    let id = asked.id;
    let told = |status, position, receipt| Returned::Schedule(ScheduleReturn { car: id, status, position, receipt });
    if let Some(number) = entry.pending {
        let told = told(Status::Pending, Some(open.position(number)?), entry.receipt);
        let item = open.item(number)?;
        if hook.is_some() && hook != item.hook {
            return Err(Abort::Hook("the CAR is pending with another hook, or none: expected that one".into()));
        }
        let force = force && (item.caller == host.caller() || open.is_controller(host.caller()));
        // It ran while it waited and would fall out of the queue.
        return match force && entry.receipt.is_some() && open.force(number)? {
            true => close(state, open, told, vec![], vec![]),
            false => Ok(Applied::quiet(*root, told)),
        };
    }
    if entry.receipt.is_some() && !force {
        return Ok(Applied::quiet(*root, told(Status::Done, None, entry.receipt)));
    }
    open.check_room(0)?;
    open.count_in(host.caller())?;
    bring(&mut open, &asked, entry)?;
    let car = match &staged {
        Some(stage) => stage::list(host, stage)?,
        None => open.write_car(car.bytes())?,
    };
    let number = open.enqueue(&id, entry, &Item { car, caller: host.caller(), force, chain: None, hook })?;
    let told = told(Status::Pending, Some(open.position(number)?), entry.receipt);
    if staged.is_some() {
        stage::take(&mut state, &id)?;
    }
    close(state, open, told, vec![], vec![])
}

fn close<'h, H: Host>(
    mut state: State<'h, H>,
    open: Open<'h, H>,
    returned: Returned,
    ran: Vec<Execution>,
    mut touched: Vec<BucketId>,
) -> Result<Applied, Abort> {
    touched.push(open.id.clone());
    state.close(open)?;
    Ok(Applied { state: state.flush()?, returned, ran, touched })
}

fn deliver<H: Host>(host: &H, root: &Cid, params: DeliverParams) -> Result<Applied, Abort> {
    let state = State::load(host, root)?;
    let (open, car, Entry { pending, receipt, .. }) = fork::deliver(&state, params)?;
    let status = if pending.is_some() { Status::Pending } else { Status::Done };
    let position = pending.map(|number| open.position(number)).transpose()?;
    let told = Returned::Deliver(ScheduleReturn { car, status, position, receipt });
    close(state, open, told, vec![], vec![])
}

fn invoke<H: Host>(host: &H, protocols: &Protocols, root: &Cid, params: CarParams) -> Result<Applied, Abort> {
    let mut state = State::load(host, root)?;
    let (mut open, admitted) = admit(&state, protocols, params)?;
    let Admitted { car, asked, right, entry, staged, force, hook } = admitted;
    if let (Some(receipt), false) = (entry.receipt, force) {
        let same = open.bucket.root;
        let told = InvokeReturn { receipt, ran: false, ok: None, root: same, sent: vec![], reserve: 0 };
        return Ok(Applied::quiet(*root, Returned::Invoke(told)));
    }
    bring(&mut open, &asked, entry)?;
    let Early { right, chain, hook, caller } = before_its_turn(&mut open, &asked, entry, right, hook)?;
    let id = asked.id;
    let issuer = issuer(&asked, chain.as_ref());
    let ready = Ready { id, entry, car, task: asked.task, right, chain, caller, issuer, hook, refused: None };
    let mut outgoing = Vec::new();
    let mut ran = batch::run(&state, &mut open, protocols, vec![ready], &mut outgoing, &RefCell::default())?;
    let [execution] = &ran[..] else { return Err(Abort::State("one task ran as several".into())) };
    let (receipt, ok, touched) = (execution.receipt, Some(execution.ok), others(&outgoing));
    let reserve = reserve(&ran, &outgoing);
    let sent = fork::send_all(&mut state, &mut open, outgoing, &mut ran)?;
    if staged.is_some() {
        stage::take(&mut state, &id)?;
    }
    let told = InvokeReturn { receipt, ran: true, ok, root: open.bucket.root, sent, reserve };
    close(state, open, Returned::Invoke(told), ran, touched)
}

/// With what a task runs that is invoked before its turn: it keeps its cause, its right and its hook. Else a stranger, where
/// its command is open, could have it fail for want of the right with which it was scheduled, or silence its hook.
fn before_its_turn<H: Host>(
    open: &mut Open<'_, H>,
    asked: &Asked,
    entry: Entry,
    right: Right,
    hook: Option<Hook>,
) -> Result<Early, Abort> {
    let caller = open.host.caller();
    let Some(number) = entry.pending else { return Ok(Early { right, chain: None, hook, caller }) };
    let item = open.item(number)?;
    // Once, that is: whoever has it run again does so by their own right.
    let (right, caller) = match right {
        Right::Open if entry.receipt.is_none() => {
            (right::again(open, asked, item.caller, item.chain.as_ref()), item.caller)
        }
        own => (own, caller),
    };
    Ok(Early { right, chain: item.chain, hook: item.hook.or(hook), caller })
}

/// With what a task runs that may still be pending.
struct Early {
    right: Right,
    chain: Option<Chain>,
    hook: Option<Hook>,
    caller: u64,
}

/// Gas that had to be left for hooks and sends.
fn reserve(ran: &[Execution], outgoing: &[Outgoing]) -> u64 {
    let hook = if ran.iter().any(|execution| execution.hook.is_some()) { GAS_HOOK + GAS_BASE } else { 0 };
    fork::reserve(outgoing).max(hook)
}

/// The buckets of this instance that get continuations.
fn others(outgoing: &[Outgoing]) -> Vec<BucketId> {
    let here = outgoing.iter().filter(|outgoing| outgoing.packed.at.is_none());
    here.map(|outgoing| outgoing.packed.task.sub.clone()).collect()
}

fn run<H: Host>(host: &H, protocols: &Protocols, root: &Cid, params: RunParams) -> Result<Applied, Abort> {
    if params.max == 0 {
        return Err(Abort::RunZero);
    }
    let mut state = State::load(host, root)?;
    let mut open = state.open(&params.bucket)?;
    if open.bucket.pending() == 0 {
        return Err(Abort::QueueEmpty(params.bucket));
    }
    let (mut ran, mut outgoing, planned) = (Vec::new(), Vec::new(), RefCell::default());
    let mut taking = Taking::new(params.max.min(RUN_MAX));
    // Continuations queue up behind and run in the next round while there is room.
    while let Some(batch) = taking.next(&mut open, protocols)? {
        ran.extend(batch::run(&state, &mut open, protocols, batch, &mut outgoing, &planned)?);
    }
    let failed = ran.iter().filter(|execution| !execution.ok).count() as u64;
    let (count, touched) = (ran.len() as u64, others(&outgoing));
    let Taking { taken, stopped, gas, .. } = taking;
    let reserve = reserve(&ran, &outgoing).max(if taken > 1 { gas } else { 0 });
    let sent = fork::send_all(&mut state, &mut open, outgoing, &mut ran)?;
    let (pending, root) = (open.bucket.pending(), open.bucket.root);
    let told = RunReturn { ran: count, failed, pending, root, taken, stopped, sent, reserve };
    close(state, open, Returned::Run(told), ran, touched)
}

/// Answers `Receipt`: done, pending, or not found.
pub fn receipt<H: Host>(host: &H, root: &Cid, params: &ReceiptParams) -> Result<ReceiptReturn, Abort> {
    let open = State::load(host, root)?.open(&params.bucket)?;
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
