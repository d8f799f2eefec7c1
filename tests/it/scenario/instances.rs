//! Continuations for another instance of the actor: delivered and run there, or told as undelivered here.

use bucket_client::identity::{Identity, IdentityKind};
use bucket_core::abi::{DeliverParams, Message, Status};
use bucket_core::bucket::{Chain, Mode};
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::limits::FORK_DEPTH_MAX;
use bucket_devnet::node::Reorg;
use bucket_tests::cars::{Tx, car, did, id, map, task, text};
use bucket_tests::keys::{key, signed};
use bucket_tests::network::NetworkWorld;
use bucket_tests::{User, World};

use super::reach::{ask, bucket_of, bucket_of_key, pair, then};
use super::{bucket, int, invoke, receipt_of, schedule, schedule_all};

/// A task of `/echo/then` for the instance `at`.
fn ask_at(at: u64, sub: &BucketId, cmd: &str, args: Ipld, nonce: u64) -> Ipld {
    let Ipld::Map(mut asked) = ask(sub, cmd, args, nonce) else { panic!("a map") };
    asked.insert("at".into(), int(at.into()));
    Ipld::Map(asked)
}

/// Does something in the other instance.
fn there<T>(world: &mut dyn World, act: impl FnOnce(&mut dyn World) -> T) -> T {
    world.swap();
    let done = act(world);
    world.swap();
    done
}

/// What violates the invariants there, and in `NetworkWorld` what its indexer has otherwise than the chain.
fn violations_there(world: &mut dyn World) -> Vec<String> {
    there(world, |world| world.check().1)
}

/// A bucket here and one there, both Alice's, and the other instance's id.
fn pair_of(world: &mut dyn World, name: &str, mode: Mode) -> (BucketId, BucketId, u64) {
    let a = bucket(world, &format!("{name}Here{mode}"), mode);
    let (b, at) = there(world, |world| (bucket(world, &format!("{name}There{mode}"), mode), world.instance()));
    (a, b, at)
}

pub fn a_continuation_runs_in_another_instance(world: &mut dyn World) {
    for mode in [Mode::Atomic, Mode::Mutex] {
        let (a, b, at) = pair_of(world, "Run", mode);
        let asks = |n: u64| car(&a, "/echo/then", then([ask_at(at, &b, "/kv/put", pair(n), n)]), n);
        let puts = [1, 2, 3].map(|n| car(&b, "/kv/put", pair(n), n));
        let invoked = world.invoke(User::Alice, &a, &asks(1), false).unwrap();
        assert_eq!((invoked.ok, invoked.sent), (Some(true), vec![0]));
        assert_eq!(receipt_of(world, &a, id(&asks(1))).fork, [id(&puts[0])]);
        assert_eq!(world.receipt(&a, id(&puts[0])).unwrap().status, Status::NotFound, "only the other one tells of it");

        schedule_all(world, &a, &[asks(2), car(&a, "/echo", map([]), 9), asks(3)]);
        let run = world.run(User::Bob, &a, 10).unwrap();
        assert_eq!((run.ran, run.failed, run.sent), (3, 0, vec![0, 0]));
        let causes = [1, 2, 3].map(|n| world.receipt(&a, id(&asks(n))).unwrap().receipt);
        there(world, |world| {
            assert_eq!(world.queue(&b), [0, 1, 2].map(|n: usize| id(&puts[n])), "in the order of asking");
            let run = world.run(User::Eve, &b, 10).unwrap();
            assert_eq!((run.ran, run.failed), (3, 0));
            assert_eq!([0, 1, 2].map(|n: usize| receipt_of(world, &b, id(&puts[n])).cause), causes);
            assert_eq!(world.rows(&b), [1, 2, 3].map(|n| (int(n), int(n))));
        });
    }
    assert_eq!(violations_there(world), Vec::<String>::new());
}

