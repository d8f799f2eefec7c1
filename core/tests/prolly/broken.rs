//! Nodes that are none, or not where they stand: each is refused in its own words, by its name.

use std::collections::BTreeMap;
use std::ops::Bound::Unbounded;

use bucket_core::car::{Car, Transaction};
use bucket_core::cid::{NativeHasher, RAW, block_cid};
use bucket_core::dag_cbor::Ipld;
use bucket_core::limits::{DEPTH_MAX, TREE_KEY_BYTES_MAX, TREE_LEVEL_MAX, TREE_VALUE_BYTES_MAX};
use bucket_core::prolly::{self, MAX, NODE_BYTES_MAX, ProllyError};
use cid::Cid;
use proptest::prelude::*;

use super::kit::*;

fn int(n: i128) -> Ipld {
    Ipld::Integer(n)
}

fn keyed(keys: &[&str]) -> Vec<(Vec<u8>, Ipld)> {
    keys.iter().map(|key| (key.as_bytes().to_vec(), int(1))).collect()
}

fn nested(levels: usize) -> Ipld {
    (0..levels).fold(Ipld::Null, |inner, _| Ipld::List(vec![inner]))
}

/// What every call says.
fn refusals(nodes: &Nodes, root: Cid) -> Vec<ProllyError> {
    let tree = tree(nodes, root);
    let other = build(&[(b"other".to_vec(), Ipld::Null)].into());
    let both: Nodes = nodes.clone().into_iter().chain(other.nodes).collect();
    vec![
        tree.get(b"m").unwrap_err(),
        tree.range((Unbounded, Unbounded), 100).unwrap_err(),
        tree.apply(&[(b"m".to_vec(), Some(Ipld::Null))]).unwrap_err(),
        super::kit::tree(&both, root).diff(&other.root).unwrap_err(),
        super::kit::tree(&both, other.root).diff(&root).unwrap_err(),
    ]
}

fn refused(nodes: &Nodes, root: Cid, broken: Cid, why: &str) {
    for error in refusals(nodes, root) {
        let text = error.to_string();
        assert!(text.contains(why) && text.contains(&broken.to_string()), "expected “{why}” of {broken}, got: {text}");
    }
}

#[test]
fn blocks_that_are_no_nodes() {
    let key = |len| vec![b'k'; len];
    let list = |items: &[Ipld]| encode(&Ipld::List(items.to_vec()));
    let keys = |n| Ipld::List((0..n).map(|n| Ipld::Bytes(vec![n])).collect());
    let link = Ipld::Link(cid_of(b"a child"));
    let raw = Ipld::Link(block_cid::<NativeHasher>(RAW, b"a child"));
    let blake = Ipld::Link(Cid::new_v1(0x71, cid::multihash::Multihash::wrap(0xb220, &[0; 32]).unwrap()));
    let branch = |link: &Ipld| encode(&node(1, &[(b"a".to_vec(), link.clone()), (b"b".to_vec(), link.clone())]));
    let long = "x".repeat(TREE_VALUE_BYTES_MAX - 3);
    let large: Vec<_> = (0..4u8).map(|n| (vec![n], Ipld::String(long.clone()))).collect();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (encode(&node(0, &keyed(&["b", "a"]))), "expected keys sorted and each once, got “a” after “b”"),
        (encode(&node(0, &keyed(&["a", "a"]))), "expected keys sorted and each once, got “a” after “a”"),
        (encode(&node(0, &keyed(&["aa", "a"]))), "got “a” after “aa”"),
        (list(&[int(0), keys(2), keys(1)]), "expected a list of 2 items"),
        (list(&[int(0), keys(1), keys(2)]), "expected a list of 1 items"),
        (list(&[int(0), keys(1)]), "expected a list of 3 items"),
        (list(&[int(0), keys(1), keys(1), Ipld::Null]), "expected a list of 3 items"),
        (encode(&Ipld::Map(BTreeMap::new())), "expected a list of 3 items"),
        (list(&[int(-1), keys(1), keys(1)]), "expected an integer of 0 or more"),
        (list(&[Ipld::Bool(false), keys(1), keys(1)]), "expected an integer of 0 or more"),
        (list(&[int(0), int(0), int(0)]), "expected a list"),
        (list(&[int(0), Ipld::List(vec![Ipld::String("a".into())]), keys(1)]), "expected bytes"),
        (b"".to_vec(), "expected 1 bytes, got 0"),
        // Other encodings of the empty leaf, and more behind it.
        (vec![0x83, 0x18, 0x00, 0x80, 0x80], "expected the smallest encoding of 0"),
        (vec![0x83, 0x00, 0x98, 0x00, 0x80], "expected the smallest encoding of 0"),
        (vec![0x9f, 0x00, 0x80, 0x80, 0xff], "expected a definite length"),
        (vec![0x83, 0x00, 0x80, 0x80, 0x00], "expected the end, got 1 more bytes"),
        (vec![0x83, 0x00, 0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "entries, got 0 bytes"),
        // Values that are not strict.
        (vec![0x83, 0x00, 0x81, 0x41, b'k', 0x81, 0xf9, 0x00, 0x00], "expected a 64-bit float"),
        (vec![0x83, 0x00, 0x81, 0x41, b'k', 0x81, 0xa2, 0x61, b'b', 0, 0x61, b'a', 0], "expected map keys sorted"),
        (encode(&node(0, &[(key(1), nested(DEPTH_MAX - 1))])), "levels of nesting, got more"),
        // Too large.
        (encode(&node(0, &[(key(TREE_KEY_BYTES_MAX + 1), int(1))])), "expected keys of at most 512 bytes, got 513"),
        (
            encode(&node(0, &[(key(1), Ipld::String(long.clone() + "x"))])),
            "expected values of at most 4096 bytes, got 4097",
        ),
        (encode(&node(0, &large)), &format!("expected at most {NODE_BYTES_MAX} bytes, got 1639")),
        // Branches.
        (encode(&node(TREE_LEVEL_MAX as i128 + 1, &keyed(&["a", "b"]))), "expected a level of at most 32, got 33"),
        (
            encode(&node(u64::MAX.into(), &keyed(&["a", "b"]))),
            "expected a level of at most 32, got 18446744073709551615",
        ),
        (encode(&node(1, &[])), "expected children of a root of level 1, got none"),
        (encode(&node(1, &[(b"a".to_vec(), link)])), "expected at least 2 children of a root, got 1"),
        (branch(&int(1)), "expected a link to a node (CIDv1, dag-cbor, sha2-256) at “a”"),
        (branch(&Ipld::Bytes(vec![0; 39])), "expected a link to a node"),
        (branch(&raw), "expected a link to a node"),
        (branch(&blake), "expected a link to a node"),
    ]
    .into_iter()
    .map(|(bytes, why)| (bytes, why.to_owned().leak() as &str))
    .collect();
    for (bytes, why) in cases {
        let root = cid_of(&bytes);
        refused(&[(root, bytes)].into(), root, root, why);
    }
}

