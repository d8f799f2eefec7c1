//! What a replica's file holds, by its meaning.
//!
//! An edit that waits is among `EDITS`. One that was made here is among `OWN` as well, until the push that brought it to the chain
//! is final: a head that doesn't include it, since the chain took back the one that did, lets it wait again. An own edit that
//! doesn't count any more, though no push brought it, is *stranded*, and is made anew before the next push: another device used its
//! number for another edit, which the head includes, or its delegations ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bucket_core::cid::{CarId, Cid, NativeHasher};
use bucket_core::dag_cbor::{self, Ipld, map};
use bucket_core::did::BucketId;
use bucket_core::prolly::Tree;
use bucket_protocols::space::head::Head;
use bucket_protocols::store::rows::Provider;

use super::SpaceError;
use super::blocks::Nodes;
use super::edit::{self, Edit};
use super::judge::Judge;
use super::model::{State, includes};
use super::store::{BLOCKS, EDITS, META, NODES, OWN, PUSHES, Read, WANTED};
use super::tree::{View, digest};
use crate::ucan::revoked::{Mark, marks};

pub(super) const HEAD: &str = "head";
pub(super) const EVIDENCE: &str = "evidence";
pub(super) const SIGNED: &str = "signed";
pub(super) const TRUST: &str = "trust";
pub(super) const REFUSED: &str = "refused";
pub(super) const REVOKED: &str = "revoked";
pub(super) const AUTHOR: &str = "author";
pub(super) const PROVIDER: &str = "provider";

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

/// A push that was sent, until it is final or failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Push {
    /// The root that it edits.
    pub base: Cid,
    /// The own edits that it completes.
    pub edits: Vec<Cid>,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a push, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nothing is.
    Unknown,
    /// It went through, as the chain said at this epoch.
    Landed(i64),
    /// The chain, which said so at this epoch, has taken it back. Its message may come again.
    TakenBack(i64),
}

impl Fate {
    fn to_ipld(self) -> Option<Ipld> {
        let (name, epoch) = match self {
            Self::Unknown => return None,
            Self::Landed(epoch) => ("landed", epoch),
            Self::TakenBack(epoch) => ("takenBack", epoch),
        };
        Some(map([(name, Ipld::Integer(epoch.into()))]))
    }

    fn from_ipld(value: &Ipld) -> Option<Self> {
        let Ipld::Map(fields) = value else { return None };
        let epoch = |name| if let Ipld::Integer(epoch) = fields.get(name)? { i64::try_from(*epoch).ok() } else { None };
        epoch("landed").map(Self::Landed).or_else(|| epoch("takenBack").map(Self::TakenBack))
    }
}

impl Push {
    /// One that is about to be sent.
    pub fn new(base: Cid, edits: Vec<Cid>) -> Self {
        Self { base, edits, fate: Fate::Unknown }
    }

    pub(super) fn to_ipld(&self) -> Ipld {
        let links = std::iter::once(&self.base).chain(&self.edits).copied().map(Ipld::Link);
        Ipld::List(links.chain(self.fate.to_ipld()).collect())
    }

    fn from_ipld(items: &[Ipld]) -> Option<Self> {
        let (links, fate) = match items.split_last()? {
            (Ipld::Link(_), _) => (items, Fate::Unknown),
            (fate, links) => (links, Fate::from_ipld(fate)?),
        };
        let mut links = links.iter().map(|item| if let Ipld::Link(cid) = item { Some(*cid) } else { None });
        Some(Self { base: links.next()??, edits: links.collect::<Option<_>>()?, fate })
    }
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

/// The link of a row, behind the hash.
fn link(row: &[u8]) -> Result<Cid, SpaceError> {
    let cid = row.get(32..).and_then(|bytes| Cid::try_from(bytes).ok());
    cid.ok_or_else(|| broken("a link"))
}

fn dids(kept: &impl Read, name: &str) -> Result<BTreeSet<BucketId>, SpaceError> {
    let Some(bytes) = kept.get(META, name.as_bytes())? else { return Ok(BTreeSet::new()) };
    list(&bytes, "DIDs")?.into_iter().map(did).collect()
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

    /// The head, and all edits that wait and count now.
    fn state(&self) -> Result<State, SpaceError> {
        Ok(self.judged()?.0)
    }

    /// The same, and the edits that don't count any more.
    fn judged(&self) -> Result<(State, Vec<Edit>), SpaceError> {
        let (mut state, mut rest) = (State::new(self.head()?), Vec::new());
        let mut judge = Judge::new(self)?;
        for (_, bytes) in self.below(EDITS, &[])? {
            let edit = Edit::kept(bytes)?;
            match includes(&state.head, &edit) || judge.check(&edit).is_err() {
                true => rest.push(edit),
                false => state.insert(Arc::new(edit)),
            }
        }
        Ok((state, rest))
    }

    /// What the replica says, with all that waits.
    fn view(&self) -> Result<View<Nodes<'_, Self>>, SpaceError> {
        View::new(&self.state()?, Nodes(self))
    }

    /// Whose signed receipts are believed.
    fn trusted(&self) -> Result<BTreeSet<BucketId>, SpaceError> {
        dids(self, TRUST)
    }

