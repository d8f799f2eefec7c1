//! Writing CARs as the npm package `car-transaction` does: the same writes give the same bytes.

use std::marker::PhantomData;

use cid::Cid;

use super::archive::{write_header, write_lead};
use crate::cid::{DAG_CBOR, Hasher, RAW, block_cid};
use crate::dag_cbor::{self, Ipld};

/// A header with one of our CIDs, and its length.
const HEADER_BYTES: usize = 59;

/// Collects blocks; the last one written is the root.
#[derive(Debug, Clone)]
pub struct Transaction<H> {
    body: Vec<u8>,
    root: Option<Cid>,
    hasher: PhantomData<H>,
}

/// A transaction without a write has no root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected at least one block before commit, got none: a CAR needs a root")]
pub struct EmptyTransaction;

impl<H> Default for Transaction<H> {
    fn default() -> Self {
        Self { body: Vec::new(), root: None, hasher: PhantomData }
    }
}

impl<H: Hasher> Transaction<H> {
    /// Writes a value: bytes as a `raw` block, anything else as `dag-cbor`. Answers the block's CID.
    ///
    /// # Panics
    /// As [`dag_cbor::encode`]; values from outside pass [`dag_cbor::check`] first.
    pub fn write(&mut self, value: &Ipld) -> Cid {
        match value {
            Ipld::Bytes(bytes) => self.write_block(RAW, bytes),
            value => self.write_block(DAG_CBOR, &dag_cbor::encode(value)),
        }
    }

    /// Writes a block that is encoded already.
    pub fn write_block(&mut self, codec: u64, data: &[u8]) -> Cid {
        let cid = block_cid::<H>(codec, data);
        write_lead(&mut self.body, &cid, data.len());
        self.body.extend(data);
        self.root = Some(cid);
        cid
    }

    /// The CAR: header with the last block as the root, then the blocks in the order of the writes.
    pub fn commit(self) -> Result<Vec<u8>, EmptyTransaction> {
        let root = self.root.ok_or(EmptyTransaction)?;
        let mut out = Vec::with_capacity(HEADER_BYTES + self.body.len());
        write_header(&mut out, &[root]);
        out.extend(self.body);
        Ok(out)
    }
}
