//! Signed requests: what is allowed, and every other one refused with its own error.

mod ucan_kit;

use std::collections::{BTreeMap, BTreeSet};
use std::slice::from_ref;

use bucket_core::car::{Car, Transaction};
use bucket_core::cid::{Cid, DAG_CBOR, Hasher, NativeHasher, RAW, block_cid};
use bucket_core::dag_cbor::{self, Ipld};
use bucket_core::limits::PROOFS_MAX;
use bucket_core::ucan::{
    DELEGATION, Delegation, DelegationDraft, Denied, INVOCATION, Invocation, InvocationDraft, Policy, PublicKey,
    Request, explain, seal, witness,
};
use proptest::prelude::*;
use ucan_kit::*;

/// A bucket that delegates to Alice, she to Bob, and Bob who asks.
struct Chain {
    bucket: Signer,
    alice: Signer,
    bob: Signer,
}

impl Chain {
    fn new() -> Self {
        Self { bucket: ed25519(1), alice: ed25519(2), bob: ed25519(3) }
    }

    fn first(&self) -> DelegationDraft {
        self.bucket.grants(&self.alice, Some(&self.bucket))
    }

    fn second(&self) -> DelegationDraft {
        self.alice.grants(&self.bob, Some(&self.bucket))
    }

    fn seal(&self, first: &DelegationDraft, second: &DelegationDraft) -> Vec<Vec<u8>> {
        vec![self.bucket.delegation(first), self.alice.delegation(second)]
    }

    /// The verdict after changing the drafts.
    fn with(&self, change: impl Fn(&mut DelegationDraft, &mut DelegationDraft, &mut InvocationDraft)) -> &'static str {
        let (mut first, mut second) = (self.first(), self.second());
        let mut draft = self.bob.asks(&self.bucket, &[]);
        change(&mut first, &mut second, &mut draft);
        let proofs = self.seal(&first, &second);
        draft.prf = proofs.iter().map(|proof| cid(proof)).collect();
        name(verify(&self.bob.invocation(&draft), &proofs, NOW))
    }
}

fn policy(json: &str) -> Policy {
    Policy::from_ipld(ipld(&serde_json::from_str(json).unwrap())).unwrap()
}

#[test]
fn the_subject_asks_for_itself_with_each_kind_of_key() {
    for signer in [ed25519(1), secp256k1(1), p256(1)] {
        let draft = signer.asks(&signer, &[]);
        let request = verify(&signer.invocation(&draft), &[], NOW).unwrap();
        assert_eq!(request.invocation.draft, draft);
        assert_eq!(request.revocable().count(), 0);
    }
}

#[test]
fn a_chain_over_all_kinds_of_keys() {
    let (bucket, alice, bob) = (p256(1), secp256k1(2), ed25519(3));
    let proofs = vec![
        bucket.delegation(&bucket.grants(&alice, Some(&bucket))),
        alice.delegation(&alice.grants(&bob, Some(&bucket))),
    ];
    let request = verify(&bob.invocation(&bob.asks(&bucket, &proofs)), &proofs, NOW).unwrap();
    let revocable: Vec<_> = request.revocable().map(|(cid, by)| (cid, by.cloned().collect::<Vec<_>>())).collect();
    assert_eq!(revocable, [(cid(&proofs[0]), vec![bucket.did()]), (cid(&proofs[1]), vec![bucket.did(), alice.did()])]);
}

#[test]
fn what_is_no_ucan_is_left_to_others() {
    let task = ed25519(1).asks(&ed25519(1), &[]).task;
    let cars = [
        task.to_car::<NativeHasher>(),
        write(&Ipld::List(vec![])),
        write(&Ipld::List(vec![Ipld::Null, Ipld::Null])),
        write(&Ipld::Bytes(vec![0x82, 0x40])),
    ];
    for bytes in cars {
        let car = Car::decode::<NativeHasher>(bytes).unwrap();
        assert_eq!(Request::from_car::<NativeHasher>(&car), Ok(None));
    }
}

fn write(value: &Ipld) -> Vec<u8> {
    let mut transaction = Transaction::<NativeHasher>::default();
    transaction.write(value);
    transaction.commit().unwrap()
}

