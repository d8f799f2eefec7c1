//! Continuations for other buckets: whom they reach, exactly once, in which order. Where they end is in `ends`.

use bucket_client::identity::{Identity, IdentityKind};
use bucket_core::abi::{CreateParams, Message, Status};
use bucket_core::bucket::Mode;
use bucket_core::cid::{CarId, DAG_CBOR};
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::error::Failure;
use bucket_tests::cars::{Tx, car, did, id, map, task, text};
use bucket_tests::keys::{ask as invocation, chain, create_for, ed25519, key, other_form, signed};
use bucket_tests::{User, World, returned};

use super::{bucket, int, invoke, receipt_of, schedule, schedule_all};

/// Both.
pub const MODES: [Mode; 2] = [Mode::Atomic, Mode::Mutex];

/// A task of `/echo/then`, for bucket `sub`. Its CAR is that of the `cars` helper `car`.
pub fn ask(sub: &BucketId, cmd: &str, args: Ipld, nonce: u64) -> Ipld {
    let nonce = Ipld::Bytes(nonce.to_be_bytes().to_vec());
    map([("sub", text(sub.as_str())), ("cmd", text(cmd)), ("args", args), ("nonce", nonce)])
}

/// The arguments of `/echo/then`.
pub fn then(tasks: impl IntoIterator<Item = Ipld>) -> Ipld {
    map([("tasks", Ipld::List(tasks.into_iter().collect()))])
}

/// The arguments of `/kv/put`.
pub fn pair(key: u64) -> Ipld {
    map([("key", int(key.into())), ("value", int(key.into()))])
}

/// A new bucket of `user`'s, alone.
pub fn bucket_of(world: &mut dyn World, user: User, name: &str, mode: Mode) -> BucketId {
    let params = CreateParams { bucket: did(name), controllers: vec![], mode, proof: None };
    returned!(Create, world.apply(user, Message::Create(params))).expect("created");
    did(name)
}

/// A bucket that only its key speaks for.
pub fn bucket_of_key(world: &mut dyn World, key: &Identity) -> BucketId {
    create_for(world, key, vec![])
}

/// The failure of an invocation that asked for what it may not.
pub fn refused(world: &mut dyn World, bucket: &BucketId, car: &[u8]) -> Failure {
    let receipt = invoke(world, bucket, car);
    assert_eq!(receipt.fork, [], "a failure asks for nothing");
    receipt.out.expect_err("refused")
}

/// Invokes `/echo/then` as Alice and says whether it went through; the only other way to end is `ForkRefused`.
fn may(world: &mut dyn World, from: &BucketId, asked: Ipld, nonce: u64) -> Result<(), String> {
    let receipt = invoke(world, from, &car(from, "/echo/then", then([asked]), nonce));
    receipt.out.map(drop).map_err(|failure| {
        assert_eq!(failure.name, "ForkRefused");
        failure.message
    })
}

fn open(world: &mut dyn World, user: User, bucket: &BucketId, cmd: &str, args: Ipld, nonce: u64) {
    let invoked = world.invoke(user, bucket, &car(bucket, cmd, args, nonce), false).expect("invoked");
    assert_eq!(invoked.ok, Some(true));
}

pub fn a_continuation_reaches_another_bucket(world: &mut dyn World) {
    for mode in MODES {
        let (a, b) = (bucket(world, &format!("From{mode}"), mode), bucket(world, &format!("To{mode}"), mode));
        let put = car(&b, "/kv/put", pair(1), 7);
        let first = car(&a, "/echo/then", then([ask(&b, "/kv/put", pair(1), 7)]), 1);
        let invoked = world.invoke(User::Alice, &a, &first, false).unwrap();
        assert_eq!((invoked.ok, invoked.sent), (Some(true), vec![]), "it is sent to nobody else");
        assert_eq!(receipt_of(world, &a, id(&first)).fork, [id(&put)]);
        assert_eq!((world.queue(&a), world.queue(&b)), (vec![], vec![id(&put)]));
        assert_eq!(world.receipt(&b, id(&put)).unwrap().status, Status::Pending);
        assert_eq!(world.receipt(&a, id(&put)).unwrap().status, Status::NotFound, "it is the other bucket's");

        // The same by a run, from which it is not run at once: that is another bucket's queue.
        let second = car(&a, "/echo/then", then([ask(&b, "/kv/put", pair(2), 8), ask(&a, "/echo", map([]), 9)]), 2);
        schedule(world, &a, &second);
        let run = world.run(User::Bob, &a, 10).unwrap();
        assert_eq!((run.ran, run.pending, run.sent), (2, 0, vec![]));
        let run = world.run(User::Bob, &b, 10).unwrap();
        assert_eq!((run.ran, run.failed, run.pending), (2, 0, 0));
        let causes = [7, 8].map(|nonce| receipt_of(world, &b, id(&car(&b, "/kv/put", pair(nonce - 6), nonce))).cause);
        let asked = [&first, &second].map(|car| world.receipt(&a, id(car)).unwrap().receipt);
        assert_eq!(causes, asked);
        assert_eq!((world.rows(&a), world.rows(&b)), (vec![], vec![(int(1), int(1)), (int(2), int(2))]));
    }
}

