//! CARv1: what a message carries and what a receipt is (ipld.io, specs/transport/car/carv1).
//!
//! Three layers: [`archive`] reads any CAR from outside, [`Car`] is the one that the machine accepts, [`Transaction`] writes.
//! The machine's form leaves nothing to choice: one root, which is among the blocks; CIDv1, sha2-256, `dag-cbor` or `raw`;
//! every block hashed again; every DAG-CBOR block strict; nothing before, between or after. A block may stand twice,
//! because `car-transaction` writes what it is told.

pub mod archive;
mod transaction;

use std::collections::BTreeSet;
use std::ops::Range;

use cid::Cid;

pub use archive::CarError;
pub use transaction::{EmptyTransaction, Transaction};

use crate::cid::{CarId, DAG_CBOR, Hasher, RAW, sha2_cid, sha2_digest};
use crate::dag_cbor::{self, Ipld};
use crate::limits::CAR_BLOCKS_MAX;

/// A CAR in the machine's form, verified.
#[derive(Debug, Clone)]
pub struct Car {
    bytes: Vec<u8>,
    blocks: Vec<Section>,
    root: usize,
}

#[derive(Debug, Clone)]
struct Section {
    codec: u64,
    digest: [u8; 32],
    data: Range<usize>,
}

impl Car {
    /// Reads and verifies a CAR. Errors come in the order of the bytes.
    pub fn decode<H: Hasher>(bytes: Vec<u8>) -> Result<Self, CarError> {
        let archive = archive::open(&bytes)?;
        let &[root] = &archive.roots[..] else { return Err(CarError::Roots(archive.roots.len())) };
        let root_digest = sha2_digest(&root).ok_or_else(|| CarError::Cid(root.to_string()))?;
        let mut blocks = Vec::new();
        let mut found = None;
        for section in archive.sections() {
            let section = section?;
            if blocks.len() == CAR_BLOCKS_MAX {
                return Err(CarError::Blocks);
            }
            let (codec, digest) = sha2_digest(&section.cid).ok_or_else(|| CarError::Cid(section.cid.to_string()))?;
            let data = &bytes[section.data.clone()];
            if H::sha2_256(data) != digest {
                return Err(CarError::Hash(section.cid.to_string()));
            }
            match codec {
                RAW => {}
                DAG_CBOR => {
                    dag_cbor::validate(data).map_err(|error| CarError::DagCbor(section.cid.to_string(), error))?
                }
                _ => return Err(CarError::Cid(section.cid.to_string())),
            }
            if (codec, digest) == root_digest {
                found.get_or_insert(blocks.len());
            }
            blocks.push(Section { codec, digest, data: section.data });
        }
        let root = found.ok_or_else(|| CarError::RootAbsent(root.to_string()))?;
        Ok(Self { bytes, blocks, root })
    }

    /// The CAR's name: the hash of all of its bytes.
    pub fn id<H: Hasher>(&self) -> CarId {
        CarId::of::<H>(&self.bytes)
    }

    /// The CAR as it travels.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The CAR as it travels, without a copy.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// CID of the root block.
    pub fn root(&self) -> Cid {
        let root = &self.blocks[self.root];
        sha2_cid(root.codec, &root.digest)
    }

    /// The root block's value. A `raw` root is bytes.
    pub fn root_value(&self) -> Ipld {
        self.value_of(&self.blocks[self.root])
    }

    /// The block that a link names, if it travels along.
    pub fn block(&self, cid: &Cid) -> Option<&[u8]> {
        self.find(cid).map(|section| &self.bytes[section.data.clone()])
    }

    /// The value that a link names, if it travels along.
    pub fn value(&self, cid: &Cid) -> Option<Ipld> {
        self.find(cid).map(|section| self.value_of(section))
    }

    /// All blocks in the order of the file.
    pub fn blocks(&self) -> impl Iterator<Item = (Cid, &[u8])> {
        self.blocks.iter().map(|section| (sha2_cid(section.codec, &section.digest), &self.bytes[section.data.clone()]))
    }

    /// Begins a CAR with the blocks of this one that `wanted` names, directly or through others, in the order of this one.
    /// The caller writes the root.
    ///
    /// Who wrote this CAR chose how many links there are and how often they repeat: each block is looked at once.
    pub fn pack<H: Hasher>(&self, mut wanted: Vec<Cid>) -> Result<Transaction<H>, CarError> {
        let blocks = dag_cbor::collected(self.blocks());
        let mut found = BTreeSet::new();
        while let Some(cid) = wanted.pop() {
            let Some(data) = blocks.get(&cid) else { continue };
            if found.insert(cid) && cid.codec() == DAG_CBOR {
                let value = dag_cbor::decode(data).map_err(|error| CarError::DagCbor(cid.to_string(), error))?;
                dag_cbor::links(&value, &mut wanted);
            }
        }
        if found.len() >= CAR_BLOCKS_MAX {
            return Err(CarError::Blocks);
        }
        let mut transaction = Transaction::default();
        for (cid, data) in self.blocks() {
            // A block that stands twice is written once.
            if found.remove(&cid) {
                transaction.write_block(cid.codec(), data);
            }
        }
        Ok(transaction)
    }

    fn find(&self, cid: &Cid) -> Option<&Section> {
        let (codec, digest) = sha2_digest(cid)?;
        self.blocks.iter().find(|section| section.digest == digest && section.codec == codec)
    }

    fn value_of(&self, section: &Section) -> Ipld {
        let data = &self.bytes[section.data.clone()];
        match section.codec {
            DAG_CBOR => dag_cbor::decode(data).expect("validated when the CAR was decoded"),
            _ => Ipld::Bytes(data.to_vec()),
        }
    }
}
