//! Two trees: what differs, what has to travel, what is missing.

use std::collections::BTreeSet;

use bucket_core::cid::NativeHasher;
use bucket_core::prolly::{self, Op, ProllyError};
use cid::Cid;
use proptest::prelude::*;

use super::kit::*;

/// Gets what is missing from `from`, turn by turn; answers how many nodes came, and in how many turns.
fn pull(to: &mut Store, from: &Nodes, root: Cid, have: Option<&Cid>) -> (usize, usize) {
    let (mut moved, mut turns) = (0, 0);
    loop {
        let missing = tree(to, root).missing(have).unwrap();
        if missing.is_empty() {
            return (moved, turns);
        }
        moved += missing.len();
        turns += 1;
        for cid in missing {
            assert!(to.nodes.insert(cid, from[&cid].clone()).is_none(), "{cid} came twice");
        }
    }
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn a_difference_leads_from_one_to_the_other(a in entries(250), ops in ops(80), unrelated in any::<bool>()) {
        let mut b = if unrelated { Entries::new() } else { a.clone() };
        do_to(&mut b, &ops);
        let (a_built, b_built) = (build(&a), build(&b));
        let mut store = Store::of(&a_built);
        store.keep(&b_built);

        for (from, to, old, new) in [(&a_built, &b_built, &a, &b), (&b_built, &a_built, &b, &a)] {
            let diff = tree(&store, from.root).diff(&to.root).unwrap();
            let expected: BTreeSet<_> = old.keys().chain(new.keys()).filter(|key| old.get(*key) != new.get(*key)).collect();
            prop_assert_eq!(diff.changes.iter().map(|change| &change.key).collect::<Vec<_>>(), expected.into_iter().collect::<Vec<_>>());
            for change in &diff.changes {
                prop_assert_eq!(change.before.as_ref(), old.get(&change.key));
                prop_assert_eq!(change.after.as_ref(), new.get(&change.key));
            }
            let ops: Vec<Op> = diff.changes.into_iter().map(|change| (change.key, change.after)).collect();
            prop_assert_eq!(tree(&store, from.root).apply(&ops).unwrap().root, to.root);
            // Exactly the nodes that the other one lacks.
            let (had, has) = (reachable(&store.nodes, &from.root), reachable(&store.nodes, &to.root));
            let lacking: BTreeSet<Cid> = has.keys().filter(|cid| !had.contains_key(*cid)).copied().collect();
            prop_assert_eq!(diff.nodes.len(), lacking.len());
            prop_assert_eq!(diff.nodes.into_iter().collect::<BTreeSet<_>>(), lacking);
        }
    }

    #[test]
    fn a_pull_gets_what_is_missing(a in entries(250), ops in ops(80), lost in proptest::collection::vec(any::<prop::sample::Index>(), 0..5)) {
        let mut b = a.clone();
        do_to(&mut b, &ops);
        let (a_built, b_built) = (build(&a), build(&b));
        let from: Nodes = b_built.nodes.iter().cloned().collect();

        let mut store = Store::of(&a_built);
        let lacking = from.keys().filter(|cid| !store.nodes.contains_key(*cid)).count();
        prop_assert_eq!(pull(&mut store, &from, b_built.root, Some(&a_built.root)).0, lacking);
        prop_assert_eq!(&all(&tree(&store, b_built.root)).unwrap(), &b);

        // Without a tree to compare with it is the same nodes, also when some were there before.
        let mut store = Store::of(&a_built);
        prop_assert_eq!(pull(&mut store, &from, b_built.root, None).0, lacking);
        let lost: BTreeSet<Cid> = lost.iter().map(|index| b_built.nodes[index.index(b_built.nodes.len())].0).collect();
        for cid in &lost {
            store.nodes.remove(cid);
        }
        let known_empty = prolly::empty::<NativeHasher>().root;
        prop_assert_eq!(pull(&mut store, &from, b_built.root, None).0, lost.iter().filter(|cid| **cid != known_empty).count());
        prop_assert_eq!(&all(&tree(&store, b_built.root)).unwrap(), &b);
    }
}

/// Whatever is missing, each call says which node, and goes on when it is there.
#[test]
fn everything_goes_on_when_the_missing_node_came() {
    let a: Entries = (0..4000).map(hundred_bytes).collect();
    let mut b = a.clone();
    let mut ops: Vec<Op> = (0..40).map(|n| (hundred_bytes(n * 100).0, None)).collect();
    ops.sort_by(|a, b| a.0.cmp(&b.0));
    do_to(&mut b, &ops);
    let (a_built, b_built) = (build(&a), build(&b));
    let mut full = Store::of(&a_built);
    full.keep(&b_built);

    fn until<T: PartialEq + std::fmt::Debug>(full: &Store, call: impl Fn(&Nodes) -> Result<T, ProllyError>) -> usize {
        let mut here = Nodes::new();
        loop {
            match call(&here) {
                Err(ProllyError::Missing(cid)) => assert!(here.insert(cid, full.nodes[&cid].clone()).is_none()),
                result => {
                    assert_eq!(result.unwrap(), call(&full.nodes).unwrap());
                    return here.len();
                }
            }
        }
    }
    let key = &a.keys().nth(2000).unwrap()[..];
    let height = full.nodes[&a_built.root][1] as usize + 1;
    assert_eq!(until(&full, |here| tree(here, a_built.root).get(key)), height);
    let bounds = (std::ops::Bound::Included(key), std::ops::Bound::Unbounded);
    assert!(until(&full, |here| tree(here, a_built.root).range(bounds, 20)) <= height + 3);
    assert!(until(&full, |here| tree(here, a_built.root).apply(&ops)) > 30);
    assert!(until(&full, |here| tree(here, a_built.root).diff(&b_built.root)) > 60);
}

#[test]
fn a_tree_that_is_said_to_be_here_has_to_be() {
    let a = build(&(0..1000).map(hundred_bytes).collect());
    let b = build(&(0..1001).map(hundred_bytes).collect());
    let here = Store::of(&b);
    let error = tree(&here, b.root).missing(Some(&a.root)).unwrap_err();
    assert_eq!(error, ProllyError::Missing(a.root));
}
