//! What a sender with bad intentions tries, beyond bad CARs: values at every limit, and continuations that could stop a queue.

use bucket_core::bucket::Mode;
use bucket_core::dag_cbor::Ipld;
use bucket_core::limits::{CMD_BYTES_MAX, DEPTH_MAX, NONCE_BYTES_MAX};
use bucket_tests::cars::{car, id, map, put, text};
use bucket_tests::{User, World};

use super::{bucket, int, invoke, receipt_of, schedule};

/// `levels` of lists and maps in turn; each map has more entries than a sort takes by insertion.
pub fn deep(levels: usize) -> Ipld {
    let pads = || (0..24).map(|n| (format!("{n:0>width$}", width = 1 + n % 3), Ipld::Null));
    (0..levels).fold(Ipld::Null, |inner, level| match level % 2 {
        0 => Ipld::List(vec![inner]),
        _ => Ipld::Map(pads().chain([("in".to_owned(), inner)]).collect()),
    })
}

/// As deep as a task may be, in each place that walks it: decoding, checking, encoding, packing, keys, rows.
pub fn the_deepest_values_run(world: &mut dyn World) {
    let b = bucket(world, "Depths", Mode::Atomic);
    // Around them: the task, its args, and for a receipt also itself and `out`.
    let (in_args, in_tasks) = (DEPTH_MAX - 2, DEPTH_MAX - 5);
    let value = deep(in_args);
    assert!(invoke(world, &b, &put(&b, text("deep"), value.clone(), 0)).out.is_ok());
    assert_eq!(world.rows(&b), [(text("deep"), value)]);

    let key = (0..in_args).fold(int(1), |inner, _| Ipld::List(vec![inner]));
    assert!(invoke(world, &b, &put(&b, key, int(2), 0)).out.is_ok());
    assert_eq!(world.rows(&b).len(), 2);

    let task =
        map([("cmd", text("/echo")), ("args", map([("deep", deep(in_tasks - 1))])), ("nonce", Ipld::Bytes(vec![]))]);
    let then = invoke(world, &b, &car(&b, "/echo/then", map([("tasks", Ipld::List(vec![task]))]), 0));
    assert_eq!((then.out, then.fork.len()), (Ok(Ipld::Null), 1));
    assert_eq!(world.run(User::Bob, &b, 1).unwrap().failed, 0);
    assert_eq!(receipt_of(world, &b, then.fork[0]).out, Ok(map([("deep", deep(in_tasks - 1))])));
}

/// A receipt is a CAR like any other: what would be too deep within it is refused while that can still be said.
pub fn a_receipt_is_never_too_deep_to_be_read(world: &mut dyn World) {
    let b = bucket(world, "Mirror", Mode::Atomic);
    let args = |levels| map([("deep", deep(levels - 1))]);
    let deepest = args(DEPTH_MAX - 2);
    assert_eq!(invoke(world, &b, &car(&b, "/echo", deepest.clone(), 0)).out, Ok(deepest));
    let failure = invoke(world, &b, &car(&b, "/echo", args(DEPTH_MAX - 1), 1)).out.unwrap_err();
    assert_eq!(failure.name, "OutInvalid");
}

/// A continuation that is no task could be queued, but never run: the queue would stand still for ever.
pub fn a_continuation_that_is_no_task_is_a_failure(world: &mut dyn World) {
    let b = bucket(world, "Wedge", Mode::Atomic);
    let (long, nonce) = (format!("/{}", "a".repeat(CMD_BYTES_MAX)), |len| Ipld::Bytes(vec![0; len]));
    let cases = [
        ("echo", nonce(0), "expected a command like /kv/put"),
        ("", nonce(0), "expected a command like /kv/put"),
        (&long, nonce(0), "expected a command like /kv/put"),
        ("/echo", nonce(NONCE_BYTES_MAX + 1), "expected a nonce of at most 64 bytes, got 65"),
    ];
    for (at, (cmd, nonce, words)) in cases.into_iter().enumerate() {
        let good = map([("cmd", text("/echo")), ("args", map([]))]);
        let bad = map([("cmd", text(cmd)), ("args", map([])), ("nonce", nonce)]);
        let then = car(&b, "/echo/then", map([("tasks", Ipld::List(vec![good, bad]))]), at as u64);
        let receipt = invoke(world, &b, &then);
        let failure = receipt.out.unwrap_err();
        assert!(failure.name == "ForkInvalid" && failure.message.contains(words), "{cmd}: {failure}");
        assert_eq!(receipt.fork, []);
        assert_eq!(world.queue(&b), [], "{cmd}");
    }
}

/// Whoever forces a CAR gets a run that began after: the queue may hold it already, as one that would fall out.
pub fn forcing_what_was_invoked_while_it_waited_runs_it_again(world: &mut dyn World) {
    let b = bucket(world, "Again", Mode::Atomic);
    let car = put(&b, text("a"), int(1), 0);
    schedule(world, &b, &car);
    schedule(world, &b, &put(&b, text("b"), int(2), 0));
    let first = world.invoke(User::Alice, &b, &car, false).unwrap().receipt;
    let forced = world.schedule(User::Alice, &b, &car, true).unwrap();
    assert_eq!((forced.position, forced.receipt), (Some(0), Some(first)));
    assert_eq!(world.queue(&b).len(), 2, "still once");
    let (before, _) = world.check();
    for force in [false, true] {
        assert_eq!(world.schedule(User::Alice, &b, &car, force).unwrap().position, Some(0));
    }
    assert_eq!(world.check().0, before, "it is forced already");
    let run = world.run(User::Alice, &b, 10).unwrap();
    assert_eq!((run.ran, run.pending), (2, 0));
    assert_eq!(receipt_of(world, &b, id(&car)).prior, Some((first, 2)));
}
