//! One tipset into the index: replay, compare with the chain, store.
//!
//! Messages to the actor are replayed alone as long as they explain its state. Where they don't, the node is asked a second
//! time, then for traces, which show the calls of other actors as well ([`crate::calls`]). What still differs is halted.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bucket_core::abi;
use bucket_core::did::BucketId;
use bucket_rpc::json::{Tipset as ChainTipset, TipsetKey};
use cid::Cid;
use futures::{StreamExt, TryStreamExt, stream};
use fvm_ipld_blockstore::Blockstore;
use tracing::{debug, error, info, warn};

use crate::blocks::{Blocks, Overlay};
use crate::calls::Traced;
use crate::cars::Cars;
use crate::node::{Node, Results, key_text};
use crate::replay::{Input, Moment, Replayed, empty_state, hex, replay};
use crate::store::{Batch, Halt, Store, Tipset};
use crate::view;

/// Records of buckets that are asked for at once.
const FETCH_AHEAD: usize = 8;

/// What indexing a tipset took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Indexed {
    /// Tasks that ran.
    pub ran: usize,
    /// Whether traces were asked for.
    pub traced: bool,
}

/// A tipset that is to be indexed, and its child, which has its results.
#[derive(Clone, Copy)]
struct Step<'a> {
    tipset: &'a ChainTipset,
    child: &'a ChainTipset,
}

/// A tipset's replay after all questions.
struct Settled {
    replayed: Replayed,
    halts: Vec<Halt>,
    traced: bool,
}

/// Writes tipsets into the index.
#[derive(Clone)]
pub struct Follow {
    /// The index.
    pub store: Arc<dyn Store>,
    /// The same, as the machine reads it.
    pub blocks: Blocks,
    /// Where CARs go.
    pub cars: Cars,
    /// Whom to compare with.
    pub node: Arc<Node>,
}

impl Follow {
    /// Indexes `tipset`, whose results `child` brought.
    pub async fn apply(&self, tipset: &ChainTipset, child: &ChainTipset, results: Results) -> Result<Indexed> {
        let parent = self.store.head().await?.context("the index is empty")?;
        let Settled { replayed, halts, traced } = self.settle(&parent, Step { tipset, child }, results).await?;
        for Halt { bucket, reason, ours, chain, .. } in &halts {
            error!(bucket.id = bucket, epoch = tipset.height, ours, chain, "Halted bucket {bucket}: {reason}");
        }
        let Replayed { state, blocks, created, executed, cars, .. } = replayed;
        let ran = executed.len();
        let (cars, files) = cars.into_iter().map(|(map, bytes)| (map.clone(), (map.id, bytes))).unzip();
        self.cars.put_all(files).await?;
        let tipset = Tipset {
            key: key_text(&tipset.key()),
            parent: key_text(&tipset.parents()),
            height: tipset.height,
            nulls: tipset.height - parent.height - 1,
            state,
        };
        let height = tipset.height;
        self.store.commit(&Batch { tipset, blocks, created, executed, cars, halts }).await?;
        match ran {
            0 => debug!(epoch = height, "Indexed epoch {height}"),
            _ => info!(epoch = height, ran, "Indexed epoch {height}: {ran} tasks"),
        }
        Ok(Indexed { ran, traced })
    }

    /// Replays until nothing is left that differs from the chain, halting the buckets that do.
    async fn settle(&self, parent: &Tipset, step: Step<'_>, mut results: Results) -> Result<Settled> {
        let epoch = step.tipset.height;
        let mut halted: BTreeSet<String> = self.store.halts().await?.into_iter().map(|halt| halt.bucket).collect();
        let mut halts: Vec<Halt> = Vec::new();
        let mut sure = false;
        let mut traced = match self.in_the_dark(step, &results, &halted).await? {
            true => Some(self.trace(step, &results).await?),
            false => None,
        };
        loop {
            let inputs = traced.as_ref().map_or(&results.inputs, |traced| &traced.inputs);
            let replayed = self.run(parent.state, step.tipset.into(), inputs, &halted).await?;
            let refused = traced.as_ref().and_then(|traced| traced.refused.clone());
            let found = match replayed.halts.is_empty() {
                false => replayed.halts.clone(),
                true if !halted.is_empty() => self.parts(&replayed, step, &halted, refused.is_some()).await?,
                true => self.whole(&replayed, &results, step, sure && traced.is_some()).await?,
            };
            if found.is_empty() {
                return Ok(Settled { replayed, halts, traced: traced.is_some() });
            }
            if !sure {
                // Nodes have been seen to answer wrongly shortly after execution: look again before believing it.
                warn!(epoch, "Epoch {epoch} differs from the chain; looking again");
                self.node.forget_ids();
                (sure, results) = (true, self.node.results(step.child).await?);
                traced = match traced {
                    Some(_) => Some(self.trace(step, &results).await?),
                    None => None,
                };
            } else if traced.is_none() {
                traced = Some(self.trace(step, &results).await?);
            } else {
                halted.extend(found.iter().map(|halt| halt.bucket.clone()));
                halts.extend(found.into_iter().map(|halt| explained(halt, refused.as_deref())));
            }
        }
    }

