//! Writing: a tipset in one transaction, and its reversal.

use cid::Cid;
use sqlx::{Row as _, Sqlite, SqliteConnection, SqlitePool, Transaction};

use super::state;
use crate::store::{Batch, CarMap, Executed, Halt, Result, StoreError, Tipset};
use bucket_core::dag_cbor;
use bucket_core::protocol::Op;

/// Begins a transaction that holds the write lock from its start, so that what it reads stays true.
async fn write(pool: &SqlitePool) -> Result<Transaction<'static, Sqlite>> {
    Ok(pool.begin_with("BEGIN IMMEDIATE").await?)
}

pub(super) async fn begin(pool: &SqlitePool, base: &Tipset, state: &[(Cid, Vec<u8>)]) -> Result<()> {
    let mut tx = write(pool).await?;
    if let Some(head) = state::head(&mut tx).await? {
        return Err(StoreError::Gap { head: head.key, parent: base.parent.clone() });
    }
    insert_tipset(&mut tx, base).await?;
    insert_blocks(&mut tx, state).await?;
    Ok(tx.commit().await?)
}

pub(super) async fn commit(pool: &SqlitePool, batch: &Batch) -> Result<()> {
    let mut tx = write(pool).await?;
    let head = state::some_head(&mut tx).await?;
    if head.key != batch.tipset.parent {
        return Err(StoreError::Gap { head: head.key, parent: batch.tipset.parent.clone() });
    }
    let place = At { tipset: insert_tipset(&mut tx, &batch.tipset).await?, height: batch.tipset.height };
    place.clear(&mut tx).await?;
    insert_blocks(&mut tx, &batch.blocks).await?;
    for car in &batch.cars {
        insert_car(&mut tx, car).await?;
    }
    for bucket in &batch.created {
        place.insert_bucket(&mut tx, bucket.as_str()).await?;
    }
    let mut ops = 0;
    for (at, executed) in (0..).zip(&batch.executed) {
        let bucket = bucket(&mut tx, executed.bucket.as_str()).await?;
        place.insert_execution(&mut tx, at, bucket, executed).await?;
        for op in &executed.ops {
            place.insert_op(&mut tx, ops, bucket, op).await?;
            ops += 1;
        }
    }
    for halt in &batch.halts {
        place.insert_halt(&mut tx, halt).await?;
    }
    Ok(tx.commit().await?)
}

/// A tipset that comes back after a reversal keeps its number.
async fn insert_tipset(tx: &mut SqliteConnection, tipset: &Tipset) -> Result<i64> {
    let row = sqlx::query(
        "INSERT INTO tipsets (key, parent, height, nulls, state) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (key) DO UPDATE SET parent = excluded.parent, nulls = excluded.nulls, state = excluded.state,
         reverted = 0 RETURNING id",
    )
    .bind(&tipset.key)
    .bind(&tipset.parent)
    .bind(tipset.height)
    .bind(tipset.nulls)
    .bind(tipset.state.to_bytes())
    .fetch_one(tx)
    .await?;
    Ok(row.try_get(0)?)
}