#[test]
fn forged_signatures() {
    for signer in [ed25519(1), secp256k1(1), p256(1)] {
        let invocation = signer.invocation(&signer.asks(&signer, &[]));
        for at in (3..67).step_by(7) {
            let mut forged = invocation.clone();
            forged[at] ^= 1;
            assert_eq!(name(verify(&forged, &[], NOW)), "InvalidSignature", "byte {at}");
        }
        for other in [ed25519(9), secp256k1(9), p256(9)] {
            let draft = signer.asks(&signer, &[]);
            let forged = draft.seal(&signer.key(), |message| other.sign(message));
            assert_eq!(name(verify(&forged, &[], NOW)), "InvalidSignature");
        }
        for length in [0, 1, 63, 65, 300] {
            let forged = signer.asks(&signer, &[]).seal(&signer.key(), |_| vec![1; length]);
            assert_eq!(name(verify(&forged, &[], NOW)), "InvalidSignature");
        }
        let zeros = signer.asks(&signer, &[]).seal(&signer.key(), |_| vec![0; 64]);
        assert_eq!(name(verify(&zeros, &[], NOW)), "InvalidSignature");
    }
    let chain = Chain::new();
    let mut proofs = chain.seal(&chain.first(), &chain.second());
    proofs[1][40] ^= 1;
    let invocation = chain.bob.invocation(&chain.bob.asks(&chain.bucket, &proofs));
    assert_eq!(name(verify(&invocation, &proofs, NOW)), "InvalidSignature");
}

/// The other s of an ECDSA signature: the order minus it.
fn other_s(signature: &[u8], order: &str) -> Vec<u8> {
    let order = hex::decode(order).unwrap();
    let mut borrow = 0;
    let mut out = signature.to_vec();
    for at in (0..32).rev() {
        let digit = i32::from(order[at]) - i32::from(signature[32 + at]) - borrow;
        borrow = i32::from(digit < 0);
        out[32 + at] = digit.rem_euclid(256) as u8;
    }
    out
}

const P256_ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
const SECP256K1_ORDER: &str = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";

#[test]
fn the_higher_s_is_refused_for_secp256k1() {
    let signer = secp256k1(1);
    let draft = signer.asks(&signer, &[]);
    let high = draft.seal(&signer.key(), |message| other_s(&signer.sign(message), SECP256K1_ORDER));
    assert_eq!(name(verify(&high, &[], NOW)), "InvalidSignature");
}

#[test]
fn the_higher_s_of_p256_changes_neither_id_nor_cid() {
    let (bucket, alice) = (p256(1), p256(2));
    let grant = bucket.grants(&alice, Some(&bucket));
    let low = bucket.delegation(&grant);
    let high = grant.seal(&bucket.key(), |message| other_s(&bucket.sign(message), P256_ORDER));
    assert_ne!(low, high);
    for proof in [low.clone(), high] {
        let draft = alice.asks(&bucket, from_ref(&low));
        let draft = InvocationDraft { prf: vec![cid(&proof)], ..draft };
        let request = verify(&alice.invocation(&draft), &[proof], NOW).unwrap();
        assert_eq!(request.proofs[0].cid, cid(&low));
        let again = draft.seal(&alice.key(), |message| other_s(&alice.sign(message), P256_ORDER));
        let id = Invocation::decode(&again).unwrap().id::<NativeHasher>();
        assert_eq!(request.id::<NativeHasher>(), id);
    }
}

#[test]
fn the_id_is_the_hash_of_what_is_signed() {
    let signer = ed25519(1);
    let mut signed = Vec::new();
    let draft = signer.asks(&signer, &[]);
    let invocation = draft.seal(&signer.key(), |message| {
        signed = message.to_vec();
        signer.sign(message)
    });
    let request = verify(&invocation, &[], NOW).unwrap();
    assert_eq!(request.id::<NativeHasher>(), NativeHasher::sha2_256(&signed));
}

#[test]
fn keys_of_small_order_sign_nothing() {
    // With such a key one signature would fit many messages.
    for encoded in [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    ] {
        let key = PublicKey::Ed25519(hex::decode(encoded).unwrap().try_into().unwrap());
        let mut signature = [0; 64];
        signature[0] = 1;
        for message in [&b"a"[..], b"b", b"c", b"d", b"e", b"f", b"g", b"h"] {
            assert!(!key.verify::<NativeHasher>(message, &signature));
        }
    }
}

