//! w3up's invocations and receipts against its npm packages: `@ucanto/core` writes and reads, `@ucanto/validator` judges.
//!
//! In what `tests/js/ucanto.mjs` is asked and answers, values travel as DAG-CBOR.

use std::cell::RefCell;
use std::collections::BTreeMap;

use bucket_core::bucket::Mode;
use bucket_core::car::Car;
use bucket_core::cid::{Cid, DAG_CBOR, NativeHasher, RAW, block_cid};
use bucket_core::dag_cbor::{self, Ipld};
use bucket_core::ucan::{PublicKey, Request, ucanto};
use bucket_tests::cars::{did, id, map, put, task, text};
use bucket_tests::keys::{create, ed25519, signed};
use bucket_tests::network::NetworkWorld;
use bucket_tests::{User, World};
use expect_test::expect_file;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use crate::js::Program;

/// Asks the program of w3up's packages.
fn ask(request: &Value) -> Value {
    Program::start("ucanto.mjs").ask(request)
}

fn cbor(value: &Ipld) -> String {
    hex::encode(dag_cbor::encode(value))
}

fn bytes(answer: &Value, field: &str) -> Vec<u8> {
    hex::decode(answer[field].as_str().expect("text")).expect("hex")
}

#[test]
fn the_cases_of_the_machines_own_tests_are_what_ucanto_writes() {
    let cases = ask(&json!({"command": "cases"}));
    let pretty = serde_json::to_string_pretty(&cases).expect("JSON");
    expect_file!["../../core/src/ucan/ucanto/cases.json"].assert_eq(&format!("{pretty}\n"));
}

/// Text with all that JSON escapes or JavaScript sorts in its own way.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-c]{0,3}", "[\"\\\\/\u{0}-\u{1f}\u{7f}ß\u{2028}\u{ffff}\u{10000}]{0,6}", any::<String>()]
}

/// DAG-JSON takes “/” for its own, and JavaScript “__proto__”.
fn any_name() -> impl Strategy<Value = String> {
    any_text().prop_filter("a name of its own", |name| name != "/" && name != "__proto__")
}

/// JavaScript writes 1.0 as 1.
fn float() -> impl Strategy<Value = f64> {
    let special = prop::sample::select(vec![0.1, -1.5, 1e-6, 1e-7, 5e-324, f64::MAX, 9007199254740992.0, 1e20, 1e21]);
    prop_oneof![special, any::<f64>()].prop_filter("a float in JavaScript as well", |x| {
        x.is_finite() && (x.fract() != 0.0 || x.abs() > 9007199254740991.0)
    })
}

fn any_value() -> impl Strategy<Value = Ipld> {
    let leaf = prop_oneof![
        Just(Ipld::Null),
        any::<bool>().prop_map(Ipld::Bool),
        (-300i128..300).prop_map(Ipld::Integer),
        any::<u64>().prop_map(|n| Ipld::Integer(n.into())),
        any::<u64>().prop_map(|n| Ipld::Integer(-1 - i128::from(n))),
        float().prop_map(Ipld::Float),
        any_text().prop_map(Ipld::String),
        prop::collection::vec(any::<u8>(), 0..100).prop_map(Ipld::Bytes),
        any::<u8>().prop_map(|n| Ipld::Link(block_cid::<NativeHasher>(RAW, &[n]))),
    ];
    leaf.prop_recursive(4, 30, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Ipld::List),
            prop::collection::btree_map(any_name(), inner, 0..6).prop_map(Ipld::Map),
        ]
    })
}

fn any_map() -> impl Strategy<Value = Ipld> {
    prop::collection::btree_map(any_name(), any_value(), 0..5).prop_map(Ipld::Map)
}

/// Arguments, facts, and a nonce.
type Draft = (Ipld, Vec<Ipld>, Option<String>);

fn sign((nb, facts, nonce): &Draft) -> Value {
    let mut request = json!({"command": "sign", "nb": cbor(nb), "facts": cbor(&Ipld::List(facts.clone()))});
    if let Some(nonce) = nonce {
        request["nonce"] = json!(nonce);
    }
    request
}

