//! A tree from lines `{"key": text, "value": DAG-JSON}`, in whatever order they come.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::BufRead;

use bucket_core::car::Transaction;
use bucket_core::cid::{Cid, DAG_CBOR, NativeHasher};
use bucket_core::dag_cbor::Ipld;
use bucket_core::prolly;

use super::edit::Ops;
use crate::dag_json;
use crate::error::ClientError;

/// A tree in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// Its root.
    pub root: Cid,
    /// How many entries it has.
    pub entries: usize,
    /// All of its nodes, the root last.
    pub nodes: Vec<(Cid, Vec<u8>)>,
}

/// Builds the tree. The same key twice is taken when it has the same value.
pub fn import(lines: impl BufRead) -> Result<Imported, ClientError> {
    let mut entries: BTreeMap<String, (usize, Ipld)> = BTreeMap::new();
    for (at, line) in lines.lines().enumerate() {
        let number = at + 1;
        let wrong = |why: &str| ClientError::Input(format!("line {number}: {why}"));
        let line = line.map_err(|error| wrong(&error.to_string()))?;
        if line.trim().is_empty() {
            continue;
        }
        let (key, value) = entry(&line).map_err(|why| wrong(&why))?;
        match entries.entry(key) {
            Entry::Vacant(place) => drop(place.insert((number, value))),
            Entry::Occupied(place) if place.get().1 == value => {}
            Entry::Occupied(place) => {
                let (first, key) = (place.get().0, place.key());
                return Err(wrong(&format!(
                    "expected each key once, got {key} with another value than on line {first}"
                )));
            }
        }
    }
    let count = entries.len();
    let tree = prolly::build::<NativeHasher, _, _>(entries.into_iter().map(|(key, (_, value))| (key, value)));
    let tree = tree.map_err(|error| ClientError::Input(error.to_string()))?;
    Ok(Imported { root: tree.root, entries: count, nodes: tree.nodes })
}

fn entry(line: &str) -> Result<(String, Ipld), String> {
    let expected = || "expected {\"key\": text, \"value\": DAG-JSON}, got something else".to_owned();
    let Ipld::Map(mut map) = dag_json::read(line).map_err(|error| error.to_string())? else { return Err(expected()) };
    let (Some(Ipld::String(key)), Some(value), true) = (map.remove("key"), map.remove("value"), map.is_empty()) else {
        return Err(expected());
    };
    // Whatever is in a tree could have been put into it.
    Ops::new([(key.clone(), Some(value.clone()))]).map_err(|failure| failure.to_string())?;
    Ok((key, value))
}

impl Imported {
    /// All nodes as a CAR whose root is the tree's.
    pub fn to_car(&self) -> Vec<u8> {
        let mut transaction = Transaction::<NativeHasher>::default();
        for (_, node) in &self.nodes {
            transaction.write_block(DAG_CBOR, node);
        }
        transaction.commit().expect("a tree has a node")
    }
}
