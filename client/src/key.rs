//! A secp256k1 key: it signs messages, has an address and a did:key, and travels in Lotus's export format.
//!
//! The same secret can be a Filecoin account's (f1) or an Ethereum one's (f410), which signs messages as Ethereum
//! transactions: see [`bucket_rpc::eth`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bucket_core::did::BucketId;
use bucket_core::evm::wrap_call;
use bucket_rpc::eth::{self, EthAddress, EthError};
use bucket_rpc::json::{CborError, Message, Signature, SignedMessage, format_address};
use fvm_shared::address::Address;
use k256::ecdsa::SigningKey;
use serde::{Deserialize, Serialize};

use crate::identity::Identity;

/// Length of a secp256k1 or delegated signature, with its recovery id.
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
    #[error(
        "expected a key of type secp256k1 (an f1 address) or delegated (an Ethereum-style f410 address), got {0}: this \
         wallet signs with these only"
    )]
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
    /// A message that is no Ethereum transaction, though its sender signs nothing else.
    #[error(transparent)]
    Eth(#[from] EthError),
    /// Built-in actors have no method that an Ethereum account can call.
    #[error("{} can't be called by an f410 address, as it is a built-in actor: send from an f1 address", format_address(.0))]
    Builtin(Address),
    /// The address has no key here.
    #[error("the wallet has no key for {0}: `bucket wallet list` shows those that it has")]
    Absent(String),
    /// The DID has no key here.
    #[error("the wallet has no key of {0}: `bucket key list` shows those that it has")]
    DidAbsent(String),
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

    /// Signs `data`: for a message, the bytes of its CID, or for an f410 sender, those of its Ethereum transaction.
    fn sign(&self, data: &[u8]) -> Result<Signature, KeyError>;
}

/// Signs a message that is complete: nonce and gas are set.
///
/// `chain_id` is the network's, as `Filecoin.EthChainId` gives it; only f410 senders sign it.
pub fn sign_message(signer: &dyn Signer, message: Message, chain_id: u64) -> Result<SignedMessage, KeyError> {
    let data = match eth::is_eth_sender(&signer.address()) {
        true => eth::Transaction::from_message(&message, chain_id)?.unsigned_bytes(),
        false => message.cid()?.to_bytes(),
    };
    Ok(SignedMessage { message, signature: signer.sign(&data)? })
}

/// What a message becomes when an Ethereum account sends it: such an account calls every method through the same one,
/// and names the receiver by its id. The bucket actor reads it, see [`bucket_core::evm`]; built-in actors don't.
pub fn eth_message(message: Message, receiver_id: Address) -> Result<Message, KeyError> {
    /// Lower ones are the network's own actors.
    const FIRST_ID: u64 = 100;
    if receiver_id.id().is_ok_and(|id| id < FIRST_ID) {
        return Err(KeyError::Builtin(receiver_id));
    }
    let params = wrap_call(message.method, &message.params);
    Ok(Message { to: receiver_id, method: eth::INVOKE_CONTRACT, params, ..message })
}

/// Whose a key is: it decides on the address, and on how messages are signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeyType {
    /// A Filecoin account's, f1.
    #[default]
    Secp256k1,
    /// An Ethereum account's, f410.
    Delegated,
}

impl KeyType {
    /// What Lotus calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Secp256k1 => "secp256k1",
            Self::Delegated => "delegated",
        }
    }
}

impl std::str::FromStr for KeyType {
    type Err = KeyError;

    fn from_str(name: &str) -> Result<Self, KeyError> {
        let known = [Self::Secp256k1, Self::Delegated].into_iter().find(|kind| kind.name() == name);
        known.ok_or_else(|| KeyError::Type(name.chars().take(20).collect()))
    }
}

/// A secp256k1 secret. It is wiped from memory when it is dropped and never printed.
#[derive(Clone)]
pub struct Key {
    secret: SigningKey,
    kind: KeyType,
}

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

    /// The key of a 32-byte secret, with an f1 address.
    pub fn from_secret(secret: &[u8]) -> Result<Self, KeyError> {
        // `k256` alone would take shorter ones.
        let secret: [u8; 32] = secret.try_into().map_err(|_| KeyError::Secret)?;
        let secret = SigningKey::from_slice(&secret).map_err(|_| KeyError::Secret)?;
        Ok(Self { secret, kind: KeyType::default() })
    }

    /// The same secret as a key of another type.
    #[must_use]
    pub fn with_type(self, kind: KeyType) -> Self {
        Self { kind, ..self }
    }

    /// Its type.
    pub fn kind(&self) -> KeyType {
        self.kind
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
        let kind = info.r#type.parse()?;
        let secret = STANDARD.decode(info.private_key).map_err(|_| format("PrivateKey is no base64".into()))?;
        Ok(Self::from_secret(&secret)?.with_type(kind))
    }

    /// The key in the form that `lotus wallet import` reads.
    pub fn to_lotus(&self) -> String {
        let info = KeyInfo { r#type: self.kind.name().into(), private_key: STANDARD.encode(self.secret.to_bytes()) };
        hex::encode(serde_json::to_vec(&info).expect("two strings have a JSON form"))
    }

    /// The same secret, to sign UCANs with.
    pub fn identity(&self) -> Identity {
        Identity::Secp256k1(self.secret.clone())
    }

    /// The key's did:key, as a bucket's name: the owner of the key is the owner of the DID.
    pub fn did(&self) -> BucketId {
        let public = self.secret.verifying_key().to_encoded_point(true);
        let bytes = [&SECP256K1_PUB[..], public.as_bytes()].concat();
        let text = format!("did:key:{}", multibase::encode(multibase::Base::Base58Btc, bytes));
        text.parse().expect("base58 is within a DID's alphabet")
    }
}

