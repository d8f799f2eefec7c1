//! A prolly tree: a search tree of blocks whose form depends on its entries alone, after the IPLD ADL draft (ipld/ipld,
//! `specs/advanced-data-layouts/prollytree/spec.md`). `README.md` beside this file says exactly what is written.
//!
//! Each level is cut into nodes from the left: a node ends where its size and the hash of its last entry say so. So the same
//! entries give the same root in whatever order they came, two trees share all nodes but those around a difference, and a
//! change reads and writes a path. That is what it costs to keep copies in step, and all that a machine needs to see of a
//! tree in order to change it.
//!
//! Figures, for entries of about 100 bytes: leaves of 1.3 KiB on average; of 100,000 entries 7,698 nodes on 5 levels, one
//! operation reads and writes 5.6 of them (7.1 kB), ten 37. Building takes 50 ms natively. The README has what else was tried.
//!
//! Trees are values: nothing here writes. What is new is handed back ([`Written`]), so that nodes may be read from anywhere
//! ([`Blocks`]). A node that isn't there is [`ProllyError::Missing`]: get it and ask again.

mod apply;
mod blocks;
mod chunk;
mod cursor;
mod diff;
mod error;
mod node;
mod range;

use std::borrow::Borrow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::rc::Rc;

use cid::Cid;

pub use blocks::{Blocks, Layered, Recording};
pub use diff::{Change, Diff};
pub use error::ProllyError;
pub use node::{NODE_BYTES_MAX, entries};
pub use range::{Bounds, Page, prefix};

use crate::cid::{DAG_CBOR, Hasher, SHA2_256, block_cid, sha2_digest};
use crate::dag_cbor::{self, Ipld};
use crate::limits::{TREE_KEY_BYTES_MAX, TREE_VALUE_BYTES_MAX};
use chunk::{Chunker, raise};
use node::{EMPTY, Node, VALUE_DEPTH};

/// Bytes of a node below which it doesn't end.
pub const MIN: usize = 640;
/// Bytes of a node at which it ends, whatever its last entry hashes to. Of usual entries hardly any node ends so.
pub const MAX: usize = 8192;
/// Of so many entries one has a hash that ends a node.
pub const FACTOR: u32 = 8;

// A branch of one key and link is smaller than that, so that it has a second child.
const _: () = assert!(TREE_KEY_BYTES_MAX + 64 < MIN);

/// A key with its value.
pub type Entry = (Vec<u8>, Ipld);

/// A key with its new value, or none where it goes.
pub type Op = (Vec<u8>, Option<Ipld>);

/// A tree's root, and those of its nodes that are new: all of them have to be kept, in whatever order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The root node.
    pub root: Cid,
    /// Nodes by CID, the lower levels first, the root last.
    pub nodes: Vec<(Cid, Vec<u8>)>,
}

/// The tree without entries. Its node needn't be kept: it is known.
pub fn empty<H: Hasher>() -> Written {
    let root = block_cid::<H>(DAG_CBOR, &EMPTY);
    Written { root, nodes: vec![(root, EMPTY.to_vec())] }
}

/// The tree of these entries, in whatever order they come; of those with the same key the last one counts.
pub fn build<H, K, V>(entries: impl IntoIterator<Item = (K, V)>) -> Result<Written, ProllyError>
where
    H: Hasher,
    K: AsRef<[u8]>,
    V: Borrow<Ipld>,
{
    let mut entries: Vec<(K, V)> = entries.into_iter().collect();
    // Stable, and quick where they are sorted already.
    entries.sort_by(|(a, _), (b, _)| a.as_ref().cmp(b.as_ref()));
    let mut chunker = Chunker::<H>::new(0);
    for (at, (key, value)) in entries.iter().enumerate() {
        let key = key.as_ref();
        if entries.get(at + 1).is_none_or(|(next, _)| next.as_ref() != key) {
            let value = encoded(key, Some(value.borrow()))?.expect("there is a value");
            chunker.push(key, &value);
        }
    }
    chunker.end();
    if chunker.pieces.is_empty() {
        return Ok(empty::<H>());
    }
    let row = chunker.pieces.iter().map(|piece| (piece.first.clone(), piece.cid)).collect();
    let mut nodes = chunker.pieces.into_iter().map(|piece| (piece.cid, piece.bytes)).collect();
    let root = raise::<H>(0, row, &mut nodes);
    Ok(Written { root, nodes })
}

/// A value's encoding, if the tree can take the entry.
fn encoded(key: &[u8], value: Option<&Ipld>) -> Result<Option<Vec<u8>>, ProllyError> {
    if key.len() > TREE_KEY_BYTES_MAX {
        let why = format!("expected a key of at most {TREE_KEY_BYTES_MAX} bytes, got {}", key.len());
        return Err(ProllyError::entry(&key[..64], why));
    }
    let Some(value) = value else { return Ok(None) };
    dag_cbor::check_under(value, VALUE_DEPTH).map_err(|why| ProllyError::entry(key, why))?;
    let encoded = dag_cbor::encode(value);
    if encoded.len() > TREE_VALUE_BYTES_MAX {
        let why = format!("expected a value of at most {TREE_VALUE_BYTES_MAX} bytes, got {}", encoded.len());
        return Err(ProllyError::entry(key, why));
    }
    Ok(Some(encoded))
}