/// What another instance refuses is told by a receipt of the continuation, here; what ran beside it stays.
pub fn what_is_refused_there_is_undelivered_here(world: &mut dyn World) {
    for mode in [Mode::Atomic, Mode::Mutex] {
        let (a, b, at) = pair_of(world, "Refused", mode);
        let (bobs, here) = (format!("Bobs{mode}"), world.instance());
        let bobs = there(world, |world| {
            let bobs = bucket_of(world, User::Bob, &bobs, mode);
            // Whoever names a bucket so in another instance, has it from nobody: only keys are beyond doubt.
            let open = car(&bobs, "/bucket/open", map([("cmd", text("/kv")), ("to", text(a.as_str()))]), 1);
            assert_eq!(world.invoke(User::Bob, &bobs, &open, false).unwrap().ok, Some(true));
            bobs
        });
        let nowhere = did("Nowhere");
        let cases = [
            (at, &nowhere, "/echo", 17),
            (at, &bobs, "/kv/put", 18),
            (1, &b, "/echo", 58),
            (u64::MAX >> 8, &b, "/echo", 58),
        ];
        let before = there(world, |world| world.check().0);
        for (nonce, (at, sub, cmd, code)) in (1..).zip(cases) {
            let args = pair(nonce);
            let asks = then([ask_at(at, sub, cmd, args.clone(), nonce), ask(&a, "/echo", map([]), nonce)]);
            let first = car(&a, "/echo/then", asks, nonce);
            let beside = car(&a, "/kv/put", pair(nonce), 50 + nonce);
            schedule_all(world, &a, &[first.clone(), beside]);
            let run = world.run(User::Bob, &a, 10).unwrap();
            assert_eq!(run.sent, [code]);
            assert_eq!((run.ran, run.failed, run.pending), (3, 0, 0), "what was asked for beside it runs");
            let undelivered = car(sub, cmd, args, nonce);
            let receipt = receipt_of(world, &a, id(&undelivered));
            let failure = receipt.out.unwrap_err();
            assert_eq!(failure.name, "Undelivered");
            assert!(failure.message.contains(&format!("f0{at} refused the continuation with exit code {code}")));
            assert_eq!(receipt.cause, world.receipt(&a, id(&first)).unwrap().receipt);
            assert_eq!(world.receipt(&a, id(&undelivered)).unwrap().version, 1);
        }
        assert_eq!(world.rows(&a).len(), cases.len());
        assert_eq!(there(world, |world| world.check().0), before, "nothing changed there");
        assert_ne!(at, here);
    }
}

pub fn a_forced_cause_delivers_no_second_time(world: &mut dyn World) {
    let (a, b, at) = pair_of(world, "Forced", Mode::Atomic);
    let late = did("LateThere");
    let tasks = [ask_at(at, &b, "/kv/put", pair(1), 1), ask_at(at, &late, "/echo", map([]), 2)];
    let first = car(&a, "/echo/then", then(tasks), 1);
    let [put, echo] = [car(&b, "/kv/put", pair(1), 1), car(&late, "/echo", map([]), 2)];
    assert_eq!(world.invoke(User::Alice, &a, &first, false).unwrap().sent, [0, 17]);
    // Once more while it is pending: what was refused is tried again, and refused again.
    assert_eq!(world.invoke(User::Alice, &a, &first, true).unwrap().sent, [0, 17]);
    assert_eq!(world.receipt(&a, id(&echo)).unwrap().version, 2);
    there(world, |world| {
        assert_eq!(world.queue(&b), [id(&put)]);
        assert_eq!(world.run(User::Bob, &b, 10).unwrap().ran, 1);
        bucket(world, "LateThere", Mode::Mutex);
    });
    // And once more when it has run, and the other bucket exists.
    schedule_forced(world, &a, &first);
    assert_eq!(world.run(User::Bob, &a, 1).unwrap().sent, [0, 0]);
    there(world, |world| {
        assert_eq!((world.queue(&b), world.bucket(&b).unwrap().ran), (vec![], 1));
        assert_eq!(world.queue(&late), [id(&echo)]);
        assert_eq!(world.run(User::Bob, &late, 10).unwrap().ran, 1);
        assert!(receipt_of(world, &late, id(&echo)).out.is_ok());
    });
    assert_eq!(violations_there(world), Vec::<String>::new());
}

fn schedule_forced(world: &mut dyn World, bucket: &BucketId, car: &[u8]) {
    world.schedule(User::Alice, bucket, car, true).expect("scheduled");
}

