//! Follows the chain by polling its head.
//!
//! A round walks from the head back to a tipset that the index has, reverts what is above that one, and applies what came
//! instead. Every step is checked by keys of parents, so nothing is left out, and a round that stops half-way (a node that
//! goes away, a killed process) is continued by the next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bucket_rpc::json::{Tipset as ChainTipset, set_network};
use futures::{StreamExt, TryStreamExt, stream};
use tracing::{debug, info, warn};

use crate::follow::{Follow, Indexed};
use crate::metrics::Metrics;
use crate::node::key_text;
use crate::start::{Fatal, begin};
use crate::status::Status;
use crate::store::{Halt, StoreError, Tipset};

/// Epochs of one round: they are walked backwards before the first is applied, so few, that even a process that is often
/// killed gets on.
const ROUND_EPOCHS: i64 = 60;

/// Tipsets whose results are fetched ahead.
const FETCH_AHEAD: usize = 4;

/// The longest wait after failures in a row.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// The follower of a chain.
pub struct Watch {
    /// Where tipsets go.
    pub follow: Follow,
    /// Where to tell how it stands.
    pub status: Status,
    /// Where to count.
    pub metrics: Arc<Metrics>,
    /// How long to wait between rounds.
    pub poll: Duration,
    /// Where to begin; with the actor's creation, when none.
    pub start: Option<i64>,
}

/// How a round ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// There is nothing more to know now.
    Done,
    /// There is more: go on at once.
    More,
}

impl Watch {
    /// Follows until something is wrong that waiting doesn't mend. A node that is away is waited for.
    pub async fn run(&self) -> Result<()> {
        let mut failures = 0u32;
        let mut network = None;
        loop {
            if network.is_none() {
                network = self.follow.node.network().await.ok();
                network.into_iter().for_each(set_network);
            }
            match self.round().await {
                Ok(Round::More) => failures = 0,
                Ok(Round::Done) => {
                    failures = 0;
                    tokio::time::sleep(self.poll).await;
                }
                Err(error) if is_fatal(&error) => return Err(error),
                Err(error) => {
                    failures += 1;
                    self.fail(&error, failures).await;
                }
            }
        }
    }

    async fn fail(&self, error: &anyhow::Error, failures: u32) {
        let wait = self.poll.saturating_mul(1 << failures.min(6)).min(BACKOFF_MAX.max(self.poll));
        warn!(failures, "Failed to follow the chain, trying again in {} ms: {error:#}", wait.as_millis());
        self.metrics.poll_errors.inc();
        self.status.update(|status| status.error = Some(format!("{error:#}")));
        tokio::time::sleep(wait).await;
    }

    /// Looks at the chain once and indexes what is new.
    pub async fn round(&self) -> Result<Round> {
        let (node, store) = (&self.follow.node, &self.follow.store);
        let Some(newest) = self.begun().await? else { return Ok(Round::Done) };
        let head = node.head().await?;
        let finalized = node.finalized(head.height).await;
        self.status.update(|status| status.finalized = Some(finalized));
        if store.tipset(&key_text(&head.key())).await?.is_some() {
            // A node that is behind, or another one behind the same address: what is indexed stays until a chain that
            // goes elsewhere shows up.
            self.tell(&head, newest.height, 0).await?;
            return Ok(Round::Done);
        }
        let target = self.target(&newest, &head).await?;
        let Some((ancestor, path)) = self.path(target).await? else {
            self.start_over().await?;
            return Ok(Round::More);
        };
        self.revert(&newest, &ancestor).await?;
        self.apply(path, &head).await
    }

    /// The newest tipset, after the index was begun; `None` while there is nothing to follow.
    async fn begun(&self) -> Result<Option<Tipset>> {
        let (node, store) = (&self.follow.node, &self.follow.store);
        // Asked again in every round: a devnet may have been started anew behind the same address.
        store.bind("genesis", &node.genesis().await?).await?;
        if let Some(newest) = store.head().await? {
            return Ok(Some(newest));
        }
        if !begin(node, store.as_ref(), self.start).await? {
            debug!("Actor {} is not on the chain yet", node.actor);
            self.status.update(|status| (status.seen, status.error) = (Some(Instant::now()), None));
            return Ok(None);
        }
        Ok(store.head().await?)
    }

