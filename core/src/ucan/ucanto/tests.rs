//! CARs of npm `@ucanto/core`, made with fixed keys by `tests/js/ucanto.mjs`. `tests/it/ucanto.rs` makes them again.

use std::collections::BTreeMap;

use ed25519_dalek::Signer;
use serde::Deserialize;

use super::*;
use crate::cid::{DAG_CBOR, NativeHasher, RAW, block_cid};
use crate::dag_cbor;
use crate::ucan::{Did, PublicKey};
use cid::multibase;

#[derive(Deserialize)]
struct Cases {
    now: u64,
    keys: BTreeMap<String, Did>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    /// What we say; nothing when we accept.
    refused: Option<String>,
    /// What ucanto's own validator says, if it can.
    ucanto: Option<bool>,
    /// Whether we refuse what it accepts.
    #[serde(default)]
    stricter: bool,
    cid: Option<String>,
    car: String,
}

fn cases() -> Cases {
    serde_json::from_str(include_str!("cases.json")).unwrap()
}

impl Cases {
    fn car(&self, name: &str) -> Vec<u8> {
        multibase::decode(&self.cases.iter().find(|case| case.name == name).unwrap().car).unwrap().1
    }

    fn request(&self, name: &str) -> Request {
        Request::from_car::<NativeHasher>(&Car::decode::<NativeHasher>(self.car(name)).unwrap()).unwrap().unwrap()
    }

    fn verdict(&self, car: Vec<u8>) -> Result<Request, String> {
        let car = Car::decode::<NativeHasher>(car).map_err(|error| error.to_string())?;
        let request = Request::from_car::<NativeHasher>(&car).map_err(|denied| denied.to_string())?;
        let request = request.ok_or("not signed")?;
        request.check(self.now, Some(&self.keys["service"])).map_err(|denied| denied.to_string())?;
        request.check_signatures::<NativeHasher>().map_err(|denied| denied.to_string())?;
        Ok(request)
    }
}

#[test]
fn verdicts() {
    let all = cases();
    for Case { name, refused, ucanto, stricter, car, .. } in &all.cases {
        let verdict = all.verdict(multibase::decode(car).unwrap().1);
        match (verdict, refused) {
            (Ok(_), None) => {}
            (Err(error), Some(refused)) => assert!(error.contains(refused), "{name}: {error}"),
            (Ok(_), Some(_)) => panic!("{name}: accepted"),
            (Err(error), None) => panic!("{name}: {error}"),
        }
        if let Some(ucanto) = ucanto {
            assert_eq!(*ucanto, refused.is_none() || *stricter, "{name}");
        }
    }
    assert!(all.cases.len() > 40);
}

#[test]
fn fields() {
    let all = cases();
    let request = all.request("nonce and facts");
    let (bucket, alice) = (&all.keys["bucket"], &all.keys["alice"]);
    assert_eq!(request.invocation.iss, *alice);
    assert_eq!(request.invocation.aud.as_ref(), Some(&all.keys["service"]));
    let task = &request.invocation.task;
    assert_eq!((&task.sub, &task.cmd[..]), (bucket, "/kv/put"));
    let args = [("key".to_owned(), Ipld::String("a".into())), ("value".to_owned(), Ipld::Integer(1))];
    assert_eq!(task.args, args.into());
    assert_eq!(task.nonce, "Füße".as_bytes());
    assert_eq!((request.invocation.exp, request.invocation.nbf), (None, None));
    let [proof] = &request.proofs[..] else { panic!("{:?}", request.proofs) };
    assert_eq!((&proof.iss, &proof.aud, proof.sub.as_ref()), (bucket, alice, Some(bucket)));
    assert_eq!((&proof.cmd[..], proof.pol.is_empty()), ("/kv/put", true));
    assert_eq!(all.request("without caveats").invocation.task.args, BTreeMap::new());
}

#[test]
fn all_roots_are_one_invocation() {
    let all = cases();
    for name in ["self", "one proof"] {
        let archive = all.request(name);
        let id = archive.id::<NativeHasher>();
        for root in ["the UCAN", "a message"] {
            let other = all.request(&format!("{name}, root is {root}"));
            assert_eq!(other, archive);
            assert_eq!(other.id::<NativeHasher>(), id);
        }
    }
    assert_ne!(all.request("self").id::<NativeHasher>(), all.request("one proof").id::<NativeHasher>());
}

