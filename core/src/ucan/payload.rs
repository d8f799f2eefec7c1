//! What tokens say: delegations (ucan-wg/delegation, "Delegation Payload") and invocations (ucan-wg/invocation,
//! "Invocation Payload").

use std::collections::BTreeMap;

use super::envelope::{Envelope, Signed};
use super::{Crypto, DELEGATION, Denied, Did, INVOCATION, Policy, PublicKey, seal};
use crate::cid::{Cid, Hasher};
use crate::dag_cbor::{self, Ipld};
use crate::limits::CMD_BYTES_MAX;
use crate::task::{Task, kind};

/// Numbers are exact up to here in every language.
const TIME_MAX: u64 = (1 << 53) - 1;

/// A delegation to be signed.
#[derive(Debug, Clone, PartialEq)]
pub struct DelegationDraft {
    /// Who gives.
    pub iss: Did,
    /// Who gets.
    pub aud: Did,
    /// On what; none means on everything that the issuer gets, a powerline.
    pub sub: Option<Did>,
    /// Which command, with all below it.
    pub cmd: String,
    /// Under which conditions.
    pub pol: Policy,
    /// Tells apart what is otherwise equal.
    pub nonce: Vec<u8>,
    /// What else the issuer wants to say.
    pub meta: Option<BTreeMap<String, Ipld>>,
    /// First second, in unix time.
    pub nbf: Option<u64>,
    /// Last second, in unix time.
    pub exp: Option<u64>,
}

/// A delegation. Its signature counts after [`Delegation::check_signature`].
#[derive(Debug, Clone, PartialEq)]
pub struct Delegation {
    /// Names it, whichever form of its signature travelled.
    pub cid: Cid,
    /// What it says.
    pub draft: DelegationDraft,
    pub(super) key: PublicKey,
    pub(super) signed: Signed,
}

/// An invocation to be signed.
#[derive(Debug, Clone, PartialEq)]
pub struct InvocationDraft {
    /// Who asks.
    pub iss: Did,
    /// Who is to do it, unless it is the subject.
    pub aud: Option<Did>,
    /// What to do on what.
    pub task: Task,
    /// The proofs, from the subject's delegation to the one for the issuer.
    pub prf: Vec<Cid>,
    /// What else the issuer wants to say.
    pub meta: Option<BTreeMap<String, Ipld>>,
    /// Last second, in unix time.
    pub exp: Option<u64>,
    /// When it was written, as the issuer says.
    pub iat: Option<u64>,
    /// The receipt that asked for it.
    pub cause: Option<Cid>,
}

/// An invocation. Its signature counts after [`Invocation::check_signature`].
#[derive(Debug, Clone, PartialEq)]
pub struct Invocation {
    /// What it says.
    pub draft: InvocationDraft,
    /// First second, in unix time; only invocations of w3up have one.
    pub(super) nbf: Option<u64>,
    pub(super) key: PublicKey,
    pub(super) signed: Signed,
}

impl std::ops::Deref for Delegation {
    type Target = DelegationDraft;

    fn deref(&self) -> &DelegationDraft {
        &self.draft
    }
}

impl std::ops::Deref for Invocation {
    type Target = InvocationDraft;

    fn deref(&self) -> &InvocationDraft {
        &self.draft
    }
}

impl Delegation {
    /// Reads a block.
    pub fn decode<H: Hasher>(block: &[u8]) -> Result<Self, Denied> {
        let mut envelope = Envelope::decode(block, DELEGATION)?;
        let draft = DelegationDraft::from_map(std::mem::take(&mut envelope.payload))?;
        let key = envelope.key(draft.iss.as_str())?;
        let signed = envelope.signed;
        Ok(Self { cid: signed.cid::<H>(&key), draft, key, signed })
    }

    /// Verifies the signature.
    pub fn check_signature<C: Crypto>(&self) -> Result<(), Denied> {
        let error = || Denied::InvalidSignature { token: self.name(), iss: self.iss.clone() };
        self.signed.is_by::<C>(&self.key).then_some(()).ok_or_else(error)
    }

    /// How errors name it.
    pub(super) fn name(&self) -> String {
        format!("delegation {}", self.cid)
    }
}

impl Invocation {
    /// Reads a block.
    pub fn decode(block: &[u8]) -> Result<Self, Denied> {
        let mut envelope = Envelope::decode(block, INVOCATION)?;
        let draft = InvocationDraft::from_map(std::mem::take(&mut envelope.payload))?;
        let key = envelope.key(draft.iss.as_str())?;
        Ok(Self { draft, nbf: None, key, signed: envelope.signed })
    }

