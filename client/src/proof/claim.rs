//! The claim, a proof's first block, and the file around it.

use bucket_core::car::archive;
use bucket_core::cid::{CarId, DAG_CBOR, NativeHasher, block_cid};
use bucket_core::dag_cbor::{self, Ipld};
use bucket_core::did::BucketId;
use cid::Cid;
use fvm_shared::ActorID;
use serde::{Deserialize, Serialize};

use super::{Proof, ProofError, Query};

/// Of this form of proofs. Another one has another number.
const FORMAT: u64 = 1;

/// What a proof says of itself. `car` and `receipt` are links to what isn't in the file: the CARs have their own ways.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claim {
    actor: ActorID,
    bucket: BucketId,
    car: Cid,
    header: Cid,
    proof: u64,
    receipt: Option<Cid>,
    version: u64,
}

/// Reads a claim. `root` is the CAR's root, `cid` the CID of the first block as it stands there.
pub(super) fn decode(root: &Cid, cid: &Cid, data: &[u8]) -> Result<(Claim, Query), ProofError> {
    let wrong = ProofError::Claim;
    if cid != root {
        return Err(wrong(format!("the root is {root}, the first block {cid}")));
    }
    let got = block_cid::<NativeHasher>(DAG_CBOR, data);
    if *cid != got {
        return Err(ProofError::Hash { expected: *cid, got: got.into() });
    }
    dag_cbor::validate(data).map_err(|error| wrong(error.to_string()))?;
    let claim: Claim = fvm_ipld_encoding::from_slice(data).map_err(|error| wrong(error.to_string()))?;
    if claim.proof != FORMAT {
        return Err(wrong(format!("this version reads proofs of form {FORMAT}, got {}", claim.proof)));
    }
    let car = CarId::try_from(&claim.car).map_err(|error| wrong(error.to_string()))?;
    let query = Query { header: claim.header, actor: claim.actor, bucket: claim.bucket.clone(), car };
    Ok((claim, query))
}

impl Claim {
    /// Compares what the claim says with what the walk found.
    pub(super) fn check(&self, proof: &Proof) -> Result<(), ProofError> {
        let text = |receipt: Option<Cid>| receipt.map_or_else(|| "none".to_owned(), |cid| cid.to_string());
        let receipt = proof.found.receipt.map(CarId::to_cid);
        if self.receipt != receipt {
            let (claimed, proven) = (text(self.receipt), text(receipt));
            return Err(ProofError::Claimed { what: "receipt", claimed, proven });
        }
        if self.version != proof.found.version {
            let (claimed, proven) = (self.version.to_string(), proof.found.version.to_string());
            return Err(ProofError::Claimed { what: "version", claimed, proven });
        }
        Ok(())
    }
}

/// The claim of a proof, with its CID.
pub(super) fn encode(proof: &Proof) -> (Cid, Vec<u8>) {
    let Query { header, actor, bucket, car } = &proof.query;
    let receipt = proof.found.receipt.map_or(Ipld::Null, |id| Ipld::Link(id.to_cid()));
    let fields = [
        ("actor", Ipld::Integer((*actor).into())),
        ("bucket", Ipld::String(bucket.to_string())),
        ("car", Ipld::Link(car.to_cid())),
        ("header", Ipld::Link(*header)),
        ("proof", Ipld::Integer(FORMAT.into())),
        ("receipt", receipt),
        ("version", Ipld::Integer(proof.found.version.into())),
    ];
    let data = dag_cbor::encode(&Ipld::Map(fields.map(|(name, value)| (name.to_owned(), value)).into()));
    (block_cid::<NativeHasher>(DAG_CBOR, &data), data)
}

/// A CARv1 (ipld.io, specs/transport/car/carv1).
pub(super) fn car<'b>(root: &Cid, blocks: impl Iterator<Item = (&'b Cid, &'b [u8])>) -> Vec<u8> {
    let mut out = Vec::new();
    archive::write_header(&mut out, &[*root]);
    for (cid, data) in blocks {
        archive::write_lead(&mut out, cid, data.len());
        out.extend_from_slice(data);
    }
    out
}
