//! The indexer: follows a bucket actor's chain, runs its messages again with the machine of `bucket-core`, compares, and
//! serves what came out over HTTP and IPFS' gateway protocol.
//!
//! Bytes of receipts never cross the chain; they are made again here. So verifying is no extra step: it is how they exist.
//!
//! Reading order: [`watch`] finds the tipsets, [`node`] asks for their messages, [`replay`] runs them, [`follow`] compares
//! and stores, with what [`calls`] finds in traces where messages alone don't explain the state; [`store`] and [`cars`] keep,
//! [`http`] serves (with [`signed`] receipts), [`validate`] compares it all once more.

pub mod blocks;
pub mod cache;
pub mod calls;
pub mod cars;
pub mod config;
pub mod follow;
pub mod http;
pub mod metrics;
pub mod node;
pub mod replay;
pub mod signed;
pub mod signer;
pub mod start;
pub mod status;
pub mod store;
pub mod validate;
pub mod view;
pub mod watch;

#[cfg(test)]
mod tests;

use std::fs::{File, TryLockError};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::serve::ListenerExt;
use bucket_rpc::Client;
use bucket_rpc::json::format_address_in;
use fvm_shared::address::Network;
use tokio::net::TcpListener;
use tokio::sync::watch as signal;
use tokio::task::JoinHandle;
use tracing::{info, warn};

pub use config::Config;

use crate::blocks::Blocks;
use crate::cars::Cars;
use crate::follow::Follow;
use crate::http::App;
use crate::metrics::Metrics;
use crate::node::Node;
use crate::signer::Signer;
use crate::status::Status;
use crate::store::{Sqlite, Store};
use crate::watch::Watch;

/// How long open requests may take when the indexer stops.
const DRAIN: Duration = Duration::from_secs(5);

/// An indexer that is ready to run: its data is open and its port bound.
pub struct Indexer {
    watch: Watch,
    app: App,
    sqlite: Sqlite,
    listener: TcpListener,
    addr: SocketAddr,
    /// Held while the data is in use.
    _lock: File,
}

/// The data of an index and the node that it follows.
pub(crate) async fn open(config: &Config) -> Result<(Sqlite, Cars, Arc<Node>)> {
    let actor = config.actor.context("no actor to follow: give --actor or BUCKET_ACTOR")?;
    let client = Client::from_api_info(&config.node)?;
    std::fs::create_dir_all(&config.data).with_context(|| format!("failed to make {}", config.data.display()))?;
    let sqlite = Sqlite::open(&config.data.join("index.sqlite")).await?;
    let cars = Cars::open(&config.data.join("cars"))?;
    // The letter of the network isn't known yet, and is no part of an address.
    sqlite.bind("actor", &format_address_in(Network::Mainnet, &actor)).await?;
    Ok((sqlite, cars, Arc::new(Node::new(client, actor))))
}

impl Indexer {
    /// Opens the data and binds the port. The node need not be there yet.
    pub async fn build(config: Config) -> Result<Self> {
        std::fs::create_dir_all(&config.data).with_context(|| format!("failed to make {}", config.data.display()))?;
        let lock = lock(&config)?;
        let signer = Arc::new(Signer::open(&config)?);
        let (sqlite, cars, node) = open(&config).await?;
        let store: Arc<dyn Store> = Arc::new(sqlite.clone());
        let blocks = Blocks::new(store.clone());
        let (status, metrics) = (Status::default(), Arc::new(Metrics::default()));
        // Known before the first look at the chain: a halted bucket stays halted over a restart.
        let halted = store.halts().await?.into_iter().map(|halt| halt.bucket).collect();
        status.update(|status| status.halted = halted);
        let app = App {
            store: store.clone(),
            blocks: blocks.clone(),
            cars: cars.clone(),
            status: status.clone(),
            signer,
            metrics: metrics.clone(),
            lag_max: config.max_lag,
            silence_max: config.silence_max(),
        };
        let follow = Follow { store, blocks, cars, node };
        let watch = Watch { follow, status, metrics, poll: config.poll_interval, start: config.start_epoch };
        let listener =
            TcpListener::bind(config.listen).await.with_context(|| format!("can't listen on {}", config.listen))?;
        let addr = listener.local_addr()?;
        Ok(Self { watch, app, sqlite, listener, addr, _lock: lock })
    }

    /// Where HTTP is served.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Runs until `stop`, or until one of the tasks ends; the error names the one.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) -> Result<()> {
        let Self { watch, app, sqlite, listener, addr, _lock } = self;
        let (closing, closed) = signal::channel(false);
        let (actor, signer) = (watch.follow.node.actor, app.signer.did());
        let mut http = tokio::spawn(serve(listener, app, closed));
        info!("Serving on http://{addr}, following actor {actor}, signing as {signer}");
        let result = tokio::select! {
            ended = watch.run() => ended.context("the watcher ended"),
            ended = &mut http => ended.map_err(Into::into).and_then(|ended| ended).context("the HTTP server ended"),
            () = stop => Ok(()),
        };
        let _ = closing.send(true);
        if !http.is_finished() && tokio::time::timeout(DRAIN, &mut http).await.is_err() {
            warn!("Requests are still open after {} s; leaving them", DRAIN.as_secs());
            http.abort();
        }
        sqlite.close().await;
        result
    }

    /// Runs in the background; [`Handle::stop`] ends it, and so does dropping the handle.
    pub fn spawn(self) -> Handle {
        let addr = self.addr;
        let (stop, mut stopped) = signal::channel(false);
        let task = tokio::spawn(self.run(async move {
            // Ends as well when the handle is gone.
            let _ = stopped.wait_for(|stopped| *stopped).await;
        }));
        Handle { addr, stop, task: Some(task) }
    }
}

/// One process for one folder: two writers would each revert what the other applied.
fn lock(config: &Config) -> Result<File> {
    let path = config.data.join("lock");
    let file = File::create(&path).with_context(|| format!("failed to make {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => anyhow::bail!("{} is in use by another indexer", config.data.display()),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("failed to lock {}", path.display())),
    }
}

async fn serve(listener: TcpListener, app: App, mut closed: signal::Receiver<bool>) -> Result<()> {
    // Without it small answers wait for the client's acknowledgement: 44 ms each.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            warn!("Failed to set TCP_NODELAY: {error}");
        }
    });
    let closing = async move {
        let _ = closed.wait_for(|closed| *closed).await;
    };
    Ok(axum::serve(listener, http::router(app)).with_graceful_shutdown(closing).await?)
}

/// A running indexer.
#[derive(Debug)]
pub struct Handle {
    addr: SocketAddr,
    stop: signal::Sender<bool>,
    task: Option<JoinHandle<Result<()>>>,
}

impl Handle {
    /// Where HTTP is served.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The base of all routes, like `http://127.0.0.1:4180`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Stops it in order and answers what it ended with.
    pub async fn stop(mut self) -> Result<()> {
        let _ = self.stop.send(true);
        match self.task.take() {
            Some(task) => task.await?,
            None => Ok(()),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}
