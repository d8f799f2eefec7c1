use bucket_core::bucket::Mode;
use bucket_tests::cars::{car, id, map, put, text};
use bucket_tests::memory::MemoryWorld;
use bucket_tests::{User, World};

use super::{bucket, int, receipt_of, schedule_all};

fn place(at: i128, of: i128) -> bucket_core::dag_cbor::Ipld {
    map([("at", int(at)), ("of", int(of))])
}

pub fn atomic_runs_each_task_alone(world: &mut dyn World) {
    let b = bucket(world, "Alone", Mode::Atomic);
    let cars: Vec<_> = (0..3).map(|n| car(&b, "/echo/peers", map([]), n)).collect();
    schedule_all(world, &b, &cars);
    world.run(User::Alice, &b, 10).unwrap();
    for car in &cars {
        assert_eq!(receipt_of(world, &b, id(car)).out, Ok(place(0, 1)));
    }
}

pub fn mutex_hands_all_pending_tasks_over_at_once(world: &mut dyn World) {
    let b = bucket(world, "Bulk", Mode::Mutex);
    // Calls of another protocol in between don't split the batch, and don't lose their place.
    let mut cars = Vec::new();
    for n in 0..3 {
        cars.push(car(&b, "/echo/peers", map([]), n));
        cars.push(put(&b, text("order"), int(n.into()), n));
    }
    schedule_all(world, &b, &cars);
    assert_eq!(world.run(User::Alice, &b, 10).unwrap().ran, 6);
    for (at, pair) in cars.chunks(2).enumerate() {
        assert_eq!(receipt_of(world, &b, id(&pair[0])).out, Ok(place(at as i128, 3)));
        assert_eq!(receipt_of(world, &b, id(&pair[1])).out, Ok(map([("put", int(1)), ("del", int(0))])));
    }
    assert_eq!(world.rows(&b), [(text("order"), int(2))]);

    // A max cuts the batch.
    let cars: Vec<_> = (10..13).map(|n| car(&b, "/echo/peers", map([]), n)).collect();
    schedule_all(world, &b, &cars);
    world.run(User::Alice, &b, 2).unwrap();
    assert_eq!(receipt_of(world, &b, id(&cars[1])).out, Ok(place(1, 2)));
    world.run(User::Alice, &b, 2).unwrap();
    assert_eq!(receipt_of(world, &b, id(&cars[2])).out, Ok(place(0, 1)));
}

/// Wherever the poison stands, the others' receipts are those of a run without it.
pub fn a_failing_task_leaves_the_others_receipts_alone(world: &mut dyn World) {
    for (at, mode) in [(0, Mode::Atomic), (1, Mode::Atomic), (2, Mode::Atomic), (1, Mode::Mutex)] {
        let name = format!("Poison{at}{mode}");
        let b = bucket(world, &name, mode);
        let good: Vec<_> = (0..2).map(|n| put(&b, int(n.into()), int(n.into()), n)).collect();
        let poison = car(&b, "/echo/fail", map([("message", text("no"))]), 0);
        let mut cars = good.clone();
        cars.insert(at, poison.clone());
        schedule_all(world, &b, &cars);
        let run = world.run(User::Alice, &b, 10).unwrap();
        assert_eq!((run.ran, run.failed), (3, 1), "{name}");
        let failure = receipt_of(world, &b, id(&poison)).out.unwrap_err();
        assert_eq!((failure.name.as_str(), failure.message.as_str()), ("Asked", "no"));

        let mut without = MemoryWorld::default();
        bucket(&mut without, &name, mode);
        schedule_all(&mut without, &b, &good);
        let root = without.run(User::Alice, &b, 10).unwrap().root;
        assert_eq!(run.root, root, "{name}");
        for car in &good {
            assert_eq!(world.receipt(&b, id(car)), without.receipt(&b, id(car)), "{name}");
        }
    }
}

pub fn the_mode_is_fixed_at_creation(world: &mut dyn World) {
    let b = bucket(world, "Mode", Mode::Mutex);
    assert_eq!(world.create(&b, Mode::Atomic).unwrap_err().code(), 48);
    assert_eq!(world.bucket(&b).unwrap().mode, Mode::Mutex);
}
