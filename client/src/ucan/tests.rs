use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bucket_core::bucket::Mode;
use bucket_core::car::{Car, Transaction};
use bucket_core::cid::{Cid, DAG_CBOR, NativeHasher};
use bucket_core::dag_cbor::Ipld;
use bucket_core::task::Task;
use bucket_core::ucan::{Policy, Request};
use fvm_shared::address::Address;
use serde_json::Value;

use super::container::{self, Base};
use super::sign::{self, Grant};
use super::*;
use crate::identity::{Identity, IdentityKind};

const NOW: u64 = 1_800_000_000;

fn keys() -> [Identity; 3] {
    [IdentityKind::Ed25519, IdentityKind::Secp256k1, IdentityKind::P256].map(|kind| Identity::generate(kind).unwrap())
}

fn task(bucket: &Identity, cmd: &str) -> Task {
    let args = [("key".to_owned(), Ipld::String("a".into()))].into();
    Task { sub: bucket.did(), cmd: cmd.into(), args, nonce: vec![1] }
}

fn grant(bucket: &Identity, to: &Identity, cmd: &str) -> Grant {
    let pol = Policy::default();
    Grant { to: to.did(), bucket: bucket.did(), cmd: cmd.into(), pol, nbf: None, exp: None, powerline: false }
}

fn invoke(key: &Identity, task: Task, held: &[Held]) -> Result<Vec<u8>, crate::ClientError> {
    sign::invocation(key, task, Transaction::default(), held, Some(NOW), NOW)
}

fn all(file: &[u8]) -> Vec<Held> {
    Held::all(file).unwrap()
}

#[test]
fn chains_are_found_whatever_their_order_and_form() {
    let [bucket, alice, bob] = keys();
    let first = sign::delegation(&bucket, grant(&bucket, &alice, "/kv"), &[], NOW).unwrap();
    let chain = sign::delegation(&alice, grant(&bucket, &bob, "/kv/put"), &first, NOW).unwrap();
    assert_eq!(chain.len(), 2);
    let car = sign::to_car(&chain).unwrap();
    for file in [car, sign::to_container(&chain, Base::Raw), sign::to_container(&chain, Base::Base64Url)] {
        let mut held = all(&file);
        for _ in 0..2 {
            held.reverse();
            let car = invoke(&bob, task(&bucket, "/kv/put"), &held).unwrap();
            let report = verify(&car, NOW, Some(&bucket.did()));
            assert_eq!((report.verdict, report.proofs.len()), ("valid", 2), "{report:?}");
            assert_eq!(report.proofs[0].iss, Some(bucket.did()));
            assert_eq!(verify(&car, NOW + 1, None).name, Some("Expired"));
        }
        let report = verify(&file, NOW, None);
        assert_eq!((report.verdict, report.kind, report.complete), ("valid", Some("delegation"), true));
        assert_eq!((report.says.aud, report.proofs.len()), (Some(bob.did()), 1));
    }
    let error = invoke(&bob, task(&bucket, "/kv/del"), &chain).unwrap_err();
    assert_eq!(error.to_string(), "InvalidCommand: the task: expected a command under /kv/put, got /kv/del");
    let error = invoke(&bob, task(&bucket, "/kv/put"), &chain[1..]).unwrap_err();
    assert!(error.to_string().contains("got none among 1 delegations"), "{error}");
    let error = sign::delegation(&bob, grant(&bucket, &alice, "/"), &chain, NOW).unwrap_err();
    assert!(error.to_string().starts_with("InvalidCommand"), "{error}");
    // A part of a chain is valid as far as it goes.
    let part = verify(&chain[1].token.bytes, NOW, None);
    assert_eq!((part.verdict, part.complete), ("valid", false));
    assert!(part.reason.unwrap().ends_with("are not in the file"));
}

