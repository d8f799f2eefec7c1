//! A node of a tree as a block: `[level, [key …], [value …]]` in DAG-CBOR.

use std::borrow::Cow;

use cid::Cid;

use super::MAX;
use crate::cid::{DAG_CBOR, SHA2_256, sha2_cid, sha2_digest};
use crate::dag_cbor::{DagCborError, Reader};
use crate::limits::{DEPTH_MAX, TREE_KEY_BYTES_MAX, TREE_LEVEL_MAX, TREE_VALUE_BYTES_MAX};

/// A node can't be longer: one byte short of [`MAX`] it takes one more entry, with the heads of entry, level and lists.
pub const NODE_BYTES_MAX: usize = MAX + TREE_KEY_BYTES_MAX + TREE_VALUE_BYTES_MAX + 16;

/// The leaf without entries. Everybody knows it, so that nobody has to carry it.
pub(super) const EMPTY: [u8; 4] = [0x83, 0x00, 0x80, 0x80];

/// How much deeper a value lies in its block than alone.
pub(super) const VALUE_DEPTH: usize = 2;

/// A link to a node up to the digest: tag 42, 37 bytes, 0, CIDv1, dag-cbor, sha2-256 of 32 bytes.
const LINK: [u8; 9] = [0xd8, 0x2a, 0x58, 0x25, 0x00, 0x01, DAG_CBOR as u8, SHA2_256 as u8, 0x20];
const LINK_BYTES: usize = LINK.len() + 32;

/// The encoding of a link to a node.
pub(super) fn link(cid: &Cid) -> Vec<u8> {
    let (_, digest) = sha2_digest(cid).expect("nodes are named by sha2-256");
    [&LINK[..], &digest].concat()
}

type Span = (usize, usize);

/// A node, with its bytes and where its entries lie in them.
pub(super) struct Node<'b> {
    pub cid: Cid,
    pub level: u64,
    bytes: Cow<'b, [u8]>,
    entries: Vec<(Span, Span)>,
}

impl<'b> Node<'b> {
    /// Reads a block that hashes to `cid`.
    pub fn decode(cid: Cid, bytes: Cow<'b, [u8]>) -> Result<Self, String> {
        if bytes.len() > NODE_BYTES_MAX {
            return Err(format!("expected at most {NODE_BYTES_MAX} bytes, got {}", bytes.len()));
        }
        let (level, entries) = parse(&bytes).map_err(|error| error.to_string())?;
        let node = Self { cid, level, bytes, entries };
        node.check()?;
        Ok(node)
    }

    /// What holds for a node wherever it stands.
    fn check(&self) -> Result<(), String> {
        if self.level > TREE_LEVEL_MAX {
            return Err(format!("expected a level of at most {TREE_LEVEL_MAX}, got {}", self.level));
        }
        for at in 0..self.len() {
            let (key, value) = (self.key(at), self.value(at));
            if key.len() > TREE_KEY_BYTES_MAX {
                return Err(format!("expected keys of at most {TREE_KEY_BYTES_MAX} bytes, got {}", key.len()));
            }
            if at > 0 && self.key(at - 1) >= key {
                let (last, key) = (self.key(at - 1).escape_ascii(), key.escape_ascii());
                return Err(format!("expected keys sorted and each once, got “{key}” after “{last}”"));
            }
            if self.level > 0 && (value.len() != LINK_BYTES || !value.starts_with(&LINK)) {
                let key = key.escape_ascii();
                return Err(format!("expected a link to a node (CIDv1, dag-cbor, sha2-256) at “{key}”"));
            }
            if value.len() > TREE_VALUE_BYTES_MAX {
                return Err(format!("expected values of at most {TREE_VALUE_BYTES_MAX} bytes, got {}", value.len()));
            }
        }
        Ok(())
    }

    /// What holds for a root: it is the lowest node that has the whole tree below it.
    pub fn check_root(&self) -> Result<(), String> {
        match self.len() {
            0 if self.level > 0 => Err(format!("expected children of a root of level {}, got none", self.level)),
            1 if self.level > 0 => Err("expected at least 2 children of a root, got 1".into()),
            _ => Ok(()),
        }
    }

    /// What holds for the child of a branch of `level`, under `first`, before its neighbour's key `end`.
    pub fn check_child(&self, level: u64, first: &[u8], end: Option<&[u8]>) -> Result<(), String> {
        if self.level + 1 != level {
            return Err(format!("expected level {} below a branch of level {level}, got {}", level - 1, self.level));
        }
        let Some(last) = self.len().checked_sub(1) else {
            return Err("expected entries, got none: only a root may be empty".into());
        };
        if self.key(0) != first {
            let (first, got) = (first.escape_ascii(), self.key(0).escape_ascii());
            return Err(format!("expected the branch's key “{first}” as the first key, got “{got}”"));
        }
        match end {
            Some(end) if self.key(last) >= end => {
                let (end, got) = (end.escape_ascii(), self.key(last).escape_ascii());
                Err(format!("expected keys below “{end}”, the next node's first one, got “{got}”"))
            }
            _ => Ok(()),
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn key(&self, at: usize) -> &[u8] {
        let (start, end) = self.entries[at].0;
        &self.bytes[start..end]
    }

    /// A value's encoding.
    pub fn value(&self, at: usize) -> &[u8] {
        let (start, end) = self.entries[at].1;
        &self.bytes[start..end]
    }

    /// A branch's link.
    pub fn link(&self, at: usize) -> Cid {
        let digest = self.value(at)[LINK.len()..].try_into().expect("checked when it was read");
        sha2_cid(DAG_CBOR, digest)
    }

    /// The first entry whose key isn't smaller.
    pub fn lower_bound(&self, key: &[u8]) -> usize {
        self.entries.partition_point(|((start, end), _)| &self.bytes[*start..*end] < key)
    }

    /// The child that has `key`, if any has it: the last one whose first key isn't greater, else the first.
    pub fn child(&self, key: &[u8]) -> usize {
        let after = self.entries.partition_point(|((start, end), _)| &self.bytes[*start..*end] <= key);
        after.saturating_sub(1)
    }
}

/// How many entries a block has if it is a node.
pub fn entries(block: &[u8]) -> usize {
    let mut reader = Reader::new(block);
    let keys = reader.list(3).and_then(|()| reader.unsigned()).and_then(|_| reader.items());
    keys.unwrap_or(0)
}

fn parse(bytes: &[u8]) -> Result<(u64, Vec<(Span, Span)>), DagCborError> {
    let mut reader = Reader::new(bytes);
    let at = |reader: &Reader<'_>| bytes.len() - reader.left().len();
    reader.list(3)?;
    let level = reader.unsigned()?;
    let keys = reader.items()?;
    let mut entries = Vec::with_capacity(keys);
    for _ in 0..keys {
        let key = reader.bytes()?;
        let end = at(&reader);
        entries.push(((end - key.len(), end), (0, 0)));
    }
    reader.list(keys as u64)?;
    for (_, value) in &mut entries {
        let start = at(&reader);
        reader.skip(DEPTH_MAX - VALUE_DEPTH)?;
        *value = (start, at(&reader));
    }
    reader.end()?;
    Ok((level, entries))
}
