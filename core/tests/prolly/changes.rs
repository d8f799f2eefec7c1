//! Whatever happened before, the same entries are the same blocks.

use bucket_core::cid::NativeHasher;
use bucket_core::dag_cbor::Ipld;
use bucket_core::prolly::{self, Layered, Op, Recording};
use proptest::prelude::*;

use super::kit::*;

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn builds_what_the_plain_way_builds(entries in entries(300)) {
        let written = build(&entries);
        let (root, nodes) = naive(&entries);
        prop_assert_eq!(written.root, root);
        prop_assert_eq!(written.nodes.len(), nodes.len());
        prop_assert_eq!(written.nodes.into_iter().collect::<Nodes>(), nodes);
    }

    #[test]
    fn changes_give_what_building_gives(start in entries(300), batches in proptest::collection::vec(ops(60), 1..6)) {
        let mut model = start;
        let written = build(&model);
        let mut root = written.root;
        let mut store = Store::of(&written);
        for ops in batches {
            let before = reachable(&store.nodes, &root);
            store.take_read();
            let written = tree(&store, root).apply(&ops).unwrap();
            let (read, _) = store.take_read();

            do_to(&mut model, &ops);
            let (expected, after) = naive(&model);
            prop_assert_eq!(written.root, expected);
            // What is new is what wasn't there, each once.
            let new: Nodes = written.nodes.iter().cloned().collect();
            prop_assert_eq!(new.len(), written.nodes.len());
            prop_assert_eq!(new, after.into_iter().filter(|(cid, _)| !before.contains_key(cid)).collect::<Nodes>());
            // Whoever has only what was read can do the same: this is what the machine on chain does.
            let witness: Nodes = before.into_iter().filter(|(cid, _)| read.contains(cid)).collect();
            prop_assert_eq!(&tree(&witness, root).apply(&ops).unwrap(), &written);

            store.keep(&written);
            root = written.root;
        }
        prop_assert_eq!(&all(&tree(&store, root)).unwrap(), &model);
        let tree = tree(&store, root);
        for n in 0u16..600 {
            let key = format!("/key/{n:03}").into_bytes();
            prop_assert_eq!(tree.get(&key).unwrap(), model.get(&key).cloned());
        }
    }

    #[test]
    fn any_order_gives_the_same_root(
        (entries, gone, order) in (entries(120), entries(40)).prop_flat_map(|(entries, gone)| {
            // Each entry comes, and some others come and go, in any order.
            let mut steps: Vec<Op> = entries.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
            steps.extend(gone.iter().map(|(key, value)| (key.clone(), Some(value.clone()))));
            (Just(entries), Just(gone), Just(steps).prop_shuffle())
        }),
        batch in 1usize..20,
    ) {
        let mut store = Store::of(&prolly::empty::<NativeHasher>());
        let mut root = prolly::empty::<NativeHasher>().root;
        let back = gone.keys().map(|key| (key.clone(), entries.get(key).cloned()));
        let steps: Vec<Op> = order.into_iter().chain(back).collect();
        for batch in steps.chunks(batch) {
            // Of a key that comes twice in a batch the last one counts.
            let ops: std::collections::BTreeMap<_, _> = batch.iter().cloned().collect();
            let written = tree(&store, root).apply(&ops.into_iter().collect::<Vec<_>>()).unwrap();
            root = written.root;
            store.keep(&written);
        }
        prop_assert_eq!(root, naive(&entries).0);
    }
}

#[test]
fn building_takes_any_order_and_the_last_of_a_key() {
    let entries: Entries = (0..2000).map(hundred_bytes).collect();
    let mut shuffled: Vec<_> = (0..2000).map(|n| hundred_bytes(n * 1009 % 2000)).collect();
    shuffled.insert(0, (hundred_bytes(7).0, Ipld::Null));
    assert_eq!(prolly::build::<NativeHasher, _, _>(shuffled).unwrap(), build(&entries));
}

#[test]
fn one_by_one_up_and_down() {
    let mut entries: Entries = (0..600).map(hundred_bytes).collect();
    let empty = prolly::empty::<NativeHasher>();
    let mut store = Store::default();
    let mut root = empty.root;
    let mut roots = vec![root];
    for n in 0..600 {
        let (key, value) = hundred_bytes(n);
        let written = tree(&store, root).apply(&[(key, Some(value))]).unwrap();
        root = written.root;
        roots.push(root);
        store.keep(&written);
    }
    assert_eq!(root, naive(&entries).0);
    for n in (0..600).rev() {
        assert_eq!(roots.pop(), Some(root), "with {} entries", entries.len());
        let (key, _) = hundred_bytes(n);
        entries.remove(&key);
        let written = tree(&store, root).apply(&[(key, None)]).unwrap();
        root = written.root;
        store.keep(&written);
    }
    assert_eq!(root, empty.root);
}

