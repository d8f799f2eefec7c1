//! A secp256k1 key: it signs messages, has an f1 address and a did:key, and travels in Lotus's export format.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bucket_core::did::BucketId;
use bucket_rpc::json::{CborError, Message, Signature, SignedMessage};
use fvm_shared::address::Address;
use k256::ecdsa::SigningKey;
use serde::{Deserialize, Serialize};

/// Length of a secp256k1 signature with its recovery id.
pub const SIGNATURE_BYTES: usize = 65;

/// Multicodec `secp256k1-pub` as a varint.
const SECP256K1_PUB: [u8; 2] = [0xe7, 0x01];

/// Why a key can't be read, stored or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not what `lotus wallet export` writes.
    #[error("expected a key as `lotus wallet export` writes it (hex of a JSON {{Type, PrivateKey}}): {0}")]
    Format(String),
    /// A key of another kind.
    #[error("expected a key of type secp256k1 (an f1 address), got {0}: this wallet signs with secp256k1 only")]
    Type(String),
    /// 32 bytes that are no secret.
    #[error("expected 32 bytes of a secp256k1 secret, got something else")]
    Secret,
    /// The system gave no random bytes.
    #[error("the system gave no random bytes: {0}")]
    Random(String),
    /// A message that has no CBOR form.
    #[error(transparent)]
    Cbor(#[from] CborError),
    /// The address has no key here.
    #[error("the wallet has no key for {0}: `bucket wallet list` shows those that it has")]
    Absent(String),
    /// Others may read the key.
    #[error(
        "{path} can be read by others (mode {mode:o}): run `chmod 600 {path}` and think about whether to replace the key"
    )]
    Mode {
        /// The key's file.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
}

/// Whoever signs messages for one address.
pub trait Signer: Send + Sync {
    /// The sender's address.
    fn address(&self) -> Address;

    /// Signs `data`: for a message, the bytes of its CID.
    fn sign(&self, data: &[u8]) -> Result<Signature, KeyError>;
}

/// Signs a message that is complete: nonce and gas are set.
pub fn sign_message(signer: &dyn Signer, message: Message) -> Result<SignedMessage, KeyError> {
    let signature = signer.sign(&message.cid()?.to_bytes())?;
    Ok(SignedMessage { message, signature })
}

/// A secp256k1 secret. It is wiped from memory when it is dropped and never printed.
#[derive(Clone)]
pub struct Key(SigningKey);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.did())
    }
}

/// `lotus:chain/types/keystore.go`, `KeyInfo`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KeyInfo {
    r#type: String,
    private_key: String,
}

impl Key {
    /// A new key from the system's randomness.
    pub fn generate() -> Result<Self, KeyError> {
        loop {
            let mut secret = [0u8; 32];
            getrandom::fill(&mut secret).map_err(|error| KeyError::Random(error.to_string()))?;
            // One in 2¹²⁸ is not below the curve's order.
            if let Ok(key) = Self::from_secret(&secret) {
                return Ok(key);
            }
        }
    }

    /// The key of a 32-byte secret.
    pub fn from_secret(secret: &[u8]) -> Result<Self, KeyError> {
        // `k256` alone would take shorter ones.
        let secret: [u8; 32] = secret.try_into().map_err(|_| KeyError::Secret)?;
        SigningKey::from_slice(&secret).map(Self).map_err(|_| KeyError::Secret)
    }

