//! What came of a task, as UCAN 1.0 says it: an invocation of `/ucan/assert/receipt {ran, out}`, which who ran the task signs
//! (fil-forge/ucantone, `ucan/receipt`). The machine's own receipts carry no signature; these are for those who don't ask the
//! chain.

use super::{Did, InvocationDraft};
use crate::car::Car;
use crate::cid::{Cid, Hasher};
use crate::dag_cbor::{Ipld, fields_of, map};
use crate::error::Failure;
use crate::task::Task;

/// The command by which UCAN 1.0 tells what came of a task.
pub const ASSERT: &str = "/ucan/assert/receipt";

/// What people call that which a CAR asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names {
    /// What somebody signed: the root of UCAN 1.0, the UCAN in an archive or message of w3up. Else the task.
    pub invocation: Cid,
    /// The block `{sub, cmd, args, nonce}`, whether it is in the CAR or not.
    pub task: Cid,
}

impl Names {
    /// The names of what `car` asks for, which is `task`.
    pub fn new<H: Hasher>(car: &Car, task: &Task) -> Self {
        let invocation = wrapped(&car.root_value()).unwrap_or_else(|| car.root());
        Self { invocation, task: task.cid::<H>() }
    }
}

/// The UCAN that w3up's roots link to: `{"ucan@0.9.1": link}`, `{"ucanto/message@7.0.0": {execute: [link]}}`.
fn wrapped(root: &Ipld) -> Option<Cid> {
    let Ipld::Map(map) = root else { return None };
    let (key, value) = map.first_key_value().filter(|_| map.len() == 1)?;
    let link = match (&key[..], value) {
        ("ucan@0.9.1", link) => link,
        ("ucanto/message@7.0.0", Ipld::Map(message)) => match message.get("execute")? {
            Ipld::List(execute) => execute.first()?,
            _ => return None,
        },
        _ => return None,
    };
    if let Ipld::Link(cid) = link { Some(*cid) } else { None }
}

/// A failure as UCANs write it.
pub fn error(failure: Failure) -> Ipld {
    failure.to_ipld()
}

/// The assertion of `by` about itself that `out` came of the task `ran`; to be signed, see [`InvocationDraft::seal`]. It has no
/// audience and never expires: what happened doesn't stop to have happened.
pub fn assertion(by: &Did, ran: Cid, out: Result<Ipld, Ipld>, nonce: Vec<u8>) -> InvocationDraft {
    let out = match out {
        Ok(value) => map([("ok", value)]),
        Err(error) => map([("error", error)]),
    };
    let args = fields_of([("ran", Ipld::Link(ran)), ("out", out)]);
    InvocationDraft {
        iss: by.clone(),
        aud: None,
        task: Task { sub: by.clone(), cmd: ASSERT.to_owned(), args, nonce },
        prf: vec![],
        meta: None,
        exp: None,
        iat: None,
        cause: None,
    }
}
