//! What a node says of itself, and how it is told to estimate.

use fvm_shared::econ::TokenAmount;
use num_traits::Zero;
use serde::{Deserialize, Serialize};

use super::lotus;

/// The answer of `Filecoin.Version`.
///
/// lotus:api/api_common.go `APIVersion`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct VersionInfo {
    /// For people, such as `1.33.0+mainnet`.
    pub version: String,
    /// Three bytes: major, minor, patch.
    #[serde(rename = "APIVersion")]
    pub api_version: u32,
    /// Seconds between epochs.
    pub block_delay: u64,
    /// What runs, such as `lotus`; absent on old nodes.
    #[serde(default)]
    pub agent: String,
}

/// How `Filecoin.GasEstimateMessageGas` is to estimate.
///
/// lotus:api/types.go `MessageSendSpec`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MessageSendSpec {
    /// The most that gas may cost in all; zero leaves it to the node.
    #[serde(with = "lotus")]
    pub max_fee: TokenAmount,
    /// Makes a repeated send the same send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub msg_uuid: Option<String>,
    /// Whether the fee cap follows from `max_fee` alone.
    pub maximize_fee_cap: bool,
}

impl Default for MessageSendSpec {
    fn default() -> Self {
        Self { max_fee: TokenAmount::zero(), msg_uuid: None, maximize_fee_cap: false }
    }
}
