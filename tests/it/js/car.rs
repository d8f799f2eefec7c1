//! CARs of `car-transaction`, written and read.

use std::cell::RefCell;
use std::collections::BTreeMap;

use bucket_core::bucket::Mode;
use bucket_core::car::{Car, Transaction};
use bucket_core::cid::{CarId, Cid, NativeHasher, RAW, block_cid};
use bucket_core::dag_cbor::Ipld;
use bucket_tests::cars::{did, id, map, task, text};
use bucket_tests::memory::MemoryWorld;
use bucket_tests::{User, World};
use proptest::prelude::*;
use serde_json::json;

use super::{Program, SAFE_MAX, any_text, runner, tagged, untagged};

/// JavaScript writes 1.0 as 1, and 0 for −0: as floats they can't come from there.
fn is_float_in_javascript(x: &f64) -> bool {
    x.is_finite() && (x.fract() != 0.0 || x.abs() > SAFE_MAX as f64)
}

fn float() -> impl Strategy<Value = f64> {
    let special = prop::sample::select(vec![0.1, -1.5, 5e-324, f64::MIN_POSITIVE, f64::MAX, f64::MIN, 1e21, -1e300]);
    prop_oneof![special, any::<f64>()].prop_filter("a float in JavaScript as well", is_float_in_javascript)
}

/// Links to the n-th block of a sequence; see [`placed`].
fn link() -> impl Strategy<Value = Cid> {
    (0..8u8).prop_map(|n| block_cid::<NativeHasher>(RAW, &[n]))
}

fn any_value() -> impl Strategy<Value = Ipld> {
    let leaf = prop_oneof![
        Just(Ipld::Null),
        any::<bool>().prop_map(Ipld::Bool),
        (-300i128..300).prop_map(Ipld::Integer),
        (-SAFE_MAX..=SAFE_MAX).prop_map(Ipld::Integer),
        any::<u64>().prop_map(|n| Ipld::Integer(n.into())),
        any::<u64>().prop_map(|n| Ipld::Integer(-1 - i128::from(n))),
        float().prop_map(Ipld::Float),
        any_text().prop_map(Ipld::String),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Ipld::Bytes),
        link().prop_map(Ipld::Link),
    ];
    leaf.prop_recursive(5, 40, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Ipld::List),
            prop::collection::btree_map(any_text(), inner, 0..8)
                .prop_filter("no CID in JavaScript", |map| !is_cid_in_javascript(map))
                .prop_map(Ipld::Map),
        ]
    })
}

/// The npm package multiformats takes an object whose “/” is its “bytes” for a CID, whatever they are.
fn is_cid_in_javascript(map: &BTreeMap<String, Ipld>) -> bool {
    map.contains_key("/") && map.contains_key("bytes")
}

/// The same value with links to blocks that were written before, as far as there are any.
fn placed(value: &Ipld, written: &[Cid]) -> Ipld {
    match value {
        Ipld::Link(cid) => {
            let place = (0..8u8).position(|n| *cid == block_cid::<NativeHasher>(RAW, &[n]));
            Ipld::Link(*place.and_then(|place| written.get(place)).unwrap_or(cid))
        }
        Ipld::List(items) => Ipld::List(items.iter().map(|item| placed(item, written)).collect()),
        Ipld::Map(map) => Ipld::Map(map.iter().map(|(key, item)| (key.clone(), placed(item, written))).collect()),
        other => other.clone(),
    }
}

/// Some values, and some of them again.
fn any_writes() -> impl Strategy<Value = Vec<Ipld>> {
    let again = prop::collection::vec(any::<prop::sample::Index>(), 0..3);
    (prop::collection::vec(any_value(), 1..8), again).prop_map(|(values, again)| {
        let again: Vec<_> = again.iter().map(|place| place.get(&values).clone()).collect();
        [values, again].concat()
    })
}

#[test]
fn the_same_writes_give_the_same_car() {
    let node = RefCell::new(Program::start("car.mjs"));
    let property = |values: Vec<Ipld>| {
        let mut transaction = Transaction::<NativeHasher>::default();
        let mut cids = Vec::new();
        let mut blocks = Vec::new();
        for value in &values {
            let value = placed(value, &cids);
            cids.push(transaction.write(&value));
            blocks.push(value);
        }
        let ours = transaction.commit().expect("at least one block");

        let mut node = node.borrow_mut();
        let theirs = node.ask(&json!({"write": blocks.iter().map(tagged).collect::<Vec<_>>()}));
        prop_assert_eq!(theirs["car"].as_str(), Some(&*hex::encode(&ours)), "the same bytes");

        let read = node.ask(&json!({"read": hex::encode(&ours)}));
        let root = cids.last().map(ToString::to_string);
        prop_assert_eq!(read["root"].as_str(), root.as_deref());
        let found: Vec<_> = read["blocks"].as_array().expect("blocks").iter().collect();
        prop_assert_eq!(found.len(), blocks.len());
        for (found, (cid, value)) in found.iter().zip(cids.iter().zip(&blocks)) {
            prop_assert_eq!(found[0].as_str(), Some(&*cid.to_string()));
            prop_assert_eq!(&untagged(&found[1]), value, "read back by car-transaction");
        }

        let car = Car::decode::<NativeHasher>(ours).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(Some(&car.root_value()), blocks.last());
        prop_assert!(cids.iter().zip(&blocks).all(|(cid, value)| car.value(cid).as_ref() == Some(value)));
        Ok(())
    };
    if let Err(failure) = runner(300).run(&any_writes(), property) {
        panic!("{failure}");
    }
}

#[test]
fn a_task_of_car_transaction_is_executed() {
    let mut node = Program::start("car.mjs");
    let mut world = MemoryWorld::default();
    let bucket = did("fromjavascript");
    world.create(&bucket, Mode::Atomic).expect("created");

    let photo = Ipld::Bytes(vec![0xff; 1000]);
    let link = Ipld::Link(block_cid::<NativeHasher>(RAW, &[0xff; 1000]));
    let value = map([("photo", link), ("stars", Ipld::Float(4.5))]);
    let put = task(&bucket, "/kv/put", map([("key", text("Füße")), ("value", value.clone())]), 1);
    let answer = node.ask(&json!({"write": [tagged(&photo), tagged(&put.to_ipld())]}));
    let car = hex::decode(answer["car"].as_str().expect("hex")).expect("hex");

    let invoked = world.invoke(User::Alice, &bucket, &car, false).expect("accepted");
    assert_eq!((invoked.ran, invoked.ok), (true, Some(true)));
    assert_eq!(world.receipt_car(&bucket, invoked.receipt).ran, id(&car));
    assert_eq!(world.rows(&bucket), [(text("Füße"), value)]);

    // The receipt is a CAR that car-transaction reads.
    let found = world.receipt(&bucket, id(&car)).expect("answered");
    assert_eq!(found.receipt, Some(invoked.receipt));
    let receipt = world.receipt_car(&bucket, invoked.receipt).to_car::<NativeHasher>();
    assert_eq!(CarId::of::<NativeHasher>(&receipt), invoked.receipt);
    let read = node.ask(&json!({"read": hex::encode(&receipt)}));
    let Ipld::Map(root) = untagged(&read["blocks"].as_array().and_then(|blocks| blocks.last()).expect("a block")[1])
    else {
        panic!("a receipt is a map")
    };
    assert!(matches!(&root["out"], Ipld::Map(out) if out.contains_key("ok")), "{root:?}");
}