fn any_nonce() -> impl Strategy<Value = Option<String>> {
    prop::option::of(any_text().prop_filter("short, not empty", |nonce| (1..=64).contains(&nonce.len())))
}

#[test]
fn whatever_ucanto_signs_is_verified() {
    let node = RefCell::new(Program::start("ucanto.mjs"));
    let property = |invocations: Vec<Draft>| {
        for invocation @ (nb, _, nonce) in &invocations {
            let answer = node.borrow_mut().ask(&sign(invocation));
            let car = Car::decode::<NativeHasher>(bytes(&answer, "car")).map_err(fail)?;
            let request = Request::from_car::<NativeHasher>(&car).map_err(fail)?.expect("an invocation");
            request.check_signatures::<NativeHasher>().map_err(fail)?;
            request.check(0, None).map_err(fail)?;
            prop_assert_eq!(&Ipld::Map(request.invocation.task.args.clone()), nb);
            prop_assert_eq!(&request.invocation.task.nonce, nonce.as_deref().unwrap_or_default().as_bytes());
        }
        Ok(())
    };
    let config = Config { cases: 4, failure_persistence: None, max_shrink_iters: 100, ..Config::default() };
    let facts = prop::collection::vec(any_map(), 0..3);
    let invocations = prop::collection::vec((any_map(), facts, any_nonce()), 100);
    // Always the same ones, so that a failure is seen again.
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    if let Err(failure) = TestRunner::new_with_rng(config, rng).run(&invocations, property) {
        panic!("{failure}");
    }
}

fn fail(error: impl std::fmt::Display) -> TestCaseError {
    TestCaseError::fail(error.to_string())
}

#[test]
fn ucanto_reads_our_receipts() {
    let ran = block_cid::<NativeHasher>(RAW, b"an invocation");
    let link = Ipld::Link(block_cid::<NativeHasher>(RAW, b"a root"));
    let results = [
        Ok(map([("root", link.clone()), ("list", Ipld::List(vec![Ipld::Null, Ipld::Float(0.5)]))])),
        Ok(map([])),
        Err(map([("name", text("KeyReserved")), ("message", text("no such key"))])),
    ];
    let meta = BTreeMap::from([("cause".to_owned(), link), ("version".to_owned(), Ipld::Integer(2))]);
    for out in results {
        let value = match out.clone() {
            Ok(ok) => map([("ok", ok)]),
            Err(error) => map([("error", error)]),
        };
        let meta_value = Ipld::Map(meta.clone());
        let issue = json!({"command": "issue", "ran": ran.to_string(), "out": cbor(&value), "meta": cbor(&meta_value)});
        let theirs = ask(&issue);
        let block = bytes(&theirs, "block");
        let issuer = theirs["issuer"].as_str().expect("a DID");
        let (_, ours) = receipt(ran, out, meta.clone(), issuer, &block);
        assert_eq!(hex::encode(&ours), hex::encode(&block), "the same bytes");

        let car = hex::encode(ucanto::message(ran, &ours).expect("a receipt"));
        let read = ask(&json!({"command": "receipt", "car": car, "ran": ran.to_string()}));
        let expected = json!({
            "verified": true, "issuer": issuer, "ran": ran.to_string(), "fork": 0,
            "out": cbor(&value), "meta": cbor(&meta_value),
        });
        assert_eq!(read, expected);
    }
}

