//! What a bucket says of rights: which delegations are revoked, and which commands are open. Two protocols of the machine's
//! own; what they keep is asked whenever a task is admitted.
//!
//! | command | args | out |
//! |---|---|---|
//! | `/ucan/revoke` | `{ucan: link, path?: [link]}` | `{revoked: link}` |
//! | `/bucket/open` | `{cmd, to?: DID}` | `{open: cmd}` |
//! | `/bucket/close` | `{cmd, to?: DID}` | `{closed: cmd}` |
//!
//! A delegation is revoked for ever (ucan-wg/revocation, "Monotonicity"). The bucket itself may revoke any, and so may its
//! controllers and whoever it delegated `/ucan/revoke` to. Everybody else may revoke what they issued, and what was delegated
//! on from there: their invocation has no proofs, and `path` names the delegations from the bucket's DID to the revoked one,
//! all of them in the CAR ("Path Witness").
//!
//! An open command covers those under it, like a delegated one. It is open to everybody, or to the continuations of one
//! bucket (`to`). `/bucket` and `/ucan` can't be opened.

use cid::Cid;

use crate::car::Car;
use crate::cid::{Hasher, SHA2_256};
use crate::dag_cbor::{Ipld, map};
use crate::did::BucketId;
use crate::error::{Abort, Error, Failure};
use crate::protocol::{Call, Cx, Protocol, Source, Weight};
use crate::task::{Task, is_command, kind};
use crate::ucan::{self, Crypto, Delegation, Denied, Did, Request};

/// `/ucan/revoke`.
pub struct Revocations;

/// `/bucket/open` and `/bucket/close`.
pub struct Openings;

/// Numbers in a table of protocols, and in state.
impl Revocations {
    /// See there.
    pub const NUMBER: u8 = 2;
}

impl Openings {
    /// See [`Revocations::NUMBER`].
    pub const NUMBER: u8 = 3;
}

const REVOKE: &str = "/ucan/revoke";
const OPEN: &str = "/bucket/open";
const CLOSE: &str = "/bucket/close";

/// Whether what comes after it may be refused or allowed for it.
pub(crate) fn changes_rights(cmd: &str) -> bool {
    [REVOKE, OPEN, CLOSE].contains(&cmd)
}

/// Whether somebody revokes with no other right than having issued.
pub(crate) fn is_own_revocation(request: &Request) -> bool {
    request.invocation.task.cmd == REVOKE
        && request.proofs.is_empty()
        && request.invocation.iss != request.invocation.task.sub
}

/// Checks that a revocation names the delegation that it brings along by the name that counts: the same delegation may travel
/// under another one, with the other form of its signature.
pub(crate) fn check_name<C: Crypto>(task: &Task, car: &Car) -> Result<(), Denied> {
    if task.cmd != REVOKE {
        return Ok(());
    }
    let Ok((revoked, _)) = revocation(task) else { return Ok(()) };
    let brought = car.block(&revoked).and_then(|block| Delegation::decode::<C>(block).ok());
    match brought.map(|delegation| delegation.cid).filter(|named| *named != revoked) {
        Some(named) => Err(Denied::InvalidClaim(format!("expected the delegation to be named {named}, got {revoked}"))),
        None => Ok(()),
    }
}

/// Checks that whoever revokes what they issued did issue it, or something before it. Says yes to everything else.
pub(crate) fn witness<C: Crypto>(request: &Request, car: &Car) -> Result<(), Denied> {
    if !is_own_revocation(request) {
        return Ok(());
    }
    let (revoked, path) = revocation(&request.invocation.task).map_err(|failure| Denied::Malformed(failure.message))?;
    let path = ucan::witness::<C>(car, &request.invocation.task.sub, &path, &revoked)?;
    match path.iter().any(|delegation| delegation.iss == request.invocation.iss) {
        true => Ok(()),
        false => Err(Denied::InvalidClaim(format!(
            "expected {} to have issued the revoked delegation or one before it",
            request.invocation.iss
        ))),
    }
}

fn link(field: &str, value: &Ipld) -> Result<Cid, Failure> {
    match value {
        Ipld::Link(cid) if cid.hash().code() == SHA2_256 => Ok(*cid),
        Ipld::Link(cid) => Err(Failure::args(format!("expected “{field}” to link by sha2-256, got {cid}"))),
        other => Err(Failure::args(format!("expected “{field}” to be a link, got {}", kind(other)))),
    }
}

fn unknown(task: &Task, known: &[&str]) -> Result<(), Failure> {
    match task.args.keys().find(|field| !known.contains(&field.as_str())) {
        Some(field) => Err(Failure::args(format!("expected no field “{field}”"))),
        None => Ok(()),
    }
}

/// The delegation that is revoked, and the path to it.
fn revocation(task: &Task) -> Result<(Cid, Vec<Cid>), Failure> {
    unknown(task, &["ucan", "path"])?;
    let ucan = task.args.get("ucan").ok_or_else(|| Failure::args("expected a field “ucan”, got none"))?;
    let path = match task.args.get("path") {
        Some(Ipld::List(path)) => path.iter().map(|step| link("path", step)).collect::<Result<_, _>>()?,
        Some(other) => return Err(Failure::args(format!("expected “path” to be a list, got {}", kind(other)))),
        None => vec![],
    };
    Ok((link("ucan", ucan)?, path))
}

