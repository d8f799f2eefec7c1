//! Cells that several threads of a native host change at once.
#![expect(clippy::disallowed_types, reason = "the machine has no threads; who uses this is outside of it")]

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use super::{Cells, Path, Swap};
use crate::cid::{Cid, DAG_CBOR, Hasher, NativeHasher, block_cid};
use crate::error::{Abort, Error};

/// Cells in memory, for any number of threads: `&Shared` is [`Cells`]. The lock is held while a cell is read or compared and
/// replaced, and not while an update runs.
#[derive(Debug, Default)]
pub struct Shared {
    cells: Mutex<BTreeMap<Path, Vec<u8>>>,
}

impl Shared {
    fn lock(&self) -> Result<MutexGuard<'_, BTreeMap<Path, Vec<u8>>>, Error> {
        self.cells.lock().map_err(|_| Abort::State("a thread panicked while it held the cells".into()).into())
    }
}

impl Cells for &Shared {
    fn sha2_256(&self, bytes: &[u8]) -> [u8; 32] {
        NativeHasher::sha2_256(bytes)
    }

    fn load(&self, path: &Path) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.lock()?.get(path).cloned())
    }

    fn swap(&mut self, path: &Path, seen: Option<Cid>, next: Vec<u8>) -> Result<Swap, Error> {
        let mut cells = self.lock()?;
        let version = cells.get(path).map(|bytes| block_cid::<NativeHasher>(DAG_CBOR, bytes));
        if version != seen {
            return Ok(Swap::Conflict);
        }
        cells.insert(path.clone(), next);
        Ok(Swap::Swapped)
    }
}
