//! One tipset into the index: replay, compare with the chain, store.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bucket_core::abi;
use bucket_core::did::BucketId;
use bucket_rpc::json::{Tipset as ChainTipset, TipsetKey};
use cid::Cid;
use fvm_ipld_blockstore::Blockstore;
use tracing::{debug, error, info, warn};

use crate::blocks::{Blocks, Overlay};
use crate::cars::Cars;
use crate::node::{Node, Results, key_text};
use crate::replay::{Replayed, empty_state, hex, replay};
use crate::store::{Batch, Halt, Store, Tipset};
use crate::view;

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
    /// Indexes `tipset`, whose results `child` brought, and answers how many tasks it ran.
    pub async fn apply(&self, tipset: &ChainTipset, child: &ChainTipset, results: Results) -> Result<usize> {
        let parent = self.store.head().await?.context("the index is empty")?;
        let (replayed, halts) = self.replay(&parent, tipset, child, results).await?;
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
        Ok(ran)
    }

    /// Replays until nothing is left that differs from the chain, halting the buckets that do.
    async fn replay(
        &self,
        parent: &Tipset,
        tipset: &ChainTipset,
        child: &ChainTipset,
        mut results: Results,
    ) -> Result<(Replayed, Vec<Halt>)> {
        let mut halted: BTreeSet<String> = self.store.halts().await?.into_iter().map(|halt| halt.bucket).collect();
        let mut halts: Vec<Halt> = Vec::new();
        let mut sure = false;
        loop {
            let replayed = self.run(parent.state, tipset.height, &results, &halted).await?;
            let mut found = replayed.halts.clone();
            if found.is_empty() {
                found = self.compare(&replayed, &results, &child.key(), &halted).await?;
            }
            if found.is_empty() {
                return Ok((replayed, halts));
            }
            if !sure {
                // Nodes have been seen to answer wrongly shortly after execution: look again before believing it.
                warn!(epoch = tipset.height, "Epoch {} differs from the chain; looking again", tipset.height);
                self.node.forget_ids();
                (sure, results) = (true, self.node.results(child).await?);
                continue;
            }
            halted.extend(found.iter().map(|halt| halt.bucket.clone()));
            halts.extend(found);
        }
    }

    async fn run(&self, root: Cid, epoch: i64, results: &Results, halted: &BTreeSet<String>) -> Result<Replayed> {
        let (blocks, inputs, halted) = (self.blocks.clone(), results.inputs.clone(), halted.clone());
        tokio::task::spawn_blocking(move || replay(blocks, root, epoch, &inputs, &halted)).await?
    }

    /// Compares whole states while they can be equal, else the records of the buckets that were touched.
    async fn compare(
        &self,
        replayed: &Replayed,
        results: &Results,
        at: &TipsetKey,
        halted: &BTreeSet<String>,
    ) -> Result<Vec<Halt>> {
        let touched: Vec<BucketId> =
            replayed.touched.iter().filter(|bucket| !halted.contains(bucket.as_str())).cloned().collect();
        if !halted.is_empty() {
            return self.differing(replayed, touched, at).await;
        }
        let Some(chain) = results.head else {
            // Before its creation there is no actor. One that has buckets can't be gone: the node answers wrongly.
            ensure!(replayed.state == empty_state()?.0, "the node knows no actor at {at}, but its buckets are indexed");
            return Ok(vec![]);
        };
        if chain == replayed.state {
            return Ok(vec![]);
        }
        let found = self.differing(replayed, touched, at).await?;
        if !found.is_empty() {
            return Ok(found);
        }
        let found = self.differing(replayed, self.all(replayed).await?, at).await?;
        if !found.is_empty() {
            return Ok(found);
        }
        let reason = "the states differ, but no bucket that is known here".to_owned();
        let (ours, chain) = (replayed.state.to_string(), chain.to_string());
        Ok(vec![Halt { bucket: Halt::ALL.into(), height: 0, reason, ours, chain }])
    }

    async fn all(&self, replayed: &Replayed) -> Result<Vec<BucketId>> {
        self.read(replayed, |blocks, state| view::buckets(&blocks, &state)).await
    }

    async fn differing(&self, replayed: &Replayed, buckets: Vec<BucketId>, at: &TipsetKey) -> Result<Vec<Halt>> {
        let mut halts = Vec::new();
        for bucket in buckets {
            let id = bucket.clone();
            let ours = self.read(replayed, move |blocks, state| view::record(&blocks, &state, &id)).await?;
            let ours = ours.map(|record| abi::encode(&record).to_vec());
            let chain = self.node.bucket_at(&bucket, at).await?;
            if ours != chain {
                let text = |record: Option<Vec<u8>>| record.map_or("no such bucket".into(), |record| hex(&record));
                let reason = "the records differ".to_owned();
                let (ours, chain) = (text(ours), text(chain));
                halts.push(Halt { bucket: bucket.to_string(), height: 0, reason, ours, chain });
            }
        }
        Ok(halts)
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
