//! Two ways to fail, kept apart.
//!
//! - [`Failure`]: a protocol says no. The message succeeds with exit code 0, the bucket's root stays, and a receipt with the
//!   error is written like any other.
//! - [`Abort`]: the message is not acceptable. It exits with [`Abort::code`], and the FVM reverts all of it.

use crate::car::CarError;
use crate::cid::{CarId, NotCarId};
use crate::dag_cbor::{Ipld, map};
use crate::did::{BucketId, NotDid};
use crate::limits::*;
use crate::task::TaskError;
use crate::ucan::{self, Denied};

/// A protocol's no: `{name, message}` under `out.error` of a receipt (UCAN receipt, "Result").
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {message}")]
pub struct Failure {
    /// What programs match on, like `KeyReserved`.
    pub name: String,
    /// What people read: what was expected and what came.
    pub message: String,
}

impl Failure {
    /// A failure; a message of more than [`FAILURE_BYTES_MAX`] is cut.
    pub fn new(name: impl Into<String>, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > FAILURE_BYTES_MAX {
            let end = (0..=FAILURE_BYTES_MAX).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
            message.truncate(end);
        }
        Self { name: name.into(), message }
    }

    /// As receipts write it: `{name, message}`.
    pub fn to_ipld(&self) -> Ipld {
        map([("name", Ipld::String(self.name.clone())), ("message", Ipld::String(self.message.clone()))])
    }

    /// Arguments of the wrong shape.
    pub fn args(message: impl Into<String>) -> Self {
        Self::new("ArgsInvalid", message)
    }
}

