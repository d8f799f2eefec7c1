//! What a replica's file holds, by its meaning, and how it changes.
//!
//! - The tree of the head is complete; other nodes may be here, of a pull that was broken off.
//! - An edit that waits is among `EDITS`. One that was made here is among `OWN` as well, until a receipt said that the chain has
//!   it. If a head includes an own edit's number without that, the number was used on another device for another edit: the
//!   edit is *stranded*, and is made anew before the next push.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bucket_core::cid::{CarId, Cid, NativeHasher};
use bucket_core::dag_cbor::{self, Ipld};
use bucket_core::did::BucketId;
use bucket_core::prolly::Tree;
use bucket_protocols::space::head::{AUTHORS_MAX, Head};

use super::SpaceError;
use super::edit::{Edit, EditDraft, Ops};
use super::model::{Changes, State, includes, is_later, merge};
use super::store::{BLOCKS, Change, EDITS, META, Nodes, OWN, PUSHES, Read, WANTED};
use super::tree::{View, digest, links};
use crate::identity::Identity;

/// Edits of one author that wait.
pub const AUTHOR_EDITS_MAX: usize = 1024;

/// Edits of one author that wait, in bytes.
pub const AUTHOR_BYTES_MAX: usize = 4 << 20;

const HEAD: &str = "head";
const EVIDENCE: &str = "evidence";
const TRUST: &str = "trust";
const AUTHOR: &str = "author";
const SERVICE: &str = "service";

/// Who edits here, and by what right.
#[derive(Debug, Clone, PartialEq)]
pub struct Author {
    /// The key's DID.
    pub did: BucketId,
    /// Delegations from the space to it.
    pub proofs: Vec<Vec<u8>>,
}

/// Why a head is believed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Evidence {
    /// The push that led to it.
    pub car: Option<CarId>,
    /// Its receipt, signed, as a CAR. Without it no other replica believes this one.
    pub signed: Option<Vec<u8>>,
}

/// A push whose receipt isn't known.
#[derive(Debug, Clone, PartialEq)]
pub struct Push {
    /// The root that it edits.
    pub base: Cid,
    /// The own edits that it completes.
    pub edits: Vec<Cid>,
}

fn broken(what: &str) -> SpaceError {
    SpaceError::Storage { path: Default::default(), why: format!("expected {what}, got something else") }
}

fn value(bytes: &[u8], what: &str) -> Result<Ipld, SpaceError> {
    dag_cbor::decode(bytes).map_err(|_| broken(what))
}

fn list(bytes: &[u8], what: &str) -> Result<Vec<Ipld>, SpaceError> {
    if let Ipld::List(list) = value(bytes, what)? { Ok(list) } else { Err(broken(what)) }
}

fn cid(bytes: &[u8]) -> Result<Cid, SpaceError> {
    Cid::try_from(bytes).map_err(|_| broken("a CID"))
}

/// What a replica says of itself.
pub trait Holds: Read + Sized {
    /// The head.
    fn head(&self) -> Result<Head, SpaceError> {
        match self.get(META, HEAD.as_bytes())? {
            None => Ok(Head::empty::<NativeHasher>()),
            Some(bytes) => Head::from_ipld(&value(&bytes, "a head")?).map_err(|why| broken(&why)),
        }
    }

    /// Why the head is believed: the push that led to it, and the block that is its signed receipt.
    fn evidence(&self) -> Result<(Option<CarId>, Option<CarId>), SpaceError> {
        let Some(bytes) = self.get(META, EVIDENCE.as_bytes())? else { return Ok((None, None)) };
        let id = |item| match item {
            Ipld::Null => Ok(None),
            Ipld::Link(cid) => CarId::try_from(&cid).map(Some).map_err(|_| broken("evidence")),
            _ => Err(broken("evidence")),
        };
        match <[Ipld; 2]>::try_from(list(&bytes, "evidence")?) {
            Ok([car, signed]) => Ok((id(car)?, id(signed)?)),
            Err(_) => Err(broken("evidence")),
        }
    }

    /// The head, and all edits that wait.
    fn state(&self) -> Result<State, SpaceError> {
        let mut state = State::new(self.head()?);
        for (_, bytes) in self.some(EDITS, &[], usize::MAX)? {
            state.insert(Arc::new(Edit::kept(bytes)?));
        }
        Ok(state)
    }

