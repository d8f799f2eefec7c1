use bucket_core::abi::Status;
use bucket_core::bucket::Mode;
use bucket_tests::cars::{id, put, text};
use bucket_tests::{User, World};

use super::{bucket, int, invoke, schedule};

pub fn cars_run_in_the_order_of_their_scheduling(world: &mut dyn World) {
    let b = bucket(world, "Fifo", Mode::Atomic);
    let cars: Vec<_> = (0..5).map(|n| put(&b, text("last"), int(n.into()), n)).collect();
    for (at, car) in cars.iter().enumerate() {
        let scheduled = world.schedule(User::Alice, &b, car, false).unwrap();
        assert_eq!((scheduled.car, scheduled.status, scheduled.position), (id(car), Status::Pending, Some(at as u64)));
        assert_eq!(scheduled.receipt, None);
    }
    let ids: Vec<_> = cars.iter().map(|car| id(car)).collect();
    assert_eq!(world.queue(&b), ids);
    assert_eq!(world.rows(&b), [], "nothing has run yet");
    for n in 0..5 {
        assert_eq!(world.run(User::Alice, &b, 1).unwrap().ran, 1);
        assert_eq!(world.rows(&b), [(text("last"), int(n))]);
        assert_eq!(world.queue(&b), ids[n as usize + 1..]);
    }
    assert_eq!(world.bucket(&b).unwrap().queue, None);
}

pub fn run_stops_at_max(world: &mut dyn World) {
    let b = bucket(world, "Max", Mode::Atomic);
    for n in 0..3 {
        schedule(world, &b, &put(&b, int(n), int(n), n as u64));
    }
    let first = world.run(User::Alice, &b, 2).unwrap();
    assert_eq!((first.ran, first.failed, first.pending), (2, 0, 1));
    let second = world.run(User::Alice, &b, u64::MAX).unwrap();
    assert_eq!((second.ran, second.failed, second.pending), (1, 0, 0));
    assert_eq!(second.root, world.bucket(&b).unwrap().root);
    assert_eq!(world.rows(&b).len(), 3);
}

pub fn anybody_may_run(world: &mut dyn World) {
    let b = bucket(world, "Kick", Mode::Atomic);
    schedule(world, &b, &put(&b, text("a"), int(1), 0));
    assert_eq!(world.run(User::Bob, &b, 1).unwrap().ran, 1);
}

pub fn scheduling_twice_is_once(world: &mut dyn World) {
    let b = bucket(world, "Twice", Mode::Atomic);
    let (first, car) = (put(&b, text("a"), int(1), 0), put(&b, text("a"), int(1), 1));
    schedule(world, &b, &first);
    assert_eq!(schedule(world, &b, &car), 1);
    let (before, _) = world.check();
    for force in [false, true] {
        let again = world.schedule(User::Alice, &b, &car, force).unwrap();
        assert_eq!((again.status, again.position), (Status::Pending, Some(1)));
    }
    assert_eq!(world.check().0, before, "scheduling what is pending changes nothing");
    assert_eq!(world.run(User::Alice, &b, 10).unwrap().ran, 2);

    let (before, _) = world.check();
    let done = world.schedule(User::Alice, &b, &car, false).unwrap();
    assert_eq!((done.status, done.position), (Status::Done, None));
    assert_eq!(done.receipt, world.receipt(&b, id(&car)).unwrap().receipt);
    assert_eq!(world.check().0, before, "scheduling what ran changes nothing");
}

pub fn a_car_invoked_meanwhile_falls_out_of_the_queue(world: &mut dyn World) {
    let b = bucket(world, "Meanwhile", Mode::Atomic);
    let car = put(&b, text("a"), int(1), 0);
    schedule(world, &b, &car);
    schedule(world, &b, &put(&b, text("b"), int(2), 0));
    invoke(world, &b, &car);
    assert_eq!(world.receipt(&b, id(&car)).unwrap().status, Status::Done);
    let run = world.run(User::Alice, &b, 10).unwrap();
    assert_eq!((run.ran, run.pending), (1, 0), "the invoked one is not run again");
    assert_eq!(world.receipt(&b, id(&car)).unwrap().version, 1);
    assert_eq!(world.rows(&b), [(text("a"), int(1)), (text("b"), int(2))]);
}
