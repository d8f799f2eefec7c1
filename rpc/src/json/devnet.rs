//! What only our devnet says.

use cid::Cid;
use fvm_shared::address::Address;
use fvm_shared::clock::ChainEpoch;
use fvm_shared::econ::TokenAmount;
use serde::{Deserialize, Serialize};

use super::lotus;

/// When the devnet makes a tipset.
///
/// Written as `"Instant"`, `"Manual"` or `{"Interval": 2000}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MiningMode {
    /// As soon as a message waits.
    Instant,
    /// Every so many milliseconds.
    Interval(u64),
    /// Only for `Devnet.Mine`.
    Manual,
}

/// An account with money, and its key; never a real one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DevnetAccount {
    /// The key's address.
    #[serde(with = "lotus")]
    pub address: Address,
    /// As `lotus wallet export` writes it: hex of the JSON of type and private key.
    pub key: String,
    /// What it owns at the head.
    #[serde(with = "lotus")]
    pub balance: TokenAmount,
}

/// Code that the devnet was started with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DevnetActor {
    /// Its name in the devnet's configuration.
    pub name: String,
    /// The CID of the wasm.
    #[serde(with = "lotus")]
    pub code: Cid,
    /// Where it lives, when genesis made an actor of it.
    #[serde(default, with = "lotus")]
    pub address: Option<Address>,
}

/// The answer of `Devnet.Info`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DevnetSummary {
    /// As `Filecoin.StateNetworkName` gives it.
    pub network_name: String,
    /// As `Filecoin.StateNetworkVersion` gives it.
    pub network_version: u32,
    /// As `Filecoin.EthChainId` gives it, but a number.
    pub chain_id: u64,
    /// The genesis block.
    #[serde(with = "lotus")]
    pub genesis: Cid,
    /// The epoch of the head.
    pub height: ChainEpoch,
    /// When tipsets are made.
    pub mining: MiningMode,
    /// Messages that wait.
    pub pending: u64,
    /// What genesis holds beside the built-in actors.
    pub actors: Vec<DevnetActor>,
}
