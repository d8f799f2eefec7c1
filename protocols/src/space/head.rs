//! Where a space is: the root of its tree, how many edits made it, and of each author the last one among them.

use std::collections::BTreeMap;

use bucket_core::cid::{Cid, DAG_CBOR, Hasher, sha2_cid, sha2_digest};
use bucket_core::dag_cbor::{self, Ipld, map};
use bucket_core::error::{Abort, Failure};
use bucket_core::prolly;
use bucket_core::task::kind;

/// Authors whose edits are numbered, besides the bucket's own. The head is written with every edit, names of authors and all.
pub const AUTHORS_MAX: usize = 64;

/// Numbers of edits are exact up to here in every language.
pub const NUMBER_MAX: u64 = (1 << 53) - 1;

/// The head of a space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Root of the tree.
    pub root: Cid,
    /// How many edits made it.
    pub seq: u64,
    /// The number of each author's last edit. An author is a DID, or `f0…`, the actor that sent an unsigned one.
    pub clock: BTreeMap<String, u64>,
}

impl Head {
    /// Before the first edit.
    pub fn empty<H: Hasher>() -> Self {
        Self { root: prolly::empty::<H>().root, seq: 0, clock: BTreeMap::new() }
    }

    /// As receipts and rows write it: `{root, seq, clock}`.
    pub fn to_ipld(&self) -> Ipld {
        map([("root", Ipld::Link(self.root)), ("seq", number(self.seq)), ("clock", self.clock())])
    }

    /// Reads what [`Head::to_ipld`] wrote. The row of the head in the index, which has `car` besides, is taken as well.
    pub fn from_ipld(value: &Ipld) -> Result<Self, String> {
        let Ipld::Map(map) = value else { return Err(format!("expected a head, got {}", kind(value))) };
        if let Some(field) = map.keys().find(|field| !["root", "seq", "clock", "car"].contains(&field.as_str())) {
            return Err(format!("expected a head {{root, seq, clock}}, got “{field}”"));
        }
        let take = |field: &str| map.get(field).ok_or_else(|| format!("expected a head's “{field}”, got none"));
        let root = match take("root")? {
            Ipld::Link(cid) if matches!(sha2_digest(cid), Some((DAG_CBOR, _))) => *cid,
            _ => return Err("expected “root” to link to a node of a tree".into()),
        };
        Ok(Self { root, seq: as_number(take("seq")?)?, clock: as_clock(take("clock")?)? })
    }

    /// As state keeps it: bytes there are what a message pays for.
    pub(super) fn to_state(&self) -> Vec<u8> {
        let (_, digest) = sha2_digest(&self.root).expect("a node's CID");
        dag_cbor::encode(&Ipld::List(vec![Ipld::Bytes(digest.to_vec()), number(self.seq), self.clock()]))
    }

    pub(super) fn from_state(bytes: &[u8]) -> Result<Self, Abort> {
        let broken = |why: String| Abort::State(format!("head of a space: {why}"));
        let value = dag_cbor::decode(bytes).map_err(|error| broken(error.to_string()))?;
        let Ipld::List(fields) = &value else { return Err(broken("no list".into())) };
        let [Ipld::Bytes(digest), seq, clock] = &fields[..] else { return Err(broken("other fields".into())) };
        let digest = digest[..].try_into().map_err(|_| broken("a digest of another length".into()))?;
        let (seq, clock) = (as_number(seq).map_err(broken)?, as_clock(clock).map_err(broken)?);
        Ok(Self { root: sha2_cid(DAG_CBOR, digest), seq, clock })
    }

    fn clock(&self) -> Ipld {
        map(self.clock.iter().map(|(author, last)| (author.clone(), number(*last))))
    }

    /// Notes the author's edit number `upto`, which has to be a new one. One who is `own` always finds a place.
    pub(super) fn advance(&mut self, author: &str, own: bool, upto: u64) -> Result<(), Failure> {
        let last = self.clock.get(author).copied();
        if upto <= last.unwrap_or(0) {
            let message = format!(
                "expected an edit of {author} after number {}, which is in already, got {upto}",
                last.unwrap_or(0)
            );
            return Err(Failure::new("EditKnown", message));
        }
        if last.is_none() && !own && self.clock.len() >= AUTHORS_MAX {
            let message = format!("expected one of the {AUTHORS_MAX} authors whose edits are numbered, got {author}");
            return Err(Failure::new("AuthorsMany", message));
        }
        self.clock.insert(author.to_owned(), upto);
        Ok(())
    }
}

fn number(n: u64) -> Ipld {
    Ipld::Integer(n.into())
}

/// A number of edits.
pub(super) fn as_number(value: &Ipld) -> Result<u64, String> {
    match value {
        Ipld::Integer(n) if (0..=i128::from(NUMBER_MAX)).contains(n) => Ok(*n as u64),
        Ipld::Integer(n) => Err(format!("expected a number of 0 to 2^53-1, got {n}")),
        other => Err(format!("expected a number, got {}", kind(other))),
    }
}

fn as_clock(value: &Ipld) -> Result<BTreeMap<String, u64>, String> {
    let Ipld::Map(clock) = value else { return Err(format!("expected “clock” to be a map, got {}", kind(value))) };
    let mut read = BTreeMap::new();
    for (author, last) in clock {
        read.insert(author.clone(), as_number(last)?);
    }
    Ok(read)
}
