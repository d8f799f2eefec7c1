//! `Create`: a new bucket under a DID.
//!
//! Where the DID is a key that can sign on chain, it has to: nobody else gets a bucket of that name. The proof is a CAR whose
//! root is an invocation of `/bucket/create` with the arguments `{controllers: [address bytes], mode}`, which have to be the
//! message's, so that whoever carries it can't put in others. Other DIDs belong to who comes first.

use cid::Cid;
use fvm_shared::ActorID;
use fvm_shared::address::Address;

use crate::abi::{CreateParams, CreateReturn, Returned};
use crate::bucket::{Bucket, Entries, Mode, Receipts};
use crate::car::Car;
use crate::dag_cbor::{self, Ipld};
use crate::error::Abort;
use crate::execute::Applied;
use crate::host::Host;
use crate::limits::{CAR_BYTES_MAX, CONTROLLERS_MAX};
use crate::state;
use crate::ucan::{Did, PublicKey, Request};

/// The command that a bucket's key signs.
pub const CREATE: &str = "/bucket/create";

/// The arguments that a bucket's key signs.
pub fn args(controllers: &[Address], mode: Mode) -> Ipld {
    let controllers = controllers.iter().map(|address| Ipld::Bytes(address.to_bytes())).collect();
    dag_cbor::map([("controllers", Ipld::List(controllers)), ("mode", Ipld::String(mode.to_string()))])
}

/// Whether a bucket of this name needs a proof.
pub fn needs_proof(bucket: &Did) -> bool {
    PublicKey::from_did(bucket.as_str()).is_ok()
}

pub(crate) fn create<H: Host>(host: &H, root: &Cid, params: CreateParams) -> Result<Applied, Abort> {
    let store = host.store();
    let controllers = controllers(host, &params)?;
    let mut buckets = state::buckets::<H::Store, H::Hasher>(store, root)?;
    let key = params.bucket.as_str().as_bytes();
    if buckets.get(key)?.is_some() {
        return Err(Abort::BucketExists(params.bucket));
    }
    check_proof(host, &params)?;
    // After this point it must succeed.
    let empty = Entries::<H::Store, H::Hasher>::empty(store, "entries").flush()?;
    let receipts = Receipts::<H::Store, H::Hasher>::empty(store, "receipts").flush()?;
    let returned = CreateReturn { controllers: controllers.clone(), root: empty };
    let bucket =
        Bucket { controllers, mode: params.mode, root: empty, queue: None, head: 0, tail: 0, receipts, ran: 0 };
    buckets.set(key, &bucket)?;
    let touched = vec![params.bucket];
    Ok(Applied { touched, ..Applied::quiet(buckets.flush()?, Returned::Create(returned)) })
}

fn check_proof<H: Host>(host: &H, params: &CreateParams) -> Result<(), Abort> {
    let Some(proof) = &params.proof else {
        let unproven = needs_proof(&params.bucket).then(|| Abort::Unproven(params.bucket.clone()));
        return unproven.map_or(Ok(()), Err);
    };
    if proof.0.len() > CAR_BYTES_MAX {
        return Err(Abort::TooLarge(proof.0.len()));
    }
    let car = Car::decode::<H::Hasher>(proof.0.clone())?;
    let request = Request::from_car::<H::Hasher>(&car)?;
    let request = request.ok_or_else(|| Abort::Proof("expected a signed invocation, got something else".into()))?;
    let task = &request.invocation.task;
    if task.sub != params.bucket || task.cmd != CREATE {
        let (sub, cmd) = (&task.sub, &task.cmd);
        return Err(Abort::Proof(format!("expected {CREATE} of {}, got {cmd} of {sub}", params.bucket)));
    }
    if Ipld::Map(task.args.clone()) != args(&params.controllers, params.mode) {
        return Err(Abort::Proof("expected the message's controllers and mode, got others".into()));
    }
    request.check(host.timestamp(), Some(&params.bucket))?;
    Ok(request.check_signatures::<H::Hasher>()?)
}

fn controllers<H: Host>(host: &H, params: &CreateParams) -> Result<Vec<ActorID>, Abort> {
    let addresses = &params.controllers;
    if addresses.len() > CONTROLLERS_MAX {
        return Err(Abort::Controllers(format!("expected at most {CONTROLLERS_MAX}, got {}", addresses.len())));
    }
    if addresses.is_empty() && params.proof.is_none() {
        return Ok(vec![host.caller()]);
    }
    let mut ids = Vec::with_capacity(addresses.len());
    for (at, address) in addresses.iter().enumerate() {
        let id = host.resolve(address).ok_or_else(|| Abort::Controllers(unknown(at, address)))?;
        if let Err(place) = ids.binary_search(&id) {
            ids.insert(place, id);
        }
    }
    Ok(ids)
}

/// Its payload in hex: the usual name has a checksum, for which the actor's module would have to hold Blake2b.
fn unknown(at: usize, address: &Address) -> String {
    let payload: String = address.payload_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let class = address.protocol() as u8;
    format!("the chain doesn't know number {}, f{class} with payload {payload}: send it some FIL first", at + 1)
}