#[test]
fn delegations_are_revocable_by_their_cids() {
    let all = cases();
    let request = all.request("two proofs");
    let found: Vec<_> =
        request.revocable().map(|(cid, issuers)| (cid, issuers.into_iter().cloned().collect::<Vec<_>>())).collect();
    let (bucket, alice) = (all.keys["bucket"].clone(), all.keys["alice"].clone());
    let car = Car::decode::<NativeHasher>(all.car("two proofs")).unwrap();
    let cids: Vec<_> = car.blocks().map(|(cid, _)| cid).collect();
    assert_eq!(found, [(cids[0], vec![bucket.clone()]), (cids[1], vec![bucket, alice])]);
    // The invocation's own CID is the one that receipts name.
    let case = all.cases.iter().find(|case| case.name == "two proofs").unwrap();
    assert_eq!(case.cid.as_deref(), Some(&cids[2].to_string()[..]));
}

#[test]
fn a_p256_delegation_has_one_cid_whichever_form_its_signature_has() {
    let all = cases();
    let car = Car::decode::<NativeHasher>(all.car("P-256, by two")).unwrap();
    let name = |car: &Car| {
        let request = Request::from_car::<NativeHasher>(car).unwrap().unwrap();
        request.check_signatures::<NativeHasher>().unwrap();
        request.proofs[1].cid
    };
    let high = Car::decode::<NativeHasher>(all.car("P-256, by two, with the greater s")).unwrap();
    assert_ne!(car.root_value(), high.root_value());
    assert_eq!(name(&car), name(&high));
}

#[test]
fn of_many_chains_the_longest_lasting_counts() {
    let all = cases();
    let request = all.request("two ways, one expired");
    assert_eq!(request.proofs.iter().map(|proof| proof.exp).collect::<Vec<_>>(), [None, None]);
    assert_eq!(all.request("a ladder with two ways at each step").proofs.len(), crate::limits::PROOFS_MAX);
}

#[test]
fn powers_and_caveats_in_the_form_of_1_0() {
    let all = cases();
    for (name, cmds) in [
        ("all of kv", &["/kv"][..]),
        ("all", &["/"]),
        ("all that the bucket has", &["/"]),
        ("all that Alice has", &["/kv/put", "/kv/put"]),
    ] {
        let request = all.request(name);
        assert_eq!(request.proofs.iter().map(|proof| &proof.cmd[..]).collect::<Vec<_>>(), cmds, "{name}");
    }
    let last = |name: &str| all.request(name).proofs.pop().unwrap();
    assert_eq!(last("all that the bucket has").sub.as_ref(), Some(&all.keys["bucket"]));
    assert_eq!(last("all that Alice has").sub, None);
    let args = |key: &str| Ipld::Map([("key".to_owned(), Ipld::String(key.into()))].into());
    let pol = all.request("caveats kept over two proofs").proofs[1].pol.clone();
    assert_eq!(pol.is_met(&Ipld::Map([("value".to_owned(), Ipld::Integer(1))].into())), Ok(true));
    assert_eq!(pol.is_met(&args("a")), Ok(false));
    let strange =
        Capability { with: String::new(), can: String::new(), nb: [("a\"\\]ß".to_owned(), Ipld::Null)].into() };
    assert_eq!(policy(strange).unwrap().to_ipld(), {
        let selector = Ipld::String(".[\"a\\\"\\\\]ß\"]".into());
        Ipld::List(vec![Ipld::List(vec![Ipld::String("==".into()), selector, Ipld::Null])])
    });
}

/// A CAR of one block.
fn car_of(value: &Ipld) -> Car {
    let mut transaction = crate::car::Transaction::<NativeHasher>::default();
    transaction.write(value);
    Car::decode::<NativeHasher>(transaction.commit().unwrap()).unwrap()
}

