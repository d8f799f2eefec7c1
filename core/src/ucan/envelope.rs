//! What is signed: `[signature, {"h": varsig header, "ucan/…@1.0.0": payload}]` (ucan-wg/spec, "Envelope").
//!
//! The signature is over the second item's bytes. Our DAG-CBOR has one encoding for each value, so these are the bytes
//! that travel, and nothing is encoded again.

use std::collections::BTreeMap;

use super::varsig::Algorithm;
use super::{Crypto, Denied, PublicKey};
use crate::cid::{Cid, DAG_CBOR, Hasher, block_cid};
use crate::dag_cbor::{self, Ipld, Reader};

/// The tag of delegations.
pub const DELEGATION: &str = "ucan/dlg@1.0.0";
/// The tag of invocations.
pub const INVOCATION: &str = "ucan/inv@1.0.0";

/// What the specifications and some implementations still write; the format is the same.
const CANDIDATE: &str = "-rc.1";

/// A token taken apart, its signature not verified yet.
pub(super) struct Envelope {
    pub payload: BTreeMap<String, Ipld>,
    pub signed: Signed,
    algorithm: Algorithm,
}

/// The signature of a token and the bytes that it is over.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Signed {
    pub signature: Vec<u8>,
    pub bytes: Vec<u8>,
}

/// Whether a block looks like an envelope: a list of two items that begins with bytes.
pub(super) fn is_envelope(block: &[u8]) -> bool {
    matches!(block, [0x82, 0x40..=0x5f, ..])
}

impl Envelope {
    /// Reads a token that has to have this tag.
    pub fn decode(block: &[u8], tag: &str) -> Result<Self, Denied> {
        let (signature, bytes) = split(block).map_err(|error| Denied::Malformed(error.to_string()))?;
        let value = dag_cbor::decode(bytes).map_err(|error| Denied::Malformed(error.to_string()))?;
        let (header, payload) = open(value, tag)?;
        let algorithm = Algorithm::from_header(&header)?;
        Ok(Self { payload, signed: Signed { signature: signature.to_vec(), bytes: bytes.to_vec() }, algorithm })
    }

    /// The issuer's key, which the header has to fit.
    pub fn key(&self, iss: &str) -> Result<PublicKey, Denied> {
        let key = PublicKey::from_did(iss)?;
        match key.algorithm() == self.algorithm {
            true => Ok(key),
            false => Err(Denied::UnsupportedKey(format!(
                "expected a header of {:?}, which is the key of {iss}, got one of {:?}",
                key.algorithm(),
                self.algorithm
            ))),
        }
    }
}

impl Signed {
    /// Verifies the signature.
    pub fn is_by<C: Crypto>(&self, key: &PublicKey) -> bool {
        key.verify::<C>(&self.bytes, &self.signature)
    }

    /// The hash of what is signed.
    pub fn id<H: Hasher>(&self) -> [u8; 32] {
        H::sha2_256(&self.bytes)
    }

    /// The token's CID with its signature in the form that counts, see [`PublicKey::canonical`].
    pub fn cid<H: Hasher>(&self, key: &PublicKey) -> Cid {
        let canonical = key.canonical(&self.signature);
        let signature = canonical.as_ref().map_or(&self.signature[..], |signature| &signature[..]);
        block_cid::<H>(DAG_CBOR, &envelope(signature, &self.bytes))
    }
}

fn split(block: &[u8]) -> Result<(&[u8], &[u8]), dag_cbor::DagCborError> {
    let mut reader = Reader::new(block);
    reader.list(2)?;
    Ok((reader.bytes()?, reader.left()))
}

/// Header and payload of the signed map.
fn open(value: Ipld, tag: &str) -> Result<(Vec<u8>, BTreeMap<String, Ipld>), Denied> {
    let expected = |got: String| Denied::Malformed(format!("expected a map of “h” and “{tag}”, got {got}"));
    let Ipld::Map(mut map) = value else { return Err(expected(crate::task::kind(&value).to_owned())) };
    let Some(Ipld::Bytes(header)) = map.remove("h") else { return Err(expected("no bytes “h”".to_owned())) };
    match (map.pop_first(), map.len()) {
        (Some((got, Ipld::Map(payload))), 0) if got.strip_suffix(CANDIDATE).unwrap_or(&got) == tag => {
            Ok((header, payload))
        }
        (Some((got, _)), 0) => Err(expected(format!("“{}”", got.chars().take(80).collect::<String>()))),
        (_, more) => Err(expected(format!("{} other fields", if more == 0 { 0 } else { more + 1 }))),
    }
}

fn envelope(signature: &[u8], signed: &[u8]) -> Vec<u8> {
    // A list of two.
    let mut out = vec![0x82];
    dag_cbor::write_bytes(&mut out, signature);
    out.extend(signed);
    out
}

/// A token, to be written as a DAG-CBOR block: `payload` under `tag` ([`DELEGATION`] or [`INVOCATION`]), signed by `key`.
/// `sign` gets the message and answers 64 bytes; with ECDSA it hashes with SHA-256 first and takes the lower s.
///
/// # Panics
/// As [`dag_cbor::encode`].
pub fn seal(key: &PublicKey, tag: &str, payload: Ipld, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let header = Ipld::Bytes(key.algorithm().header().to_vec());
    let signed = dag_cbor::encode(&dag_cbor::map([("h", header), (tag, payload)]));
    envelope(&sign(&signed), &signed)
}
