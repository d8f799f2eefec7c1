//! The state machine: what each event does in each status. All else asks this table.

use super::effects::Group;
use super::state::Status::{self, Active, Exceeds, Expired, Ok, Receiving};

/// What happens to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `/store/add`.
    Add,
    /// `/store/add` of an entry that has been active for too long, for the worker is gone or lost it; or that another provider
    /// stored.
    AddAgain,
    /// `/store/exceed`.
    Exceed,
    /// `/store/receive`.
    Receive,
    /// `/store/expire`.
    Expire,
    /// `/store/put`.
    Put,
}

/// The next status and the effects that it begins with; `None` leaves everything as it is.
pub type Step = Option<(Status, &'static [Group])>;

const STAY: Step = None;
const BEGIN: Step = Some((Active, &[Group::Activation]));
const AGAIN: Step = Some((Active, &[Group::Deallocation, Group::Activation]));
const REFUSE: Step = Some((Exceeds, &[]));
const UPLOAD: Step = Some((Receiving, &[Group::Upload]));
const GIVE_UP: Step = Some((Expired, &[Group::Deallocation]));
const STORED: Step = Some((Ok, &[]));

/// The table. Columns are in the order of [`Status::ALL`].
#[rustfmt::skip]
pub const TABLE: [(Kind, [Step; 6]); 6] = [
    //                 not found  active  receiving  ok    exceeds  expired
    (Kind::Add,      [ BEGIN,     STAY,   STAY,      STAY, BEGIN,   BEGIN ]),
    (Kind::AddAgain, [ STAY,      AGAIN,  STAY,      AGAIN, STAY,   STAY  ]),
    (Kind::Exceed,   [ STAY,      REFUSE, STAY,      STAY, STAY,    STAY  ]),
    (Kind::Receive,  [ STAY,      UPLOAD, STAY,      STAY, STAY,    STAY  ]),
    (Kind::Expire,   [ STAY,      STAY,   GIVE_UP,   STAY, STAY,    STAY  ]),
    (Kind::Put,      [ STAY,      STORED, STORED,    STAY, STAY,    STAY  ]),
];

/// Looks a step up.
pub fn step(kind: Kind, status: Status) -> Step {
    TABLE[kind as usize].1[status as usize]
}
