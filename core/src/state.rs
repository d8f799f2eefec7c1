//! The actor's state root.

use cid::Cid;
use fvm_ipld_blockstore::Blockstore;
use fvm_ipld_encoding::CborStore;
use fvm_ipld_encoding::tuple::*;
use multihash_codetable::Code;

use crate::bucket::Bucket;
use crate::cid::Hasher;
use crate::did::BucketId;
use crate::error::Abort;
use crate::map::Map;

/// The block that the actor's head names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct State {
    /// HAMT\[BucketId\]Bucket.
    pub buckets: Cid,
}

/// HAMT\[BucketId\]Bucket.
pub type Buckets<'s, S, H> = Map<'s, S, H, Bucket>;

impl State {
    /// The state of an actor without buckets; answers its root.
    pub fn create<S: Blockstore, H: Hasher>(store: &S) -> Result<Cid, Abort> {
        let buckets = Buckets::<S, H>::empty(store, "buckets").flush()?;
        State { buckets }.save(store)
    }

    /// The state under `root`.
    pub fn load<S: Blockstore>(store: &S, root: &Cid) -> Result<Self, Abort> {
        match store.get_cbor(root) {
            Ok(Some(state)) => Ok(state),
            Ok(None) => Err(Abort::State(format!("the state root {root} is missing"))),
            Err(error) => Err(Abort::State(format!("failed to load the state root {root}: {error}"))),
        }
    }

    /// Writes the block and answers its CID.
    pub fn save<S: Blockstore>(&self, store: &S) -> Result<Cid, Abort> {
        store
            .put_cbor(self, Code::Blake2b256)
            .map_err(|error| Abort::State(format!("failed to save the state root: {error}")))
    }

    /// The HAMT of buckets.
    pub fn buckets<'s, S: Blockstore, H: Hasher>(&self, store: &'s S) -> Result<Buckets<'s, S, H>, Abort> {
        Buckets::load(store, &self.buckets, "buckets")
    }

    /// A bucket's record, or [`Abort::BucketUnknown`].
    pub fn bucket<S: Blockstore, H: Hasher>(&self, store: &S, id: &BucketId) -> Result<Bucket, Abort> {
        let buckets = self.buckets::<S, H>(store)?;
        buckets.get(id.as_str().as_bytes())?.cloned().ok_or_else(|| Abort::BucketUnknown(id.clone()))
    }
}