#[test]
fn dids_of_keys() {
    // The examples of the did:key method and of UCAN.
    for (did, kind) in [
        ("did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp", "Ed25519"),
        ("did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme", "Secp256k1"),
        ("did:key:zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169", "P256"),
    ] {
        let key = PublicKey::from_did(did).unwrap();
        assert!(format!("{key:?}").starts_with(kind));
        assert_eq!(key.to_did().as_str(), did);
    }
    for bad in [
        "did:key:z",
        "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooW",
        "did:key:z16MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp",
        "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooW0",
        "did:key:u7QGM",
        "did:web:example.com",
        // X25519
        "did:key:z6LSbysY2xFMRpGMhb7tFTLMpeuPRaqaWM1yECx2AtzE3KCc",
    ] {
        assert_eq!(PublicKey::from_did(bad).map_err(|denied| denied.name()), Err("UnsupportedKey"), "{bad}");
    }
    let uncompressed = PublicKey::P256([5; 33]).to_did();
    assert!(PublicKey::from_did(uncompressed.as_str()).is_err(), "a compact point");
}

#[test]
fn a_header_of_another_kind_of_key_is_refused() {
    let (ed, p) = (ed25519(1), p256(1));
    let draft = ed.asks(&ed, &[]);
    let invocation = draft.seal(&p.key(), |message| p.sign(message));
    assert_eq!(name(verify(&invocation, &[], NOW)), "UnsupportedKey");
}

#[test]
fn times() {
    let chain = Chain::new();
    for (nbf, exp, expected) in [
        (Some(NOW), Some(NOW), "valid"),
        (Some(0), None, "valid"),
        (Some(NOW + 1), None, "TooEarly"),
        (None, Some(NOW - 1), "Expired"),
        (None, Some((1 << 53) - 1), "valid"),
        (None, Some(1 << 53), "Malformed"),
        (Some(1 << 53), None, "Malformed"),
    ] {
        assert_eq!(chain.with(|first, _, _| (first.nbf, first.exp) = (nbf, exp)), expected);
        assert_eq!(chain.with(|_, second, _| (second.nbf, second.exp) = (nbf, exp)), expected);
    }
    assert_eq!(chain.with(|_, _, draft| draft.exp = Some(NOW)), "valid");
    assert_eq!(chain.with(|_, _, draft| draft.exp = Some(NOW - 1)), "Expired");
    assert_eq!(chain.with(|_, _, draft| draft.iat = Some(NOW + 9)), "valid");
}

#[test]
fn subjects_and_principals() {
    let chain = Chain::new();
    let mallory = ed25519(66);
    assert_eq!(chain.with(|_, _, _| ()), "valid");
    assert_eq!(chain.with(|_, _, draft| draft.task.sub = mallory.did()), "InvalidSubject");
    assert_eq!(chain.with(|first, _, _| first.sub = Some(mallory.did())), "InvalidSubject");
    assert_eq!(chain.with(|_, second, _| second.sub = Some(mallory.did())), "InvalidSubject");
    assert_eq!(chain.with(|first, _, _| first.sub = None), "InvalidClaim");
    assert_eq!(chain.with(|_, second, _| second.sub = None), "valid");
    assert_eq!(chain.with(|first, _, _| first.aud = mallory.did()), "InvalidAudience");
    assert_eq!(chain.with(|_, second, _| second.aud = mallory.did()), "InvalidAudience");
}

/// The verdict on Bob's request with these proofs, in this order.
fn ordered(chain: &Chain, proofs: &[Vec<u8>]) -> &'static str {
    name(verify(&chain.bob.invocation(&chain.bob.asks(&chain.bucket, proofs)), proofs, NOW))
}

