//! The actor's methods, their parameters and return values: DAG-CBOR tuples, shared by actor, client and replay.
//!
//! Method numbers are FRC-0042 hashes of the names. CAR ids travel as bytes, because a DAG-CBOR link to them could not pass
//! the FVM; blocks of parameters and returns carry the codec CBOR (0x51).

use cid::Cid;
use fvm_ipld_encoding::{RawBytes, strict_bytes, tuple::*};
use fvm_shared::ActorID;
use fvm_shared::address::Address;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::bucket::Mode;
use crate::cid::CarId;
use crate::did::BucketId;
use crate::error::Abort;

/// FRC-0042 method numbers.
pub mod method {
    /// `Constructor` is 1 by convention (FRC-0042).
    pub const CONSTRUCTOR: u64 = 1;
    /// Creates a bucket.
    pub const CREATE: u64 = 508_237_557;
    /// Enqueues a CAR and returns at once.
    pub const SCHEDULE: u64 = 2_177_745_511;
    /// Executes from the queue's head.
    pub const RUN: u64 = 2_880_299_807;
    /// Executes one CAR at once.
    pub const INVOKE: u64 = 3_929_173_870;
    /// The receipt of a CAR. Changes nothing.
    pub const RECEIPT: u64 = 3_365_306_405;
    /// A bucket's record. Changes nothing.
    pub const BUCKET: u64 = 2_214_852_266;
}

/// `Create`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct CreateParams {
    /// The bucket's DID.
    pub bucket: BucketId,
    /// Who may schedule and invoke; empty for the caller alone.
    pub controllers: Vec<Address>,
    /// How it runs.
    pub mode: Mode,
}

/// `Schedule` and `Invoke`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct CarParams {
    /// The bucket's DID; the CAR's task must name it as its `sub`.
    pub bucket: BucketId,
    /// The CAR.
    #[serde(with = "strict_bytes")]
    pub car: Vec<u8>,
    /// Whether to run it again if it ran already.
    pub force: bool,
}

/// `Run`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct RunParams {
    /// The bucket's DID.
    pub bucket: BucketId,
    /// At most so many tasks; more than `limits::RUN_MAX` is taken as that.
    pub max: u64,
}

/// `Receipt`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct ReceiptParams {
    /// The bucket's DID.
    pub bucket: BucketId,
    /// The input CAR.
    pub car: CarId,
}

/// `Bucket`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct BucketParams {
    /// The bucket's DID.
    pub bucket: BucketId,
}

/// What is known of a CAR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Status {
    /// Never seen.
    NotFound,
    /// In the queue, without a receipt.
    Pending,
    /// It ran.
    Done,
}

impl From<Status> for u8 {
    fn from(status: Status) -> u8 {
        status as u8
    }
}

impl TryFrom<u8> for Status {
    type Error = String;

    fn try_from(status: u8) -> Result<Self, String> {
        match status {
            0 => Ok(Status::NotFound),
            1 => Ok(Status::Pending),
            2 => Ok(Status::Done),
            other => Err(format!("expected status 0, 1 or 2, got {other}")),
        }
    }
}

/// `Schedule`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct ScheduleReturn {
    /// The CAR's id, the receipt's key.
    pub car: CarId,
    /// [`Status::Pending`], or [`Status::Done`] when it ran already and was not forced.
    pub status: Status,
    /// How many tasks are before it in the queue; `None` when done.
    pub position: Option<u64>,
    /// Its newest receipt.
    pub receipt: Option<CarId>,
}

/// `Create`: the record as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct CreateReturn {
    /// Actor ids of the controllers, sorted.
    pub controllers: Vec<ActorID>,
    /// The empty bucket's root.
    pub root: Cid,
}

/// `Run`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct RunReturn {
    /// Tasks that ran; one that was known already doesn't count.
    pub ran: u64,
    /// Those of them whose receipt holds an error.
    pub failed: u64,
    /// Tasks that are left in the queue.
    pub pending: u64,
    /// The bucket's root.
    pub root: Cid,
}

