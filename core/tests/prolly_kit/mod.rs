//! Trees made the plain way, without the crate's code: what README.md beside the implementation says, done once more. Entries
//! are cut from the left, level by level, and each candidate for a node is encoded whole by another codec to see its size.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use bucket_core::dag_cbor::Ipld;
use bucket_core::prolly::{Blocks, FACTOR, MAX, MIN, Written};
use cid::Cid;
use cid::multihash::Multihash;
use sha2::{Digest, Sha256};
use std::borrow::Cow;

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

fn is_boundary(key: &[u8], value: &Ipld) -> bool {
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

/// Nodes in memory, counting what is read.
#[derive(Default)]
pub struct Store {
    pub nodes: Nodes,
    pub reads: RefCell<BTreeSet<Cid>>,
    pub gets: Cell<usize>,
}

impl Store {
    pub fn of(written: &Written) -> Self {
        let mut store = Self::default();
        store.keep(written);
        store
    }

    pub fn keep(&mut self, written: &Written) {
        self.nodes.extend(written.nodes.iter().cloned());
    }

    /// How many blocks were read since the last time.
    pub fn count(&self) -> usize {
        self.gets.set(0);
        std::mem::take(&mut *self.reads.borrow_mut()).len()
    }
}

impl Blocks for Store {
    fn get(&self, cid: &Cid) -> Result<Option<Cow<'_, [u8]>>, String> {
        self.gets.set(self.gets.get() + 1);
        self.reads.borrow_mut().insert(*cid);
        Ok(self.nodes.get(cid).map(|bytes| Cow::Borrowed(&bytes[..])))
    }
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
