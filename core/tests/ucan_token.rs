//! Tokens of signed requests: their tags and fields, and what was changed in them.

mod ucan_kit;

use std::collections::BTreeMap;
use std::slice::from_ref;

use bucket_core::cid::NativeHasher;
use bucket_core::dag_cbor::{self, Ipld};
use bucket_core::ucan::{DELEGATION, Delegation, INVOCATION, Invocation, seal};
use proptest::prelude::*;
use ucan_kit::*;

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
