//! Signed requests: what is allowed, and every other one refused with its own error. Their signatures and their fields have
//! files of their own.

mod ucan_kit;

use std::collections::BTreeSet;

use bucket_core::car::{Car, Transaction};
use bucket_core::cid::{Cid, DAG_CBOR, NativeHasher, RAW, block_cid};
use bucket_core::dag_cbor::Ipld;
use bucket_core::limits::PROOFS_MAX;
use bucket_core::ucan::{DelegationDraft, Denied, InvocationDraft, Request, explain, witness};
use serde_json::json;
use ucan_kit::*;

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
    let yes = || read_policy(&json!([["==", ".key", "a"]])).unwrap();
    let no = || read_policy(&json!([["==", ".key", "a"], ["==", ".key", "b"]])).unwrap();
    assert_eq!(chain.with(|a, b, _| (a.pol, b.pol) = (yes(), yes())), "valid");
    assert_eq!(chain.with(|a, b, _| (a.pol, b.pol) = (no(), yes())), "MatchError");
    assert_eq!(chain.with(|a, b, _| (a.pol, b.pol) = (yes(), no())), "MatchError");
    let proofs = vec![chain.bucket.delegation(&DelegationDraft { pol: no(), ..chain.first() })];
    let denied = verify(&chain.alice.invocation(&chain.alice.asks(&chain.bucket, &proofs)), &proofs, NOW).unwrap_err();
    assert!(matches!(&denied, Denied::MatchError { statement: 1, .. }), "{denied}");
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
