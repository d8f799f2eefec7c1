//! Proofs that stand alone: under this block header, the actor's state says that this CAR has this receipt.
//!
//! A proof is a CARv1 of the blocks from a header down to one entry, in the order in which they are looked up, each once:
//!
//! 1. the *claim*, the CAR's root: `{actor, bucket, car, header, proof: 1, receipt, version}`, DAG-CBOR under sha2-256;
//! 2. the block header (lotus:chain/types/blockheader.go), whose `ParentStateRoot` is the state after the messages of the
//!    tipset before it;
//! 3. the state root `[version, actors, info]` (ref-fvm `shared/src/state/mod.rs`);
//! 4. nodes of the actors' HAMT, bit width 5, by SHA-256 of the ID address, down to `[code, head, nonce, balance, f4]`;
//! 5. nodes of the HAMT of buckets, which is the actor's head, down to the bucket's record ([`bucket_core::state`]);
//! 6. nodes of the bucket's HAMT of receipts, down to the entry, or to where the entry would have to be.
//!
//! All but the claim are DAG-CBOR under blake2b-256, as the chain links them. The claim says *what to look for*, nothing
//! else in it is believed: [`verify`] hashes every block again, takes the same walk as the prover took, through the blocks
//! of the file only, writes the file that this walk gives, and compares all of its bytes.
//!
//! **What it is worth**: as much as the trust in the header's CID. Anybody can write a header with any state under it, and a
//! header names no network. So compare the CID with a node of your own, or with a finality certificate, and the actor's
//! id with the actor that you mean: another actor may keep a state of the same form. A header of the last epochs can still
//! be reverted. A proof that there is *no* receipt is one as of that header; one that there is a receipt stays true,
//! though a forced run may give the CAR a newer one.

mod claim;
mod error;
mod prove;
mod verify;
mod walk;

use bucket_core::abi::ReceiptReturn;
use bucket_core::cid::CarId;
use bucket_core::did::BucketId;
use bucket_rpc::json::format_address;
use cid::Cid;
use fvm_shared::ActorID;
use fvm_shared::address::Address;
use fvm_shared::clock::ChainEpoch;

pub use error::ProofError;
pub use prove::{ReadBlock, prove};
pub use verify::verify;

/// What is looked up, and under which header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The block header.
    pub header: Cid,
    /// The bucket actor's id.
    pub actor: ActorID,
    /// The bucket.
    pub bucket: BucketId,
    /// The input CAR.
    pub car: CarId,
}

/// What a walk through blocks found. Every block was hashed, every link followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// What was looked up.
    pub query: Query,
    /// The header's epoch. Its state is the one after the messages of the tipset before.
    pub height: ChainEpoch,
    /// The actor's code.
    pub code: Cid,
    /// Whether the actor has such a bucket at all.
    pub bucket_exists: bool,
    /// What the actor's method `Receipt` would answer in that state.
    pub found: ReceiptReturn,
    /// The blocks from the header to the entry.
    blocks: Vec<(Cid, Vec<u8>)>,
}

impl Proof {
    /// CID of the claim, the CAR's root.
    pub fn root(&self) -> Cid {
        claim::encode(self).0
    }

    /// The blocks from the header to the entry, in the order of the walk.
    pub fn blocks(&self) -> impl Iterator<Item = (&Cid, &[u8])> {
        self.blocks.iter().map(|(cid, data)| (cid, &data[..]))
    }

    /// The proof as it travels. The same proof is always the same bytes.
    pub fn to_car(&self) -> Vec<u8> {
        let (root, claim) = claim::encode(self);
        claim::car(&root, std::iter::once((&root, &claim[..])).chain(self.blocks()))
    }

    /// Compares the proof with what its reader knows already.
    pub fn check(&self, expected: &Expected) -> Result<(), ProofError> {
        let Query { header, actor, bucket, car } = &self.query;
        same("header", expected.header.as_ref(), Some(header))?;
        let id = format_address(&Address::new_id(*actor));
        same("actor", expected.actor.as_ref().map(format_address).as_ref(), Some(&id))?;
        same("bucket", expected.bucket.as_ref(), Some(bucket))?;
        same("CAR", expected.car.as_ref(), Some(car))?;
        same("receipt", expected.receipt.as_ref(), self.found.receipt.as_ref())
    }
}

/// What the reader of a proof knows already. [`verify`] alone proves nothing about a chain: that needs the header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// The header.
    pub header: Option<Cid>,
    /// The actor, by its ID address: other addresses are not in a proof.
    pub actor: Option<Address>,
    /// The bucket.
    pub bucket: Option<BucketId>,
    /// The input CAR.
    pub car: Option<CarId>,
    /// The receipt.
    pub receipt: Option<CarId>,
}

fn same<T: PartialEq + ToString>(what: &'static str, expected: Option<&T>, got: Option<&T>) -> Result<(), ProofError> {
    match expected {
        Some(value) if got != Some(value) => {
            let got = got.map_or_else(|| "none".to_owned(), T::to_string);
            Err(ProofError::Unexpected { what, expected: value.to_string(), got })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
