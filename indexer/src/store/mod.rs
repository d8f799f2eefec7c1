//! What the indexer keeps, as one trait and a module per engine.
//!
//! Invariants that every engine keeps:
//! - **A tipset is in the index with all of its rows or not at all** ([`Store::commit`] is one transaction).
//! - **A tipset only follows its parent**, so there are no gaps.
//! - **Reads see the current chain**, as of one moment per call; reverted rows are for those who look into the tables.

pub mod sqlite;

use async_trait::async_trait;
use bucket_core::cid::CarId;
use bucket_core::did::BucketId;
use bucket_core::protocol::Op;
use cid::Cid;

pub use sqlite::Sqlite;

use crate::signed::Names;

/// What a store answers.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Why the store gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The engine failed.
    #[error("the database failed: {0}")]
    Engine(#[from] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("the database can't be migrated: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// Nothing is indexed yet.
    #[error("the index is empty: it hasn't found the actor on the chain yet")]
    Empty,
    /// A tipset that doesn't follow the newest one.
    #[error("expected a tipset after {head}, got one after {parent}")]
    Gap {
        /// Key of the newest tipset in the index.
        head: String,
        /// Parent of the tipset that came.
        parent: String,
    },
    /// The database belongs to something else.
    #[error("the data directory is an index of {name} {found}, not of {wanted}: choose another one")]
    Foreign {
        /// What differs.
        name: &'static str,
        /// What the index is of.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// A row that no version of this program has written.
    #[error("broken row: {0}")]
    Broken(String),
}

/// An executed tipset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tipset {
    /// CIDs of its blocks, by commas; empty before genesis.
    pub key: String,
    /// Key of its parent.
    pub parent: String,
    /// Its epoch.
    pub height: i64,
    /// Null rounds between its parent and itself.
    pub nulls: i64,
    /// The actor's state after its messages.
    pub state: Cid,
}

/// All that one tipset adds.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The tipset.
    pub tipset: Tipset,
    /// Blocks of state that are new.
    pub blocks: Vec<(Cid, Vec<u8>)>,
    /// Buckets that it created.
    pub created: Vec<BucketId>,
    /// Tasks that ran, in their order.
    pub executed: Vec<Executed>,
    /// CARs of the tasks and their receipts; their bytes must be in the object store already.
    pub cars: Vec<CarMap>,
    /// Buckets that are halted from here on.
    pub halts: Vec<Halt>,
}

/// A task that ran.
#[derive(Debug, Clone, PartialEq)]
pub struct Executed {
    /// The bucket.
    pub bucket: BucketId,
    /// The chain's message.
    pub message: Cid,
    /// Actor id of the message's sender.
    pub caller: u64,
    /// The command.
    pub cmd: String,
    /// What people call it by. Not read back.
    pub names: Option<Names>,
    /// The input CAR.
    pub ran: CarId,
    /// The receipt CAR.
    pub receipt: CarId,
    /// Whether the receipt holds an `ok`.
    pub ok: bool,
    /// 1, and one more for each forced run.
    pub version: u64,
    /// The receipt that asked for it.
    pub cause: Option<CarId>,
    /// CARs that it scheduled.
    pub forks: Vec<CarId>,
    /// Index rows, that of the receipt included. Not read back.
    pub ops: Vec<Op>,
}

/// Where the blocks of a CAR lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CarMap {
    /// The CAR.
    pub id: CarId,
    /// Its length.
    pub size: u64,
    /// Blocks with offset and length of their data.
    pub blocks: Vec<(Cid, u64, u64)>,
}

/// A bucket's index that doesn't follow the chain any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halt {
    /// The bucket, or [`Halt::ALL`].
    pub bucket: String,
    /// The epoch from which on it is halted. Filled in by the store.
    pub height: i64,
    /// What differs.
    pub reason: String,
    /// What the replay gave.
    pub ours: String,
    /// What the chain says.
    pub chain: String,
}

impl Halt {
    /// Stands for more than the buckets that are known.
    pub const ALL: &'static str = "*";
}

/// A bucket and where it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// The bucket.
    pub bucket: BucketId,
    /// Epoch of the tipset that created it.
    pub height: i64,
    /// Key of that tipset.
    pub tipset: String,
}

