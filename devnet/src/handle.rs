//! Starts and stops a devnet, and gives tests in the same process what they would otherwise ask by HTTP.

use std::{net::TcpListener, thread, time::Duration};

use anyhow::{Context, Result};
use bucket_rpc::json::{Message, MsgLookup, SignedMessage, Tipset};
use cid::Cid;
use fvm_ipld_blockstore::Blockstore;
use fvm_shared::{address::Network, clock::ChainEpoch};
use tokio::{runtime, sync::oneshot};

use crate::{
    account::Account,
    api,
    chain::Chain,
    config::{Config, Mining},
    drive::{Deployed, Executed},
    estimate, miner,
    node::{Node, NodeRef, Reorg, Started},
    wait::Wait,
};

/// How long connections have to end by themselves when the devnet stops.
const GRACE: Duration = Duration::from_secs(1);

/// A devnet in this process.
pub enum Devnet {}

impl Devnet {
    /// Starts a devnet and returns as soon as it can be asked. It stops when the handle is dropped.
    pub fn spawn(config: Config) -> Result<Handle> {
        // Addresses begin with t, as on every network but mainnet.
        bucket_rpc::json::set_network(Network::Testnet);
        let listener =
            TcpListener::bind(config.listen).with_context(|| format!("cannot listen on {}", config.listen))?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}/rpc/v1", listener.local_addr()?);

        let Started { node, modes, thread: node_thread } = Node::start(&config)?;
        let (stop, stopped) = oneshot::channel();
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("devnet-http")
            .enable_all()
            .build()
            .context("cannot start the devnet's runtime")?;
        let served = node.clone();
        let http_thread = thread::Builder::new().name("devnet-http".into()).spawn(move || {
            runtime.block_on(async move {
                tokio::select! {
                    result = serve(listener, served.clone()) => if let Err(error) = result {
                        tracing::error!("The devnet serves no longer: {error:#}");
                    },
                    () = miner::run(served, modes) => {}
                    _ = stopped => {}
                }
            });
            runtime.shutdown_timeout(GRACE);
        })?;
        Ok(Handle { node, url, config, stop: Some(stop), threads: vec![http_thread, node_thread] })
    }
}

async fn serve(listener: TcpListener, node: NodeRef) -> Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    Ok(axum::serve(listener, api::router(node)).await?)
}

/// A running devnet. Dropping it stops it and waits until its store is closed.
///
/// Methods block until the node has answered; only [`Handle::wait`] may take long, and it is asynchronous.
pub struct Handle {
    node: NodeRef,
    url: String,
    config: Config,
    stop: Option<oneshot::Sender<()>>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Handle {
    /// Where JSON-RPC is served, such as `http://127.0.0.1:1234/rpc/v1`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The same for WebSocket.
    pub fn ws_url(&self) -> String {
        self.url.replacen("http", "ws", 1)
    }

    /// The settings it runs with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The node itself, for whatever has no method here.
    pub fn node(&self) -> &NodeRef {
        &self.node
    }

    /// Stops the devnet. So does dropping the handle.
    pub fn stop(self) {}

    /// One of the funded accounts.
    pub fn account(&self, index: usize) -> Result<Account> {
        self.inspect(move |chain| chain.account(index))
    }

    /// One of the funded Ethereum accounts.
    pub fn eth_account(&self, index: usize) -> Result<Account> {
        self.inspect(move |chain| chain.eth_account(index))
    }

    /// Reads whatever the chain has.
    pub fn inspect<T: Send + 'static>(&self, read: impl FnOnce(&Chain) -> Result<T> + Send + 'static) -> Result<T> {
        self.node.run_blocking(|node| read(&node.chain))
    }

    /// The newest tipset.
    pub fn head(&self) -> Result<Tipset> {
        self.inspect(|chain| Ok(chain.head().tipset()))
    }

    /// The state after the head's messages.
    pub fn state_root(&self) -> Result<Cid> {
        self.inspect(|chain| Ok(chain.head().outcome.state_root))
    }

    /// The bytes of a block, if it is in the store.
    pub fn read_block(&self, cid: Cid) -> Result<Option<Vec<u8>>> {
        self.inspect(move |chain| chain.store().get(&cid))
    }

    /// Hands in a signed message, as `MpoolPush` does. Returns the CID to wait for.
    pub fn push(&self, message: SignedMessage) -> Result<Cid> {
        self.node.run_blocking(|node| node.push(message))
    }

    /// Estimates gas, takes the sender's next nonce, signs and hands in. Returns the CID to wait for.
    pub fn send(&self, sender: &Account, message: Message) -> Result<Cid> {
        let sender = sender.clone();
        self.node.run_blocking(move |node| estimate::send(node, &sender, message))
    }

    /// Gives a message a tipset of its own and says in detail what it did. See [`Chain::send`] for its gas.
    pub fn execute(&self, sender: &Account, message: Message) -> Result<Executed> {
        let sender = sender.clone();
        self.node.run_blocking(move |node| {
            let signed = node.chain.prepare(&sender, message)?;
            node.execute(signed)
        })
    }

    /// Installs a wasm module and creates an actor of it, each in a tipset of its own.
    pub fn deploy(&self, sender: &Account, wasm: &[u8], constructor_params: &[u8]) -> Result<Deployed> {
        let (sender, wasm, params) = (sender.clone(), wasm.to_vec(), constructor_params.to_vec());
        self.node.run_blocking(move |node| node.deploy(&sender, &wasm, &params))
    }

    /// Waits for a message with no more confidence than that it is executed. [`NodeRef::wait`] has all choices.
    pub async fn wait(&self, message: Cid) -> Result<MsgLookup> {
        self.node.wait(Wait { message, confidence: 0, limit: -1, allow_replaced: true }).await
    }

    /// Makes so many tipsets, the first with the messages that wait. Returns the new head.
    pub fn mine(&self, tipsets: u64) -> Result<Tipset> {
        self.node.run_blocking(move |node| node.mine(tipsets))?;
        self.head()
    }

    /// Lets so many epochs pass without a tipset. Returns the epoch that the next tipset will have.
    pub fn mine_null(&self, epochs: u32) -> Result<ChainEpoch> {
        self.node.run_blocking(move |node| {
            node.mine_null(epochs)?;
            Ok(node.chain.next_epoch())
        })
    }

    /// Replaces tipsets at the head. Returns the new head.
    pub fn reorg(&self, reorg: Reorg) -> Result<Tipset> {
        self.node.run_blocking(move |node| node.reorg(reorg))?;
        self.head()
    }

    /// Changes when tipsets are made.
    pub fn set_mining(&self, mining: Mining) -> Result<()> {
        self.node.run_blocking(move |node| node.set_mining(mining))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The thread may have ended by itself.
            let _ = stop.send(());
        }
        self.node.stop();
        for thread in self.threads.drain(..) {
            // A panic is already in the log.
            let _ = thread.join();
        }
    }
}
