//! What `@ucanto/core` wrote, sent through the machine at the time that it is for: the CARs of core's own tests.

use std::collections::BTreeMap;

use bucket_actor_wasm::WASM;
use bucket_core::did::BucketId;
use bucket_devnet::{Chain, Config};
use bucket_tests::keys::{create_for, ed25519};
use bucket_tests::memory::MemoryWorld;
use bucket_tests::node::NodeWorld;
use bucket_tests::{User, World};
use cid::multibase;
use serde::Deserialize;

#[derive(Deserialize)]
struct Cases {
    now: u64,
    keys: BTreeMap<String, BucketId>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    refused: Option<String>,
    car: String,
}

fn cases() -> Cases {
    serde_json::from_str(include_str!("../../core/src/ucan/ucanto/cases.json")).expect("cases")
}

/// Sends all of them. `at` brings the world to a time.
fn send<W: World>(world: &mut W, at: impl Fn(&mut W, u64)) {
    let Cases { now, keys, cases } = cases();
    let owner = ed25519(1);
    assert_eq!(owner.did(), keys["bucket"]);
    at(world, now);
    let b = create_for(world, &owner, vec![]);
    for Case { name, refused, car } in cases {
        at(world, now);
        let before = world.bucket(&b).expect("it exists");
        let car = multibase::decode(car).expect("base64").1;
        let outcome = world.invoke(User::Bob, &b, &car, false);
        let code = match (&outcome, &name[..]) {
            (Ok(invoked), "self") => {
                assert_eq!((invoked.ran, invoked.ok), (true, Some(true)));
                continue;
            }
            // One invocation, whichever of the three roots it comes under.
            (Err(refused), "self, root is the UCAN" | "self, root is a message") => (refused.code(), 53),
            // An invocation for a service of w3up's is valid, and none for the bucket.
            (Err(denied), _) if refused.is_none() => (denied.code(), 71),
            (Err(denied), _) => {
                assert_ne!(denied.code(), 0, "{name}");
                (0, 0)
            }
            (Ok(_), _) => panic!("{name} ran"),
        };
        assert_eq!(code.0, code.1, "{name}: {outcome:?}");
        assert_eq!(world.bucket(&b).expect("it exists"), before, "{name}");
    }
    assert_eq!(world.bucket(&b).expect("it exists").ran, 1);
    assert_eq!(world.rows(&b).len(), 1);
}

#[test]
fn in_memory() {
    send(&mut MemoryWorld::default(), |world, now| world.memory.timestamp = now);
}

#[test]
fn on_the_fvm() {
    let config = Config { genesis_timestamp: Some(cases().now), block_delay: 0, ..Config::default() };
    let mut world = NodeWorld::default();
    world.chain = Chain::open(&config).expect("a devnet whose time stands still");
    let alice = world.chain.account(0).expect("an account");
    world.actor = world.chain.deploy(&alice, WASM, &[]).expect("the actor loads").robust;
    send(&mut world, |world, now| assert_eq!(world.now(), now));
}
