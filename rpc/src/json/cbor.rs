//! The CBOR side of things that are content-addressed: what is hashed, and how.

use cid::Cid;
use fvm_ipld_encoding::tuple::{Deserialize_tuple, Serialize_tuple, serde_tuple};
use fvm_ipld_encoding::{BytesDe, DAG_CBOR, from_slice, to_vec};
use fvm_shared::address::Address;
use fvm_shared::bigint::bigint_ser::BigIntDe;
use fvm_shared::econ::TokenAmount;
use multihash_codetable::{Code, MultihashDigest};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::header::{BeaconEntry, BlockHeader, ElectionProof, PoStProof, Ticket};
use super::signature::Signature;

/// Chain data that can't be written to, or read from, its CBOR form.
#[derive(Debug, thiserror::Error)]
#[error("{what} is not valid CBOR: {source}")]
pub struct CborError {
    what: &'static str,
    source: fvm_ipld_encoding::Error,
}

/// The CID of a DAG-CBOR block on the chain: version 1, blake2b-256.
///
/// go-state-types `abi.CidBuilder`.
pub fn blake2b_cid(dag_cbor: &[u8]) -> Cid {
    Cid::new_v1(DAG_CBOR, Code::Blake2b256.digest(dag_cbor))
}

pub(super) fn encode<T: Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>, CborError> {
    to_vec(value).map_err(|source| CborError { what, source })
}

pub(super) fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, CborError> {
    from_slice(bytes).map_err(|source| CborError { what, source })
}

/// The 16-tuple of lotus:chain/types/cbor_gen.go `BlockHeader.MarshalCBOR`.
#[derive(Serialize_tuple, Deserialize_tuple)]
struct HeaderTuple {
    miner: Address,
    ticket: Option<TicketTuple>,
    election_proof: Option<ElectionProofTuple>,
    beacon_entries: Vec<BeaconEntryTuple>,
    win_post_proof: Vec<PoStProofTuple>,
    parents: Vec<Cid>,
    parent_weight: BigIntDe,
    height: i64,
    parent_state_root: Cid,
    parent_message_receipts: Cid,
    messages: Cid,
    bls_aggregate: Option<Signature>,
    timestamp: u64,
    block_sig: Option<Signature>,
    fork_signaling: u64,
    parent_base_fee: TokenAmount,
}

#[derive(Serialize_tuple, Deserialize_tuple)]
struct TicketTuple {
    vrf_proof: BytesDe,
}

#[derive(Serialize_tuple, Deserialize_tuple)]
struct ElectionProofTuple {
    win_count: i64,
    vrf_proof: BytesDe,
}

#[derive(Serialize_tuple, Deserialize_tuple)]
struct BeaconEntryTuple {
    round: u64,
    data: BytesDe,
}

#[derive(Serialize_tuple, Deserialize_tuple)]
struct PoStProofTuple {
    post_proof: i64,
    proof_bytes: BytesDe,
}

impl BlockHeader {
    /// The bytes that are gossiped, stored and hashed.
    pub fn to_cbor(&self) -> Result<Vec<u8>, CborError> {
        encode("a block header", &HeaderTuple::from(self.clone()))
    }

    /// Reads a block as `Filecoin.ChainReadObj` gives it.
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, CborError> {
        decode::<HeaderTuple>("a block header", bytes).map(Self::from)
    }

    /// The name of the block, and a member of its tipset's key.
    pub fn cid(&self) -> Result<Cid, CborError> {
        Ok(blake2b_cid(&self.to_cbor()?))
    }

    /// What the miner signs: the header without its signature.
    ///
    /// lotus:chain/types/blockheader.go `SigningBytes`.
    pub fn signing_bytes(&self) -> Result<Vec<u8>, CborError> {
        Self { block_sig: None, ..self.clone() }.to_cbor()
    }
}

// Both conversions destructure, so that a new field can't be forgotten in one of them.
impl From<BlockHeader> for HeaderTuple {
    fn from(header: BlockHeader) -> Self {
        let BlockHeader {
            miner,
            ticket,
            election_proof,
            beacon_entries,
            win_post_proof,
            parents,
            parent_weight,
            height,
            parent_state_root,
            parent_message_receipts,
            messages,
            bls_aggregate,
            timestamp,
            block_sig,
            fork_signaling,
            parent_base_fee,
        } = header;
        Self {
            miner,
            ticket: ticket.map(|t| TicketTuple { vrf_proof: BytesDe(t.vrf_proof) }),
            election_proof: election_proof
                .map(|p| ElectionProofTuple { win_count: p.win_count, vrf_proof: BytesDe(p.vrf_proof) }),
            beacon_entries: beacon_entries
                .into_iter()
                .map(|e| BeaconEntryTuple { round: e.round, data: BytesDe(e.data) })
                .collect(),
            win_post_proof: win_post_proof
                .into_iter()
                .map(|p| PoStProofTuple { post_proof: p.post_proof, proof_bytes: BytesDe(p.proof_bytes) })
                .collect(),
            parents,
            parent_weight: BigIntDe(parent_weight),
            height,
            parent_state_root,
            parent_message_receipts,
            messages,
            bls_aggregate,
            timestamp,
            block_sig,
            fork_signaling,
            parent_base_fee,
        }
    }
}

impl From<HeaderTuple> for BlockHeader {
    fn from(tuple: HeaderTuple) -> Self {
        let HeaderTuple {
            miner,
            ticket,
            election_proof,
            beacon_entries,
            win_post_proof,
            parents,
            parent_weight,
            height,
            parent_state_root,
            parent_message_receipts,
            messages,
            bls_aggregate,
            timestamp,
            block_sig,
            fork_signaling,
            parent_base_fee,
        } = tuple;
        Self {
            miner,
            ticket: ticket.map(|t| Ticket { vrf_proof: t.vrf_proof.0 }),
            election_proof: election_proof.map(|p| ElectionProof { win_count: p.win_count, vrf_proof: p.vrf_proof.0 }),
            beacon_entries: beacon_entries
                .into_iter()
                .map(|e| BeaconEntry { round: e.round, data: e.data.0 })
                .collect(),
            win_post_proof: win_post_proof
                .into_iter()
                .map(|p| PoStProof { post_proof: p.post_proof, proof_bytes: p.proof_bytes.0 })
                .collect(),
            parents,
            parent_weight: parent_weight.0,
            height,
            parent_state_root,
            parent_message_receipts,
            messages,
            bls_aggregate,
            timestamp,
            block_sig,
            fork_signaling,
            parent_base_fee,
        }
    }
}
