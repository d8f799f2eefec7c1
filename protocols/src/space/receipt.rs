//! Receipts that a service signs, each a CAR: blocks that it speaks of, proofs, the task `{sub, cmd, args, nonce}`, and as its
//! root the assertion `{ran, out}` of UCAN 1.0 (`bucket_core::ucan::assertion`).
//!
//! Who signs is the service itself, or somebody to whom its delegations of `/ucan/assert/receipt` lead. The indexer's signed
//! receipts (`/receipt/{cid}?format=ucan`) have this form.

use std::collections::BTreeMap;

use bucket_core::car::{Car, Transaction};
use bucket_core::cid::{CarId, Cid, DAG_CBOR, Hasher};
use bucket_core::dag_cbor::Ipld;
use bucket_core::error::Failure;
use bucket_core::task::Task;
use bucket_core::ucan::assertion::{ASSERT, assertion, error};
use bucket_core::ucan::{Crypto, Did, Invocation, InvocationDraft, PublicKey, Request};

use super::standing::Why;

/// The field of `meta` that links to the receipt that a new one replaces.
const ORIGIN: &str = "origin";

/// A receipt, once it is certain who says so.
#[derive(Debug, Clone, PartialEq)]
pub struct Signed {
    /// CID of the task.
    pub ran: Cid,
    /// What was to be done.
    pub task: Task,
    /// Who signed: the service or a delegate of it.
    pub by: Did,
    /// What came of it: a value, or an error `{name, message}`.
    pub out: Result<Ipld, Ipld>,
    /// The receipt that this one replaces.
    pub origin: Option<CarId>,
}

/// A receipt to be signed. The same draft gives the same bytes, as far as the signature's algorithm does.
#[derive(Debug, Clone)]
pub struct Draft<'a> {
    /// In whose name.
    pub service: &'a Did,
    /// What was to be done.
    pub task: &'a Task,
    /// What came of it.
    pub out: Result<Ipld, Failure>,
    /// The receipt that this one replaces.
    pub origin: Option<CarId>,
    /// Delegations from the service to who signs, if that is somebody else, in this order.
    pub proofs: &'a [Vec<u8>],
}

impl Draft<'_> {
    /// The receipt's CAR, after the blocks that were written already. See [`InvocationDraft::seal`] for `key` and `sign`.
    ///
    /// # Panics
    /// As [`bucket_core::dag_cbor::encode`].
    pub fn to_car<H: Hasher>(
        self,
        key: &PublicKey,
        sign: impl FnOnce(&[u8]) -> Vec<u8>,
        mut blocks: Transaction<H>,
    ) -> Vec<u8> {
        let prf = self.proofs.iter().map(|proof| blocks.write_block(DAG_CBOR, proof)).collect();
        let ran = blocks.write(&self.task.to_ipld());
        let meta = self.origin.map(|origin| BTreeMap::from([(ORIGIN.to_owned(), Ipld::Link(origin.to_cid()))]));
        let asserted = assertion(self.service, ran, self.out.map_err(error), vec![]);
        let draft = InvocationDraft { iss: key.to_did(), prf, meta, ..asserted };
        blocks.write_block(DAG_CBOR, &draft.seal(key, sign));
        blocks.commit().expect("blocks were written")
    }
}

impl Signed {
    /// Reads a receipt that counts at `now` (unix seconds) as one of `service`.
    pub fn read<C: Crypto>(car: &Car, service: &Did, now: u64) -> Result<Self, Why> {
        let root = car.root();
        let block = car.block(&root).filter(|_| root.codec() == DAG_CBOR);
        Invocation::decode(block.ok_or_else(|| Why::NoReceipt("a root that is raw bytes".into()))?)?;
        let none = || Why::NoReceipt("no invocation".into());
        let request = Request::from_car::<C>(car)?.ok_or_else(none)?;
        let InvocationDraft { task: asserted, meta, iss, .. } = &request.invocation.draft;
        if asserted.cmd != ASSERT {
            return Err(Why::NoReceipt(format!("an invocation of {}", asserted.cmd)));
        }
        if asserted.sub != *service {
            return Err(Why::Service { expected: service.clone(), got: asserted.sub.clone() });
        }
        let (ran, out) = facts(asserted.args.clone())?;
        let origin = origin(meta.as_ref())?;
        let task = Task::from_ipld(car.value(&ran).ok_or(Why::TaskAbsent(ran))?)?;
        request.check(now, Some(service))?;
        // After the rest, because it costs most.
        request.check_signatures::<C>()?;
        Ok(Self { ran, task, by: iss.clone(), out, origin })
    }
}

/// What is asserted: the task's CID, and what came of it.
fn facts(mut args: BTreeMap<String, Ipld>) -> Result<(Cid, Result<Ipld, Ipld>), Why> {
    let wrong = || Why::NoReceipt("other arguments than {ran: link, out: {ok} or {error}}".into());
    let (Some(Ipld::Link(ran)), Some(Ipld::Map(mut out)), true) =
        (args.remove("ran"), args.remove("out"), args.is_empty())
    else {
        return Err(wrong());
    };
    match (out.remove("ok"), out.remove("error"), out.is_empty()) {
        (Some(ok), None, true) => Ok((ran, Ok(ok))),
        (None, Some(error), true) => Ok((ran, Err(error))),
        _ => Err(wrong()),
    }
}

fn origin(meta: Option<&BTreeMap<String, Ipld>>) -> Result<Option<CarId>, Why> {
    match meta.and_then(|meta| meta.get(ORIGIN)) {
        None => Ok(None),
        Some(Ipld::Link(cid)) => match CarId::try_from(cid) {
            Ok(id) => Ok(Some(id)),
            Err(why) => Err(Why::NoReceipt(format!("an origin that is none: {why}"))),
        },
        Some(_) => Err(Why::NoReceipt("an origin that is no link".into())),
    }
}
