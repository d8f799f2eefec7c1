//! What a message did, or would do, in detail.

use cid::Cid;
use fvm_shared::address::Address;
use fvm_shared::bigint::BigInt;
use fvm_shared::econ::TokenAmount;
use fvm_shared::error::ExitCode;
use serde::{Deserialize, Serialize};

use super::lotus::{self, null_as_default};
use super::message::Message;
use super::receipt::MessageReceipt;

/// The result of `Filecoin.StateCall` and `Filecoin.StateReplay`.
///
/// lotus:api/api_full.go `InvocResult`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct InvocResult {
    /// The message's CID.
    #[serde(with = "lotus")]
    pub msg_cid: Cid,
    /// The message.
    pub msg: Message,
    /// Null when it could not be executed at all; `error` says why then.
    pub msg_rct: Option<MessageReceipt>,
    /// Who pays what; zero for a call.
    #[serde(default)]
    pub gas_cost: MsgGasCost,
    /// The call tree.
    pub execution_trace: ExecutionTrace,
    /// Empty when all went well.
    #[serde(default)]
    pub error: String,
    /// How long the node took, in nanoseconds.
    #[serde(default)]
    pub duration: i64,
}

/// What executing a message cost, and whom.
///
/// lotus:api/api_full.go `MsgGasCost`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MsgGasCost {
    /// Null for a call.
    #[serde(default, with = "lotus")]
    pub message: Option<Cid>,
    /// Gas, as an integer in a string.
    #[serde(with = "lotus")]
    pub gas_used: BigInt,
    /// Burnt at the base fee.
    #[serde(with = "lotus")]
    pub base_fee_burn: TokenAmount,
    /// Burnt because the limit was far above the use.
    #[serde(with = "lotus")]
    pub over_estimation_burn: TokenAmount,
    /// Taken from the miner.
    #[serde(with = "lotus")]
    pub miner_penalty: TokenAmount,
    /// Given to the miner.
    #[serde(with = "lotus")]
    pub miner_tip: TokenAmount,
    /// Given back to the sender.
    #[serde(with = "lotus")]
    pub refund: TokenAmount,
    /// What the sender paid in all.
    #[serde(with = "lotus")]
    pub total_cost: TokenAmount,
}

/// A call and the calls it made.
///
/// `InvokedActor`, `Logs` and `IpldOps`, which Lotus leaves out when empty, are not read.
///
/// lotus:chain/types/execresult.go `ExecutionTrace`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExecutionTrace {
    /// The call.
    pub msg: MessageTrace,
    /// What it gave.
    pub msg_rct: ReturnTrace,
    /// What it was charged for.
    #[serde(default, deserialize_with = "null_as_default")]
    pub gas_charges: Vec<GasTrace>,
    /// The calls it made, in order.
    #[serde(default, deserialize_with = "null_as_default")]
    pub subcalls: Vec<ExecutionTrace>,
}

/// A call between actors.
///
/// lotus:chain/types/execresult.go `MessageTrace`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MessageTrace {
    /// The caller; an ID address below the top.
    #[serde(with = "lotus")]
    pub from: Address,
    /// The callee.
    #[serde(with = "lotus")]
    pub to: Address,
    /// What was sent along.
    #[serde(with = "lotus")]
    pub value: TokenAmount,
    /// The callee's method.
    pub method: u64,
    /// The method's parameters.
    #[serde(with = "lotus")]
    pub params: Vec<u8>,
    /// 0 when there are none, else 0x51 or 0x71.
    pub params_codec: u64,
    /// Gas the callee may use.
    #[serde(default)]
    pub gas_limit: u64,
    /// Whether the callee may change nothing.
    #[serde(default)]
    pub read_only: bool,
}

/// What a call gave.
///
/// lotus:chain/types/execresult.go `ReturnTrace`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ReturnTrace {
    /// 0 for success.
    pub exit_code: ExitCode,
    /// What the method returned.
    #[serde(rename = "Return", with = "lotus")]
    pub return_data: Vec<u8>,
    /// 0 when nothing was returned, else 0x51 or 0x71.
    pub return_codec: u64,
}

/// A charge of gas; its short names are Lotus'.
///
/// lotus:chain/types/execresult.go `GasTrace`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GasTrace {
    /// What was charged for, such as `OnBlockLink`.
    #[serde(rename = "Name")]
    pub name: String,
    /// Compute and storage together.
    #[serde(rename = "tg")]
    pub total_gas: i64,
    /// For work.
    #[serde(rename = "cg")]
    pub compute_gas: i64,
    /// For bytes.
    #[serde(rename = "sg")]
    pub storage_gas: i64,
    /// How long it took, in nanoseconds.
    #[serde(rename = "tt")]
    pub time_taken: i64,
}
