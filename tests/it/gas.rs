//! Gas is deterministic for a build, but another compiler makes other wasm: bounds with some air instead of exact figures.
//! `scripts/bench gas` measures.

use bucket_core::abi::{CarParams, Message, RunParams};
use bucket_core::bucket::Mode;
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_tests::cars::{car, did, map};
use bucket_tests::node::NodeWorld;
use bucket_tests::{User, World};

const BATCH: u64 = 50;

fn gas(world: &mut NodeWorld, message: Message) -> u64 {
    let (method, params) = message.encode();
    let executed = world.send(User::Alice, method, params).unwrap();
    assert!(executed.receipt.exit_code.is_success(), "{}", executed.failure);
    executed.receipt.gas_used
}

/// About 1 KiB.
fn params(bucket: &BucketId, nonce: u64) -> CarParams {
    let car = car(bucket, "/echo", map([("pad", Ipld::Bytes(vec![7; 800]))]), nonce);
    CarParams { bucket: bucket.clone(), car, force: false, hook: None }
}

#[test]
fn an_invoke_and_a_batch_stay_within_their_bounds() {
    let mut world = NodeWorld::default();
    let b = did("Gas");
    world.create(&b, Mode::Mutex).unwrap();
    world.fill(&b, 10).unwrap();
    let single = (0..5).map(|n| gas(&mut world, Message::Invoke(params(&b, 1000 + n)))).max().unwrap();
    assert!(single < 9_500_000, "an invoke at 10 receipts took {single} gas");
    for n in 0..BATCH {
        gas(&mut world, Message::Schedule(params(&b, 2000 + n)));
    }
    let batch = gas(&mut world, Message::Run(RunParams { bucket: b, max: BATCH }));
    assert!(batch / BATCH * 3 < single, "{} gas each in a batch of {BATCH}, {single} alone", batch / BATCH);
}
