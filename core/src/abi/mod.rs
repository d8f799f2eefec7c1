//! The actor's methods, their parameters and return values: DAG-CBOR tuples, shared by actor, client and replay.
//!
//! Method numbers are FRC-0042 hashes of the names. CAR ids travel as bytes, because a DAG-CBOR link to them could not pass
//! the FVM; blocks of parameters and returns carry the codec CBOR (0x51).

use cid::Cid;
use fvm_ipld_encoding::{RawBytes, strict_bytes, tuple::*};
use fvm_shared::ActorID;
use fvm_shared::address::Address;
use fvm_shared::clock::ChainEpoch;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::bucket::{Chain, Mode};
use crate::cid::CarId;
use crate::did::BucketId;
use crate::error::Abort;
use crate::map::Bytes;

mod message;

pub use message::{Call, Message, Returned, Wire};

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
    /// Begins to stage a CAR that is too large for one message.
    pub const STAGE: u64 = 121_534_630;
    /// Brings a piece of a CAR that is being staged.
    pub const CHUNK: u64 = 1_423_781_732;
    /// Drops a CAR that was staged.
    pub const DROP: u64 = 2_355_703_475;
    /// Brings a continuation from another instance of this actor.
    pub const DELIVER: u64 = 2_022_264_799;
    /// Any of the others, from a sender that can only call contracts (FRC-0042 hash of `InvokeEVM`); see [`crate::evm`].
    pub const INVOKE_EVM: u64 = 3_844_450_837;
    /// The receipt of a CAR. Changes nothing.
    pub const RECEIPT: u64 = 3_365_306_405;
    /// A bucket's record. Changes nothing.
    pub const BUCKET: u64 = 2_214_852_266;

    /// Whether a number is one of these.
    pub fn is_own(number: u64) -> bool {
        [CREATE, SCHEDULE, RUN, INVOKE, STAGE, CHUNK, DROP, DELIVER, INVOKE_EVM, RECEIPT, BUCKET].contains(&number)
    }
}

/// `Create`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct CreateParams {
    /// The bucket's DID.
    pub bucket: BucketId,
    /// Who may schedule and invoke without a signature. Empty: with a proof nobody, without one the caller alone.
    pub controllers: Vec<Address>,
    /// How it runs.
    pub mode: Mode,
    /// A CAR whose root is the invocation `/bucket/create {controllers, mode}`, signed by the bucket's DID. Needed where the
    /// DID is a key that can sign; other DIDs belong to who comes first.
    pub proof: Option<Bytes>,
}

/// Whom to tell of a receipt: an actor's method (FRC-0042 number), called with [`HookParams`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct Hook {
    /// The actor.
    pub to: Address,
    /// Its method.
    pub method: u64,
}

/// What a hook is called with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct HookParams {
    /// The bucket.
    pub bucket: BucketId,
    /// The CAR that ran.
    pub ran: CarId,
    /// The receipt's id.
    pub receipt: CarId,
    /// Whether the receipt holds an `ok`.
    pub ok: bool,
    /// The receipt CAR; empty when it is of more than `limits::HOOK_CAR_BYTES_MAX`, then the indexers have it.
    #[serde(with = "strict_bytes")]
    pub receipt_car: Vec<u8>,
}

/// `Schedule` and `Invoke`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct CarParams {
    /// The bucket's DID; the CAR's task must name it as its `sub`.
    pub bucket: BucketId,
    /// The CAR, or the bytes of the CID of one that is staged.
    #[serde(with = "strict_bytes")]
    pub car: Vec<u8>,
    /// Whether to run it again if it ran already.
    pub force: bool,
    /// Whom to tell of the receipt.
    pub hook: Option<Hook>,
}

impl CarParams {
    /// To run `car` once, telling nobody.
    pub fn new(bucket: BucketId, car: Vec<u8>) -> Self {
        Self { bucket, car, force: false, hook: None }
    }
}

/// `Stage`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct StageParams {
    /// The CAR's id.
    pub car: CarId,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 of each piece, in order.
    pub chunks: Vec<Bytes>,
}

/// `Chunk`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct ChunkParams {
    /// The CAR's id.
    pub car: CarId,
    /// Which piece, from 0.
    pub index: u64,
    /// The piece.
    #[serde(with = "strict_bytes")]
    pub data: Vec<u8>,
}

/// `Drop`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct DropParams {
    /// The CAR's id.
    pub car: CarId,
    /// Who staged it.
    pub owner: ActorID,
}

/// `Deliver`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct DeliverParams {
    /// The continuation.
    #[serde(with = "strict_bytes")]
    pub car: Vec<u8>,
    /// The bucket that asks for it, if what it continues had all rights there.
    pub from: Option<BucketId>,
    /// What it continues.
    pub chain: Chain,
    /// Who scheduled what it continues.
    pub caller: ActorID,
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

/// `Stage`, `Chunk` and `Drop`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct StageReturn {
    /// The CAR's id.
    pub car: CarId,
    /// Which pieces are missing; none when the CAR can be scheduled, or was dropped.
    pub missing: Vec<u64>,
    /// After this epoch anybody may drop it.
    pub expires: ChainEpoch,
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
    /// Tasks that left the queue: those that ran, and those that were known already.
    pub taken: u64,
    /// Whether it stopped because the gas that was left might not have been enough for the next task.
    pub stopped: bool,
    /// The exit codes of sending continuations to other instances, in their order.
    pub sent: Vec<u32>,
    /// Gas that had to be left at some moment, though it may not have been used: who sets a message's limit by what a trial
    /// used has to add it.
    pub reserve: u64,
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
    /// The exit codes of sending continuations to other instances, in their order.
    pub sent: Vec<u32>,
    /// Gas that had to be left at some moment, though it may not have been used: who sets a message's limit by what a trial
    /// used has to add it.
    pub reserve: u64,
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
        assert_eq!(method::STAGE, method_hash!("Stage"));
        assert_eq!(method::CHUNK, method_hash!("Chunk"));
        assert_eq!(method::DROP, method_hash!("Drop"));
        assert_eq!(method::DELIVER, method_hash!("Deliver"));
        assert_eq!(method::INVOKE_EVM, method_hash!("InvokeEVM"));
    }
}
