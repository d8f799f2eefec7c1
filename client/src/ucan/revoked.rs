//! Which delegations the chain says were taken back: marks among a bucket's entries, read out of the chain's state block by
//! block, each hashed. What they mean is in `bucket_core::authority`.

use std::cell::Cell;
use std::collections::BTreeMap;

use bucket_core::authority::Revocations as Marks;
use bucket_core::bucket::Entries;
use bucket_core::cid::{Cid, Hasher as _, NativeHasher};
use bucket_core::did::BucketId;
use bucket_core::ucan::Delegation;
use bucket_rpc::json::blake2b_cid;
use fvm_ipld_blockstore::Blockstore;

use crate::actor::ActorClient;
use crate::error::ClientError;
use crate::proof::ReadBlock as _;

/// A delegation, by its name, and who took it back.
pub type Mark = (Cid, BucketId);

/// All marks that would end a chain of delegations: of each the bucket's, its issuer's, and those of the issuers before.
pub fn marks<'a>(bucket: &BucketId, chain: impl IntoIterator<Item = &'a Delegation>) -> impl Iterator<Item = Mark> {
    let mut issuers = vec![bucket.clone()];
    chain.into_iter().flat_map(move |delegation| {
        issuers.push(delegation.iss.clone());
        issuers.clone().into_iter().map(|issuer| (delegation.cid, issuer))
    })
}

/// The revocations of a bucket, as of one moment.
pub struct Revocations {
    client: ActorClient,
    entries: Cid,
    blocks: Blocks,
}

impl ActorClient {
    /// The revocations of a bucket, as of now.
    pub async fn revocations(&self, bucket: &BucketId) -> Result<Revocations, ClientError> {
        let entries = self.bucket(bucket).await?.root;
        Ok(Revocations { client: self.clone(), entries, blocks: Blocks::default() })
    }
}

impl Revocations {
    /// Whether this one took that delegation back.
    pub async fn has(&mut self, (delegation, by): &Mark) -> Result<bool, ClientError> {
        let any = [&[Marks::NUMBER], delegation.hash().digest()].concat();
        let own = [&any[..], &NativeHasher::sha2_256(by.as_str().as_bytes())].concat();
        Ok(self.entry(&any).await? && self.entry(&own).await?)
    }

    /// The first of these marks that is there.
    pub async fn first(&mut self, marks: impl IntoIterator<Item = Mark>) -> Result<Option<Mark>, ClientError> {
        for mark in marks {
            if self.has(&mark).await? {
                return Ok(Some(mark));
            }
        }
        Ok(None)
    }

    async fn entry(&mut self, key: &[u8]) -> Result<bool, ClientError> {
        // The way is taken again with each block. It ends: what a link leads to is deeper.
        loop {
            let entries = Entries::<_, NativeHasher>::load(&self.blocks, &self.entries, "entries");
            let found = entries.and_then(|entries| entries.get(key));
            let Some(missing) = self.blocks.missing.take() else { return Ok(found?.is_some()) };
            let block = self.client.chain().rpc().read_block(&missing).await?;
            let got = blake2b_cid(&block);
            if got != missing {
                return Err(ClientError::Mismatch { expected: missing.to_string(), got: got.to_string() });
            }
            self.blocks.here.insert(missing, block);
        }
    }
}

/// Blocks that were read, and the one that was missing.
#[derive(Default)]
struct Blocks {
    here: BTreeMap<Cid, Vec<u8>>,
    missing: Cell<Option<Cid>>,
}

impl Blockstore for Blocks {
    fn get(&self, cid: &Cid) -> anyhow::Result<Option<Vec<u8>>> {
        let found = self.here.get(cid).cloned();
        if found.is_none() {
            self.missing.set(Some(*cid));
        }
        Ok(found)
    }

    fn put_keyed(&self, cid: &Cid, _: &[u8]) -> anyhow::Result<()> {
        anyhow::bail!("expected only reads, got a write of {cid}")
    }
}
