//! Deterministic accounts: keys that everybody may know.

use anyhow::{Context, Result};
use bucket_rpc::{
    eth::{self, EthAddress},
    json::{Message, Signature, SignedMessage},
};
use fvm_shared::address::Address;
use k256::ecdsa::SigningKey;

use crate::config::CHAIN_ID;

/// A secp256k1 key and its address: f1, or f410 when it is an Ethereum account's.
#[derive(Clone)]
pub struct Account {
    key: SigningKey,
    address: Address,
}

impl Account {
    /// The account number `index` of a seed.
    pub fn derive(seed: &str, index: usize) -> Result<Self> {
        Self::named(seed, &format!("account {index}"))
    }

    /// The Ethereum account number `index` of a seed: an f410 address and delegated signatures.
    pub fn derive_eth(seed: &str, index: usize) -> Result<Self> {
        Ok(Self::named(seed, &format!("ethereum account {index}"))?.ethereum())
    }

    /// The account that `Devnet.Fund` sends from.
    pub fn faucet(seed: &str) -> Result<Self> {
        Self::named(seed, "faucet")
    }

    fn named(seed: &str, name: &str) -> Result<Self> {
        // One in 2^128 hashes is no valid key; the attempt makes the derivation total.
        for attempt in 0..=u8::MAX {
            let hash = blake2b_256(format!("{seed}/{name}/{attempt}").as_bytes());
            if let Ok(key) = SigningKey::from_slice(&hash) {
                return Self::from_key(key);
            }
        }
        anyhow::bail!("the seed {seed:?} gives no key for {name}")
    }

    fn from_key(key: SigningKey) -> Result<Self> {
        let point = key.verifying_key().to_encoded_point(false);
        let address = Address::new_secp256k1(point.as_bytes()).context("a key without an address")?;
        Ok(Self { key, address })
    }

    /// Takes a raw private key of 32 bytes.
    pub fn from_private_key(bytes: &[u8]) -> Result<Self> {
        Self::from_key(SigningKey::from_slice(bytes).context("expected a secp256k1 private key of 32 bytes")?)
    }

    /// The Ethereum account of the same key.
    pub fn ethereum(self) -> Self {
        let address = EthAddress::of_key(self.key.verifying_key()).to_filecoin();
        Self { address, ..self }
    }

    /// The f1 or f410 address.
    pub fn address(&self) -> Address {
        self.address
    }

    /// The raw private key.
    pub fn private_key(&self) -> [u8; 32] {
        self.key.to_bytes().into()
    }

    /// The key as `lotus wallet export` writes it: hex of JSON. lotus:chain/types/keystore.go `KeyInfo`.
    pub fn lotus_export(&self) -> String {
        use bucket_rpc::Lotus;
        let kind = if eth::is_eth_sender(&self.address) { "delegated" } else { "secp256k1" };
        let json = serde_json::json!({ "Type": kind, "PrivateKey": Lotus(self.private_key().to_vec()) });
        hex::encode(json.to_string())
    }

    /// Signs the message as it is. `from` should be [`Account::address`], or the message pool refuses it.
    ///
    /// An Ethereum account can sign few messages, see [`eth::Transaction::from_message`].
    pub fn sign(&self, message: Message) -> Result<SignedMessage> {
        if eth::is_eth_sender(&self.address) {
            return Ok(eth::sign_message(&self.key, message, CHAIN_ID)?);
        }
        let hash = blake2b_256(&message.cid()?.to_bytes());
        let (signature, recovery) = self.key.sign_prehash_recoverable(&hash).context("cannot sign")?;
        let mut bytes = signature.to_bytes().to_vec();
        bytes.push(recovery.to_byte());
        Ok(SignedMessage { message, signature: Signature::secp256k1(bytes) })
    }
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Account").field(&self.address.to_string()).finish()
    }
}

/// The hash that Filecoin signs and names blocks by.
pub(crate) fn blake2b_256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(blake2b_simd::Params::new().hash_length(32).hash(bytes).as_bytes());
    hash
}
