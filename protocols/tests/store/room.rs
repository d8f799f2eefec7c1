//! Room is conserved: what the worker's ledger has set aside is what entries stand for, at every moment, and each entry comes
//! to an end.

use std::collections::{BTreeMap, BTreeSet};

use bucket_protocols::store::Status;
use bucket_protocols::store::effects::{ALLOCATE, DEALLOCATE, STAT};
use bucket_protocols::store::event::{DONE, EXCEED, EXPIRE, PUT, RECEIVE};
use proptest::prelude::*;

use crate::spec::{ACTIVATION_EPOCHS, Event};
use crate::worker::{Action, CAPACITY, CARS, Crash, Record, World, args};

fn actions() -> impl Strategy<Value = Action> {
    let n = || 0..CARS;
    let cmd = || proptest::sample::select(vec![EXCEED, RECEIVE, EXPIRE, PUT]);
    let crash = prop_oneof![6 => Just(Crash::No), 1 => Just(Crash::Before), 2 => Just(Crash::After)];
    prop_oneof![
        6 => (n(), 1u64..4).prop_map(|(n, size)| Action::Add { n, size }),
        3 => n().prop_map(|n| Action::Upload { n }),
        8 => prop_oneof![8 => Just(0), 1 => 1usize..12].prop_map(|back| Action::Look { back }),
        24 => (any::<u32>(), crash).prop_map(|(pick, crash)| Action::Work { pick, crash }),
        12 => (any::<u32>(), proptest::bool::weighted(0.2)).prop_map(|(pick, keep)| Action::Deliver { pick, keep }),
        1 => any::<u32>().prop_map(|pick| Action::Lose { pick }),
        6 => proptest::sample::select(vec![1i64, 50, 199, 200, 201, 3000]).prop_map(|epochs| Action::Wait { epochs }),
        1 => (n(), cmd(), 0u8..3).prop_map(|(n, cmd, who)| Action::Forge { n, cmd, who }),
        2 => (n(), cmd(), 0u64..6).prop_map(|(n, cmd, attempt)| Action::Stray { n, cmd, attempt }),
        1 => n().prop_map(|n| Action::Early { n }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn room_is_conserved(actions in proptest::collection::vec(actions(), 1..150)) {
        let mut world = World::new();
        for action in actions {
            world.act(action);
            world.check();
        }
        world.finish();
        let ends = [Status::NotFound, Status::Ok, Status::Exceeds, Status::Expired];
        prop_assert!(world.specs.iter().all(|spec| ends.contains(&spec.status)), "{:?}", world.specs);
        let stored: u64 = world.specs.iter().filter(|spec| spec.status == Status::Ok).map(|spec| spec.size).sum();
        prop_assert_eq!(world.used(), stored);
    }
}

/// The worker has to remember that it refused an attempt: its word may be on the way when there is room again.
#[test]
fn an_attempt_without_room_gets_none_later() {
    let mut world = World::new();
    for (n, size) in [(0, CAPACITY), (1, 1)] {
        world.act(Action::Add { n, size });
        world.look();
        world.only(n, &[ALLOCATE]);
    }
    world.only(1, &[EXCEED]);
    world.crash();
    // Entry 0 makes room.
    world.stored.insert(1);
    world.bucket.event(0, 1, RECEIVE, args(RECEIVE)).unwrap();
    world.model.apply(&mut world.specs[0], Event::Receive(1), 0).unwrap();
    world.bucket.memory.epoch += 200;
    let out = world.bucket.event(0, 1, EXPIRE, BTreeMap::new());
    world.expect(0, Event::Expire(1), out);
    world.look();
    world.only(0, &[DEALLOCATE]);
    assert_eq!(world.used(), 0);
    for _ in 0..5 {
        world.only(1, &[ALLOCATE, STAT, EXCEED, PUT]);
    }
    world.deliver_all();
    world.finish();
    assert_eq!((world.specs[1].status, world.used()), (Status::Exceeds, 0));
}

/// And that it gave an attempt's room back, even if it never had any.
#[test]
fn an_attempt_that_was_given_up_gets_no_room() {
    let mut world = World::new();
    world.act(Action::Add { n: 0, size: 3 });
    world.look();
    world.act(Action::Wait { epochs: ACTIVATION_EPOCHS + 1 });
    world.act(Action::Add { n: 0, size: 3 });
    world.act(Action::Look { back: 0 });
    world.only(0, &[DEALLOCATE]);
    world.only(0, &[DONE]);
    world.deliver_all();
    assert_eq!(world.specs[0].owed, BTreeSet::new());
    world.act(Action::Look { back: 2 });
    world.only(0, &[ALLOCATE]);
    assert_eq!(world.ledger, BTreeMap::from([((0, 1), Record::Released)]));
    world.finish();
    assert_eq!((world.specs[0].status, world.used()), (Status::Expired, 0));
}

/// 2.10 to 2.12 of the requirements, in the order in which they hurt: a URL that nobody uses, one that is used too late, and
/// the same CAR once more.
#[test]
fn what_comes_too_late_is_found_by_the_next_add() {
    let mut world = World::new();
    let status = |world: &World| (world.specs[0].status, world.specs[0].attempt, world.used());
    world.act(Action::Add { n: 0, size: 3 });
    let until = |world: &mut World, status: Status| {
        for _ in 0..50 {
            if world.specs[0].status == status {
                return;
            }
            world.look();
            for (n, item, size, ready) in world.ready() {
                world.work(n, &item, size, ready, Crash::No);
            }
            while let Some(sent) = world.flying.pop() {
                world.deliver(sent);
            }
            world.check();
            world.bucket.memory.epoch += 50;
        }
        panic!("expected {status:?}, got {:?}", world.specs[0]);
    };
    until(&mut world, Status::Receiving);
    assert_eq!(status(&world), (Status::Receiving, 1, 3));
    until(&mut world, Status::Expired);
    world.stored.insert(0);
    let out = world.bucket.event(0, 1, PUT, BTreeMap::new());
    world.expect(0, Event::Put(1), out);
    world.finish();
    assert_eq!(status(&world), (Status::Expired, 1, 0), "a late put changes nothing");
    assert_eq!(world.deallocated, BTreeMap::from([((0, 1), 1)]));

    world.act(Action::Add { n: 0, size: 3 });
    until(&mut world, Status::Ok);
    world.finish();
    assert_eq!(status(&world), (Status::Ok, 2, 3));
    // Defect i: the first attempt's timer is no longer about anything.
    let out = world.bucket.event(0, 1, EXPIRE, BTreeMap::new());
    world.expect(0, Event::Expire(1), out);
    assert_eq!(status(&world), (Status::Ok, 2, 3));
}