    /// Verifies the signature.
    pub fn check_signature<C: Crypto>(&self) -> Result<(), Denied> {
        let error = || Denied::InvalidSignature { token: self.name(), iss: self.iss.clone() };
        self.signed.is_by::<C>(&self.key).then_some(()).ok_or_else(error)
    }

    /// SHA-256 of what is signed: the same however the signature or the CAR around it is varied.
    pub fn id<H: Hasher>(&self) -> [u8; 32] {
        self.signed.id::<H>()
    }

    /// How errors name it.
    pub(super) fn name(&self) -> String {
        "the invocation".to_owned()
    }
}

impl DelegationDraft {
    fn from_map(map: BTreeMap<String, Ipld>) -> Result<Self, Denied> {
        let mut fields = Fields(map);
        let draft = Self {
            iss: fields.did("iss")?,
            aud: fields.did("aud")?,
            sub: fields.nullable_did("sub")?,
            cmd: fields.command("cmd")?,
            pol: Policy::from_ipld(fields.required("pol")?)?,
            nonce: fields.bytes("nonce")?,
            meta: fields.meta()?,
            nbf: fields.time("nbf")?,
            exp: fields.expiry()?,
        };
        fields.end().map(|()| draft)
    }

    /// The payload as a value.
    pub fn to_ipld(&self) -> Ipld {
        fields([
            ("iss", Some(did(&self.iss))),
            ("aud", Some(did(&self.aud))),
            ("sub", Some(self.sub.as_ref().map_or(Ipld::Null, did))),
            ("cmd", Some(Ipld::String(self.cmd.clone()))),
            ("pol", Some(self.pol.to_ipld())),
            ("nonce", Some(Ipld::Bytes(self.nonce.clone()))),
            ("meta", self.meta.clone().map(Ipld::Map)),
            ("nbf", self.nbf.map(time)),
            ("exp", Some(self.exp.map_or(Ipld::Null, time))),
        ])
    }

    /// The delegation as a block. See [`seal`].
    pub fn seal(&self, key: &PublicKey, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
        seal(key, DELEGATION, self.to_ipld(), sign)
    }
}

impl InvocationDraft {
    fn from_map(map: BTreeMap<String, Ipld>) -> Result<Self, Denied> {
        let mut fields = Fields(map);
        let draft = Self {
            iss: fields.did("iss")?,
            aud: fields.optional("aud").map(|value| as_did("aud", value)).transpose()?,
            task: fields.task()?,
            prf: fields.links("prf")?,
            meta: fields.meta()?,
            exp: fields.expiry()?,
            iat: fields.time("iat")?,
            cause: fields.optional("cause").map(|value| as_link("cause", value)).transpose()?,
        };
        fields.end().map(|()| draft)
    }

    /// The payload as a value.
    pub fn to_ipld(&self) -> Ipld {
        let Ipld::Map(mut map) = self.task.to_ipld() else { unreachable!("a task is a map") };
        let Ipld::Map(more) = fields([
            ("iss", Some(did(&self.iss))),
            ("aud", self.aud.as_ref().map(did)),
            ("prf", Some(Ipld::List(self.prf.iter().copied().map(Ipld::Link).collect()))),
            ("meta", self.meta.clone().map(Ipld::Map)),
            ("exp", Some(self.exp.map_or(Ipld::Null, time))),
            ("iat", self.iat.map(time)),
            ("cause", self.cause.map(Ipld::Link)),
        ]) else {
            unreachable!("fields are a map")
        };
        map.extend(more);
        Ipld::Map(map)
    }

    /// The invocation as a block. See [`seal`].
    pub fn seal(&self, key: &PublicKey, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
        seal(key, INVOCATION, self.to_ipld(), sign)
    }
}

fn fields<const N: usize>(fields: [(&str, Option<Ipld>); N]) -> Ipld {
    dag_cbor::map(fields.into_iter().filter_map(|(field, value)| Some((field, value?))))
}

fn did(did: &Did) -> Ipld {
    Ipld::String(did.to_string())
}

fn time(time: u64) -> Ipld {
    Ipld::Integer(time.into())
}

/// A payload's fields that were not taken yet.
struct Fields(BTreeMap<String, Ipld>);

