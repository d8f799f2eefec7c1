//! A HAMT with a name and typed values. The name is in errors only, so that "broken state" says which map.

use std::marker::PhantomData;

use cid::Cid;
use fvm_ipld_blockstore::Blockstore;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::cid::Hasher;
use crate::error::Abort;
use crate::hamt::Hamt;

/// A value that is a byte string.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(#[serde(with = "fvm_ipld_encoding::strict_bytes")] pub Vec<u8>);

/// A named HAMT from byte keys to `V`.
pub struct Map<'s, S, H, V> {
    hamt: Hamt<'s, S, H>,
    name: &'static str,
    value: PhantomData<V>,
}

impl<'s, S, H, V> Map<'s, S, H, V>
where
    S: Blockstore,
    H: Hasher,
    V: Serialize + DeserializeOwned,
{
    /// A map without entries.
    pub fn empty(store: &'s S, name: &'static str) -> Self {
        Self { hamt: Hamt::empty(store), name, value: PhantomData }
    }

    /// The map under `root`.
    pub fn load(store: &'s S, root: &Cid, name: &'static str) -> Result<Self, Abort> {
        let hamt = Hamt::load(store, root).map_err(|error| broken(name, "load", error))?;
        Ok(Self { hamt, name, value: PhantomData })
    }

    /// The value under `key`.
    pub fn get(&self, key: &[u8]) -> Result<Option<V>, Abort> {
        self.get_as(key)
    }

    /// The value under a key that is kept for another type.
    pub fn get_as<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, Abort> {
        let found = self.hamt.get(key).map_err(|error| self.broken("read", error))?;
        found.map(|bytes| decode(bytes).map_err(|error| self.broken("read", error))).transpose()
    }

    /// Puts `value` under `key`.
    pub fn set(&mut self, key: &[u8], value: &V) -> Result<(), Abort> {
        self.set_as(key, value)
    }

    /// Puts `value` under a key that is kept for its type.
    pub fn set_as<T: Serialize>(&mut self, key: &[u8], value: &T) -> Result<(), Abort> {
        let encoded = fvm_ipld_encoding::to_vec(value).map_err(|error| self.broken("write", error))?;
        self.hamt.set(key, &encoded).map_err(|error| broken(self.name, "write", error))
    }

    /// Removes `key`; tells whether it was there.
    pub fn delete(&mut self, key: &[u8]) -> Result<bool, Abort> {
        self.hamt.delete(key).map_err(|error| broken(self.name, "delete in", error))
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.hamt.is_empty()
    }

    /// Calls `f` with every entry, in the order of the keys' hashes.
    pub fn each(&self, f: impl FnMut(&[u8], V)) -> Result<(), Abort> {
        self.each_of(|_| true, f)
    }

    /// Calls `f` with every entry whose key is `mine`: others may be kept for another type.
    pub fn each_of<T: DeserializeOwned>(
        &self,
        mine: impl Fn(&[u8]) -> bool,
        mut f: impl FnMut(&[u8], T),
    ) -> Result<(), Abort> {
        let mut each = |key: &[u8], value: &[u8]| {
            if mine(key) {
                f(key, decode(value)?);
            }
            Ok(())
        };
        self.hamt.each(&mut each).map_err(|error| self.broken("walk", error))
    }

    /// Writes what changed and answers the root.
    pub fn flush(&mut self) -> Result<Cid, Abort> {
        self.hamt.flush().map_err(|error| broken(self.name, "flush", error))
    }

    fn broken(&self, verb: &str, error: impl std::fmt::Display) -> Abort {
        broken(self.name, verb, error)
    }
}

fn decode<V: DeserializeOwned>(bytes: &[u8]) -> Result<V, String> {
    fvm_ipld_encoding::from_slice(bytes).map_err(|error| error.to_string())
}

fn broken(name: &str, verb: &str, error: impl std::fmt::Display) -> Abort {
    Abort::State(format!("failed to {verb} HAMT '{name}': {error}"))
}
