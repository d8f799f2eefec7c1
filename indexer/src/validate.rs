//! Compares a whole index with the chain, and with itself.

use std::fmt;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bucket_core::abi;
use bucket_core::bucket::{Bucket, Entry};
use bucket_core::cid::{CarId, NativeHasher};
use bucket_core::did::BucketId;
use bucket_core::invariants;
use bucket_rpc::json::TipsetKey;
use cid::Cid;

use crate::blocks::Blocks;
use crate::cars::Cars;
use crate::config::Config;
use crate::node::{Node, key_text};
use crate::store::{Store, Tipset};
use crate::{open, view};

/// Executions that are read at once.
const PAGE: usize = 1000;

/// How often an index that moves is looked at.
const TRIES: usize = 5;

/// What was compared, and what is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Epoch of the newest tipset in the index.
    pub epoch: i64,
    /// Epoch of the chain's head.
    pub chain: i64,
    /// Tipsets in the index.
    pub tipsets: u64,
    /// Buckets whose records were compared.
    pub buckets: usize,
    /// Executions whose CARs were read and hashed.
    pub executions: u64,
    /// What is wrong; nothing, in a good index.
    pub problems: Vec<String>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, chain, tipsets, buckets, executions, problems } = self;
        writeln!(f, "Index at epoch {epoch} of {chain}: {tipsets} tipsets, {buckets} buckets, {executions} receipts.")?;
        for problem in problems {
            writeln!(f, "- {problem}")?;
        }
        match problems.len() {
            0 => write!(f, "The index equals the chain."),
            1 => write!(f, "1 problem."),
            n => write!(f, "{n} problems."),
        }
    }
}

/// Validates the index that `config` names. It may be in use.
pub async fn validate(config: &Config) -> Result<Verdict> {
    ensure!(config.data.join("index.sqlite").exists(), "there is no index in {}", config.data.display());
    let (sqlite, cars, node) = open(config).await?;
    let store: Arc<dyn Store> = Arc::new(sqlite);
    for _ in 1..TRIES {
        let before = store.head().await?;
        let verdict = check(store.clone(), cars.clone(), &node).await?;
        if verdict.problems.is_empty() || store.head().await? == before {
            return Ok(verdict);
        }
        // The index moved on meanwhile: what looks wrong may only be newer.
    }
    check(store, cars, &node).await
}

/// Validates an index that is open.
pub async fn check(store: Arc<dyn Store>, cars: Cars, node: &Node) -> Result<Verdict> {
    store.bind("genesis", &node.genesis().await?).await?;
    let head = store.head().await?.context("the index is empty")?;
    let blocks = Blocks::new(store.clone());
    let mut check = Check { store, blocks, cars, head, verdict: Verdict::default() };
    check.verdict.epoch = check.head.height;
    check.rows().await?;
    check.invariants().await?;
    let buckets = check.read(|blocks, state| view::buckets(&blocks, &state)).await?;
    check.verdict.buckets = buckets.len();
    let at = check.chain(node).await?;
    for bucket in buckets {
        check.bucket(&bucket).await?;
        if let Some(at) = &at {
            check.record(node, &bucket, at).await?;
        }
    }
    Ok(check.verdict)
}

struct Check {
    store: Arc<dyn Store>,
    blocks: Blocks,
    cars: Cars,
    head: Tipset,
    verdict: Verdict,
}

