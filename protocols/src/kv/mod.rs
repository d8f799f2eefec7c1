//! `kv`: an ordered key-value store, as level-bucket-vm had one. Keys are charwise values, values are anything.
//!
//! | command | args | out |
//! |---|---|---|
//! | `/kv/put` | `{key, value}` | `{put: 1, del: 0}` |
//! | `/kv/del` | `{key}` | `{put: 0, del: 1}` |
//! | `/kv/batch` | `{ops: [{type: "put", key, value} \| {type: "del", key}]}` | `{put, del}`, all or nothing |
//!
//! State holds, under each encoded key, the value's DAG-CBOR when that is short, else a mark and its SHA-256: the value
//! itself is in the CAR, which everybody has who replays, and bytes in state are what a message pays for.

pub mod charwise;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bucket_core::cid::CarId;
use bucket_core::dag_cbor::{self, Ipld};
use bucket_core::error::{Error, Failure};
use bucket_core::protocol::{Call, Cx, Op, Protocol, Weight};
use bucket_core::task::Task;

use crate::args::{self, Args};

/// An encoded key, in bytes: it is written with its neighbours in the HAMT.
pub const KEY_BYTES_MAX: usize = 256;

/// Ops of one batch: each rewrites a path of the map, and all of them have to fit a message's gas, or nobody could run it.
pub const BATCH_OPS_MAX: usize = 256;

/// Values whose DAG-CBOR is longer are in state by their hash.
pub const INLINE_BYTES_MAX: usize = 32;

/// Begins a hash in state; no DAG-CBOR value begins so.
pub const HASHED: u8 = 0xff;

const NAME: &str = "kv";

/// The protocol.
pub struct Kv;

impl Protocol for Kv {
    fn name(&self) -> &'static str {
        NAME
    }

    fn commands(&self) -> &'static [&'static str] {
        &["/kv/put", "/kv/del", "/kv/batch"]
    }

    fn weight(&self, task: &Task) -> Weight {
        let writes = if let Some(Ipld::List(ops)) = task.args.get("ops") { ops.len().min(BATCH_OPS_MAX) } else { 1 };
        Weight { writes, ..Weight::NONE }
    }

    fn execute(&self, cx: &mut Cx<'_>, call: &Call<'_>) -> Result<Ipld, Error> {
        let edits = match call.task.cmd.as_str() {
            "/kv/put" => vec![put(Args::new(&call.task.args))?],
            "/kv/del" => vec![del(Args::new(&call.task.args))?],
            _ => batch(&call.task.args)?,
        };
        // After this point it must succeed.
        let puts = edits.iter().filter(|edit| edit.value.is_some()).count();
        let dels = edits.len() - puts;
        edits.into_iter().for_each(|edit| edit.apply(cx));
        Ok(dag_cbor::map([("put", puts), ("del", dels)].map(|(key, n)| (key, Ipld::Integer(n as i128)))))
    }
}

/// A key with the value to put, or `None` to delete it.
struct Edit<'a> {
    key: String,
    value: Option<&'a Ipld>,
}

impl Edit<'_> {
    fn apply(self, cx: &mut Cx<'_>) {
        let key = self.key.into_bytes();
        match self.value {
            Some(value) => {
                let stored = stored(cx, value);
                cx.put(&key, stored);
                cx.put_op(key, value.clone());
            }
            None => {
                cx.del(&key);
                cx.del_op(key);
            }
        }
    }
}

fn stored(cx: &Cx<'_>, value: &Ipld) -> Vec<u8> {
    let bytes = dag_cbor::encode(value);
    if bytes.len() <= INLINE_BYTES_MAX { bytes } else { [&[HASHED], &cx.sha2_256(&bytes)[..]].concat() }
}

fn put(mut fields: Args<'_>) -> Result<Edit<'_>, Failure> {
    let edit = Edit { key: key(fields.take("key")?)?, value: Some(fields.take("value")?) };
    fields.end()?;
    Ok(edit)
}

fn del(mut fields: Args<'_>) -> Result<Edit<'_>, Failure> {
    let edit = Edit { key: key(fields.take("key")?)?, value: None };
    fields.end()?;
    Ok(edit)
}

fn batch(fields: &BTreeMap<String, Ipld>) -> Result<Vec<Edit<'_>>, Failure> {
    let mut fields = Args::new(fields);
    let ops = args::list("ops", fields.take("ops")?)?;
    fields.end()?;
    let edit = |op| {
        let mut op = Args::new(args::map("ops", op)?);
        match args::string("type", op.take("type")?)? {
            "put" => put(op),
            "del" => del(op),
            other => Err(Failure::args(format!("expected an op of type put or del, got “{other}”"))),
        }
    };
    if ops.len() > BATCH_OPS_MAX {
        let message = format!("expected at most {BATCH_OPS_MAX} ops in a batch, got {}", ops.len());
        return Err(Failure::new("BatchTooLarge", message));
    }
    ops.iter().map(edit).collect()
}

/// Checks and encodes a user's key.
fn key(value: &Ipld) -> Result<String, Failure> {
    if matches!(value, Ipld::List(list) if list.first() == Some(&Ipld::Null)) {
        let message = "expected a key outside [null, …], which is kept for receipts";
        return Err(Failure::new("KeyReserved", message));
    }
    let too_long = |got| {
        let message = format!("expected a key of at most {KEY_BYTES_MAX} bytes when encoded, got {got}");
        Failure::new("KeyTooLong", message)
    };
    let least = charwise::least_len(value);
    if least > KEY_BYTES_MAX {
        return Err(too_long(format!("{least} or more")));
    }
    let encoded = charwise::encode(value).map_err(|error| Failure::new("KeyInvalid", error.to_string()))?;
    if encoded.len() > KEY_BYTES_MAX {
        return Err(too_long(encoded.len().to_string()));
    }
    Ok(encoded)
}

/// The index row of a receipt: `[null, CAR id, null]` → link to the receipt. It sorts before all lists of users but the empty
/// one, and after what is no list.
pub fn receipt_op(ran: CarId, receipt: CarId) -> Op {
    let key = Ipld::List(vec![Ipld::Null, Ipld::String(ran.to_string()), Ipld::Null]);
    let key = charwise::encode(&key).expect("a CID is a plain string").into_bytes();
    Op { protocol: NAME, key, value: Some(Ipld::Link(receipt.to_cid())) }
}