#[test]
fn what_ucanto_would_not_write_is_refused() {
    let car = Car::decode::<NativeHasher>(cases().car("self, root is the UCAN")).unwrap();
    let Ipld::Map(root) = car.root_value() else { panic!("a map") };
    let Ipld::Bytes(signature) = &root["s"] else { panic!("bytes") };
    let Ipld::Bytes(key) = &root["iss"] else { panic!("bytes") };
    let as_text = [&[0x9d, 0x1a], &all_but_did(&cases().keys["bucket"])[..]].concat();
    let bytes = |bytes: &[u8]| Ipld::Bytes(bytes.to_vec());
    for (field, value, refused) in [
        ("v", Ipld::String("0.9.2".into()), "“v” to be “0.9.1”, got “0.9.2”"),
        ("iss", bytes(&as_text), "“iss” to be a key's bytes"),
        ("iss", bytes(&[key, &[0][..]].concat()), "got ed01…"),
        ("iss", bytes(&[0x9d, 0x1a, b'w', b':', 0xff]), "iss: expected a DID"),
        ("aud", Ipld::String("did:key:z".into()), "“aud” to be a DID's bytes"),
        ("s", bytes(&signature[..67]), "64 bytes after its length"),
        ("s", bytes(&[&[0x80, 0xa4, 0xc0, 0x06], &signature[3..]].concat()), "the key of did:key:z6Mk"),
        ("s", bytes(&[0x91, 0xa3, 0x03, 0]), "got 91a30300"),
        ("prf", Ipld::Null, "“prf” to be a list of links"),
        ("exp", Ipld::Integer(-1), "“exp” to be seconds since 1970"),
        ("exp", Ipld::Integer(1 << 53), "“exp” to be seconds since 1970"),
        ("nbf", Ipld::Integer(0), "“nbf” to be seconds since 1970"),
        ("nnc", Ipld::String(String::new()), "“nnc” to be text that isn't empty"),
        ("fct", Ipld::List(vec![]), "“fct” to be a list that isn't empty"),
        ("att", Ipld::List(vec![Ipld::Float(1.0)]), "which JavaScript never writes"),
        ("att", Ipld::List(vec![]), "one capability, got 0"),
        ("more", Ipld::Null, "“more”"),
    ] {
        let mut root = root.clone();
        root.insert(field.to_owned(), value);
        let denied = request::<NativeHasher>(&car_of(&Ipld::Map(root))).unwrap_err().to_string();
        assert!(denied.contains(refused), "{field}: {denied}");
    }
    let newer = Ipld::Map([("ucan@1.0.0".to_owned(), Ipld::Null)].into());
    assert!(request::<NativeHasher>(&car_of(&newer)).unwrap_err().to_string().contains("got “ucan@1.0.0”"));
}

fn all_but_did(did: &Did) -> Vec<u8> {
    did.as_str().strip_prefix("did:").unwrap().as_bytes().to_vec()
}

#[test]
fn other_roots_are_nothing_of_w3ups() {
    for value in [Ipld::Null, Ipld::Map(BTreeMap::new()), Ipld::Map([("sub".to_owned(), Ipld::Null)].into())] {
        assert_eq!(request::<NativeHasher>(&car_of(&value)), Ok(None));
    }
}

#[test]
fn a_receipt() {
    let key = ed25519_dalek::SigningKey::from_bytes(&[2; 32]);
    let public = PublicKey::Ed25519(key.verifying_key().to_bytes());
    let ran = block_cid::<NativeHasher>(RAW, b"ran");
    let out = Err(Ipld::Map([("name".to_owned(), Ipld::String("Failed".into()))].into()));
    let mut message = Vec::new();
    let sign = |bytes: &[u8]| {
        message = bytes.to_vec();
        key.sign(bytes).to_bytes().to_vec()
    };
    let (cid, block) = receipt(ran, out, BTreeMap::new(), &public, sign);
    assert_eq!(cid, block_cid::<NativeHasher>(DAG_CBOR, &block));
    let Ok(Ipld::Map(root)) = dag_cbor::decode(&block) else { panic!("a map") };
    assert_eq!(dag_cbor::encode(&root["ocm"]), message);
    let Ipld::Bytes(signature) = &root["sig"] else { panic!("bytes") };
    assert_eq!(signature[..4], [0xed, 0xa1, 0x03, 64]);
    assert!(public.verify::<NativeHasher>(&message, &signature[4..]));
    let car = Car::decode::<NativeHasher>(super::message(ran, &block).unwrap()).unwrap();
    assert_eq!(car.block(&cid), Some(&block[..]));
    // An answer is no request.
    assert!(request::<NativeHasher>(&car).unwrap_err().to_string().contains("got one with “report”"));
}