pub fn another_bucket_is_reached_only_with_its_leave(world: &mut dyn World) {
    let (a, other) = (bucket(world, "Asks", Mode::Atomic), bucket(world, "AsksToo", Mode::Mutex));
    let b = bucket_of(world, User::Bob, "Asked", Mode::Atomic);
    let put = |nonce| ask(&b, "/kv/put", pair(nonce), nonce);
    let echo = |nonce| ask(&b, "/echo", map([]), nonce);
    let words = "is not a controller of bucket";
    let before = world.bucket(&b).unwrap();
    assert!(may(world, &a, put(1), 1).unwrap_err().contains(words));
    let nowhere = ask(&did("Nowhere"), "/echo", map([]), 1);
    assert!(may(world, &a, nowhere, 2).unwrap_err().contains("unknown bucket"));
    assert_eq!(world.bucket(&b).unwrap(), before);

    let to_a = |cmd: &str| map([("cmd", text(cmd)), ("to", text(a.as_str()))]);
    open(world, User::Bob, &b, "/bucket/open", to_a("/kv"), 1);
    assert_eq!(may(world, &a, put(3), 3), Ok(()));
    assert!(may(world, &other, put(4), 4).unwrap_err().contains(words), "open to one bucket only");
    assert!(may(world, &a, echo(5), 5).unwrap_err().contains(words), "another command");
    let direct = car(&b, "/kv/put", pair(6), 6);
    assert_eq!(world.schedule(User::Alice, &b, &direct, false).unwrap_err().code(), 18, "only its continuations");

    open(world, User::Bob, &b, "/bucket/open", map([("cmd", text("/echo"))]), 2);
    assert_eq!(may(world, &other, echo(7), 7), Ok(()));
    assert!(world.schedule(User::Eve, &b, &car(&b, "/echo", map([]), 8), false).is_ok(), "open to everybody");
    open(world, User::Bob, &b, "/bucket/close", to_a("/kv"), 3);
    assert!(may(world, &a, put(9), 9).unwrap_err().contains(words), "closed again");

    // What was let in before runs, in its order.
    let run = world.run(User::Eve, &b, 10).unwrap();
    assert_eq!((run.ran, run.failed, run.pending), (3, 0, 0));
    assert_eq!(world.rows(&b), [(int(3), int(3))]);
}

/// What is open to a bucket is open to those who have all rights there, and not to whoever may have it echo.
pub fn who_may_do_a_little_does_not_speak_for_the_bucket(world: &mut dyn World) {
    let a = bucket(world, "Spoken", Mode::Atomic);
    let b = bucket_of(world, User::Bob, "Spoken2", Mode::Atomic);
    open(world, User::Alice, &a, "/bucket/open", map([("cmd", text("/echo"))]), 1);
    open(world, User::Bob, &b, "/bucket/open", map([("cmd", text("/kv")), ("to", text(a.as_str()))]), 1);
    let asks = |nonce| car(&a, "/echo/then", then([ask(&b, "/kv/put", pair(nonce), nonce)]), nonce);
    let receipt = world.invoke(User::Eve, &a, &asks(2), false).unwrap().receipt;
    assert_eq!(world.receipt_car(&a, receipt).out.unwrap_err().name, "ForkRefused");
    assert_eq!(world.bucket(&b).unwrap().pending(), 0);
    assert_eq!(invoke(world, &a, &asks(3)).out, Ok(Ipld::Null), "Alice controls it");
    assert_eq!(world.bucket(&b).unwrap().pending(), 1);
}