    /// The head, or a tipset on the way to it, so that a round stays small.
    async fn target(&self, newest: &Tipset, head: &ChainTipset) -> Result<ChainTipset> {
        let mut height = newest.height + ROUND_EPOCHS;
        while height < head.height {
            let target = self.follow.node.after_height(height, &head.key()).await?;
            // Only null rounds up to there: nothing to apply yet.
            if key_text(&target.parents()) != newest.key {
                return Ok(target);
            }
            height = target.height + 1;
        }
        Ok(head.clone())
    }

    /// The newest ancestor that the index has, and the tipsets from `target` down to its child. `None` when not even the
    /// base is an ancestor.
    async fn path(&self, target: ChainTipset) -> Result<Option<(Tipset, Vec<ChainTipset>)>> {
        let (node, store) = (&self.follow.node, &self.follow.store);
        let base = store.base().await?.context("the index is empty")?;
        let mut path = Vec::new();
        let mut at = target;
        loop {
            let parents = at.parents();
            let reached = at.height <= base.height || (parents.is_head() && !base.key.is_empty());
            path.push(at);
            if let Some(ancestor) = store.tipset(&key_text(&parents)).await? {
                return Ok(Some((ancestor, path)));
            }
            if reached {
                return Ok(None);
            }
            at = node.tipset(&parents).await?;
        }
    }

    /// The tipset that created the actor was reverted.
    async fn start_over(&self) -> Result<()> {
        warn!("The chain was replaced from before the index's beginning; beginning again");
        let reverted = self.follow.store.revert(i64::MIN).await?;
        self.reverted(reverted);
        Ok(())
    }

    async fn revert(&self, newest: &Tipset, ancestor: &Tipset) -> Result<()> {
        if newest.key == ancestor.key {
            return Ok(());
        }
        let reverted = self.follow.store.revert(ancestor.height).await?;
        self.reverted(reverted);
        info!(epoch = ancestor.height, reverted, "Reverted {reverted} tipsets down to epoch {}", ancestor.height);
        Ok(())
    }

    fn reverted(&self, tipsets: u64) {
        self.metrics.reverts.inc_by(tipsets);
        self.follow.node.forget_ids();
    }

    /// Applies every tipset of `path` (newest first) but the first, whose results nobody knows yet.
    async fn apply(&self, path: Vec<ChainTipset>, head: &ChainTipset) -> Result<Round> {
        let all = path.first().is_some_and(|target| target.key() == head.key());
        let pairs: Vec<(ChainTipset, ChainTipset)> =
            path.iter().rev().cloned().zip(path.iter().rev().skip(1).cloned()).collect();
        let node = &self.follow.node;
        let mut fetched = stream::iter(pairs)
            .map(|(tipset, child)| async move { anyhow::Ok((node.results(&child).await?, tipset, child)) })
            .buffered(FETCH_AHEAD);
        while let Some((results, tipset, child)) = fetched.try_next().await? {
            let Indexed { ran, traced } = self.follow.apply(&tipset, &child, results).await?;
            self.metrics.tipsets.inc();
            self.metrics.traced.inc_by(traced.into());
            self.metrics.executions.inc_by(ran as u64);
            let lag = if child.key() == head.key() { 0 } else { head.height - tipset.height };
            self.tell(head, tipset.height, lag).await?;
        }
        if path.len() == 1 {
            let indexed = self.follow.store.head().await?.map_or(-1, |tipset| tipset.height);
            self.tell(head, indexed, 0).await?;
        }
        Ok(if all { Round::Done } else { Round::More })
    }

    async fn tell(&self, head: &ChainTipset, indexed: i64, lag: i64) -> Result<()> {
        let halts: Vec<Halt> = self.follow.store.halts().await?;
        self.metrics.head_lag.set(lag);
        self.metrics.indexed_epoch.set(indexed);
        self.metrics.halted.set(halts.len() as i64);
        self.status.update(|status| {
            status.chain = Some(head.height);
            status.indexed = Some(indexed);
            status.lag = Some(lag);
            status.seen = Some(Instant::now());
            status.error = None;
            status.halted = halts.into_iter().map(|halt| halt.bucket).collect();
        });
        Ok(())
    }
}

fn is_fatal(error: &anyhow::Error) -> bool {
    let foreign = matches!(error.downcast_ref::<StoreError>(), Some(StoreError::Foreign { .. }));
    foreign || error.downcast_ref::<Fatal>().is_some()
}
