//! Somebody who has blocks: an indexer, or another replica. Both serve them as trustless gateways do, and what comes is
//! hashed.

use std::time::Duration;

use bucket_core::cid::{Cid, Hasher as _, NativeHasher};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::{StatusCode, Url};

use super::SpaceError;
use super::kept::Holds as _;
use super::store::Replica;
use super::tree::digest;
use crate::error::ClientError;
use crate::fetch::{NoProxyFor as _, innermost};

/// A block that a value links to: what a push can carry.
pub const BLOCK_BYTES_MAX: usize = bucket_core::limits::STAGED_BYTES_MAX;

/// Requests at the same time.
const PARALLEL: usize = 8;

/// Nodes that are kept in one transaction.
const BATCH: usize = 128;

/// Blocks that values link to and that are kept in one transaction: each may be large.
const VALUES_BATCH: usize = 32;

/// Blocks that were asked for in vain before, and are asked for again.
pub const AGAIN: usize = 64;

const TIMEOUT: Duration = Duration::from_secs(30);

/// What moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// Nodes of trees.
    pub nodes: usize,
    /// Edits.
    pub edits: usize,
    /// Blocks and CARs that values link to, and evidence of heads.
    pub values: usize,
    /// Bytes of all of them.
    pub bytes: usize,
}

impl Moved {
    /// All blocks.
    pub fn blocks(&self) -> usize {
        self.nodes + self.edits + self.values
    }
}

/// Somebody who has blocks.
#[derive(Debug, Clone)]
pub struct Remote {
    http: reqwest::Client,
    base: Url,
}

impl Remote {
    /// The one at `url`, such as `http://127.0.0.1:4190`.
    pub fn new(url: &str) -> Result<Self, ClientError> {
        let wrong =
            |why: String| ClientError::Input(format!("expected an address like http://host:4190, got “{url}”: {why}"));
        let base = Url::parse(url).map_err(|error| wrong(error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(wrong(format!("its scheme is {}", base.scheme())));
        }
        let http = reqwest::Client::builder().timeout(TIMEOUT).no_proxy_for(&base).build();
        Ok(Self { http: http.map_err(|error| wrong(error.to_string()))?, base })
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        self.base.as_str()
    }

    /// What it says that it shouldn't, or doesn't.
    pub fn error(&self, why: impl ToString) -> SpaceError {
        SpaceError::Peer { url: self.base.to_string(), why: why.to_string() }
    }

    fn at(&self, path: &str) -> String {
        format!("{}/{path}", self.base.as_str().trim_end_matches('/'))
    }

    /// GETs a path below its URL; an answer of more than `max` bytes is refused.
    pub async fn get(&self, path: &str, max: usize) -> Result<(StatusCode, Vec<u8>), SpaceError> {
        self.send(self.http.get(self.at(path)), max).await
    }

    /// POSTs to a path below its URL.
    pub async fn post(&self, path: &str, body: Vec<u8>, max: usize) -> Result<(StatusCode, Vec<u8>), SpaceError> {
        self.send(self.http.post(self.at(path)).body(body), max).await
    }

    async fn send(&self, request: reqwest::RequestBuilder, max: usize) -> Result<(StatusCode, Vec<u8>), SpaceError> {
        let mut response = request.send().await.map_err(|error| self.error(innermost(&error)))?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.error(innermost(&error)))? {
            if body.len() + chunk.len() > max {
                return Err(SpaceError::Oversized { url: self.base.to_string(), max });
            }
            body.extend_from_slice(&chunk);
        }
        Ok((response.status(), body))
    }

    /// A block, hashed; `None` when it isn't there.
    pub async fn block(&self, cid: &Cid, max: usize) -> Result<Option<Vec<u8>>, SpaceError> {
        match self.get(&format!("ipfs/{cid}?format=raw"), max).await? {
            (StatusCode::OK, bytes) if digest(cid) == Some(NativeHasher::sha2_256(&bytes)) => Ok(Some(bytes)),
            (StatusCode::OK, bytes) => {
                Err(self.error(format!("expected block {cid}, got {} bytes of something else", bytes.len())))
            }
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (status, _) => Err(self.error(format!("expected block {cid}, got HTTP status {status}"))),
        }
    }

    /// Several blocks at a time, in their order.
    pub async fn blocks(&self, cids: &[Cid], max: usize) -> Result<Vec<(Cid, Option<Vec<u8>>)>, SpaceError> {
        let each = cids.iter().map(async |cid| Ok((*cid, self.block(cid, max).await?)));
        stream::iter(each).buffered(PARALLEL).try_collect().await
    }

    /// Fetches what is missing of a tree, level by level. What comes is kept at once, so that a pull that is broken off goes
    /// on where it was.
    pub async fn complete(&self, replica: &Replica, root: &Cid) -> Result<Moved, SpaceError> {
        let mut moved = Moved::default();
        loop {
            let missing = replica.read(|kept| kept.missing(root))?;
            if missing.is_empty() {
                return Ok(moved);
            }
            for some in missing.chunks(BATCH) {
                let nodes = self.blocks(some, bucket_core::prolly::NODE_BYTES_MAX).await?;
                let nodes: Vec<_> = nodes
                    .into_iter()
                    .map(|(cid, node)| node.ok_or_else(|| self.error(format!("expected node {cid}, got none"))))
                    .collect::<Result<_, _>>()?;
                moved.nodes += nodes.len();
                moved.bytes += nodes.iter().map(Vec::len).sum::<usize>();
                replica.write(|kept| nodes.iter().try_for_each(|node| kept.put_coming(node)))?;
            }
        }
    }

    /// Fetches blocks that values link to, as far as they are there.
    pub async fn values(&self, replica: &Replica) -> Result<Moved, SpaceError> {
        let mut moved = Moved::default();
        let wanted = replica.read(|kept| kept.wanted(AGAIN, somewhere()?))?;
        for some in wanted.chunks(VALUES_BATCH) {
            let each = some.iter().map(async |cid| match self.block(cid, BLOCK_BYTES_MAX).await {
                // A value may link to anything. What no replica could hold keeps nobody from the rest.
                Err(SpaceError::Oversized { .. }) => Ok::<_, SpaceError>((*cid, None)),
                found => Ok((*cid, found?)),
            });
            let found: Vec<_> = stream::iter(each).buffered(PARALLEL).try_collect().await?;
            replica.write(|kept| {
                found.iter().try_for_each(|(cid, bytes)| match bytes {
                    Some(bytes) => kept.put_block(bytes),
                    None => kept.not_found(cid),
                })
            })?;
            for bytes in found.iter().filter_map(|(_, bytes)| bytes.as_ref()) {
                moved.values += 1;
                moved.bytes += bytes.len();
            }
        }
        Ok(moved)
    }
}

/// Where to begin with what was asked for in vain: somewhere else each time, so that none is asked for never.
pub(super) fn somewhere() -> Result<usize, SpaceError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| SpaceError::Random(error.to_string()))?;
    Ok(usize::from_le_bytes(bytes))
}
