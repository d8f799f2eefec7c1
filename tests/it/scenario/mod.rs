//! Behaviour, as functions over a world.

pub mod authority;
pub mod delegation;
pub mod early;
pub mod ends;
pub mod forks;
pub mod hostile;
pub mod instances;
pub mod kv;
pub mod limits;
pub mod modes;
pub mod queue;
pub mod reach;
pub mod receipts;
pub mod replay;
pub mod revocation;
pub mod rights;
pub mod space;
pub mod staging;
pub mod store;

use bucket_core::bucket::Mode;
use bucket_core::cid::CarId;
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::receipt::Receipt;
use bucket_tests::cars::did;
use bucket_tests::{User, World};

/// A new bucket of Alice's.
pub fn bucket(world: &mut dyn World, name: &str, mode: Mode) -> BucketId {
    let id = did(name);
    world.create(&id, mode).expect("created");
    id
}

/// Schedules as Alice.
pub fn schedule(world: &mut dyn World, bucket: &BucketId, car: &[u8]) -> u64 {
    let scheduled = world.schedule(User::Alice, bucket, car, false).expect("scheduled");
    scheduled.position.expect("pending")
}

/// Schedules each as Alice.
pub fn schedule_all(world: &mut dyn World, bucket: &BucketId, cars: &[Vec<u8>]) {
    for car in cars {
        schedule(world, bucket, car);
    }
}

/// Invokes as Alice and answers the receipt.
pub fn invoke(world: &mut dyn World, bucket: &BucketId, car: &[u8]) -> Receipt {
    let invoked = world.invoke(User::Alice, bucket, car, false).expect("invoked");
    world.receipt_car(bucket, invoked.receipt)
}

/// The newest receipt of a CAR that ran.
pub fn receipt_of(world: &mut dyn World, bucket: &BucketId, car: CarId) -> Receipt {
    let found = world.receipt(bucket, car).expect("answered");
    let receipt = world.receipt_car(bucket, found.receipt.expect("it ran"));
    assert_eq!(receipt.ran, car);
    receipt
}

/// An integer.
pub fn int(n: i128) -> Ipld {
    Ipld::Integer(n)
}
