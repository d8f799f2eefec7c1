//! Why a head may be believed that another replica tells: the receipt of the push that led to it, signed by somebody whom
//! this replica trusts.
//!
//! It is what indexers serve as `/v1/buckets/{did}/receipts/{car}/signed?format=ucan`. A signature says that there was such a
//! head; which one is the newest, only the chain knows.

use std::collections::BTreeSet;

use bucket_core::car::{Car, Transaction};
use bucket_core::cid::{CarId, NativeHasher};
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::limits::STAGED_BYTES_MAX;
use bucket_core::receipt::Receipt;
use bucket_core::ucan::Request;
use bucket_protocols::space::head::Head;
use bucket_protocols::space::push::PUSH;
use bucket_protocols::space::receipt::Signed;

use super::SpaceError;

/// A head that somebody vouches for.
#[derive(Debug, Clone, PartialEq)]
pub struct Vouched {
    /// The head.
    pub head: Head,
    /// In whose name.
    pub by: BucketId,
    /// The push that led to it, if the receipt says so.
    pub car: Option<CarId>,
}

fn wrong(why: impl ToString) -> SpaceError {
    SpaceError::Evidence(why.to_string())
}

/// Reads a signed receipt of a push to `space`. Its signature counts at `now`, in seconds since 1970.
pub fn read(signed: &[u8], space: &BucketId, now: u64) -> Result<Vouched, SpaceError> {
    if signed.len() > STAGED_BYTES_MAX {
        return Err(wrong(format!("expected a CAR of at most {STAGED_BYTES_MAX} bytes, got {}", signed.len())));
    }
    let car = Car::decode::<NativeHasher>(signed.to_vec()).map_err(wrong)?;
    let request = Request::from_car::<NativeHasher>(&car).map_err(wrong)?;
    let by = request.ok_or_else(|| wrong("expected a signed receipt, got an unsigned task"))?.invocation.draft.task.sub;
    let Signed { task, out, .. } = Signed::read::<NativeHasher>(&car, &by, now).map_err(wrong)?;
    if task.sub != *space || task.cmd != PUSH {
        return Err(wrong(format!("expected a receipt of {PUSH} to {space}, got one of {} to {}", task.cmd, task.sub)));
    }
    let out =
        out.map_err(|_| wrong("expected the receipt of a push that went through, got that of one that failed"))?;
    let head = Head::from_ipld(&out).map_err(wrong)?;
    Ok(Vouched { head, by, car: pushed(&car) })
}

/// Checks that somebody of `trusted` vouches for `head`.
pub fn check(
    head: &Head,
    signed: Option<&[u8]>,
    space: &BucketId,
    trusted: &BTreeSet<BucketId>,
    now: u64,
) -> Result<Vouched, SpaceError> {
    let signed = signed.ok_or_else(|| wrong("expected a signed receipt of its push, got none"))?;
    let vouched = read(signed, space, now)?;
    if vouched.head != *head {
        return Err(wrong(format!(
            "expected it to be about edit {} with root {}, got one about edit {} with root {}",
            head.seq, head.root, vouched.head.seq, vouched.head.root
        )));
    }
    if !trusted.contains(&vouched.by) {
        let trusted = trusted.iter().map(BucketId::as_str).collect::<Vec<_>>().join(", ");
        let trusted = if trusted.is_empty() { "nobody" } else { &trusted };
        return Err(wrong(format!(
            "expected a signature of whom this replica trusts ({trusted}), got one of {}",
            vouched.by
        )));
    }
    Ok(vouched)
}

/// What ran, by the machine's own receipt, which travels along: `meta.receipt` is its CAR's id.
fn pushed(car: &Car) -> Option<CarId> {
    let request = Request::from_car::<NativeHasher>(car).ok()??;
    let Ipld::Link(id) = request.invocation.draft.meta.as_ref()?.get("receipt")? else { return None };
    car.blocks().find_map(|(cid, block)| {
        let mut transaction = Transaction::<NativeHasher>::default();
        transaction.write_block(cid.codec(), block);
        let bytes = transaction.commit().ok()?;
        let found = CarId::of::<NativeHasher>(&bytes).to_cid() == *id;
        Some(Receipt::from_car::<NativeHasher>(bytes).ok()?.ran).filter(|_| found)
    })
}