#[test]
fn values_as_deep_and_long_as_allowed() {
    let entries: Entries = [
        (vec![b'k'; TREE_KEY_BYTES_MAX], nested(DEPTH_MAX - 2)),
        (vec![], Ipld::String("x".repeat(TREE_VALUE_BYTES_MAX - 3))),
    ]
    .into();
    let written = build(&entries);
    assert_eq!(all(&tree(&Store::of(&written), written.root)).unwrap(), entries);
}

#[test]
fn nodes_that_stand_where_they_should_not() {
    let mut nodes = Nodes::new();
    let mut put = |bytes: Vec<u8>| {
        let cid = cid_of(&bytes);
        nodes.insert(cid, bytes);
        cid
    };
    let good = put(encode(&node(0, &keyed(&["a", "m"]))));
    let right = put(encode(&node(0, &keyed(&["t", "z"]))));
    let foreign = put(encode(&node(0, &keyed(&["b", "m"]))));
    let reaching = put(encode(&node(0, &keyed(&["a", "m", "u"]))));
    let touching = put(encode(&node(0, &keyed(&["a", "t"]))));
    let empty = put(encode(&node(0, &[])));
    let both = |level, left: Cid| {
        encode(&node(level, &[(b"a".to_vec(), Ipld::Link(left)), (b"t".to_vec(), Ipld::Link(right))]))
    };
    let low = put(both(1, good));
    let cases = [
        (put(both(2, good)), good, "expected level 1 below a branch of level 2, got 0"),
        (put(both(1, low)), low, "expected level 0 below a branch of level 1, got 1"),
        (put(both(3, low)), low, "expected level 2 below a branch of level 3, got 1"),
        (put(both(1, foreign)), foreign, "expected the branch's key “a” as the first key, got “b”"),
        (put(both(1, reaching)), reaching, "expected keys below “t”, the next node's first one, got “u”"),
        (put(both(1, touching)), touching, "expected keys below “t”, the next node's first one, got “t”"),
        (put(both(1, empty)), empty, "expected entries, got none: only a root may be empty"),
        (put(both(1, cid_of(b"nowhere"))), cid_of(b"nowhere"), "is missing"),
    ];
    for (root, broken, why) in cases {
        refused(&nodes, root, broken, why);
    }
    assert_eq!(all(&tree(&nodes, low)).unwrap().len(), 4);
}

/// A neighbour's first key bounds what is below, over all levels.
#[test]
fn a_grandchild_may_not_reach_into_the_next_branch() {
    let mut nodes = Nodes::new();
    let mut put = |level, entries: &[(&str, Ipld)]| {
        let entries: Vec<_> = entries.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.clone())).collect();
        let bytes = encode(&node(level, &entries));
        let cid = cid_of(&bytes);
        nodes.insert(cid, bytes);
        (Ipld::Link(cid), cid)
    };
    let (a, _) = put(0, &[("a", int(1))]);
    let (c, reaching) = put(0, &[("c", int(1)), ("n", int(1))]);
    let (m, _) = put(0, &[("m", int(1))]);
    let (left, _) = put(1, &[("a", a), ("c", c)]);
    let (right, _) = put(1, &[("m", m)]);
    let (_, root) = put(2, &[("a", left), ("m", right)]);
    let error = all(&tree(&nodes, root)).unwrap_err().to_string();
    assert!(error.contains(&reaching.to_string()) && error.contains("expected keys below “m”"), "{error}");
    assert_eq!(tree(&nodes, root).get(b"m").unwrap(), Some(int(1)));
}

