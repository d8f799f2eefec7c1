//! What executing a message gave.

use cid::Cid;
use fvm_ipld_encoding::RawBytes;
use fvm_shared::clock::ChainEpoch;
use fvm_shared::error::ExitCode;
use fvm_shared::receipt::Receipt;
use serde::{Deserialize, Serialize};

use super::lotus;
use super::tipset::TipsetKey;

/// What executing a message gave.
///
/// lotus:chain/types/message_receipt.go `MessageReceipt`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MessageReceipt {
    /// 0 for success.
    pub exit_code: ExitCode,
    /// What the method returned, commonly CBOR.
    #[serde(rename = "Return", with = "lotus")]
    pub return_data: Vec<u8>,
    /// Gas that was used.
    pub gas_used: u64,
    /// `AMT[StampedEvent]` with bit width 5; null when there are no events.
    #[serde(default, with = "lotus")]
    pub events_root: Option<Cid>,
}

impl From<Receipt> for MessageReceipt {
    fn from(receipt: Receipt) -> Self {
        let Receipt { exit_code, return_data, gas_used, events_root } = receipt;
        Self { exit_code, return_data: return_data.to_vec(), gas_used, events_root }
    }
}

impl From<MessageReceipt> for Receipt {
    fn from(receipt: MessageReceipt) -> Self {
        let MessageReceipt { exit_code, return_data, gas_used, events_root } = receipt;
        Self { exit_code, return_data: RawBytes::new(return_data), gas_used, events_root }
    }
}

/// Where a message was executed, and with what result.
///
/// lotus:api/api_full.go `MsgLookup`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MsgLookup {
    /// Differs from what was asked for when a message with other gas values took its place.
    #[serde(with = "lotus")]
    pub message: Cid,
    /// What executing it gave.
    pub receipt: MessageReceipt,
    /// The return value decoded by the node, where it knows the actor; null elsewhere.
    #[serde(default)]
    pub return_dec: serde_json::Value,
    /// The tipset whose *parent receipts* hold the receipt: the child of the one with the message.
    #[serde(rename = "TipSet")]
    pub tipset: TipsetKey,
    /// The epoch of `tipset`.
    pub height: ChainEpoch,
}
