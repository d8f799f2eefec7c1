//! The service behind `store`: does what buckets ask of it, against an S3-compatible store, and tells them what came of it.
//!
//! It reads the outboxes of all buckets whose provider is its DID from an indexer, does what they ask for, and sends events as
//! signed invocations, paid for by a wallet's key. Nothing depends on its staying alive: what it did is in its [`ledger`] or on
//! the chain before anything follows from it, and each job may be done again. One entry's trouble is no other's.
//!
//! [`pass`](Worker::pass) looks at the index and gives each entry its turn, `entry` takes the turn, `event` tells the chain,
//! `sweep` takes away what nobody accounts for.
//!
//! It believes its indexer and its node; whoever serves it is to be its own.

mod entry;
mod event;
pub mod ledger;
mod pass;
pub mod retry;
pub mod s3;
mod sweep;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bucket_core::cid::CarId;
use bucket_core::did::BucketId;
use bucket_core::error::Failure;
use tokio::sync::Semaphore;

use crate::actor::ActorClient;
use crate::error::ClientError;
use crate::identity::Identity;
use crate::progress::{Progress, Step};
use crate::ucan::Held;

use ledger::{Key, Ledger, LedgerError};
use retry::Pauses;
use s3::{Head, S3, S3Error};
use sweep::Objects;

/// How a worker works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Bytes that each bucket may have.
    pub capacity: u64,
    /// Bytes that all of them together may have; `None` for no bound.
    pub total: Option<u64>,
    /// Epochs that an effect has to be old before anything is done for it: younger ones a reorganisation may take back.
    pub confidence: u64,
    /// The buckets that it serves, of those that name it; `None` for all of them.
    pub buckets: Option<BTreeSet<BucketId>>,
    /// Between two looks at the index.
    pub poll: Duration,
    /// Between two tries of what failed.
    pub pauses: Pauses,
}

impl Settings {
    /// A worker that gives each bucket so many bytes.
    pub fn new(capacity: u64) -> Self {
        let (poll, pauses) = (Duration::from_secs(5), Pauses::default());
        Self { capacity, total: None, confidence: 0, buckets: None, poll, pauses }
    }
}

/// Is told of each step outside the process, before and after it. For tests that end the process there.
pub trait Observer: Send + Sync {
    /// A step begins.
    fn before(&self, step: &'static str);
    /// It is over, well or not.
    fn after(&self, step: &'static str);
}

/// Nobody listens.
impl Observer for () {
    fn before(&self, _: &'static str) {}
    fn after(&self, _: &'static str) {}
}

/// What went wrong with an entry or a bucket, for now: it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The store for CARs.
    #[error(transparent)]
    S3(#[from] S3Error),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Node, indexer or actor.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The bucket says no to an event.
    #[error("the bucket refused {cmd}: {}: {}", .failure.name, .failure.message)]
    Refused {
        /// The event.
        cmd: String,
        /// Its words.
        failure: Failure,
    },
    /// A job that this version doesn't know.
    #[error("expected a job of store, got {0}")]
    Unknown(String),
    /// It broke off.
    #[error("it broke off: {0}")]
    Broken(String),
}

/// See the module. A clone is the same worker.
#[derive(Clone)]
pub struct Worker(Arc<Inner>);

/// A bucket that this worker serves, and what gives it the right.
#[derive(Debug)]
struct Service {
    bucket: BucketId,
    held: Vec<Held>,
}

struct Inner {
    client: ActorClient,
    key: Identity,
    s3: S3,
    ledger: Arc<Ledger>,
    settings: Settings,
    observer: Arc<dyn Observer>,
    progress: Progress,
    /// Events that were delivered, with the epoch at which the index should know of it.
    delivered: Mutex<BTreeMap<Key, i64>>,
    /// Objects that were read and are what their names say, as the store described them.
    verified: Mutex<BTreeMap<CarId, Head>>,
    /// Who is at work with an object.
    objects: Objects,
    /// Entries that have their turn at once.
    turns: Semaphore,
    /// Objects that are read at once.
    reading: Semaphore,
}

const TURNS_AT_ONCE: usize = 128;
const READING_AT_ONCE: usize = 4;

/// Objects whose description is kept in memory, 200 bytes each.
const VERIFIED_MAX: usize = 1 << 16;

impl Worker {
    /// A worker that acts as `key` and keeps CARs in `s3`. `client` needs a signer, who pays, and a gateway.
    pub fn new(client: ActorClient, key: Identity, s3: S3, ledger: Ledger, settings: Settings) -> Self {
        Self(Arc::new(Inner {
            client,
            key,
            s3,
            ledger: Arc::new(ledger),
            settings,
            observer: Arc::new(()),
            progress: Progress::default(),
            delivered: Mutex::default(),
            verified: Mutex::default(),
            objects: Objects::default(),
            turns: Semaphore::new(TURNS_AT_ONCE),
            reading: Semaphore::new(READING_AT_ONCE),
        }))
    }

    /// Tells `observer` of each step.
    #[must_use]
    pub fn with_observer(self, observer: impl Observer + 'static) -> Self {
        self.with(|inner| inner.observer = Arc::new(observer))
    }

    /// Tells `progress` what happens.
    #[must_use]
    pub fn with_progress(self, progress: Progress) -> Self {
        self.with(|inner| inner.progress = progress)
    }

    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::get_mut(&mut self.0).expect("settings are made before anybody else has the worker"));
        self
    }

    /// Who it is: what buckets name as their provider.
    pub fn did(&self) -> BucketId {
        self.0.key.did()
    }
}

impl Inner {
    fn note(&self, text: impl Into<String>) {
        self.progress.tell(Step::Note(text.into()));
    }

    /// A step outside the process.
    async fn step<T, E: Into<WorkerError>>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, WorkerError> {
        self.observer.before(name);
        let done = work.await;
        self.observer.after(name);
        done.map_err(Into::into)
    }

    /// A change of the ledger, which waits for the disk.
    async fn ledger<T: Send + 'static>(
        &self,
        name: &'static str,
        change: impl FnOnce(&Ledger) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, WorkerError> {
        let ledger = self.ledger.clone();
        let work = async {
            let changed = tokio::task::spawn_blocking(move || change(&ledger)).await;
            changed.map_err(|error| WorkerError::Broken(error.to_string()))?.map_err(WorkerError::from)
        };
        self.step(name, work).await
    }

    /// Whether an event was delivered at so late an epoch that the index, which is at `epoch`, doesn't know of it.
    fn is_delivered(&self, key: &Key, epoch: i64) -> bool {
        let mut delivered = self.delivered.lock().unwrap_or_else(PoisonError::into_inner);
        // What the index should know of and doesn't, a reorganisation took back.
        delivered.retain(|_, at| *at > epoch);
        delivered.contains_key(key)
    }

    fn is_verified(&self, link: &CarId, head: &Head) -> bool {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner).get(link) == Some(head)
    }

    fn verified(&self, link: CarId, head: Head) {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        // What is forgotten is only read once more.
        if verified.len() >= VERIFIED_MAX {
            verified.clear();
        }
        verified.insert(link, head);
    }

    fn delivered(&self, key: Key, at: i64) {
        self.delivered.lock().unwrap_or_else(PoisonError::into_inner).insert(key, at);
    }
}
