//! CARs from files, in the order that `car-transaction` writes: first what is linked to, last the root.

use std::collections::BTreeMap;

use bucket_core::car::Transaction;
use bucket_core::cid::{NativeHasher, RAW};
use cid::Cid;
use serde_json::Value;

use crate::dag_json;
use crate::error::ClientError;

/// A block to be.
#[derive(Debug, Clone)]
pub enum Part {
    /// Bytes, for a `raw` block.
    Raw {
        /// What values may call it by.
        name: String,
        /// The bytes.
        data: Vec<u8>,
    },
    /// DAG-JSON, for a `dag-cbor` block.
    Value {
        /// What values may call it by.
        name: String,
        /// The text.
        json: String,
    },
}

/// Packs blocks in the order given; the last one is the root. A value may link to a block before it by its name:
/// `{"/": "photo.png"}`. Answers the CAR and the blocks' CIDs.
pub fn pack(parts: Vec<Part>) -> Result<(Vec<u8>, Vec<Cid>), ClientError> {
    let mut transaction = Transaction::<NativeHasher>::default();
    let mut names = BTreeMap::new();
    let mut cids = Vec::new();
    for part in parts {
        let (name, cid) = match part {
            Part::Raw { name, data } => (name, transaction.write_block(RAW, &data)),
            Part::Value { name, json } => {
                let mut json: Value =
                    serde_json::from_str(&json).map_err(|error| ClientError::Input(format!("{name}: {error}")))?;
                link(&mut json, &names);
                let value = dag_json::from_json(&json);
                (name.clone(), transaction.write(&value.map_err(|error| named(&name, error))?))
            }
        };
        names.insert(name, cid);
        cids.push(cid);
    }
    let car = transaction.commit().map_err(|error| ClientError::Input(error.to_string()))?;
    Ok((car, cids))
}

fn named(name: &str, error: ClientError) -> ClientError {
    ClientError::Input(format!("{name}: {error}"))
}

/// Puts CIDs where values link by name.
fn link(json: &mut Value, names: &BTreeMap<String, Cid>) {
    match json {
        Value::Object(map) => match (map.len(), map.get_mut("/")) {
            (1, Some(Value::String(target))) => {
                if let Some(cid) = names.get(target.as_str()) {
                    *target = cid.to_string();
                }
            }
            _ => map.values_mut().for_each(|value| link(value, names)),
        },
        Value::Array(list) => list.iter_mut().for_each(|value| link(value, names)),
        _ => {}
    }
}
