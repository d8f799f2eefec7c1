//! The blocks of a replica, each for as long as something needs it.
//!
//! - `NODES` is the head's tree and nothing else. What comes of a later head, over several requests, lies in `COMING`, which is
//!   emptied when a head is taken.
//! - `LINKS` counts the values with a link: of the head's tree, of edits that wait, and of own ones whose pushes aren't final.
//!   As long as one has it, its block is in `BLOCKS`, or it is `WANTED`.

use std::borrow::Cow;

use bucket_core::cid::{Cid, Hasher as _, NativeHasher};
use bucket_core::dag_cbor::Ipld;
use bucket_core::prolly::{Blocks, Tree};
use bucket_protocols::space::head::Head;

use super::SpaceError;
use super::edit::Edit;
use super::kept::{Evidence, Holds as _};
use super::store::{BLOCKS, COMING, Change, EDITS, LINKS, NODES, OWN, Read, Table, WANTED};
use super::tree::{digest, links};

/// The nodes of a transaction. A tree hashes them again, so that a broken disk is found out.
pub struct Nodes<'a, K>(pub &'a K);

impl<K: Read> Blocks for Nodes<'_, K> {
    fn get(&self, cid: &Cid) -> Result<Option<Cow<'_, [u8]>>, String> {
        let Some(digest) = digest(cid) else { return Ok(None) };
        let found = match self.0.get(NODES, &digest) {
            Ok(None) => self.0.get(COMING, &digest),
            found => found,
        };
        Ok(found.map_err(|error| error.to_string())?.map(Cow::Owned))
    }

    fn has(&self, cid: &Cid) -> Result<bool, String> {
        let Some(digest) = digest(cid) else { return Ok(false) };
        let here = |table| self.0.has(table, &digest).map_err(|error| error.to_string());
        Ok(here(NODES)? || here(COMING)?)
    }
}

/// A link's row, behind those of the same block by other CIDs.
fn row(digest: [u8; 32], link: &Cid) -> Vec<u8> {
    [&digest[..], &link.to_bytes()].concat()
}

impl Change {
    /// Keeps a node, or the evidence, of a head that is on its way here.
    pub fn put_coming(&self, bytes: &[u8]) -> Result<(), SpaceError> {
        self.put(COMING, &NativeHasher::sha2_256(bytes), bytes)
    }

    /// Keeps a block that a value links to. Any other is left.
    pub fn put_block(&self, bytes: &[u8]) -> Result<(), SpaceError> {
        let digest = NativeHasher::sha2_256(bytes);
        if self.below(LINKS, &digest)?.is_empty() {
            return Ok(());
        }
        self.put(BLOCKS, &digest, bytes)?;
        self.clear(WANTED, &digest)
    }

    /// Notes that a block was asked for in vain.
    pub fn not_found(&self, link: &Cid) -> Result<(), SpaceError> {
        match digest(link).map(|digest| row(digest, link)) {
            Some(row) if self.has(WANTED, &row)? => self.put(WANTED, &row, &[1]),
            _ => Ok(()),
        }
    }

    /// Keeps an edit, and what it links to.
    pub(super) fn put_edit(&self, table: Table, edit: &Edit) -> Result<(), SpaceError> {
        self.put(table, &edit.cid.to_bytes(), &edit.bytes)?;
        edit.ops.changes().filter_map(|(_, value)| value).try_for_each(|value| self.hold(value))
    }

    /// Takes away an edit that is here.
    pub(super) fn del_edit(&self, table: Table, edit: &Edit) -> Result<(), SpaceError> {
        self.del(table, &edit.cid.to_bytes())?;
        edit.ops.changes().filter_map(|(_, value)| value).try_for_each(|value| self.release(value))
    }

    /// Takes the nodes of a head's tree for those of another, and counts what their values link to.
    pub(super) fn put_tree(&self, old: &Head, new: &Head) -> Result<(), SpaceError> {
        let blocks = Nodes(self);
        // Reads all nodes that are new, so that none is missing afterwards.
        let news = Tree::<_, NativeHasher>::new(&blocks, old.root).diff(&new.root)?;
        let gone = Tree::<_, NativeHasher>::new(&blocks, new.root).diff(&old.root)?.nodes;
        for digest in news.nodes.iter().filter_map(digest) {
            if let Some(node) = self.get(COMING, &digest)? {
                self.put(NODES, &digest, &node)?;
            }
        }
        gone.iter().filter_map(digest).try_for_each(|digest| self.del(NODES, &digest))?;
        self.clear(COMING, &[])?;
        // What only moved stays.
        news.changes.iter().filter_map(|change| change.after.as_ref()).try_for_each(|value| self.hold(value))?;
        news.changes.iter().filter_map(|change| change.before.as_ref()).try_for_each(|value| self.release(value))
    }

    fn hold(&self, value: &Ipld) -> Result<(), SpaceError> {
        for (digest, link) in links(value).iter().filter_map(|link| Some((digest(link)?, link))) {
            let row = row(digest, link);
            let count = self.count(&row)?;
            self.put(LINKS, &row, &(count + 1).to_be_bytes())?;
            if count == 0 && !self.has(BLOCKS, &digest)? {
                self.put(WANTED, &row, &[])?;
            }
        }
        Ok(())
    }

    fn release(&self, value: &Ipld) -> Result<(), SpaceError> {
        for (digest, link) in links(value).iter().filter_map(|link| Some((digest(link)?, link))) {
            let row = row(digest, link);
            match self.count(&row)? {
                0 | 1 => {
                    self.del(LINKS, &row)?;
                    self.del(WANTED, &row)?;
                }
                count => self.put(LINKS, &row, &(count - 1).to_be_bytes())?,
            }
            if self.below(LINKS, &digest)?.is_empty() {
                self.del(BLOCKS, &digest)?;
            }
        }
        Ok(())
    }

    fn count(&self, row: &[u8]) -> Result<u64, SpaceError> {
        let count = self.get(LINKS, row)?.and_then(|count| count.try_into().ok());
        Ok(count.map_or(0, u64::from_be_bytes))
    }
}

/// Brings a file of the first layout, or a new one, to the present one.
pub(super) fn upgrade(kept: &Change) -> Result<(), SpaceError> {
    let old = kept.below(BLOCKS, &[])?;
    let (head, (car, signed)) = (kept.head()?, kept.evidence()?);
    let signed = signed.map(|id| kept.get(BLOCKS, &id.0)).transpose()?.flatten();
    kept.clear(BLOCKS, &[])?;
    kept.clear(WANTED, &[])?;
    for table in [EDITS, OWN] {
        for (_, bytes) in kept.below(table, &[])? {
            kept.put_edit(table, &Edit::kept(bytes)?)?;
        }
    }
    old.iter().try_for_each(|(_, block)| kept.put_coming(block))?;
    kept.put_tree(&Head::empty::<NativeHasher>(), &head)?;
    kept.set_evidence(&Evidence { car, signed })?;
    old.iter().try_for_each(|(_, block)| kept.put_block(block))
}
