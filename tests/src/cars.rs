//! Writing CARs for tests.

use bucket_core::car::Transaction;
use bucket_core::cid::{CarId, NativeHasher};
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::task::Task;

/// A transaction in process.
pub type Tx = Transaction<NativeHasher>;

/// A bucket's DID for a test, different for each name.
pub fn did(name: &str) -> BucketId {
    format!("did:key:zTest{name}").parse().expect("a DID")
}

/// A map.
pub fn map<const N: usize>(entries: [(&str, Ipld); N]) -> Ipld {
    Ipld::Map(entries.map(|(key, value)| (key.to_owned(), value)).into())
}

/// A string.
pub fn text(text: &str) -> Ipld {
    Ipld::String(text.to_owned())
}

/// A task.
pub fn task(bucket: &BucketId, cmd: &str, args: Ipld, nonce: u64) -> Task {
    let Ipld::Map(args) = args else { panic!("args are a map") };
    Task { sub: bucket.clone(), cmd: cmd.to_owned(), args, nonce: nonce.to_be_bytes().to_vec() }
}

/// A CAR of one task.
pub fn car(bucket: &BucketId, cmd: &str, args: Ipld, nonce: u64) -> Vec<u8> {
    task(bucket, cmd, args, nonce).to_car::<NativeHasher>()
}

/// `/kv/put`.
pub fn put(bucket: &BucketId, key: Ipld, value: Ipld, nonce: u64) -> Vec<u8> {
    car(bucket, "/kv/put", map([("key", key), ("value", value)]), nonce)
}

/// A CAR's id.
pub fn id(car: &[u8]) -> CarId {
    CarId::of::<NativeHasher>(car)
}