#[test]
fn a_chain_ends_where_nobody_could_use_it() {
    let keys: Vec<_> = (0..10).map(|_| Identity::generate(IdentityKind::Ed25519).unwrap()).collect();
    let mut chain = vec![];
    for pair in keys[..9].windows(2) {
        chain = sign::delegation(&pair[0], grant(&keys[0], &pair[1], "/kv"), &chain, NOW).unwrap();
    }
    assert_eq!(verify(&invoke(&keys[8], task(&keys[0], "/kv/put"), &chain).unwrap(), NOW, None).verdict, "valid");
    let error = sign::delegation(&keys[8], grant(&keys[0], &keys[9], "/kv"), &chain, NOW).unwrap_err();
    assert!(error.to_string().starts_with("TooManyProofs: expected at most 8 proofs, got 9"), "{error}");
}

#[test]
fn of_several_chains_the_one_that_holds_is_taken() {
    let [bucket, alice, bob] = keys();
    let with = |cmd: &str, exp, pol: &str| {
        let pol = Policy::from_ipld(crate::dag_json::read(pol).unwrap()).unwrap();
        let grant = Grant { exp, pol, ..grant(&bucket, &alice, cmd) };
        sign::delegation(&bucket, grant, &[], NOW - 100).unwrap().remove(0)
    };
    let held = [
        with("/kv", Some(NOW - 1), "[]"),
        with("/echo", None, "[]"),
        with("/kv", None, r#"[["==", ".key", "b"]]"#),
        with("/kv", Some(NOW), r#"[["==", ".key", "a"]]"#),
    ];
    let report = verify(&invoke(&alice, task(&bucket, "/kv/put"), &held).unwrap(), NOW, None);
    assert_eq!(report.proofs[0].cid, Some(held[3].token.cid.to_string()));
    let error = invoke(&alice, task(&bucket, "/kv/put"), &held[2..3]).unwrap_err();
    assert!(error.to_string().starts_with("MatchError"), "{error}");
    // A powerline goes on with whatever comes.
    let line = Grant { powerline: true, ..grant(&bucket, &bob, "/kv/put") };
    let line = sign::delegation(&alice, line, &[], NOW).unwrap().remove(0);
    assert_eq!(line.sub, None);
    let held = [line, held[3].clone()];
    assert_eq!(verify(&invoke(&bob, task(&bucket, "/kv/put"), &held).unwrap(), NOW, None).verdict, "valid");
}

#[test]
fn a_buckets_key_asks_for_its_bucket() {
    for key in keys() {
        let controllers = [Address::new_id(1001), Address::new_actor(b"a")];
        let car = sign::creation(&key, &controllers, Mode::Mutex).unwrap();
        let creation = sign::read_creation(&car).unwrap();
        assert_eq!((creation.bucket, creation.mode), (key.did(), Mode::Mutex));
        assert_eq!(creation.controllers, controllers);
        assert_eq!(verify(&car, NOW, None).verdict, "valid");
        let other = invoke(&key, task(&key, "/kv/put"), &[]).unwrap();
        let error = sign::read_creation(&other).unwrap_err();
        assert!(error.to_string().contains("a signed /bucket/create with"), "{error}");
    }
}

#[test]
fn issuers_revoke_with_the_whole_path() {
    let [bucket, alice, bob] = keys();
    let first = sign::delegation(&bucket, grant(&bucket, &alice, "/kv"), &[], NOW).unwrap();
    let chain = sign::delegation(&alice, grant(&bucket, &bob, "/kv/put"), &first, NOW).unwrap();
    let revoked = chain[1].token.cid;
    let request = |key: Option<&Identity>, held: &[Held]| {
        let car = sign::revocation(&bucket.did(), revoked, key, held, None, NOW)?;
        let car = Car::decode::<NativeHasher>(car).unwrap();
        Ok::<_, crate::ClientError>((Request::from_car::<NativeHasher>(&car).unwrap(), car))
    };
    let (unsigned, car) = request(None, &[]).unwrap();
    assert!(unsigned.is_none());
    let Ipld::Map(root) = car.root_value() else { panic!("a task") };
    assert_eq!(root["args"], Ipld::Map([("ucan".to_owned(), Ipld::Link(revoked))].into()));

    let (own, _) = request(Some(&bucket), &[]).unwrap();
    assert!(own.unwrap().check(NOW, None).is_ok());

    let (issuer, car) = request(Some(&alice), &chain).unwrap();
    let invocation = issuer.unwrap().invocation;
    assert!(invocation.prf.is_empty());
    let Some(Ipld::List(path)) = invocation.task.args.get("path") else { panic!("a path") };
    let path: Vec<Cid> = path.iter().map(|step| if let Ipld::Link(cid) = step { *cid } else { panic!() }).collect();
    let found = bucket_core::ucan::witness::<NativeHasher>(&car, &bucket.did(), &path, &revoked).unwrap();
    assert!(found.iter().any(|delegation| delegation.iss == alice.did()));
    // Who issued nothing needs a delegation to revoke.
    assert!(request(Some(&bob), &chain).is_err());
    let right = sign::delegation(&bucket, grant(&bucket, &bob, "/ucan"), &[], NOW).unwrap();
    let (given, _) = request(Some(&bob), &right).unwrap();
    assert!(given.unwrap().check(NOW, None).is_ok());
}

#[test]
fn files_come_as_bytes_and_as_text() {
    let [bucket, alice, _] = keys();
    let chain = sign::delegation(&bucket, grant(&bucket, &alice, "/kv"), &[], NOW).unwrap();
    let bytes = &chain[0].token.bytes;
    let car = sign::to_car(&chain).unwrap();
    let files = [
        bytes.clone(),
        STANDARD.encode(bytes).into_bytes(),
        format!("\n{}\n", STANDARD_NO_PAD.encode(bytes)).into_bytes(),
        container::URL.encode(bytes).into_bytes(),
        format!(r#"{{"/": {{"bytes": "{}"}}}}"#, STANDARD_NO_PAD.encode(bytes)).into_bytes(),
        [b" ", &sign::to_container(&chain, Base::Base64)[..], b"\n"].concat(),
        sign::to_container(&chain, Base::Raw),
        car.clone(),
        STANDARD.encode(car).into_bytes(),
    ];
    for file in files {
        let report = verify(&file, NOW, None);
        assert_eq!(report.cid, Some(chain[0].token.cid.to_string()), "{}", String::from_utf8_lossy(&file));
        assert_eq!((report.verdict, report.complete), ("valid", true));
    }
    for bad in [&b""[..], b"hello", b"{}", b"\xff\xff", b"aGVsbG8="] {
        assert_eq!(verify(bad, NOW, None).verdict, "unreadable");
    }
    let unsigned = task(&bucket, "/echo").to_car::<NativeHasher>();
    assert_eq!(verify(&unsigned, NOW, None).verdict, "unreadable");
    let mut forged = bytes.clone();
    forged[10] ^= 1;
    assert_eq!(verify(&forged, NOW, None).name, Some("InvalidSignature"));
}

/// The fixtures `1.0.0` of ucan-wg/spec; they are not part of this repository.
#[test]
fn the_specifications_vectors_have_their_verdicts() {
    let path = format!("{}/../../shared/vectors/ucan/invocation.json", env!("CARGO_MANIFEST_DIR"));
    let Ok(json) = std::fs::read_to_string(&path) else { return println!("skipped: cannot read {path}") };
    let vectors: Value = serde_json::from_str(&json).unwrap();
    let bytes = |value: &Value| STANDARD_NO_PAD.decode(value["/"]["bytes"].as_str().unwrap()).unwrap();
    for (expected, group) in [("valid", &vectors["valid"]), ("invalid", &vectors["invalid"])] {
        for case in group.as_array().unwrap() {
            let mut tokens: Vec<_> = case["proofs"].as_array().unwrap().iter().map(bytes).collect();
            tokens.push(bytes(&case["invocation"]));
            let mut transaction = Transaction::<NativeHasher>::default();
            for token in &tokens {
                transaction.write_block(DAG_CBOR, token);
            }
            let container = |base| container::write(&tokens, base);
            for file in [transaction.commit().unwrap(), container(Base::Raw), container(Base::Base64)] {
                let report = verify(&file, case["time"].as_u64().unwrap(), None);
                assert_eq!(report.verdict, expected, "{}: {report:?}", case["name"]);
                assert_eq!(report.name, case["error"]["name"].as_str(), "{}", case["name"]);
            }
        }
    }
}
