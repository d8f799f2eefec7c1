//! Messages, signed and unsigned, and their two CIDs.

use cid::Cid;
use fvm_ipld_encoding::RawBytes;
use fvm_shared::MethodNum;
use fvm_shared::address::Address;
use fvm_shared::econ::TokenAmount;
use fvm_shared::message as fvm;
use num_traits::Zero;
use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};

use super::cbor::{CborError, blake2b_cid, encode};
use super::lotus::{self, Lotus, Ref};
use super::signature::{Signature, SignatureType};

/// An unsigned message; written with its `CID`, read without.
///
/// Fields other than `To` and `From` may be left out and are zero then, as in Go. That is how
/// StateCall and gas estimation are commonly asked.
///
/// lotus:chain/types/message.go `Message`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Message {
    /// Always zero.
    #[serde(default)]
    pub version: u64,
    /// The receiver.
    #[serde(with = "lotus")]
    pub to: Address,
    /// The sender, who pays.
    #[serde(with = "lotus")]
    pub from: Address,
    /// The sender's sequence number; `sequence` in `fvm_shared`.
    #[serde(default)]
    pub nonce: u64,
    /// What is sent along.
    #[serde(default = "TokenAmount::zero", with = "lotus")]
    pub value: TokenAmount,
    /// Zero when it is to be estimated.
    #[serde(default)]
    pub gas_limit: u64,
    /// Zero when it is to be estimated.
    #[serde(default = "TokenAmount::zero", with = "lotus")]
    pub gas_fee_cap: TokenAmount,
    /// Zero when it is to be estimated.
    #[serde(default = "TokenAmount::zero", with = "lotus")]
    pub gas_premium: TokenAmount,
    /// The receiver's method; 0 only sends.
    #[serde(default)]
    pub method: MethodNum,
    /// The method's parameters, commonly CBOR.
    #[serde(default, with = "lotus")]
    pub params: Vec<u8>,
}

impl Message {
    /// A message with everything else zero, ready for `Filecoin.GasEstimateMessageGas`.
    pub fn new(from: Address, to: Address, method: MethodNum, params: Vec<u8>) -> Self {
        Self {
            version: 0,
            to,
            from,
            nonce: 0,
            value: TokenAmount::zero(),
            gas_limit: 0,
            gas_fee_cap: TokenAmount::zero(),
            gas_premium: TokenAmount::zero(),
            method,
            params,
        }
    }

    /// The CBOR 10-tuple of the message.
    pub fn to_cbor(&self) -> Result<Vec<u8>, CborError> {
        encode("a message", &fvm::Message::from(self.clone()))
    }

    /// The CID of the unsigned message, whose bytes are what a wallet signs.
    pub fn cid(&self) -> Result<Cid, CborError> {
        Ok(blake2b_cid(&self.to_cbor()?))
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Json<'a> {
            version: u64,
            to: Ref<'a, Address>,
            from: Ref<'a, Address>,
            nonce: u64,
            value: Ref<'a, TokenAmount>,
            gas_limit: u64,
            gas_fee_cap: Ref<'a, TokenAmount>,
            gas_premium: Ref<'a, TokenAmount>,
            method: MethodNum,
            params: Ref<'a, Vec<u8>>,
            #[serde(rename = "CID")]
            cid: Lotus<Cid>,
        }
        let Self { version, to, from, nonce, value, gas_limit, gas_fee_cap, gas_premium, method, params } = self;
        Json {
            version: *version,
            to: Ref(to),
            from: Ref(from),
            nonce: *nonce,
            value: Ref(value),
            gas_limit: *gas_limit,
            gas_fee_cap: Ref(gas_fee_cap),
            gas_premium: Ref(gas_premium),
            method: *method,
            params: Ref(params),
            cid: Lotus(self.cid().map_err(S::Error::custom)?),
        }
        .serialize(serializer)
    }
}

impl From<fvm::Message> for Message {
    fn from(message: fvm::Message) -> Self {
        let fvm::Message {
            version,
            from,
            to,
            sequence,
            value,
            method_num,
            params,
            gas_limit,
            gas_fee_cap,
            gas_premium,
        } = message;
        Self {
            version,
            to,
            from,
            nonce: sequence,
            value,
            gas_limit,
            gas_fee_cap,
            gas_premium,
            method: method_num,
            params: params.to_vec(),
        }
    }
}

impl From<Message> for fvm::Message {
    fn from(message: Message) -> Self {
        let Message { version, to, from, nonce, value, gas_limit, gas_fee_cap, gas_premium, method, params } = message;
        Self {
            version,
            from,
            to,
            sequence: nonce,
            value,
            method_num: method,
            params: RawBytes::new(params),
            gas_limit,
            gas_fee_cap,
            gas_premium,
        }
    }
}

/// A message with its signature; written with its `CID`, read without.
///
/// lotus:chain/types/signedmessage.go `SignedMessage`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SignedMessage {
    /// What was signed.
    pub message: Message,
    /// By the key of `message.from`.
    pub signature: Signature,
}

impl SignedMessage {
    /// The CBOR pair of message and signature.
    pub fn to_cbor(&self) -> Result<Vec<u8>, CborError> {
        let message = fvm::Message::from(self.message.clone());
        encode("a signed message", &(message, &self.signature))
    }

    /// What the chain counts and limits: a BLS signature travels in the block's aggregate.
    pub fn chain_length(&self) -> Result<usize, CborError> {
        Ok(match self.signature.sig_type {
            SignatureType::Bls => self.message.to_cbor()?.len(),
            SignatureType::Secp256k1 | SignatureType::Delegated => self.to_cbor()?.len(),
        })
    }

    /// The CID by which the message pool and the chain know the message.
    ///
    /// That of the unsigned message for BLS, whose signature is aggregated away, and that of the
    /// signed message otherwise.
    pub fn cid(&self) -> Result<Cid, CborError> {
        match self.signature.sig_type {
            SignatureType::Bls => self.message.cid(),
            SignatureType::Secp256k1 | SignatureType::Delegated => Ok(blake2b_cid(&self.to_cbor()?)),
        }
    }
}

impl Serialize for SignedMessage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Json<'a> {
            message: &'a Message,
            signature: &'a Signature,
            #[serde(rename = "CID")]
            cid: Lotus<Cid>,
        }
        let Self { message, signature } = self;
        let cid = Lotus(self.cid().map_err(S::Error::custom)?);
        Json { message, signature, cid }.serialize(serializer)
    }
}

/// A message on the chain, as in `Filecoin.ChainGetParentMessages`.
///
/// For secp256k1 `cid` is that of the *signed* message, so it differs from `message.cid()`.
///
/// lotus:api/api_full.go `Message`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ApiMessage {
    /// What the chain calls it.
    #[serde(with = "lotus")]
    pub cid: Cid,
    /// The message without its signature.
    pub message: Message,
}
