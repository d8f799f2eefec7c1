//! A HAMT with a name: the name is in errors only, so that "broken state" says which map.

use std::hash::Hasher as _;
use std::marker::PhantomData;

use cid::Cid;
use fvm_ipld_blockstore::Blockstore;
use fvm_ipld_hamt::{BytesKey, Config, Hamt, Hash, HashAlgorithm};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::cid::Hasher;
use crate::error::Abort;

/// Chosen by gas, see ARCHITECTURE.md: bytes written decide, and narrow nodes write fewer.
pub const CONFIG: Config = Config { bit_width: 3, min_data_depth: 0, max_array_width: 1 };

/// Hashes keys with the host's SHA-256.
#[derive(Debug)]
pub struct KeyHash<H>(PhantomData<H>);

#[derive(Default)]
struct Collect(Vec<u8>);

impl std::hash::Hasher for Collect {
    fn finish(&self) -> u64 {
        0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

impl<H: Hasher> HashAlgorithm for KeyHash<H> {
    fn hash<X: Hash + ?Sized>(key: &X) -> [u8; 32] {
        let mut bytes = Collect::default();
        key.hash(&mut bytes);
        debug_assert_eq!(bytes.finish(), 0);
        H::sha2_256(&bytes.0)
    }
}

/// A value that is a byte string.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(#[serde(with = "fvm_ipld_encoding::strict_bytes")] pub Vec<u8>);

/// A named HAMT from byte keys to `V`.
pub struct Map<'s, S, H, V> {
    hamt: Hamt<&'s S, V, BytesKey, KeyHash<H>>,
    name: &'static str,
}

impl<'s, S, H, V> Map<'s, S, H, V>
where
    S: Blockstore,
    H: Hasher,
    V: Serialize + DeserializeOwned + PartialEq,
{
    /// A map without entries.
    pub fn empty(store: &'s S, name: &'static str) -> Self {
        Self { hamt: Hamt::new_with_config(store, CONFIG), name }
    }

    /// The map under `root`.
    pub fn load(store: &'s S, root: &Cid, name: &'static str) -> Result<Self, Abort> {
        let hamt = Hamt::load_with_config(root, store, CONFIG).map_err(|error| broken(name, "load", error))?;
        Ok(Self { hamt, name })
    }

    /// The value under `key`.
    pub fn get(&self, key: &[u8]) -> Result<Option<&V>, Abort> {
        self.hamt.get(key).map_err(|error| broken(self.name, "read", error))
    }

    /// Puts `value` under `key`.
    pub fn set(&mut self, key: &[u8], value: V) -> Result<(), Abort> {
        self.hamt.set(BytesKey(key.to_vec()), value).map(drop).map_err(|error| broken(self.name, "write", error))
    }

    /// Removes `key` and answers what was there.
    pub fn delete(&mut self, key: &[u8]) -> Result<Option<V>, Abort> {
        let deleted = self.hamt.delete(key).map_err(|error| broken(self.name, "delete in", error))?;
        Ok(deleted.map(|(_, value)| value))
    }

    /// Calls `f` with every entry, in the order of the keys' hashes.
    pub fn each(&self, mut f: impl FnMut(&[u8], &V)) -> Result<(), Abort> {
        let all = self.hamt.for_each_cacheless(|key, value| {
            f(&key.0, value);
            Ok(())
        });
        all.map_err(|error| broken(self.name, "walk", error))
    }

    /// Writes what changed and answers the root.
    pub fn flush(&mut self) -> Result<Cid, Abort> {
        self.hamt.flush().map_err(|error| broken(self.name, "flush", error))
    }
}

fn broken(name: &str, verb: &str, error: impl std::fmt::Display) -> Abort {
    Abort::State(format!("failed to {verb} HAMT '{name}': {error}"))
}
