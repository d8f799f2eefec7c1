//! Rows of the index: what clients and workers read, without asking the chain. Written and read here.

use std::collections::BTreeMap;

use bucket_core::cid::{CarId, Cid};
use bucket_core::dag_cbor::{Ipld, fields_of, map};
use bucket_core::did::BucketId;
use bucket_core::effect::Effect;
use bucket_core::error::Failure;
use bucket_core::limits::PROOFS_MAX;
use bucket_core::stm::{Cell, Item, Key};

use super::NAME;
use super::event::{Upload, car_id, number};
use super::state::{Stage, State, Status, out};
use crate::args::{self, Args};
use crate::kv::charwise;

/// A row of the index that this protocol wrote.
#[derive(Debug, Clone, PartialEq)]
pub enum Row {
    /// `["store", "provider"]`.
    Provider(Provider),
    /// `["store", "entry", "<link>"]`.
    Entry(Entry),
    /// `["store", "outbox", "<link>"]`; there is none while nothing waits.
    Outbox(Outbox),
}

/// Who serves the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// The service's DID.
    pub provider: BucketId,
    /// Delegations by which it may act here, from the bucket's on.
    pub proofs: Vec<Cid>,
    /// How many times the provider has been another one, from 1. What is stored is the word of a provider in its term.
    pub term: u64,
    /// What set it: a CAR with `/store/provide`.
    pub car: CarId,
}

/// An entry, as a row or a receipt's `out` tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its status.
    pub status: Status,
    /// Which attempt it is; 0 where there is no entry.
    pub attempt: u64,
    /// The CAR; `None` where there is no entry.
    pub car: Option<(CarId, u64)>,
    /// When the attempt began. Rows of active entries have it.
    pub began: Option<i64>,
    /// The first epoch in which it may expire. Rows of receiving entries have it.
    pub until: Option<i64>,
    /// The block of `put`, where the entry is receiving.
    pub upload: Option<Cid>,
    /// Where to put the CAR. Rows of receiving entries have it.
    pub put: Option<Upload>,
    /// In whose term it was stored, where it was.
    pub term: Option<u64>,
}

/// What an entry's effects still are.
#[derive(Debug, Clone, PartialEq)]
pub struct Outbox {
    /// The CAR.
    pub link: CarId,
    /// Its size in bytes, for the effects of `attempt`.
    pub size: u64,
    /// The entry's attempt. Effects of earlier ones may be left.
    pub attempt: u64,
    /// The effects, oldest first.
    pub items: Vec<Item>,
}

/// A row's key as a value, like `["store", "entry", "<link>"]`.
fn key(kind: &str, link: Option<&CarId>) -> Ipld {
    let link = link.map(CarId::to_string);
    Ipld::List([NAME, kind].into_iter().map(str::to_owned).chain(link).map(Ipld::String).collect())
}

fn encoded(kind: &str, link: Option<&CarId>) -> Vec<u8> {
    charwise::encode(&key(kind, link)).expect("words and a CID are plain strings").into_bytes()
}

/// The key of the provider's row.
pub fn provider_key() -> Vec<u8> {
    encoded(PROVIDER, None)
}

/// The key of an entry's row.
pub fn entry_key(link: &CarId) -> Vec<u8> {
    encoded(ENTRY, Some(link))
}

/// The key of an outbox's row.
pub fn outbox_key(link: &CarId) -> Vec<u8> {
    encoded(OUTBOX, Some(link))
}

const PROVIDER: &str = "provider";
const ENTRY: &str = "entry";
const OUTBOX: &str = "outbox";

