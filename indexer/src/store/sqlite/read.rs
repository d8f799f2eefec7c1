//! Reading: buckets, executions and rows of the current chain. Each list is read in one snapshot with the head.

use bucket_core::cid::CarId;
use bucket_core::did::BucketId;
use cid::Cid;
use futures::TryStreamExt;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection, SqlitePool};

use super::{bucket_id, car_id, cid, sql_limit, state};
use crate::store::{Created, Executed, Page, Place, Placed, Range, Result, Row, StoreError};

fn read_created(row: &SqliteRow) -> Result<Created> {
    Ok(Created { bucket: bucket_id(row.try_get(0)?)?, height: row.try_get(1)?, tipset: row.try_get(2)? })
}

pub(super) async fn buckets(pool: &SqlitePool, after: Option<&str>, limit: usize) -> Result<Page<Created>> {
    let mut tx = pool.begin().await?;
    let head = state::some_head(&mut tx).await?;
    let rows = sqlx::query(
        "SELECT b.did, b.height, t.key FROM buckets AS b JOIN tipsets AS t ON t.id = b.tipset
         WHERE b.reverted = 0 AND b.did > $1 ORDER BY b.did LIMIT $2",
    )
    .bind(after.unwrap_or_default())
    .bind(sql_limit(limit + 1))
    .fetch_all(&mut *tx)
    .await?;
    let mut rows: Vec<Created> = rows.iter().map(read_created).collect::<Result<_>>()?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    Ok(Page { head, rows, more })
}

pub(super) async fn created(pool: &SqlitePool, bucket: &BucketId) -> Result<Option<Created>> {
    const SQL: &str = "SELECT b.did, b.height, t.key FROM buckets AS b JOIN tipsets AS t ON t.id = b.tipset
         WHERE b.did = $1 AND b.reverted = 0";
    sqlx::query(SQL).bind(bucket.as_str()).fetch_optional(pool).await?.as_ref().map(read_created).transpose()
}

/// The number of a bucket of the current chain.
async fn number(conn: &mut SqliteConnection, bucket: &BucketId) -> Result<Option<i64>> {
    let found = sqlx::query("SELECT id FROM buckets WHERE did = $1 AND reverted = 0").bind(bucket.as_str());
    Ok(found.fetch_optional(conn).await?.map(|row| row.try_get(0)).transpose()?)
}

/// The columns of an execution, in the order in which [`placed`] reads them.
macro_rules! select_executions {
    (of_all $($rest:literal)+) => {
        concat!(
            "SELECT e.message, e.caller, e.cmd, e.ran, e.receipt, e.ok, e.version, e.cause, e.forks, e.height, e.at,
             t.key, b.did FROM executions AS e JOIN tipsets AS t ON t.id = e.tipset JOIN buckets AS b ON b.id = e.bucket
             WHERE e.reverted = 0 ",
            $($rest),+
        )
    };
    ($rest:literal) => {
        select_executions!(of_all " AND e.bucket = $1 " $rest)
    };
}

fn placed(bucket: &BucketId, row: &SqliteRow) -> Result<Placed> {
    let forks: &[u8] = row.try_get(8)?;
    let cause: Option<&[u8]> = row.try_get(7)?;
    Ok(Placed {
        executed: Executed {
            bucket: bucket.clone(),
            message: cid(row.try_get(0)?)?,
            caller: row.try_get::<i64, _>(1)? as u64,
            cmd: row.try_get(2)?,
            names: None,
            ran: car_id(row.try_get(3)?)?,
            receipt: car_id(row.try_get(4)?)?,
            ok: row.try_get::<i64, _>(5)? != 0,
            version: row.try_get::<i64, _>(6)? as u64,
            cause: cause.map(car_id).transpose()?,
            forks: forks.chunks(32).map(car_id).collect::<Result<_>>()?,
            ops: vec![],
        },
        place: Place { height: row.try_get(9)?, at: row.try_get(10)? },
        tipset: row.try_get(11)?,
    })
}

pub(super) async fn executions(
    pool: &SqlitePool,
    bucket: &BucketId,
    after: Option<Place>,
    limit: usize,
    reverse: bool,
) -> Result<Option<Page<Placed>>> {
    let (sql, begin) = if reverse {
        let sql = select_executions!(" AND (e.height, e.at) < ($2, $3) ORDER BY e.height DESC, e.at DESC LIMIT $4");
        (sql, Place { height: i64::MAX, at: i64::MAX })
    } else {
        let sql = select_executions!(" AND (e.height, e.at) > ($2, $3) ORDER BY e.height, e.at LIMIT $4");
        (sql, Place { height: i64::MIN, at: i64::MIN })
    };
    let Place { height, at } = after.unwrap_or(begin);
    let mut tx = pool.begin().await?;
    let head = state::some_head(&mut tx).await?;
    let Some(id) = number(&mut tx, bucket).await? else { return Ok(None) };
    let query = sqlx::query(sql).bind(id).bind(height).bind(at).bind(sql_limit(limit + 1));
    let rows = query.fetch_all(&mut *tx).await?;
    let mut rows: Vec<Placed> = rows.iter().map(|row| placed(bucket, row)).collect::<Result<_>>()?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    Ok(Some(Page { head, rows, more }))
}

