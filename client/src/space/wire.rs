//! What replicas tell each other over HTTP, in strict DAG-CBOR. `README.md` beside this file has the routes.
//!
//! - A [`Told`] is a replica's state by names: its head, and the CIDs of the evidence for it and of the edits that wait.
//! - A [`Sent`] is a CAR whose root is a [`Told`], with blocks that the other lacks: edits and nodes, and as raw ones of the
//!   same hash, whatever their codec, evidence and blocks that values link to.
//! - An [`Answer`] tells how the other stands afterwards, and what it still lacks.

use std::collections::{BTreeMap, BTreeSet};

use bucket_core::car::{Car, Transaction};
use bucket_core::cid::{CarId, Cid, DAG_CBOR, NativeHasher};
use bucket_core::dag_cbor::{self, Ipld};
use bucket_core::did::BucketId;
use bucket_core::limits::CAR_BLOCKS_MAX;
use bucket_protocols::space::head::{AUTHORS_MAX, Head};

use super::SpaceError;
use super::judge::AUTHOR_EDITS_MAX;
use super::kept::Holds;

/// A state, or an answer: as many edits as may wait.
pub const TOLD_BYTES_MAX: usize = 4 << 20;

/// What is sent at once.
pub const SENT_BYTES_MAX: usize = 8 << 20;

/// Blocks that are sent, or asked for, at once.
pub const BLOCKS_MAX: usize = CAR_BLOCKS_MAX - 1;

/// A replica's state, by names.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// The space.
    pub space: BucketId,
    /// The head.
    pub head: Head,
    /// The receipt of its push, signed: a block by itself, which is needed only where the head is news.
    pub evidence: Option<CarId>,
    /// Edits that wait.
    pub edits: BTreeSet<Cid>,
    /// What the other wanted, and this one doesn't have either.
    pub absent: Vec<Cid>,
}

/// A state with blocks.
pub struct Sent {
    /// The state.
    pub told: Told,
    /// The blocks with the root.
    pub car: Car,
}

/// An edit that was left out, and why, in words.
pub type Reason = (Cid, String);

/// How a replica stands after what it was sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Its state.
    pub told: Told,
    /// Edits and nodes that it needs, or it can't go on.
    pub missing: Vec<Cid>,
    /// Blocks that values link to and that it would like to have.
    pub wanted: Vec<Cid>,
    /// Edits that came, and why it left them out.
    pub refused: Vec<Reason>,
}

type Fields = BTreeMap<String, Ipld>;

fn links<'a>(cids: impl IntoIterator<Item = &'a Cid>) -> Ipld {
    Ipld::List(cids.into_iter().copied().map(Ipld::Link).collect())
}

fn map<const N: usize>(fields: [(&str, Ipld); N]) -> Ipld {
    Ipld::Map(fields.map(|(name, value)| (name.to_owned(), value)).into())
}

fn fields(value: Ipld, count: usize) -> Result<Fields, String> {
    match value {
        Ipld::Map(map) if map.len() == count => Ok(map),
        other => Err(format!("expected a map of {count} fields, got {}", bucket_core::task::kind(&other))),
    }
}

fn take(fields: &mut Fields, name: &str) -> Result<Ipld, String> {
    fields.remove(name).ok_or_else(|| format!("expected “{name}”, got none"))
}

fn cids(fields: &mut Fields, name: &str, max: usize) -> Result<Vec<Cid>, String> {
    let expected = || format!("expected “{name}” to be a list of at most {max} links");
    let Ipld::List(list) = take(fields, name)? else { return Err(expected()) };
    if list.len() > max {
        return Err(expected());
    }
    list.into_iter().map(|item| if let Ipld::Link(cid) = item { Ok(cid) } else { Err(expected()) }).collect()
}

impl Told {
    /// What a replica of `space` tells of itself.
    pub fn of(space: &BucketId, kept: &impl Holds) -> Result<Self, SpaceError> {
        let state = kept.state()?;
        let edits = state.edits().keys().copied().collect();
        let (_, evidence) = kept.evidence()?;
        Ok(Self { space: space.clone(), head: state.head, evidence, edits, absent: vec![] })
    }

    /// Whether the two hold the same.
    pub fn agrees(&self, other: &Self) -> bool {
        self.space == other.space && self.head == other.head && self.edits == other.edits
    }

