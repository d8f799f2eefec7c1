//! SQLite, embedded: one file, WAL, one writer.

mod commit;
mod read;
#[cfg(test)]
pub(crate) use read::rows_sql;
mod state;

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bucket_core::cid::CarId;
use bucket_core::did::BucketId;
use cid::Cid;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::{Batch, Counts, Created, Halt, Page, Place, Placed, Range, Result, Row, Store, StoreError, Tipset};

/// How long a statement waits for a lock: longer than any of our own transactions takes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections that read at once; each has a page cache of its own.
const READERS: u32 = 4;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// An index in a SQLite file.
#[derive(Debug, Clone)]
pub struct Sqlite {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl Sqlite {
    /// Opens or creates the file and brings its schema up to date.
    pub async fn open(path: &Path) -> Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .journal_mode(SqliteJournalMode::Wal)
            // Safe with WAL: a loss of power may cost the last tipsets, which are then followed again.
            .synchronous(SqliteSynchronous::Normal);
        // One writer, so that writers wait in line here and not in SQLite's busy loop.
        let writer = SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await?;
        MIGRATIONS.run(&writer).await?;
        let readers = options.create_if_missing(false).read_only(true);
        let readers = SqlitePoolOptions::new().max_connections(READERS).connect_with(readers).await?;
        Ok(Self { writer, readers })
    }

    /// Closes the file after what is under way.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// `LIMIT` as SQL wants it.
fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn cid(bytes: &[u8]) -> Result<Cid> {
    Cid::try_from(bytes).map_err(|error| StoreError::Broken(format!("a CID: {error}")))
}

fn car_id(bytes: &[u8]) -> Result<CarId> {
    let digest = bytes.try_into().map_err(|_| StoreError::Broken(format!("{} bytes for a digest", bytes.len())))?;
    Ok(CarId(digest))
}

fn bucket_id(text: &str) -> Result<BucketId> {
    text.parse().map_err(|error| StoreError::Broken(format!("{error}")))
}

#[async_trait]
impl Store for Sqlite {
    async fn bind(&self, name: &'static str, value: &str) -> Result<()> {
        state::bind(&self.writer, name, value).await
    }

    async fn head(&self) -> Result<Option<Tipset>> {
        state::head(&mut *self.readers.acquire().await?).await
    }

    async fn tipset(&self, key: &str) -> Result<Option<Tipset>> {
        state::tipset(&mut *self.readers.acquire().await?, key).await
    }

    async fn base(&self) -> Result<Option<Tipset>> {
        state::base(&mut *self.readers.acquire().await?).await
    }

    async fn begin(&self, base: &Tipset, blocks: &[(Cid, Vec<u8>)]) -> Result<()> {
        commit::begin(&self.writer, base, blocks).await
    }

    async fn commit(&self, batch: &Batch) -> Result<()> {
        commit::commit(&self.writer, batch).await
    }

    async fn revert(&self, height: i64) -> Result<u64> {
        commit::revert(&self.writer, height).await
    }

    async fn block(&self, cid: &Cid) -> Result<Option<Vec<u8>>> {
        state::block(&self.readers, cid).await
    }

    async fn car_block(&self, cid: &Cid) -> Result<Option<(CarId, u64, u64)>> {
        state::car_block(&self.readers, cid).await
    }

    async fn buckets(&self, after: Option<&str>, limit: usize) -> Result<Page<Created>> {
        read::buckets(&self.readers, after, limit).await
    }

    async fn created(&self, bucket: &BucketId) -> Result<Option<Created>> {
        read::created(&self.readers, bucket).await
    }

    async fn halts(&self) -> Result<Vec<Halt>> {
        state::halts(&self.readers).await
    }

    async fn executions(
        &self,
        bucket: &BucketId,
        after: Option<Place>,
        limit: usize,
        reverse: bool,
    ) -> Result<Option<Page<Placed>>> {
        read::executions(&self.readers, bucket, after, limit, reverse).await
    }

    async fn execution(&self, bucket: &BucketId, ran: &CarId) -> Result<Option<Placed>> {
        read::execution(&self.readers, bucket, ran).await
    }

    async fn execution_named(&self, name: &Cid) -> Result<Option<Placed>> {
        read::execution_named(&self.readers, name).await
    }

    async fn execution_count(&self, bucket: &BucketId) -> Result<u64> {
        read::execution_count(&self.readers, bucket).await
    }

    async fn rows(&self, bucket: &BucketId, range: &Range) -> Result<Option<Page<Row>>> {
        read::rows(&self.readers, bucket, range).await
    }

    async fn counts(&self) -> Result<Counts> {
        state::counts(&self.readers).await
    }
}