pub fn this_instance_is_no_other(world: &mut dyn World) {
    let here = world.instance();
    let a = bucket(world, "Own", Mode::Atomic);
    let b = bucket(world, "Neighbour", Mode::Atomic);
    let tasks = [ask_at(here, &a, "/kv/put", pair(1), 1), ask_at(here, &b, "/kv/put", pair(2), 2)];
    let invoked = world.invoke(User::Alice, &a, &car(&a, "/echo/then", then(tasks), 3), false).unwrap();
    assert!(invoked.sent.is_empty(), "nothing left the actor");
    assert_eq!(world.queue(&a), [id(&car(&a, "/kv/put", pair(1), 1))]);
    assert_eq!(world.queue(&b), [id(&car(&b, "/kv/put", pair(2), 2))]);
    // And what may not be here is refused at once.
    let nowhere = ask_at(here, &did("Nowhere"), "/echo", map([]), 4);
    let failure = invoke(world, &a, &car(&a, "/echo/then", then([nowhere]), 5)).out.unwrap_err();
    assert_eq!(failure.name, "ForkRefused");
}

/// To and fro between two instances, until the depth ends it; causes link across.
pub fn a_chain_between_instances_ends_at_a_depth(world: &mut dyn World) {
    let (a, b, at) = pair_of(world, "Chain", Mode::Atomic);
    let here = world.instance();
    let of = |depth: u64| if depth.is_multiple_of(2) { (here, &a) } else { (at, &b) };
    let mut args = then([]);
    for depth in (1..=FORK_DEPTH_MAX + 1).rev() {
        let (at, sub) = of(depth);
        args = then([ask_at(at, sub, "/echo/then", args, depth)]);
    }
    let first = car(&a, "/echo/then", args, 0);
    let mut cause = Some(world.invoke(User::Alice, &a, &first, false).unwrap().receipt);
    for depth in 1..=FORK_DEPTH_MAX + 1 {
        world.swap();
        let (_, sub) = of(depth);
        let [next] = world.queue(sub)[..] else { panic!("one is pending at depth {depth}") };
        let run = world.run(User::Bob, sub, 10).unwrap();
        let last = depth > FORK_DEPTH_MAX;
        assert_eq!((run.ran, run.failed, run.sent), (1, u64::from(last), if last { vec![] } else { vec![0] }));
        let receipt = receipt_of(world, sub, next);
        assert_eq!(receipt.cause, cause);
        assert_eq!(receipt.out.err().map(|failure| failure.name), last.then(|| "DepthExceeded".to_owned()));
        cause = world.receipt(sub, next).unwrap().receipt;
    }
    // The last one ran there.
    world.swap();
    assert_eq!(violations_there(world), Vec::<String>::new());
}

/// A signed invocation needs no other right there, and a key's bucket can be named there.
pub fn keys_count_in_every_instance(world: &mut dyn World) {
    let [owner, sender] = [5, 6].map(|n| key(IdentityKind::Secp256k1, n));
    let a = bucket_of_key(world, &sender);
    let (b, at) = there(world, |world| (bucket_of_key(world, &owner), world.instance()));
    let sign = |key: &Identity, task| signed(key, task, &[]);
    // A task of the sender's bucket that carries the owner's invocation.
    let put = sign(&owner, task(&b, "/kv/put", pair(1), 1));
    let carries = |nonce| {
        let block = bucket_core::car::Car::decode::<bucket_core::cid::NativeHasher>(put.clone()).unwrap();
        let mut tx = Tx::default();
        let link = block.blocks().map(|(cid, block)| tx.write_block(cid.codec(), block)).last().unwrap();
        let asked = map([("signed", Ipld::Link(link)), ("at", int(at.into()))]);
        sender.invoke(task(&a, "/echo/then", then([asked]), nonce), &[], None, tx)
    };
    assert_eq!(world.invoke(User::Eve, &a, &carries(1), false).unwrap().sent, [0]);
    assert_eq!(world.invoke(User::Bob, &a, &carries(2), false).unwrap().sent, [0], "known, and not queued again");
    let open = sign(&owner, task(&b, "/bucket/open", map([("cmd", text("/echo")), ("to", text(a.as_str()))]), 2));
    there(world, |world| {
        assert_eq!(world.queue(&b), [id(&put)]);
        assert_eq!(world.invoke(User::Bob, &b, &open, false).unwrap().ok, Some(true));
        assert_eq!(world.run(User::Bob, &b, 10).unwrap().failed, 0);
        assert_eq!(world.rows(&b), [(int(1), int(1))]);
    });
    for (nonce, cmd, code) in [(3, "/echo", 0), (4, "/kv/put", 18)] {
        let asks = task(&a, "/echo/then", then([ask_at(at, &b, cmd, pair(9), nonce)]), nonce);
        assert_eq!(world.invoke(User::Bob, &a, &sign(&sender, asks), false).unwrap().sent, [code], "{cmd}");
    }
    there(world, |world| assert_eq!(world.run(User::Bob, &b, 10).unwrap().failed, 0));
    assert_eq!(violations_there(world), Vec::<String>::new());
}

