//! The header that says how a token is signed (ChainAgnostic/varsig, version 1).
//!
//! `34 01`, then the kind of signature, the curve, the hash and the encoding, each a multicodec as a varint. Of all
//! combinations UCAN knows three, so they are compared as bytes.

use super::Denied;

/// How a token is signed. The encoding is always DAG-CBOR (0x71).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// EdDSA (0xed), curve 25519 (0xed), SHA-512 (0x13).
    Ed25519,
    /// ECDSA (0xec), secp256k1 (0xe7), SHA-256 (0x12).
    Es256k,
    /// ECDSA (0xec), P-256 (0x1200), SHA-256 (0x12).
    Es256,
}

const ALL: [Algorithm; 3] = [Algorithm::Ed25519, Algorithm::Es256k, Algorithm::Es256];

impl Algorithm {
    /// The header's bytes.
    pub fn header(self) -> &'static [u8; 8] {
        match self {
            Algorithm::Ed25519 => b"\x34\x01\xed\x01\xed\x01\x13\x71",
            Algorithm::Es256k => b"\x34\x01\xec\x01\xe7\x01\x12\x71",
            Algorithm::Es256 => b"\x34\x01\xec\x01\x80\x24\x12\x71",
        }
    }

    /// Reads a header.
    pub fn from_header(header: &[u8]) -> Result<Self, Denied> {
        ALL.into_iter().find(|algorithm| algorithm.header() == header).ok_or_else(|| {
            let got: String = header.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
            Denied::UnsupportedKey(format!(
                "expected the varsig header of Ed25519, secp256k1 or P-256 over DAG-CBOR, got {got}"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        for algorithm in ALL {
            assert_eq!(Algorithm::from_header(algorithm.header()), Ok(algorithm));
            assert!(Algorithm::from_header(&algorithm.header()[..7]).is_err());
        }
        // RS256, EIP-191, and Ed25519 over DAG-JSON.
        for other in ["34018124128002", "3401ec01e7011bd50371", "3401ed01ed0113a902", ""] {
            let error = Algorithm::from_header(&hex::decode(other).unwrap()).unwrap_err();
            assert!(error.to_string().contains(other), "{error}");
        }
    }
}
