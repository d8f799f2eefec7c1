//! Two kinds of identity.
//!
//! - [`Cid`] links: blocks of the actor's state, DAG-CBOR or RAW under blake2b-256, because the FVM links nothing else
//!   (ref-fvm `fvm/src/kernel/default.rs`, `block_link`).
//! - [`CarId`]: the name of a CAR file, CIDv1 with the codec `car` (0x0202) and sha2-256 of all of its bytes
//!   (multicodec table; level-bucket-vm `carcid`). In actor state it is always bytes, never a link.

use std::fmt;
use std::str::FromStr;

pub use cid::Cid;
use cid::multihash::Multihash;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Multicodec `dag-cbor`.
pub const DAG_CBOR: u64 = 0x71;
/// Multicodec `raw`.
pub const RAW: u64 = 0x55;
/// Multicodec `car`.
pub const CAR: u64 = 0x0202;
/// Multihash `sha2-256`.
pub const SHA2_256: u64 = 0x12;

/// SHA-256 as the host computes it: a syscall on the FVM, the `sha2` crate elsewhere.
pub trait Hasher: 'static {
    /// SHA-256 of `data`.
    fn sha2_256(data: &[u8]) -> [u8; 32];
}

/// SHA-256 computed in process.
#[derive(Debug, Clone, Copy)]
pub enum NativeHasher {}

impl Hasher for NativeHasher {
    fn sha2_256(data: &[u8]) -> [u8; 32] {
        use sha2::Digest;
        sha2::Sha256::digest(data).into()
    }
}

/// CIDv1 of a block as users write them: sha2-256 under `codec`.
pub fn block_cid<H: Hasher>(codec: u64, data: &[u8]) -> Cid {
    sha2_cid(codec, &H::sha2_256(data))
}

/// CIDv1 with a known SHA-256 digest.
pub fn sha2_cid(codec: u64, digest: &[u8; 32]) -> Cid {
    let hash = Multihash::wrap(SHA2_256, digest).expect("32 bytes fit a 64-byte multihash");
    Cid::new_v1(codec, hash)
}

/// The SHA-256 digest of a CIDv1 that has one, with its codec.
pub fn sha2_digest(cid: &Cid) -> Option<(u64, [u8; 32])> {
    let sha2 = cid.version() == cid::Version::V1 && cid.hash().code() == SHA2_256;
    sha2.then(|| cid.hash().digest().try_into().ok().map(|digest| (cid.codec(), digest))).flatten()
}

/// The name of a CAR file. Text form `bag…` (CIDv1, base32), wire form the CID's 37 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CarId(pub [u8; 32]);

impl CarId {
    /// The id of these bytes, whatever they hold.
    pub fn of<H: Hasher>(car: &[u8]) -> Self {
        Self(H::sha2_256(car))
    }

    /// The CID: v1, codec 0x0202, sha2-256.
    pub fn to_cid(self) -> Cid {
        sha2_cid(CAR, &self.0)
    }

    /// The CID's bytes.
    pub fn to_bytes(self) -> Vec<u8> {
        self.to_cid().to_bytes()
    }
}

/// Why a CID or text is not the name of a CAR.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected the CID of a CAR (v1, codec 0x202, sha2-256, like bag…), got {0}")]
pub struct NotCarId(String);

impl TryFrom<&Cid> for CarId {
    type Error = NotCarId;

    fn try_from(cid: &Cid) -> Result<Self, NotCarId> {
        match sha2_digest(cid) {
            Some((CAR, digest)) => Ok(Self(digest)),
            _ => Err(NotCarId(cid.to_string())),
        }
    }
}

impl TryFrom<&[u8]> for CarId {
    type Error = NotCarId;

    fn try_from(bytes: &[u8]) -> Result<Self, NotCarId> {
        let cid = Cid::try_from(bytes).map_err(|_| NotCarId(format!("{} bytes that are no CID", bytes.len())))?;
        Self::try_from(&cid)
    }
}

impl FromStr for CarId {
    type Err = NotCarId;

    fn from_str(text: &str) -> Result<Self, NotCarId> {
        let cid = Cid::try_from(text).map_err(|_| NotCarId(format!("“{text}”")))?;
        Self::try_from(&cid)
    }
}

impl fmt::Display for CarId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_cid().fmt(f)
    }
}

impl fmt::Debug for CarId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// On the wire (params, returns): a byte string of 37 bytes. In text formats: the CID as text.
impl Serialize for CarId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.to_bytes())
        }
    }
}

impl<'de> Deserialize<'de> for CarId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
        } else {
            let bytes = fvm_ipld_encoding::strict_bytes::deserialize::<Vec<u8>, D>(deserializer)?;
            Self::try_from(&bytes[..]).map_err(D::Error::custom)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn car_id_round_trips_as_text_bytes_and_json() {
        let id = CarId::of::<NativeHasher>(b"hello");
        let text = id.to_string();
        assert!(text.starts_with("bag"), "{text}");
        assert_eq!(text.parse::<CarId>(), Ok(id));
        assert_eq!(CarId::try_from(&id.to_bytes()[..]), Ok(id));
        assert_eq!(serde_json::from_str::<CarId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
        let wire = fvm_ipld_encoding::to_vec(&id).unwrap();
        assert_eq!(wire.len(), 2 + 37);
        assert_eq!(fvm_ipld_encoding::from_slice::<CarId>(&wire).unwrap(), id);
    }

    #[test]
    fn other_cids_are_refused() {
        let raw = block_cid::<NativeHasher>(RAW, b"hello");
        assert!(raw.to_string().parse::<CarId>().unwrap_err().to_string().contains("got bafk"));
        assert!("hello".parse::<CarId>().unwrap_err().to_string().contains("got “hello”"));
    }
}
