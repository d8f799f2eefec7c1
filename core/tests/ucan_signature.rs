//! Signatures of signed requests: forged ones, those with two forms, and the keys that made them.

mod ucan_kit;

use std::slice::from_ref;

use bucket_core::cid::{Hasher, NativeHasher};
use bucket_core::ucan::{Invocation, InvocationDraft, PublicKey};
use ucan_kit::*;

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
