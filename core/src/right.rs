//! Who may have a bucket do what.
//!
//! - A *signed* invocation speaks for itself: its chain of delegations leads from the bucket's DID to whoever signed it, and it
//!   doesn't matter who sends it. It counts once, in whatever CAR it comes.
//! - An *unsigned* task is a controller's, or of a command that the bucket opened (`/bucket/open`).
//! - A *continuation* has the right of what it continues: all of it, or what the same chain of delegations covers.

use crate::authority::{self, Openings, Revocations};
use crate::bucket::Chain;
use crate::car::Car;
use crate::cid::CarId;
use crate::did::BucketId;
use crate::error::Abort;
use crate::host::Host;
use crate::open::Open;
use crate::task::Task;
use crate::ucan::{Crypto, Denied, Did, Request};
use fvm_shared::ActorID;

/// What a CAR asks for.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The CAR's id.
    pub id: CarId,
    pub task: Task,
    /// How it was signed.
    pub request: Option<Request>,
}

/// The right with which a task runs.
#[derive(Debug)]
pub(crate) enum Right {
    /// The bucket's own.
    Full,
    /// As far as its chain of delegations goes.
    Signed(Box<Request>),
    /// For nothing but what it is.
    Open,
    /// None; its issuer revokes what it issued.
    Alone,
}

/// Who asks.
#[derive(Clone, Copy)]
pub(crate) enum Asker<'a> {
    /// The sender of a message.
    Sender(ActorID),
    /// Another bucket, whose DID is beyond doubt if it is given.
    Bucket { from: Option<&'a BucketId>, caller: ActorID, issuer: Option<&'a Did> },
}

/// How a task's DAG-CBOR begins: a map of four, whose first key is "cmd". Nothing that is signed does, and looking for that
/// would decode the root once more.
const TASK: [u8; 5] = [0xa4, 0x63, b'c', b'm', b'd'];

impl Asked {
    /// Reads a CAR's root: a signed invocation, or a task.
    pub fn read<C: Crypto>(car: &Car) -> Result<Self, Abort> {
        let plain = car.block(&car.root()).is_some_and(|root| root.starts_with(&TASK));
        let request = if plain { None } else { Request::from_car::<C>(car)? };
        let task = match &request {
            Some(request) => request.invocation.task.clone(),
            None => Task::from_ipld(car.root_value())?,
        };
        Ok(Self { id: car.id::<C>(), task, request })
    }

    /// The SHA-256 of what is signed.
    pub fn signed<C: Crypto>(&self) -> Option<[u8; 32]> {
        self.request.as_ref().map(Request::id::<C>)
    }

    /// Who signed it.
    pub fn issuer(&self) -> Option<&Did> {
        self.request.as_ref().map(|request| &request.invocation.iss)
    }
}

/// Checks that `asker` may have the bucket do this, and answers with which right it runs.
pub(crate) fn check<H: Host>(open: &Open<'_, H>, car: &Car, asked: &Asked, asker: Asker<'_>) -> Result<Right, Abort> {
    authority::check_name::<H::Hasher>(&asked.task, car)?;
    if let Some(request) = &asked.request {
        if let Some(by) = open.brought(&request.id::<H::Hasher>())?
            && by != asked.id
        {
            return Err(Abort::Replayed(by));
        }
        still(open, request)?;
        authority::witness::<H::Hasher>(request, car)?;
        request.check_signatures::<H::Hasher>()?;
        return Ok(signed(request));
    }
    let cmd = &asked.task.cmd;
    let (caller, controls, from) = match asker {
        Asker::Sender(caller) => (caller, open.is_controller(caller), None),
        Asker::Bucket { from, caller, issuer } => (caller, issuer.is_none() && open.is_controller(caller), from),
    };
    if controls {
        Ok(Right::Full)
    } else if Openings::is_open(&open.entries()?, cmd, from)? {
        Ok(Right::Open)
    } else {
        Err(Abort::Forbidden { caller, bucket: open.id.clone() })
    }
}

fn signed(request: &Request) -> Right {
    // Without proofs the bucket's own key signed.
    let full = request.proofs.iter().all(|proof| proof.cmd == "/" && proof.pol.is_empty());
    match authority::is_own_revocation(request) {
        true => Right::Alone,
        false if full => Right::Full,
        false => Right::Signed(Box::new(request.clone())),
    }
}

/// Checks times and audience of an invocation that needs no chain: as if its issuer did this to itself.
fn check_bounds(request: &Request, now: u64, executor: &Did) -> Result<(), Denied> {
    let mut own = request.clone();
    own.invocation.draft.task.sub = own.invocation.iss.clone();
    own.check(now, Some(executor))
}

/// Whether the same chain of delegations covers another task of the same bucket.
fn covers(request: &Request, task: &Task, now: u64) -> bool {
    let mut other = request.clone();
    other.invocation.draft.task = task.clone();
    other.check(now, None).is_ok()
}

/// Checks what may change while a signed invocation waits in the queue: the time, and what was revoked.
pub(crate) fn still<H: Host>(open: &Open<'_, H>, request: &Request) -> Result<(), Abort> {
    let now = open.host.timestamp();
    if authority::is_own_revocation(request) {
        check_bounds(request, now, &open.id)?;
    } else {
        request.check(now, Some(&open.id))?;
    }
    if request.proofs.is_empty() {
        return Ok(());
    }
    let entries = open.entries()?;
    for (delegation, issuers) in request.revocable() {
        if let Some(by) = Revocations::revoked::<H::Hasher>(&entries, &delegation, &open.id, issuers)? {
            return Err(Denied::Revoked { token: format!("delegation {delegation}"), by: by.clone() }.into());
        }
    }
    Ok(())
}

/// The right of a task that was admitted before, and waited.
pub(crate) fn again<H: Host>(open: &Open<'_, H>, asked: &Asked, caller: ActorID, chain: Option<&Chain>) -> Right {
    match (&asked.request, chain) {
        (Some(request), _) => signed(request),
        (None, Some(chain)) if chain.full => Right::Full,
        (None, None) if open.is_controller(caller) => Right::Full,
        _ => Right::Open,
    }
}

impl Right {
    /// Whether a continuation on the same bucket is within this right.
    pub fn covers<H: Host>(&self, open: &Open<'_, H>, task: &Task) -> Result<bool, Abort> {
        match self {
            Right::Full => Ok(true),
            Right::Signed(request) if covers(request, task, open.host.timestamp()) => Ok(true),
            _ => Openings::is_open(&open.entries()?, &task.cmd, Some(&open.id)),
        }
    }

    /// Whether it is the bucket's own.
    pub fn is_full(&self) -> bool {
        matches!(self, Right::Full)
    }
}
