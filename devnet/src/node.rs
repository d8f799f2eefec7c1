//! The node: a chain, the messages that wait for it, and those who follow its head.
//!
//! One thread owns it. Whatever wants something of it sends a closure ([`NodeRef::run`]) and waits for the answer, so
//! everything happens one after the other, and what a caller sees is never half done. A change of the head is made
//! durable first and announced then.

use std::{sync::Arc, sync::mpsc, thread};

use anyhow::{Context, Result, anyhow, bail, ensure};
use bucket_rpc::json::{HeadChange, HeadChangeType, SignedMessage};
use cid::Cid;
use fvm_shared::{address::Address, econ::TokenAmount};
use tokio::sync::{broadcast, oneshot, watch};

use crate::{
    account::Account,
    block::{self, Block},
    chain::{Chain, change},
    config::{Config, Mining},
    drive::{self, Deployed, Executed},
    fees::MINIMUM_BASE_FEE,
    mempool::{Mempool, Sender},
    state::State,
};

/// How many changes of the head a follower may be late. Whoever is later is told that it missed some.
const CHANGES_KEPT: usize = 1024;

/// A step of the head: one tipset more, or a whole reorg.
pub type Changes = Arc<Vec<HeadChange>>;

/// Everything that changes.
pub struct Node {
    /// The tipsets.
    pub chain: Chain,
    /// The messages that wait.
    pub pool: Mempool,
    mining: Mining,
    changes: broadcast::Sender<Changes>,
    mode: watch::Sender<Mining>,
    /// Set when a change of the head could not be made durable. Nothing may be shown then that a restart would undo.
    broken: Option<String>,
}

/// How to undo tipsets; see [`Node::reorg`].
#[derive(Debug, Clone, Copy)]
pub struct Reorg {
    /// How many tipsets at the head are replaced by as many others.
    pub depth: usize,
    /// How many epochs the fork lets pass before its first tipset, so that heights shift.
    pub null_rounds: u32,
    /// Whether the fork includes what the old tipsets did. If not, the messages wait for the next tipset.
    pub include: bool,
}

impl Reorg {
    /// What `Devnet.Reorg` does: one null round first, then tipsets with the same messages.
    pub fn of_depth(depth: usize) -> Self {
        Self { depth, null_rounds: 1, include: true }
    }
}

impl Node {
    /// Opens the chain and starts the node's thread.
    pub fn start(config: &Config) -> Result<Started> {
        let (changes, _) = broadcast::channel(CHANGES_KEPT);
        let weak = changes.downgrade();
        let (mode, modes) = watch::channel(config.mining);
        let chain = Chain::open(config)?;
        let pool = Mempool::default();
        let mut node = Self { chain, pool, mining: config.mining, changes, mode, broken: None };
        let (commands, queue) = mpsc::channel::<Command>();
        let thread = thread::Builder::new().name("devnet-node".into()).spawn(move || {
            while let Ok(Command::Run(work)) = queue.recv() {
                work(&mut node);
            }
        })?;
        Ok(Started { node: NodeRef { commands, changes: weak }, modes, thread })
    }

    /// When tipsets are made.
    pub fn mining(&self) -> Mining {
        self.mining
    }

    /// Changes when tipsets are made. What waits is mined at once when the new mode is the instant one.
    pub fn set_mining(&mut self, mining: Mining) -> Result<()> {
        if let Mining::Interval(milliseconds) = mining {
            ensure!(milliseconds > 0, "expected an interval of at least a millisecond, got 0");
        }
        self.mining = mining;
        self.mode.send_replace(mining);
        if mining == Mining::Instant { self.mine_waiting() } else { Ok(()) }
    }

    /// Takes a message into the pool, and mines it when mining is instant. Returns the CID to wait for.
    pub fn push(&mut self, message: SignedMessage) -> Result<Cid> {
        let sender = self.sender(&message.message.from)?;
        let sender =
            sender.with_context(|| format!("failed to get sender actor: actor not found: {}", message.message.from))?;
        self.pool.add(message.clone(), &sender)?;
        let cid = block::put_message(self.chain.store(), &message)?;
        if self.mining == Mining::Instant {
            self.mine_waiting()?;
        }
        Ok(cid)
    }

