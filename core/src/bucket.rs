//! A bucket's record and the entries of its maps.

use std::fmt;

use cid::Cid;
use fvm_ipld_encoding::tuple::*;
use fvm_shared::ActorID;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::abi::Hook;
use crate::cid::{CarId, DAG_CBOR};
use crate::map::{Bytes, Map};
use crate::ucan::Did;

/// How a bucket runs what is pending. Fixed when it is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Mode {
    /// Each task on its own.
    Atomic,
    /// All pending tasks in one call of their protocol.
    Mutex,
}

impl From<Mode> for u8 {
    fn from(mode: Mode) -> u8 {
        mode as u8
    }
}

impl TryFrom<u8> for Mode {
    type Error = String;

    fn try_from(mode: u8) -> Result<Self, String> {
        match mode {
            0 => Ok(Mode::Atomic),
            1 => Ok(Mode::Mutex),
            other => Err(format!("expected mode 0 (atomic) or 1 (mutex), got {other}")),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Atomic => "atomic",
            Mode::Mutex => "mutex",
        })
    }
}

impl std::str::FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "atomic" => Ok(Mode::Atomic),
            "mutex" => Ok(Mode::Mutex),
            other => Err(format!("expected atomic or mutex, got “{other}”")),
        }
    }
}

/// A named root with its queue and receipts. The value of the actor's HAMT of buckets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct Bucket {
    /// Actor ids of those who may schedule and invoke, sorted.
    pub controllers: Vec<ActorID>,
    /// How it runs.
    pub mode: Mode,
    /// HAMT\[protocol number, key\]bytes: what the protocols keep.
    pub root: Cid,
    /// HAMT\[u64 (8 bytes, big-endian)\]Item; `None` while nothing is pending.
    pub queue: Option<Cid>,
    /// Number of the next task to run.
    pub head: u64,
    /// Number of the next task to schedule.
    pub tail: u64,
    /// HAMT\[SHA-256 of the input CAR\]Entry.
    pub receipts: Cid,
    /// Receipts written, those of forced runs included.
    pub ran: u64,
}

impl Bucket {
    /// How many tasks are pending.
    pub fn pending(&self) -> u64 {
        self.tail - self.head
    }
}

/// A pending CAR.
#[derive(Debug, Clone, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct Item {
    /// The CAR: a RAW block, or a list of links to the pieces of one that was staged.
    pub car: Cid,
    /// Who scheduled it, or what it continues.
    pub caller: ActorID,
    /// Whether it runs again if it ran already.
    pub force: bool,
    /// What it continues, if it is a continuation.
    pub chain: Option<Chain>,
    /// Whom to tell of the receipt.
    pub hook: Option<Hook>,
}

/// What a continuation continues.
#[derive(Debug, Clone, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct Chain {
    /// The receipt that asked for it.
    pub cause: CarId,
    /// How many continuations led here.
    pub depth: u64,
    /// The work that is left for it and for what it asks for.
    pub work: u64,
    /// Who signed what it continues; the right of whoever sent that is not the continuation's.
    pub issuer: Option<Did>,
    /// Whether it has all rights of its bucket.
    pub full: bool,
    /// Whether another bucket asked for it.
    pub foreign: bool,
}

impl Item {
    /// Whether the CAR was staged, and may be larger than a message.
    pub fn is_staged(&self) -> bool {
        self.car.codec() == DAG_CBOR
    }

    /// Whether it counts among those that its caller has in the queue. A bucket's own continuations don't: they are bounded
    /// by the work of what they continue, and a bound here would stop the run that empties the queue.
    pub fn counts(&self) -> bool {
        self.chain.as_ref().is_none_or(|chain| chain.foreign)
    }
}

/// What is known of an input CAR. In state a receipt alone is bytes, a pending number alone an integer, all else a list.
///
/// Signed invocations have an entry besides, under the hash of what is signed: the CAR that brought it, as a list of one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Entry {
    /// The newest receipt.
    pub receipt: Option<CarId>,
    /// How many times it ran.
    pub version: u64,
    /// Its number in the queue.
    pub pending: Option<u64>,
    /// Of a signed invocation: the CAR that brought it.
    pub brought: Option<CarId>,
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(car) = self.brought {
            return [Bytes(car.0.to_vec())].serialize(serializer);
        }
        let receipt = self.receipt.map(|id| Bytes(id.0.to_vec()));
        match (receipt, self.version, self.pending) {
            (Some(receipt), 1, None) => receipt.serialize(serializer),
            (None, 0, Some(number)) => number.serialize(serializer),
            all => all.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntryVisitor)
    }
}

struct EntryVisitor;

fn digest<E: de::Error>(bytes: &[u8]) -> Result<CarId, E> {
    bytes.try_into().map(CarId).map_err(|_| E::invalid_length(bytes.len(), &"32 bytes"))
}

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a receipt, a number, [receipt, version, number], or [CAR]")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Entry, E> {
        Ok(Entry { receipt: Some(digest(bytes)?), version: 1, ..Entry::default() })
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Entry, E> {
        Ok(Entry { pending: Some(number), ..Entry::default() })
    }

    // HAMT nodes are decoded through `Ipld`, whose integers are wide.
    fn visit_i128<E: de::Error>(self, number: i128) -> Result<Entry, E> {
        let number = u64::try_from(number).map_err(|_| E::custom("expected a number in the queue"))?;
        self.visit_u64(number)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Entry, E> {
        self.visit_i128(number.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Entry, A::Error> {
        let short = |at| de::Error::invalid_length(at, &"3 items");
        let receipt: Option<Bytes> = seq.next_element()?.ok_or_else(|| short(0))?;
        let receipt = receipt.map(|bytes| digest(&bytes.0)).transpose()?;
        let Some(version) = seq.next_element()? else {
            return Ok(Entry { brought: Some(receipt.ok_or_else(|| short(1))?), ..Entry::default() });
        };
        let pending = seq.next_element()?.ok_or_else(|| short(2))?;
        Ok(Entry { receipt, version, pending, brought: None })
    }
}

/// HAMT\[SHA-256 of the input CAR\]Entry.
pub type Receipts<'s, S, H> = Map<'s, S, H, Entry>;
/// HAMT\[u64 (8 bytes, big-endian)\]Item.
pub type Queue<'s, S, H> = Map<'s, S, H, Item>;
/// HAMT\[protocol number, key\]bytes.
pub type Entries<'s, S, H> = Map<'s, S, H, Bytes>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_round_trip_and_the_usual_ones_are_short() {
        let receipt = Some(CarId([7; 32]));
        let cases = [
            (Entry { receipt, version: 1, ..Entry::default() }, 34),
            (Entry { pending: Some(5), ..Entry::default() }, 1),
            (Entry { receipt, version: 1, pending: Some(5), ..Entry::default() }, 37),
            (Entry { receipt, version: 2, ..Entry::default() }, 37),
            (Entry { brought: receipt, ..Entry::default() }, 35),
        ];
        for (entry, len) in cases {
            let bytes = fvm_ipld_encoding::to_vec(&entry).unwrap();
            assert_eq!(bytes.len(), len, "{entry:?}");
            assert_eq!(fvm_ipld_encoding::from_slice::<Entry>(&bytes).unwrap(), entry);
        }
    }
}