    /// Whether calls by others could go by unseen: whole states are no longer compared, and the chain's has moved.
    async fn in_the_dark(&self, step: Step<'_>, results: &Results, halted: &BTreeSet<String>) -> Result<bool> {
        if halted.is_empty() {
            return Ok(false);
        }
        let before = self.node.actor_at(&step.tipset.key()).await?;
        Ok(before.map(|actor| actor.head) != results.head)
    }

    async fn trace(&self, step: Step<'_>, results: &Results) -> Result<Traced> {
        let Step { tipset, child } = step;
        let traced = self.node.traced(&tipset.key(), results, &child.key()).await?;
        match &traced.refused {
            Some(text) => warn!(epoch = tipset.height, "Calls by other actors can't be seen: {text}"),
            None => {
                let (calls, messages) = (traced.inputs.len(), results.inputs.len());
                info!(epoch = tipset.height, "Traced epoch {}: {calls} calls, {messages} of messages", tipset.height);
            }
        }
        Ok(traced)
    }

    async fn run(&self, root: Cid, when: Moment, inputs: &[Input], halted: &BTreeSet<String>) -> Result<Replayed> {
        let (blocks, inputs, halted) = (self.blocks.clone(), inputs.to_vec(), halted.clone());
        tokio::task::spawn_blocking(move || replay(blocks, root, when, &inputs, &halted)).await?
    }

    /// Compares whole states. Which buckets differ takes a question for each, hence is `wanted` only when nothing else is
    /// left to try.
    async fn whole(&self, replayed: &Replayed, results: &Results, step: Step<'_>, wanted: bool) -> Result<Vec<Halt>> {
        let at = &step.child.key();
        let Some(chain) = results.head else {
            // Before its creation there is no actor. One that has buckets can't be gone: the node answers wrongly.
            ensure!(replayed.state == empty_state()?.0, "the node knows no actor at {at}, but its buckets are indexed");
            return Ok(vec![]);
        };
        if chain == replayed.state {
            return Ok(vec![]);
        }
        if wanted {
            let found = self.differing(replayed, self.all(replayed).await?, at).await?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        let reason = "the states differ, but no bucket that is known here".to_owned();
        let (ours, chain) = (replayed.state.to_string(), chain.to_string());
        Ok(vec![Halt { bucket: Halt::ALL.into(), height: 0, reason, ours, chain }])
    }

    /// Compares the records of buckets, where whole states can't be equal any more: of those that were called, or of all
    /// when calls can't be seen.
    async fn parts(
        &self,
        replayed: &Replayed,
        step: Step<'_>,
        halted: &BTreeSet<String>,
        all: bool,
    ) -> Result<Vec<Halt>> {
        let mut buckets = match all {
            true => self.all(replayed).await?,
            false => replayed.touched.iter().cloned().collect(),
        };
        buckets.retain(|bucket| !halted.contains(bucket.as_str()));
        self.differing(replayed, buckets, &step.child.key()).await
    }

    async fn all(&self, replayed: &Replayed) -> Result<Vec<BucketId>> {
        self.read(replayed, |blocks, state| view::buckets(&blocks, &state)).await
    }

    async fn differing(&self, replayed: &Replayed, buckets: Vec<BucketId>, at: &TipsetKey) -> Result<Vec<Halt>> {
        let records = stream::iter(buckets).map(|bucket| async move {
            let id = bucket.clone();
            let ours = self.read(replayed, move |blocks, state| view::record(&blocks, &state, &id)).await?;
            let ours = ours.map(|record| abi::encode(&record).to_vec());
            let chain = self.node.bucket_at(&bucket, at).await?;
            anyhow::Ok((bucket, ours, chain))
        });
        let records: Vec<_> = records.buffered(FETCH_AHEAD).try_collect().await?;
        let text = |record: Option<Vec<u8>>| record.map_or("no such bucket".into(), |record| hex(&record));
        let halt = |(bucket, ours, chain): (BucketId, _, _)| {
            let reason = "the records differ".to_owned();
            Halt { bucket: bucket.to_string(), height: 0, reason, ours: text(ours), chain: text(chain) }
        };
        Ok(records.into_iter().filter(|(_, ours, chain)| ours != chain).map(halt).collect())
    }

    /// Reads the replayed state before it is stored.
    async fn read<T: Send + 'static>(
        &self,
        replayed: &Replayed,
        f: impl FnOnce(Overlay<Blocks>, Cid) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (below, state, new) = (self.blocks.clone(), replayed.state, replayed.blocks.clone());
        let read = move || {
            let overlay = Overlay::new(below);
            new.iter().try_for_each(|(cid, block)| overlay.put_keyed(cid, block))?;
            f(overlay, state)
        };
        tokio::task::spawn_blocking(read).await?
    }
}

/// Says so where calls by others could not be looked at.
fn explained(halt: Halt, refused: Option<&str>) -> Halt {
    match refused {
        Some(refused) => Halt { reason: format!("{}; {refused}", halt.reason), ..halt },
        None => halt,
    }
}
