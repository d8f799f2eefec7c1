//! Principals that can sign, and CARs of what they signed.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::collections::BTreeMap;

use bucket_core::car::{Car, Transaction};
use bucket_core::cid::{Cid, DAG_CBOR, Hasher, NativeHasher, block_cid};
use bucket_core::dag_cbor::Ipld;
use bucket_core::task::Task;
use bucket_core::ucan::{DelegationDraft, Denied, Did, InvocationDraft, Policy, PublicKey, Request};
use k256::ecdsa::signature::hazmat::PrehashSigner;

/// The time at which everything happens.
pub const NOW: u64 = 1_800_000_000;

/// A principal with its secret.
#[derive(Clone)]
pub enum Signer {
    Ed25519(ed25519_dalek::SigningKey),
    Secp256k1(k256::ecdsa::SigningKey),
    P256(p256::ecdsa::SigningKey),
}

pub fn ed25519(seed: u8) -> Signer {
    Signer::Ed25519(ed25519_dalek::SigningKey::from_bytes(&[seed; 32]))
}

pub fn secp256k1(seed: u8) -> Signer {
    Signer::Secp256k1(k256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap())
}

pub fn p256(seed: u8) -> Signer {
    Signer::P256(p256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap())
}

impl Signer {
    pub fn key(&self) -> PublicKey {
        match self {
            Signer::Ed25519(secret) => PublicKey::Ed25519(secret.verifying_key().to_bytes()),
            Signer::Secp256k1(secret) => {
                PublicKey::Secp256k1(secret.verifying_key().to_encoded_point(true).as_bytes().try_into().unwrap())
            }
            Signer::P256(secret) => {
                PublicKey::P256(secret.verifying_key().to_encoded_point(true).as_bytes().try_into().unwrap())
            }
        }
    }

    pub fn did(&self) -> Did {
        self.key().to_did()
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let digest = NativeHasher::sha2_256(message);
        match self {
            Signer::Ed25519(secret) => ed25519_dalek::Signer::sign(secret, message).to_bytes().to_vec(),
            Signer::Secp256k1(secret) => {
                let signature: k256::ecdsa::Signature = secret.sign_prehash(&digest).unwrap();
                signature.normalize_s().unwrap_or(signature).to_bytes().to_vec()
            }
            Signer::P256(secret) => {
                let signature: p256::ecdsa::Signature = secret.sign_prehash(&digest).unwrap();
                signature.normalize_s().unwrap_or(signature).to_bytes().to_vec()
            }
        }
    }

    /// A delegation of everything on `sub`, to be changed.
    pub fn grants(&self, aud: &Signer, sub: Option<&Signer>) -> DelegationDraft {
        DelegationDraft {
            iss: self.did(),
            aud: aud.did(),
            sub: sub.map(Signer::did),
            cmd: "/".into(),
            pol: Policy::default(),
            nonce: b"n".to_vec(),
            meta: None,
            nbf: None,
            exp: None,
        }
    }

    pub fn delegation(&self, draft: &DelegationDraft) -> Vec<u8> {
        draft.seal(&self.key(), |message| self.sign(message))
    }

    /// An invocation of `/kv/put` on `sub`, to be changed.
    pub fn asks(&self, sub: &Signer, proofs: &[Vec<u8>]) -> InvocationDraft {
        let task = Task {
            sub: sub.did(),
            cmd: "/kv/put".into(),
            args: [("key".to_owned(), Ipld::String("a".into()))].into(),
            nonce: b"1".to_vec(),
        };
        let prf = proofs.iter().map(|proof| cid(proof)).collect();
        InvocationDraft { iss: self.did(), aud: None, task, prf, meta: None, exp: None, iat: None, cause: None }
    }

    pub fn invocation(&self, draft: &InvocationDraft) -> Vec<u8> {
        draft.seal(&self.key(), |message| self.sign(message))
    }
}

