//! How a replica's file changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bucket_core::cid::{CarId, Cid, NativeHasher};
use bucket_core::dag_cbor::{self, Ipld};
use bucket_core::did::BucketId;
use bucket_protocols::space::head::Head;

use super::SpaceError;
use super::edit::{Edit, EditDraft, Ops};
use super::judge::{Judge, Room};
use super::kept::{
    AUTHOR, Author, EVIDENCE, Evidence, Fate, HEAD, Holds as _, PROVIDER, Push, REFUSED, REVOKED, SIGNED, TRUST,
};
use super::model::{Changes, State, includes, is_later};
use super::store::{Change, EDITS, META, OWN, PUSHES, Read as _};
use crate::identity::Identity;
use crate::ucan::revoked::Mark;

fn text(did: &BucketId) -> Ipld {
    Ipld::String(did.to_string())
}

fn dids(all: &BTreeSet<BucketId>) -> Ipld {
    Ipld::List(all.iter().map(text).collect())
}

impl Change {
    fn set(&self, name: &str, value: &Ipld) -> Result<(), SpaceError> {
        self.put(META, name.as_bytes(), &dag_cbor::encode(value))
    }

    /// Believes what `signer` signs from now on.
    pub fn trust(&self, signer: &BucketId) -> Result<(), SpaceError> {
        let mut trusted = self.trusted()?;
        trusted.insert(signer.clone());
        self.set(TRUST, &dids(&trusted))
    }

    /// Drops an author's edits, own ones as well, and takes no others from now on. Tells how many went.
    pub fn refuse(&self, author: &BucketId) -> Result<usize, SpaceError> {
        let before = self.state()?.edits().len();
        let mut refused = self.refused()?;
        refused.insert(author.clone());
        self.set(REFUSED, &dids(&refused))?;
        for edit in self.own()?.iter().filter(|edit| edit.author == *author) {
            self.del_edit(OWN, edit)?;
        }
        Ok(before - self.tidy()?.edits().len())
    }

    /// Takes an author's edits again. Tells whether they weren't taken.
    pub fn allow(&self, author: &BucketId) -> Result<bool, SpaceError> {
        let mut refused = self.refused()?;
        let was = refused.remove(author);
        self.set(REFUSED, &dids(&refused))?;
        Ok(was)
    }

    /// Remembers which delegations were taken back, instead of what was known before.
    pub fn set_revoked(&self, revoked: &BTreeSet<Mark>) -> Result<(), SpaceError> {
        let mark = |(delegation, by): &Mark| Ipld::List(vec![Ipld::Link(*delegation), text(by)]);
        self.set(REVOKED, &Ipld::List(revoked.iter().map(mark).collect()))?;
        self.tidy().map(drop)
    }

    /// Drops edits that don't count any more; what is left.
    fn tidy(&self) -> Result<State, SpaceError> {
        let (state, rest) = self.judged()?;
        rest.iter().try_for_each(|edit| self.del_edit(EDITS, edit))?;
        Ok(state)
    }

    /// Trusts `signer` if it is the first that signs: it comes from where the user said that the indexer is. Tells whether it
    /// is trusted.
    pub fn meet(&self, signer: &BucketId) -> Result<bool, SpaceError> {
        let trusted = self.trusted()?;
        if trusted.is_empty() {
            self.trust(signer)?;
        }
        Ok(trusted.is_empty() || trusted.contains(signer))
    }

    /// Edits as `author` from now on.
    pub fn set_author(&self, author: &Author) -> Result<(), SpaceError> {
        let proofs = author.proofs.iter().cloned().map(Ipld::Bytes);
        self.set(AUTHOR, &Ipld::List(std::iter::once(text(&author.did)).chain(proofs).collect()))
    }

    /// Remembers whose receipts count: the index's row of the bucket's provider, if there is one.
    pub fn set_provider(&self, row: Option<&Ipld>) -> Result<(), SpaceError> {
        row.map_or_else(|| self.del(META, PROVIDER.as_bytes()), |row| self.set(PROVIDER, row))
    }

    /// Makes an edit here.
    pub fn make(&self, space: &BucketId, key: &Identity, proofs: &[Vec<u8>], ops: Ops) -> Result<Edit, SpaceError> {
        let (state, own, author) = (self.tidy()?, self.own()?, key.did());
        // Also behind those that were sent and perhaps are on the chain by now, and those that don't count.
        let (n, time) = state.next(author.as_str(), self.now());
        let n = own.iter().filter(|edit| edit.author == author).map(|edit| edit.n + 1).fold(n, u64::max);
        let time = own.iter().map(|edit| edit.time + 1).fold(time, u64::max);
        let edit = EditDraft { space: space.clone(), author, n, time, ops, proofs: proofs.to_vec() }.seal(key)?;
        Judge::new(self)?.check(&edit)?;
        Room::of(&state).take(&edit)?;
        self.put_edit(OWN, &edit)?;
        self.put_edit(EDITS, &edit)?;
        Ok(edit)
    }

    /// Makes stranded edits anew, as one behind all others: what a later own edit says of a key stays.
    pub fn make_anew(&self, space: &BucketId, key: &Identity, proofs: &[Vec<u8>]) -> Result<usize, SpaceError> {
        let mut stranded = self.stranded()?;
        stranded.retain(|edit| edit.author == key.did());
        let mut own = self.own()?;
        own.sort_by_key(|edit| (edit.time, edit.cid));
        let mut last = BTreeMap::new();
        for edit in &own {
            let lost = stranded.contains(edit);
            last.extend(edit.ops.changes().map(|(key, value)| (key.to_owned(), (value.cloned(), lost))));
        }
        let lost = last.into_iter().filter_map(|(key, (value, lost))| lost.then_some((key, value)));
        for ops in in_edits(lost.collect())? {
            self.make(space, key, proofs, ops)?;
        }
        stranded.iter().try_for_each(|edit| self.del_edit(OWN, edit))?;
        Ok(stranded.len())
    }

