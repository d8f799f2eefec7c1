//! What `Run` takes from a queue: how many tasks, and which of them may still run.

use crate::authority::{self, Openings};
use crate::batch::Ready;
use crate::bucket::{Bucket, Chain, Entry, Item};
use crate::car::Car;
use crate::did::BucketId;
use crate::error::{Abort, Failure};
use crate::fork;
use crate::host::Host;
use crate::limits::*;
use crate::open::{Open, read_car};
use crate::prolly;
use crate::protocol::{Protocols, Weight, Work};
use crate::right::{self, Asked, Right};
use crate::ucan::Request;

/// Takes tasks from the queue's head while there are any, no more than asked for, and while gas is left for what they may
/// need. The first is always taken: if the gas isn't enough for it, the message fails and has to come with more.
pub(crate) struct Taking {
    left: u64,
    pub taken: u64,
    pub stopped: bool,
    /// What the tasks that were taken may need together, and committing them.
    pub gas: u64,
}

impl Taking {
    /// At most so many.
    pub fn new(left: u64) -> Self {
        Self { left, taken: 0, stopped: false, gas: GAS_BASE }
    }

    /// The next batch; `None` at the end.
    pub fn next<H: Host>(
        &mut self,
        open: &mut Open<'_, H>,
        protocols: &Protocols,
    ) -> Result<Option<Vec<Ready>>, Abort> {
        let mut batch = Vec::new();
        let mut count = open.bucket.pending().min(self.left);
        let begun = self.taken;
        while count > 0 {
            let Some((item, car, asked)) = self.peek(open, protocols)? else { break };
            open.dequeue(&item)?;
            self.taken += 1;
            self.left -= 1;
            count -= 1;
            let ends = authority::changes_rights(&asked.task.cmd);
            batch.extend(ready(open, item, car, asked)?);
            // What is behind it is asked for its right when this has run.
            if ends {
                break;
            }
        }
        Ok((self.taken > begun).then_some(batch))
    }

    /// The next task, if gas is left for all that it may need. It is asked for before anything is read: that costs as well.
    fn peek<H: Host>(
        &mut self,
        open: &mut Open<'_, H>,
        protocols: &Protocols,
    ) -> Result<Option<(Item, Car, Asked)>, Abort> {
        if !self.room(open, GAS_READ * CAR_BYTES_MAX as u64) {
            return Ok(None);
        }
        let item = open.item(open.bucket.head)?;
        if item.is_staged() && !self.room(open, GAS_READ * STAGED_BYTES_MAX as u64) {
            return Ok(None);
        }
        let car = Car::decode::<H::Hasher>(read_car(open.host.store(), &item.car)?)?;
        let asked = Asked::read::<H::Hasher>(&car)?;
        let need = need(protocols, &open.bucket, &car, &asked, &item);
        if !self.room(open, need) {
            return Ok(None);
        }
        self.gas += need;
        Ok(Some((item, car, asked)))
    }

    fn room<H: Host>(&mut self, open: &Open<'_, H>, more: u64) -> bool {
        self.stopped |= self.taken > 0 && !open.host.room(self.gas + more, self.taken);
        !self.stopped
    }
}

/// Gas that a task may need, its part of the commit included.
fn need(protocols: &Protocols, bucket: &Bucket, car: &Car, asked: &Asked, item: &Item) -> u64 {
    let weight = protocols.find(&asked.task.cmd).map_or(Weight::NONE, |(_, protocol)| protocol.weight(&asked.task));
    let size = car.bytes().len() as u64;
    let most = Weight::MOST;
    let writes = weight.writes.min(most.writes) as u64;
    let (forks, sends) = (weight.forks.min(most.forks) as u64, weight.sends.min(most.sends) as u64);
    // A continuation writes an item and a mark, here or in another bucket, whose record is written besides.
    let paths = 1 + writes + 3 * forks;
    let bytes = (forks * size).min(FORK_BYTES_MAX as u64);
    let hook = if item.hook.is_some() { GAS_HOOK } else { 0 };
    // A signed continuation is a block beside the root. Proofs may be shared, so blocks don't tell how many signatures.
    let signatures = if car.blocks().nth(1).is_some() { PROOFS_MAX + 1 } else { 0 };
    let send = fork::gas(car.bytes().len(), signatures);
    let here = signatures.saturating_mul((forks - forks.min(sends)) as usize).min(FORK_SIGNATURES_MAX);
    let verify = GAS_SIGNATURE * here as u64;
    let entries = match weight.work {
        Work::None => None,
        Work::Entries(besides) => Some(car.blocks().map(|(_, block)| prolly::entries(block)).sum::<usize>() + besides),
        Work::Any => Some(car.bytes().len() / ENTRY_BYTES_MIN),
    };
    let work = entries.map_or(0, |entries| GAS_WORK * size + GAS_ENTRY * entries as u64);
    verify + path(bucket) * paths + GAS_BYTE * bytes + GAS_READ * size + work + send * sends + hook
}

/// Gas of a changed key in one of a bucket's maps. How many entries a map has nobody knows, but who filled it left receipts;
/// each level of a map holds eight times as many as the one above.
fn path(bucket: &Bucket) -> u64 {
    let bits = u64::BITS - (bucket.ran + bucket.pending()).leading_zeros();
    GAS_KEY + GAS_LEVEL * (2 + u64::from(bits) / 3)
}

/// A task as it was taken; nothing if it ran meanwhile and is not forced.
fn ready<H: Host>(open: &mut Open<'_, H>, item: Item, car: Car, asked: Asked) -> Result<Option<Ready>, Abort> {
    let id = asked.id;
    let entry = Entry { pending: None, ..open.entry(&id)? };
    if entry.receipt.is_some() && !item.force {
        open.set_entry(&id, entry)?;
        return Ok(None);
    }
    let Item { caller, chain, hook, .. } = item;
    let right = right::again(open, &asked, caller, chain.as_ref());
    let refused = match &asked.request {
        Some(request) => expired(open, request)?,
        None => closed(open, &asked, &right, caller, chain.as_ref())?,
    };
    let issuer = issuer(&asked, chain.as_ref());
    Ok(Some(Ready { id, entry, car, task: asked.task, right, chain, caller, issuer, hook, refused }))
}

/// Who signed a task, or what it continues.
pub(crate) fn issuer(asked: &Asked, chain: Option<&Chain>) -> Option<BucketId> {
    asked.issuer().cloned().or(chain.and_then(|chain| chain.issuer.clone()))
}

/// Why what somebody scheduled because its command was open may not run any more. Continuations that were let in run.
fn closed<H: Host>(
    open: &Open<'_, H>,
    asked: &Asked,
    right: &Right,
    caller: u64,
    chain: Option<&Chain>,
) -> Result<Option<Failure>, Abort> {
    if chain.is_some() || !matches!(right, Right::Open) || Openings::is_open(&open.entries()?, &asked.task.cmd, None)? {
        return Ok(None);
    }
    let forbidden = Abort::Forbidden { caller, bucket: open.id.clone() };
    Ok(Some(Failure::new("Forbidden", forbidden.to_string())))
}

/// Why a signed invocation that waited may not run any more.
fn expired<H: Host>(open: &Open<'_, H>, request: &Request) -> Result<Option<Failure>, Abort> {
    match right::still(open, request) {
        Ok(()) => Ok(None),
        Err(Abort::Denied(denied)) => Ok(Some(Failure::new(denied.name(), denied.to_string()))),
        Err(abort) => Err(abort),
    }
}
