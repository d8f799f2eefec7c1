//! Entries that somebody chose so that every hash ends a node, or none does: sizes hold all the same.

use bucket_core::dag_cbor::Ipld;
use bucket_core::prolly::{MAX, MIN, NODE_BYTES_MAX, Op};

use super::kit::*;

/// Entries whose hashes all end a node, or none does.
fn chosen(count: usize, key_bytes: usize, ends: bool) -> Entries {
    let entry = |n: usize| {
        let key = format!("/{n:0key_bytes$}").into_bytes();
        let value = (0..).map(Ipld::Integer).find(|value| is_boundary(&key, value) == ends).unwrap();
        (key, value)
    };
    (0..count).map(entry).collect()
}

fn leaf_sizes(nodes: &Nodes) -> Vec<usize> {
    let mut leaves: Vec<_> = nodes.values().filter(|bytes| bytes[1] == 0).map(|bytes| bytes.len()).collect();
    leaves.sort();
    leaves
}

#[test]
fn without_ends_nodes_are_full() {
    let entries = chosen(2000, 90, false);
    let built = build(&entries);
    let store = Store::of(&built);
    assert_eq!(built.root, naive(&entries).0);
    let sizes = leaf_sizes(&store.nodes);
    assert!(sizes[1..].iter().all(|size| (MAX..MAX + 100).contains(size)), "{sizes:?}");

    // Then an end moves all those behind it: the one case in which a change costs as much as what follows.
    let first = entries.keys().next().unwrap().clone();
    let mut after = entries.clone();
    after.remove(&first);
    store.take_read();
    let written = tree(&store, built.root).apply(&[(first, None)]).unwrap();
    assert_eq!(written.root, naive(&after).0);
    assert_eq!(store.take_read().0.len(), store.nodes.len());
    // At the end it costs a path.
    let last = entries.keys().next_back().unwrap().clone();
    tree(&store, built.root).apply(&[(last, None)]).unwrap();
    assert_eq!(store.take_read().0.len(), 1 + usize::from(store.nodes[&built.root][1]));
}

#[test]
fn with_an_end_each_nodes_have_the_least_size() {
    let entries = chosen(2000, 90, true);
    let built = build(&entries);
    let store = Store::of(&built);
    assert_eq!(built.root, naive(&entries).0);
    let sizes = leaf_sizes(&store.nodes);
    assert!(sizes[1..].iter().all(|size| (MIN..MIN + 100).contains(size)), "{sizes:?}");
    let mut after = entries.clone();
    let ops: Vec<Op> = entries.keys().step_by(100).map(|key| (key.clone(), None)).collect();
    do_to(&mut after, &ops);
    assert_eq!(tree(&store, built.root).apply(&ops).unwrap().root, naive(&after).0);
}

/// The longest keys make the narrowest branches: two children at least, so that the tree isn't tall.
#[test]
fn the_longest_keys_make_a_tree_that_ends() {
    let entries = chosen(700, 511, true);
    let built = build(&entries);
    let store = Store::of(&built);
    assert_eq!(built.root, naive(&entries).0);
    let level = store.nodes[&built.root][1];
    assert!(level <= 10, "700 entries, {level} levels");
    assert_eq!(all(&tree(&store, built.root)).unwrap(), entries);
    let ops: Vec<Op> = entries.keys().skip(5).map(|key| (key.clone(), None)).collect();
    let mut after = entries.clone();
    do_to(&mut after, &ops);
    assert_eq!(tree(&store, built.root).apply(&ops).unwrap().root, naive(&after).0);
}

/// A node one byte short of its greatest size takes one more entry, of the greatest size.
#[test]
fn the_largest_node_can_be_read() {
    let small = |key: &str, len: usize| (key.as_bytes().to_vec(), Ipld::Bytes(vec![0; len]));
    let huge = (vec![b'z'; 512], Ipld::Bytes(vec![0; 4093]));
    let mut largest = 0;
    for len in 4000..4093 {
        let entries: Entries = [small("a", 4093), small("b", len), huge.clone()].into();
        let built = build(&entries);
        let store = Store::of(&built);
        assert_eq!(built.root, naive(&entries).0);
        assert_eq!(all(&tree(&store, built.root)).unwrap(), entries);
        largest = largest.max(leaf_sizes(&store.nodes).pop().unwrap());
    }
    assert!(largest <= NODE_BYTES_MAX && largest > NODE_BYTES_MAX - 20, "{largest} of {NODE_BYTES_MAX}");
}
