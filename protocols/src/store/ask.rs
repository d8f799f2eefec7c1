//! Tasks of this protocol, for those who ask: clients and the service's worker.

use std::collections::BTreeMap;

use bucket_core::cid::{CarId, Cid, Hasher};
use bucket_core::dag_cbor::{self, Ipld, fields_of};
use bucket_core::did::BucketId;
use bucket_core::effect::Job;
use bucket_core::task::Task;

use super::PROVIDE;
use super::event::ADD;
use super::rows::provider_args;

fn task(bucket: &BucketId, cmd: &str, args: BTreeMap<String, Ipld>, nonce: Vec<u8>) -> Task {
    Task { sub: bucket.clone(), cmd: cmd.to_owned(), args, nonce }
}

/// `/store/provide`: lets a service store the bucket's CARs. The CAR has to hold the blocks of `proofs`.
pub fn provide(bucket: &BucketId, provider: &BucketId, proofs: Vec<Cid>, nonce: Vec<u8>) -> Task {
    task(bucket, PROVIDE, fields_of(provider_args(provider, &proofs)), nonce)
}

/// `/store/add`: asks for a CAR of `size` bytes to be stored.
pub fn add(bucket: &BucketId, link: CarId, size: u64, nonce: Vec<u8>) -> Task {
    let args = fields_of([("link", Ipld::Link(link.to_cid())), ("size", Ipld::Integer(size.into()))]);
    task(bucket, ADD, args, nonce)
}

/// An event as an effect asks for it: the job `cmd` with its arguments, promises kept, about an attempt at a CAR.
pub fn event(
    bucket: &BucketId,
    link: CarId,
    attempt: u64,
    cmd: &str,
    mut args: BTreeMap<String, Ipld>,
    nonce: Vec<u8>,
) -> Task {
    args.extend(fields_of([("link", Ipld::Link(link.to_cid())), ("attempt", Ipld::Integer(attempt.into()))]));
    task(bucket, cmd, args, nonce)
}

/// The idempotency key of a job in an outbox: whoever does it does it once for each key. SHA-256 of the DAG-CBOR of
/// `[bucket, link, attempt, cmd, args]`, with promises as they stand.
pub fn idempotency_key<H: Hasher>(bucket: &BucketId, link: CarId, attempt: u64, job: &Job) -> [u8; 32] {
    let parts = [
        Ipld::String(bucket.to_string()),
        Ipld::Link(link.to_cid()),
        Ipld::Integer(attempt.into()),
        Ipld::String(job.cmd.clone()),
        Ipld::Map(job.args.clone()),
    ];
    H::sha2_256(&dag_cbor::encode(&Ipld::List(parts.into())))
}