    /// Whose edits aren't taken.
    fn refused(&self) -> Result<BTreeSet<BucketId>, SpaceError> {
        dids(self, REFUSED)
    }

    /// Which delegations of edits were taken back, as the chain said at the last pull.
    fn revoked(&self) -> Result<BTreeSet<Mark>, SpaceError> {
        let Some(bytes) = self.get(META, REVOKED.as_bytes())? else { return Ok(BTreeSet::new()) };
        let mark = |item| match item {
            Ipld::List(pair) => match <[Ipld; 2]>::try_from(pair) {
                Ok([Ipld::Link(delegation), by]) => Ok((delegation, did(by)?)),
                _ => Err(broken("a revocation")),
            },
            _ => Err(broken("a revocation")),
        };
        list(&bytes, "revocations")?.into_iter().map(mark).collect()
    }

    /// All that would take back delegations of edits here, and what did.
    fn revocable(&self) -> Result<BTreeSet<Mark>, SpaceError> {
        let mut found = self.revoked()?;
        let mut seen = BTreeSet::new();
        for (_, bytes) in [self.below(EDITS, &[])?, self.below(OWN, &[])?].concat() {
            let edit = Edit::kept(bytes)?;
            if seen.insert(edit.proofs.clone()) {
                let held = edit::held(&edit.proofs)?;
                found.extend(marks(&edit.space, held.iter().map(|held| &held.delegation)));
            }
        }
        Ok(found)
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
        Ok(self.provider()?.map(|found| found.provider))
    }

    /// The bucket's provider, as the chain committed to it.
    fn provider(&self) -> Result<Option<Provider>, SpaceError> {
        let Some(bytes) = self.get(META, PROVIDER.as_bytes())? else { return Ok(None) };
        Provider::read(&value(&bytes, "a provider")?).map(Some).map_err(|_| broken("a provider"))
    }

    /// Edits that were made here and aren't known to be on the chain for good, in the order of their numbers.
    fn own(&self) -> Result<Vec<Edit>, SpaceError> {
        let rows = self.below(OWN, &[])?;
        let mut own = rows.into_iter().map(|(_, bytes)| Edit::kept(bytes)).collect::<Result<Vec<_>, _>>()?;
        own.sort_by_key(|edit| (edit.n, edit.cid));
        Ok(own)
    }

    /// Pushes that aren't known to be on the chain for good.
    fn pushes(&self) -> Result<BTreeMap<CarId, Push>, SpaceError> {
        let read = |(car, push): (Vec<u8>, Vec<u8>)| {
            let car = CarId::try_from(&car[..]).map_err(|_| broken("a CAR's id"))?;
            Ok((car, Push::from_ipld(&list(&push, "a push")?).ok_or_else(|| broken("a push"))?))
        };
        self.below(PUSHES, &[])?.into_iter().map(read).collect()
    }

    /// Own edits that don't count any more, though no push of theirs did it.
    fn stranded(&self) -> Result<Vec<Edit>, SpaceError> {
        let (state, pushed) = (self.state()?, self.pushes()?);
        let sent: BTreeSet<_> = pushed.into_values().flat_map(|push| push.edits).collect();
        let waits = |cid: &Cid| state.edits().contains_key(cid) || sent.contains(cid);
        Ok(self.own()?.into_iter().filter(|edit| !waits(&edit.cid)).collect())
    }

    /// A block, by any CID of its hash: what a value links to, a node of the head's tree, or the head's evidence.
    fn block(&self, cid: &Cid) -> Result<Option<Vec<u8>>, SpaceError> {
        let Some(digest) = digest(cid) else { return Ok(None) };
        for table in [BLOCKS, NODES] {
            if let Some(block) = self.get(table, &digest)? {
                return Ok(Some(block));
            }
        }
        match self.evidence()?.1 {
            Some(signed) if signed.0 == digest => self.get(META, SIGNED.as_bytes()),
            _ => Ok(None),
        }
    }

    /// Nodes of a tree that aren't here, as far as it can be known.
    fn missing(&self, root: &Cid) -> Result<Vec<Cid>, SpaceError> {
        Ok(Tree::<_, NativeHasher>::new(&Nodes(self), *root).missing(Some(&self.head()?.root))?)
    }

    /// Blocks that values link to and that aren't here; of those that were asked for in vain only `again`, from `start` on.
    fn wanted(&self, again: usize, start: usize) -> Result<Vec<Cid>, SpaceError> {
        let (tried, fresh): (Vec<_>, Vec<_>) =
            self.below(WANTED, &[])?.into_iter().partition(|(_, tried)| !tried.is_empty());
        let start = start.checked_rem(tried.len()).unwrap_or_default();
        let tried = tried[start..].iter().chain(&tried[..start]).take(again);
        fresh.iter().chain(tried).map(|(row, _)| link(row)).collect()
    }
}

impl<R: Read> Holds for R {}

fn did(value: Ipld) -> Result<BucketId, SpaceError> {
    match value {
        Ipld::String(text) => text.parse().map_err(|_| broken("a DID")),
        _ => Err(broken("a DID")),
    }
}
