//! w3up's UCAN 0.9.1, as npm `@ucanto/core` 10 writes it, brought into the form of UCAN 1.0: one adapter, and after it the
//! same checks.
//!
//! Three roots are taken: the UCAN itself, the archive `{"ucan@0.9.1": link}` of `Delegation.archive`, and a message
//! `{"ucanto/message@7.0.0": {execute: [link]}}` with one invocation, as its HTTP transport sends it. All of them come in
//! CARs of the machine's form: one root, which is the last block; CIDv1, sha2-256, DAG-CBOR.
//!
//! | 0.9.1 | 1.0 |
//! |---|---|
//! | `with` | `sub`; a delegation of `ucan:*` is a powerline, or about its issuer when that is the owner |
//! | `can`: `kv/put`, `kv/*`, `*` | `cmd`: `/kv/put`, `/kv`, `/` |
//! | `nb` of an invocation, or none | `args`, or empty |
//! | `nb` of a delegation, or none | a policy: each field of the arguments equals the delegation's |
//! | `nnc`, or none | `nonce`, or empty |
//! | `exp` and `nbf`, themselves excluded | `exp` − 1 and `nbf` + 1, which are included |
//! | `prf`, nested | the one chain that counts, see `chain.rs` |
//! | the text of a JWT | what is signed; its hash is what an invocation is known by |
//!
//! Whether a chain proves the invocation is decided by the rules of 0.9.1; what only the form of 1.0 decides is what else a
//! task may ask for in its continuations.
//!
//! What ucanto's validator allows and is refused here: several capabilities in an invocation; issuers that are no keys
//! (`did:web`; `did:mailto` with the attestations of a session); RSA; delegations as JWTs; UCANs that ucanto reads, but
//! wouldn't write.

mod chain;
mod dag_json;
mod receipt;
#[cfg(test)]
mod tests;
mod token;

pub use self::receipt::{message, receipt};
use self::token::{Capability, Token};
use super::envelope::Signed;
use super::payload::{Delegation, DelegationDraft, Invocation, InvocationDraft};
use super::request::covers;
use super::{Denied, Policy, Request};
use crate::car::Car;
use crate::cid::{Cid, Hasher};
use crate::dag_cbor::{self, Ipld};
use crate::task::{Task, kind};

/// The key of an archive's root.
const ARCHIVE: &str = "ucan@0.9.1";

/// The key of a message's root.
const MESSAGE: &str = "ucanto/message@7.0.0";

/// Reads a CAR. `None` when its root is nothing of w3up's.
pub(super) fn request<H: Hasher>(car: &Car) -> Result<Option<Request>, Denied> {
    let Some((cid, value)) = root(car)? else { return Ok(None) };
    let token = Token::decode::<H>(cid, value)?;
    let [capability] = &token.att[..] else {
        return Err(Denied::Malformed(format!("expected an invocation of one capability, got {}", token.att.len())));
    };
    let task = task(capability, &token.nonce)?;
    let chain = if token.iss == task.sub { vec![] } else { chain::find::<H>(car, &token, capability)? };
    let mut allowed = "/".to_owned();
    let proofs = chain.into_iter().map(|(token, given)| delegation(token, given, &task, &mut allowed));
    let proofs = proofs.collect::<Result<Vec<_>, _>>()?;
    Ok(Some(Request { invocation: invocation(token, task, &proofs), proofs }))
}

/// The invocation that a CAR's root is or names.
fn root(car: &Car) -> Result<Option<(Cid, Ipld)>, Denied> {
    let root = car.root_value();
    if Token::is_one(&root) {
        return Ok(Some((car.root(), root)));
    }
    let Ipld::Map(map) = root else { return Ok(None) };
    let Some((key, value)) = map.into_iter().next() else { return Ok(None) };
    let cid = match &key[..] {
        ARCHIVE => link(value)?,
        MESSAGE => executed(value)?,
        _ if key.starts_with("ucan@") || key.starts_with("ucanto/message@") => {
            return Err(malformed(&format!("a root “{ARCHIVE}” or “{MESSAGE}”"), &format!("“{key}”")));
        }
        _ => return Ok(None),
    };
    match car.value(&cid) {
        Some(value) => Ok(Some((cid, value))),
        None => Err(malformed(&format!("the invocation {cid} in the CAR"), "none")),
    }
}