#[test]
fn chains() {
    let chain = Chain::new();
    let [first, second] = &chain.seal(&chain.first(), &chain.second())[..] else { unreachable!() };
    let back = &chain.bob.delegation(&chain.bob.grants(&chain.alice, Some(&chain.bucket)));
    let both = |proofs: &[&Vec<u8>]| ordered(&chain, &proofs.iter().map(|proof| (*proof).clone()).collect::<Vec<_>>());
    assert_eq!(both(&[first, second]), "valid");
    assert_eq!(both(&[second, first]), "InvalidClaim", "wrong order");
    assert_eq!(both(&[second]), "InvalidClaim", "without the root");
    assert_eq!(both(&[first]), "InvalidAudience", "without the last");
    assert_eq!(both(&[]), "InvalidClaim", "without all");
    assert_eq!(both(&[first, first, second]), "InvalidAudience", "one twice");
    assert_eq!(both(&[first, second, second]), "InvalidAudience", "one twice");
    assert_eq!(both(&[first, second, back]), "InvalidAudience", "back to Alice");
    assert_eq!(both(&[first, second, back, second]), "valid", "a circle gives nothing and takes nothing");
    let circle: Vec<_> = [first].into_iter().chain([second, back].into_iter().cycle().take(PROOFS_MAX)).collect();
    assert_eq!(both(&circle), "TooManyProofs");
    assert_eq!(both(&circle[..PROOFS_MAX]), "valid");
}

#[test]
fn proofs_have_to_be_there_under_the_one_name() {
    let chain = Chain::new();
    let proofs = chain.seal(&chain.first(), &chain.second());
    let invocation = chain.bob.invocation(&chain.bob.asks(&chain.bucket, &proofs));
    assert_eq!(name(read(&invocation, &proofs[..1])), "UnavailableProof");
    // As a raw block it would have another CID, which nobody has revoked.
    let mut draft = chain.bob.asks(&chain.bucket, &proofs);
    draft.prf[1] = block_cid::<NativeHasher>(RAW, &proofs[1]);
    let mut transaction = Transaction::<NativeHasher>::default();
    transaction.write_block(DAG_CBOR, &proofs[0]);
    transaction.write_block(RAW, &proofs[1]);
    transaction.write_block(DAG_CBOR, &chain.bob.invocation(&draft));
    let car = Car::decode::<NativeHasher>(transaction.commit().unwrap()).unwrap();
    assert_eq!(Request::from_car::<NativeHasher>(&car).unwrap_err().name(), "UnavailableProof");
    // An invocation is no delegation, and the other way round.
    let mut draft = chain.bob.asks(&chain.bucket, &proofs);
    draft.prf[1] = cid(&invocation);
    assert_eq!(name(read(&chain.bob.invocation(&draft), &[proofs[0].clone(), invocation])), "Malformed");
    assert_eq!(name(read(&proofs[0], &[])), "Malformed");
}

#[test]
fn audiences() {
    let (bucket, executor, other) = (ed25519(1), ed25519(2), ed25519(3));
    for (aud, allowed) in [(None, true), (Some(&bucket), true), (Some(&executor), true), (Some(&other), false)] {
        let draft = InvocationDraft { aud: aud.map(Signer::did), ..bucket.asks(&bucket, &[]) };
        let request = read(&bucket.invocation(&draft), &[]).unwrap();
        assert_eq!(request.check(NOW, Some(&executor.did())).is_ok(), allowed);
        assert_eq!(request.check(NOW, None), Ok(()));
    }
}

#[test]
fn commands() {
    let chain = Chain::new();
    let verdict = |first: &str, second: &str, powerline: bool, asked: &str| {
        chain.with(|a, b, draft| {
            (a.cmd, b.cmd, draft.task.cmd) = (first.into(), second.into(), asked.into());
            if powerline {
                b.sub = None;
            }
        })
    };
    for (first, second, powerline, asked, expected) in [
        ("/", "/", false, "/kv/put", "valid"),
        ("/kv", "/kv/put", false, "/kv/put", "valid"),
        ("/kv/put", "/kv/put", false, "/kv/put", "valid"),
        ("/kv/put", "/kv/put", false, "/kv/put/all", "valid"),
        ("/kv", "/kv", false, "/kvs/put", "InvalidCommand"),
        ("/kv/put", "/kv/put", false, "/kv", "InvalidCommand"),
        ("/kv", "/", false, "/kv/put", "InvalidCommand"),
        ("/kv/put", "/kv", false, "/kv/put", "InvalidCommand"),
        ("/kv", "/dag", false, "/dag/put", "InvalidCommand"),
        ("/kv", "/", true, "/kv/put", "valid"),
        ("/kv", "/", true, "/dag/put", "InvalidCommand"),
        ("/kv", "/dag", true, "/kv/put", "InvalidCommand"),
        ("/", "/ほげ/ふが", false, "/kv/put", "InvalidCommand"),
        ("/", "/kv/", false, "/kv/put", "Malformed"),
        ("/", "//", false, "/kv/put", "Malformed"),
        ("/", "kv", false, "/kv/put", "Malformed"),
        ("/", "", false, "/kv/put", "Malformed"),
        ("/", "/KV", false, "/kv/put", "Malformed"),
        ("/", "/", false, "/", "Malformed"),
    ] {
        assert_eq!(verdict(first, second, powerline, asked), expected, "{first} {second} {powerline} {asked}");
    }
}

