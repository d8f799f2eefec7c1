use bucket_core::abi::Status;
use bucket_core::bucket::Mode;
use bucket_core::receipt::Receipt;
use bucket_tests::cars::{car, id, map, put, text};
use bucket_tests::{User, World};

use super::{bucket, int, invoke, receipt_of, schedule_all};

pub fn invoke_leaves_the_queue_alone(world: &mut dyn World) {
    let b = bucket(world, "Invoke", Mode::Atomic);
    let args = map([("hello", text("world"))]);
    let echo = car(&b, "/echo", args.clone(), 0);
    let invoked = world.invoke(User::Alice, &b, &echo, false).unwrap();
    assert_eq!((invoked.ran, invoked.ok), (true, Some(true)));
    let receipt = world.receipt_car(&b, invoked.receipt);
    assert_eq!(receipt, Receipt { ran: id(&echo), out: Ok(args), fork: vec![], cause: None, prior: None });
    let record = world.bucket(&b).unwrap();
    assert_eq!((record.queue, record.head, record.tail, record.ran), (None, 0, 0, 1));
}

pub fn a_car_runs_once(world: &mut dyn World) {
    let b = bucket(world, "Once", Mode::Atomic);
    let car = put(&b, text("a"), int(1), 0);
    let first = world.invoke(User::Alice, &b, &car, false).unwrap();
    let (before, _) = world.check();
    let second = world.invoke(User::Alice, &b, &car, false).unwrap();
    assert_eq!((second.receipt, second.ran, second.ok, second.root), (first.receipt, false, None, first.root));
    assert_eq!(world.check().0, before);
    // Another nonce is another CAR.
    let third = world.invoke(User::Alice, &b, &put(&b, text("a"), int(1), 1), false).unwrap();
    assert!(third.ran && third.receipt != first.receipt && third.root == first.root);
}

pub fn force_runs_again_and_links_back(world: &mut dyn World) {
    let b = bucket(world, "Force", Mode::Atomic);
    let car = put(&b, text("a"), int(1), 0);
    let first = world.invoke(User::Alice, &b, &car, false).unwrap().receipt;
    let second = world.invoke(User::Alice, &b, &car, true).unwrap();
    assert!(second.ran && second.receipt != first);
    let receipt = world.receipt_car(&b, second.receipt);
    assert_eq!(receipt.prior, Some((first, 2)));
    assert_eq!(world.receipt_car(&b, first).prior, None, "the earlier receipt is still there");

    let scheduled = world.schedule(User::Alice, &b, &car, true).unwrap();
    assert_eq!(
        (scheduled.status, scheduled.position, scheduled.receipt),
        (Status::Pending, Some(0), Some(second.receipt))
    );
    let waiting = world.receipt(&b, id(&car)).unwrap();
    assert_eq!((waiting.status, waiting.version, waiting.position), (Status::Done, 2, Some(0)));
    world.run(User::Bob, &b, 1).unwrap();
    assert_eq!(receipt_of(world, &b, id(&car)).prior, Some((second.receipt, 3)));
    assert_eq!(world.bucket(&b).unwrap().ran, 3);
}

pub fn receipts_are_done_pending_or_not_found(world: &mut dyn World) {
    let b = bucket(world, "Status", Mode::Atomic);
    let cars: Vec<_> = (0..2).map(|n| put(&b, text("a"), int(n.into()), n)).collect();
    let unknown = world.receipt(&b, id(b"never seen")).unwrap();
    assert_eq!((unknown.status, unknown.receipt, unknown.version, unknown.position), (Status::NotFound, None, 0, None));
    schedule_all(world, &b, &cars);
    for (at, car) in cars.iter().enumerate() {
        let pending = world.receipt(&b, id(car)).unwrap();
        assert_eq!((pending.status, pending.receipt, pending.position), (Status::Pending, None, Some(at as u64)));
    }
    world.run(User::Alice, &b, 1).unwrap();
    let done = world.receipt(&b, id(&cars[0])).unwrap();
    assert_eq!((done.status, done.version, done.position), (Status::Done, 1, None));
    assert!(done.receipt.is_some());
    assert_eq!(world.receipt(&b, id(&cars[1])).unwrap().position, Some(0), "it moved up");
}

pub fn a_failure_changes_nothing_but_receipts(world: &mut dyn World) {
    let b = bucket(world, "Failure", Mode::Atomic);
    invoke(world, &b, &put(&b, text("a"), int(1), 0));
    let before = world.bucket(&b).unwrap();
    let failing = car(&b, "/echo/fail", map([("message", text("because"))]), 0);
    let invoked = world.invoke(User::Alice, &b, &failing, false).unwrap();
    assert_eq!((invoked.ok, invoked.root), (Some(false), before.root));
    assert_eq!(world.receipt_car(&b, invoked.receipt).out.unwrap_err().message, "because");
    let after = world.bucket(&b).unwrap();
    assert_eq!((after.root, after.queue, after.ran), (before.root, None, 2));
    assert_ne!(after.receipts, before.receipts);
}

/// The same bytes in every world, for ever: a change here breaks replays of what chains already hold.
pub fn known_bytes(world: &mut dyn World) {
    let b = bucket(world, "Golden", Mode::Atomic);
    let put = put(&b, text("hello"), map([("world", int(42))]), 7);
    let invoked = world.invoke(User::Alice, &b, &put, false).unwrap();
    let large = bucket_tests::cars::put(&b, text("large"), text(&"x".repeat(100)), 8);
    let second = world.invoke(User::Alice, &b, &large, false).unwrap();
    let known = [id(&put).to_string(), invoked.receipt.to_string(), invoked.root.to_string(), second.root.to_string()];
    expect_test::expect![[r#"
        [
            "bagbaierabmylgpmzhv4lfnzjewphaqjy25oraaocuj5bjka2rscuckprbota",
            "bagbaierarinnpsscngsnhusoux4o7gcre7idpzqzngq5oethkj4hokhm5ixa",
            "bafy2bzacebugo5ep7sbnltvgtilnzhzyjmgggmrqql76i7tbbwg6dwyau5gke",
            "bafy2bzacebc5wzl7zmbwargrecgdabuultfltk2yxgr7l3ygllggfkyfkwbnw",
        ]
    "#]]
    .assert_debug_eq(&known);
}
