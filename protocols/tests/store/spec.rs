//! What the requirements say, apart from the protocol's own code: their table in their words, and a machine that reads it.

use std::collections::{BTreeMap, BTreeSet};

use bucket_protocols::store::Status;

/// The transition matrix of the requirements, word for word.
pub const MATRIX: &str = "
| event | NF (init) | active | receiving | ok | error EXC | error EXP |
|---|---|---|---|---|---|---|
|store/add|active; allocate->…|same, no effects|same, no effects|same|active; allocate (retry)|active; allocate (retry)|
|store/exceed|same|error ExceedsLimit|same|same|same|same|
|store/receive|same|receiving; s3/put invocation to issuer + sleep(200)->expire|same|same|same|same|
|store/expire|same|same|error Expired; deallocate(size)|same|same|same|
|store/put|same|ok|ok|same|same|same|
";

/// Epochs of the slides and of the house.
pub const UPLOAD_EPOCHS: i64 = 200;
pub const ACTIVATION_EPOCHS: i64 = 2880;

/// What a cell of the matrix says: the next status, and the jobs that its effects begin with.
pub type Expected = Option<(Status, BTreeSet<&'static str>)>;

/// The matrix by event and status.
pub fn matrix() -> BTreeMap<(&'static str, Status), Expected> {
    let mut cells = BTreeMap::new();
    for line in MATRIX.lines().filter(|line| !line.is_empty()).skip(2) {
        let parts: Vec<&str> = line.trim_matches('|').split('|').collect();
        assert_eq!(parts.len(), 7, "{line}");
        for (status, cell) in Status::ALL.into_iter().zip(&parts[1..]) {
            cells.insert((parts[0], status), expected(cell));
        }
    }
    cells
}

fn expected(cell: &'static str) -> Expected {
    if cell.starts_with("same") {
        return None;
    }
    let (status, effects) = cell.split_once("; ").unwrap_or((cell, ""));
    let status = match status {
        "active" => Status::Active,
        "receiving" => Status::Receiving,
        "ok" => Status::Ok,
        "error ExceedsLimit" => Status::Exceeds,
        "error Expired" => Status::Expired,
        other => panic!("unknown status {other}"),
    };
    let effects: &[_] = match effects {
        "" => &[],
        "allocate->…" | "allocate (retry)" => &["/storage/allocate"],
        // Defect g: somebody has to see that it was put.
        "s3/put invocation to issuer + sleep(200)->expire" => &["/s3/put", "/storage/watch", "/task/sleep"],
        "deallocate(size)" => &["/storage/deallocate"],
        other => panic!("unknown effects {other}"),
    };
    Some((status, effects.iter().copied().collect()))
}

/// An event, without what doesn't matter to the state machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    Add(u64),
    Exceed(u64),
    Receive(u64),
    Expire(u64),
    Put(u64),
    Done(u64),
}

impl Event {
    pub fn name(self) -> &'static str {
        match self {
            Self::Add(_) => "store/add",
            Self::Exceed(_) => "store/exceed",
            Self::Receive(_) => "store/receive",
            Self::Expire(_) => "store/expire",
            Self::Put(_) => "store/put",
            Self::Done(_) => "store/done",
        }
    }
}

/// One entry as the requirements have it, one event after the other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spec {
    pub status: Status,
    pub attempt: u64,
    pub size: u64,
    /// When the attempt began.
    pub began: i64,
    /// When it may expire.
    pub until: i64,
    /// Attempts whose room is to be given back.
    pub owed: BTreeSet<u64>,
    /// The provider's term.
    pub term: u64,
    /// In which term it was stored.
    pub stored: u64,
}

/// Too early to expire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotExpired;

/// Parsed once for each model: it is asked very often.
pub struct Model(BTreeMap<(&'static str, Status), Expected>);

impl Model {
    pub fn new() -> Self {
        Self(matrix())
    }

    pub fn apply(&self, spec: &mut Spec, event: Event, now: i64) -> Result<(), NotExpired> {
        let (Event::Add(number)
        | Event::Exceed(number)
        | Event::Receive(number)
        | Event::Expire(number)
        | Event::Put(number)
        | Event::Done(number)) = event;
        match event {
            Event::Done(attempt) => {
                spec.owed.remove(&attempt);
                return Ok(());
            }
            // Defect k.
            Event::Add(size) if spec.is_given_up(now) => {
                spec.owed.insert(spec.attempt);
                spec.status = Status::Active;
                (spec.attempt, spec.size, spec.began) = (spec.attempt + 1, size, now);
                return Ok(());
            }
            Event::Add(_) => {}
            // Defect i.
            _ if number != spec.attempt => return Ok(()),
            Event::Expire(_) if spec.status == Status::Receiving && now < spec.until => return Err(NotExpired),
            _ => {}
        }
        let Some((status, effects)) = &self.0[&(event.name(), spec.status)] else { return Ok(()) };
        spec.status = *status;
        if effects.contains("/storage/allocate") {
            (spec.attempt, spec.size, spec.began) = (spec.attempt + 1, number, now);
        }
        if *status == Status::Ok {
            spec.stored = spec.term;
        }
        if effects.contains("/task/sleep") {
            spec.until = now + UPLOAD_EPOCHS;
        }
        if effects.contains("/storage/deallocate") {
            spec.owed.insert(spec.attempt);
        }
        Ok(())
    }
}

impl Default for Spec {
    fn default() -> Self {
        let (status, owed) = (Status::NotFound, BTreeSet::new());
        Self { status, attempt: 0, size: 0, began: 0, until: 0, owed, term: 1, stored: 0 }
    }
}

impl Spec {
    /// Whether adding it again begins another attempt: nobody works on it any more, or another provider stored it.
    fn is_given_up(&self, now: i64) -> bool {
        match self.status {
            Status::Active => now > self.began + ACTIVATION_EPOCHS,
            Status::Ok => self.stored != self.term,
            _ => false,
        }
    }
}