/// Whose queue is run by whom is nobody's right, and who may do one thing may not have others done.
pub fn a_continuation_has_no_more_right_than_its_cause(world: &mut dyn World) {
    let a = bucket(world, "Lender", Mode::Atomic);
    let b = bucket_of(world, User::Bob, "Guarded", Mode::Atomic);
    let for_b = car(&a, "/echo/then", then([ask(&b, "/kv/put", pair(1), 1)]), 1);
    schedule(world, &a, &for_b);
    assert_eq!(world.run(User::Bob, &a, 1).unwrap().failed, 1, "Bob runs it, Alice asked for it");
    assert_eq!(receipt_of(world, &a, id(&for_b)).out.unwrap_err().name, "ForkRefused");

    open(world, User::Bob, &b, "/bucket/open", map([("cmd", text("/echo"))]), 2);
    let reserved = ask(&b, "/bucket/open", map([("cmd", text("/kv"))]), 3);
    assert!(may(world, &a, reserved, 3).is_err());
    // What came by the open command asks its own bucket for more, and a third one.
    let more = then([ask(&b, "/kv/put", pair(4), 4)]);
    let third = then([ask(&a, "/kv/put", pair(5), 5)]);
    let within = then([ask(&b, "/echo", map([]), 6)]);
    for (nonce, args) in [(7, more.clone()), (8, third.clone()), (9, within.clone())] {
        assert_eq!(may(world, &a, ask(&b, "/echo/then", args, nonce), nonce), Ok(()));
    }
    let run = world.run(User::Bob, &b, 10).unwrap();
    assert_eq!((run.ran, run.failed), (4, 1));
    let failure = receipt_of(world, &b, id(&car(&b, "/echo/then", more, 7))).out.unwrap_err();
    assert!(failure.message.contains("within the right of its cause"), "{failure}");
    assert_eq!(world.rows(&b), []);
    // Alice asked for the third, and controls the bucket that it comes back to.
    assert_eq!(receipt_of(world, &b, id(&car(&b, "/echo/then", third, 8))).out, Ok(Ipld::Null));
    assert_eq!(world.queue(&a), [id(&car(&a, "/kv/put", pair(5), 5))]);
    world.run(User::Eve, &a, 10).unwrap();
}

/// A CAR whose root is a task of `/echo/then` that has signed invocations delivered.
fn carries(from: &BucketId, blocks: &[&[u8]], more: impl FnOnce(Vec<Ipld>) -> Vec<Ipld>, nonce: u64) -> Vec<u8> {
    let mut tx = Tx::default();
    let signed = |block: &&[u8]| map([("signed", Ipld::Link(tx.write_block(DAG_CBOR, block)))]);
    let tasks: Vec<Ipld> = blocks.iter().map(signed).collect();
    task(from, "/echo/then", then(more(tasks)), nonce).to_car_with(tx)
}

/// A CAR of `/echo/then` that has so many invocations of `/echo` on `to` delivered. The last of the keys signed them, by the
/// delegations from each key to the next, which they share.
pub fn carries_delegated(from: &BucketId, to: &BucketId, keys: &[&Identity], count: usize, nonce: u64) -> Vec<u8> {
    let (proofs, signer) = (chain(keys, "/echo"), keys[keys.len() - 1]);
    let mut tx = Tx::default();
    for proof in &proofs {
        tx.write_block(DAG_CBOR, proof);
    }
    let one = |n| {
        let task = task(to, "/echo", map([]), nonce * 100 + n);
        map([("signed", Ipld::Link(tx.write_block(DAG_CBOR, &signer.seal(&invocation(signer, task, &proofs)))))])
    };
    let tasks: Vec<_> = (0..count as u64).map(one).collect();
    task(from, "/echo/then", then(tasks), nonce).to_car_with(tx)
}

/// The one block of a CAR.
fn block(car: &[u8]) -> Vec<u8> {
    let car = bucket_core::car::Car::decode::<bucket_core::cid::NativeHasher>(car.to_vec()).expect("a CAR");
    let (_, block) = car.blocks().next().expect("a block");
    block.to_vec()
}