/// What stops a protocol: its own no, or a broken state that reverts the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Goes into the receipt.
    #[error(transparent)]
    Failure(#[from] Failure),
    /// Reverts the message.
    #[error(transparent)]
    Abort(#[from] Abort),
}

/// The message is not acceptable. Nothing changes, there is no receipt and no event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Abort {
    /// The bucket doesn't exist.
    #[error("unknown bucket {0}: create it first")]
    BucketUnknown(BucketId),
    /// The caller controls nothing here.
    #[error(
        "f0{caller} is not a controller of bucket {bucket}: expected a controller, a signed invocation or an open command"
    )]
    Forbidden {
        /// The caller's actor id.
        caller: u64,
        /// The bucket.
        bucket: BucketId,
    },
    /// What is in state can't be read: a bug, never bad input.
    #[error("broken state: {0}")]
    State(String),
    /// Parameters that are not the method's.
    #[error("expected the parameters of {method}, got something else: {why}")]
    Params {
        /// Method name.
        method: &'static str,
        /// What the decoder said.
        why: String,
    },
    /// The CAR is not acceptable.
    #[error(transparent)]
    Car(#[from] CarError),
    /// The CAR is too large for a message.
    #[error(
        "expected a CAR of at most {CAR_BYTES_MAX} bytes, got {0}: a message of more than {MESSAGE_BYTES_MAX} is refused by the network; stage it"
    )]
    TooLarge(usize),
    /// The CAR's root is not a task.
    #[error("the CAR's root is not a task: {0}")]
    Task(#[from] TaskError),
    /// The task is for another bucket.
    #[error("wrong subject: the task is for {sub}, the message for bucket {bucket}")]
    Subject {
        /// The task's `sub`.
        sub: BucketId,
        /// The message's bucket.
        bucket: BucketId,
    },
    /// No protocol has this command.
    #[error("unknown command {cmd}: expected one of {known}")]
    CommandUnknown {
        /// The task's `cmd`.
        cmd: String,
        /// All commands.
        known: String,
    },
    /// Nothing is pending.
    #[error("the queue of bucket {0} is empty: schedule a CAR first")]
    QueueEmpty(BucketId),
    /// Too much is pending.
    #[error("the queue of bucket {0} is full ({QUEUE_MAX} CARs): run it first")]
    QueueFull(BucketId),
    /// The DID is taken.
    #[error("bucket {0} exists already")]
    BucketExists(BucketId),
    /// The controllers are not usable.
    #[error("controllers: {0}")]
    Controllers(String),
    /// Another actor called.
    #[error("expected a top-level message: only those carry their CAR where everybody can replay it")]
    NotTopLevel,
    /// Money came along.
    #[error("expected no value, got some: the actor could not give it back")]
    Value,
    /// `Run` of nothing.
    #[error("expected to run at least 1 task, got a max of 0")]
    RunZero,
    /// What is signed doesn't give the right.
    #[error("{name}: {0}", name = .0.name())]
    Denied(#[from] Denied),
    /// The invocation came before, in another CAR.
    #[error("replayed: the same signed invocation came in CAR {0} already")]
    Replayed(CarId),
    /// The DID is a key, and didn't sign.
    #[error("bucket {0} is a key: expected its signed invocation of /bucket/create as a proof")]
    Unproven(BucketId),
    /// The proof is for something else.
    #[error("the proof doesn't fit: {0}")]
    Proof(String),
    /// Too much of one sender's is pending.
    #[error("f0{sender} has {QUEUE_SENDER_MAX} CARs in the queue of bucket {bucket} already: run it first")]
    QueueFullSender {
        /// The bucket.
        bucket: BucketId,
        /// The sender's actor id.
        sender: u64,
    },
    /// The hook can't be called.
    #[error("hook: {0}")]
    Hook(String),
    /// A continuation from somebody else.
    #[error("expected another instance of this actor, got f0{0}, which runs other code")]
    NotInstance(u64),
    /// Nothing is staged under this id.
    #[error("CAR {0} is not staged, or not completely: stage it first")]
    StageUnknown(CarId),
    /// A CAR can't be staged so.
    #[error("stage: {0}")]
    StageInvalid(String),
    /// Too much is staged.
    #[error("f0{0} has {STAGES_MAX} CARs staged already: schedule or drop one first")]
    StagesFull(u64),
    /// What is staged stays.
    #[error("expected its owner, or an epoch after {expires}, to drop CAR {car}; a complete one stays until then")]
    StageKept {
        /// The CAR.
        car: CarId,
        /// The last epoch in which it stays.
        expires: i64,
    },
    /// Too little gas is left.
    #[error(
        "expected {0} gas to be left for a send or a hook, so that it can't be starved: send again with a higher limit"
    )]
    Gas(u64),
    /// The parameters name a bucket by something else than a DID.
    #[error(transparent)]
    Did(#[from] NotDid),
    /// The parameters name a CAR by something else than its id.
    #[error(transparent)]
    NotCarId(#[from] NotCarId),
}

impl Abort {
    /// The message's exit code. 16–31 are the FVM's common codes (ref-fvm `shared/src/error`), from 32 on our own.
    /// Numbers are never reused: clients explain them, because a message's receipt on chain holds nothing else.
    pub fn code(&self) -> u32 {
        match self {
            Abort::BucketUnknown(_) => 17,
            Abort::Forbidden { .. } => 18,
            Abort::State(_) => 20,
            Abort::Params { .. } | Abort::Did(_) | Abort::NotCarId(_) => 21,
            Abort::Car(error) => match error {
                CarError::NotACar(_) => 32,
                CarError::Truncated { .. } => 33,
                CarError::Trailing { .. } => 34,
                CarError::Roots(_) => 35,
                CarError::RootAbsent(_) => 36,
                CarError::Hash(_) => 37,
                CarError::Cid(_) => 38,
                CarError::Header(_) | CarError::DagCbor(..) => 39,
                CarError::Blocks => 40,
                CarError::Version2 => 41,
            },
            Abort::TooLarge(_) => 42,
            Abort::Task(_) => 43,
            Abort::Subject { .. } => 44,
            Abort::CommandUnknown { .. } => 45,
            Abort::QueueEmpty(_) => 46,
            Abort::QueueFull(_) => 47,
            Abort::BucketExists(_) => 48,
            Abort::Controllers(_) => 49,
            Abort::NotTopLevel => 50,
            Abort::Value => 51,
            Abort::RunZero => 52,
            Abort::Replayed(_) => 53,
            Abort::Unproven(_) => 54,
            Abort::Proof(_) => 55,
            Abort::QueueFullSender { .. } => 56,
            Abort::Hook(_) => 57,
            Abort::NotInstance(_) => 58,
            Abort::StageUnknown(_) => 59,
            Abort::StageInvalid(_) => 60,
            Abort::StagesFull(_) => 61,
            Abort::StageKept { .. } => 62,
            Abort::Gas(_) => 63,
            Abort::Denied(denied) => denied.code(),
        }
    }
}

/// What an exit code of the actor means, for people who have nothing but the code.
pub fn explain(code: u32) -> Option<&'static str> {
    Some(match code {
        16 => "illegal argument",
        17 => "unknown bucket: create it first",
        18 => "the sender is not a controller of the bucket",
        20 => "broken state: please report it",
        21 => "the parameters are not the method's",
        22 => "the actor has no such method",
        24 => "the actor panicked: please report it",
        32 => "not a CAR",
        33 => "the CAR is truncated",
        34 => "bytes after the CAR's last block",
        35 => "the CAR has not exactly one root",
        36 => "the CAR's root is not among its blocks",
        37 => "a block's bytes don't hash to its CID",
        38 => "a CID that is not version 1 with sha2-256 and dag-cbor or raw",
        39 => "DAG-CBOR that is not canonical, or nested too deeply",
        40 => "too many blocks",
        41 => "a CARv2 where a CARv1 is expected",
        42 => "the CAR is too large for a message",
        43 => "the CAR's root is not a task {sub, cmd, args, nonce}",
        44 => "the task is for another bucket",
        45 => "unknown command",
        46 => "the queue is empty: schedule a CAR first",
        47 => "the queue is full: run it first",
        48 => "the bucket exists already",
        49 => "the controllers are not usable",
        50 => "not a top-level message",
        51 => "value came along, and the actor takes none",
        52 => "a run of 0 tasks",
        53 => "the same signed invocation came in another CAR already",
        54 => "the bucket's DID is a key, and its proof is missing",
        55 => "the proof of the bucket's DID is for something else",
        56 => "too many of the sender's CARs are in the queue: run it first",
        57 => "the hook can't be called",
        58 => "not another instance of the actor: it runs other code, or is not there",
        59 => "the CAR is not staged, or not completely",
        60 => "a CAR can't be staged so",
        61 => "the sender has too many CARs staged",
        62 => "what is staged can't be dropped yet",
        63 => "too little gas for a send to another instance or a hook: send again with a higher limit",
        code => return ucan::explain(code),
    })
}
