//! Where a tree's nodes come from: memory, a database, a CAR, one behind the other.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;

use cid::Cid;

use crate::car::Car;

/// Blocks by CID, to read. What a tree writes is handed back instead ([`super::Written`]), so that reading from a witness
/// and writing elsewhere needs nothing.
pub trait Blocks {
    /// The block's bytes, or `None` where it isn't here. The error is that of the medium, in words.
    fn get(&self, cid: &Cid) -> Result<Option<Cow<'_, [u8]>>, String>;

    /// Whether the block is here.
    fn has(&self, cid: &Cid) -> Result<bool, String> {
        Ok(self.get(cid)?.is_some())
    }

    /// Whether bytes were hashed before they came here, and can't have changed since. If not, each node is hashed again.
    fn hashed(&self) -> bool {
        false
    }
}

impl<B: Blocks + ?Sized> Blocks for &B {
    fn get(&self, cid: &Cid) -> Result<Option<Cow<'_, [u8]>>, String> {
        (**self).get(cid)
    }

    fn has(&self, cid: &Cid) -> Result<bool, String> {
        (**self).has(cid)
    }

    fn hashed(&self) -> bool {
        (**self).hashed()
    }
}

/// Blocks in memory.
impl Blocks for BTreeMap<Cid, Vec<u8>> {
    fn get(&self, cid: &Cid) -> Result<Option<Cow<'_, [u8]>>, String> {
        Ok(BTreeMap::get(self, cid).map(|bytes| Cow::Borrowed(&bytes[..])))
    }

    fn has(&self, cid: &Cid) -> Result<bool, String> {
        Ok(self.contains_key(cid))
    }
}

/// A CAR's blocks, which its decoder hashed.
impl Blocks for Car {
    fn get(&self, cid: &Cid) -> Result<Option<Cow<'_, [u8]>>, String> {
        Ok(self.block(cid).map(Cow::Borrowed))
    }

    fn hashed(&self) -> bool {
        true
    }
}

/// Blocks of the first, else of the second.
pub struct Layered<A, B>(pub A, pub B);

impl<A: Blocks, B: Blocks> Blocks for Layered<A, B> {
    fn get(&self, cid: &Cid) -> Result<Option<Cow<'_, [u8]>>, String> {
        match self.0.get(cid)? {
            Some(bytes) => Ok(Some(bytes)),
            None => self.1.get(cid),
        }
    }

    fn has(&self, cid: &Cid) -> Result<bool, String> {
        Ok(self.0.has(cid)? || self.1.has(cid)?)
    }

    fn hashed(&self) -> bool {
        self.0.hashed() && self.1.hashed()
    }
}

/// Keeps what was read: the witness with which somebody who has nothing but the root can do the same again.
pub struct Recording<B> {
    blocks: B,
    read: RefCell<BTreeMap<Cid, Vec<u8>>>,
}

impl<B> Recording<B> {
    /// Nothing is read yet.
    pub fn new(blocks: B) -> Self {
        Self { blocks, read: RefCell::default() }
    }

    /// Each block that was read, once.
    pub fn into_read(self) -> BTreeMap<Cid, Vec<u8>> {
        self.read.into_inner()
    }
}

impl<B: Blocks> Blocks for Recording<B> {
    fn get(&self, cid: &Cid) -> Result<Option<Cow<'_, [u8]>>, String> {
        let found = self.blocks.get(cid)?;
        if let Some(bytes) = &found {
            self.read.borrow_mut().entry(*cid).or_insert_with(|| bytes.to_vec());
        }
        Ok(found)
    }

    fn hashed(&self) -> bool {
        self.blocks.hashed()
    }
}
