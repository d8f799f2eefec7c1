//! The chain: tipsets of one block each, the newest of which is the head.
//!
//! A tipset's messages are executed as soon as it is made, but the results appear in its child, as parent state and
//! parent receipts: so it is on Filecoin, where a tipset is executed when its child is built (lotus:chain/stmgr).
//! The state *at* a tipset is therefore the one that its messages start from.
//!
//! [`Chain`] is synchronous and knows no message pool, no network and no clock but the one that stamps blocks: tests
//! and benches drive it directly, see [`crate::drive`]. [`crate::node::Node`] puts the rest around it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail, ensure};
use bucket_rpc::json::{
    BlockHeader, ElectionProof, HeadChange, HeadChangeType, Signature, SignedMessage, Ticket, TipsetKey,
};
use cid::Cid;
use fvm::executor::{ApplyKind, ApplyRet};
use fvm_shared::{address::Address, bigint::BigInt, clock::ChainEpoch};

use crate::{
    account::blake2b_256,
    block::{self, Block, Outcome},
    config::Config,
    executor::{Call, Env, Executor},
    fees, genesis, record,
    search::MessageIndex,
    store::Store,
};

/// The devnet's only miner. No actor stands behind it; its earnings go to f02.
const MINER: Address = Address::new_id(1000);

/// How much heavier a tipset makes the chain. A fork adds its number, so that of equally long ones the newest weighs most.
const WEIGHT: u64 = 10;

/// A chain of tipsets and the means to lengthen it.
pub struct Chain {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) executor: Executor,
    /// Every tipset made or read by this process, on the chain or not.
    blocks: HashMap<Cid, Arc<Block>>,
    /// The tipsets from genesis to the head, by epoch; null rounds are missing.
    canonical: BTreeMap<ChainEpoch, Arc<Block>>,
    pub(crate) index: MessageIndex,
    head: Arc<Block>,
    genesis: Arc<Block>,
    /// Null rounds since the head.
    skipped: ChainEpoch,
    /// How many reorgs there have been.
    forks: u64,
}

/// A tipset just made.
pub struct Produced {
    /// The new head.
    pub block: Arc<Block>,
    /// What became of its messages, in order of execution.
    pub applied: Vec<ApplyRet>,
}

impl Chain {
    /// Continues the chain in the configured directory, or begins one.
    pub fn open(config: &Config) -> Result<Self> {
        let store = match &config.state_dir {
            Some(directory) => Store::open(directory)?,
            None => Store::in_memory(),
        };
        record::check_settings(&store, config)?;
        let executor = Executor::new(store.clone(), genesis::supply(config)?, config.actor_debugging)?;
        let (head, genesis) = match (record::cid(&store, record::HEAD)?, record::cid(&store, record::GENESIS)?) {
            (Some(head), Some(genesis)) => (record::load(&store, &head)?, record::load(&store, &genesis)?),
            _ => {
                let genesis = begin(&store, config)?;
                (genesis.clone(), genesis)
            }
        };
        let mut chain = Self {
            config: config.clone(),
            executor,
            blocks: HashMap::new(),
            canonical: BTreeMap::new(),
            index: MessageIndex::default(),
            head: head.clone(),
            genesis,
            skipped: record::number(&store, record::SKIPPED)? as ChainEpoch,
            forks: record::number(&store, record::FORKS)?,
            store,
        };
        chain.remember_ancestry(head)?;
        chain.store.commit()?;
        Ok(chain)
    }

    fn remember_ancestry(&mut self, head: Arc<Block>) -> Result<()> {
        let mut next = Some(head);
        while let Some(block) = next {
            next = block.parent().map(|parent| record::load(&self.store, &parent)).transpose()?;
            self.remember(block)?;
        }
        Ok(())
    }

    fn remember(&mut self, block: Arc<Block>) -> Result<()> {
        self.index.add(&block, &block::messages(&self.store, &block.header)?);
        self.blocks.insert(block.cid, block.clone());
        self.canonical.insert(block.height(), block);
        Ok(())
    }

    /// The settings it runs with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// All blocks, of this chain and of the forks that it left.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The newest tipset.
    pub fn head(&self) -> &Arc<Block> {
        &self.head
    }

    /// The tipset at epoch 0.
    pub fn genesis(&self) -> &Arc<Block> {
        &self.genesis
    }

    /// The epoch that the next tipset will have.
    pub fn next_epoch(&self) -> ChainEpoch {
        self.head.height() + 1 + self.skipped
    }

