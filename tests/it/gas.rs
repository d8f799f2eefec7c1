//! Gas is deterministic for a build, but another compiler makes other wasm: bounds with some air instead of exact figures.
//! `scripts/bench gas` measures.

use bucket_core::abi::{CarParams, Message, RunParams};
use bucket_core::bucket::Mode;
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_tests::cars::{car, did, map, task};
use bucket_tests::keys::{self, KINDS, chain, key, signed};
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

/// Millions of gas.
fn millions(gas: u64) -> f64 {
    gas as f64 / 1e6
}

/// What one more delegation costs: its signature and its bytes.
#[test]
fn a_signature_stays_within_its_bounds() {
    const BOUNDS: [(f64, f64); 3] = [(9.0, 13.0), (3.0, 6.0), (95.0, 112.0)];
    let mut world = NodeWorld::default();
    println!("| key | unsigned | 1 signature | 3 signatures | each delegation |");
    for (kind, (least, most)) in KINDS.into_iter().zip(BOUNDS) {
        let people = [1, 2, 3].map(|number| key(kind, number));
        let b = keys::create(&mut world, &people[0]);
        world.fill(&b, 10).unwrap();
        let echo = |nonce| task(&b, "/echo", map([("pad", Ipld::Bytes(vec![7; 800]))]), nonce);
        let mut invoke = |signer: usize, nonce| {
            let people: Vec<_> = people[..=signer].iter().collect();
            let car = signed(people[signer], echo(nonce), &chain(&people, "/echo"));
            gas(&mut world, Message::Invoke(CarParams::new(b.clone(), car)))
        };
        // Paths of the map of receipts differ: the mean of some.
        let mut mean = |signer| (0..4).map(|n| invoke(signer, 1000 * signer as u64 + n)).sum::<u64>() / 4;
        let (one, three) = (mean(0), mean(2));
        let unsigned = (0..4).map(|n| gas(&mut world, Message::Invoke(params(&b, 5000 + n)))).sum::<u64>() / 4;
        let each = millions(three - one) / 2.0;
        println!(
            "| {kind} | {:.2} M | {:.2} M | {:.2} M | {each:.2} M |",
            millions(unsigned),
            millions(one),
            millions(three)
        );
        assert!((least..most).contains(&each), "{kind}: {each} M gas for a delegation");
        let own = millions(one) - millions(unsigned);
        // The invocation's own signature, and a second entry among the receipts.
        assert!((least - 2.0..most + 6.0).contains(&own), "{kind}: {own} M gas more with a signature");
    }
}
