//! Strict DAG-CBOR: one encoding for each value, everything else refused.
//!
//! Source: ipld.io, specs/codecs/dag-cbor. Smallest head for each integer and length, map keys sorted by length then bytes
//! and each once, only tag 42, 64-bit finite floats only, no indefinite lengths, nothing after the value. Nesting is
//! bounded by [`DEPTH_MAX`], and a declared length never reserves more memory than the input has bytes.

mod read;
mod write;

use std::cmp::Ordering;
use std::collections::BTreeMap;

use cid::Cid;
pub use ipld_core::ipld::Ipld;

pub(crate) use read::Reader;
pub use write::encode;
pub(crate) use write::{write_bytes, write_list, write_unsigned};

use crate::limits::DEPTH_MAX;

/// Why bytes are not one strict DAG-CBOR value: what was expected, what came, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("DAG-CBOR, byte {at}: {what}")]
pub struct DagCborError {
    /// Offset of the first byte that is wrong.
    pub at: usize,
    /// What was expected and what came.
    pub what: String,
}

/// Decodes exactly one value.
pub fn decode(bytes: &[u8]) -> Result<Ipld, DagCborError> {
    let mut reader = Reader::new(bytes);
    let value = reader.value(DEPTH_MAX)?;
    reader.end()?;
    Ok(value)
}

/// Checks that `bytes` are exactly one strict value, without building it.
pub fn validate(bytes: &[u8]) -> Result<(), DagCborError> {
    let mut reader = Reader::new(bytes);
    reader.skip(DEPTH_MAX)?;
    reader.end()
}

// Major types.
const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const LIST: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
const SIMPLE: u8 = 7;

/// Equal to 0, so it has no encoding of its own; JavaScript's and Rust's codecs write 0.
const MINUS_ZERO: u64 = 1 << 63;

/// Tells whether a value that [`decode`] did not make has a strict form, and is not nested too deeply.
pub fn check(value: &Ipld) -> Result<(), String> {
    check_under(value, 0)
}

/// The same for a value that is to stand `above` levels deep in another.
pub(crate) fn check_under(value: &Ipld, above: usize) -> Result<(), String> {
    fn walk(value: &Ipld, depth: usize) -> Result<(), String> {
        match value {
            Ipld::Integer(n) if u64::try_from(*n).is_err() && u64::try_from(-1 - *n).is_err() => {
                Err(format!("expected an integer of 64 bits, got {n}"))
            }
            Ipld::Float(x) if !x.is_finite() => Err(format!("expected a finite number, got {x}")),
            Ipld::List(_) | Ipld::Map(_) if depth == 0 => {
                Err(format!("expected at most {DEPTH_MAX} levels of nesting"))
            }
            Ipld::List(list) => list.iter().try_for_each(|value| walk(value, depth - 1)),
            Ipld::Map(map) => map.values().try_for_each(|value| walk(value, depth - 1)),
            _ => Ok(()),
        }
    }
    walk(value, DEPTH_MAX - above)
}

/// All links of a value; those of a map in the order of its keys' bytes.
pub fn links(value: &Ipld, found: &mut Vec<Cid>) {
    match value {
        Ipld::Link(cid) => found.push(*cid),
        Ipld::List(list) => list.iter().for_each(|value| links(value, found)),
        Ipld::Map(map) => map.values().for_each(|value| links(value, found)),
        _ => {}
    }
}

/// A map of these fields.
pub fn map<K: Into<String>>(fields: impl IntoIterator<Item = (K, Ipld)>) -> Ipld {
    Ipld::Map(fields_of(fields))
}

/// The fields of such a map.
pub fn fields_of<K: Into<String>>(fields: impl IntoIterator<Item = (K, Ipld)>) -> BTreeMap<String, Ipld> {
    collected(fields.into_iter().map(|(field, value)| (field.into(), value)))
}

/// What `collect` gives. That sorts first, with a sort for each type of entries, which is 4 kB in the actor's module.
pub fn collected<K: Ord, V>(entries: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, V> {
    let mut map = BTreeMap::new();
    map.extend(entries);
    map
}

/// A map's entries in another order than that of their keys' bytes; those that `order` takes for equal stay in that one.
pub(crate) fn sorted<'a>(
    map: &'a BTreeMap<String, Ipld>,
    order: &dyn Fn(&str, &str) -> Ordering,
) -> Vec<(&'a String, &'a Ipld)> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by(|(a, _), (b, _)| order(a, b));
    entries
}

/// A map's entries in DAG-CBOR's order, those of shorter keys first.
pub(crate) fn shortest_first(map: &BTreeMap<String, Ipld>) -> Vec<(&String, &Ipld)> {
    sorted(map, &|a, b| a.len().cmp(&b.len()))
}