pub fn a_signed_continuation_speaks_for_itself(world: &mut dyn World) {
    let a = bucket(world, "Carrier", Mode::Atomic);
    let owner = ed25519(1);
    let b = bucket_of_key(world, &owner);
    assert!(may(world, &a, ask(&b, "/kv/put", pair(1), 1), 1).is_err(), "nobody controls it");

    let sent = signed(&owner, task(&b, "/kv/put", pair(2), 2), &[]);
    let first = carries(&a, &[&block(&sent)], |tasks| tasks, 2);
    assert_eq!(invoke(world, &a, &first).fork, [id(&sent)], "the CAR that the signer would send");
    // Again, while it is pending and when it has run: it is the same CAR.
    for nonce in [3, 4] {
        let again = carries(&a, &[&block(&sent)], |tasks| tasks, nonce);
        assert_eq!(invoke(world, &a, &again).fork, [id(&sent)]);
        if nonce == 3 {
            assert_eq!(world.queue(&b), [id(&sent)]);
            assert_eq!(world.run(User::Eve, &b, 10).unwrap().ran, 1);
        }
        assert_eq!(world.queue(&b).len(), 0);
    }
    assert_eq!(world.rows(&b), [(int(2), int(2))]);
    let cause = world.receipt(&a, id(&first)).unwrap().receipt;
    assert_eq!(receipt_of(world, &b, id(&sent)).cause, cause);

    // Somebody else's signature, and a block that nobody signed.
    let stranger = ed25519(2);
    let forged = signed(&stranger, task(&b, "/kv/put", pair(5), 5), &[]);
    assert_eq!(refused(world, &a, &carries(&a, &[&block(&forged)], |tasks| tasks, 5)).name, "ForkRefused");
    let plain = block(&car(&b, "/kv/put", pair(6), 6));
    assert_eq!(refused(world, &a, &carries(&a, &[&plain], |tasks| tasks, 6)).name, "ForkInvalid");
}

/// Replays in another CAR are refused: later, beside it, in another task of the same batch, in the same run's next round.
pub fn a_signed_continuation_counts_once_in_whatever_car(world: &mut dyn World) {
    let owner = key(IdentityKind::P256, 3);
    let b = bucket_of_key(world, &owner);
    for (round, mode) in (0..).zip(MODES) {
        let a = bucket(world, &format!("Replay{mode}"), mode);
        let nonce = |n: u64| 100 * round + n;
        let forms = |n| {
            let signed = block(&signed(&owner, task(&b, "/echo", map([]), nonce(n)), &[]));
            let other = other_form(&signed, IdentityKind::P256);
            assert_ne!(signed, other);
            (signed, other)
        };
        let one = |form: &[u8], nonce| carries(&a, &[form], |tasks| tasks, nonce);
        let replayed = |failure: Failure| failure.name == "ForkRefused" && failure.message.starts_with("replayed");

        let (signed, other) = forms(1);
        assert_eq!(invoke(world, &a, &one(&signed, 1)).fork.len(), 1);
        assert!(replayed(refused(world, &a, &one(&other, 2))), "later");
        let (signed, other) = forms(2);
        assert!(replayed(refused(world, &a, &carries(&a, &[&signed, &other], |tasks| tasks, 3))), "beside it");
        let pair = [one(&signed, 4), one(&other, 5)];
        schedule_all(world, &a, &pair);
        assert_eq!(world.run(User::Bob, &a, 10).unwrap().failed, 1, "in the same batch");
        assert!(replayed(receipt_of(world, &a, id(&pair[1])).out.unwrap_err()));

        let (signed, other) = forms(3);
        let mut second = None;
        let both = carries(
            &a,
            &[&signed, &other],
            |mut tasks| {
                let later = ask(&a, "/echo/then", then(tasks.pop()), 7);
                second.replace(later);
                tasks.push(second.clone().unwrap());
                tasks
            },
            6,
        );
        schedule(world, &a, &both);
        let run = world.run(User::Bob, &a, 10).unwrap();
        assert_eq!((run.ran, run.failed, run.pending), (2, 1, 0), "in the same run");
        assert_eq!(world.queue(&b).len(), 3, "each once");
        assert_eq!(world.run(User::Bob, &b, 10).unwrap().ran, 3);
    }
}

