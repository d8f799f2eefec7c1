//! Prolly trees against a plain computation of the same: whatever happened before, the same entries are the same blocks.

mod prolly_kit;

use std::collections::BTreeMap;
use std::ops::Bound;

use bucket_core::cid::NativeHasher;
use bucket_core::dag_cbor::Ipld;
use bucket_core::prolly::{self, Blocks, Op, Recording, Tree, Written};
use cid::Cid;
use prolly_kit::*;
use proptest::prelude::*;

fn tree<B: Blocks>(blocks: &B, root: Cid) -> Tree<'_, B, NativeHasher> {
    Tree::new(blocks, root)
}

fn build(entries: &Entries) -> Written {
    prolly::build::<NativeHasher, _, _>(entries).unwrap()
}

/// Keys of all kinds of lengths; few enough that operations meet.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (0u16..600).prop_map(|n| format!("/key/{n:03}").into_bytes()),
        2 => (0u16..40, 0usize..500).prop_map(|(n, len)| [format!("/long/{n}/").as_bytes(), &vec![b'x'; len]].concat()),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
    ]
}

fn value() -> impl Strategy<Value = Ipld> {
    prop_oneof![
        4 => (0usize..200).prop_map(|len| Ipld::Bytes(vec![7; len])),
        2 => any::<u64>().prop_map(|n| Ipld::Integer(n.into())),
        1 => (0usize..4000).prop_map(|len| Ipld::String("x".repeat(len))),
        1 => Just(Ipld::Null),
    ]
}

fn entries(most: usize) -> impl Strategy<Value = Entries> {
    proptest::collection::btree_map(key(), value(), 0..most)
}

/// Operations in batches: some put, some remove, some change nothing.
fn batches() -> impl Strategy<Value = Vec<BTreeMap<Vec<u8>, Option<Ipld>>>> {
    let op = prop_oneof![3 => value().prop_map(Some), 2 => Just(None)];
    proptest::collection::vec(proptest::collection::btree_map(key(), op, 0..60), 1..6)
}

fn do_to(entries: &mut Entries, ops: &[Op]) {
    for (key, value) in ops {
        match value {
            Some(value) => entries.insert(key.clone(), value.clone()),
            None => entries.remove(key),
        };
    }
}

fn all<B: Blocks>(tree: &Tree<'_, B, NativeHasher>) -> Entries {
    let page = tree.range((Bound::Unbounded, Bound::Unbounded), usize::MAX).unwrap();
    assert!(!page.more);
    page.entries.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(120) })]

    #[test]
    fn builds_what_the_plain_way_builds(entries in entries(300)) {
        let written = build(&entries);
        let (root, nodes) = naive(&entries);
        prop_assert_eq!(written.root, root);
        prop_assert_eq!(written.nodes.len(), nodes.len());
        prop_assert_eq!(written.nodes.into_iter().collect::<Nodes>(), nodes);
    }

    #[test]
    fn changes_give_what_building_gives(start in entries(300), batches in batches()) {
        let mut model = start;
        let written = build(&model);
        let mut root = written.root;
        let mut store = Store::of(&written);
        for ops in batches {
            let ops: Vec<Op> = ops.into_iter().collect();
            let before = reachable(&store.nodes, &root);
            store.count();
            let written = tree(&store, root).apply(&ops).unwrap();
            let read = std::mem::take(&mut *store.reads.borrow_mut());
            do_to(&mut model, &ops);
            let (expected, nodes) = naive(&model);
            prop_assert_eq!(written.root, expected);
            // New are exactly those that weren't there.
            let new: Nodes = written.nodes.iter().cloned().collect();
            prop_assert_eq!(new.len(), written.nodes.len());
            let wanted: Nodes = nodes.into_iter().filter(|(cid, _)| !before.contains_key(cid)).collect();
            prop_assert_eq!(new, wanted);
            // What was read is all that the change needs.
            let witness: Nodes = before.into_iter().filter(|(cid, _)| read.contains(cid)).collect();
            prop_assert_eq!(tree(&witness, root).apply(&ops).unwrap(), written.clone());
            // There and back again.
            let diff = tree(&store, root).diff(&written.root);
            prop_assert!(diff.is_err() || root == written.root || written.nodes.is_empty());
            store.keep(&written);
            root = written.root;
        }
        prop_assert_eq!(all(&tree(&store, root)), model);
    }
}

#[test]
fn a_witness_suffices() {
    let entries: Entries =
        (0..5000u32).map(|n| (format!("/k/{n:05}").into_bytes(), Ipld::Bytes(vec![n as u8; 80]))).collect();
    let written = build(&entries);
    let store: Nodes = written.nodes.iter().cloned().collect();
    let recording = Recording::new(&store);
    let op = vec![(b"/k/01234x".to_vec(), Some(Ipld::Null))];
    let after = tree(&recording, written.root).apply(&op).unwrap();
    let read = recording.into_read();
    assert_eq!(tree(&read, written.root).apply(&op).unwrap(), after);
}
