//! Where nodes end: entries of one level go in from the left, nodes come out.

use std::marker::PhantomData;

use cid::Cid;

use super::node::link;
use super::{FACTOR, MAX, MIN};
use crate::cid::{DAG_CBOR, Hasher, block_cid};
use crate::dag_cbor::{write_bytes, write_list, write_unsigned};

/// A hash whose last four bytes are at most this ends a node.
const THRESHOLD: u32 = u32::MAX / FACTOR;

/// A node as it is written.
pub(super) struct Piece {
    pub first: Vec<u8>,
    pub cid: Cid,
    pub bytes: Vec<u8>,
}

/// Makes nodes of one level's entries.
pub(super) struct Chunker<H> {
    level: u64,
    first: Vec<u8>,
    len: usize,
    /// The encoded keys, and values, of the node that is open.
    keys: Vec<u8>,
    values: Vec<u8>,
    /// What is hashed; kept for its memory.
    scratch: Vec<u8>,
    pub pieces: Vec<Piece>,
    hasher: PhantomData<H>,
}

/// Bytes of the head of an integer or a list's length.
fn head_len(n: usize) -> usize {
    match n {
        0..=23 => 1,
        24..=0xff => 2,
        0x100..=0xffff => 3,
        _ => 5,
    }
}

impl<H: Hasher> Chunker<H> {
    pub fn new(level: u64) -> Self {
        let (first, keys, values, scratch, pieces) = Default::default();
        Self { level, first, len: 0, keys, values, scratch, pieces, hasher: PhantomData }
    }

    /// Whether the next entry begins a node.
    pub fn is_between(&self) -> bool {
        self.len == 0
    }

    /// The next entry, with its value's encoding.
    pub fn push(&mut self, key: &[u8], value: &[u8]) {
        if self.len == 0 {
            self.first.extend(key);
        }
        self.len += 1;
        write_bytes(&mut self.keys, key);
        self.values.extend(value);
        if self.ends(key, value) {
            self.end();
        }
    }

    /// Whether the node that is open ends behind this entry, its last one.
    fn ends(&mut self, key: &[u8], value: &[u8]) -> bool {
        let heads = 1 + head_len(self.level as usize) + 2 * head_len(self.len);
        let size = heads + self.keys.len() + self.values.len();
        if !(MIN..MAX).contains(&size) {
            return size >= MAX;
        }
        self.scratch.clear();
        self.scratch.extend(key);
        self.scratch.extend(value);
        let [.., a, b, c, d] = H::sha2_256(&self.scratch);
        u32::from_be_bytes([a, b, c, d]) <= THRESHOLD
    }

    /// Ends the node that is open, if one is.
    pub fn end(&mut self) {
        if self.len == 0 {
            return;
        }
        let mut bytes = Vec::with_capacity(16 + self.keys.len() + self.values.len());
        write_list(&mut bytes, 3);
        write_unsigned(&mut bytes, self.level);
        write_list(&mut bytes, self.len);
        bytes.append(&mut self.keys);
        write_list(&mut bytes, self.len);
        bytes.append(&mut self.values);
        let cid = block_cid::<H>(DAG_CBOR, &bytes);
        self.len = 0;
        self.pieces.push(Piece { first: std::mem::take(&mut self.first), cid, bytes });
    }
}

/// Puts branches above a level until one node is left. `row` is that level, of at least one node.
pub(super) fn raise<H: Hasher>(mut level: u64, mut row: Vec<(Vec<u8>, Cid)>, nodes: &mut Vec<(Cid, Vec<u8>)>) -> Cid {
    while row.len() > 1 {
        level += 1;
        let mut chunker = Chunker::<H>::new(level);
        row.iter().for_each(|(first, cid)| chunker.push(first, &link(cid)));
        chunker.end();
        row.clear();
        for piece in chunker.pieces {
            row.push((piece.first, piece.cid));
            nodes.push((piece.cid, piece.bytes));
        }
    }
    row[0].1
}