    fn to_ipld(&self) -> Ipld {
        map([
            ("space", Ipld::String(self.space.to_string())),
            ("head", self.head.to_ipld()),
            ("evidence", self.evidence.map_or(Ipld::Null, |id| Ipld::Link(id.to_cid()))),
            ("edits", links(&self.edits)),
            ("absent", links(&self.absent)),
        ])
    }

    fn from_ipld(value: Ipld) -> Result<Self, String> {
        let mut fields = fields(value, 5)?;
        let space = match take(&mut fields, "space")? {
            Ipld::String(did) => did.parse().map_err(|error| format!("space: {error}"))?,
            _ => return Err("expected “space” to be a DID".into()),
        };
        let evidence = match take(&mut fields, "evidence")? {
            Ipld::Null => None,
            Ipld::Link(cid) => Some(CarId::try_from(&cid).map_err(|error| format!("evidence: {error}"))?),
            _ => return Err("expected “evidence” to be null or a link".into()),
        };
        let head = Head::from_ipld(&take(&mut fields, "head")?)?;
        let edits = cids(&mut fields, "edits", AUTHORS_MAX * AUTHOR_EDITS_MAX)?.into_iter().collect();
        Ok(Self { space, head, evidence, edits, absent: cids(&mut fields, "absent", BLOCKS_MAX)? })
    }

    /// As it travels.
    pub fn encode(&self) -> Vec<u8> {
        dag_cbor::encode(&self.to_ipld())
    }

    /// Reads what another replica told. The error says what was expected and what came.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        Self::from_ipld(dag_cbor::decode(bytes).map_err(|error| error.to_string())?)
    }

    /// A CAR of it and of blocks with their codecs.
    pub fn with<'a>(&self, blocks: impl IntoIterator<Item = (u64, &'a [u8])>) -> Vec<u8> {
        let mut transaction = Transaction::<NativeHasher>::default();
        for (codec, block) in blocks {
            transaction.write_block(codec, block);
        }
        transaction.write_block(DAG_CBOR, &self.encode());
        transaction.commit().expect("the state was written")
    }
}

impl Sent {
    /// Reads a state with blocks, and hashes all of them.
    pub fn decode(bytes: Vec<u8>) -> Result<Self, String> {
        let car = Car::decode::<NativeHasher>(bytes).map_err(|error| error.to_string())?;
        Ok(Self { told: Told::from_ipld(car.root_value())?, car })
    }
}

impl Answer {
    /// As it travels.
    pub fn encode(&self) -> Vec<u8> {
        let (missing, wanted) = (links(&self.missing), links(&self.wanted));
        let why = |(cid, why): &Reason| Ipld::List(vec![Ipld::Link(*cid), Ipld::String(why.clone())]);
        let refused = Ipld::List(self.refused.iter().map(why).collect());
        let state = self.told.to_ipld();
        dag_cbor::encode(&map([("state", state), ("missing", missing), ("wanted", wanted), ("refused", refused)]))
    }

    /// Reads what another replica answered. The error says what was expected and what came.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let mut fields = fields(dag_cbor::decode(bytes).map_err(|error| error.to_string())?, 4)?;
        Ok(Self {
            told: Told::from_ipld(take(&mut fields, "state")?)?,
            missing: cids(&mut fields, "missing", BLOCKS_MAX)?,
            wanted: cids(&mut fields, "wanted", BLOCKS_MAX)?,
            refused: reasons(take(&mut fields, "refused")?)?,
        })
    }
}

/// Links with words, which are shown to people.
fn reasons(value: Ipld) -> Result<Vec<Reason>, String> {
    let expected = || format!("expected “refused” to be a list of at most {BLOCKS_MAX} pairs of a link and text");
    let Ipld::List(list) = value else { return Err(expected()) };
    if list.len() > BLOCKS_MAX {
        return Err(expected());
    }
    let pair = |item| match item {
        Ipld::List(pair) => match <[Ipld; 2]>::try_from(pair) {
            Ok([Ipld::Link(cid), Ipld::String(why)]) => Ok((cid, shown(&why))),
            _ => Err(expected()),
        },
        _ => Err(expected()),
    };
    list.into_iter().map(pair).collect()
}

/// Somebody else's words, as far as they may be shown.
pub(super) fn shown(words: &str) -> String {
    words.chars().filter(|c| !c.is_control()).take(300).collect()
}