fn malformed(expected: &str, got: &str) -> Denied {
    Denied::Malformed(format!("expected {expected}, got {got}"))
}

fn link(value: Ipld) -> Result<Cid, Denied> {
    if let Ipld::Link(cid) = value { Ok(cid) } else { Err(malformed("a link to a UCAN", kind(&value))) }
}

/// The invocation of a message.
fn executed(value: Ipld) -> Result<Cid, Denied> {
    const EXPECTED: &str = "a message with one invocation and nothing else";
    let Ipld::Map(mut message) = value else { return Err(malformed(EXPECTED, kind(&value))) };
    let execute = match message.remove("execute") {
        Some(Ipld::List(execute)) => execute,
        _ => vec![],
    };
    if let Some(key) = message.into_keys().next() {
        return Err(malformed(EXPECTED, &format!("one with “{key}”")));
    }
    match <[Ipld; 1]>::try_from(execute) {
        Ok([value]) => link(value),
        Err(execute) => Err(malformed(EXPECTED, &format!("{} of them", execute.len()))),
    }
}

fn task(capability: &Capability, nonce: &[u8]) -> Result<Task, Denied> {
    let task = dag_cbor::map([
        ("sub", Ipld::String(capability.with.clone())),
        ("cmd", Ipld::String(format!("/{}", capability.can))),
        ("args", Ipld::Map(capability.nb.clone())),
        ("nonce", Ipld::Bytes(nonce.to_vec())),
    ]);
    Task::from_ipld(task).map_err(|error| Denied::Malformed(error.to_string()))
}

fn invocation(token: Token, task: Task, proofs: &[Delegation]) -> Invocation {
    let draft = InvocationDraft {
        iss: token.iss,
        aud: Some(token.aud),
        task,
        prf: proofs.iter().map(|proof| proof.cid).collect(),
        meta: None,
        exp: token.exp.map(|exp| exp.saturating_sub(1)),
        iat: None,
        cause: None,
    };
    let signed = Signed { signature: token.signature.into(), bytes: token.signed.into_bytes() };
    Invocation { draft, nbf: token.nbf.map(|nbf| nbf + 1), key: token.key, signed }
}

/// `allowed` is the command that those before it leave: in 0.9.1 a delegation may name more than its issuer has.
fn delegation(token: Token, given: Capability, task: &Task, allowed: &mut String) -> Result<Delegation, Denied> {
    let cmd = command(&given.can);
    if covers(allowed, &cmd) {
        *allowed = cmd;
    }
    let about_owner = given.with != chain::ALL_RESOURCES || token.iss == task.sub;
    let draft = DelegationDraft {
        iss: token.iss,
        aud: token.aud,
        sub: about_owner.then(|| task.sub.clone()),
        cmd: allowed.clone(),
        pol: policy(given)?,
        nonce: token.nonce,
        meta: None,
        nbf: token.nbf.map(|nbf| nbf + 1),
        exp: token.exp.map(|exp| exp.saturating_sub(1)),
    };
    let signed = Signed { signature: token.signature.into(), bytes: token.signed.into_bytes() };
    Ok(Delegation { cid: token.cid, draft, key: token.key, signed })
}

/// `kv/*` is `/kv`, `*` is `/`.
fn command(can: &str) -> String {
    let above = can.strip_suffix('*').map_or(can, |prefix| prefix.strip_suffix('/').unwrap_or(prefix));
    format!("/{above}")
}

fn policy(given: Capability) -> Result<Policy, Denied> {
    let statement = |(name, value): (String, Ipld)| {
        let name = name.replace('\\', "\\\\").replace('"', "\\\"");
        Ipld::List(vec![Ipld::String("==".into()), Ipld::String(format!(".[\"{name}\"]")), value])
    };
    Policy::from_ipld(Ipld::List(given.nb.into_iter().map(statement).collect()))
}