pub fn a_forced_cause_asks_no_second_time(world: &mut dyn World) {
    for mode in MODES {
        let (a, b) = (bucket(world, &format!("Forced{mode}"), mode), bucket(world, &format!("Once{mode}"), mode));
        let first = car(&a, "/echo/then", then([ask(&b, "/kv/put", pair(1), 1)]), 1);
        let put = car(&b, "/kv/put", pair(1), 1);
        let asked = invoke(world, &a, &first);
        for version in [2, 3] {
            let again = world.invoke(User::Alice, &a, &first, true).unwrap();
            let again = world.receipt_car(&a, again.receipt);
            assert_eq!((again.fork, again.prior.map(|(_, version)| version)), (vec![id(&put)], Some(version)));
            match version {
                2 => assert_eq!(world.run(User::Bob, &b, 10).unwrap().ran, 1),
                _ => assert_eq!(world.queue(&b), []),
            }
        }
        let cause = receipt_of(world, &b, id(&put)).cause.unwrap();
        assert_eq!(world.receipt_car(&a, cause), asked, "the receipt that asked first");
        assert_eq!(world.bucket(&b).unwrap().ran, 1);
    }
}

pub fn the_order_of_asking_is_kept(world: &mut dyn World) {
    for mode in MODES {
        let [a, b, c] = ["A", "B", "C"].map(|name| bucket(world, &format!("Order{name}{mode}"), mode));
        let asks = |n: u64| {
            let tasks = [ask(&b, "/kv/put", pair(n), n), ask(&c, "/echo", map([]), n), ask(&b, "/echo", map([]), n)];
            car(&a, "/echo/then", then(tasks), n)
        };
        for n in [3, 1, 2] {
            schedule(world, &a, &asks(n));
        }
        assert_eq!(world.run(User::Bob, &a, 2).unwrap().ran, 2);
        schedule(world, &b, &car(&b, "/echo", map([]), 99));
        assert_eq!(world.run(User::Bob, &a, 2).unwrap().ran, 1);
        let of_b = |n: u64| [id(&car(&b, "/kv/put", pair(n), n)), id(&car(&b, "/echo", map([]), n))];
        let direct = id(&car(&b, "/echo", map([]), 99));
        let expected: Vec<CarId> = [&of_b(3)[..], &of_b(1), &[direct], &of_b(2)].concat();
        assert_eq!(world.queue(&b), expected);
        assert_eq!(world.queue(&c), [3, 1, 2].map(|n| id(&car(&c, "/echo", map([]), n))));
        assert_eq!(world.run(User::Bob, &b, 10).unwrap().ran, 7);
        assert_eq!(world.run(User::Bob, &c, 10).unwrap().ran, 3);
    }
}

pub fn causes_link_a_chain_through_buckets(world: &mut dyn World) {
    let [a, b, c] = ["A", "B", "C"].map(|name| bucket(world, &format!("Chain{name}"), Mode::Atomic));
    let home = pair(4);
    let in_c = then([ask(&a, "/kv/put", home.clone(), 4)]);
    let in_b = then([ask(&c, "/echo/then", in_c.clone(), 3)]);
    let first = then([ask(&b, "/echo/then", in_b.clone(), 2)]);
    let cars = [(&a, "/echo/then", first, 1), (&b, "/echo/then", in_b, 2), (&c, "/echo/then", in_c, 3)];
    let cars = cars.into_iter().chain([(&a, "/kv/put", home, 4)]);
    let mut cause = None;
    for (bucket, cmd, args, nonce) in cars {
        let car = car(bucket, cmd, args, nonce);
        match cause {
            None => drop(world.invoke(User::Alice, bucket, &car, false).unwrap()),
            Some(_) => assert_eq!(world.run(User::Eve, bucket, 10).unwrap().ran, 1),
        }
        assert_eq!(receipt_of(world, bucket, id(&car)).cause, cause);
        cause = world.receipt(bucket, id(&car)).unwrap().receipt;
    }
    assert_eq!(world.rows(&a), [(int(4), int(4))]);
}