#[test]
fn other_bytes_and_other_names() {
    let built = build(&(0..1000).map(hundred_bytes).collect());
    let mut store = Store::of(&built);
    let swapped = build(&[(b"a".to_vec(), Ipld::Null)].into());
    store.nodes.insert(built.root, swapped.nodes[0].1.clone());
    let got = swapped.root;
    refused(
        &store.nodes,
        built.root,
        built.root,
        &format!("expected the bytes of node {}, got those of {got}", built.root),
    );

    let raw = block_cid::<NativeHasher>(RAW, &swapped.nodes[0].1);
    refused(
        &[(raw, swapped.nodes[0].1.clone())].into(),
        raw,
        raw,
        "expected the name of a node (CIDv1, dag-cbor, sha2-256)",
    );
}

#[test]
fn a_store_that_fails_is_quoted() {
    struct Failing;
    impl prolly::Blocks for Failing {
        fn get(&self, _: &Cid) -> Result<Option<std::borrow::Cow<'_, [u8]>>, String> {
            Err("the disk is gone".into())
        }
    }
    let cid = cid_of(b"any");
    let error = tree(&Failing, cid).get(b"").unwrap_err();
    assert_eq!(error.to_string(), format!("reading node {cid}: the disk is gone"));
}

/// The witness of a message: the nodes lie in its CAR, among other blocks.
#[test]
fn a_car_holds_nodes() {
    let built = build(&(0..1000).map(hundred_bytes).collect());
    let mut transaction = Transaction::<NativeHasher>::default();
    for (_, bytes) in &built.nodes {
        transaction.write_block(0x71, bytes);
    }
    transaction.write(&Ipld::String("the task".into()));
    let car = Car::decode::<NativeHasher>(transaction.commit().unwrap()).unwrap();
    let ops = [(b"m".to_vec(), Some(Ipld::Null))];
    assert_eq!(tree(&car, built.root).apply(&ops), tree(&Store::of(&built), built.root).apply(&ops));
    let error = tree(&car, car.root()).apply(&ops).unwrap_err().to_string();
    assert!(error.contains("expected a list of 3 items"), "{error}");
}

#[test]
fn entries_that_no_tree_can_take() {
    let key = |len| vec![b'k'; len];
    let cases = [
        (key(TREE_KEY_BYTES_MAX + 1), int(1), "expected a key of at most 512 bytes, got 513"),
        (
            key(1),
            Ipld::Bytes(vec![0; TREE_VALUE_BYTES_MAX - 2]),
            "“k”: expected a value of at most 4096 bytes, got 4097",
        ),
        (key(1), nested(DEPTH_MAX - 1), "“k”: expected at most 64 levels of nesting"),
        (key(1), int(i128::MAX), "“k”: expected an integer of 64 bits"),
        (key(1), Ipld::Float(f64::NAN), "“k”: expected a finite number, got NaN"),
    ];
    let empty = prolly::empty::<NativeHasher>();
    for (key, value, why) in cases {
        let applied = tree(&Nodes::new(), empty.root).apply(&[(key.clone(), Some(value.clone()))]).unwrap_err();
        let built = prolly::build::<NativeHasher, _, _>([(key, value)]).unwrap_err();
        assert_eq!(applied, built);
        assert!(applied.to_string().contains(why), "{applied}");
    }
    for second in ["a", "b"] {
        let ops = [(b"b".to_vec(), None), (second.into(), None)];
        let error = tree(&Nodes::new(), empty.root).apply(&ops).unwrap_err().to_string();
        assert!(error.contains("expected operations sorted by key and one for each, got this after “b”"), "{error}");
    }
}

proptest! {
    #![proptest_config(cases(2000))]

    /// What is accepted has one encoding; everything else is an error, never a panic.
    #[test]
    fn changed_bytes(entries in entries(30), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>(), kind in 0..3) {
        let built = build(&entries);
        let nodes: Nodes = built.nodes.iter().cloned().collect();
        let mut bytes = nodes[&built.root].clone();
        let at = at.index(bytes.len());
        match kind {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            _ => bytes.truncate(cut.index(bytes.len())),
        }
        let root = cid_of(&bytes);
        let mut store = nodes;
        store.insert(root, bytes.clone());
        let tree = tree(&store, root);
        let _ = tree.apply(&[(b"/key/300".to_vec(), Some(Ipld::Null))]);
        let _ = tree.missing(None);
        let _ = tree.diff(&built.root);
        if let Ok(entries) = all(&tree) && bytes.len() < MAX && reachable(&store, &root).len() == 1 {
            let entries: Vec<_> = entries.into_iter().collect();
            prop_assert_eq!(encode(&node(0, &entries)), bytes);
        }
    }
}
