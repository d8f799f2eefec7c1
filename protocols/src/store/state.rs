//! An entry's state: what a bucket knows of one CAR.

use bucket_core::cid::{CarId, Cid};
use bucket_core::dag_cbor::{Ipld, map};
use bucket_core::error::Abort;

/// Where an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Nobody asked for it; there is no entry.
    NotFound,
    /// The service looks for room, and whether it has the CAR already.
    Active,
    /// There is room, and a URL to put the CAR to.
    Receiving,
    /// The service has it.
    Ok,
    /// There was no room.
    Exceeds,
    /// It wasn't put in time.
    Expired,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::NotFound, Self::Active, Self::Receiving, Self::Ok, Self::Exceeds, Self::Expired];

    /// The name that rows and receipts give it; three are errors of different names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Receiving => "receiving",
            Self::Ok => "ok",
            Self::NotFound | Self::Exceeds | Self::Expired => "error",
        }
    }

    /// The name of its error.
    pub fn error(self) -> Option<&'static str> {
        match self {
            Self::NotFound => Some("NotFound"),
            Self::Exceeds => Some("ExceedsLimit"),
            Self::Expired => Some("Expired"),
            _ => None,
        }
    }
}

/// The state of an entry that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// Which attempt it is, from 1.
    pub attempt: u64,
    /// The CAR's size in bytes, as whoever added it says. A service stores nothing of another size.
    pub size: u64,
    /// How far the attempt is.
    pub stage: Stage,
}

/// How far an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Active, since an epoch.
    Active {
        /// When the attempt began.
        began: i64,
    },
    /// Receiving.
    Receiving {
        /// The first epoch in which it may expire.
        until: i64,
        /// The block with URL and headers; see [`super::Upload`].
        upload: Cid,
    },
    /// Stored.
    Ok {
        /// Whose word that is: the provider's of this term.
        term: u64,
    },
    /// Without room.
    Exceeds,
    /// Expired.
    Expired,
}

/// The status of what may be there.
pub fn status(state: Option<&State>) -> Status {
    match state.map(|state| state.stage) {
        None => Status::NotFound,
        Some(Stage::Active { .. }) => Status::Active,
        Some(Stage::Receiving { .. }) => Status::Receiving,
        Some(Stage::Ok { .. }) => Status::Ok,
        Some(Stage::Exceeds) => Status::Exceeds,
        Some(Stage::Expired) => Status::Expired,
    }
}

/// A CAR as rows and receipts describe it.
fn car(link: &CarId, size: u64) -> [(&'static str, Ipld); 2] {
    [("link", Ipld::Link(link.to_cid())), ("size", Ipld::Integer(size.into()))]
}

/// What a receipt says of the state: `{status, attempt, …}`. Nothing in it depends on the epoch.
pub fn out(link: &CarId, state: Option<&State>) -> Ipld {
    let status = status(state);
    let (attempt, size) = state.map_or((0, None), |state| (state.attempt, Some(state.size)));
    let mut more: Vec<_> = size.map(|size| car(link, size)).into_iter().flatten().collect();
    match state.map(|state| state.stage) {
        Some(Stage::Receiving { upload, .. }) => more.push(("upload", Ipld::Link(upload))),
        Some(Stage::Ok { term }) => more.push(("term", Ipld::Integer(term.into()))),
        _ => {}
    }
    if let Some(name) = status.error() {
        let message = match status {
            Status::NotFound => "expected a CAR that somebody added, got none".to_owned(),
            Status::Exceeds => format!("expected room for {} bytes, got none", size.unwrap_or_default()),
            _ => "expected the CAR to be put in time, got none".to_owned(),
        };
        more.extend([("name", Ipld::String(name.into())), ("message", Ipld::String(message))]);
    }
    map([
        ("status", Ipld::String(status.name().into())),
        ("attempt", Ipld::Integer(attempt.into())),
        (status.name(), map(more)),
    ])
}

const ACTIVE: i128 = 0;
const RECEIVING: i128 = 1;
const OK: i128 = 2;
const EXCEEDS: i128 = 3;
const EXPIRED: i128 = 4;

impl State {
    /// The state as its cell keeps it: `[stage, attempt, size]`, and behind that `began`, `until` and `upload`, or `term`.
    pub fn to_cell(&self) -> Ipld {
        let (number, more) = match self.stage {
            Stage::Active { began } => (ACTIVE, vec![Ipld::Integer(began.into())]),
            Stage::Receiving { until, upload } => (RECEIVING, vec![Ipld::Integer(until.into()), Ipld::Link(upload)]),
            Stage::Ok { term } => (OK, vec![Ipld::Integer(term.into())]),
            Stage::Exceeds => (EXCEEDS, vec![]),
            Stage::Expired => (EXPIRED, vec![]),
        };
        let head = [number, self.attempt.into(), self.size.into()].map(Ipld::Integer);
        Ipld::List(head.into_iter().chain(more).collect())
    }

    /// Reads what [`State::to_cell`] wrote.
    pub fn from_cell(value: &Ipld) -> Result<Self, Abort> {
        Self::read(value).ok_or_else(|| Abort::State(format!("expected the state of an entry of store, got {value:?}")))
    }

    fn read(value: &Ipld) -> Option<Self> {
        let Ipld::List(list) = value else { return None };
        let [Ipld::Integer(number), Ipld::Integer(attempt), Ipld::Integer(size), more @ ..] = &list[..] else {
            return None;
        };
        let stage = match (*number, more) {
            (ACTIVE, [Ipld::Integer(began)]) => Stage::Active { began: i64::try_from(*began).ok()? },
            (RECEIVING, [Ipld::Integer(until), Ipld::Link(upload)]) => {
                Stage::Receiving { until: i64::try_from(*until).ok()?, upload: *upload }
            }
            (OK, [Ipld::Integer(term)]) => Stage::Ok { term: u64::try_from(*term).ok()? },
            (EXCEEDS, []) => Stage::Exceeds,
            (EXPIRED, []) => Stage::Expired,
            _ => return None,
        };
        Some(Self { attempt: u64::try_from(*attempt).ok()?, size: u64::try_from(*size).ok()?, stage })
    }
}