#[test]
fn policies_of_the_whole_chain_count() {
    let chain = Chain::new();
    let yes = || policy(r#"[["==", ".key", "a"]]"#);
    let no = || policy(r#"[["==", ".key", "a"], ["==", ".key", "b"]]"#);
    assert_eq!(chain.with(|a, b, _| (a.pol, b.pol) = (yes(), yes())), "valid");
    assert_eq!(chain.with(|a, b, _| (a.pol, b.pol) = (no(), yes())), "MatchError");
    assert_eq!(chain.with(|a, b, _| (a.pol, b.pol) = (yes(), no())), "MatchError");
    let proofs = vec![chain.bucket.delegation(&DelegationDraft { pol: no(), ..chain.first() })];
    let denied = verify(&chain.alice.invocation(&chain.alice.asks(&chain.bucket, &proofs)), &proofs, NOW).unwrap_err();
    assert!(matches!(&denied, Denied::MatchError { statement: 1, .. }), "{denied}");
}

/// A payload sealed under any tag, after a change to its fields.
fn sealed(signer: &Signer, tag: &str, change: impl Fn(&mut BTreeMap<String, Ipld>)) -> Vec<u8> {
    let Ipld::Map(mut payload) = signer.asks(signer, &[]).to_ipld() else { unreachable!() };
    change(&mut payload);
    seal(&signer.key(), tag, Ipld::Map(payload), |message| signer.sign(message))
}

#[test]
fn tags() {
    let signer = ed25519(1);
    for (tag, expected) in [
        ("ucan/inv@1.0.0", "valid"),
        ("ucan/inv@1.0.0-rc.1", "valid"),
        ("ucan/inv@1.0.0-rc.1-rc.1", "Malformed"),
        ("ucan/inv@1.0.0-rc.2", "Malformed"),
        ("ucan/inv@1.0.1", "Malformed"),
        ("ucan/dlg@1.0.0", "Malformed"),
        ("h2", "Malformed"),
        ("", "Malformed"),
    ] {
        assert_eq!(name(verify(&sealed(&signer, tag, |_| ()), &[], NOW)), expected, "{tag}");
    }
    let (bucket, alice) = (ed25519(1), ed25519(2));
    let grant = bucket.grants(&alice, Some(&bucket)).to_ipld();
    let proof = seal(&bucket.key(), "ucan/dlg@1.0.0-rc.1", grant, |message| bucket.sign(message));
    let invocation = alice.invocation(&alice.asks(&bucket, from_ref(&proof)));
    assert_eq!(name(verify(&invocation, &[proof], NOW)), "valid");
}

#[test]
fn fields() {
    let signer = ed25519(1);
    let link = Ipld::Link(cid(b"receipt"));
    let verdict = |field: &str, value: Option<Ipld>| {
        let invocation = sealed(&signer, INVOCATION, |payload| match &value {
            Some(value) => drop(payload.insert(field.to_owned(), value.clone())),
            None => drop(payload.remove(field)),
        });
        name(verify(&invocation, &[], NOW))
    };
    for field in ["iss", "sub", "cmd", "args", "prf", "nonce", "exp"] {
        assert_eq!(verdict(field, None), "Malformed", "{field}");
        assert_eq!(verdict(field, Some(Ipld::Bool(true))), "Malformed", "{field}");
    }
    for (field, value, expected) in [
        ("meta", Ipld::Map(map(&[("any", Ipld::Float(1.5))])), "valid"),
        ("meta", Ipld::Null, "Malformed"),
        ("cause", link.clone(), "valid"),
        ("cause", Ipld::Null, "Malformed"),
        ("iat", Ipld::Integer(1), "valid"),
        ("iat", Ipld::Float(1.0), "Malformed"),
        ("iat", Ipld::Integer(-1), "Malformed"),
        ("exp", Ipld::Float(2e9), "Malformed"),
        ("exp", Ipld::Integer(1 << 53), "Malformed"),
        ("aud", Ipld::Null, "Malformed"),
        ("aud", text("did:web:example.com"), "valid"),
        ("iss", text("did:web:example.com"), "UnsupportedKey"),
        ("prf", Ipld::List(vec![text("bafy")]), "Malformed"),
        ("nonce", Ipld::Bytes(vec![]), "valid"),
        ("nbf", Ipld::Integer(1), "Malformed"),
        ("pol", Ipld::List(vec![]), "Malformed"),
        ("fct", Ipld::Map(map(&[])), "Malformed"),
        ("args", Ipld::Map(map(&[("float", Ipld::Float(0.5)), ("link", link.clone())])), "valid"),
    ] {
        assert_eq!(verdict(field, Some(value.clone())), expected, "{field} {value:?}");
    }
}

#[test]
fn fields_of_delegations() {
    let (bucket, alice) = (ed25519(1), ed25519(2));
    let verdict = |field: &str, value: Option<Ipld>| {
        let Ipld::Map(mut payload) = bucket.grants(&alice, Some(&bucket)).to_ipld() else { unreachable!() };
        match value {
            Some(value) => payload.insert(field.to_owned(), value),
            None => payload.remove(field),
        };
        let proof = seal(&bucket.key(), DELEGATION, Ipld::Map(payload), |message| bucket.sign(message));
        name(verify(&alice.invocation(&alice.asks(&bucket, from_ref(&proof))), &[proof], NOW))
    };
    for field in ["iss", "aud", "sub", "cmd", "pol", "nonce", "exp"] {
        assert_eq!(verdict(field, None), "Malformed", "{field}");
        assert_eq!(verdict(field, Some(Ipld::Integer(-1))), "Malformed", "{field}");
    }
    assert_eq!(verdict("meta", Some(Ipld::Map(map(&[])))), "valid");
    assert_eq!(verdict("nonce", Some(Ipld::Bytes(vec![0; 1000]))), "valid");
    for field in ["prf", "args", "iat", "cause", "rev"] {
        assert_eq!(verdict(field, Some(Ipld::Integer(1))), "Malformed", "{field}");
    }
}

#[test]
fn envelopes() {
    let signer = ed25519(1);
    let invocation = signer.invocation(&signer.asks(&signer, &[]));
    let Ipld::List(items) = dag_cbor::decode(&invocation).unwrap() else { unreachable!() };
    let Ipld::Map(signed) = items[1].clone() else { unreachable!() };
    let with = |signed: Ipld| name(read(&dag_cbor::encode(&Ipld::List(vec![items[0].clone(), signed])), &[]));
    let change = |field: &str, value: Option<Ipld>| {
        let mut signed = signed.clone();
        match value {
            Some(value) => signed.insert(field.to_owned(), value),
            None => signed.remove(field),
        };
        with(Ipld::Map(signed))
    };
    assert_eq!(with(Ipld::Null), "Malformed");
    assert_eq!(change("h", None), "Malformed");
    assert_eq!(change("h", Some(text("h"))), "Malformed");
    assert_eq!(change("h", Some(Ipld::Bytes(vec![0x34]))), "UnsupportedKey");
    assert_eq!(change(INVOCATION, None), "Malformed");
    assert_eq!(change(INVOCATION, Some(Ipld::Null)), "Malformed");
    assert_eq!(change(DELEGATION, Some(signed[INVOCATION].clone())), "Malformed");
    assert_eq!(change("x", Some(Ipld::Null)), "Malformed");
}

#[test]
fn names_and_codes_are_unique() {
    let did = ed25519(1).did();
    let token = String::new;
    let all = [
        Denied::Malformed(token()),
        Denied::UnsupportedKey(token()),
        Denied::InvalidSignature { token: token(), iss: did.clone() },
        Denied::UnavailableProof(token()),
        Denied::TooManyProofs(9),
        Denied::InvalidClaim(token()),
        Denied::InvalidSubject { token: token(), expected: did.clone(), got: did.clone() },
        Denied::InvalidAudience { token: token(), expected: did.clone(), got: did.clone() },
        Denied::InvalidCommand { token: token(), expected: token(), got: token() },
        Denied::MatchError { token: token(), statement: 0 },
        Denied::Expired { token: token(), exp: 0, now: 1 },
        Denied::TooEarly { token: token(), nbf: 1, now: 0 },
        Denied::Revoked { token: token(), by: did.clone() },
        Denied::TooMuchWork,
    ];
    let codes: Vec<_> = all.iter().map(Denied::code).collect();
    assert_eq!(codes, (64..64 + all.len() as u32).collect::<Vec<_>>());
    assert_eq!(all.iter().map(Denied::name).collect::<BTreeSet<_>>().len(), all.len());
    for code in 0..200 {
        assert_eq!(explain(code).is_some(), codes.contains(&code), "{code}");
    }
}

#[test]
fn witnesses_of_revocations() {
    let chain = Chain::new();
    let carol = ed25519(4);
    let expired = DelegationDraft { exp: Some(1), ..chain.second() };
    let mut blocks = chain.seal(&chain.first(), &expired);
    blocks.push(chain.bob.delegation(&chain.bob.grants(&carol, None)));
    let cids: Vec<_> = blocks.iter().map(|block| cid(block)).collect();
    let root = chain.bob.invocation(&chain.bob.asks(&chain.bucket, &[]));
    let bucket = chain.bucket.did();
    let find = |blocks: &[Vec<u8>], path: &[Cid], revoked| {
        witness::<NativeHasher>(&car(&root, blocks), &bucket, path, &revoked)
    };
    let issuers = |path: &[_], revoked| -> Result<Vec<_>, &str> {
        find(&blocks, path, revoked)
            .map(|chain| chain.iter().map(|delegation| delegation.iss.clone()).collect())
            .map_err(|denied| denied.name())
    };
    let (a, b, c) = (chain.bucket.did(), chain.alice.did(), chain.bob.did());
    assert_eq!(issuers(&[], cids[0]), Ok(vec![a.clone()]));
    assert_eq!(issuers(&cids[..1], cids[1]), Ok(vec![a.clone(), b.clone()]));
    assert_eq!(issuers(&cids[..2], cids[1]), Ok(vec![a.clone(), b.clone()]));
    assert_eq!(issuers(&cids, cids[1]), Ok(vec![a.clone(), b.clone()]), "what follows is nobody's business");
    assert_eq!(issuers(&cids[..2], cids[2]), Ok(vec![a, b, c]));
    assert_eq!(issuers(&[], cids[1]), Err("InvalidClaim"));
    assert_eq!(issuers(&cids[..1], cids[2]), Err("InvalidAudience"));
    assert_eq!(issuers(&cids[1..2], cids[2]), Err("InvalidClaim"));
    assert_eq!(issuers(&[], cid(b"absent")), Err("UnavailableProof"));
    assert_eq!(issuers(&[cids[0]; PROOFS_MAX], cids[1]), Err("TooManyProofs"));
    let mut forged = blocks.clone();
    forged[0][9] ^= 1;
    let path = [cid(&forged[0])];
    assert_eq!(find(&forged, &path, cids[1]).map_err(|denied| denied.name()), Err("InvalidSignature"));
    let other = witness::<NativeHasher>(&car(&root, &blocks), &carol.did(), &[], &cids[0]);
    assert_eq!(other.map_err(|denied| denied.name()), Err("InvalidSubject"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// Whatever is changed, tokens are refused or say what was signed.
    #[test]
    fn mutations_are_refused(edits in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..4)) {
        let signer = ed25519(1);
        let invocation = signer.invocation(&signer.asks(&signer, &[]));
        let mut changed = invocation.clone();
        for (at, byte) in edits {
            let at = at % changed.len();
            changed[at] = byte;
        }
        if let Ok(read) = Invocation::decode(&changed) {
            prop_assert!(changed == invocation || read.check_signature::<NativeHasher>().is_err());
        }
        prop_assert!(Delegation::decode::<NativeHasher>(&changed).is_err());
    }
}