    /// Reads what `lotus wallet export` wrote: hex of JSON. The JSON itself is taken as well.
    pub fn from_lotus(text: &str) -> Result<Self, KeyError> {
        let format = |why: String| KeyError::Format(why);
        let text = text.trim();
        let json = match text.starts_with('{') {
            true => text.as_bytes().to_vec(),
            false => hex::decode(text).map_err(|error| format(error.to_string()))?,
        };
        // The decoder's own words could quote the key.
        let info: KeyInfo = serde_json::from_slice(&json).map_err(|_| format("the JSON has another shape".into()))?;
        if info.r#type != "secp256k1" {
            return Err(KeyError::Type(info.r#type.chars().take(20).collect()));
        }
        let secret = STANDARD.decode(info.private_key).map_err(|_| format("PrivateKey is no base64".into()))?;
        Self::from_secret(&secret)
    }

    /// The key in the form that `lotus wallet import` reads.
    pub fn to_lotus(&self) -> String {
        let info = KeyInfo { r#type: "secp256k1".into(), private_key: STANDARD.encode(self.0.to_bytes()) };
        hex::encode(serde_json::to_vec(&info).expect("two strings have a JSON form"))
    }

    /// The key's did:key, as a bucket's name: the owner of the key is the owner of the DID.
    pub fn did(&self) -> BucketId {
        let public = self.0.verifying_key().to_encoded_point(true);
        let bytes = [&SECP256K1_PUB[..], public.as_bytes()].concat();
        let text = format!("did:key:{}", multibase::encode(multibase::Base::Base58Btc, bytes));
        text.parse().expect("base58 is within a DID's alphabet")
    }
}

impl Signer for Key {
    fn address(&self) -> Address {
        let public = self.0.verifying_key().to_encoded_point(false);
        Address::new_secp256k1(public.as_bytes()).expect("an uncompressed point has 65 bytes")
    }

    /// ECDSA over blake2b-256 of `data`: r, s, recovery id.
    fn sign(&self, data: &[u8]) -> Result<Signature, KeyError> {
        let digest = blake2b_simd::Params::new().hash_length(32).hash(data);
        let signed = self.0.sign_prehash_recoverable(digest.as_bytes());
        let (signature, recovery) = signed.map_err(|_| KeyError::Secret)?;
        let mut bytes = signature.to_vec();
        bytes.push(recovery.to_byte());
        Ok(Signature::secp256k1(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bucket_rpc::json::format_address;
    use fvm_shared::econ::TokenAmount;
    use k256::ecdsa::{RecoveryId, Signature as Ecdsa, VerifyingKey};

    /// From Zondax' filecoin-signing-tools, whose tests hold the secret and the address.
    const SECRET: &str = "f15716d3b003b304b8055d9cc62e6b9c869d56cc930c3858d4d7c31f5f53f14a";
    const ADDRESS: &str = "t1d2xrzcslx7xlbbylc5c3d5lvandqw4iwl6epxba";

    fn key() -> Key {
        Key::from_secret(&hex::decode(SECRET).unwrap()).unwrap()
    }

    #[test]
    fn the_address_of_a_known_key() {
        assert_eq!(format_address(&key().address()), ADDRESS);
    }

    #[test]
    fn the_did_of_a_known_key() {
        // w3c-ccg/did-method-key, test-vectors/secp256k1.json.
        let secret = hex::decode("9085d2bef69286a6cbb51623c8fa258629945cd55ca705cc4e66700396894e0c").unwrap();
        let did = Key::from_secret(&secret).unwrap().did();
        assert_eq!(did.as_str(), "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme");
    }

    #[test]
    fn lotus_format_round_trips() {
        // `echo -n '{"Type":"secp256k1","PrivateKey":"<base64 of SECRET>"}' | xxd -p`
        let json = r#"{"Type":"secp256k1","PrivateKey":"8VcW07ADswS4BV2cxi5rnIadVsyTDDhY1NfDH19T8Uo="}"#;
        assert_eq!(key().to_lotus(), hex::encode(json));
        for text in [hex::encode(json), hex::encode(json) + "\n", json.to_owned()] {
            assert_eq!(Key::from_lotus(&text).unwrap().address(), key().address());
        }
    }

    #[test]
    fn other_keys_are_refused_without_being_shown() {
        let bls = r#"{"Type":"bls","PrivateKey":"8VcW07ADswS4BV2cxi5rnIadVsyTDDhY1NfDH19T8Uo="}"#;
        let error = Key::from_lotus(&hex::encode(bls)).unwrap_err().to_string();
        assert!(error.contains("got bls"), "{error}");
        let short = r#"{"Type":"secp256k1","PrivateKey":"8VcW"}"#;
        for bad in ["", "hello", SECRET, r#"{"Type":1}"#, short] {
            let error = Key::from_lotus(bad).unwrap_err().to_string();
            assert!(error.starts_with("expected"), "{error}");
            assert!(!error.contains("8VcW") && !error.contains(SECRET), "{error}");
        }
        assert!(!format!("{:?}", key()).contains("f15716"));
        assert!(Key::from_secret(&[0; 32]).is_err() && Key::from_secret(&[1; 31]).is_err());
    }

    #[test]
    fn a_signature_recovers_to_the_signer() {
        let mut message = Message::new(key().address(), Address::new_id(1000), 2, vec![1, 2, 3]);
        message.nonce = 7;
        message.gas_limit = 1_000_000;
        message.gas_fee_cap = TokenAmount::from_atto(100);
        let signed = sign_message(&key(), message.clone()).unwrap();
        let bytes = signed.signature.data;
        assert_eq!(bytes.len(), SIGNATURE_BYTES);

        let cid = message.cid().unwrap();
        // CIDv1, dag-cbor, blake2b-256.
        assert_eq!(&cid.to_bytes()[..6], [0x01, 0x71, 0xa0, 0xe4, 0x02, 0x20]);
        let digest = blake2b_simd::Params::new().hash_length(32).hash(&cid.to_bytes());
        let signature = Ecdsa::from_slice(&bytes[..64]).unwrap();
        let recovery = RecoveryId::from_byte(bytes[64]).unwrap();
        let public = VerifyingKey::recover_from_prehash(digest.as_bytes(), &signature, recovery).unwrap();
        assert_eq!(&public, key().0.verifying_key());
        assert!(signature.normalize_s().is_none(), "s is in the lower half");
    }

    #[test]
    fn generated_keys_differ() {
        assert_ne!(Key::generate().unwrap().address(), Key::generate().unwrap().address());
    }
}
