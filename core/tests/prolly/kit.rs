//! Trees made the plain way, without the crate's code: what `src/prolly/README.md` says, done once more. Entries are cut from
//! the left, level by level, and each beginning of a node is encoded whole, by another codec, to see its size.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use bucket_core::cid::NativeHasher;
use bucket_core::dag_cbor::Ipld;
use bucket_core::prolly::{self, Blocks, FACTOR, MAX, MIN, Op, ProllyError, Written};
use cid::Cid;
use cid::multihash::Multihash;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

pub type Entries = BTreeMap<Vec<u8>, Ipld>;
pub type Nodes = BTreeMap<Cid, Vec<u8>>;

pub fn cid_of(bytes: &[u8]) -> Cid {
    Cid::new_v1(0x71, Multihash::wrap(0x12, &Sha256::digest(bytes)).unwrap())
}

pub fn encode(value: &Ipld) -> Vec<u8> {
    serde_ipld_dagcbor::to_vec(value).unwrap()
}

/// A node as a value.
pub fn node(level: i128, entries: &[(Vec<u8>, Ipld)]) -> Ipld {
    let keys = entries.iter().map(|(key, _)| Ipld::Bytes(key.clone())).collect();
    let values = entries.iter().map(|(_, value)| value.clone()).collect();
    Ipld::List(vec![Ipld::Integer(level), Ipld::List(keys), Ipld::List(values)])
}

/// Whether the hash of an entry ends a node.
pub fn is_boundary(key: &[u8], value: &Ipld) -> bool {
    let hash = Sha256::digest([key, &encode(value)].concat());
    u32::from_be_bytes(hash[28..].try_into().unwrap()) <= (u64::from(u32::MAX) / u64::from(FACTOR)) as u32
}

/// The root of the tree with these entries, and all of its nodes.
pub fn naive(entries: &Entries) -> (Cid, Nodes) {
    let mut nodes = Nodes::new();
    let mut row: Vec<(Vec<u8>, Ipld)> = entries.clone().into_iter().collect();
    for level in 0.. {
        let mut next = Vec::new();
        let mut open: Vec<(Vec<u8>, Ipld)> = Vec::new();
        let count = row.len();
        for (at, (key, value)) in row.into_iter().enumerate() {
            let ends = is_boundary(&key, &value);
            open.push((key, value));
            let size = encode(&node(level, &open)).len();
            if size >= MAX || (size >= MIN && ends) || at + 1 == count {
                next.push(std::mem::take(&mut open));
            }
        }
        if next.is_empty() {
            next.push(Vec::new());
        }
        row = Vec::new();
        for entries in next {
            let bytes = encode(&node(level, &entries));
            let cid = cid_of(&bytes);
            nodes.insert(cid, bytes);
            row.push((entries.first().map(|(key, _)| key.clone()).unwrap_or_default(), Ipld::Link(cid)));
        }
        if let [(_, Ipld::Link(root))] = &row[..] {
            return (*root, nodes);
        }
    }
    unreachable!()
}

/// Nodes in memory, and which of them were read.
#[derive(Default)]
pub struct Store {
    pub nodes: Nodes,
    read: RefCell<BTreeSet<Cid>>,
    times: Cell<usize>,
}

impl Store {
    pub fn of(written: &Written) -> Self {
        Self { nodes: written.nodes.iter().cloned().collect(), ..Self::default() }
    }

    pub fn keep(&mut self, written: &Written) {
        self.nodes.extend(written.nodes.iter().cloned());
    }

    /// What was read since the last time, each node once, and how often something was read.
    pub fn take_read(&self) -> (BTreeSet<Cid>, usize) {
        (self.read.take(), self.times.take())
    }
}

impl Blocks for Store {
    fn get(&self, cid: &Cid) -> Result<Option<Cow<'_, [u8]>>, String> {
        self.times.set(self.times.get() + 1);
        self.read.borrow_mut().insert(*cid);
        Ok(self.nodes.get(cid).map(|bytes| Cow::Borrowed(&bytes[..])))
    }
}

pub type Tree<'b, B> = prolly::Tree<'b, B, NativeHasher>;

pub fn tree<B: Blocks>(blocks: &B, root: Cid) -> Tree<'_, B> {
    Tree::new(blocks, root)
}

pub fn build(entries: &Entries) -> Written {
    prolly::build::<NativeHasher, _, _>(entries).unwrap()
}

pub fn all<B: Blocks>(tree: &Tree<'_, B>) -> Result<Entries, ProllyError> {
    let page = tree.range((Bound::Unbounded, Bound::Unbounded), usize::MAX)?;
    assert!(!page.more);
    Ok(page.entries.into_iter().collect())
}

/// What operations do to entries.
pub fn do_to(entries: &mut Entries, ops: &[Op]) {
    for (key, value) in ops {
        match value {
            Some(value) => entries.insert(key.clone(), value.clone()),
            None => entries.remove(key),
        };
    }
}

/// Entries of about 100 bytes, as those of a space are: a key with a hash in it, and a link.
pub fn hundred_bytes(n: u32) -> (Vec<u8>, Ipld) {
    let hash = Sha256::digest(n.to_be_bytes());
    (format!("/blob/z{}", hex::encode(&hash[..23])).into_bytes(), Ipld::Link(cid_of(&hash)))
}

/// Keys of many lengths, few enough that operations meet.
pub fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (0u16..600).prop_map(|n| format!("/key/{n:03}").into_bytes()),
        2 => (0u16..40, 0usize..490).prop_map(|(n, len)| [format!("/long/{n}/").as_bytes(), &vec![b'x'; len]].concat()),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
    ]
}

pub fn value() -> impl Strategy<Value = Ipld> {
    prop_oneof![
        4 => (0usize..200).prop_map(|len| Ipld::Bytes(vec![7; len])),
        2 => any::<u64>().prop_map(|n| Ipld::Integer(n.into())),
        1 => (0usize..4000).prop_map(|len| Ipld::String("x".repeat(len))),
        1 => any::<u32>().prop_map(|n| hundred_bytes(n).1),
        1 => Just(Ipld::Null),
    ]
}

pub fn entries(most: usize) -> impl Strategy<Value = Entries> {
    proptest::collection::btree_map(key(), value(), 0..most)
}

/// Operations: some put, some remove, some change nothing.
pub fn ops(most: usize) -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![3 => value().prop_map(Some), 2 => Just(None)];
    proptest::collection::btree_map(key(), op, 0..most).prop_map(|ops| ops.into_iter().collect())
}

pub fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

/// All nodes that can be reached.
pub fn reachable(nodes: &Nodes, root: &Cid) -> Nodes {
    let mut found = Nodes::new();
    let mut left = vec![*root];
    while let Some(cid) = left.pop() {
        let bytes = nodes.get(&cid).unwrap_or_else(|| panic!("node {cid} is missing"));
        let Ipld::List(node) = serde_ipld_dagcbor::from_slice(bytes).unwrap() else { panic!("a tuple") };
        let [Ipld::Integer(level), _, Ipld::List(values)] = &node[..] else { panic!("a node") };
        if *level > 0 {
            let links = values.iter().map(|value| if let Ipld::Link(cid) = value { *cid } else { panic!("a link") });
            left.extend(links);
        }
        found.insert(cid, bytes.clone());
    }
    found
}