    /// Lets epochs pass without a tipset.
    pub fn skip(&mut self, epochs: u32) {
        self.set_skipped(self.skipped + ChainEpoch::from(epochs));
    }

    fn set_skipped(&mut self, epochs: ChainEpoch) {
        self.skipped = epochs;
        self.store.set(record::SKIPPED, self.skipped.to_be_bytes().to_vec());
    }

    /// Makes the next tipset, executes its messages and moves the head to it.
    ///
    /// Messages are taken as they are: a wrong nonce gives a receipt with an error, as it would on the real networks.
    /// Nothing is durable before [`Chain::commit`].
    pub fn produce(&mut self, messages: Vec<SignedMessage>, trace: bool) -> Result<Produced> {
        let messages = block::execution_order(messages);
        let header = self.next_header(&messages)?;
        let cid = header.cid()?;
        let calls = messages.iter().map(explicit).collect::<Result<Vec<_>>>()?;
        let run = self.executor.execute(env_in(&header), calls, trace)?;
        let gas_limits = messages.iter().map(|message| message.message.gas_limit).fold(0, u64::saturating_add);
        let outcome = Outcome {
            state_root: run.state_root,
            receipts: block::put_receipts(&self.store, &run.applied)?,
            base_fee: fees::next_base_fee(&header.parent_base_fee, gas_limits),
            bls_signatures: block::bls_signatures_of(&messages),
        };
        let block = Arc::new(Block { cid, header, outcome });
        record::save(&self.store, &block)?;
        self.remember(block.clone())?;
        self.set_head(block.clone());
        Ok(Produced { block, applied: run.applied })
    }

    fn next_header(&self, messages: &[SignedMessage]) -> Result<BlockHeader> {
        let height = self.next_epoch();
        let parent = &self.head;
        // Without a real VRF, something that differs between forks.
        let ticket = blake2b_256(format!("{} {height} {}", parent.cid, self.forks).as_bytes());
        Ok(BlockHeader {
            miner: MINER,
            ticket: Some(Ticket { vrf_proof: ticket.to_vec() }),
            election_proof: Some(ElectionProof { win_count: 1, vrf_proof: ticket.to_vec() }),
            beacon_entries: Vec::new(),
            win_post_proof: Vec::new(),
            parents: vec![parent.cid],
            parent_weight: weight(&parent.header),
            height,
            parent_state_root: parent.outcome.state_root,
            parent_message_receipts: parent.outcome.receipts,
            messages: block::put_messages(&self.store, messages)?,
            bls_aggregate: Some(block::bls_aggregate(messages)?),
            timestamp: timestamp(&self.config, height, parent.header.timestamp),
            // Nobody verifies it, and the miner has no key.
            block_sig: Some(Signature::bls(vec![0; 96])),
            // Nobody reads this one but `weight`.
            fork_signaling: self.forks,
            parent_base_fee: parent.outcome.base_fee.clone(),
        })
    }

    fn set_head(&mut self, block: Arc<Block>) {
        self.store.set(record::HEAD, block.cid.to_bytes());
        self.head = block;
        self.set_skipped(0);
    }

    /// Takes tipsets off the head, newest first. What is produced next begins a fork; the old blocks stay readable.
    pub fn rewind(&mut self, depth: usize) -> Result<Vec<Arc<Block>>> {
        let height = self.head.height();
        let available = self.canonical.len() - 1;
        ensure!(
            depth <= available,
            "cannot take {depth} tipsets off: above genesis there are {available}, up to {height}"
        );
        let mut reverted = Vec::with_capacity(depth);
        for _ in 0..depth {
            let Some((_, block)) = self.canonical.pop_last() else { break };
            self.index.remove(&block::messages(&self.store, &block.header)?);
            reverted.push(block);
        }
        self.forks += 1;
        self.store.set(record::FORKS, self.forks.to_be_bytes().to_vec());
        let head = self.canonical.values().next_back().context("genesis cannot be reverted")?.clone();
        self.set_head(head);
        Ok(reverted)
    }

    /// Makes everything up to now durable; without a directory it does nothing.
    pub fn commit(&self) -> Result<()> {
        self.store.commit()
    }

    /// A tipset of this chain or of a fork, by its block.
    pub fn block(&self, cid: &Cid) -> Result<Arc<Block>> {
        match self.blocks.get(cid) {
            Some(block) => Ok(block.clone()),
            None => record::load(&self.store, cid),
        }
    }

