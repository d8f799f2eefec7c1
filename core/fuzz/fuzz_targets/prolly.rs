//! Prolly trees of whatever nodes: no call panics, and a tree that can be read whole is a map like any other.
#![no_main]

use std::collections::BTreeMap;
use std::ops::Bound::{Included, Unbounded};

use bucket_core::cid::{Cid, DAG_CBOR, NativeHasher, block_cid, sha2_digest};
use bucket_core::dag_cbor::{self, Ipld};
use bucket_core::prolly::{self, Op};
use libfuzzer_sys::fuzz_target;

type Nodes = BTreeMap<Cid, Vec<u8>>;
type Tree<'b> = prolly::Tree<'b, Nodes, NativeHasher>;

/// A link to a node up to the digest.
const LINK: [u8; 9] = [0xd8, 0x2a, 0x58, 0x25, 0x00, 0x01, 0x71, 0x12, 0x20];

fuzz_target!(|bytes: &[u8]| {
    let (mut nodes, Some(root)) = blocks(bytes) else { return };
    let at = bytes.len() / 2;
    let key = bytes[at..].iter().copied().take(8).collect::<Vec<_>>();
    let mut ops: Vec<Op> = vec![(key.clone(), Some(Ipld::Null)), (bytes[..2].to_vec(), None)];
    ops.sort_by(|a, b| a.0.cmp(&b.0));
    ops.dedup_by(|a, b| a.0 == b.0);

    let (all, missing, applied) = {
        let tree = Tree::new(&nodes, root);
        let _ = tree.range((Included(&key), Unbounded), 3);
        let _ = tree.diff(&prolly::empty::<NativeHasher>().root);
        (tree.range((Unbounded, Unbounded), usize::MAX), tree.missing(None), tree.apply(&ops))
    };
    let Ok(all) = all else { return };
    assert_eq!(missing, Ok(vec![]), "what can be read is here");
    let mut entries: BTreeMap<Vec<u8>, Ipld> = all.entries.iter().cloned().collect();
    assert!(entries.clone().into_iter().eq(all.entries), "sorted, and each key once");

    // However it was cut, it has the entries of the tree that is cut as it should be.
    let built = prolly::build::<NativeHasher, _, _>(&entries).expect("entries of a tree");
    nodes.extend(built.nodes);
    let tree = Tree::new(&nodes, root);
    assert_eq!(tree.diff(&built.root).expect("both are here").changes, []);
    entries.iter().for_each(|(key, value)| assert_eq!(tree.get(key).expect("a value").as_ref(), Some(value)));

    let applied = applied.expect("the tree is here");
    for (key, value) in ops {
        match value {
            Some(value) => entries.insert(key, value),
            None => entries.remove(&key),
        };
    }
    nodes.extend(applied.nodes);
    let after = Tree::new(&nodes, applied.root).range((Unbounded, Unbounded), usize::MAX);
    assert!(after.expect("the new tree").entries.into_iter().eq(entries));
});

/// Blocks, each behind its length in two bytes; the last one is the root. A link whose digest is a number and 31 zeros is made
/// one to the block of that number, so that mutations can hang blocks under each other.
fn blocks(mut bytes: &[u8]) -> (Nodes, Option<Cid>) {
    let mut order: Vec<Cid> = Vec::new();
    let mut nodes = Nodes::new();
    while let [a, b, rest @ ..] = bytes {
        let len = usize::from(u16::from_be_bytes([*a, *b])).min(rest.len());
        let mut block = rest[..len].to_vec();
        bytes = &rest[len..];
        for at in 0..len.saturating_sub(LINK.len() + 31) {
            let digest = at + LINK.len();
            let (number, zeros) = (usize::from(block[digest]), digest + 1..digest + 32);
            if block[at..digest] == LINK && number < order.len() && block[zeros].iter().all(|byte| *byte == 0) {
                let (_, linked) = sha2_digest(&order[number]).expect("made here");
                block[digest..digest + 32].copy_from_slice(&linked);
            }
        }
        let cid = block_cid::<NativeHasher>(DAG_CBOR, &block);
        assert!(dag_cbor::validate(&block).is_ok() || Tree::new(&[(cid, block.clone())].into(), cid).get(b"").is_err());
        order.push(cid);
        nodes.insert(cid, block);
    }
    (nodes, order.last().copied())
}
