use bucket_core::abi::Status;
use bucket_core::bucket::Mode;
use bucket_core::dag_cbor::Ipld;
use bucket_core::limits::{FORK_DEPTH_MAX, FORKS_MAX};
use bucket_core::task::Task;
use bucket_tests::cars::{Tx, car, did, id, map, task, text};
use bucket_tests::{User, World};

use super::{bucket, int, invoke, receipt_of};

fn then(tasks: Vec<Ipld>, out: &str) -> Ipld {
    map([("tasks", Ipld::List(tasks)), ("out", text(out))])
}

/// A continuation with the nonce that `task` of the `cars` helper gives.
fn next(cmd: &str, args: Ipld, nonce: u64) -> Ipld {
    map([("cmd", text(cmd)), ("args", args), ("nonce", Ipld::Bytes(nonce.to_be_bytes().to_vec()))])
}

pub fn continuations_run_behind_their_cause(world: &mut dyn World) {
    for mode in [Mode::Atomic, Mode::Mutex] {
        let b = bucket(world, &format!("Then{mode}"), mode);
        let put = map([("key", text("done")), ("value", int(1))]);
        let second = then(vec![next("/kv/put", put.clone(), 1)], "second");
        let first = car(&b, "/echo/then", then(vec![next("/echo/then", second.clone(), 2)], "first"), 3);
        let (second, third) = (car(&b, "/echo/then", second, 2), car(&b, "/kv/put", put, 1));

        let receipt = invoke(world, &b, &first);
        assert_eq!((receipt.out, receipt.fork), (Ok(text("first")), vec![id(&second)]));
        assert_eq!(world.queue(&b), [id(&second)], "scheduled, not run");
        assert_eq!(world.receipt(&b, id(&second)).unwrap().status, Status::Pending);
        let run = world.run(User::Bob, &b, 10).unwrap();
        assert_eq!((run.ran, run.pending), (2, 0), "the continuation's continuation runs in the same message");

        // Each receipt names the one that asked for it.
        let causes = [&first, &second, &third].map(|car| receipt_of(world, &b, id(car)).cause);
        let receipts = [&first, &second].map(|car| world.receipt(&b, id(car)).unwrap().receipt);
        assert_eq!(causes, [None, receipts[0], receipts[1]]);
        assert_eq!(world.rows(&b), [(text("done"), int(1))]);
    }
}

pub fn a_continuation_that_ran_is_not_run_again(world: &mut dyn World) {
    let b = bucket(world, "Loop", Mode::Atomic);
    let echo = car(&b, "/echo", map([]), 1);
    invoke(world, &b, &echo);
    let fork = || vec![next("/echo", map([]), 1)];
    let receipt = invoke(world, &b, &car(&b, "/echo/then", then(fork(), "a"), 2));
    assert_eq!(receipt.fork, [id(&echo)], "the receipt names it all the same");
    assert_eq!(world.queue(&b), []);
    // Without a nonce of its own a continuation is new each time.
    let fresh = map([("cmd", text("/echo")), ("args", map([]))]);
    for nonce in [3, 4] {
        invoke(world, &b, &car(&b, "/echo/then", then(vec![fresh.clone()], "b"), nonce));
    }
    assert_eq!(world.queue(&b).len(), 2);
}

pub fn chains_end_at_a_depth(world: &mut dyn World) {
    let b = bucket(world, "Deep", Mode::Atomic);
    let mut args = then(vec![], "end");
    let mut links = vec![args.clone()];
    for nonce in 0..=FORK_DEPTH_MAX {
        args = then(vec![next("/echo/then", args, nonce)], "more");
        links.push(args.clone());
    }
    invoke(world, &b, &car(&b, "/echo/then", args, 99));
    let run = world.run(User::Alice, &b, 100).unwrap();
    assert_eq!((run.ran, run.failed, run.pending), (FORK_DEPTH_MAX + 1, 1, 0));
    let last = receipt_of(world, &b, id(&car(&b, "/echo/then", links[0].clone(), 0)));
    assert_eq!(last.out.unwrap_err().name, "DepthExceeded");
    let before = receipt_of(world, &b, id(&car(&b, "/echo/then", links[1].clone(), 1)));
    assert_eq!(before.out, Ok(text("more")));
}