/// Marks a delegation that somebody revoked. What decides is the mark with the revoker's name behind.
fn mark(delegation: &Cid) -> Vec<u8> {
    delegation.hash().digest().to_vec()
}

fn mark_by(delegation: &Cid, hash: [u8; 32]) -> Vec<u8> {
    [mark(delegation), hash.to_vec()].concat()
}

fn own(number: u8, key: &[u8]) -> Vec<u8> {
    [&[number], key].concat()
}

impl Revocations {
    /// Who of the bucket and `issuers` revoked a delegation.
    pub(crate) fn revoked<'a, H: Hasher>(
        entries: &dyn Source,
        delegation: &Cid,
        bucket: &'a Did,
        issuers: impl IntoIterator<Item = &'a Did>,
    ) -> Result<Option<&'a Did>, Abort> {
        if entries.read(&own(Self::NUMBER, &mark(delegation)))?.is_none() {
            return Ok(None);
        }
        for issuer in std::iter::once(bucket).chain(issuers) {
            let key = mark_by(delegation, H::sha2_256(issuer.as_str().as_bytes()));
            if entries.read(&own(Self::NUMBER, &key))?.is_some() {
                return Ok(Some(issuer));
            }
        }
        Ok(None)
    }
}

impl Protocol for Revocations {
    fn name(&self) -> &'static str {
        "ucan"
    }

    fn commands(&self) -> &'static [&'static str] {
        &[REVOKE]
    }

    fn weight(&self, _: &Task) -> Weight {
        Weight { writes: 2, ..Weight::NONE }
    }

    fn execute(&self, cx: &mut Cx<'_>, call: &Call<'_>) -> Result<Ipld, Error> {
        let (revoked, _) = revocation(call.task)?;
        // That such a revoker issued it was checked when the task was admitted; everybody else speaks for the bucket.
        let revoker = call.issuer.filter(|_| call.alone).unwrap_or(cx.bucket());
        let hash = cx.sha2_256(revoker.as_str().as_bytes());
        cx.put(&mark(&revoked), vec![]);
        cx.put(&mark_by(&revoked, hash), vec![]);
        Ok(map([("revoked", Ipld::Link(revoked))]))
    }
}

fn opening(task: &Task) -> Result<(String, Option<BucketId>), Failure> {
    unknown(task, &["cmd", "to"])?;
    let cmd = match task.args.get("cmd") {
        Some(Ipld::String(cmd)) if is_command(cmd) => cmd.clone(),
        Some(Ipld::String(cmd)) => {
            return Err(Failure::args(format!("expected a command like /kv/put, got “{cmd}”")));
        }
        Some(other) => return Err(Failure::args(format!("expected “cmd” to be a string, got {}", kind(other)))),
        None => return Err(Failure::args("expected a field “cmd”, got none")),
    };
    if ["/bucket", "/ucan"].iter().any(|kept| cmd == *kept || cmd.starts_with(&format!("{kept}/"))) {
        let message = format!("expected a command other than /bucket and /ucan, which give rights away, got {cmd}");
        return Err(Failure::new("OpenReserved", message));
    }
    let to = match task.args.get("to") {
        Some(Ipld::String(to)) => Some(to.parse().map_err(|error| Failure::args(format!("to: {error}")))?),
        Some(other) => return Err(Failure::args(format!("expected “to” to be a DID, got {}", kind(other)))),
        None => None,
    };
    Ok((cmd, to))
}

fn opening_key(cmd: &str, to: Option<&BucketId>) -> Vec<u8> {
    [cmd, " ", to.map_or("*", |to| to.as_str())].concat().into_bytes()
}

impl Openings {
    /// Whether a command is open to everybody, or to the continuations of bucket `from`.
    pub(crate) fn is_open(entries: &dyn Source, cmd: &str, from: Option<&BucketId>) -> Result<bool, Abort> {
        let ends = cmd.match_indices('/').map(|(at, _)| at).filter(|at| *at > 0).chain([cmd.len()]);
        for covering in ends.map(|end| &cmd[..end]) {
            for to in [None, from].into_iter().take(1 + usize::from(from.is_some())) {
                if entries.read(&own(Self::NUMBER, &opening_key(covering, to)))?.is_some() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

impl Protocol for Openings {
    fn name(&self) -> &'static str {
        "bucket"
    }

    fn commands(&self) -> &'static [&'static str] {
        &[OPEN, CLOSE]
    }

    fn weight(&self, _: &Task) -> Weight {
        Weight { writes: 1, ..Weight::NONE }
    }

    fn execute(&self, cx: &mut Cx<'_>, call: &Call<'_>) -> Result<Ipld, Error> {
        let (cmd, to) = opening(call.task)?;
        let key = opening_key(&cmd, to.as_ref());
        let done = if call.task.cmd == OPEN {
            cx.put(&key, vec![]);
            "open"
        } else {
            cx.del(&key);
            "closed"
        };
        Ok(map([(done, Ipld::String(cmd))]))
    }
}