    /// Takes in edits as they travel, those that are good. Tells why it left out the others.
    pub fn take_all<'a>(
        &self,
        space: &BucketId,
        edits: impl IntoIterator<Item = (Cid, &'a [u8])>,
    ) -> Result<Vec<(Cid, SpaceError)>, SpaceError> {
        let (mut good, mut left) = (Vec::new(), Vec::new());
        for (cid, bytes) in edits {
            match Edit::decode(bytes, space) {
                Ok(edit) => good.push(edit),
                Err(why) => left.push((cid, why)),
            }
        }
        left.extend(self.take(good)?);
        Ok(left)
    }

    /// Takes in edits that were read, those that count and that there is room for. Tells why it left out the others.
    pub fn take(&self, mut edits: Vec<Edit>) -> Result<Vec<(Cid, SpaceError)>, SpaceError> {
        let (mut state, mut judge) = (self.tidy()?, Judge::new(self)?);
        let mut room = Room::of(&state);
        let mut left = Vec::new();
        edits.sort_by_key(|edit| (edit.n, edit.cid));
        for edit in edits {
            if includes(&state.head, &edit) || state.edits().contains_key(&edit.cid) {
                continue;
            }
            let good = edit.check_time(self.now()).and_then(|()| judge.check(&edit)).and_then(|()| room.take(&edit));
            match good {
                Err(why) => left.push((edit.cid, why)),
                Ok(()) => {
                    self.put_edit(EDITS, &edit)?;
                    state.insert(Arc::new(edit));
                }
            }
        }
        Ok(left)
    }

    /// Goes on to a head, whose tree has to be here, if it is a later one. Tells whether it was.
    pub fn advance(&self, head: &Head, evidence: &Evidence) -> Result<bool, SpaceError> {
        let now = self.head()?;
        if is_later(head, &now) {
            return self.go(head, evidence).map(|()| true);
        }
        if *head == now && self.evidence()?.1.is_none() {
            self.set_evidence(evidence)?;
        }
        Ok(false)
    }

    /// Goes to a head, whose tree has to be here, be it a later one or not: the chain took back the one before.
    pub fn go(&self, head: &Head, evidence: &Evidence) -> Result<(), SpaceError> {
        self.put_tree(&self.head()?, head)?;
        self.set(HEAD, &head.to_ipld())?;
        self.set_evidence(evidence)?;
        self.restore(head)?;
        self.tidy().map(drop)
    }

    /// Own edits that the head doesn't include wait again, if they don't: the chain took back what had them.
    fn restore(&self, head: &Head) -> Result<(), SpaceError> {
        let mut own = self.own()?;
        own.retain(|edit| !includes(head, edit));
        for edit in &own {
            if !self.has(EDITS, &edit.cid.to_bytes())? {
                self.put_edit(EDITS, edit)?;
            }
        }
        for (car, push) in self.pushes()? {
            if let Fate::Landed(epoch) = push.fate
                && own.iter().any(|edit| push.edits.contains(&edit.cid))
            {
                self.put_push(&car, &Push { fate: Fate::TakenBack(epoch), ..push })?;
            }
        }
        Ok(())
    }

    pub(super) fn set_evidence(&self, Evidence { car, signed }: &Evidence) -> Result<(), SpaceError> {
        match signed {
            Some(signed) => self.put(META, SIGNED.as_bytes(), signed)?,
            None => self.del(META, SIGNED.as_bytes())?,
        }
        let signed = signed.as_ref().map(|signed| CarId::of::<NativeHasher>(signed));
        let link = |id: Option<CarId>| id.map_or(Ipld::Null, |id| Ipld::Link(id.to_cid()));
        self.set(EVIDENCE, &Ipld::List(vec![link(*car), link(signed)]))
    }

    /// Notes how a push stands.
    pub fn put_push(&self, car: &CarId, push: &Push) -> Result<(), SpaceError> {
        self.put(PUSHES, &car.to_bytes(), &dag_cbor::encode(&push.to_ipld()))
    }

    /// Forgets a push: it failed, or never comes.
    pub fn del_push(&self, car: &CarId) -> Result<(), SpaceError> {
        self.del(PUSHES, &car.to_bytes())
    }

    /// Forgets a push that the chain has for good, and the edits that it completed.
    pub fn finish_push(&self, car: &CarId) -> Result<(), SpaceError> {
        let done = self.pushes()?.remove(car).map(|push| push.edits).unwrap_or_default();
        for edit in self.own()?.iter().filter(|edit| done.contains(&edit.cid)) {
            self.del_edit(OWN, edit)?;
        }
        self.del_push(car)
    }
}

/// Changes as edits, each within its bounds.
pub fn in_edits(changes: Changes) -> Result<Vec<Ops>, SpaceError> {
    let changes: Vec<_> = changes.into_iter().collect();
    let each = changes.chunks(bucket_protocols::space::edit::OPS_MAX);
    Ok(each.map(|some| Ops::new(some.iter().cloned())).collect::<Result<_, _>>()?)
}
