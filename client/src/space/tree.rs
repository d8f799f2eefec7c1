//! Trees of a replica: what its head says, and what it says with all edits that wait.

use std::collections::BTreeMap;
use std::ops::Bound;

use bucket_core::cid::{Cid, NativeHasher, sha2_digest};
use bucket_core::dag_cbor::{self, Ipld};
use bucket_core::prolly::{self, Blocks, Change, Layered, Op, ProllyError, Tree};

use super::SpaceError;
use super::model::{Changes, State};

/// Operations in the order and form that trees take.
pub fn sorted(changes: &Changes) -> Vec<Op> {
    changes.iter().map(|(key, value)| (key.clone().into_bytes(), value.clone())).collect()
}

/// The SHA-256 by which a block is kept; `None` for one of another hash, which nobody here could check.
pub fn digest(cid: &Cid) -> Option<[u8; 32]> {
    sha2_digest(cid).map(|(_, digest)| digest)
}

/// The links of a value that blocks can be had for.
pub fn links(value: &Ipld) -> Vec<Cid> {
    let mut links = Vec::new();
    dag_cbor::links(value, &mut links);
    links.retain(|cid| digest(cid).is_some());
    links
}

/// A space with all that waits. What the waiting edits write is in memory only.
pub struct View<B> {
    blocks: Layered<BTreeMap<Cid, Vec<u8>>, B>,
    head: Cid,
    root: Cid,
}

/// Some entries of a view.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Page {
    /// In the order of their keys.
    pub entries: Vec<(String, Ipld)>,
    /// The last key, when more follow.
    pub next: Option<String>,
}

impl<B: Blocks> View<B> {
    /// Applies what waits over the head's tree. Reads only nodes that it falls into.
    pub fn new(state: &State, blocks: B) -> Result<Self, SpaceError> {
        let written = Tree::<_, NativeHasher>::new(&blocks, state.head.root).apply(&sorted(&state.changes()))?;
        Ok(Self {
            blocks: Layered(written.nodes.into_iter().collect(), blocks),
            head: state.head.root,
            root: written.root,
        })
    }

    /// Root of the tree with all that waits: the same wherever the same is known.
    pub fn root(&self) -> Cid {
        self.root
    }

    /// What the waiting edits change of the head.
    pub fn changes(&self) -> Result<Vec<Change>, SpaceError> {
        Ok(Tree::<_, NativeHasher>::new(&self.blocks, self.head).diff(&self.root)?.changes)
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Result<Option<Ipld>, SpaceError> {
        Ok(Tree::<_, NativeHasher>::new(&self.blocks, self.root).get(key.as_bytes())?)
    }

    /// Entries whose keys begin with `prefix`, after the key `after`, at most `limit`.
    pub fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Page, SpaceError> {
        let (mut from, to) = prolly::prefix(prefix.as_bytes());
        if let Some(after) = after.filter(|after| *after >= prefix) {
            from = Bound::Excluded(after.as_bytes().to_vec());
        }
        let (from, to) = (from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice));
        if let (Bound::Excluded(from), Bound::Excluded(to)) = (from, to)
            && from >= to
        {
            return Ok(Page::default());
        }
        let page = Tree::<_, NativeHasher>::new(&self.blocks, self.root).range((from, to), limit)?;
        let text = |(key, value): (Vec<u8>, Ipld)| {
            let shown = || {
                SpaceError::Tree(ProllyError::Entry {
                    key: key.escape_ascii().to_string(),
                    why: "expected text, got other bytes".into(),
                })
            };
            Ok((String::from_utf8(key.clone()).map_err(|_| shown())?, value))
        };
        let entries = page.entries.into_iter().map(text).collect::<Result<Vec<_>, SpaceError>>()?;
        let next = entries.last().filter(|_| page.more).map(|(key, _)| key.clone());
        Ok(Page { entries, next })
    }
}
