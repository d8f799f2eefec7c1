//! Keys that sign UCANs: whoever a did:key names. Unlike a wallet's [`crate::Key`] they send no messages.

use bucket_core::car::Transaction;
use bucket_core::cid::{Cid, DAG_CBOR, NativeHasher};
use bucket_core::did::BucketId;
use bucket_core::task::Task;
use bucket_core::ucan::{DelegationDraft, InvocationDraft, PublicKey};
use k256::ecdsa::signature::Signer as _;
use zeroize::Zeroizing;

use crate::key::KeyError;

/// A did:key with its secret. It is wiped from memory when it is dropped and never printed.
#[derive(Clone)]
pub enum Identity {
    /// RFC 8032.
    Ed25519(Box<ed25519_dalek::SigningKey>),
    /// ECDSA over SHA-256, with the smaller s.
    Secp256k1(k256::ecdsa::SigningKey),
    /// ECDSA over SHA-256.
    P256(p256::ecdsa::SigningKey),
}

/// The kinds of [`Identity`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IdentityKind {
    /// `ed25519`: what most UCANs are signed with.
    #[default]
    Ed25519,
    /// `secp256k1`: the cheapest to verify on chain.
    Secp256k1,
    /// `p256`: what browsers and secure elements have.
    P256,
}

/// Every kind with its name and the multicodec of its secrets (`ed25519-priv`, `secp256k1-priv`, `p256-priv`) as a varint.
const KINDS: [(IdentityKind, &str, [u8; 2]); 3] = [
    (IdentityKind::Ed25519, "ed25519", [0x80, 0x26]),
    (IdentityKind::Secp256k1, "secp256k1", [0x81, 0x26]),
    (IdentityKind::P256, "p256", [0x86, 0x26]),
];

impl std::str::FromStr for IdentityKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = KINDS.iter().find(|(_, known, _)| *known == name);
        found.map(|(kind, ..)| *kind).ok_or_else(|| format!("expected ed25519, secp256k1 or p256, got “{name}”"))
    }
}

impl std::fmt::Display for IdentityKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(KINDS[*self as usize].1)
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({})", self.did())
    }
}

impl Identity {
    /// A new key.
    pub fn generate(kind: IdentityKind) -> Result<Self, KeyError> {
        let mut secret = Zeroizing::new([0; 32]);
        loop {
            getrandom::fill(&mut secret[..]).map_err(|error| KeyError::Random(error.to_string()))?;
            // Of all 32 bytes nearly none are no secret.
            if let Ok(identity) = Self::from_secret(kind, &secret) {
                return Ok(identity);
            }
        }
    }

    /// The key with this secret.
    pub fn from_secret(kind: IdentityKind, secret: &[u8; 32]) -> Result<Self, KeyError> {
        match kind {
            IdentityKind::Ed25519 => Ok(Self::Ed25519(Box::new(ed25519_dalek::SigningKey::from_bytes(secret)))),
            IdentityKind::Secp256k1 => {
                k256::ecdsa::SigningKey::from_slice(secret).map(Self::Secp256k1).map_err(|_| KeyError::Secret)
            }
            IdentityKind::P256 => {
                p256::ecdsa::SigningKey::from_slice(secret).map(Self::P256).map_err(|_| KeyError::Secret)
            }
        }
    }

    /// Reads what [`Identity::to_multikey`] wrote.
    pub fn from_multikey(text: &str) -> Result<Self, KeyError> {
        let wrong = || KeyError::Format("or a multikey, z… of a private key's multicodec and 32 bytes".into());
        let (_, bytes) = multibase::decode(text.trim()).map_err(|_| wrong())?;
        let bytes = Zeroizing::new(bytes);
        let (codec, secret) = bytes.split_first_chunk::<2>().ok_or_else(wrong)?;
        let kind = KINDS.iter().find(|(.., known)| known == codec).ok_or_else(wrong)?.0;
        Self::from_secret(kind, secret.try_into().map_err(|_| wrong())?)
    }

