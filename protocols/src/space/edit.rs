//! An edit: what is put and what is removed, each key once, in the order of keys. As arguments, and in replicas, it is a list of
//! `[key, value]` and `[key]`.

use std::collections::BTreeMap;

use bucket_core::dag_cbor::{self, Ipld};
use bucket_core::error::Failure;
use bucket_core::prolly::Op;

use super::keys;
use crate::args;

/// Keys of one edit: each may touch a node of its own, and all of them have to fit a message's gas.
pub const OPS_MAX: usize = 256;

/// A value, encoded: it is written, with its neighbours, into a node. What is larger is linked to.
pub const VALUE_BYTES_MAX: usize = 256;

/// Nesting of a value: it has to be within the bound of all of DAG-CBOR where it stands in a signed task as well.
pub const VALUE_DEPTH_MAX: usize = 32;

/// Changes of entries, at least one.
#[derive(Debug, Clone, PartialEq)]
pub struct Edit(Vec<Op>);

impl Edit {
    /// The edit of these changes, in whatever order; `None` removes, and of those of one key the last one counts.
    pub fn new(changes: impl IntoIterator<Item = (String, Option<Ipld>)>) -> Result<Self, Failure> {
        let sorted: BTreeMap<_, _> = changes.into_iter().collect();
        size(sorted.len())?;
        let op = |(key, value): (String, Option<Ipld>)| {
            // What was decoded is well formed; this may come from anywhere.
            value.as_ref().map_or(Ok(()), dag_cbor::check).map_err(Failure::args)?;
            check(&key, value.as_ref())?;
            Ok((key.into_bytes(), value))
        };
        sorted.into_iter().map(op).collect::<Result<_, _>>().map(Self)
    }

    /// Reads the list; it has to be in order.
    pub fn from_ipld(value: &Ipld) -> Result<Self, Failure> {
        let list = args::list("ops", value)?;
        size(list.len())?;
        let mut ops: Vec<Op> = Vec::with_capacity(list.len());
        for item in list {
            let (key, value) = match args::list("ops", item)? {
                [key] => (key, None),
                [key, value] => (key, Some(value)),
                more => {
                    let message = format!("expected an op [key, value] or [key], got a list of {}", more.len());
                    return Err(Failure::args(message));
                }
            };
            let key = args::string("key", key)?;
            check(key, value)?;
            if let Some((last, _)) = ops.last().filter(|(last, _)| &last[..] >= key.as_bytes()) {
                let last = String::from_utf8_lossy(last);
                let message = format!("expected ops in the order of their keys, each once, got {key} after {last}");
                return Err(Failure::new("OpsUnsorted", message));
            }
            ops.push((key.as_bytes().to_vec(), value.cloned()));
        }
        Ok(Self(ops))
    }

    /// The list.
    pub fn to_ipld(&self) -> Ipld {
        let item = |(key, value): (&str, Option<&Ipld>)| {
            Ipld::List(std::iter::once(Ipld::String(key.to_owned())).chain(value.cloned()).collect())
        };
        Ipld::List(self.changes().map(item).collect())
    }

    /// As a tree takes it.
    pub fn ops(&self) -> &[Op] {
        &self.0
    }

    /// Each key with its new value; `None` where it is removed.
    pub fn changes(&self) -> impl Iterator<Item = (&str, Option<&Ipld>)> {
        let text = |key| std::str::from_utf8(key).expect("it was made of text");
        self.0.iter().map(move |(key, value)| (text(key), value.as_ref()))
    }
}

fn size(ops: usize) -> Result<(), Failure> {
    match ops {
        1..=OPS_MAX => Ok(()),
        _ => Err(Failure::new("EditTooLarge", format!("expected 1 to {OPS_MAX} ops in an edit, got {ops}"))),
    }
}

fn check(key: &str, value: Option<&Ipld>) -> Result<(), Failure> {
    keys::check(key)?;
    let Some(value) = value else { return Ok(()) };
    let len = dag_cbor::encode(value).len();
    if len > VALUE_BYTES_MAX {
        let message = format!("expected a value of at most {VALUE_BYTES_MAX} bytes at {key}, got {len}: link to it");
        return Err(Failure::new("ValueTooLarge", message));
    }
    if is_deeper(value, VALUE_DEPTH_MAX) {
        let message = format!("expected at most {VALUE_DEPTH_MAX} levels of nesting in the value at {key}, got more");
        return Err(Failure::new("ValueTooDeep", message));
    }
    Ok(())
}

fn is_deeper(value: &Ipld, most: usize) -> bool {
    match value {
        Ipld::List(_) | Ipld::Map(_) if most == 0 => true,
        Ipld::List(list) => list.iter().any(|value| is_deeper(value, most - 1)),
        Ipld::Map(map) => map.values().any(|value| is_deeper(value, most - 1)),
        _ => false,
    }
}