/// Of tasks and of a UCAN 1.0: ucanto reads one form, iso-ucan the other.
#[test]
fn clients_read_and_verify_the_receipts_that_the_indexer_signs() {
    let mut world = NetworkWorld::default();
    let key = ed25519(1);
    let bucket = create(&mut world, &key);
    let open = did("open");
    world.create(&open, Mode::Atomic).expect("created");
    let failing = put(&open, Ipld::List(vec![Ipld::Null]), text("reserved"), 3);
    let signed = signed(&key, task(&bucket, "/kv/put", map([("key", text("b")), ("value", text("1"))]), 2), &[]);
    let cases = [(&open, put(&open, text("a"), text("1"), 1)), (&open, failing), (&bucket, signed)];
    let http = tokio::runtime::Runtime::new().expect("a runtime");
    for (bucket, input) in cases {
        let invoked = world.invoke(User::Alice, bucket, &input, false).expect("accepted");
        let receipt = world.receipt_car(bucket, invoked.receipt);
        let get = |path: String| {
            let (status, body) = http.block_on(world.gateway.get(&path, "*/*")).expect("it answers");
            assert_eq!(status.as_u16(), 200, "{path}: {}", String::from_utf8_lossy(&body));
            body
        };
        let status: Value = serde_json::from_slice(&get("v1/status".to_owned())).expect("JSON");
        let car = Car::decode::<NativeHasher>(input.clone()).expect("a CAR");
        let asked = match Request::from_car::<NativeHasher>(&car).expect("one or none") {
            Some(request) => request.invocation.task.to_ipld(),
            None => car.root_value(),
        };
        let Ipld::Map(fields) = receipt.to_ipld() else { panic!("a receipt is a map") };
        let meta = cbor(&map([
            ("receipt", Ipld::Link(invoked.receipt.to_cid())),
            ("invocation", Ipld::Link(car.root())),
            ("fork", Ipld::List(vec![])),
        ]));

        let message = get(format!("receipt/{}", car.root()));
        let ask_ucanto = json!({"command": "receipt", "car": hex::encode(message), "ran": car.root().to_string()});
        let expected = json!({
            "verified": true, "issuer": status["did"], "ran": car.root().to_string(), "fork": 0,
            "out": cbor(&fields["out"]), "meta": meta,
        });
        assert_eq!(ask(&ask_ucanto), expected);

        let assertion = get(format!("v1/buckets/{bucket}/receipts/{}/signed", id(&input)));
        let ran = Ipld::Link(block_cid::<NativeHasher>(DAG_CBOR, &dag_cbor::encode(&asked)));
        let mut expected = json!({
            "spec": "inv", "version": "1.0.0", "verified": true, "iss": status["did"], "sub": status["did"],
            "cmd": "/ucan/assert/receipt", "exp": null, "prf": 0, "meta": meta,
            "args": cbor(&map([("ran", ran), ("out", fields["out"].clone())])),
        });
        let read = |car: &[u8]| Program::start("ucan.mjs").ask(&json!({"car": hex::encode(car)}));
        assert_eq!(read(&assertion), expected);
        // A letter of its command is another.
        let needle = dag_cbor::encode(&text("/ucan/assert/receipt"));
        let at = assertion.windows(needle.len()).position(|window| window == needle).expect("the command");
        let mut forged = assertion.clone();
        forged[at + needle.len() - 1] ^= 1;
        expected["cmd"] = json!("/ucan/assert/receipu");
        expected["verified"] = json!(false);
        assert_eq!(read(&forged), expected);
    }
}

/// Our receipt with the signature out of ucanto's, which is ours as well: Ed25519 gives one for one message.
fn receipt(
    ran: Cid,
    out: Result<Ipld, Ipld>,
    meta: BTreeMap<String, Ipld>,
    issuer: &str,
    theirs: &[u8],
) -> (Cid, Vec<u8>) {
    let key = PublicKey::from_did(issuer).expect("a key");
    let Ok(Ipld::Map(mut root)) = dag_cbor::decode(theirs) else { panic!("a receipt is a map") };
    let Some(Ipld::Bytes(signature)) = root.remove("sig") else { panic!("a receipt is signed") };
    ucanto::receipt(ran, out, meta, &key, |message| {
        let signature = &signature[signature.len() - 64..];
        assert!(key.verify::<NativeHasher>(message, signature), "the same message is signed");
        signature.to_vec()
    })
}
