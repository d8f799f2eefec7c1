//! What can go wrong with a tree.

use cid::Cid;

/// Why a tree can't be read or changed. A CID is large, so that words beside it are boxed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProllyError {
    /// A node isn't here. Get it and ask again: nothing was changed, and what was read before will be found again.
    #[error("node {0} is missing")]
    Missing(Cid),
    /// The bytes are another block's.
    #[error("expected the bytes of node {cid}, got those of {got}")]
    Hash {
        /// What was asked for.
        cid: Cid,
        /// The CID of the bytes that came.
        got: Box<str>,
    },
    /// A block that is no node of a tree, or not where it stands.
    #[error("node {cid}: {why}")]
    Node {
        /// The block.
        cid: Cid,
        /// What was expected and what came.
        why: Box<str>,
    },
    /// An entry or operation that a tree can't take.
    #[error("entry “{key}”: {why}")]
    Entry {
        /// The key, escaped where it isn't ASCII.
        key: String,
        /// What was expected and what came.
        why: String,
    },
    /// What keeps the blocks failed.
    #[error("reading node {cid}: {why}")]
    Blocks {
        /// What was asked for.
        cid: Cid,
        /// In the medium's words.
        why: Box<str>,
    },
}

impl ProllyError {
    pub(super) fn node(cid: Cid, why: String) -> Self {
        Self::Node { cid, why: why.into() }
    }

    pub(super) fn blocks(cid: Cid, why: String) -> Self {
        Self::Blocks { cid, why: why.into() }
    }

    pub(super) fn entry(key: &[u8], why: impl Into<String>) -> Self {
        Self::Entry { key: key.escape_ascii().to_string(), why: why.into() }
    }
}