pub fn foreign_and_too_many_continuations_are_failures(world: &mut dyn World) {
    let b = bucket(world, "Many", Mode::Atomic);
    let foreign = map([("cmd", text("/echo")), ("args", map([])), ("sub", text(did("Else").as_str()))]);
    let many = (0..=FORKS_MAX as u64).map(|nonce| next("/echo", map([]), nonce)).collect();
    for (nonce, (tasks, name)) in [(vec![foreign], "ForkRefused"), (many, "ForksMany")].into_iter().enumerate() {
        let receipt = invoke(world, &b, &car(&b, "/echo/then", then(tasks, "never"), nonce as u64));
        assert_eq!((receipt.out.unwrap_err().name.as_str(), receipt.fork), (name, vec![]));
        assert_eq!(world.queue(&b), []);
    }
}

pub fn an_unknown_command_in_a_continuation_is_a_failure(world: &mut dyn World) {
    for mode in [Mode::Atomic, Mode::Mutex] {
        let b = bucket(world, &format!("Unknown{mode}"), mode);
        let tasks = vec![next("/no/such", map([]), 1), next("/echo", map([]), 2)];
        invoke(world, &b, &car(&b, "/echo/then", then(tasks, "a"), 3));
        let run = world.run(User::Alice, &b, 10).unwrap();
        assert_eq!((run.ran, run.failed), (2, 1), "the batch goes on");
        let failure = receipt_of(world, &b, id(&car(&b, "/no/such", map([]), 1))).out.unwrap_err();
        assert!(failure.name == "CommandUnknown" && failure.message.contains("/kv/put"), "{failure}");
    }
}

pub fn linked_blocks_travel_with_a_continuation(world: &mut dyn World) {
    let b = bucket(world, "Travel", Mode::Atomic);
    let mut tx = Tx::default();
    let leaf = tx.write(&Ipld::Bytes(b"leaf".to_vec()));
    tx.write(&text("not linked"));
    let node = tx.write(&map([("leaf", Ipld::Link(leaf))]));
    let args = map([("node", Ipld::Link(node))]);
    let first = task(&b, "/echo/then", then(vec![next("/echo", args.clone(), 1)], "a"), 2).to_car_with(tx);

    let mut expected = Tx::default();
    expected.write(&Ipld::Bytes(b"leaf".to_vec()));
    expected.write(&map([("leaf", Ipld::Link(leaf))]));
    let expected: Vec<u8> =
        Task { nonce: 1u64.to_be_bytes().to_vec(), ..task(&b, "/echo", args.clone(), 1) }.to_car_with(expected);
    assert_eq!(invoke(world, &b, &first).fork, [id(&expected)]);
    world.run(User::Alice, &b, 1).unwrap();
    assert_eq!(receipt_of(world, &b, id(&expected)).out, Ok(args));
}

pub fn a_continuation_that_is_invoked_early_keeps_its_cause(world: &mut dyn World) {
    let b = bucket(world, "Early", Mode::Atomic);
    let second = car(&b, "/echo", map([]), 1);
    let first =
        world.invoke(User::Alice, &b, &car(&b, "/echo/then", then(vec![next("/echo", map([]), 1)], "a"), 2), false);
    assert_eq!(invoke(world, &b, &second).cause, Some(first.unwrap().receipt));
    assert_eq!(world.run(User::Bob, &b, 10).unwrap().ran, 0);
}

pub fn the_bytes_of_all_continuations_are_bounded(world: &mut dyn World) {
    let b = bucket(world, "Bytes", Mode::Atomic);
    let mut tx = Tx::default();
    let link = Ipld::Link(tx.write(&Ipld::Bytes(vec![7; 50_000])));
    let tasks = (0..6).map(|nonce| next("/echo", map([("big", link.clone())]), nonce)).collect();
    let task = task(&b, "/echo/then", then(tasks, "never"), 9).to_car_with(tx);
    let receipt = invoke(world, &b, &task);
    assert_eq!((receipt.out.unwrap_err().name.as_str(), receipt.fork), ("ForkTooLarge", vec![]));
    assert_eq!(world.queue(&b), []);
}