impl Signer for Key {
    fn address(&self) -> Address {
        let public = self.secret.verifying_key();
        match self.kind {
            KeyType::Secp256k1 => {
                let public = public.to_encoded_point(false);
                Address::new_secp256k1(public.as_bytes()).expect("an uncompressed point has 65 bytes")
            }
            KeyType::Delegated => EthAddress::of_key(public).to_filecoin(),
        }
    }

    /// ECDSA over blake2b-256 of `data`, or for an Ethereum account over its Keccak-256: r, s, recovery id.
    fn sign(&self, data: &[u8]) -> Result<Signature, KeyError> {
        if self.kind == KeyType::Delegated {
            return Ok(eth::sign(&self.secret, data)?);
        }
        let digest = blake2b_simd::Params::new().hash_length(32).hash(data);
        let signed = self.secret.sign_prehash_recoverable(digest.as_bytes());
        let (signature, recovery) = signed.map_err(|_| KeyError::Secret)?;
        let mut bytes = signature.to_vec();
        bytes.push(recovery.to_byte());
        Ok(Signature::secp256k1(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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

    /// The first key of local Ethereum networks; Lotus imports it as `{"Type":"delegated",…}`.
    #[test]
    fn an_ethereum_key_has_an_f410_address_and_signs_transactions() {
        let json = r#"{"Type":"delegated","PrivateKey":"rAl0vsOaF+NrpKa00jj/lEustHjL7V78rnhNe/Ty/4A="}"#;
        let key = Key::from_lotus(&hex::encode(json)).unwrap();
        assert_eq!(key.to_lotus(), hex::encode(json));
        let ethereum = EthAddress::of(&key.address()).unwrap();
        assert_eq!(ethereum.to_string(), "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266");
        assert!(format_address(&key.address()).starts_with("t410f"));
        assert_eq!(key.did(), key.clone().with_type(KeyType::Secp256k1).did(), "the key is the same");

        let mut message = Message::new(key.address(), Address::new_id(1000), eth::INVOKE_CONTRACT, vec![0x41, 1]);
        message.gas_limit = 1_000_000;
        let signed = sign_message(&key, message.clone(), 314).unwrap();
        eth::verify(&signed, 314).unwrap();
        assert!(eth::verify(&signed, 315).is_err(), "it is for one network");

        let plain = Message::new(key.address(), Address::new_actor(b"f2"), 7, vec![0x80]);
        let wrapped = eth_message(plain.clone(), Address::new_id(1001)).unwrap();
        assert_eq!((wrapped.to, wrapped.method), (Address::new_id(1001), eth::INVOKE_CONTRACT));
        assert_eq!(bucket_core::evm::unwrap_call(&wrapped.params), Ok((7, vec![0x80])));
        sign_message(&key, wrapped, 314).unwrap();
        let error = eth_message(plain, Address::new_id(1)).unwrap_err().to_string();
        assert!(error.starts_with("t01 can't be called by an f410 address"), "{error}");

        message.method = 0;
        let error = sign_message(&key, message, 314).unwrap_err().to_string();
        assert!(error.contains("expected method 3844450837"), "{error}");
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
        let signed = sign_message(&key(), message.clone(), 0).unwrap();
        let bytes = signed.signature.data;
        assert_eq!(bytes.len(), SIGNATURE_BYTES);

        let cid = message.cid().unwrap();
        // CIDv1, dag-cbor, blake2b-256.
        assert_eq!(&cid.to_bytes()[..6], [0x01, 0x71, 0xa0, 0xe4, 0x02, 0x20]);
        let digest = blake2b_simd::Params::new().hash_length(32).hash(&cid.to_bytes());
        let signature = Ecdsa::from_slice(&bytes[..64]).unwrap();
        let recovery = RecoveryId::from_byte(bytes[64]).unwrap();
        let public = VerifyingKey::recover_from_prehash(digest.as_bytes(), &signature, recovery).unwrap();
        assert_eq!(&public, key().secret.verifying_key());
        assert!(signature.normalize_s().is_none(), "s is in the lower half");
    }

    #[test]
    fn generated_keys_differ() {
        assert_ne!(Key::generate().unwrap().address(), Key::generate().unwrap().address());
    }
}