impl Row {
    /// Reads a row. `None` for one of another protocol: only `protocol` tells, since anybody may put anything under any key.
    pub fn read(protocol: &str, key: &Ipld, value: &Ipld) -> Result<Option<Self>, Failure> {
        if protocol != NAME {
            return Ok(None);
        }
        let unknown = || Failure::args(format!("expected the key of a row of store, got {key:?}"));
        let Ipld::List(parts) = key else { return Err(unknown()) };
        let parts: Option<Vec<&str>> =
            parts.iter().map(|part| if let Ipld::String(text) = part { Some(&**text) } else { None }).collect();
        let row = match parts.as_deref() {
            Some([NAME, PROVIDER]) => Self::Provider(Provider::read(value)?),
            Some([NAME, ENTRY, link]) => {
                let entry = Entry::read(value)?;
                let link = link.parse().map_err(|error| Failure::args(format!("key: {error}")))?;
                match entry.car {
                    Some((car, _)) if car == link => Self::Entry(entry),
                    _ => return Err(Failure::args(format!("expected an entry of {link}, got another"))),
                }
            }
            Some([NAME, OUTBOX, link]) => {
                let link = link.parse().map_err(|error| Failure::args(format!("key: {error}")))?;
                Self::Outbox(Outbox::read(link, value)?)
            }
            _ => return Err(unknown()),
        };
        Ok(Some(row))
    }
}

/// The arguments of `/store/provide`: `{provider, proofs?}`.
pub fn read_provider(args: &BTreeMap<String, Ipld>) -> Result<(BucketId, Vec<Cid>), Failure> {
    let mut fields = Args::new(args);
    let provider = provider(&mut fields)?;
    fields.end().map(|()| provider)
}

fn provider(fields: &mut Args<'_>) -> Result<(BucketId, Vec<Cid>), Failure> {
    let provider = args::string("provider", fields.take("provider")?)?;
    let provider = provider.parse().map_err(|error| Failure::args(format!("provider: {error}")))?;
    let link = |value: &Ipld| {
        if let Ipld::Link(cid) = value { Ok(*cid) } else { Err(args::wrong("proofs", "a list of links", value)) }
    };
    let proofs: Vec<_> = match fields.maybe("proofs") {
        Some(proofs) => args::list("proofs", proofs)?.iter().map(link).collect::<Result<_, _>>()?,
        None => vec![],
    };
    if proofs.len() > PROOFS_MAX {
        return Err(Failure::args(format!("expected at most {PROOFS_MAX} proofs, got {}", proofs.len())));
    }
    Ok((provider, proofs))
}