    /// The secret as a multikey (W3C Controlled Identifiers, "Multikey"): multibase of the multicodec and the bytes.
    pub fn to_multikey(&self) -> Zeroizing<String> {
        let secret: Zeroizing<[u8; 32]> = Zeroizing::new(match self {
            Self::Ed25519(key) => key.to_bytes(),
            Self::Secp256k1(key) => key.to_bytes().into(),
            Self::P256(key) => key.to_bytes().into(),
        });
        let bytes = Zeroizing::new([&KINDS[self.kind() as usize].2[..], &secret[..]].concat());
        Zeroizing::new(multibase::encode(multibase::Base::Base58Btc, &bytes[..]))
    }

    /// Its kind.
    pub fn kind(&self) -> IdentityKind {
        match self {
            Self::Ed25519(_) => IdentityKind::Ed25519,
            Self::Secp256k1(_) => IdentityKind::Secp256k1,
            Self::P256(_) => IdentityKind::P256,
        }
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        match self {
            Self::Ed25519(key) => PublicKey::Ed25519(key.verifying_key().to_bytes()),
            Self::Secp256k1(key) => {
                PublicKey::Secp256k1(key.verifying_key().to_sec1_bytes()[..].try_into().expect("a compressed point"))
            }
            Self::P256(key) => {
                let point = key.verifying_key().to_encoded_point(true);
                PublicKey::P256(point.as_bytes().try_into().expect("a compressed point"))
            }
        }
    }

    /// The name.
    pub fn did(&self) -> BucketId {
        self.public().to_did()
    }

    /// Signs `message`; 64 bytes.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => key.sign(message).to_bytes().to_vec(),
            Self::Secp256k1(key) => {
                let signature: k256::ecdsa::Signature = key.sign(message);
                signature.to_bytes().to_vec()
            }
            Self::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                signature.normalize_s().unwrap_or(signature).to_bytes().to_vec()
            }
        }
    }

    /// Signs a delegation; its issuer has to be this key.
    pub fn delegate(&self, draft: &DelegationDraft) -> Vec<u8> {
        draft.seal(&self.public(), |message| self.sign(message))
    }

    /// Signs an invocation; its issuer has to be this key.
    pub fn seal(&self, draft: &InvocationDraft) -> Vec<u8> {
        draft.seal(&self.public(), |message| self.sign(message))
    }

    /// A CAR of a signed task: the blocks that `transaction` has already, the proofs, and the invocation as its root. `proofs`
    /// are delegations as they travel, from the subject's to the one for this key.
    pub fn invoke(
        &self,
        task: Task,
        proofs: &[Vec<u8>],
        exp: Option<u64>,
        transaction: Transaction<NativeHasher>,
    ) -> Vec<u8> {
        self.invoke_at(None, task, proofs, exp, transaction)
    }

    /// The same for an audience: who is to run it, if that isn't the subject.
    pub fn invoke_at(
        &self,
        aud: Option<BucketId>,
        task: Task,
        proofs: &[Vec<u8>],
        exp: Option<u64>,
        mut transaction: Transaction<NativeHasher>,
    ) -> Vec<u8> {
        let prf: Vec<Cid> = proofs.iter().map(|proof| transaction.write_block(DAG_CBOR, proof)).collect();
        let draft = InvocationDraft { iss: self.did(), aud, task, prf, meta: None, exp, iat: None, cause: None };
        transaction.write_block(DAG_CBOR, &self.seal(&draft));
        transaction.commit().expect("the invocation was written")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip_and_their_signatures_verify() {
        for (kind, name, _) in KINDS {
            let identity = Identity::generate(kind).unwrap();
            assert_eq!(name.parse(), Ok(kind));
            let again = Identity::from_multikey(&identity.to_multikey()).unwrap();
            assert_eq!(again.did(), identity.did());
            let signature = again.sign(b"hello");
            assert!(identity.public().verify::<NativeHasher>(b"hello", &signature), "{kind}");
            assert!(!identity.public().verify::<NativeHasher>(b"hullo", &signature), "{kind}");
        }
        assert!(Identity::from_multikey("z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK").is_err());
    }
}
