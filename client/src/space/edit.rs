//! An edit of a space as it travels between replicas: signed by its author, known by its CID.
//!
//! `[signature, {h: varsig header, "space/edit@1": {space, author, n, time, ops, prf}}]` in strict DAG-CBOR, the envelope of
//! UCANs with a tag of its own, so that neither can be taken for the other. `ops` is `[[key, value] | [key]]`, sorted by key;
//! `prf` holds the delegations from the space to the author, as bytes: nobody's edit is looked at who couldn't push it.

use std::collections::BTreeMap;

use bucket_core::cid::{Cid, DAG_CBOR, NativeHasher, block_cid};
use bucket_core::dag_cbor::{self, Ipld};
use bucket_core::did::BucketId;
use bucket_core::limits::PROOFS_MAX;
use bucket_core::task::kind;
use bucket_core::ucan::{self, Denied, PublicKey};
/// What an edit does: values by their keys, and keys that go.
pub use bucket_protocols::space::edit::Edit as Ops;
use bucket_protocols::space::head::NUMBER_MAX;
use bucket_protocols::space::push::PUSH;

use super::SpaceError;
use crate::identity::Identity;
use crate::ucan::file::Token;
use crate::ucan::{Held, chain, sign};

/// A signed edit: as many keys and values as one may have, of full size, and proofs.
pub const EDIT_BYTES_MAX: usize = 192 * 1024;

/// How far an author's clock may be ahead of ours, in milliseconds.
const AHEAD_MAX: u64 = 24 * 60 * 60 * 1000;

const TAG: &str = "space/edit@1";

/// What an edit says.
#[derive(Debug, Clone, PartialEq)]
pub struct EditDraft {
    /// The space.
    pub space: BucketId,
    /// Whose it is.
    pub author: BucketId,
    /// The author's numbers only grow. A head tells up to which of them it holds.
    pub n: u64,
    /// When it was made, in milliseconds since 1970, and later than all edits that its author knew.
    pub time: u64,
    /// What it does.
    pub ops: Ops,
    /// Delegations from the space to the author, as they travel; none when the author is the space.
    pub proofs: Vec<Vec<u8>>,
}

/// An edit whose signature, proofs and bounds were checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Edit {
    /// The CID of [`Edit::bytes`].
    pub cid: Cid,
    /// What travels.
    pub bytes: Vec<u8>,
    draft: EditDraft,
}

impl std::ops::Deref for Edit {
    type Target = EditDraft;

    fn deref(&self) -> &EditDraft {
        &self.draft
    }
}

fn wrong(why: impl Into<String>) -> SpaceError {
    SpaceError::Edit(why.into())
}

impl EditDraft {
    /// Signs it. What others would refuse is refused here.
    pub fn seal(&self, key: &Identity) -> Result<Edit, SpaceError> {
        if key.did() != self.author {
            return Err(wrong(format!("expected it to be signed by {}, got the key of {}", self.author, key.did())));
        }
        Edit::decode(&ucan::seal(&key.public(), TAG, self.to_ipld(), |message| key.sign(message)), &self.space)
    }

    fn to_ipld(&self) -> Ipld {
        let number = |n: u64| Ipld::Integer(n.into());
        let text = |did: &BucketId| Ipld::String(did.to_string());
        let proofs = self.proofs.iter().cloned().map(Ipld::Bytes).collect();
        let fields = [
            ("space", text(&self.space)),
            ("author", text(&self.author)),
            ("n", number(self.n)),
            ("time", number(self.time)),
            ("ops", self.ops.to_ipld()),
            ("prf", Ipld::List(proofs)),
        ];
        Ipld::Map(fields.map(|(key, value)| (key.to_owned(), value)).into())
    }

    fn from_map(mut map: BTreeMap<String, Ipld>) -> Result<Self, SpaceError> {
        let mut field = |name: &str| map.remove(name).ok_or_else(|| wrong(format!("expected “{name}”, got none")));
        let draft = Self {
            space: did("space", field("space")?)?,
            author: did("author", field("author")?)?,
            n: number("n", field("n")?)?,
            time: number("time", field("time")?)?,
            ops: Ops::from_ipld(&field("ops")?)?,
            proofs: proofs(field("prf")?)?,
        };
        match map.into_keys().next() {
            None => Ok(draft),
            Some(more) => Err(wrong(format!("expected six fields, got “{more}” as well"))),
        }
    }

    /// Whether the author could push it: the chain of its proofs, at the time that it says.
    fn check_right(&self) -> Result<(), SpaceError> {
        let held = held(&self.proofs)?;
        let way: Vec<_> = held.iter().collect();
        let seconds = self.time / 1000;
        let found =
            chain::find(&held, &self.space, &self.author, |way| chain::check(way, seconds, Some(PUSH)).map(drop))?;
        if chain::cids(&found) != chain::cids(&way) {
            return Err(wrong("expected the proofs from the space to the author in their order, got others as well"));
        }
        way.iter().try_for_each(|held| held.delegation.check_signature::<NativeHasher>())?;
        // As far as the arguments of its push are known.
        let args = [("ops", self.ops.to_ipld()), ("upto", Ipld::Integer(self.n.into()))];
        let args = Ipld::Map(args.map(|(key, value)| (key.to_owned(), value)).into());
        way.iter().try_for_each(|held| sign::check_policy(held, &args))?;
        Ok(())
    }
}