pub fn only_an_instance_delivers(world: &mut dyn World) {
    let b = bucket(world, "Deaf", Mode::Atomic);
    let car = car(&b, "/echo", map([]), 1);
    let chain = Chain { cause: id(b"cause"), depth: 1, work: 100, issuer: None, full: true, foreign: true };
    let (before, _) = world.check();
    for user in [User::Alice, User::Bob, User::Eve] {
        let params = DeliverParams { car: car.clone(), from: Some(did("From")), chain: chain.clone(), caller: 1 };
        let refused = world.apply(user, Message::Deliver(params)).unwrap_err();
        assert_eq!(refused.code(), 58, "{}", refused.message());
    }
    assert_eq!(world.check().0, before);
}

/// A receipt of what was not delivered must not be taken for one of a CAR of the bucket's own: whoever may ask for
/// continuations could have it that Alice's CAR never runs.
pub fn what_is_undelivered_leaves_own_cars_alone(world: &mut dyn World) {
    let a = bucket(world, "Mine", Mode::Atomic);
    let open = car(&a, "/bucket/open", map([("cmd", text("/echo/then"))]), 1);
    assert_eq!(world.invoke(User::Alice, &a, &open, false).unwrap().ok, Some(true));
    let put = car(&a, "/kv/put", pair(1), 1);
    schedule(world, &a, &put);
    for (nonce, at) in [(2, 1), (3, u64::MAX >> 8)] {
        let asks = then([ask_at(at, &a, "/kv/put", pair(1), 1)]);
        let receipt = world.invoke(User::Eve, &a, &car(&a, "/echo/then", asks, nonce), false).unwrap().receipt;
        assert_eq!(world.receipt_car(&a, receipt).out.unwrap_err().name, "ForkRefused");
    }
    assert_eq!(world.run(User::Bob, &a, 10).unwrap().ran, 1);
    assert_eq!(world.rows(&a), [(int(1), int(1))]);
}

/// Both indexers follow the chain through a reorganisation that takes deliveries back, and has them again.
#[test]
fn both_indexes_equal_the_chain_after_a_reorganisation() {
    let mut world = NetworkWorld::default();
    let (a, b, at) = pair_of(&mut world, "Reorg", Mode::Atomic);
    let asks = |n: u64| car(&a, "/echo/then", then([ask_at(at, &b, "/kv/put", pair(n), n)]), n);
    for n in 1..=3 {
        assert_eq!(world.invoke(User::Alice, &a, &asks(n), false).unwrap().sent, [0]);
    }
    let equal = |world: &mut NetworkWorld, pending: usize| {
        assert_eq!(world.check().1, Vec::<String>::new());
        assert_eq!(violations_there(world), Vec::<String>::new());
        assert_eq!(there(world, |world| world.queue(&b)).len(), pending);
    };
    equal(&mut world, 3);
    world.devnet.reorg(Reorg::of_depth(3)).unwrap();
    equal(&mut world, 3);
    world.devnet.reorg(Reorg { include: false, null_rounds: 0, ..Reorg::of_depth(4) }).unwrap();
    world.catch_up();
    let left = there(&mut world, |world| world.bucket(&b)).unwrap().pending();
    assert!(left < 3, "the fork lacks some of the messages");
    equal(&mut world, left as usize);
    world.devnet.mine(2).unwrap();
    equal(&mut world, 3);
    assert_eq!(there(&mut world, |world| world.run(User::Bob, &b, 10)).unwrap().ran, 3);
    equal(&mut world, 0);
}