impl Check {
    fn require(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.verdict.problems.push(what());
        }
    }

    async fn read<T: Send + 'static>(&self, f: impl FnOnce(Blocks, Cid) -> Result<T> + Send + 'static) -> Result<T> {
        let (blocks, state) = (self.blocks.clone(), self.head.state);
        tokio::task::spawn_blocking(move || f(blocks, state)).await?
    }

    async fn rows(&mut self) -> Result<()> {
        let counts = self.store.counts().await?;
        self.verdict.tipsets = counts.tipsets;
        self.require(counts.gaps == 0, || format!("{} gaps between tipsets", counts.gaps));
        self.require(counts.stale_rows == 0, || format!("{} rows that should (not) be live", counts.stale_rows));
        for halt in self.store.halts().await? {
            let text = format!("bucket {} is halted since epoch {}: {}", halt.bucket, halt.height, halt.reason);
            self.verdict.problems.push(text);
        }
        Ok(())
    }

    async fn invariants(&mut self) -> Result<()> {
        let check = |blocks, state: Cid| Ok(invariants::check::<Blocks, NativeHasher>(&blocks, &state)?);
        let violations = self.read(check).await?;
        self.verdict.problems.extend(violations);
        Ok(())
    }

    /// Compares the state with the actor's, and answers where on the chain that is.
    async fn chain(&mut self, node: &Node) -> Result<Option<TipsetKey>> {
        let chain = node.head().await?;
        self.verdict.chain = chain.height;
        if chain.height <= self.head.height {
            self.verdict.problems.push("the chain has nothing after the index's head: nothing to compare with".into());
            return Ok(None);
        }
        let child = node.after_height(self.head.height + 1, &chain.key()).await?;
        if key_text(&child.parents()) != self.head.key {
            self.verdict.problems.push("the index's head is not on the chain: the indexer has to run".into());
            return Ok(None);
        }
        let key = child.key();
        if let Some(actor) = node.actor_at(&key).await? {
            let ours = self.head.state;
            self.require(actor.head == ours, || format!("the state is {ours} here, {} on the chain", actor.head));
        }
        Ok(Some(key))
    }

    async fn record(&mut self, node: &Node, bucket: &BucketId, at: &TipsetKey) -> Result<()> {
        let id = bucket.clone();
        let ours = self.read(move |blocks, state| view::record(&blocks, &state, &id)).await?;
        let ours = ours.map(|record| abi::encode(&record).to_vec());
        let chain = node.bucket_at(bucket, at).await?;
        self.require(ours == chain, || format!("{bucket}: the record differs from the chain's"));
        Ok(())
    }

    /// Compares a bucket's receipts in the state with the executions, and reads all CARs.
    async fn bucket(&mut self, bucket: &BucketId) -> Result<()> {
        let id = bucket.clone();
        let read = move |blocks, state| {
            let record: Bucket = view::record(&blocks, &state, &id)?.context("a bucket without a record")?;
            let entries = view::entries(&blocks, &record)?;
            Ok((record, entries))
        };
        let (record, entries) = self.read(read).await?;
        let count = self.store.execution_count(bucket).await?;
        self.verdict.executions += count;
        self.require(count == record.ran, || format!("{bucket}: {count} executions, {} on the chain", record.ran));
        for (ran, entry) in entries {
            self.entry(bucket, &ran, &entry).await?;
        }
        self.files(bucket).await
    }

    async fn entry(&mut self, bucket: &BucketId, ran: &CarId, entry: &Entry) -> Result<()> {
        let placed = self.store.execution(bucket, ran).await?;
        let ours = placed.map(|placed| (placed.executed.receipt, placed.executed.version));
        let state = entry.receipt.map(|receipt| (receipt, entry.version));
        self.require(ours == state, || format!("{bucket}: the index has {ours:?} for {ran}, the state {state:?}"));
        Ok(())
    }

    /// [`Cars::get`] compares a file with its name.
    async fn files(&mut self, bucket: &BucketId) -> Result<()> {
        let mut after = None;
        loop {
            let page = self.store.executions(bucket, after, PAGE, false).await?.context("a bucket without a row")?;
            for placed in &page.rows {
                for id in [placed.executed.ran, placed.executed.receipt] {
                    match self.cars.get(&id).await {
                        Ok(bytes) => self.require(bytes.is_some(), || format!("{bucket}: CAR {id} is missing")),
                        Err(error) => self.verdict.problems.push(format!("{bucket}: {error:#}")),
                    }
                }
            }
            after = page.rows.last().map(|placed| placed.place);
            if !page.more {
                return Ok(());
            }
        }
    }
}