    /// What the replica says, with all that waits.
    fn view(&self) -> Result<View<Nodes<'_, Self>>, SpaceError> {
        View::new(&self.state()?, Nodes(self))
    }

    /// Whose signed receipts are believed.
    fn trusted(&self) -> Result<BTreeSet<BucketId>, SpaceError> {
        let Some(bytes) = self.get(META, TRUST.as_bytes())? else { return Ok(BTreeSet::new()) };
        list(&bytes, "DIDs")?.into_iter().map(did).collect()
    }

    /// Who edits here.
    fn author(&self) -> Result<Option<Author>, SpaceError> {
        let Some(bytes) = self.get(META, AUTHOR.as_bytes())? else { return Ok(None) };
        let mut items = list(&bytes, "an author")?.into_iter();
        let did = did(items.next().ok_or_else(|| broken("an author"))?)?;
        let bytes = |item| if let Ipld::Bytes(bytes) = item { Ok(bytes) } else { Err(broken("a delegation")) };
        Ok(Some(Author { did, proofs: items.map(bytes).collect::<Result<_, _>>()? }))
    }

    /// Whose receipts count in the space, as far as it is known.
    fn service(&self) -> Result<Option<BucketId>, SpaceError> {
        let text = self.get(META, SERVICE.as_bytes())?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        text.map(|text| did(Ipld::String(text))).transpose()
    }

    /// Edits that were made here and aren't known to be on the chain, in the order of their numbers.
    fn own(&self) -> Result<Vec<Edit>, SpaceError> {
        let rows = self.some(OWN, &[], usize::MAX)?;
        let mut own = rows.into_iter().map(|(_, bytes)| Edit::kept(bytes)).collect::<Result<Vec<_>, _>>()?;
        own.sort_by_key(|edit| (edit.n, edit.cid));
        Ok(own)
    }

    /// Pushes whose receipts aren't known.
    fn pushes(&self) -> Result<BTreeMap<CarId, Push>, SpaceError> {
        let link = |item| if let Ipld::Link(cid) = item { Ok(cid) } else { Err(broken("a CID")) };
        let read = |(car, push): (Vec<u8>, Vec<u8>)| {
            let car = CarId::try_from(&car[..]).map_err(|_| broken("a CAR's id"))?;
            let mut links = list(&push, "a push")?.into_iter().map(link);
            let base = links.next().ok_or_else(|| broken("a push"))??;
            Ok((car, Push { base, edits: links.collect::<Result<_, _>>()? }))
        };
        self.some(PUSHES, &[], usize::MAX)?.into_iter().map(read).collect()
    }

    /// Own edits whose numbers the head has, though no push of theirs did it.
    fn stranded(&self) -> Result<Vec<Edit>, SpaceError> {
        let (head, pushed) = (self.head()?, self.pushes()?);
        let sent: BTreeSet<_> = pushed.into_values().flat_map(|push| push.edits).collect();
        Ok(self.own()?.into_iter().filter(|edit| includes(&head, edit) && !sent.contains(&edit.cid)).collect())
    }

    /// A block, by any CID of its hash.
    fn block(&self, cid: &Cid) -> Result<Option<Vec<u8>>, SpaceError> {
        digest(cid).map_or(Ok(None), |digest| self.get(BLOCKS, &digest))
    }

    /// Nodes of a tree that aren't here, as far as it can be known.
    fn missing(&self, root: &Cid) -> Result<Vec<Cid>, SpaceError> {
        Ok(Tree::<_, NativeHasher>::new(&Nodes(self), *root).missing(Some(&self.head()?.root))?)
    }

    /// Blocks that values link to and that aren't here; of those that were asked for in vain only `again`, from `start` on.
    fn wanted(&self, again: usize, start: usize) -> Result<Vec<Cid>, SpaceError> {
        let rows = self.some(WANTED, &[], usize::MAX)?;
        let (tried, fresh): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(_, tried)| !tried.is_empty());
        let start = start.checked_rem(tried.len()).unwrap_or_default();
        let tried = tried[start..].iter().chain(&tried[..start]).take(again);
        fresh.iter().chain(tried).map(|(bytes, _)| cid(bytes)).collect()
    }
}

