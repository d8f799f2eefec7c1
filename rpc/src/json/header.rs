//! A block header and its parts.

use cid::Cid;
use fvm_shared::address::Address;
use fvm_shared::bigint::BigInt;
use fvm_shared::clock::ChainEpoch;
use fvm_shared::econ::TokenAmount;
use serde::{Deserialize, Serialize};

use super::lotus::{self, null_as_default};
use super::signature::Signature;

/// A block without its messages; its CBOR form is in `cbor.rs`.
///
/// lotus:chain/types/blockheader.go `BlockHeader`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BlockHeader {
    /// Who made the block.
    #[serde(with = "lotus")]
    pub miner: Address,
    /// Orders the blocks of a tipset.
    pub ticket: Option<Ticket>,
    /// Right to make this block; null in genesis.
    pub election_proof: Option<ElectionProof>,
    /// The drand values since the parent.
    #[serde(deserialize_with = "null_as_default")]
    pub beacon_entries: Vec<BeaconEntry>,
    /// Proof that the miner has its power.
    #[serde(rename = "WinPoStProof", deserialize_with = "null_as_default")]
    pub win_post_proof: Vec<PoStProof>,
    /// The key of the parent tipset; empty in genesis.
    #[serde(with = "lotus")]
    pub parents: Vec<Cid>,
    /// The weight of the chain that ends with the parents.
    #[serde(with = "lotus")]
    pub parent_weight: BigInt,
    /// The epoch.
    pub height: ChainEpoch,
    /// The state after executing the messages of the *parent* tipset.
    #[serde(with = "lotus")]
    pub parent_state_root: Cid,
    /// `AMT[MessageReceipt]` of the messages of the *parent* tipset.
    #[serde(with = "lotus")]
    pub parent_message_receipts: Cid,
    /// `TxMeta` with the roots of this block's own messages.
    #[serde(with = "lotus")]
    pub messages: Cid,
    /// The aggregate of the BLS messages' signatures; null in genesis.
    #[serde(rename = "BLSAggregate")]
    pub bls_aggregate: Option<Signature>,
    /// Seconds since 1970.
    pub timestamp: u64,
    /// The miner's signature over [`BlockHeader::signing_bytes`].
    pub block_sig: Option<Signature>,
    /// Unused by the protocol.
    pub fork_signaling: u64,
    /// The base fee after executing the parent tipset.
    #[serde(with = "lotus")]
    pub parent_base_fee: TokenAmount,
}

/// A VRF output that orders blocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The proof; its hash is what is compared.
    #[serde(rename = "VRFProof", with = "lotus")]
    pub vrf_proof: Vec<u8>,
}

/// The right to make a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ElectionProof {
    /// How many times the miner won in this epoch.
    pub win_count: i64,
    /// The proof of it.
    #[serde(rename = "VRFProof", with = "lotus")]
    pub vrf_proof: Vec<u8>,
}

/// A drand value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BeaconEntry {
    /// The drand round.
    pub round: u64,
    /// Its signature.
    #[serde(with = "lotus")]
    pub data: Vec<u8>,
}

/// A winning proof of space-time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoStProof {
    /// The registered proof type.
    #[serde(rename = "PoStProof")]
    pub post_proof: i64,
    /// The proof.
    #[serde(rename = "ProofBytes", with = "lotus")]
    pub proof_bytes: Vec<u8>,
}
