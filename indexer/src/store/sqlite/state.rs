//! Tipsets, blocks, halts, and what binds the file to its chain.

use bucket_core::cid::CarId;
use cid::Cid;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection, SqlitePool};

use super::{car_id, cid};
use crate::store::{Counts, Halt, Result, StoreError, Tipset};

pub(super) async fn bind(pool: &SqlitePool, name: &'static str, value: &str) -> Result<()> {
    let row = sqlx::query("SELECT value FROM meta WHERE name = $1").bind(name).fetch_optional(pool).await?;
    let Some(row) = row else {
        let insert = sqlx::query("INSERT INTO meta (name, value) VALUES ($1, $2)");
        insert.bind(name).bind(value).execute(pool).await?;
        return Ok(());
    };
    let found: String = row.try_get(0)?;
    if found != value {
        return Err(StoreError::Foreign { name, found, wanted: value.into() });
    }
    Ok(())
}

fn read_tipset(row: &SqliteRow) -> Result<Tipset> {
    Ok(Tipset {
        key: row.try_get("key")?,
        parent: row.try_get("parent")?,
        height: row.try_get("height")?,
        nulls: row.try_get("nulls")?,
        state: cid(row.try_get("state")?)?,
    })
}

pub(super) async fn head(conn: &mut SqliteConnection) -> Result<Option<Tipset>> {
    const SQL: &str =
        "SELECT key, parent, height, nulls, state FROM tipsets WHERE reverted = 0 ORDER BY height DESC LIMIT 1";
    sqlx::query(SQL).fetch_optional(conn).await?.as_ref().map(read_tipset).transpose()
}

/// The newest tipset, for reads that make no sense without one.
pub(super) async fn some_head(conn: &mut SqliteConnection) -> Result<Tipset> {
    head(conn).await?.ok_or(StoreError::Empty)
}

pub(super) async fn tipset(conn: &mut SqliteConnection, key: &str) -> Result<Option<Tipset>> {
    const SQL: &str = "SELECT key, parent, height, nulls, state FROM tipsets WHERE key = $1 AND reverted = 0";
    sqlx::query(SQL).bind(key).fetch_optional(conn).await?.as_ref().map(read_tipset).transpose()
}

pub(super) async fn base(conn: &mut SqliteConnection) -> Result<Option<Tipset>> {
    const SQL: &str =
        "SELECT key, parent, height, nulls, state FROM tipsets WHERE reverted = 0 ORDER BY height ASC LIMIT 1";
    sqlx::query(SQL).fetch_optional(conn).await?.as_ref().map(read_tipset).transpose()
}

pub(super) async fn block(pool: &SqlitePool, cid: &Cid) -> Result<Option<Vec<u8>>> {
    let row =
        sqlx::query("SELECT data FROM blocks WHERE hash = $1").bind(cid.hash().to_bytes()).fetch_optional(pool).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

pub(super) async fn car_block(pool: &SqlitePool, cid: &Cid) -> Result<Option<(CarId, u64, u64)>> {
    let row = sqlx::query("SELECT car, at, len FROM car_blocks WHERE hash = $1")
        .bind(cid.hash().to_bytes())
        .fetch_optional(pool)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let (at, len): (i64, i64) = (row.try_get(1)?, row.try_get(2)?);
    Ok(Some((car_id(row.try_get(0)?)?, at.unsigned_abs(), len.unsigned_abs())))
}

pub(super) async fn halts(pool: &SqlitePool) -> Result<Vec<Halt>> {
    const SQL: &str =
        "SELECT bucket, height, reason, ours, chain FROM halts WHERE reverted = 0 ORDER BY height, bucket";
    let rows = sqlx::query(SQL).fetch_all(pool).await?;
    let read = |row: &SqliteRow| {
        Ok(Halt {
            bucket: row.try_get(0)?,
            height: row.try_get(1)?,
            reason: row.try_get(2)?,
            ours: row.try_get(3)?,
            chain: row.try_get(4)?,
        })
    };
    rows.iter().map(read).collect()
}

/// Tipsets after the base whose parent is not the one below them.
const GAPS: &str = "
    SELECT COUNT(*) FROM (
        SELECT parent, LAG(key) OVER (ORDER BY height) AS below, ROW_NUMBER() OVER (ORDER BY height) AS place
        FROM tipsets WHERE reverted = 0
    ) AS pairs WHERE place > 1 AND parent <> below";

/// Keys of the current chain whose newest row is live although it deletes, or is not live although it puts; and live rows
/// of abandoned tipsets.
const STALE_ROWS: &str = "
    SELECT COUNT(*) FROM (
        SELECT live, value, reverted, ROW_NUMBER() OVER (
            PARTITION BY bucket, key, protocol ORDER BY reverted, height DESC, at DESC
        ) AS age FROM ops
    ) AS rows WHERE live <> (age = 1 AND reverted = 0 AND value IS NOT NULL)";

pub(super) async fn counts(pool: &SqlitePool) -> Result<Counts> {
    let mut tx = pool.begin().await?;
    let mut counts = [0u64; 4];
    let queries = [
        GAPS,
        STALE_ROWS,
        "SELECT COUNT(*) FROM tipsets WHERE reverted = 0",
        "SELECT COUNT(*) FROM executions WHERE reverted = 0",
    ];
    for (count, sql) in counts.iter_mut().zip(queries) {
        let n: i64 = sqlx::query(sql).fetch_one(&mut *tx).await?.try_get(0)?;
        *count = n.unsigned_abs();
    }
    let [gaps, stale_rows, tipsets, executions] = counts;
    Ok(Counts { gaps, stale_rows, tipsets, executions })
}