/// The arguments of `/store/provide`.
pub(super) fn provider_args(provider: &BucketId, proofs: &[Cid]) -> [(&'static str, Ipld); 2] {
    let proofs = proofs.iter().copied().map(Ipld::Link).collect();
    [("provider", Ipld::String(provider.to_string())), ("proofs", Ipld::List(proofs))]
}

impl Provider {
    /// What a receipt says: `{provider, proofs, term}`.
    pub(super) fn out(&self) -> Ipld {
        let [provider, proofs] = provider_args(&self.provider, &self.proofs);
        map([provider, proofs, ("term", Ipld::Integer(self.term.into()))])
    }

    /// The row, `{provider, proofs, term, car}`.
    pub(super) fn to_ipld(&self) -> Ipld {
        let [provider, proofs] = provider_args(&self.provider, &self.proofs);
        map([provider, proofs, ("term", Ipld::Integer(self.term.into())), ("car", Ipld::Link(self.car.to_cid()))])
    }

    /// Reads the row.
    pub fn read(value: &Ipld) -> Result<Self, Failure> {
        let mut fields = Args::new(args::map("provider", value)?);
        let (provider, proofs) = provider(&mut fields)?;
        let term = number("term", fields.take("term")?)?;
        let car = car_id("car", fields.take("car")?)?;
        fields.end().map(|()| Self { provider, proofs, term, car })
    }
}

/// An entry's row: what receipts say, and what only holds for a time.
pub(super) fn entry(link: &CarId, state: &State, put: Option<&Upload>) -> Ipld {
    let mut row = out(link, Some(state));
    let more = match state.stage {
        Stage::Active { began } => vec![("began", Ipld::Integer(began.into()))],
        Stage::Receiving { until, .. } => {
            let put = put.map(|put| ("put", put.to_ipld()));
            [("until", Ipld::Integer(until.into()))].into_iter().chain(put).collect()
        }
        _ => vec![],
    };
    if let Ipld::Map(fields) = &mut row
        && let Some(Ipld::Map(inner)) = fields.get_mut(super::state::status(Some(state)).name())
    {
        inner.extend(fields_of(more));
    }
    row
}

impl Entry {
    /// Whether the provider of a term says that it has the CAR.
    pub fn is_stored(&self, term: u64) -> bool {
        self.status == Status::Ok && self.term == Some(term)
    }

    /// Reads an entry's row, or the `out` of a receipt of this protocol's events.
    pub fn read(value: &Ipld) -> Result<Self, Failure> {
        let mut fields = Args::new(args::map("entry", value)?);
        let name = args::string("status", fields.take("status")?)?;
        let attempt = number("attempt", fields.take("attempt")?)?;
        let mut more = Args::new(args::map(name, fields.take(name)?)?);
        fields.end()?;
        let error = more.maybe("name").map(|name| args::string("name", name)).transpose()?;
        let status = Status::ALL.into_iter().find(|status| status.name() == name && status.error() == error);
        let Some(status) = status else {
            return Err(Failure::args(format!("expected a status of store, got “{name}” with error {error:?}")));
        };
        more.maybe("message");
        let epoch = |field, value: Option<&Ipld>| value.map(|value| epoch(field, value)).transpose();
        let link = more.maybe("link").map(|link| car_id("link", link)).transpose()?;
        let size = more.maybe("size").map(|size| number("size", size)).transpose()?;
        let upload = match more.maybe("upload") {
            Some(Ipld::Link(cid)) => Some(*cid),
            Some(other) => return Err(args::wrong("upload", "a link", other)),
            None => None,
        };
        let entry = Self {
            status,
            attempt,
            car: link.zip(size),
            began: epoch("began", more.maybe("began"))?,
            until: epoch("until", more.maybe("until"))?,
            upload,
            put: more.maybe("put").map(Upload::read).transpose()?,
            term: more.maybe("term").map(|term| number("term", term)).transpose()?,
        };
        more.end().map(|()| entry)
    }
}

/// An outbox's row; `None` when nothing waits.
pub(super) fn outbox(state: &State, cell: &Cell) -> Option<Ipld> {
    let item = |Item { key, since, effect }: &Item| {
        map([
            ("attempt", Ipld::Integer(key.attempt.into())),
            ("number", Ipld::Integer(key.number.into())),
            ("since", Ipld::Integer((*since).into())),
            ("effect", effect.to_ipld()),
        ])
    };
    let row = || {
        map([
            ("attempt", Ipld::Integer(state.attempt.into())),
            ("size", Ipld::Integer(state.size.into())),
            ("items", Ipld::List(cell.outbox.iter().map(item).collect())),
        ])
    };
    (!cell.outbox.is_empty()).then(row)
}

impl Outbox {
    /// Reads an outbox's row.
    pub fn read(link: CarId, value: &Ipld) -> Result<Self, Failure> {
        let mut fields = Args::new(args::map("outbox", value)?);
        let attempt = number("attempt", fields.take("attempt")?)?;
        let size = number("size", fields.take("size")?)?;
        let items = args::list("items", fields.take("items")?)?.iter().map(item).collect::<Result<_, _>>()?;
        fields.end().map(|()| Self { link, size, attempt, items })
    }

    /// The effects by their attempts. Those of one attempt share a memo.
    pub fn attempts(&self) -> BTreeMap<u64, Vec<&Item>> {
        let mut attempts = BTreeMap::<_, Vec<_>>::new();
        for item in &self.items {
            attempts.entry(item.key.attempt).or_default().push(item);
        }
        attempts
    }
}

fn epoch(field: &str, value: &Ipld) -> Result<i64, Failure> {
    let epoch = number(field, value)?;
    i64::try_from(epoch).map_err(|_| Failure::args(format!("expected “{field}” to be an epoch, got {epoch}")))
}

fn item(value: &Ipld) -> Result<Item, Failure> {
    let mut fields = Args::new(args::map("items", value)?);
    let key =
        Key { attempt: number("attempt", fields.take("attempt")?)?, number: number("number", fields.take("number")?)? };
    let since = epoch("since", fields.take("since")?)?;
    let effect = Effect::from_ipld(fields.take("effect")?.clone()).map_err(|error| Failure::args(error.to_string()))?;
    fields.end().map(|()| Item { key, since, effect })
}
