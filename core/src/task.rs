//! What to do, on which bucket: `{sub, cmd, args, nonce}`, the part of an invocation that identifies work
//! (ucan-wg/invocation, "Task").

use std::collections::BTreeMap;

use crate::car::{Car, CarError, Transaction};
use crate::cid::{Cid, DAG_CBOR, Hasher, block_cid};
use crate::dag_cbor::{self, Ipld};
use crate::did::{BucketId, NotDid};
use crate::limits::{CMD_BYTES_MAX, NONCE_BYTES_MAX};

/// A task: the root block of every CAR that the machine runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// The bucket that it is for.
    pub sub: BucketId,
    /// What to do, like `/kv/put`.
    pub cmd: String,
    /// The command's arguments; links may name other blocks of the same CAR.
    pub args: BTreeMap<String, Ipld>,
    /// Tells apart what is otherwise equal: the same task in the same CAR runs once.
    pub nonce: Vec<u8>,
}

/// Why a value is not a task.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// The root isn't a map.
    #[error("expected a map {{sub, cmd, args, nonce}}, got {0}")]
    NotAMap(&'static str),
    /// A field is missing.
    #[error("expected a field “{0}”, got none")]
    Missing(&'static str),
    /// A field too many.
    #[error("expected no other fields than sub, cmd, args and nonce, got “{0}”")]
    Unknown(String),
    /// A field of the wrong kind.
    #[error("expected “{field}” to be {expected}, got {got}")]
    Kind {
        /// The field.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        got: &'static str,
    },
    /// The subject isn't a DID.
    #[error("sub: {0}")]
    Sub(#[from] NotDid),
    /// The command isn't well formed.
    #[error("expected a command like /kv/put (lower case, of at most {CMD_BYTES_MAX} bytes), got “{0}”")]
    Cmd(String),
    /// The nonce is too long.
    #[error("expected a nonce of at most {NONCE_BYTES_MAX} bytes, got {0}")]
    Nonce(usize),
}

/// The kind of a value, in the words of the IPLD data model.
pub fn kind(value: &Ipld) -> &'static str {
    match value {
        Ipld::Null => "null",
        Ipld::Bool(_) => "a boolean",
        Ipld::Integer(_) => "an integer",
        Ipld::Float(_) => "a float",
        Ipld::String(_) => "a string",
        Ipld::Bytes(_) => "bytes",
        Ipld::List(_) => "a list",
        Ipld::Map(_) => "a map",
        Ipld::Link(_) => "a link",
    }
}

/// Whether this is a command: lower-case segments, each after a slash.
pub fn is_command(cmd: &str) -> bool {
    let segment = |s: &str| {
        !s.is_empty() && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b))
    };
    cmd.len() <= CMD_BYTES_MAX && cmd.strip_prefix('/').is_some_and(|rest| rest.split('/').all(segment))
}

impl Task {
    /// Checks a decoded root block.
    pub fn from_ipld(value: Ipld) -> Result<Self, TaskError> {
        let Ipld::Map(mut map) = value else { return Err(TaskError::NotAMap(kind(&value))) };
        let mut take = |field| map.remove(field).ok_or(TaskError::Missing(field));
        let wrong = |field, expected, value: &Ipld| TaskError::Kind { field, expected, got: kind(value) };
        let sub = match take("sub")? {
            Ipld::String(sub) => sub.parse()?,
            other => return Err(wrong("sub", "a DID", &other)),
        };
        let cmd = match take("cmd")? {
            Ipld::String(cmd) if is_command(&cmd) => cmd,
            Ipld::String(cmd) => return Err(TaskError::Cmd(cmd.chars().take(80).collect())),
            other => return Err(wrong("cmd", "a string", &other)),
        };
        let args = match take("args")? {
            Ipld::Map(args) => args,
            other => return Err(wrong("args", "a map", &other)),
        };
        let nonce = match take("nonce")? {
            Ipld::Bytes(nonce) if nonce.len() <= NONCE_BYTES_MAX => nonce,
            Ipld::Bytes(nonce) => return Err(TaskError::Nonce(nonce.len())),
            other => return Err(wrong("nonce", "bytes", &other)),
        };
        match map.into_keys().next() {
            Some(field) => Err(TaskError::Unknown(field)),
            None => Ok(Self { sub, cmd, args, nonce }),
        }
    }

    /// The task as a value.
    pub fn to_ipld(&self) -> Ipld {
        dag_cbor::map([
            ("sub", Ipld::String(self.sub.to_string())),
            ("cmd", Ipld::String(self.cmd.clone())),
            ("args", Ipld::Map(self.args.clone())),
            ("nonce", Ipld::Bytes(self.nonce.clone())),
        ])
    }

    /// The CID of its block, whether that is in a CAR or not.
    pub fn cid<H: Hasher>(&self) -> Cid {
        block_cid::<H>(DAG_CBOR, &dag_cbor::encode(&self.to_ipld()))
    }

    /// A CAR of this task alone.
    pub fn to_car<H: Hasher>(&self) -> Vec<u8> {
        self.to_car_with::<H>(Transaction::default())
    }

    /// A CAR of this task after the blocks that were written already.
    pub fn to_car_with<H: Hasher>(&self, mut transaction: Transaction<H>) -> Vec<u8> {
        transaction.write(&self.to_ipld());
        transaction.commit().expect("the task was written")
    }

    /// A CAR of this task with the blocks of `source` that it links to, directly or through others; see [`Car::pack`].
    pub fn to_car_from<H: Hasher>(&self, source: &Car) -> Result<Vec<u8>, CarError> {
        let mut wanted = Vec::new();
        self.args.values().for_each(|value| dag_cbor::links(value, &mut wanted));
        Ok(self.to_car_with(source.pack::<H>(wanted)?))
    }
}
