//! What it costs: nodes that are read and written, which grow with the change and the tree's height, not with the tree.

use std::collections::BTreeSet;

use bucket_core::dag_cbor::Ipld;
use bucket_core::prolly::{self, Op, Written};
use expect_test::expect;

use super::kit::*;

/// Changes all over the tree: new keys, other values, removed ones.
fn spread(count: u32, of: u32) -> Vec<Op> {
    let ops: std::collections::BTreeMap<_, _> = (0..count)
        .map(|n| {
            let (key, value) = hundred_bytes(if n % 3 == 0 { of + n } else { n * (of / count) });
            (
                key,
                match n % 3 {
                    0 => Some(value),
                    1 => Some(Ipld::Integer(n.into())),
                    _ => None,
                },
            )
        })
        .collect();
    ops.into_iter().collect()
}

fn level(store: &Store, root: &cid::Cid) -> u8 {
    store.nodes[root][1]
}

fn grown(size: u32) -> (Store, Written) {
    let written = build(&(0..size).map(hundred_bytes).collect());
    (Store::of(&written), written)
}

/// Levels and nodes of the tree; then for each number of operations the nodes that are read, written, and read to compare.
#[test]
fn of_changes_in_10_000_entries() {
    let (store, built) = grown(10_000);
    let height = usize::from(level(&store, &built.root)) + 1;
    let mut found = Vec::new();
    for count in [1, 3, 10, 30, 100] {
        let ops = spread(count, 10_000);
        store.take_read();
        let after = tree(&store, built.root).apply(&ops).unwrap();
        let (read, times) = store.take_read();
        assert!(times <= read.len() + 10, "nodes are read about once: {} in {times}", read.len());

        let mut both = Store::of(&built);
        both.keep(&after);
        let diff = tree(&both, built.root).diff(&after.root).unwrap();
        let (compared, _) = both.take_read();
        assert_eq!(diff.changes.len(), ops.len());
        assert_eq!(diff.nodes.iter().collect::<BTreeSet<_>>(), after.nodes.iter().map(|(cid, _)| cid).collect());
        assert!(compared.len() <= read.len() + after.nodes.len());
        found.push(format!("{count}: {} {} {}", read.len(), after.nodes.len(), compared.len()));

        // A path each, and neighbours where ends move.
        let most = (count as usize + 2) * (height + 1);
        assert!(read.len() <= most && after.nodes.len() <= most, "{count}: {} and {}", read.len(), after.nodes.len());
    }
    expect![[r#"
        (
            4,
            772,
            [
                "1: 5 6 11",
                "3: 9 10 19",
                "10: 32 34 66",
                "30: 62 63 125",
                "100: 169 161 326",
            ],
        )
    "#]]
    .assert_debug_eq(&(height, built.nodes.len(), found));
}

#[test]
fn of_10_differences_in_100_000_entries() {
    let (mut store, built) = grown(100_000);
    let ops = spread(10, 100_000);
    let after = tree(&store, built.root).apply(&ops).unwrap();
    let (read, _) = store.take_read();
    store.keep(&after);
    let diff = tree(&store, built.root).diff(&after.root).unwrap();
    let bytes: usize = diff.nodes.iter().map(|cid| store.nodes[cid].len()).sum();
    let height = level(&store, &built.root) + 1;
    let found =
        (("levels", height), ("nodes", built.nodes.len()), ("read", read.len()), ("moved", diff.nodes.len(), bytes));
    expect![[r#"
        (
            (
                "levels",
                5,
            ),
            (
                "nodes",
                7772,
            ),
            (
                "read",
                39,
            ),
            (
                "moved",
                40,
                59670,
            ),
        )
    "#]]
    .assert_debug_eq(&found);
    assert_eq!(diff.changes.len(), 10);
    assert!(diff.nodes.len() <= 12 * usize::from(height));

    // A copy asks for them in as many turns as the tree has levels, and reads nothing else.
    let mut copy = Store::of(&built);
    let mut turns = Vec::new();
    loop {
        let missing = tree(&copy, after.root).missing(Some(&built.root)).unwrap();
        if missing.is_empty() {
            break;
        }
        turns.push(missing.len());
        copy.nodes.extend(missing.into_iter().map(|cid| (cid, store.nodes[&cid].clone())));
    }
    assert_eq!(turns.iter().sum::<usize>(), diff.nodes.len());
    assert_eq!(turns.len(), usize::from(level(&store, &after.root)) + 1);
    copy.take_read();
    tree(&copy, after.root).missing(Some(&built.root)).unwrap();
    assert!(copy.take_read().0.len() <= 2 * diff.nodes.len());
}

#[test]
fn leaves_of_100_bytes_an_entry_are_of_1_to_2_kib() {
    let (store, built) = grown(20_000);
    let leaves: Vec<usize> = store.nodes.values().filter(|bytes| bytes[1] == 0).map(Vec::len).collect();
    let average = leaves.iter().sum::<usize>() / leaves.len();
    assert!((1024..2048).contains(&average), "{average}");
    let all: usize = built.nodes.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(all < 20_000 * 106, "{all} bytes");
}

/// What an estimate goes by, without reading the block.
#[test]
fn a_block_tells_how_many_entries_it_has() {
    let (store, _) = grown(1000);
    for bytes in store.nodes.values() {
        let Ok(Ipld::List(node)) = bucket_core::dag_cbor::decode(bytes) else { panic!("a tuple") };
        assert!(matches!(&node[1], Ipld::List(keys) if keys.len() == prolly::entries(bytes)));
    }
    let others: [&[u8]; 5] = [&[], &[0xa0], &[0x83, 0x00], &[0x83, 0x60, 0x80, 0x80], &[0x83, 0x00, 0x98, 0xff, 0x40]];
    assert!(others.iter().all(|bytes| prolly::entries(bytes) == 0));
}