/// A bucket that delegates to Alice, she to Bob, and Bob who asks.
pub struct Chain {
    pub bucket: Signer,
    pub alice: Signer,
    pub bob: Signer,
}

impl Chain {
    pub fn new() -> Self {
        Self { bucket: ed25519(1), alice: ed25519(2), bob: ed25519(3) }
    }

    pub fn first(&self) -> DelegationDraft {
        self.bucket.grants(&self.alice, Some(&self.bucket))
    }

    pub fn second(&self) -> DelegationDraft {
        self.alice.grants(&self.bob, Some(&self.bucket))
    }

    pub fn seal(&self, first: &DelegationDraft, second: &DelegationDraft) -> Vec<Vec<u8>> {
        vec![self.bucket.delegation(first), self.alice.delegation(second)]
    }

    /// The verdict after changing the drafts.
    pub fn with(
        &self,
        change: impl Fn(&mut DelegationDraft, &mut DelegationDraft, &mut InvocationDraft),
    ) -> &'static str {
        let (mut first, mut second) = (self.first(), self.second());
        let mut draft = self.bob.asks(&self.bucket, &[]);
        change(&mut first, &mut second, &mut draft);
        let proofs = self.seal(&first, &second);
        draft.prf = proofs.iter().map(|proof| cid(proof)).collect();
        name(verify(&self.bob.invocation(&draft), &proofs, NOW))
    }
}

pub fn cid(block: &[u8]) -> Cid {
    block_cid::<NativeHasher>(DAG_CBOR, block)
}

/// A CAR of the proofs, with the invocation as its root.
pub fn car(invocation: &[u8], proofs: &[Vec<u8>]) -> Car {
    let mut transaction = Transaction::<NativeHasher>::default();
    for proof in proofs {
        transaction.write_block(DAG_CBOR, proof);
    }
    transaction.write_block(DAG_CBOR, invocation);
    Car::decode::<NativeHasher>(transaction.commit().unwrap()).unwrap()
}

pub fn read(invocation: &[u8], proofs: &[Vec<u8>]) -> Result<Request, Denied> {
    Request::from_car::<NativeHasher>(&car(invocation, proofs)).map(|request| request.expect("a UCAN"))
}

/// Everything that can be checked of a request.
pub fn verify(invocation: &[u8], proofs: &[Vec<u8>], now: u64) -> Result<Request, Denied> {
    let request = read(invocation, proofs)?;
    // In the order of the fixtures: a forged request without proofs is a forged one.
    request.check_signatures::<NativeHasher>()?;
    request.check(now, None)?;
    Ok(request)
}

pub fn name(result: Result<Request, Denied>) -> &'static str {
    result.map_or_else(|denied| denied.name(), |_| "valid")
}

pub fn map(fields: &[(&str, Ipld)]) -> BTreeMap<String, Ipld> {
    fields.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
}

pub fn text(text: &str) -> Ipld {
    Ipld::String(text.into())
}

/// A policy in JSON.
pub fn read_policy(policy: &serde_json::Value) -> Result<Policy, Denied> {
    Policy::from_ipld(ipld(policy))
}

/// Whether a policy of this one statement lets arguments pass.
pub fn met(statement: serde_json::Value, args: &Ipld) -> bool {
    read_policy(&serde_json::json!([statement])).unwrap().is_met(args).unwrap()
}

/// JSON as a value.
pub fn ipld(json: &serde_json::Value) -> Ipld {
    use serde_json::Value;
    match json {
        Value::Null => Ipld::Null,
        Value::Bool(b) => Ipld::Bool(*b),
        Value::Number(n) => match n.as_i64() {
            Some(n) => Ipld::Integer(n.into()),
            None => Ipld::Float(n.as_f64().unwrap()),
        },
        Value::String(text) => Ipld::String(text.clone()),
        Value::Array(list) => Ipld::List(list.iter().map(ipld).collect()),
        Value::Object(map) => Ipld::Map(map.iter().map(|(key, value)| (key.clone(), ipld(value))).collect()),
    }
}