    /// The tipset of a key; the head when the key is empty.
    pub fn tipset(&self, key: &TipsetKey) -> Result<Arc<Block>> {
        match key.0[..] {
            [] => Ok(self.head.clone()),
            [cid] => self.block(&cid),
            _ => bail!("tipset {key} not found: the devnet's tipsets have one block each"),
        }
    }

    /// Whether the tipset lies between genesis and the head.
    pub fn is_canonical(&self, block: &Block) -> bool {
        self.canonical.get(&block.height()).is_some_and(|other| other.cid == block.cid)
    }

    /// The newest tipset at or before an epoch.
    pub fn at_or_before(&self, epoch: ChainEpoch) -> Option<&Arc<Block>> {
        self.canonical.range(..=epoch).next_back().map(|(_, block)| block)
    }

    /// The oldest tipset at or after an epoch.
    pub fn at_or_after(&self, epoch: ChainEpoch) -> Option<&Arc<Block>> {
        self.canonical.range(epoch..).next().map(|(_, block)| block)
    }

    /// The newest tipset that counts as final.
    pub fn finalized(&self) -> &Arc<Block> {
        self.at_or_before(self.head.height() - self.config.finality).unwrap_or(&self.genesis)
    }

    /// The way from one tipset to another: reverts down to the common ancestor, then applies.
    pub fn path(&self, from: &TipsetKey, to: &TipsetKey) -> Result<Vec<HeadChange>> {
        let (mut from, mut to) = (self.tipset(from)?, self.tipset(to)?);
        let (mut reverts, mut applies) = (Vec::new(), Vec::new());
        while from.cid != to.cid {
            if from.height() >= to.height() {
                let parent = from.parent().context("the tipsets have no common ancestor")?;
                reverts.push(change(HeadChangeType::Revert, &from));
                from = self.block(&parent)?;
            } else {
                let parent = to.parent().context("the tipsets have no common ancestor")?;
                applies.push(change(HeadChangeType::Apply, &to));
                to = self.block(&parent)?;
            }
        }
        reverts.extend(applies.into_iter().rev());
        Ok(reverts)
    }
}

/// A step of the head.
pub fn change(r#type: HeadChangeType, block: &Block) -> HeadChange {
    HeadChange { r#type, val: block.tipset() }
}

/// A signed message as the executor takes it.
pub fn explicit(message: &SignedMessage) -> Result<Call> {
    let length = message.chain_length()?;
    Ok(Call { message: message.message.clone().into(), kind: ApplyKind::Explicit, length })
}

/// Where the messages of a block are executed.
pub fn env_in(header: &BlockHeader) -> Env {
    Env {
        epoch: header.height,
        timestamp: header.timestamp,
        base_fee: header.parent_base_fee.clone(),
        state_root: header.parent_state_root,
        parent: header.parents.first().copied(),
    }
}

/// How heavy the chain is with this block.
fn weight(header: &BlockHeader) -> BigInt {
    &header.parent_weight + BigInt::from(WEIGHT + header.fork_signaling)
}

fn timestamp(config: &Config, height: ChainEpoch, parent: u64) -> u64 {
    match config.genesis_timestamp {
        Some(genesis) => genesis.saturating_add((height as u64).saturating_mul(config.block_delay)),
        None => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs()).max(parent),
    }
}

fn begin(store: &Store, config: &Config) -> Result<Arc<Block>> {
    let state_root = genesis::build(store, config)?;
    let receipts = block::put_receipts(store, &[])?;
    let header = BlockHeader {
        miner: MINER,
        ticket: Some(Ticket { vrf_proof: blake2b_256(config.network_name.as_bytes()).to_vec() }),
        election_proof: None,
        beacon_entries: Vec::new(),
        win_post_proof: Vec::new(),
        parents: Vec::new(),
        parent_weight: BigInt::from(0),
        height: 0,
        parent_state_root: state_root,
        parent_message_receipts: receipts,
        messages: block::put_messages(store, &[])?,
        bls_aggregate: None,
        timestamp: timestamp(config, 0, 0),
        block_sig: None,
        fork_signaling: 0,
        parent_base_fee: config.base_fee.clone(),
    };
    let base_fee = fees::next_base_fee(&config.base_fee, 0);
    let outcome = Outcome { state_root, receipts, base_fee, bls_signatures: Vec::new() };
    let block = Arc::new(Block { cid: header.cid()?, header, outcome });
    record::save(store, &block)?;
    store.set(record::GENESIS, block.cid.to_bytes());
    store.set(record::HEAD, block.cid.to_bytes());
    Ok(block)
}
