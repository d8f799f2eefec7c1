//! Tipsets, their keys, and how the head moves.

use std::fmt;

use cid::Cid;
use fvm_ipld_encoding::{BytesSer, to_vec};
use fvm_shared::clock::ChainEpoch;
use serde::{Deserialize, Serialize};

use super::cbor::{CborError, blake2b_cid};
use super::header::BlockHeader;
use super::lotus;

/// Names a tipset by the CIDs of its blocks, in their order; empty for "the heaviest one".
///
/// Written as an array, read from an array or null.
///
/// lotus:chain/types/tipset_key.go `TipSetKey`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TipsetKey(#[serde(with = "lotus")] pub Vec<Cid>);

impl TipsetKey {
    /// The empty key: the node takes its head.
    pub const HEAD: Self = Self(Vec::new());

    /// Whether the key leaves the choice to the node.
    pub fn is_head(&self) -> bool {
        self.0.is_empty()
    }

    /// One CID for the whole key, by which Ethereum tools and Lotus' index know the tipset.
    pub fn cid(&self) -> Cid {
        let bytes: Vec<u8> = self.0.iter().flat_map(Cid::to_bytes).collect();
        // A byte string always encodes.
        blake2b_cid(&to_vec(&BytesSer(&bytes)).unwrap_or_default())
    }
}

impl From<Vec<Cid>> for TipsetKey {
    fn from(cids: Vec<Cid>) -> Self {
        Self(cids)
    }
}

impl fmt::Display for TipsetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, cid) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{cid}")?;
        }
        f.write_str("}")
    }
}

/// Blocks of one epoch with the same parents.
///
/// lotus:chain/types/tipset.go `ExpTipSet`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tipset {
    /// The CIDs of `blocks`, in the same order.
    #[serde(with = "lotus")]
    pub cids: Vec<Cid>,
    /// At least one, ordered by ticket.
    pub blocks: Vec<BlockHeader>,
    /// The epoch.
    pub height: ChainEpoch,
}

/// Why something that calls itself a tipset is none.
#[derive(Debug, thiserror::Error)]
pub enum TipsetError {
    /// There is nothing in it.
    #[error("expected a tipset, got one without blocks")]
    Empty,
    /// `Cids` and `Blocks` are not the same blocks.
    #[error("tipset {key}: block {index} is {actual} by its content")]
    Cid {
        /// What the tipset says of itself.
        key: TipsetKey,
        /// Which of its blocks.
        index: usize,
        /// What that block hashes to.
        actual: Box<Cid>,
    },
    /// There are more CIDs than blocks, or fewer.
    #[error("tipset {key}: {cids} CIDs for {blocks} blocks")]
    Count {
        /// What the tipset says of itself.
        key: TipsetKey,
        /// The number of CIDs.
        cids: usize,
        /// The number of blocks.
        blocks: usize,
    },
    /// Blocks differ in what is one for the whole tipset.
    #[error("tipset {key}: block {index} has another height or other parents than the tipset")]
    Mixed {
        /// What the tipset says of itself.
        key: TipsetKey,
        /// Which of its blocks.
        index: usize,
    },
    /// A block has no CBOR form.
    #[error(transparent)]
    Cbor(#[from] CborError),
}

impl Tipset {
    /// The tipset of one block.
    pub fn from_block(block: BlockHeader) -> Result<Self, CborError> {
        let cids = vec![block.cid()?];
        Ok(Self { cids, height: block.height, blocks: vec![block] })
    }

    /// The tipset's name.
    pub fn key(&self) -> TipsetKey {
        TipsetKey(self.cids.clone())
    }

    /// The name of the tipset before; empty for genesis.
    pub fn parents(&self) -> TipsetKey {
        self.blocks.first().map(|b| TipsetKey(b.parents.clone())).unwrap_or_default()
    }

    /// Hashes the blocks and compares all that a tipset says of itself.
    ///
    /// A node is outside input: call this before trusting a tipset's links.
    pub fn check(&self) -> Result<(), TipsetError> {
        let key = self.key();
        let Some(first) = self.blocks.first() else {
            return Err(TipsetError::Empty);
        };
        let (cids, blocks) = (self.cids.len(), self.blocks.len());
        if cids != blocks {
            return Err(TipsetError::Count { key, cids, blocks });
        }
        for (index, (block, cid)) in self.blocks.iter().zip(&self.cids).enumerate() {
            if block.height != self.height || block.parents != first.parents {
                return Err(TipsetError::Mixed { key, index });
            }
            let actual = block.cid()?;
            if actual != *cid {
                return Err(TipsetError::Cid { key, index, actual: Box::new(actual) });
            }
        }
        Ok(())
    }
}

/// How the head moves.
///
/// lotus:chain/store/store.go `HCRevert`, `HCApply`, `HCCurrent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeadChangeType {
    /// The head when the subscription began.
    Current,
    /// The tipset became the head.
    Apply,
    /// The tipset, which was the head, is no longer on the chain.
    Revert,
}

/// One step of the head.
///
/// lotus:api/api_full.go `HeadChange`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HeadChange {
    /// Which way.
    pub r#type: HeadChangeType,
    /// The tipset that came or went.
    pub val: Tipset,
}
