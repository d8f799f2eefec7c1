//! Pages of entries.

use std::ops::Bound::{Excluded, Included, Unbounded};

use bucket_core::dag_cbor::Ipld;
use bucket_core::prolly::{Bounds, prefix};
use proptest::prelude::*;

use super::kit::*;

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn are_those_of_a_sorted_map(entries in entries(200), from in key(), to in key(), kinds in 0u8..9, limit in 0usize..30) {
        let written = build(&entries);
        let store = Store::of(&written);
        let tree = tree(&store, written.root);
        let kind = |kind, key| match kind {
            0 => Included(key),
            1 => Excluded(key),
            _ => Unbounded,
        };
        let bounds: Bounds<'_> = (kind(kinds / 3, &from[..]), kind(kinds % 3, &to[..]));
        let within = |key: &[u8]| {
            let from = match bounds.0 { Included(from) => key >= from, Excluded(from) => key > from, Unbounded => true };
            from && match bounds.1 { Included(to) => key <= to, Excluded(to) => key < to, Unbounded => true }
        };
        let wanted: Vec<_> = entries.iter().filter(|(key, _)| within(key)).map(|(k, v)| (k.clone(), v.clone())).collect();
        let page = tree.range(bounds, limit).unwrap();
        prop_assert_eq!(page.more, wanted.len() > limit);
        prop_assert_eq!(&page.entries[..], &wanted[..limit.min(wanted.len())]);

        // Page by page it is all of them.
        let limit = limit.max(1);
        let (mut found, mut bounds) = (Vec::new(), (bounds.0.map(<[u8]>::to_vec), bounds.1));
        loop {
            let page = tree.range((bounds.0.as_ref().map(|key| &key[..]), bounds.1), limit).unwrap();
            found.extend(page.entries);
            if !page.more {
                break;
            }
            bounds.0 = Excluded(found[found.len() - 1].0.clone());
        }
        prop_assert_eq!(found, wanted);
    }

    #[test]
    fn a_prefix_has_its_bounds(keys in proptest::collection::vec(proptest::collection::vec(prop_oneof![Just(0xffu8), any::<u8>()], 0..4), 1..30)) {
        let bounds = prefix(&keys[0]);
        for key in &keys {
            let within = std::ops::RangeBounds::contains(&bounds, key);
            prop_assert_eq!(within, key.starts_with(&keys[0]));
        }
    }
}

/// A page reads the leaves that it shows, and the way to them.
#[test]
fn read_only_what_they_show() {
    let entries: Entries = (0..10_000).map(hundred_bytes).collect();
    let written = build(&entries);
    let store = Store::of(&written);
    let from = hundred_bytes(77).0;
    let mut counts = Vec::new();
    for limit in [1, 10, 100, 1000] {
        store.take_read();
        let page = tree(&store, written.root).range((Included(&from), Unbounded), limit).unwrap();
        assert_eq!(page.entries.len(), limit);
        counts.push(store.take_read().0.len());
    }
    assert_eq!(counts, [4, 4, 13, 82]);
    let bounds = prefix(&from[..9]);
    let page =
        tree(&store, written.root).range((bounds.0.as_ref().map(|k| &k[..]), bounds.1.as_ref().map(|k| &k[..])), 1000);
    assert!(page.unwrap().entries.len() > 10);
    assert!(store.take_read().0.len() < 10);

    // Bounds that end with a leaf don't ask for the next one, of which the branch says where it begins.
    let mut firsts: Vec<Vec<u8>> =
        store.nodes.values().filter(|bytes| bytes[1] == 0).map(|leaf| first_key(leaf)).collect();
    firsts.sort();
    store.take_read();
    let page = tree(&store, written.root).range((Included(&firsts[7]), Excluded(&firsts[8])), usize::MAX).unwrap();
    assert!(page.entries.len() > 1 && !page.more);
    assert_eq!(store.take_read().0.len(), counts[0]);
}

fn first_key(leaf: &[u8]) -> Vec<u8> {
    let Ipld::List(node) = serde_ipld_dagcbor::from_slice(leaf).unwrap() else { panic!("a tuple") };
    match &node[1] {
        Ipld::List(keys) => match &keys[0] {
            Ipld::Bytes(key) => key.clone(),
            _ => panic!("a key"),
        },
        _ => panic!("keys"),
    }
}
