//! Where continuations end: at a depth, when their work is done, and at another bucket's full queue. Never in a reverted run.

use bucket_core::bucket::Mode;
use bucket_core::did::BucketId;
use bucket_core::limits::{CHAIN_WORK_MAX, FORK_DEPTH_MAX, FORKS_MAX, QUEUE_SENDER_MAX};
use bucket_tests::cars::{car, id, map};
use bucket_tests::{User, World};

use super::reach::{MODES, ask, refused, then};
use super::{bucket, invoke, receipt_of, schedule, schedule_all};

/// Runs both buckets' queues in turn until nothing is pending; answers how many tasks ran and failed.
fn drain(world: &mut dyn World, buckets: [&BucketId; 2]) -> (u64, u64) {
    let (mut ran, mut failed) = (0, 0);
    while let Some(next) = buckets.into_iter().find(|b| !world.queue(b).is_empty()) {
        let run = world.run(User::Bob, next, 1000).expect("a run is never reverted");
        (ran, failed) = (ran + run.ran, failed + run.failed);
    }
    (ran, failed)
}

pub fn a_chain_that_goes_to_and_fro_ends_at_a_depth(world: &mut dyn World) {
    for mode in MODES {
        let [a, b] = ["A", "B"].map(|name| bucket(world, &format!("Loop{name}{mode}"), mode));
        // The last is at depth FORK_DEPTH_MAX + 1; a continuation at depth n is of bucket n % 2.
        let of = |depth: u64| if depth.is_multiple_of(2) { &a } else { &b };
        let mut args = then([]);
        for depth in (1..=FORK_DEPTH_MAX + 1).rev() {
            args = then([ask(of(depth), "/echo/then", args, depth)]);
        }
        invoke(world, &a, &car(&a, "/echo/then", args, 0));
        for depth in 0..FORK_DEPTH_MAX {
            assert_eq!(world.run(User::Bob, of(depth + 1), 10).unwrap().failed, 0);
        }
        let last = of(FORK_DEPTH_MAX + 1);
        schedule(world, last, &car(last, "/echo/peers", map([]), 99));
        let run = world.run(User::Bob, last, 10).unwrap();
        assert_eq!((run.ran, run.failed, run.pending), (2, 1, 0), "the batch goes on");
        let receipt = receipt_of(world, last, id(&car(last, "/echo/then", then([]), FORK_DEPTH_MAX + 1)));
        assert_eq!(receipt.out.unwrap_err().name, "DepthExceeded");
        assert!(receipt.cause.is_some());
        assert_eq!((world.queue(&a), world.queue(&b)), (vec![], vec![]));
    }
}

/// Each step asks for as many as it may, the first of which is the next step: what is left is shared out until it is nothing.
pub fn a_chain_ends_when_its_work_is_done(world: &mut dyn World) {
    for mode in MODES {
        let [a, b] = ["A", "B"].map(|name| bucket(world, &format!("Work{name}{mode}"), mode));
        let of = |step: u64| if step.is_multiple_of(2) { &a } else { &b };
        const STEPS: u64 = 5;
        let mut args = then([]);
        for step in (1..=STEPS).rev() {
            let leaves = (1..FORKS_MAX as u64).map(|leaf| ask(of(step), "/echo", map([]), 100 * step + leaf));
            args = then([ask(of(step), "/echo/then", args, step)].into_iter().chain(leaves));
        }
        invoke(world, &a, &car(&a, "/echo/then", args, 0));
        // 16 Ki shared by 16 is nothing after the fourth sharing: the fourth step's continuations get none.
        const { assert!(CHAIN_WORK_MAX <= (FORKS_MAX as u64).pow(4)) };
        let (ran, failed) = drain(world, [&a, &b]);
        assert!(failed >= FORKS_MAX as u64 && ran.is_multiple_of(FORKS_MAX as u64), "{ran} ran, {failed} failed");
        assert!(ran < STEPS * FORKS_MAX as u64, "the last step was never asked for");
        let last = ran / FORKS_MAX as u64;
        let leaf = car(of(last), "/echo", map([]), 100 * last + 1);
        assert_eq!(receipt_of(world, of(last), id(&leaf)).out.unwrap_err().name, "BudgetExceeded");
        let before = car(of(last - 1), "/echo", map([]), 100 * (last - 1) + 1);
        assert!(receipt_of(world, of(last - 1), id(&before)).out.is_ok());
    }
}