/// The value of a leaf's entry.
fn value(leaf: &Node<'_>, at: usize) -> Result<Ipld, ProllyError> {
    dag_cbor::decode(leaf.value(at)).map_err(|error| ProllyError::node(leaf.cid, error.to_string()))
}

/// The draft's `ProllyTreeConfig`, as a block: how these trees are made.
pub fn config<H: Hasher>() -> (Cid, Vec<u8>) {
    let int = |n: u64| Ipld::Integer(n.into());
    let strategy = Ipld::List(vec![int(FACTOR.into()), int(SHA2_256)]);
    let strategy = dag_cbor::map([("hashThreshold", strategy)]);
    let (cid_version, whole_hash) = (int(1), Ipld::Null);
    let sizes = [int(MIN as u64), int(MAX as u64)];
    let names = [cid_version, int(DAG_CBOR), int(SHA2_256), whole_hash];
    let block = Ipld::List(sizes.into_iter().chain(names).chain([strategy]).collect());
    let bytes = dag_cbor::encode(&block);
    (block_cid::<H>(DAG_CBOR, &bytes), bytes)
}

/// The draft's `ProllyTree`, as a block: the configuration and a root. Only who publishes a tree to strangers needs it.
pub fn descriptor<H: Hasher>(root: &Cid) -> (Cid, Vec<u8>) {
    let bytes = dag_cbor::encode(&Ipld::List(vec![Ipld::Link(config::<H>().0), Ipld::Link(*root)]));
    (block_cid::<H>(DAG_CBOR, &bytes), bytes)
}

/// A tree to read. Branches that were read stay in memory as long as it does.
pub struct Tree<'b, B, H> {
    blocks: &'b B,
    root: Cid,
    branches: RefCell<BTreeMap<Cid, Rc<Node<'b>>>>,
    hasher: PhantomData<H>,
}

impl<'b, B: Blocks, H: Hasher> Tree<'b, B, H> {
    /// The tree with this root. Nothing is read yet.
    pub fn new(blocks: &'b B, root: Cid) -> Self {
        Self { blocks, root, branches: RefCell::default(), hasher: PhantomData }
    }

    /// The root.
    pub fn root(&self) -> Cid {
        self.root
    }

    /// The value of `key`.
    pub fn get(&self, key: &[u8]) -> Result<Option<Ipld>, ProllyError> {
        let cursor = cursor::Cursor::seek(self, 0, key)?;
        let leaf = cursor.node();
        let at = leaf.lower_bound(key);
        (at < leaf.len() && leaf.key(at) == key).then(|| value(leaf, at)).transpose()
    }

    fn load(&self, cid: &Cid) -> Result<Rc<Node<'b>>, ProllyError> {
        if let Some(branch) = self.branches.borrow().get(cid) {
            return Ok(Rc::clone(branch));
        }
        let broken = |why| ProllyError::node(*cid, why);
        if sha2_digest(cid).is_none_or(|(codec, _)| codec != DAG_CBOR) {
            return Err(broken("expected the name of a node (CIDv1, dag-cbor, sha2-256)".into()));
        }
        let found = self.blocks.get(cid).map_err(|why| ProllyError::blocks(*cid, why))?;
        let bytes = match found {
            Some(bytes) => bytes,
            None if *cid == empty::<H>().root => EMPTY[..].into(),
            None => return Err(ProllyError::Missing(*cid)),
        };
        if !self.blocks.hashed() {
            let got = block_cid::<H>(DAG_CBOR, &bytes);
            if got != *cid {
                return Err(ProllyError::Hash { cid: *cid, got: got.to_string().into() });
            }
        }
        let node = Rc::new(Node::decode(*cid, bytes).map_err(broken)?);
        if node.level > 0 {
            self.branches.borrow_mut().insert(*cid, Rc::clone(&node));
        }
        Ok(node)
    }

    /// Whether a node is here, whatever its bytes are.
    fn has(&self, cid: &Cid) -> Result<bool, ProllyError> {
        let found = self.blocks.has(cid).map_err(|why| ProllyError::blocks(*cid, why))?;
        Ok(found || *cid == empty::<H>().root)
    }

    fn load_root(&self, cid: &Cid) -> Result<Rc<Node<'b>>, ProllyError> {
        let node = self.load(cid)?;
        node.check_root().map_err(|why| ProllyError::node(*cid, why))?;
        Ok(node)
    }

    fn load_child(&self, branch: &Node<'_>, at: usize, end: Option<&[u8]>) -> Result<Rc<Node<'b>>, ProllyError> {
        let cid = branch.link(at);
        let node = self.load(&cid)?;
        node.check_child(branch.level, branch.key(at), end).map_err(|why| ProllyError::node(cid, why))?;
        Ok(node)
    }
}
