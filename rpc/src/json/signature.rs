//! Signatures of messages and blocks.

use std::borrow::Cow;

use fvm_ipld_encoding::strict_bytes;
use fvm_shared::crypto::signature as fvm;
use serde::de::Error as _;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::lotus;

/// How something is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SignatureType {
    /// ECDSA over blake2b-256; 65 bytes with the recovery id last.
    Secp256k1 = 1,
    /// BLS12-381; 96 bytes.
    Bls = 2,
    /// By an Ethereum key over the message as an Ethereum transaction, see [`crate::eth`]; `fvm_shared` doesn't know it.
    Delegated = 3,
}

impl TryFrom<u8> for SignatureType {
    type Error = String;

    fn try_from(byte: u8) -> Result<Self, String> {
        match byte {
            1 => Ok(Self::Secp256k1),
            2 => Ok(Self::Bls),
            3 => Ok(Self::Delegated),
            _ => Err(format!("expected signature type 1 (secp256k1), 2 (BLS) or 3 (delegated), got {byte}")),
        }
    }
}

/// A signature with its type.
///
/// go-state-types `crypto/signature.go`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Signature {
    /// How it was made.
    pub sig_type: SignatureType,
    /// The signature itself.
    pub data: Vec<u8>,
}

impl Signature {
    /// A secp256k1 signature.
    pub fn secp256k1(data: impl Into<Vec<u8>>) -> Self {
        Self { sig_type: SignatureType::Secp256k1, data: data.into() }
    }

    /// A BLS signature.
    pub fn bls(data: impl Into<Vec<u8>>) -> Self {
        Self { sig_type: SignatureType::Bls, data: data.into() }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Json {
    r#type: u8,
    #[serde(with = "lotus")]
    data: Vec<u8>,
}

// One impl for two formats, as headers hold signatures in both. The formats differ in being readable.
impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            let mut json = serializer.serialize_struct("Signature", 2)?;
            json.serialize_field("Type", &(self.sig_type as u8))?;
            json.serialize_field("Data", &lotus::Ref(&self.data))?;
            json.end()
        } else {
            let mut bytes = Vec::with_capacity(1 + self.data.len());
            bytes.push(self.sig_type as u8);
            bytes.extend_from_slice(&self.data);
            strict_bytes::Serialize::serialize(&bytes, serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (byte, data) = if deserializer.is_human_readable() {
            let Json { r#type, data } = Json::deserialize(deserializer)?;
            (r#type, data)
        } else {
            let bytes: Cow<'de, [u8]> = strict_bytes::Deserialize::deserialize(deserializer)?;
            match bytes.split_first() {
                Some((byte, data)) => (*byte, data.to_vec()),
                None => return Err(D::Error::custom("expected a signature, got no bytes")),
            }
        };
        Ok(Self { sig_type: byte.try_into().map_err(D::Error::custom)?, data })
    }
}

impl From<fvm::Signature> for Signature {
    fn from(signature: fvm::Signature) -> Self {
        let sig_type = match signature.sig_type {
            fvm::SignatureType::Secp256k1 => SignatureType::Secp256k1,
            fvm::SignatureType::BLS => SignatureType::Bls,
        };
        Self { sig_type, data: signature.bytes }
    }
}

/// `fvm_shared` has no delegated signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a secp256k1 or BLS signature, got a delegated one")]
pub struct DelegatedSignature;

impl TryFrom<Signature> for fvm::Signature {
    type Error = DelegatedSignature;

    fn try_from(signature: Signature) -> Result<Self, DelegatedSignature> {
        let Signature { sig_type, data } = signature;
        match sig_type {
            SignatureType::Secp256k1 => Ok(Self::new_secp256k1(data)),
            SignatureType::Bls => Ok(Self::new_bls(data)),
            SignatureType::Delegated => Err(DelegatedSignature),
        }
    }
}
