//! What a chain does to those who follow it: reorganisations, null rounds, restarts.

use bucket_core::bucket::Mode;
use bucket_core::dag_cbor::Ipld;
use bucket_devnet::node::Reorg;
use bucket_tests::cars::{did, put, text};
use bucket_tests::network::NetworkWorld;
use bucket_tests::{User, World};

fn int(n: u64) -> Ipld {
    Ipld::Integer(n.into())
}

/// Index and chain are equal, and every put is there once.
fn assert_equal(world: &mut NetworkWorld, puts: u64) {
    let b = did("Chain");
    let (_, violations) = world.check();
    assert_eq!(violations, Vec::<String>::new());
    assert_eq!(world.rows(&b), (0..puts).map(|n| (int(n), text(&n.to_string()))).collect::<Vec<_>>());
    assert_eq!(world.bucket(&b).unwrap().ran, puts);
    let receipts = world.index(&b, "/receipts?limit=1000");
    assert_eq!(receipts["items"].as_array().map(Vec::len), Some(puts as usize), "each receipt once");
}

fn invoke(world: &mut NetworkWorld, range: std::ops::Range<u64>) {
    let b = did("Chain");
    for n in range {
        assert!(world.invoke(User::Alice, &b, &put(&b, int(n), text(&n.to_string()), n), false).unwrap().ran);
    }
}

fn world() -> NetworkWorld {
    let mut world = NetworkWorld::default();
    world.create(&did("Chain"), Mode::Atomic).unwrap();
    world
}

/// Tipsets that the indexer took back since it started.
fn reverts(world: &NetworkWorld) -> u64 {
    let metrics = world.metrics();
    let line = metrics.lines().find(|line| line.contains("reverts_total ")).expect("the metric");
    line.rsplit(' ').next().and_then(|n| n.parse().ok()).expect("a number")
}

#[test]
fn a_reorganisation_three_deep_leaves_index_and_chain_equal() {
    let mut world = world();
    invoke(&mut world, 0..5);
    assert_equal(&mut world, 5);
    let (before, head) = (world.root(), world.devnet.head().unwrap());

    world.devnet.reorg(Reorg::of_depth(3)).unwrap();
    assert_ne!(world.devnet.head().unwrap().key(), head.key(), "another fork");
    assert_equal(&mut world, 5);
    assert_eq!(world.root(), before, "the same messages give the same state");
    assert!(reverts(&world) >= 2, "the indexer saw the old fork");

    invoke(&mut world, 5..8);
    assert_equal(&mut world, 8);
}

#[test]
fn messages_that_a_reorganisation_drops_are_taken_back_until_they_are_mined_again() {
    let mut world = world();
    invoke(&mut world, 0..6);
    assert_equal(&mut world, 6);
    world.devnet.reorg(Reorg { include: false, null_rounds: 0, ..Reorg::of_depth(4) }).unwrap();
    world.catch_up();
    let left = world.bucket(&did("Chain")).unwrap().ran;
    assert!(left < 6, "the fork lacks some of the messages");
    assert_equal(&mut world, left);
    // What was dropped waits in the pool and is mined again.
    world.devnet.mine(2).unwrap();
    assert_equal(&mut world, 6);
}

#[test]
fn null_rounds_and_empty_tipsets_are_passed_over() {
    let mut world = world();
    for round in 0..3 {
        invoke(&mut world, round * 2..round * 2 + 1);
        world.devnet.mine_null(4).unwrap();
        invoke(&mut world, round * 2 + 1..round * 2 + 2);
        world.devnet.mine(3).unwrap();
    }
    assert_equal(&mut world, 6);
}

#[test]
fn an_indexer_that_was_away_catches_up_across_a_reorganisation() {
    let mut world = world();
    invoke(&mut world, 0..4);
    assert_equal(&mut world, 4);
    let data = world.config.data.clone();
    world.stop_indexer();
    world.devnet.reorg(Reorg::of_depth(3)).unwrap();
    invoke(&mut world, 4..6);
    world.restart_indexer(&data);
    assert_equal(&mut world, 6);

    // And one that begins from nothing arrives at the same.
    let fresh = tempfile::tempdir().unwrap();
    world.restart_indexer(fresh.path());
    assert_equal(&mut world, 6);
    assert_eq!(reverts(&world), 0);
}