    /// A sender after the head's messages; none when it does not exist.
    pub fn sender(&self, address: &Address) -> Result<Option<Sender>> {
        let actor = self.chain.state()?.find(address)?;
        Ok(actor.map(|(_, actor)| Sender { nonce: actor.sequence, balance: actor.balance }))
    }

    /// Makes so many tipsets, the first with the messages that wait.
    pub fn mine(&mut self, tipsets: u64) -> Result<()> {
        (0..tipsets).try_for_each(|_| self.mine_one())
    }

    /// Lets so many epochs pass without a tipset.
    pub fn mine_null(&mut self, epochs: u32) -> Result<()> {
        self.chain.skip(epochs);
        self.chain.commit()
    }

    /// Instant mining: as long as messages are ready, a tipset with them and one that shows their results.
    ///
    /// For messages that offer less than the base fee it makes empty tipsets, until the base fee has fallen to them.
    fn mine_waiting(&mut self) -> Result<()> {
        let least = TokenAmount::from_atto(MINIMUM_BASE_FEE);
        loop {
            if !self.select()?.is_empty() {
                self.mine_one()?;
            } else if self.select_at(&least)?.is_empty() {
                return Ok(());
            }
            self.mine_one()?;
        }
    }

    fn mine_one(&mut self) -> Result<()> {
        let block = self.extend()?;
        self.announce(vec![change(HeadChangeType::Apply, &block)])
    }

    fn select(&self) -> Result<Vec<SignedMessage>> {
        self.select_at(&self.chain.head().outcome.base_fee)
    }

    fn select_at(&self, base_fee: &TokenAmount) -> Result<Vec<SignedMessage>> {
        let state = self.chain.state()?;
        self.pool.select(base_fee, |address| {
            let actor = state.find(address)?;
            Ok(actor.map(|(_, actor)| Sender { nonce: actor.sequence, balance: actor.balance }))
        })
    }

    /// Makes a tipset with what is ready, without telling anyone.
    fn extend(&mut self) -> Result<Arc<Block>> {
        let messages = self.select()?;
        let produced = self.chain.produce(messages.clone(), false);
        // If the FVM could not execute them, it could not do so the next time either.
        self.pool.remove(messages.iter().map(|message| &message.message));
        Ok(produced?.block)
    }

    /// Makes a change of the head durable, then tells those who follow.
    fn announce(&mut self, changes: Vec<HeadChange>) -> Result<()> {
        if let Err(error) = self.chain.commit() {
            self.broken = Some(format!("{error:#}"));
            return Err(error);
        }
        // An error means that nobody follows.
        let _ = self.changes.send(Arc::new(changes));
        Ok(())
    }

    /// Replaces tipsets at the head by others. The old ones stay readable by their keys.
    pub fn reorg(&mut self, reorg: Reorg) -> Result<()> {
        let Reorg { depth, null_rounds, include } = reorg;
        ensure!(depth > 0, "expected a depth of at least 1, got 0");
        let old_head = self.chain.head().key();
        let reverted = self.chain.rewind(depth)?;
        let forked = self.fork(&reverted, null_rounds, include);
        // Even a fork that could not be made to its end has moved the head.
        let path = self.chain.path(&old_head, &self.chain.head().key())?;
        self.announce(path)?;
        forked
    }

    fn fork(&mut self, reverted: &[Arc<Block>], null_rounds: u32, include: bool) -> Result<()> {
        let mut by_tipset = Vec::with_capacity(reverted.len());
        for block in reverted.iter().rev() {
            by_tipset.push(block::signed_messages(self.chain.store(), block)?);
        }
        self.pool.restore(by_tipset.into_iter().flatten().collect());
        self.chain.skip(null_rounds);
        for _ in reverted {
            if include {
                self.extend()?;
            } else {
                self.chain.produce(Vec::new(), false)?;
            }
        }
        Ok(())
    }

