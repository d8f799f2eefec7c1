//! The actor's state: HAMT\[BucketId\]Bucket. The actor's head is the map's root itself, because a block in between would cost
//! every message about 0.9 million gas. One key is no DID: [`STAGES`].

use cid::Cid;
use fvm_ipld_blockstore::Blockstore;

use crate::bucket::Bucket;
use crate::cid::Hasher;
use crate::did::BucketId;
use crate::error::Abort;
use crate::map::Map;

/// The key under which the root of what is staged is kept; see [`crate::stage`].
pub const STAGES: &[u8] = b"stages";

/// Whether a key of the state is a bucket's.
pub fn is_bucket(key: &[u8]) -> bool {
    key != STAGES
}

/// HAMT\[BucketId\]Bucket.
pub type Buckets<'s, S, H> = Map<'s, S, H, Bucket>;

/// Writes the state of an actor without buckets; answers its root.
pub fn create<S: Blockstore, H: Hasher>(store: &S) -> Result<Cid, Abort> {
    Buckets::<S, H>::empty(store, "buckets").flush()
}

/// The buckets under the state root `root`.
pub fn buckets<'s, S: Blockstore, H: Hasher>(store: &'s S, root: &Cid) -> Result<Buckets<'s, S, H>, Abort> {
    Buckets::load(store, root, "buckets")
}

/// A bucket's record, or [`Abort::BucketUnknown`].
pub fn bucket<S: Blockstore, H: Hasher>(store: &S, root: &Cid, id: &BucketId) -> Result<Bucket, Abort> {
    let bucket = buckets::<S, H>(store, root)?.get(id.as_str().as_bytes())?;
    bucket.ok_or_else(|| Abort::BucketUnknown(id.clone()))
}
