//! Which edits count at this moment. That an edit is good was checked when it came ([`Edit::decode`]); here is what changes while
//! it waits: its delegations end, somebody takes one back, whoever keeps this replica refuses its author.
//!
//! What ends by itself is a function of the time, so two replicas with the same edits and clocks see the same. What only the
//! chain knows, a replica knows since its last pull.

use std::collections::{BTreeMap, BTreeSet};

use bucket_core::did::BucketId;
use bucket_core::ucan::Denied;
use bucket_protocols::space::head::AUTHORS_MAX;

use super::SpaceError;
use super::edit::{self, Edit};
use super::kept::Holds;
use super::model::State;
use crate::ucan::revoked::{Mark, marks};

/// Edits of one author that wait.
pub const AUTHOR_EDITS_MAX: usize = 1024;

/// Edits of one author that wait, in bytes.
pub const AUTHOR_BYTES_MAX: usize = 4 << 20;

/// Who says which edits count.
pub struct Judge {
    now: u64,
    refused: BTreeSet<BucketId>,
    revoked: BTreeSet<Mark>,
    /// What was found out of delegations: most edits of an author come with the same.
    found: BTreeMap<Vec<Vec<u8>>, Result<(), Denied>>,
}

impl Judge {
    /// By what a replica knows now.
    pub fn new(kept: &impl Holds) -> Result<Self, SpaceError> {
        let (refused, revoked) = (kept.refused()?, kept.revoked()?);
        Ok(Self { now: kept.now() / 1000, refused, revoked, found: BTreeMap::new() })
    }

    /// Why an edit doesn't count.
    pub fn check(&mut self, edit: &Edit) -> Result<(), SpaceError> {
        if self.refused.contains(&edit.author) {
            return Err(SpaceError::Refused(edit.author.clone()));
        }
        if !self.found.contains_key(&edit.proofs) {
            self.found.insert(edit.proofs.clone(), self.check_proofs(&edit.space, &edit.proofs));
        }
        Ok(self.found[&edit.proofs].clone()?)
    }

    fn check_proofs(&self, space: &BucketId, proofs: &[Vec<u8>]) -> Result<(), Denied> {
        let held = edit::held(proofs)?;
        let now = self.now;
        for held in &held {
            if let Some(exp) = held.exp.filter(|exp| now > *exp) {
                return Err(Denied::Expired { token: held.name(), exp, now });
            }
        }
        let mark = marks(space, held.iter().map(|held| &held.delegation)).find(|mark| self.revoked.contains(mark));
        match mark {
            Some((delegation, by)) => Err(Denied::Revoked { token: format!("delegation {delegation}"), by }),
            None => Ok(()),
        }
    }
}

/// What the edits of a replica's authors take of their bounds.
pub struct Room(BTreeMap<BucketId, (usize, usize)>);

impl Room {
    /// What waits already.
    pub fn of(state: &State) -> Self {
        let mut authors = BTreeMap::new();
        for edit in state.edits().values() {
            let (edits, bytes) = authors.entry(edit.author.clone()).or_default();
            *edits += 1;
            *bytes += edit.bytes.len();
        }
        Self(authors)
    }

    /// Makes room for one edit more, if there is some.
    pub fn take(&mut self, edit: &Edit) -> Result<(), SpaceError> {
        let (edits, bytes) = self.0.get(&edit.author).copied().unwrap_or_default();
        let (edits, bytes) = (edits + 1, bytes + edit.bytes.len());
        let too_many = |what, max| Err(SpaceError::TooMany { what, max });
        match () {
            () if edits == 1 && self.0.len() == AUTHORS_MAX => too_many("authors with edits", AUTHORS_MAX),
            () if edits > AUTHOR_EDITS_MAX => too_many("edits of one author", AUTHOR_EDITS_MAX),
            () if bytes > AUTHOR_BYTES_MAX => too_many("bytes of one author's edits", AUTHOR_BYTES_MAX),
            () => {
                self.0.insert(edit.author.clone(), (edits, bytes));
                Ok(())
            }
        }
    }
}