#[test]
fn all_at_once_to_nothing_and_back() {
    let entries: Entries = (0..3000).map(hundred_bytes).collect();
    let built = build(&entries);
    let store = Store::of(&built);
    let away: Vec<Op> = entries.keys().map(|key| (key.clone(), None)).collect();
    let emptied = tree(&store, built.root).apply(&away).unwrap();
    assert_eq!(emptied, prolly::empty::<NativeHasher>());
    let back: Vec<Op> = entries.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
    let again = tree(&Nodes::new(), emptied.root).apply(&back).unwrap();
    assert_eq!(again.root, built.root);
    assert_eq!(again.nodes.into_iter().collect::<Nodes>(), store.nodes);
}

/// The root sinks: what is left is below a branch that stays as it was and has one child.
#[test]
fn what_is_left_of_a_tall_tree_is_a_low_one() {
    let entries: Entries = (0..30_000).map(hundred_bytes).collect();
    let built = build(&entries);
    let store = Store::of(&built);
    for kept in [1, 20, 100, 1000] {
        for front in [true, false] {
            let stays = |at: usize| if front { at < kept } else { at >= entries.len() - kept };
            let left: Entries =
                entries.clone().into_iter().enumerate().filter(|(at, _)| stays(*at)).map(|(_, e)| e).collect();
            let away: Vec<Op> =
                entries.keys().enumerate().filter(|(at, _)| !stays(*at)).map(|(_, key)| (key.clone(), None)).collect();
            assert_eq!(
                tree(&store, built.root).apply(&away).unwrap().root,
                naive(&left).0,
                "{kept} of the {front} end"
            );
        }
    }
}

#[test]
fn nothing_new_is_nothing_written() {
    let entries: Entries = (0..1000).map(hundred_bytes).collect();
    let store = Store::of(&build(&entries));
    let root = build(&entries).root;
    let (key, value) = hundred_bytes(5);
    let ops = [(b"/absent".to_vec(), None), (key, Some(value))];
    for ops in [&ops[..], &ops[1..], &[]] {
        let written = tree(&store, root).apply(ops).unwrap();
        assert_eq!((written.root, written.nodes.len()), (root, 0));
    }
}

#[test]
fn the_empty_tree_needs_no_block() {
    let nothing = Nodes::new();
    let empty = prolly::empty::<NativeHasher>();
    let tree = tree(&nothing, empty.root);
    assert_eq!(tree.get(b"").unwrap(), None);
    assert_eq!(all(&tree).unwrap(), Entries::new());
    assert_eq!(tree.missing(None).unwrap(), []);
    assert_eq!(tree.apply(&[(vec![], None)]).unwrap().nodes, []);
    let one = tree.apply(&[(vec![], Some(Ipld::Null))]).unwrap();
    assert_eq!(one, build(&[(vec![], Ipld::Null)].into()));
    assert_eq!(empty.nodes, naive(&Entries::new()).1.into_iter().collect::<Vec<_>>());
}

#[test]
fn layers_and_records() {
    let entries: Entries = (0..5000).map(hundred_bytes).collect();
    let built = build(&entries);
    let store = Store::of(&built);
    let op = [(b"/blob/z7777".to_vec(), Some(Ipld::Null))];
    let recording = Recording::new(&store);
    let after = tree(&recording, built.root).apply(&op).unwrap();
    let witness = recording.into_read();
    assert_eq!(witness.keys().copied().collect::<std::collections::BTreeSet<_>>(), store.take_read().0);
    assert_eq!(tree(&witness, built.root).apply(&op).unwrap(), after);

    // The new tree lies in two layers.
    let new: Nodes = after.nodes.iter().cloned().collect();
    let layered = Layered(&new, &store);
    assert_eq!(tree(&layered, after.root).get(b"/blob/z7777").unwrap(), Some(Ipld::Null));
    assert_eq!(all(&tree(&layered, after.root)).unwrap().len(), 5001);
}