impl Edit {
    /// Reads what travels, and checks all that can be checked without asking anybody.
    pub fn decode(bytes: &[u8], space: &BucketId) -> Result<Self, SpaceError> {
        if bytes.len() > EDIT_BYTES_MAX {
            return Err(wrong(format!("expected at most {EDIT_BYTES_MAX} bytes, got {}", bytes.len())));
        }
        let (signature, header, signed) = open(bytes)?;
        let message = dag_cbor::encode(&signed);
        let draft = EditDraft::from_map(payload(signed)?)?;
        if draft.space != *space {
            return Err(wrong(format!("expected one of {space}, got one of {}", draft.space)));
        }
        if draft.n == 0 {
            return Err(wrong("expected a number of 1 or more, got 0"));
        }
        let key = PublicKey::from_did(draft.author.as_str())?;
        // Of a P-256 signature's two forms one counts, or a stranger could give an edit a second CID.
        let good = key.algorithm().header()[..] == header[..] && key.canonical(&signature).is_none();
        if !good || !key.verify::<NativeHasher>(&message, &signature) {
            return Err(wrong(format!("expected a signature of {}, got another", draft.author)));
        }
        draft.check_right()?;
        Ok(Self::new(bytes.to_vec(), draft))
    }

    /// Refuses what comes from the future: edits made after it would have to be later still.
    pub fn check_time(&self, now: u64) -> Result<(), SpaceError> {
        if self.time <= now + AHEAD_MAX {
            return Ok(());
        }
        Err(wrong(format!("expected one made until now, {now}, or a day later, got one made at {}", self.time)))
    }

    /// Reads what this replica keeps: it was checked before it was kept.
    pub(super) fn kept(bytes: Vec<u8>) -> Result<Self, SpaceError> {
        let (_, _, signed) = open(&bytes)?;
        let draft = EditDraft::from_map(payload(signed)?)?;
        Ok(Self::new(bytes, draft))
    }

    fn new(bytes: Vec<u8>, draft: EditDraft) -> Self {
        Self { cid: block_cid::<NativeHasher>(DAG_CBOR, &bytes), bytes, draft }
    }
}

/// Delegations as they read.
pub(super) fn held(proofs: &[Vec<u8>]) -> Result<Vec<Held>, Denied> {
    proofs.iter().map(|proof| Held::new(Token::new(proof.clone()))).collect()
}

/// Signature, header, and all that is signed.
fn open(bytes: &[u8]) -> Result<(Vec<u8>, Vec<u8>, Ipld), SpaceError> {
    let value = dag_cbor::decode(bytes).map_err(|error| wrong(error.to_string()))?;
    let expected = || wrong(format!("expected [signature, {{h, “{TAG}”}}], got something else"));
    let Ipld::List(list) = value else { return Err(expected()) };
    let Ok([Ipld::Bytes(signature), signed]) = <[Ipld; 2]>::try_from(list) else { return Err(expected()) };
    match &signed {
        Ipld::Map(map) if map.len() == 2 => match map.get("h") {
            Some(Ipld::Bytes(header)) => Ok((signature, header.clone(), signed)),
            _ => Err(expected()),
        },
        _ => Err(expected()),
    }
}

fn payload(signed: Ipld) -> Result<BTreeMap<String, Ipld>, SpaceError> {
    let Ipld::Map(mut map) = signed else { unreachable!("it was opened") };
    match map.remove(TAG) {
        Some(Ipld::Map(payload)) => Ok(payload),
        _ => Err(wrong(format!("expected a map under “{TAG}”, got something else"))),
    }
}

fn did(name: &str, value: Ipld) -> Result<BucketId, SpaceError> {
    match value {
        Ipld::String(text) => text.parse().map_err(|error| wrong(format!("{name}: {error}"))),
        other => Err(wrong(format!("expected “{name}” to be a DID, got {}", kind(&other)))),
    }
}

fn number(name: &str, value: Ipld) -> Result<u64, SpaceError> {
    match value {
        Ipld::Integer(n) if (0..=i128::from(NUMBER_MAX)).contains(&n) => Ok(n as u64),
        _ => Err(wrong(format!("expected “{name}” to be a number of 0 to 2^53-1, got something else"))),
    }
}

fn proofs(value: Ipld) -> Result<Vec<Vec<u8>>, SpaceError> {
    let expected = || wrong(format!("expected “prf” to be a list of at most {PROOFS_MAX} delegations' bytes"));
    let Ipld::List(list) = value else { return Err(expected()) };
    if list.len() > PROOFS_MAX {
        return Err(expected());
    }
    list.into_iter().map(|item| if let Ipld::Bytes(bytes) = item { Ok(bytes) } else { Err(expected()) }).collect()
}
