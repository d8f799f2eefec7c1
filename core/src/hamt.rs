//! The HAMT of Filecoin (ipld.io, specs/advanced-data-layouts/hamt; `fvm_ipld_hamt` version 3), with bit width 3, one entry
//! to a slot, and SHA-256 of the keys by the host's hasher.
//!
//! Its blocks are those of `fvm_ipld_hamt` to the byte, which a test compares; it is our own because it is on the path of
//! every task: it decodes nodes without an intermediate value and doesn't write a root that didn't change.
//!
//! Width and entries are chosen by gas, because bytes and blocks written decide the bill; see ARCHITECTURE.md.

use std::cell::OnceCell;
use std::marker::PhantomData;

use cid::Cid;
use cid::multihash::Multihash;
use fvm_ipld_blockstore::{Block, Blockstore};
use multihash_codetable::Code;

use crate::cid::{DAG_CBOR, Hasher};
use crate::dag_cbor::{self, Reader};
use crate::limits::DEPTH_MAX;

/// Bits of a key's hash that each level consumes.
pub const BIT_WIDTH: usize = 3;
const SLOTS: usize = 1 << BIT_WIDTH;
const HASH_BITS: usize = 256;
const BLAKE2B_256: u64 = 0xb220;

/// A link of a node up to the digest: tag 42, 39 bytes, 0, CIDv1, dag-cbor, blake2b-256 of 32 bytes.
const LINK: [u8; 11] = [0xd8, 0x2a, 0x58, 0x27, 0x00, 0x01, 0x71, 0xa0, 0xe4, 0x02, 0x20];

type Digest = [u8; 32];

/// A map from bytes to encoded values.
pub struct Hamt<'s, S, H> {
    store: &'s S,
    root: Node,
    /// The root's CID, unless something changed since it was known.
    cid: Option<Cid>,
    hasher: PhantomData<H>,
}

#[derive(Default)]
struct Node {
    slots: [Slot; SLOTS],
}

#[derive(Default)]
enum Slot {
    #[default]
    Empty,
    Entry {
        /// The key, and behind it the value's encoding.
        bytes: Box<[u8]>,
        /// Where the value begins.
        value: usize,
    },
    Link {
        digest: Digest,
        node: OnceCell<Box<Node>>,
    },
    Dirty(Box<Node>),
}

fn entry(key: &[u8], value: &[u8]) -> Slot {
    Slot::Entry { bytes: [key, value].concat().into(), value: key.len() }
}

/// The slot of a hash at a depth. The last level has what is left of the hash's bits.
fn slot(hash: &Digest, depth: usize) -> Result<usize, String> {
    let start = depth * BIT_WIDTH;
    if start >= HASH_BITS {
        return Err("two keys have one hash".into());
    }
    let bits = start..HASH_BITS.min(start + BIT_WIDTH);
    Ok(bits.fold(0, |slot, bit| slot << 1 | usize::from(hash[bit / 8] >> (7 - bit % 8) & 1)))
}

fn link(digest: &Digest) -> Cid {
    Cid::new_v1(DAG_CBOR, Multihash::wrap(BLAKE2B_256, digest).expect("32 bytes fit a 64-byte multihash"))
}

fn digest(cid: &Cid) -> Result<Digest, String> {
    let fits = cid.codec() == DAG_CBOR && cid.hash().code() == BLAKE2B_256;
    let digest = fits.then(|| cid.hash().digest().try_into().ok()).flatten();
    digest.ok_or_else(|| format!("expected a link to DAG-CBOR by blake2b-256, got {cid}"))
}

impl<'s, S: Blockstore, H: Hasher> Hamt<'s, S, H> {
    /// A map without entries.
    pub fn empty(store: &'s S) -> Self {
        Self { store, root: Node::default(), cid: None, hasher: PhantomData }
    }

    /// The map under `root`.
    pub fn load(store: &'s S, root: &Cid) -> Result<Self, String> {
        let node = Node::load(store, root)?;
        Ok(Self { store, root: node, cid: Some(*root), hasher: PhantomData })
    }

