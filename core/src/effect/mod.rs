//! Effects: what somebody is to do beside the state's change, as data and not as code.
//!
//! An effect is a job or a combination of effects. Jobs are done by a worker outside; what came of them is in a [`Memo`], and
//! [`next`] tells what is to be done next. It does nothing itself, so that whoever does can stop and begin again anywhere.
//!
//! | effect | its outcome |
//! |---|---|
//! | [`Effect::Do`] | the job's |
//! | `a.and(b)` | a's error; else b's outcome. b isn't begun before a is ok |
//! | `a.catch()` | ok with a's error; an error when a is ok |
//! | `a.try_()` | ok, whatever a's is: a branch that isn't taken is no failure |
//!
//! A job is known by its CID, that of `{cmd, args}`: where it stands in several branches, it is done once. An argument
//! `{"await/ok": link}` (ucan-wg/promise) stands for the ok value of the job with that CID; where that job failed, so does
//! the one that awaits it.
//!
//! `{"do": cmd, "args": {…}}`, `{"and": [a, b]}`, `{"catch": a}` and `{"try": a}` are the forms as data ([`Effect::to_ipld`]);
//! [`pack`] writes several of them with few bytes.

mod data;

use std::collections::{BTreeMap, BTreeSet};

pub use data::{NotEffect, pack, unpack};

use crate::cid::{Cid, DAG_CBOR, Hasher, block_cid};
use crate::dag_cbor::{self, Ipld};
use crate::error::Failure;

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// What to do, like `/storage/allocate`.
    pub cmd: String,
    /// With what. May hold promises.
    pub args: BTreeMap<String, Ipld>,
}

/// What came of a job or an effect.
pub type Outcome = Result<Ipld, Failure>;

/// What came of the jobs that are done, by their CIDs. Others are pending, or not begun.
pub type Memo = BTreeMap<Cid, Outcome>;

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// A job.
    Do(Job),
    /// Two effects, one after the other.
    And(Box<Effect>, Box<Effect>),
    /// The opposite branch.
    Catch(Box<Effect>),
    /// A branch that needn't be taken.
    Try(Box<Effect>),
}

/// A job that can be begun.
#[derive(Debug, Clone, PartialEq)]
pub struct Ready {
    /// The job's CID: the memo's key.
    pub id: Cid,
    /// The job as it stands in the effect.
    pub job: Job,
    /// Its arguments with what they await in place.
    pub args: BTreeMap<String, Ipld>,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// These jobs, each once, in any order.
    Run(Vec<Ready>),
    /// Nothing: what came of each effect.
    Done(Vec<Outcome>),
    /// Nothing can be done, because these jobs are awaited and no effect does them.
    Stuck(Vec<Cid>),
}

impl Job {
    /// A job.
    pub fn new<const N: usize>(cmd: &str, args: [(&str, Ipld); N]) -> Self {
        Self { cmd: cmd.to_owned(), args: dag_cbor::fields_of(args) }
    }

    /// `{cmd, args}`.
    pub fn to_ipld(&self) -> Ipld {
        dag_cbor::map([("cmd", Ipld::String(self.cmd.clone())), ("args", Ipld::Map(self.args.clone()))])
    }

    /// Its CID: version 1, DAG-CBOR, sha2-256.
    pub fn cid<H: Hasher>(&self) -> Cid {
        block_cid::<H>(DAG_CBOR, &dag_cbor::encode(&self.to_ipld()))
    }
}

impl From<Job> for Effect {
    fn from(job: Job) -> Self {
        Self::Do(job)
    }
}

impl Effect {
    /// Does `self`, and when that is ok `then`.
    pub fn and(self, then: impl Into<Self>) -> Self {
        Self::And(Box::new(self), Box::new(then.into()))
    }

    /// Is ok when `self` fails, and fails when `self` is ok.
    pub fn catch(self) -> Self {
        Self::Catch(Box::new(self))
    }

    /// Is ok, whatever comes of `self`.
    pub fn try_(self) -> Self {
        Self::Try(Box::new(self))
    }