pub(super) async fn execution(pool: &SqlitePool, bucket: &BucketId, ran: &CarId) -> Result<Option<Placed>> {
    const SQL: &str = select_executions!(" AND e.ran = $2 ORDER BY e.version DESC LIMIT 1");
    let mut tx = pool.begin().await?;
    let Some(id) = number(&mut tx, bucket).await? else { return Ok(None) };
    let row = sqlx::query(SQL).bind(id).bind(&ran.0[..]).fetch_optional(&mut *tx).await?;
    row.map(|row| placed(bucket, &row)).transpose()
}

pub(super) async fn execution_named(pool: &SqlitePool, name: &Cid) -> Result<Option<Placed>> {
    const SQL: &str = select_executions!(of_all
        " AND (e.invocation = $1 OR e.task = $1) AND NOT EXISTS (
              SELECT 1 FROM executions AS newer WHERE newer.bucket = e.bucket AND newer.ran = e.ran
              AND newer.version > e.version AND newer.reverted = 0)
          ORDER BY e.ok DESC, e.height, e.at LIMIT 1");
    let row = sqlx::query(SQL).bind(name.hash().to_bytes()).fetch_optional(pool).await?;
    row.map(|row| placed(&bucket_id(row.try_get(12)?)?, &row)).transpose()
}

pub(super) async fn execution_count(pool: &SqlitePool, bucket: &BucketId) -> Result<u64> {
    const SQL: &str = "SELECT COUNT(*) FROM executions
         WHERE bucket = (SELECT id FROM buckets WHERE did = $1) AND reverted = 0";
    let count: i64 = sqlx::query(SQL).bind(bucket.as_str()).fetch_one(pool).await?.try_get(0)?;
    Ok(count.unsigned_abs())
}

/// Four statements, because an open end as a condition would make SQLite read on behind the last row that is wanted.
macro_rules! select_rows {
    ($to:literal, $order:literal, $passed:literal) => {
        concat!(
            "SELECT protocol, key, value FROM ops
             WHERE bucket = $1 AND live = 1 AND key >= $2",
            $to,
            " AND NOT (key = $4 AND protocol ",
            $passed,
            " $5) ORDER BY key ",
            $order,
            ", protocol ",
            $order,
            " LIMIT $6"
        )
    };
}

pub(crate) fn rows_sql(range: &Range) -> &'static str {
    // `$3` is named in all four, so that they take the same arguments.
    match (range.to.is_some(), range.reverse) {
        (true, false) => select_rows!(" AND key < $3", "ASC", "<="),
        (true, true) => select_rows!(" AND key < $3", "DESC", ">="),
        (false, false) => select_rows!(" AND $3 IS NULL", "ASC", "<="),
        (false, true) => select_rows!(" AND $3 IS NULL", "DESC", ">="),
    }
}

/// The range that is left after the row that a page ended with.
fn resumed(range: &Range) -> Range {
    let mut range = range.clone();
    match &range.after {
        Some((key, _)) if range.reverse => {
            let behind = [key.as_slice(), &[0]].concat();
            range.to = Some(range.to.take().map_or(behind.clone(), |to| to.min(behind)));
        }
        Some((key, _)) => range.from = range.from.max(key.clone()),
        None => {}
    }
    range
}

pub(super) async fn rows(pool: &SqlitePool, bucket: &BucketId, range: &Range) -> Result<Option<Page<Row>>> {
    let range = resumed(range);
    let mut tx = pool.begin().await?;
    let head = state::some_head(&mut tx).await?;
    let Some(id) = number(&mut tx, bucket).await? else { return Ok(None) };
    let (rows, more) = fetch_rows(&mut tx, id, range).await?;
    Ok(Some(Page { head, rows, more }))
}

async fn fetch_rows(conn: &mut SqliteConnection, bucket: i64, range: Range) -> Result<(Vec<Row>, bool)> {
    let sql = rows_sql(&range);
    // Without a row to continue after, a protocol that no name comes before (or, downwards, after).
    let nowhere = if range.reverse { "\u{10ffff}" } else { "" };
    let (key, protocol) = range.after.unwrap_or_else(|| (vec![], nowhere.into()));
    let mut stream = sqlx::query(sql)
        .bind(bucket)
        .bind(range.from)
        .bind(range.to)
        .bind(key)
        .bind(protocol)
        .bind(sql_limit(range.limit + 1))
        .fetch(conn);
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while let Some(row) = stream.try_next().await? {
        if rows.len() == range.limit || (bytes >= range.bytes && !rows.is_empty()) {
            return Ok((rows, true));
        }
        let value: Option<Vec<u8>> = row.try_get(2)?;
        let value = value.ok_or_else(|| StoreError::Broken("a live row without a value".into()))?;
        bytes += value.len();
        rows.push(Row { protocol: row.try_get(0)?, key: row.try_get(1)?, value });
    }
    Ok((rows, false))
}