    /// The value's encoding under `key`.
    pub fn get(&self, key: &[u8]) -> Result<Option<&[u8]>, String> {
        let hash = H::sha2_256(key);
        let mut node = &self.root;
        for depth in 0.. {
            node = match &node.slots[slot(&hash, depth)?] {
                Slot::Empty => return Ok(None),
                Slot::Entry { bytes, value } => return Ok((&bytes[..*value] == key).then(|| &bytes[*value..])),
                Slot::Link { digest, node } => cached(self.store, digest, node)?,
                Slot::Dirty(node) => node,
            };
        }
        unreachable!("slot() ends the descent")
    }

    /// Puts a value's encoding under `key`.
    pub fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        if self.root.set::<S, H>(self.store, &H::sha2_256(key), 0, key, value)? {
            self.cid = None;
        }
        Ok(())
    }

    /// Removes `key`; tells whether it was there.
    pub fn delete(&mut self, key: &[u8]) -> Result<bool, String> {
        let found = self.root.delete(self.store, &H::sha2_256(key), 0, key)?;
        if found {
            self.cid = None;
        }
        Ok(found)
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.root.slots.iter().all(|slot| matches!(slot, Slot::Empty))
    }

    /// Calls `f` with every key and value, in the order of the keys' hashes.
    pub fn each(&self, f: &mut impl FnMut(&[u8], &[u8]) -> Result<(), String>) -> Result<(), String> {
        self.root.each(self.store, f)
    }

    /// Writes what changed and answers the root.
    pub fn flush(&mut self) -> Result<Cid, String> {
        if let Some(cid) = self.cid {
            return Ok(cid);
        }
        let digest = self.root.flush(self.store, &mut Vec::new())?;
        Ok(*self.cid.insert(link(&digest)))
    }
}

/// The node of a link, read once.
fn cached<'n>(store: &impl Blockstore, digest: &Digest, node: &'n OnceCell<Box<Node>>) -> Result<&'n Node, String> {
    if let Some(node) = node.get() {
        return Ok(node);
    }
    let loaded = Box::new(Node::load(store, &link(digest))?);
    Ok(node.get_or_init(|| loaded))
}

impl Node {
    fn load(store: &impl Blockstore, cid: &Cid) -> Result<Self, String> {
        let block = store.get(cid).map_err(|error| error.to_string())?;
        Self::decode(&block.ok_or_else(|| format!("node {cid} is missing"))?)
    }

    fn decode(block: &[u8]) -> Result<Self, String> {
        let mut reader = Reader::new(block);
        let slots = reader.list(2).and_then(|()| reader.bytes());
        let bits = match slots.map_err(|error| error.to_string())? {
            [] => 0,
            [bits] => *bits,
            more => return Err(format!("expected a node of {SLOTS} slots, got one of {}", more.len() * 8)),
        };
        let mut node = Self::default();
        node.fill(&mut reader, bits).map_err(|error| error.to_string())?;
        Ok(node)
    }

    fn fill(&mut self, reader: &mut Reader<'_>, bits: u8) -> Result<(), dag_cbor::DagCborError> {
        reader.list(bits.count_ones() as u64)?;
        for at in (0..SLOTS).filter(|at| bits >> at & 1 == 1) {
            self.slots[at] = if reader.left().starts_with(&LINK) {
                reader.take(LINK.len() as u64)?;
                let digest = reader.take(32)?.try_into().expect("32 bytes were taken");
                Slot::Link { digest, node: OnceCell::new() }
            } else {
                reader.list(1)?;
                reader.list(2)?;
                let key = reader.bytes()?;
                let value = reader.left();
                reader.skip(DEPTH_MAX)?;
                entry(key, &value[..value.len() - reader.left().len()])
            };
        }
        reader.end()
    }

    fn set<S: Blockstore, H: Hasher>(
        &mut self,
        store: &S,
        hash: &Digest,
        depth: usize,
        key: &[u8],
        new: &[u8],
    ) -> Result<bool, String> {
        let slot = &mut self.slots[slot(hash, depth)?];
        match slot {
            Slot::Empty => *slot = entry(key, new),
            Slot::Entry { bytes, value } if bytes[..*value] == *key => {
                if bytes[*value..] == *new {
                    return Ok(false);
                }
                *slot = entry(key, new);
            }
            Slot::Entry { bytes, value } => {
                let mut node = Box::<Node>::default();
                let (other, old) = bytes.split_at(*value);
                node.set::<S, H>(store, &H::sha2_256(other), depth + 1, other, old)?;
                node.set::<S, H>(store, hash, depth + 1, key, new)?;
                *slot = Slot::Dirty(node);
            }
            Slot::Link { digest, node } => {
                cached(store, digest, node)?;
                let mut node = node.take().expect("read above");
                if node.set::<S, H>(store, hash, depth + 1, key, new)? {
                    *slot = Slot::Dirty(node);
                } else {
                    *slot = Slot::Link { digest: *digest, node: OnceCell::from(node) };
                    return Ok(false);
                }
            }
            Slot::Dirty(node) => return node.set::<S, H>(store, hash, depth + 1, key, new),
        }
        Ok(true)
    }