    /// Gives a message a tipset of its own, with a trace of its gas; and a second tipset, that shows the result, when
    /// mining is instant. The message pool and its rules are passed by.
    pub fn execute(&mut self, message: SignedMessage) -> Result<Executed> {
        let executed = self.chain.execute(message)?;
        self.announce(vec![change(HeadChangeType::Apply, &executed.block)])?;
        if self.mining == Mining::Instant {
            self.mine_one()?;
        }
        Ok(executed)
    }

    /// Installs a wasm module and creates an actor of it, each in a tipset of its own.
    pub fn deploy(&mut self, sender: &Account, wasm: &[u8], constructor_params: &[u8]) -> Result<Deployed> {
        let install = self.chain.prepare(sender, drive::install_message(sender.address(), wasm)?)?;
        let code = drive::install_code_return(&self.execute(install)?.success()?)?;
        let exec = self.chain.prepare(sender, drive::exec_message(sender.address(), code, constructor_params)?)?;
        drive::exec_return(self.execute(exec)?.success()?.receipt.return_data.bytes())
    }

    /// Mines empty tipsets until the head is so many epochs above `height`, if mining is instant.
    ///
    /// Time stands still between messages then, and whoever waits for confidence would wait for ever. Returns whether
    /// the head is there.
    pub fn reach(&mut self, height: i64, confidence: u64) -> Result<bool> {
        let goal = height.saturating_add(i64::try_from(confidence).unwrap_or(i64::MAX));
        let far = confidence > self.chain.config().finality.max(0).unsigned_abs();
        if self.mining == Mining::Instant && !far {
            while self.chain.head().height() < goal {
                self.mine_one()?;
            }
        }
        Ok(self.chain.head().height() >= goal)
    }

    /// The state that a tipset's messages start from.
    pub fn state_at(&self, block: &Block) -> Result<State> {
        State::load(self.chain.store(), &block.header.parent_state_root)
    }
}

/// A node that runs.
pub struct Started {
    /// The way to it.
    pub node: NodeRef,
    /// The mode of mining, now and later.
    pub modes: watch::Receiver<Mining>,
    /// Ends after [`NodeRef::stop`], and has closed the store then.
    pub thread: thread::JoinHandle<()>,
}

enum Command {
    Run(Box<dyn FnOnce(&mut Node) + Send>),
    Stop,
}

/// The way to a node; clones lead to the same one.
#[derive(Clone)]
pub struct NodeRef {
    commands: mpsc::Sender<Command>,
    /// Weak, so that followers learn of the node's end.
    changes: broadcast::WeakSender<Changes>,
}

impl NodeRef {
    /// Lets the node's thread run `work` and gives its result.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Node) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.submit(work)?.await.map_err(|_| gone())?
    }

    /// The same for callers that are not asynchronous.
    pub fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Node) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = mpsc::sync_channel(1);
        self.command(move |node| {
            let _ = reply.send(guarded(node, work));
        })?;
        answer.recv().map_err(|_| gone())?
    }

    fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Node) -> Result<T> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T>>> {
        let (reply, answer) = oneshot::channel();
        self.command(move |node| {
            // The caller may have lost patience.
            if !reply.is_closed() {
                let _ = reply.send(guarded(node, work));
            }
        })?;
        Ok(answer)
    }

    fn command(&self, command: impl FnOnce(&mut Node) + Send + 'static) -> Result<()> {
        self.commands.send(Command::Run(Box::new(command))).map_err(|_| gone())
    }

    /// Ends the node after what was asked of it before.
    pub fn stop(&self) {
        // It may have ended already.
        let _ = self.commands.send(Command::Stop);
    }

    /// Follows the head from now on, until the node ends.
    pub fn follow(&self) -> Result<broadcast::Receiver<Changes>> {
        Ok(self.changes.upgrade().ok_or_else(gone)?.subscribe())
    }
}

fn gone() -> anyhow::Error {
    anyhow!("the devnet's node has ended; the reason is in its log")
}

fn guarded<T>(node: &mut Node, work: impl FnOnce(&mut Node) -> Result<T>) -> Result<T> {
    if let Some(reason) = &node.broken {
        bail!("the devnet cannot write to its directory and has to be restarted: {reason}");
    }
    work(node)
}