    /// Its jobs, from left to right; one that stands twice comes twice.
    pub fn jobs(&self) -> Vec<&Job> {
        match self {
            Self::Do(job) => vec![job],
            Self::And(a, b) => [a.jobs(), b.jobs()].concat(),
            Self::Catch(a) | Self::Try(a) => a.jobs(),
        }
    }
}

/// `{"await/ok": link}`: the ok value of the job with this CID.
pub fn promise(job: Cid) -> Ipld {
    dag_cbor::map([(AWAIT_OK, Ipld::Link(job))])
}

/// Tells what is to be done next of effects that share a memo. Depends on nothing but its arguments: jobs that were begun and
/// aren't in the memo yet are named again.
pub fn next<H: Hasher>(effects: &[Effect], memo: &Memo) -> Step {
    let mut pending = Pending::default();
    let outcomes: Vec<_> = effects.iter().map(|effect| effect.outcome::<H>(memo, &mut pending)).collect();
    match outcomes.into_iter().collect() {
        Some(outcomes) => Step::Done(outcomes),
        None if pending.jobs.is_empty() => Step::Stuck(pending.awaited.into_iter().collect()),
        None => Step::Run(pending.jobs.into_values().collect()),
    }
}

const AWAIT: &str = "await/";
const AWAIT_OK: &str = "await/ok";

/// What was found on the way.
#[derive(Default)]
struct Pending {
    jobs: BTreeMap<Cid, Ready>,
    awaited: BTreeSet<Cid>,
}

impl Effect {
    /// What came of it, or `None` as long as nobody knows; then what to do for it is in `pending`.
    fn outcome<H: Hasher>(&self, memo: &Memo, pending: &mut Pending) -> Option<Outcome> {
        match self {
            Self::Do(job) => job.outcome::<H>(memo, pending),
            Self::And(a, b) => match a.outcome::<H>(memo, pending)? {
                Ok(_) => b.outcome::<H>(memo, pending),
                error => Some(error),
            },
            Self::Catch(a) => Some(match a.outcome::<H>(memo, pending)? {
                Ok(_) => Err(Failure::new("Caught", "expected an error, got ok")),
                Err(failure) => Ok(failure.to_ipld()),
            }),
            Self::Try(a) => {
                let outcome = a.outcome::<H>(memo, pending)?;
                Some(Ok(outcome.unwrap_or(Ipld::Null)))
            }
        }
    }
}

impl Job {
    fn outcome<H: Hasher>(&self, memo: &Memo, pending: &mut Pending) -> Option<Outcome> {
        let id = self.cid::<H>();
        if let Some(outcome) = memo.get(&id) {
            return Some(outcome.clone());
        }
        match resolve(&Ipld::Map(self.args.clone()), memo) {
            Ok(Ipld::Map(args)) => {
                pending.jobs.insert(id, Ready { id, job: self.clone(), args });
                None
            }
            Err(Unresolved::Pending(awaited)) => {
                pending.awaited.insert(awaited);
                None
            }
            Err(Unresolved::Failed(failure)) => Some(Err(failure)),
            Ok(_) => Some(Err(Failure::args("expected args to be a map, got a promise"))),
        }
    }
}

enum Unresolved {
    Pending(Cid),
    Failed(Failure),
}

/// Puts what is awaited in its place.
fn resolve(value: &Ipld, memo: &Memo) -> Result<Ipld, Unresolved> {
    Ok(match value {
        Ipld::Map(map) => match (map.get(AWAIT_OK), map.len()) {
            (Some(Ipld::Link(job)), 1) => match memo.get(job) {
                Some(outcome) => outcome.clone().map_err(Unresolved::Failed)?,
                None => return Err(Unresolved::Pending(*job)),
            },
            _ => {
                let mut resolved = BTreeMap::new();
                for (field, value) in map {
                    resolved.insert(field.clone(), resolve(value, memo)?);
                }
                Ipld::Map(resolved)
            }
        },
        Ipld::List(list) => Ipld::List(list.iter().map(|value| resolve(value, memo)).collect::<Result<_, _>>()?),
        other => other.clone(),
    })
}