async fn insert_blocks(tx: &mut SqliteConnection, blocks: &[(Cid, Vec<u8>)]) -> Result<()> {
    for (cid, data) in blocks {
        sqlx::query("INSERT INTO blocks (hash, data) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(cid.hash().to_bytes())
            .bind(data.as_slice())
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

async fn insert_car(tx: &mut SqliteConnection, car: &CarMap) -> Result<()> {
    let added = sqlx::query("INSERT INTO cars (id, size) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(&car.id.0[..])
        .bind(car.size as i64)
        .execute(&mut *tx)
        .await?;
    if added.rows_affected() == 0 {
        return Ok(());
    }
    for (cid, at, len) in &car.blocks {
        sqlx::query("INSERT INTO car_blocks (hash, car, at, len) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING")
            .bind(cid.hash().to_bytes())
            .bind(&car.id.0[..])
            .bind(*at as i64)
            .bind(*len as i64)
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

async fn bucket(tx: &mut SqliteConnection, did: &str) -> Result<i64> {
    let row =
        sqlx::query("SELECT id FROM buckets WHERE did = $1 AND reverted = 0").bind(did).fetch_optional(tx).await?;
    row.map(|row| Ok(row.try_get(0)?))
        .unwrap_or_else(|| Err(StoreError::Broken(format!("an execution on {did}, which was never created"))))
}

/// The tipset that rows belong to.
struct At {
    tipset: i64,
    height: i64,
}

impl At {
    /// Rows of an earlier time on the chain: they are written again.
    async fn clear(&self, tx: &mut SqliteConnection) -> Result<()> {
        for sql in [
            "DELETE FROM ops WHERE tipset = $1",
            "DELETE FROM executions WHERE tipset = $1",
            "DELETE FROM halts WHERE tipset = $1",
        ] {
            sqlx::query(sql).bind(self.tipset).execute(&mut *tx).await?;
        }
        Ok(())
    }

    async fn insert_bucket(&self, tx: &mut SqliteConnection, did: &str) -> Result<()> {
        sqlx::query(
            "INSERT INTO buckets (did, tipset, height) VALUES ($1, $2, $3) ON CONFLICT (did)
             DO UPDATE SET tipset = excluded.tipset, height = excluded.height, reverted = 0",
        )
        .bind(did)
        .bind(self.tipset)
        .bind(self.height)
        .execute(tx)
        .await?;
        Ok(())
    }

    async fn insert_execution(
        &self,
        tx: &mut SqliteConnection,
        at: i64,
        bucket: i64,
        executed: &Executed,
    ) -> Result<()> {
        let forks: Vec<u8> = executed.forks.iter().flat_map(|fork| fork.0).collect();
        sqlx::query(
            "INSERT INTO executions
             (tipset, at, height, bucket, message, caller, cmd, ran, receipt, ok, version, cause, forks, invocation, task)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        )
        .bind(self.tipset)
        .bind(at)
        .bind(self.height)
        .bind(bucket)
        .bind(executed.message.to_bytes())
        .bind(executed.caller as i64)
        .bind(&executed.cmd)
        .bind(&executed.ran.0[..])
        .bind(&executed.receipt.0[..])
        .bind(i64::from(executed.ok))
        .bind(executed.version as i64)
        .bind(executed.cause.map(|cause| cause.0.to_vec()))
        .bind(forks)
        .bind(executed.names.map(|names| names.invocation.hash().to_bytes()))
        .bind(executed.names.map(|names| names.task.hash().to_bytes()))
        .execute(tx)
        .await?;
        Ok(())
    }

    async fn insert_op(&self, tx: &mut SqliteConnection, at: i64, bucket: i64, op: &Op) -> Result<()> {
        sqlx::query("UPDATE ops SET live = 0 WHERE bucket = $1 AND key = $2 AND protocol = $3 AND live = 1")
            .bind(bucket)
            .bind(op.key.as_slice())
            .bind(op.protocol)
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "INSERT INTO ops (tipset, at, height, bucket, protocol, key, value, live)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(self.tipset)
        .bind(at)
        .bind(self.height)
        .bind(bucket)
        .bind(op.protocol)
        .bind(op.key.as_slice())
        .bind(op.value.as_ref().map(dag_cbor::encode))
        .bind(i64::from(op.value.is_some()))
        .execute(tx)
        .await?;
        Ok(())
    }

    async fn insert_halt(&self, tx: &mut SqliteConnection, halt: &Halt) -> Result<()> {
        sqlx::query("INSERT INTO halts (tipset, height, bucket, reason, ours, chain) VALUES ($1, $2, $3, $4, $5, $6)")
            .bind(self.tipset)
            .bind(self.height)
            .bind(&halt.bucket)
            .bind(&halt.reason)
            .bind(&halt.ours)
            .bind(&halt.chain)
            .execute(tx)
            .await?;
        Ok(())
    }
}

/// The older root is chosen by the mark alone; only the marks of live rows are set anew, for the keys that were touched.
const REVERT: [&str; 5] = [
    "UPDATE executions SET reverted = 1 WHERE reverted = 0
     AND tipset IN (SELECT id FROM tipsets WHERE height > $1 AND reverted = 0)",
    "UPDATE buckets SET reverted = 1 WHERE reverted = 0
     AND tipset IN (SELECT id FROM tipsets WHERE height > $1 AND reverted = 0)",
    "UPDATE halts SET reverted = 1 WHERE reverted = 0
     AND tipset IN (SELECT id FROM tipsets WHERE height > $1 AND reverted = 0)",
    "UPDATE ops SET reverted = 1, live = 0 WHERE reverted = 0
     AND tipset IN (SELECT id FROM tipsets WHERE height > $1 AND reverted = 0)",
    "UPDATE ops SET live = 1 WHERE live = 0 AND value IS NOT NULL AND (tipset, at) IN (
         SELECT newest.tipset, newest.at
         FROM (SELECT DISTINCT bucket, key, protocol FROM ops
               WHERE tipset IN (SELECT id FROM tipsets WHERE height > $1 AND reverted = 0)) AS touched
         JOIN ops AS newest ON newest.bucket = touched.bucket AND newest.key = touched.key
              AND newest.protocol = touched.protocol AND newest.reverted = 0
         WHERE NOT EXISTS (
             SELECT 1 FROM ops AS newer WHERE newer.bucket = newest.bucket AND newer.key = newest.key
             AND newer.protocol = newest.protocol AND newer.reverted = 0
             AND (newer.height, newer.at) > (newest.height, newest.at)))",
];

pub(super) async fn revert(pool: &SqlitePool, height: i64) -> Result<u64> {
    let mut tx = write(pool).await?;
    for sql in REVERT {
        sqlx::query(sql).bind(height).execute(&mut *tx).await?;
    }
    let reverted = sqlx::query("UPDATE tipsets SET reverted = 1 WHERE height > $1 AND reverted = 0")
        .bind(height)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(reverted.rows_affected())
}
