//! What takes too many messages for a chain of a test.

use bucket_core::abi::{CarParams, CreateParams, Message, RunParams};
use bucket_core::bucket::Mode;
use bucket_core::cid::NativeHasher;
use bucket_core::did::BucketId;
use bucket_core::error::Abort;
use bucket_core::invariants;
use bucket_core::limits::{QUEUE_MAX, QUEUE_SENDER_MAX};
use bucket_core::memory::Memory;
use fvm_shared::address::Address;

use super::*;
use crate::TABLE;

const ALICE: u64 = 100;

const FORKS: usize = 2;

fn memory(mode: Mode) -> (Memory, BucketId) {
    let bucket: BucketId = "did:key:zEcho".parse().unwrap();
    let mut memory = Memory::unchecked(TABLE);
    let controllers = (0..5).map(|user| Address::new_id(ALICE + user)).collect();
    let create = CreateParams { bucket: bucket.clone(), controllers, mode, proof: None };
    memory.apply(ALICE, Message::Create(create)).unwrap();
    (memory, bucket)
}

fn then(bucket: &BucketId, tasks: usize, nonce: u64) -> Task {
    let task = |_| {
        Ipld::Map(
            [("cmd", Ipld::String("/echo".into())), ("args", Ipld::Map([].into()))]
                .map(|(k, v)| (k.to_owned(), v))
                .into(),
        )
    };
    let args = [("tasks".to_owned(), Ipld::List((0..tasks).map(task).collect()))].into();
    Task { sub: bucket.clone(), cmd: "/echo/then".into(), args, nonce: nonce.to_be_bytes().to_vec() }
}

fn car_of(bucket: &BucketId, task: &Task) -> CarParams {
    CarParams { bucket: bucket.clone(), car: task.to_car::<NativeHasher>(), force: false, hook: None }
}

/// Continuations of a full queue have room, or no run could ever empty it.
#[test]
fn a_full_queue_of_continuations_can_be_run() {
    for mode in [Mode::Atomic, Mode::Mutex] {
        let (mut memory, bucket) = memory(mode);
        for nonce in 0..QUEUE_MAX {
            let (sender, car) = (ALICE + nonce / QUEUE_SENDER_MAX, car_of(&bucket, &then(&bucket, FORKS, nonce)));
            memory.apply(sender, Message::Schedule(car)).unwrap();
        }
        let one_more = Message::Schedule(car_of(&bucket, &then(&bucket, 0, QUEUE_MAX)));
        let late = ALICE + 4;
        assert_eq!(memory.apply(late, one_more.clone()).unwrap_err(), Abort::QueueFull(bucket.clone()));
        memory.apply(ALICE, Message::Run(RunParams { bucket: bucket.clone(), max: 1 })).unwrap();
        assert_eq!(memory.bucket(&bucket).unwrap().pending(), QUEUE_MAX - 1 + FORKS as u64);
        assert_eq!(memory.apply(late, one_more.clone()).unwrap_err(), Abort::QueueFull(bucket.clone()));
        let mut run = 1;
        while memory.bucket(&bucket).unwrap().pending() > 0 {
            let ran =
                memory.apply(ALICE, Message::Run(RunParams { bucket: bucket.clone(), max: u64::MAX })).unwrap().ran;
            assert!(ran.iter().all(|execution| execution.ok));
            run += ran.len() as u64;
        }
        assert_eq!(run, QUEUE_MAX * (1 + FORKS as u64));
        memory.apply(ALICE, one_more).unwrap();
        let violations = invariants::check::<_, NativeHasher>(memory.store(), &memory.root).unwrap();
        assert!(violations.is_empty(), "{violations:?}");
    }
}
