//! What a replica holds, as a value: a head and the edits that wait. Two replicas join into one, in any order, and agree.
//!
//! - The chain orders heads; a join takes the later one, and drops the edits that it includes by their authors' numbers.
//! - What waits is applied over the head's tree in the order (time, CID): the last operation of a key counts. So a delete that
//!   knew of a put is behind it for ever, and what was included can't come back from a replica that was away.
//! - An edit that others pushed before one's own is beneath it: waiting edits are always the newest, and pushing them keeps
//!   that so. Who edits the same key at the same time wins by pushing last.
//! - A number is an author's on one replica. If the same key edits on two, two edits may have one number: both are kept and
//!   applied while they wait, and the head that includes one of them drops both everywhere, but for the replica that made the
//!   other: there it is *stranded*, and gets a new number before the next push (see [`super::kept`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use bucket_core::cid::Cid;
use bucket_core::dag_cbor::Ipld;
use bucket_protocols::space::head::Head;

use super::edit::{Edit, Ops};

/// Several edits as one: new values by their keys, none where a key goes.
pub type Changes = BTreeMap<String, Option<Ipld>>;

/// Whether a head comes after another. The chain orders them. Two with one number are of two forks, of which the chain will
/// drop one; until then all replicas take the same.
pub fn is_later(head: &Head, than: &Head) -> bool {
    (head.seq, head.root, &head.clock) > (than.seq, than.root, &than.clock)
}

/// Whether a head includes an edit.
pub fn includes(head: &Head, edit: &Edit) -> bool {
    edit.n <= known(head, edit.author.as_str())
}

/// The number of an author's last edit in a head.
pub fn known(head: &Head, author: &str) -> u64 {
    head.clock.get(author).copied().unwrap_or_default()
}

/// What a replica holds. Trees and other blocks are beside it, by their CIDs.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// The latest head.
    pub head: Head,
    /// Edits that it doesn't include.
    edits: BTreeMap<Cid, Arc<Edit>>,
}

impl State {
    /// A replica of nothing.
    pub fn new(head: Head) -> Self {
        Self { head, edits: BTreeMap::new() }
    }

    /// Takes an edit in, unless the head includes it.
    pub fn insert(&mut self, edit: Arc<Edit>) {
        if !includes(&self.head, &edit) {
            self.edits.insert(edit.cid, edit);
        }
    }

    /// Goes on to a head, if it is a later one.
    pub fn advance(&mut self, head: &Head) {
        if is_later(head, &self.head) {
            self.head = head.clone();
            self.edits.retain(|_, edit| !includes(head, edit));
        }
    }

    /// Takes in all that the other knows.
    pub fn join(&mut self, other: &Self) {
        self.advance(&other.head);
        other.edits.values().for_each(|edit| self.insert(edit.clone()));
    }

    /// What waits, by CIDs.
    pub fn edits(&self) -> &BTreeMap<Cid, Arc<Edit>> {
        &self.edits
    }

    /// What waits, in the order in which it is applied.
    pub fn waiting(&self) -> Vec<&Arc<Edit>> {
        let mut edits: Vec<_> = self.edits.values().collect();
        edits.sort_by_key(|edit| (edit.time, edit.cid));
        edits
    }

    /// All that waits, as one edit over the head's tree.
    pub fn changes(&self) -> Changes {
        merge(self.waiting().into_iter().map(|edit| &edit.ops))
    }

    /// The number and time of the author's next edit; `now` in milliseconds since 1970. A clock that went back doesn't put the
    /// edit before what its author knows.
    pub fn next(&self, author: &str, now: u64) -> (u64, u64) {
        let own = self.edits.values().filter(|edit| edit.author.as_str() == author);
        let last = own.map(|edit| edit.n).max().unwrap_or_default().max(known(&self.head, author));
        let latest = self.edits.values().map(|edit| edit.time).max();
        (last + 1, now.max(latest.map_or(0, |time| time + 1)))
    }
}

/// Several edits' operations as one: the last of a key counts.
pub fn merge<'a>(all: impl IntoIterator<Item = &'a Ops>) -> Changes {
    let each = all.into_iter().flat_map(Ops::changes);
    each.map(|(key, value)| (key.to_owned(), value.cloned())).collect()
}
