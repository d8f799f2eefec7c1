//! Reading a command's arguments: each field by its name and kind, and no field too many.

use std::collections::BTreeMap;

use bucket_core::dag_cbor::{Ipld, collected};
use bucket_core::error::Failure;
use bucket_core::task::kind;

/// Arguments that are taken out one by one.
pub struct Args<'a> {
    left: BTreeMap<&'a str, &'a Ipld>,
}

impl<'a> Args<'a> {
    /// The fields of `map`.
    pub fn new(map: &'a BTreeMap<String, Ipld>) -> Self {
        Self { left: collected(map.iter().map(|(key, value)| (key.as_str(), value))) }
    }

    /// A field that must be there.
    pub fn take(&mut self, field: &str) -> Result<&'a Ipld, Failure> {
        self.left.remove(field).ok_or_else(|| Failure::args(format!("expected a field “{field}”, got none")))
    }

    /// A field that may be there.
    pub fn maybe(&mut self, field: &str) -> Option<&'a Ipld> {
        self.left.remove(field)
    }

    /// No other field may be left.
    pub fn end(self) -> Result<(), Failure> {
        match self.left.keys().next() {
            Some(field) => Err(Failure::args(format!("expected no field “{field}”"))),
            None => Ok(()),
        }
    }
}

/// A field's value is of another kind.
pub fn wrong(field: &str, expected: &str, got: &Ipld) -> Failure {
    Failure::args(format!("expected “{field}” to be {expected}, got {}", kind(got)))
}

/// A string.
pub fn string<'a>(field: &str, value: &'a Ipld) -> Result<&'a str, Failure> {
    if let Ipld::String(text) = value { Ok(text) } else { Err(wrong(field, "a string", value)) }
}

/// A list.
pub fn list<'a>(field: &str, value: &'a Ipld) -> Result<&'a [Ipld], Failure> {
    if let Ipld::List(list) = value { Ok(list) } else { Err(wrong(field, "a list", value)) }
}

/// A map.
pub fn map<'a>(field: &str, value: &'a Ipld) -> Result<&'a BTreeMap<String, Ipld>, Failure> {
    if let Ipld::Map(map) = value { Ok(map) } else { Err(wrong(field, "a map", value)) }
}
