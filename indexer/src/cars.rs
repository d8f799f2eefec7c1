//! Bytes of CARs, in an object store under their own names.
//!
//! They are written before the transaction that names them. What a crash leaves over is written again under the same name
//! with the same bytes.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use bucket_core::cid::{CarId, NativeHasher};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::local::LocalFileSystem;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::cache::Cache;

/// CARs that are kept in memory.
const CACHE_BYTES: usize = 32 << 20;

/// Files that are written at once.
const WRITERS: usize = 8;

/// The CARs of inputs and receipts.
#[derive(Clone)]
pub struct Cars {
    objects: Arc<dyn ObjectStore>,
    cache: Arc<Cache<CarId>>,
}

/// The last two characters of a CID are evenly spread; the first are the same for all.
fn path(id: &CarId) -> object_store::path::Path {
    let name = id.to_string();
    let shard = &name[name.len() - 2..];
    object_store::path::Path::from(format!("{shard}/{name}.car"))
}

impl Cars {
    /// CARs in the folder `dir`, which is made when it isn't there.
    pub fn open(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("failed to make {}", dir.display()))?;
        let objects =
            LocalFileSystem::new_with_prefix(dir).with_context(|| format!("failed to open {}", dir.display()))?;
        Ok(Self::new(Arc::new(objects)))
    }

    /// CARs in any object store.
    pub fn new(objects: Arc<dyn ObjectStore>) -> Self {
        Self { objects, cache: Arc::new(Cache::new(CACHE_BYTES)) }
    }

    /// Writes CARs; those that are there already are written again.
    pub async fn put_all(&self, cars: Vec<(CarId, Vec<u8>)>) -> Result<()> {
        let put = |(id, bytes): (CarId, Vec<u8>)| async move {
            let bytes = Bytes::from(bytes);
            self.objects
                .put(&path(&id), bytes.clone().into())
                .await
                .with_context(|| format!("failed to write {id}"))?;
            self.cache.put(id, bytes);
            Ok(())
        };
        stream::iter(cars).map(put).buffer_unordered(WRITERS).try_collect().await
    }

    /// A CAR's bytes, checked against their name when they don't come from memory.
    pub async fn get(&self, id: &CarId) -> Result<Option<Bytes>> {
        if let Some(bytes) = self.cache.get(id) {
            return Ok(Some(bytes));
        }
        let bytes = match self.objects.get(&path(id)).await {
            Ok(object) => object.bytes().await.with_context(|| format!("failed to read {id}"))?,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("failed to read {id}")),
        };
        anyhow::ensure!(CarId::of::<NativeHasher>(&bytes) == *id, "the file of CAR {id} holds something else");
        self.cache.put(*id, bytes.clone());
        Ok(Some(bytes))
    }
}