/// `Invoke`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct InvokeReturn {
    /// The receipt: a new one, or the known one of a CAR that ran before.
    pub receipt: CarId,
    /// Whether it ran now.
    pub ran: bool,
    /// Whether its receipt holds an `ok`; `None` for a known one.
    pub ok: Option<bool>,
    /// The bucket's root.
    pub root: Cid,
}

/// `Receipt`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct ReceiptReturn {
    /// What is known.
    pub status: Status,
    /// The newest receipt.
    pub receipt: Option<CarId>,
    /// How many times it ran.
    pub version: u64,
    /// How many tasks are before it in the queue, if it is pending (again).
    pub position: Option<u64>,
}

/// A message that changes state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Create a bucket.
    Create(CreateParams),
    /// Enqueue a CAR.
    Schedule(CarParams),
    /// Execute what is pending.
    Run(RunParams),
    /// Execute one CAR.
    Invoke(CarParams),
}

impl Message {
    /// Reads a message's parameters; `None` for a method that changes nothing or isn't there.
    pub fn decode(method: u64, params: &[u8]) -> Option<Result<Self, Abort>> {
        Some(match method {
            method::CREATE => decode("Create", params).map(Message::Create),
            method::SCHEDULE => decode("Schedule", params).map(Message::Schedule),
            method::RUN => decode("Run", params).map(Message::Run),
            method::INVOKE => decode("Invoke", params).map(Message::Invoke),
            _ => return None,
        })
    }

    /// Method number and parameters, as a message carries them.
    pub fn encode(&self) -> (u64, RawBytes) {
        match self {
            Message::Create(params) => (method::CREATE, encode(params)),
            Message::Schedule(params) => (method::SCHEDULE, encode(params)),
            Message::Run(params) => (method::RUN, encode(params)),
            Message::Invoke(params) => (method::INVOKE, encode(params)),
        }
    }

    /// The bucket that it is for.
    pub fn bucket(&self) -> &BucketId {
        match self {
            Message::Create(params) => &params.bucket,
            Message::Run(params) => &params.bucket,
            Message::Schedule(params) | Message::Invoke(params) => &params.bucket,
        }
    }
}

/// What a message that changed state returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Returned {
    /// Of `Create`.
    Create(CreateReturn),
    /// Of `Schedule`.
    Schedule(ScheduleReturn),
    /// Of `Run`.
    Run(RunReturn),
    /// Of `Invoke`.
    Invoke(InvokeReturn),
}

impl Returned {
    /// The bytes of the message's return value.
    pub fn encode(&self) -> RawBytes {
        match self {
            Returned::Create(value) => encode(value),
            Returned::Schedule(value) => encode(value),
            Returned::Run(value) => encode(value),
            Returned::Invoke(value) => encode(value),
        }
    }
}

/// Encodes parameters or a return value.
pub fn encode<T: Serialize>(value: &T) -> RawBytes {
    RawBytes::new(fvm_ipld_encoding::to_vec(value).expect("tuples of plain fields encode"))
}

/// Decodes parameters or a return value of `method`.
pub fn decode<T: DeserializeOwned>(method: &'static str, bytes: &[u8]) -> Result<T, Abort> {
    fvm_ipld_encoding::from_slice(bytes).map_err(|error| Abort::Params { method, why: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn method_numbers_are_frc_0042_hashes() {
        use frc42_dispatch::method_hash;
        assert_eq!(method::CREATE, method_hash!("Create"));
        assert_eq!(method::SCHEDULE, method_hash!("Schedule"));
        assert_eq!(method::RUN, method_hash!("Run"));
        assert_eq!(method::INVOKE, method_hash!("Invoke"));
        assert_eq!(method::RECEIPT, method_hash!("Receipt"));
        assert_eq!(method::BUCKET, method_hash!("Bucket"));
    }
}