    fn delete(&mut self, store: &impl Blockstore, hash: &Digest, depth: usize, key: &[u8]) -> Result<bool, String> {
        let slot = &mut self.slots[slot(hash, depth)?];
        let mut node = match slot {
            Slot::Empty => return Ok(false),
            Slot::Entry { bytes, value } => {
                let found = bytes[..*value] == *key;
                if found {
                    *slot = Slot::Empty;
                }
                return Ok(found);
            }
            Slot::Link { digest, node } => {
                cached(store, digest, node)?;
                let mut child = node.take().expect("read above");
                if !child.delete(store, hash, depth + 1, key)? {
                    *slot = Slot::Link { digest: *digest, node: OnceCell::from(child) };
                    return Ok(false);
                }
                child
            }
            Slot::Dirty(node) => {
                if !node.delete(store, hash, depth + 1, key)? {
                    return Ok(false);
                }
                std::mem::take(node)
            }
        };
        *slot = node.alone().unwrap_or(Slot::Dirty(node));
        Ok(true)
    }

    /// The only entry of a node that has nothing else: it belongs one level up, so that a map's form doesn't depend on
    /// what was in it before.
    fn alone(&mut self) -> Option<Slot> {
        let mut taken = self.slots.iter_mut().filter(|slot| !matches!(slot, Slot::Empty));
        match (taken.next(), taken.next()) {
            (Some(only @ Slot::Entry { .. }), None) => Some(std::mem::take(only)),
            _ => None,
        }
    }

    /// Writes what changed below and the node itself. `out` is scratch space.
    fn flush(&mut self, store: &impl Blockstore, out: &mut Vec<u8>) -> Result<Digest, String> {
        for slot in &mut self.slots {
            if let Slot::Dirty(node) = slot {
                let digest = node.flush(store, out)?;
                *slot = Slot::Link { digest, node: OnceCell::from(std::mem::take(node)) };
            }
        }
        self.encode(out);
        let cid = store.put(Code::Blake2b256, &Block::new(DAG_CBOR, &out[..])).map_err(|error| error.to_string())?;
        digest(&cid)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        out.push(0x82);
        let taken = |(at, slot): (usize, &Slot)| if matches!(slot, Slot::Empty) { 0 } else { 1u8 << at };
        match self.slots.iter().enumerate().map(taken).sum::<u8>() {
            0 => out.extend([0x40, 0x80]),
            bits => out.extend([0x41, bits, 0x80 | bits.count_ones() as u8]),
        }
        for slot in &self.slots {
            match slot {
                Slot::Empty => {}
                Slot::Entry { bytes, value } => {
                    out.extend([0x81, 0x82]);
                    dag_cbor::write_bytes(out, &bytes[..*value]);
                    out.extend(&bytes[*value..]);
                }
                Slot::Link { digest, .. } => {
                    out.extend(LINK);
                    out.extend(digest);
                }
                Slot::Dirty(_) => unreachable!("flushed before"),
            }
        }
    }

    fn each(
        &self,
        store: &impl Blockstore,
        f: &mut impl FnMut(&[u8], &[u8]) -> Result<(), String>,
    ) -> Result<(), String> {
        for slot in &self.slots {
            match slot {
                Slot::Empty => {}
                Slot::Entry { bytes, value } => f(&bytes[..*value], &bytes[*value..])?,
                Slot::Dirty(node) => node.each(store, f)?,
                Slot::Link { digest, node } => match node.get() {
                    Some(node) => node.each(store, f)?,
                    None => Node::load(store, &link(digest))?.each(store, f)?,
                },
            }
        }
        Ok(())
    }
}