/// One sender can't fill another bucket's queue by way of its own.
pub fn a_full_queue_refuses_continuations(world: &mut dyn World) {
    let [a, b] = ["A", "B"].map(|name| bucket(world, &format!("Full{name}"), Mode::Atomic));
    let forks = FORKS_MAX as u64;
    let asks = |n: u64, count: u64| {
        let tasks = (0..count).map(|at| ask(&b, "/echo", map([]), n * forks + at));
        car(&a, "/echo/then", then(tasks), n)
    };
    for n in 0..QUEUE_SENDER_MAX / forks - 1 {
        assert_eq!(invoke(world, &a, &asks(n, forks)).fork.len(), FORKS_MAX);
    }
    // Room is left for 16: those of one task, or of two in one message, but not 17.
    let [x, y, z] = [(100, 9), (101, 8), (102, 7)].map(|(n, count)| asks(n, count));
    schedule_all(world, &a, &[x, y.clone(), z]);
    let run = world.run(User::Bob, &a, 3).unwrap();
    assert_eq!((run.ran, run.failed), (3, 1));
    let failure = receipt_of(world, &a, id(&y)).out.unwrap_err();
    assert!(failure.name == "ForkRefused" && failure.message.contains("1024 CARs in the queue"), "{failure}");
    let failure = refused(world, &a, &asks(103, 1));
    assert_eq!(failure.name, "ForkRefused");
    assert_eq!(world.bucket(&b).unwrap().pending(), QUEUE_SENDER_MAX);
    assert_eq!(world.run(User::Bob, &b, 1).unwrap().ran, 1);
    assert_eq!(invoke(world, &a, &asks(104, 1)).fork.len(), 1, "there is room again");
}

/// Room is counted over a whole message, whichever round of it asks: too many are refused, the run is not reverted.
pub fn a_queue_fills_over_the_rounds_of_one_run(world: &mut dyn World) {
    let [a, b] = ["A", "B"].map(|name| bucket(world, &format!("Rounds{name}"), Mode::Atomic));
    let forks = FORKS_MAX as u64;
    let leaves = |n: u64, count: u64| (0..count).map(move |at| (n * forks + at, n));
    let fill = |n: u64, count| then(leaves(n, count).map(|(nonce, _)| ask(&b, "/echo", map([]), nonce)));
    for n in 0..QUEUE_SENDER_MAX / forks - 1 {
        invoke(world, &a, &car(&a, "/echo/then", fill(n, forks), n));
    }
    // 15 in the first round, 9 in the second, 1 in the third.
    let third = fill(202, 1);
    let second = leaves(201, 9).map(|(nonce, _)| ask(&b, "/echo", map([]), nonce));
    let second = then(second.chain([ask(&a, "/echo/then", third.clone(), 202)]));
    let first = leaves(200, 15).map(|(nonce, _)| ask(&b, "/echo", map([]), nonce));
    let first = then(first.chain([ask(&a, "/echo/then", second.clone(), 201)]));
    schedule(world, &a, &car(&a, "/echo/then", first, 200));
    let run = world.run(User::Bob, &a, 10).expect("a run is never reverted");
    assert_eq!((run.ran, run.failed), (2, 1), "the third was never asked for");
    let failure = receipt_of(world, &a, id(&car(&a, "/echo/then", second, 201))).out.unwrap_err();
    assert_eq!(failure.name, "ForkRefused");
    assert_eq!(world.bucket(&b).unwrap().pending(), QUEUE_SENDER_MAX - 1);
}