impl<R: Read> Holds for R {}

fn did(value: Ipld) -> Result<BucketId, SpaceError> {
    match value {
        Ipld::String(text) => text.parse().map_err(|_| broken("a DID")),
        _ => Err(broken("a DID")),
    }
}

fn text(did: &BucketId) -> Ipld {
    Ipld::String(did.to_string())
}

impl Change {
    fn set(&self, name: &str, value: &Ipld) -> Result<(), SpaceError> {
        self.put(META, name.as_bytes(), &dag_cbor::encode(value))
    }

    /// Believes what `signer` signs from now on.
    pub fn trust(&self, signer: &BucketId) -> Result<(), SpaceError> {
        let mut trusted = self.trusted()?;
        trusted.insert(signer.clone());
        self.set(TRUST, &Ipld::List(trusted.iter().map(text).collect()))
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

    /// Remembers whose receipts count.
    pub fn set_service(&self, service: &BucketId) -> Result<(), SpaceError> {
        self.put(META, SERVICE.as_bytes(), service.as_str().as_bytes())
    }

    /// Makes an edit here, at `now`, milliseconds since 1970.
    pub fn make(
        &self,
        space: &BucketId,
        key: &Identity,
        proofs: &[Vec<u8>],
        ops: Ops,
        now: u64,
    ) -> Result<Edit, SpaceError> {
        let mut state = self.state()?;
        let own = self.own()?;
        // Also behind those that were sent and perhaps are on the chain by now.
        let last = own.iter().filter(|edit| edit.author == key.did()).map(|edit| edit.n).max().unwrap_or_default();
        let (n, time) = state.next(key.did().as_str(), now);
        let (space, proofs) = (space.clone(), proofs.to_vec());
        let draft = EditDraft { space, author: key.did(), n: n.max(last + 1), time, ops, proofs };
        let edit = draft.seal(key)?;
        state.insert(Arc::new(edit.clone()));
        check_bounds(&state)?;
        self.put(OWN, &edit.cid.to_bytes(), &edit.bytes)?;
        self.keep(&edit)?;
        Ok(edit)
    }

    /// Makes stranded edits anew, as one behind all others: what a later own edit says of a key stays.
    pub fn make_anew(
        &self,
        space: &BucketId,
        key: &Identity,
        proofs: &[Vec<u8>],
        now: u64,
    ) -> Result<usize, SpaceError> {
        let stranded: Vec<_> = self.stranded()?.into_iter().filter(|edit| edit.author == key.did()).collect();
        let head = self.head()?;
        let mut changes = merge(stranded.iter().map(|edit| &edit.ops));
        for later in self.own()?.iter().filter(|edit| !includes(&head, edit)) {
            later.ops.changes().for_each(|(key, _)| drop(changes.remove(key)));
        }
        for ops in in_edits(changes)? {
            self.make(space, key, proofs, ops, now)?;
        }
        stranded.iter().try_for_each(|edit| self.del(OWN, &edit.cid.to_bytes()))?;
        Ok(stranded.len())
    }

    fn keep(&self, edit: &Edit) -> Result<(), SpaceError> {
        self.put(EDITS, &edit.cid.to_bytes(), &edit.bytes)?;
        edit.ops.changes().filter_map(|(_, value)| value).try_for_each(|value| self.want(value))
    }

    /// Wants what a value links to, unless it is here.
    fn want(&self, value: &Ipld) -> Result<(), SpaceError> {
        for link in links(value) {
            let here = digest(&link).map_or(Ok(true), |digest| self.has(BLOCKS, &digest))?;
            if !here && !self.has(WANTED, &link.to_bytes())? {
                self.put(WANTED, &link.to_bytes(), &[])?;
            }
        }
        Ok(())
    }

    /// Keeps a block that a value links to.
    pub fn put_wanted(&self, cid: &Cid, bytes: &[u8]) -> Result<(), SpaceError> {
        self.put_block(bytes)?;
        self.del(WANTED, &cid.to_bytes())
    }

    /// Notes that a block was asked for in vain.
    pub fn not_found(&self, cid: &Cid) -> Result<(), SpaceError> {
        if self.has(WANTED, &cid.to_bytes())? { self.put(WANTED, &cid.to_bytes(), &[1]) } else { Ok(()) }
    }

    /// Takes in edits that were checked, all or none.
    pub fn take(&self, edits: &[Edit]) -> Result<usize, SpaceError> {
        let mut state = self.state()?;
        let before = state.edits().len();
        for edit in edits {
            if !includes(&state.head, edit) && !state.edits().contains_key(&edit.cid) {
                state.insert(Arc::new(edit.clone()));
                self.keep(edit)?;
            }
        }
        check_bounds(&state)?;
        Ok(state.edits().len() - before)
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
        let old = self.head()?.root;
        let blocks = Nodes(self);
        let (before, after) =
            (Tree::<_, NativeHasher>::new(&blocks, old), Tree::<_, NativeHasher>::new(&blocks, head.root));
        // Reads all nodes that are new, so that none is missing afterwards.
        let changes = before.diff(&head.root)?.changes;
        let gone = after.diff(&old)?.nodes;
        self.set(HEAD, &head.to_ipld())?;
        self.set_evidence(evidence)?;
        gone.iter().filter_map(digest).try_for_each(|digest| self.del(BLOCKS, &digest))?;
        changes.iter().filter_map(|change| change.after.as_ref()).try_for_each(|value| self.want(value))?;
        for (cid, bytes) in self.some(EDITS, &[], usize::MAX)? {
            if includes(head, &Edit::kept(bytes)?) {
                self.del(EDITS, &cid)?;
            }
        }
        Ok(())
    }

    fn set_evidence(&self, evidence: &Evidence) -> Result<(), SpaceError> {
        if let (_, Some(old)) = self.evidence()? {
            self.del(BLOCKS, &old.0)?;
        }
        let Evidence { car, signed } = evidence;
        signed.iter().try_for_each(|signed| self.put_block(signed))?;
        let signed = signed.as_ref().map(|signed| CarId::of::<NativeHasher>(signed));
        let link = |id: Option<CarId>| id.map_or(Ipld::Null, |id| Ipld::Link(id.to_cid()));
        self.set(EVIDENCE, &Ipld::List(vec![link(*car), link(signed)]))
    }

    /// Notes a push that is about to be sent.
    pub fn begin_push(&self, car: &CarId, push: &Push) -> Result<(), SpaceError> {
        let links = std::iter::once(&push.base).chain(&push.edits).copied().map(Ipld::Link);
        self.put(PUSHES, &car.to_bytes(), &dag_cbor::encode(&Ipld::List(links.collect())))
    }

    /// Notes what became of a push. Edits of one that went through are on the chain.
    pub fn end_push(&self, car: &CarId, done: bool) -> Result<(), SpaceError> {
        if done {
            for cid in self.pushes()?.remove(car).into_iter().flat_map(|push| push.edits) {
                self.del(OWN, &cid.to_bytes())?;
            }
        }
        self.del(PUSHES, &car.to_bytes())
    }
}

/// Changes as edits, each within its bounds.
pub fn in_edits(changes: Changes) -> Result<Vec<Ops>, SpaceError> {
    let changes: Vec<_> = changes.into_iter().collect();
    let each = changes.chunks(bucket_protocols::space::edit::OPS_MAX);
    Ok(each.map(|some| Ops::new(some.iter().cloned())).collect::<Result<_, _>>()?)
}

fn check_bounds(state: &State) -> Result<(), SpaceError> {
    let mut authors: BTreeMap<_, (usize, usize)> = BTreeMap::new();
    for edit in state.edits().values() {
        let (edits, bytes) = authors.entry(&edit.author).or_default();
        *edits += 1;
        *bytes += edit.bytes.len();
    }
    let too_many = |what, max| Err(SpaceError::TooMany { what, max });
    match () {
        () if authors.len() > AUTHORS_MAX => too_many("authors with edits", AUTHORS_MAX),
        () if authors.values().any(|(edits, _)| *edits > AUTHOR_EDITS_MAX) => {
            too_many("edits of one author", AUTHOR_EDITS_MAX)
        }
        () if authors.values().any(|(_, bytes)| *bytes > AUTHOR_BYTES_MAX) => {
            too_many("bytes of one author's edits", AUTHOR_BYTES_MAX)
        }
        () => Ok(()),
    }
}
