//! Public keys as `did:key` (w3c-ccg/did-method-key), and what verifies their signatures.

use super::varsig::Algorithm;
use super::{Denied, Did};
use crate::cid::Hasher;

/// A public key that a `did:key` spells out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicKey {
    /// Multicodec 0xed.
    Ed25519([u8; 32]),
    /// Multicodec 0xe7, a compressed point.
    Secp256k1([u8; 33]),
    /// Multicodec 0x1200, a compressed point.
    P256([u8; 33]),
}

const ED25519: [u8; 2] = [0xed, 0x01];
const SECP256K1: [u8; 2] = [0xe7, 0x01];
const P256: [u8; 2] = [0x80, 0x24];

/// What signatures need of the host: secp256k1 is a syscall on the FVM. Ed25519 and P-256 are computed right here.
pub trait Crypto: Hasher {
    /// Whether `signature`, r then s, is one of the compressed `key` over `digest`.
    ///
    /// [`PublicKey::verify`] has refused what the two implementations could see differently: an s of more than half of
    /// the order, and an r for which there are two points.
    fn secp256k1(key: &[u8; 33], digest: &[u8; 32], signature: &[u8; 64]) -> bool;
}

#[cfg(not(target_family = "wasm"))]
impl Crypto for crate::cid::NativeHasher {
    fn secp256k1(key: &[u8; 33], digest: &[u8; 32], signature: &[u8; 64]) -> bool {
        use k256::ecdsa::signature::hazmat::PrehashVerifier;
        use k256::ecdsa::{Signature, VerifyingKey};
        match (VerifyingKey::from_sec1_bytes(key), Signature::from_slice(signature)) {
            (Ok(key), Ok(signature)) => key.verify_prehash(digest, &signature).is_ok(),
            _ => false,
        }
    }
}

impl PublicKey {
    /// Reads a `did:key`.
    pub fn from_did(did: &str) -> Result<Self, Denied> {
        let wrong = || Denied::UnsupportedKey(format!("expected a did:key of Ed25519, secp256k1 or P-256, got {did}"));
        let encoded = did.strip_prefix("did:key:z").ok_or_else(wrong)?;
        let bytes = base58_decode(encoded).ok_or_else(wrong)?;
        let (codec, key) = bytes.split_first_chunk().ok_or_else(wrong)?;
        match (*codec, key.len(), key.first()) {
            (ED25519, 32, _) => key.try_into().map(Self::Ed25519).map_err(|_| wrong()),
            (SECP256K1, 33, Some(2 | 3)) => key.try_into().map(Self::Secp256k1).map_err(|_| wrong()),
            (P256, 33, Some(2 | 3)) => key.try_into().map(Self::P256).map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }

    /// The key as a DID.
    pub fn to_did(&self) -> Did {
        let bytes = match self {
            Self::Ed25519(key) => [&ED25519, &key[..]],
            Self::Secp256k1(key) => [&SECP256K1, &key[..]],
            Self::P256(key) => [&P256, &key[..]],
        };
        format!("did:key:z{}", base58_encode(&bytes.concat())).parse().expect("base58 is a DID's alphabet")
    }

    /// How this key signs.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Ed25519(_) => Algorithm::Ed25519,
            Self::Secp256k1(_) => Algorithm::Es256k,
            Self::P256(_) => Algorithm::Es256,
        }
    }

    /// Whether `signature` is one of this key over `message`. Signatures have 64 bytes: R and s, or r and s.
    pub fn verify<C: Crypto>(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(signature) = signature.try_into() else { return false };
        match self {
            Self::Ed25519(key) => ed25519(key, message, signature),
            Self::Secp256k1(key) => unambiguous(signature) && C::secp256k1(key, &C::sha2_256(message), signature),
            Self::P256(key) => p256(key, &C::sha2_256(message), signature),
        }
    }

    /// The form of a signature that counts, when that is another one. With P-256 both s and n − s are valid, so that
    /// whoever holds a delegation could give it another CID; the smaller s counts.
    pub fn canonical(&self, signature: &[u8]) -> Option<[u8; 64]> {
        let Self::P256(_) = self else { return None };
        let smaller = p256::ecdsa::Signature::from_slice(signature).ok()?.normalize_s()?;
        Some(smaller.to_bytes().into())
    }
}

fn ed25519(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    let signature = ed25519_dalek::Signature::from_bytes(signature);
    ed25519_dalek::VerifyingKey::from_bytes(key).is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
}

fn p256(key: &[u8; 33], digest: &[u8; 32], signature: &[u8; 64]) -> bool {
    use p256::AffinePoint;
    use p256::ecdsa::signature::hazmat::PrehashVerifier;
    use p256::ecdsa::{Signature, VerifyingKey};
    use p256::elliptic_curve::point::DecompressPoint;
    let [parity @ (2 | 3), x @ ..] = key else { return false };
    // Reading it as SEC 1, with all of its forms, takes 6 kB more of the actor's module.
    let point: Option<AffinePoint> = AffinePoint::decompress(x.into(), (parity & 1).into()).into();
    match (point.map(VerifyingKey::from_affine), Signature::from_slice(signature)) {
        (Some(Ok(key)), Ok(signature)) => key.verify_prehash(digest, &signature).is_ok(),
        _ => false,
    }
}

/// Half of secp256k1's order, rounded down (SEC 2, section 2.4.1).
const HALF_ORDER: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x5d, 0x57, 0x6e,
    0x73, 0x57, 0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0,
];

/// On the FVM a secp256k1 signature is verified by recovering its key, natively by the crate k256: they have to agree.
/// k256 refuses an s of more than half of the order, recovery doesn't. Recovery takes r as the point's x, k256 also
/// considers x − n, which is below 2¹²⁹; an honest r is that small once in 2¹²⁰ signatures.
fn unambiguous(signature: &[u8; 64]) -> bool {
    signature[32..] <= HALF_ORDER[..] && signature[..15] != [0; 15]
}

const BASE58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// No key's DID is longer. Decoding takes the square of the length.
const BASE58_MAX: usize = 64;

fn base58_decode(text: &str) -> Option<Vec<u8>> {
    if text.len() > BASE58_MAX {
        return None;
    }
    // Least significant byte first.
    let mut bytes: Vec<u8> = Vec::with_capacity(BASE58_MAX);
    for symbol in text.bytes() {
        let mut carry = BASE58.iter().position(|known| *known == symbol)? as u32;
        for byte in &mut bytes {
            carry += u32::from(*byte) * 58;
            *byte = carry as u8;
            carry >>= 8;
        }
        if carry > 0 {
            bytes.push(carry as u8);
        }
    }
    bytes.extend(text.bytes().take_while(|symbol| *symbol == b'1').map(|_| 0));
    bytes.reverse();
    Some(bytes)
}

fn base58_encode(bytes: &[u8]) -> String {
    // Least significant digit first.
    let mut digits: Vec<u8> = Vec::with_capacity(BASE58_MAX);
    for byte in bytes {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            carry += u32::from(*digit) << 8;
            *digit = (carry % 58) as u8;
            carry /= 58;
        }
        while carry > 0 {
            digits.push((carry % 58) as u8);
            carry /= 58;
        }
    }
    digits.extend(bytes.iter().take_while(|byte| **byte == 0).map(|_| 0));
    digits.iter().rev().map(|digit| char::from(BASE58[usize::from(*digit)])).collect()
}
