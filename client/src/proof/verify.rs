//! Judging a proof, with nothing but its bytes.

use bucket_core::car::CarError;
use bucket_core::car::archive;

use super::walk::Blocks;
use super::{Proof, ProofError, claim};

/// Reads a proof, hashes all of its blocks, and walks from the header to the entry through them.
///
/// What comes back is what the blocks say; compare its header with one that you trust ([`Proof::check`]). Refused is every
/// file that [`Proof::to_car`] would not have written.
pub fn verify(bytes: &[u8]) -> Result<Proof, ProofError> {
    let archive = archive::open(bytes)?;
    let &[root] = &archive.roots[..] else { return Err(CarError::Roots(archive.roots.len()).into()) };
    let mut sections = archive.sections();
    let first = sections.next().ok_or_else(|| ProofError::Claim("the CAR has no blocks".into()))??;
    let (claim, query) = claim::decode(&root, &first.cid, &bytes[first.data])?;
    let mut blocks = Blocks::default();
    for section in sections {
        let section = section?;
        blocks.add(section.cid, bytes[section.data].to_vec())?;
    }
    let proof = blocks.walk(&query)?;
    if let Some(extra) = blocks.cids().find(|cid| proof.blocks().all(|(known, _)| known != *cid)) {
        return Err(ProofError::Extra(*extra));
    }
    claim.check(&proof)?;
    match proof.to_car() == bytes {
        true => Ok(proof),
        false => Err(ProofError::Form),
    }
}