#[cold]
fn wrong(field: &str, expected: &str, got: &Ipld) -> Denied {
    Denied::Malformed(format!("expected “{field}” to be {expected}, got {}", kind(got)))
}

fn as_did(field: &str, value: Ipld) -> Result<Did, Denied> {
    match value {
        Ipld::String(did) => did.parse().map_err(|error| Denied::Malformed(format!("{field}: {error}"))),
        other => Err(wrong(field, "a DID", &other)),
    }
}

fn as_link(field: &str, value: Ipld) -> Result<Cid, Denied> {
    match value {
        Ipld::Link(cid) => Ok(cid),
        other => Err(wrong(field, "a link", &other)),
    }
}

fn as_time(field: &str, value: Ipld) -> Result<u64, Denied> {
    match value {
        Ipld::Integer(n) if (0..=i128::from(TIME_MAX)).contains(&n) => Ok(n as u64),
        Ipld::Integer(n) => Err(Denied::Malformed(format!("expected “{field}” to be of 0 to 2^53-1, got {n}"))),
        other => Err(wrong(field, "seconds since 1970", &other)),
    }
}

impl Fields {
    fn optional(&mut self, field: &str) -> Option<Ipld> {
        self.0.remove(field)
    }

    fn required(&mut self, field: &str) -> Result<Ipld, Denied> {
        self.optional(field).ok_or_else(|| Denied::Malformed(format!("expected a field “{field}”, got none")))
    }

    fn did(&mut self, field: &str) -> Result<Did, Denied> {
        as_did(field, self.required(field)?)
    }

    fn nullable_did(&mut self, field: &str) -> Result<Option<Did>, Denied> {
        match self.required(field)? {
            Ipld::Null => Ok(None),
            value => as_did(field, value).map(Some),
        }
    }

    fn bytes(&mut self, field: &str) -> Result<Vec<u8>, Denied> {
        match self.required(field)? {
            Ipld::Bytes(bytes) => Ok(bytes),
            other => Err(wrong(field, "bytes", &other)),
        }
    }

    fn command(&mut self, field: &str) -> Result<String, Denied> {
        match self.required(field)? {
            Ipld::String(cmd) if is_command(&cmd) => Ok(cmd),
            Ipld::String(cmd) => Err(Denied::Malformed(format!(
                "expected “{field}” to be a command like / or /kv/put (of at most {CMD_BYTES_MAX} bytes), got “{}”",
                cmd.chars().take(80).collect::<String>()
            ))),
            other => Err(wrong(field, "a string", &other)),
        }
    }

    fn time(&mut self, field: &str) -> Result<Option<u64>, Denied> {
        self.optional(field).map(|value| as_time(field, value)).transpose()
    }

    fn expiry(&mut self) -> Result<Option<u64>, Denied> {
        match self.required("exp")? {
            Ipld::Null => Ok(None),
            value => as_time("exp", value).map(Some),
        }
    }

    fn meta(&mut self) -> Result<Option<BTreeMap<String, Ipld>>, Denied> {
        match self.optional("meta") {
            None => Ok(None),
            Some(Ipld::Map(map)) => Ok(Some(map)),
            Some(other) => Err(wrong("meta", "a map", &other)),
        }
    }

    fn links(&mut self, field: &str) -> Result<Vec<Cid>, Denied> {
        match self.required(field)? {
            Ipld::List(list) => list.into_iter().map(|value| as_link(field, value)).collect(),
            other => Err(wrong(field, "a list of links", &other)),
        }
    }

    fn task(&mut self) -> Result<Task, Denied> {
        let mut task = BTreeMap::new();
        for field in ["sub", "cmd", "args", "nonce"] {
            task.insert(field.to_owned(), self.required(field)?);
        }
        Task::from_ipld(Ipld::Map(task)).map_err(|error| Denied::Malformed(error.to_string()))
    }

    fn end(self) -> Result<(), Denied> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(field) => {
                let field: String = field.chars().take(80).collect();
                Err(Denied::Malformed(format!("expected no other fields than the specification's, got “{field}”")))
            }
        }
    }
}

/// `/` or segments after slashes (ucan-wg/spec, "Segment Structure"); letters of any script are fine.
fn is_command(cmd: &str) -> bool {
    cmd.len() <= CMD_BYTES_MAX
        && !cmd.bytes().any(|b| b.is_ascii_uppercase())
        && cmd.strip_prefix('/').is_some_and(|rest| rest.is_empty() || rest.split('/').all(|s| !s.is_empty()))
}