/// A task that ran, with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Placed {
    /// What ran.
    pub executed: Executed,
    /// Where.
    pub place: Place,
    /// Key of the tipset.
    pub tipset: String,
}

/// A place on the chain: the order of executions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The epoch.
    pub height: i64,
    /// The number within the tipset.
    pub at: i64,
}

/// A part of a list, with the tipset that it was read at.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// The newest tipset of the index.
    pub head: Tipset,
    /// The rows.
    pub rows: Vec<T>,
    /// Whether there are more.
    pub more: bool,
}

/// Which rows of the current view to read.
#[derive(Debug, Clone, Default)]
pub struct Range {
    /// Keys from here on.
    pub from: Vec<u8>,
    /// Keys before this one; all when none.
    pub to: Option<Vec<u8>>,
    /// Continue after this row: its key and protocol.
    pub after: Option<(Vec<u8>, String)>,
    /// From the greatest key down.
    pub reverse: bool,
    /// At most so many rows.
    pub limit: usize,
    /// No further row once so many bytes of values are there.
    pub bytes: usize,
}

/// A row of the current view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The protocol that wrote it.
    pub protocol: String,
    /// The key, ordered by its bytes.
    pub key: Vec<u8>,
    /// The value's DAG-CBOR.
    pub value: Vec<u8>,
}

/// What `validate` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Tipsets that don't follow the one before them.
    pub gaps: u64,
    /// Keys whose live row is not the newest of the current chain.
    pub stale_rows: u64,
    /// Tipsets of the current chain.
    pub tipsets: u64,
    /// Executions of the current chain.
    pub executions: u64,
}

/// A database of the index.
#[async_trait]
pub trait Store: Send + Sync {
    /// Binds a new database to `value` under `name`, or checks that an old one is bound to it.
    async fn bind(&self, name: &'static str, value: &str) -> Result<()>;

    /// The newest tipset.
    async fn head(&self) -> Result<Option<Tipset>>;

    /// A tipset of the current chain.
    async fn tipset(&self, key: &str) -> Result<Option<Tipset>>;

    /// The tipset of the current chain that all others follow.
    async fn base(&self) -> Result<Option<Tipset>>;

    /// Begins the index after `base`, whose state is `blocks`.
    async fn begin(&self, base: &Tipset, blocks: &[(Cid, Vec<u8>)]) -> Result<()>;

    /// Adds a tipset after the newest one.
    async fn commit(&self, batch: &Batch) -> Result<()>;

    /// Reverts all tipsets above `height` and answers how many.
    async fn revert(&self, height: i64) -> Result<u64>;

    /// A block of state.
    async fn block(&self, cid: &Cid) -> Result<Option<Vec<u8>>>;

    /// The CAR that holds a block, with offset and length.
    async fn car_block(&self, cid: &Cid) -> Result<Option<(CarId, u64, u64)>>;

    /// Buckets by their DIDs, after `after`.
    async fn buckets(&self, after: Option<&str>, limit: usize) -> Result<Page<Created>>;

    /// A bucket.
    async fn created(&self, bucket: &BucketId) -> Result<Option<Created>>;

    /// All halts in force.
    async fn halts(&self) -> Result<Vec<Halt>>;

    /// Executions of a bucket in their order, or from the newest when `reverse`; `None` when there is no such bucket.
    async fn executions(
        &self,
        bucket: &BucketId,
        after: Option<Place>,
        limit: usize,
        reverse: bool,
    ) -> Result<Option<Page<Placed>>>;

    /// The newest execution of a CAR on a bucket.
    async fn execution(&self, bucket: &BucketId, ran: &CarId) -> Result<Option<Placed>>;

    /// What came of an invocation or task with this name: a success before failures, as somebody else may have sent the same
    /// in another CAR, then the earliest; of each CAR the newest.
    async fn execution_named(&self, name: &Cid) -> Result<Option<Placed>>;

    /// How many executions a bucket has.
    async fn execution_count(&self, bucket: &BucketId) -> Result<u64>;

    /// Rows of a bucket's current view; `None` when there is no such bucket.
    async fn rows(&self, bucket: &BucketId, range: &Range) -> Result<Option<Page<Row>>>;

    /// Checks the rows against each other.
    async fn counts(&self) -> Result<Counts>;
}
