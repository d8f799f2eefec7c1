//! Who may have a bucket do what: whoever signs, keys that create their buckets, commands that are open.

use bucket_client::Identity;
use bucket_core::bucket::Mode;
use bucket_core::cid::{CarId, Hasher, NativeHasher};
use bucket_core::create::{self, CREATE};
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::limits::DEPTH_MAX;
use bucket_core::task::Task;
use bucket_tests::cars::{car, did, id, map, task, text};
use bucket_tests::keys::{self, KINDS, Parts, ask, chain, create_for, creation, ed25519, forged, key, signed};
use bucket_tests::{Refused, User, World};

use super::hostile::deep;
use super::{int, receipt_of};

/// Four keys of all kinds, the first one of kind `first`.
fn people(first: usize) -> [Identity; 4] {
    std::array::from_fn(|at| key(KINDS[(first + at) % KINDS.len()], (10 * first + at + 1) as u8))
}

/// Runs a CAR that Eve schedules and Bob runs.
fn queued(world: &mut dyn World, bucket: &BucketId, car: &[u8]) -> CarId {
    world.schedule(User::Eve, bucket, car, false).expect("scheduled");
    assert_eq!(world.run(User::Bob, bucket, 1).expect("ran").ran, 1);
    world.receipt(bucket, id(car)).expect("answered").receipt.expect("it ran")
}

/// Keys of each kind own, delegate and ask; strangers carry; the receipts are the same bytes everywhere.
pub fn a_signed_invocation_runs_whoever_carries_it(world: &mut dyn World) {
    let mut receipts = Vec::new();
    for first in 0..KINDS.len() {
        let keys = people(first);
        let b = keys::create(world, &keys[0]);
        for links in [0, 1, 3] {
            let proofs = chain(&keys[..=links].iter().collect::<Vec<_>>(), "/kv");
            let put = |value: i128| {
                let args = map([("key", int(links as i128)), ("value", int(value))]);
                signed(&keys[links], task(&b, "/kv/put", args, value as u64), &proofs)
            };
            let carrier = if links == 1 { User::Bob } else { User::Eve };
            let invoked = world.invoke(carrier, &b, &put(1), false).expect("invoked");
            assert_eq!(invoked.ok, Some(true));
            receipts.extend([invoked.receipt, queued(world, &b, &put(2))]);
            assert!(receipt_of(world, &b, id(&put(2))).out.is_ok());
        }
        assert_eq!(world.rows(&b), [0, 1, 3].map(|links| (int(links), int(2))));
    }
    let all: Vec<String> = receipts.iter().map(CarId::to_string).collect();
    let hash = hex::encode(NativeHasher::sha2_256(all.join(" ").as_bytes()));
    expect_test::expect!["a0419c8c093d65a02a20fe250c73a108eccde0aaf4a75051cc6443cdc2f46414"].assert_eq(&hash);
}

/// Other implementations still write `1.0.0-rc.1`.
pub fn tokens_of_the_release_candidate_are_taken(world: &mut dyn World) {
    let (owner, asker) = (ed25519(1), ed25519(2));
    let b = keys::create(world, &owner);
    let candidate = |token: &[u8], by: &Identity| {
        let mut parts = Parts::of(token);
        parts.tag += "-rc.1";
        parts.sign(by).join()
    };
    let proofs: Vec<_> = chain(&[&owner, &asker], "/").iter().map(|proof| candidate(proof, &owner)).collect();
    let invocation = asker.seal(&ask(&asker, task(&b, "/echo", map([]), 0), &proofs));
    let car = keys::pack_with(&proofs, candidate(&invocation, &asker));
    assert_eq!(world.invoke(User::Bob, &b, &car, false).unwrap().ok, Some(true));
}

/// All that a front-runner could change is refused, and nothing is created.
pub fn a_key_has_to_sign_for_its_bucket(world: &mut dyn World) {
    let (bob, alice) = (world.address(User::Bob), world.address(User::Alice));
    let (before, _) = world.check();
    for kind in KINDS {
        let (owner, other) = (key(kind, 1), key(kind, 2));
        let b = owner.did();
        let proof = creation(&owner, &[alice], Mode::Atomic);
        let args = create::args(&[alice], Mode::Atomic);
        let unsigned = car(&b, CREATE, args.clone(), 0);
        let by_other = signed(&other, task(&b, CREATE, args.clone(), 0), &[]);
        let put = signed(&owner, task(&b, "/kv/put", args.clone(), 0), &[]);
        let seal = owner.seal(&ask(&owner, task(&b, CREATE, args, 0), &[]));
        let cases = [
            ("no proof", vec![alice], Mode::Atomic, None, 54),
            ("no proof and no controllers", vec![], Mode::Atomic, None, 54),
            ("other controllers", vec![bob], Mode::Atomic, Some(&proof), 55),
            ("more controllers", vec![alice, bob], Mode::Atomic, Some(&proof), 55),
            ("no controllers", vec![], Mode::Atomic, Some(&proof), 55),
            ("another mode", vec![alice], Mode::Mutex, Some(&proof), 55),
            (
                "the proof of another bucket",
                vec![alice],
                Mode::Atomic,
                Some(&creation(&other, &[alice], Mode::Atomic)),
                55,
            ),
            ("another command", vec![alice], Mode::Atomic, Some(&put), 55),
            ("an unsigned proof", vec![alice], Mode::Atomic, Some(&unsigned), 55),
            ("signed by another key", vec![alice], Mode::Atomic, Some(&by_other), 69),
            ("a forged signature", vec![alice], Mode::Atomic, Some(&keys::pack(&[forged(&seal)])), 66),
        ];
        for (name, controllers, mode, proof, code) in cases {
            let refused = keys::create_with(world, &b, controllers, mode, proof.cloned()).expect_err(name);
            assert_eq!(refused.code(), code, "{name}: {}", refused.message());
            assert_eq!(world.bucket(&b).unwrap_err().code(), 17, "{name}");
        }
        // A name that is no key proves nothing by somebody's signature.
        let web = did("Web");
        let proof = signed(&owner, task(&web, CREATE, create::args(&[bob], Mode::Atomic), 0), &[]);
        let refused = keys::create_with(world, &web, vec![bob], Mode::Atomic, Some(proof)).unwrap_err();
        assert_eq!(refused.code(), 69, "{}", refused.message());
    }
    assert_eq!(world.check().0, before);
}

/// Whoever carries the proof creates what the key wanted, once; also by somebody whom it let.
pub fn a_key_gets_the_bucket_that_it_signed_for(world: &mut dyn World) {
    let owner = ed25519(1);
    let b = keys::create(world, &owner);
    let alone = did("Alone");
    let controllers = world.create(&alone, Mode::Atomic).unwrap().controllers;
    assert_eq!(world.bucket(&b).unwrap().controllers, controllers, "Alice, though Bob sent it");
    let (alice, bob) = (world.address(User::Alice), world.address(User::Bob));
    for (who, proof) in
        [(alice, creation(&owner, &[alice], Mode::Atomic)), (bob, creation(&owner, &[bob], Mode::Atomic))]
    {
        let again = keys::create_with(world, &b, vec![who], Mode::Atomic, Some(proof)).unwrap_err();
        assert_eq!(again.code(), 48);
    }
    // Other names belong to who comes first.
    assert_eq!(keys::create_with(world, &alone, vec![bob], Mode::Atomic, None).unwrap_err().code(), 48);
    assert_eq!(world.bucket(&alone).unwrap().controllers, controllers);

    let (owner, agent) = (ed25519(2), ed25519(3));
    let proofs = chain(&[&owner, &agent], "/bucket/create");
    let args = create::args(&[bob], Mode::Mutex);
    let proof = signed(&agent, task(&owner.did(), CREATE, args, 0), &proofs);
    keys::create_with(world, &owner.did(), vec![bob], Mode::Mutex, Some(proof)).expect("created");
    assert_eq!(world.bucket(&owner.did()).unwrap().mode, Mode::Mutex);
}

pub fn a_bucket_without_controllers_takes_only_what_is_signed(world: &mut dyn World) {
    let owner = ed25519(1);
    let b = create_for(world, &owner, vec![]);
    let before = world.bucket(&b).unwrap();
    assert_eq!(before.controllers, Vec::<u64>::new());
    for user in bucket_tests::USERS {
        let echo = car(&b, "/echo", map([]), 0);
        assert_eq!(world.invoke(user, &b, &echo, false).unwrap_err().code(), 18);
        assert_eq!(world.schedule(user, &b, &echo, false).unwrap_err().code(), 18);
    }
    assert_eq!(world.bucket(&b).unwrap(), before);
    for (nonce, user) in bucket_tests::USERS.into_iter().enumerate() {
        let echo = signed(&owner, task(&b, "/echo", map([]), nonce as u64), &[]);
        assert_eq!(world.invoke(user, &b, &echo, false).unwrap().ok, Some(true));
    }
}

fn switch(b: &BucketId, what: &str, cmd: &str, nonce: u64) -> Task {
    task(b, what, map([("cmd", text(cmd))]), nonce)
}

fn code<T>(result: Result<T, Refused>) -> u32 {
    result.map_or_else(|refused| refused.code(), |_| 0)
}

/// By a controller, or by whom the bucket's key let administrate; just those commands, and until they are closed.
pub fn an_open_command_is_anybodys_until_it_is_closed(world: &mut dyn World) {
    let (owner, admin) = (ed25519(1), ed25519(2));
    let b = keys::create(world, &owner);
    let proofs = chain(&[&owner, &admin], "/bucket");
    let unsigned = |task: Task| task.to_car::<NativeHasher>();
    let by_admin = |task| signed(&admin, task, &proofs);
    let ways: [(User, &dyn Fn(_) -> Vec<u8>); 2] = [(User::Alice, &unsigned), (User::Eve, &by_admin)];
    for (round, (user, pack)) in (0..).zip(ways) {
        let mut nonce = 100 * round;
        let mut next = |cmd| {
            nonce += 1;
            car(&b, cmd, map([("key", int(1)), ("value", int(nonce as i128))]), nonce)
        };
        for stranger in [User::Bob, User::Eve] {
            assert_eq!(code(world.invoke(stranger, &b, &next("/echo"), false)), 18, "not open yet");
        }
        let open = pack(switch(&b, "/bucket/open", "/echo", round));
        assert_eq!(world.invoke(user, &b, &open, false).unwrap().ok, Some(true));
        for stranger in [User::Bob, User::Eve] {
            assert_eq!(code(world.invoke(stranger, &b, &next("/echo"), false)), 0);
            assert_eq!(code(world.schedule(stranger, &b, &next("/echo"), false)), 0);
            assert_eq!(world.run(stranger, &b, 1).unwrap().failed, 0);
            for other in ["/kv/put", "/bucket/open", "/bucket/close", "/ucan/revoke"] {
                assert_eq!(code(world.invoke(stranger, &b, &next(other), false)), 18, "{other}");
            }
        }
        let close = pack(switch(&b, "/bucket/close", "/echo", round));
        assert_eq!(world.invoke(user, &b, &close, false).unwrap().ok, Some(true));
        for stranger in [User::Bob, User::Eve] {
            assert_eq!(code(world.invoke(stranger, &b, &next("/echo"), false)), 18, "closed");
        }
    }
}

pub fn an_open_command_covers_those_under_it(world: &mut dyn World) {
    let b = super::bucket(world, "Under", Mode::Atomic);
    let put = |nonce| bucket_tests::cars::put(&b, text("a"), int(1), nonce);
    let del = |nonce| car(&b, "/kv/del", map([("key", text("a"))]), nonce);
    let cases = [("/k", 18, 18), ("/kv/put/more", 18, 18), ("/kv/put", 0, 18), ("/kv", 0, 0)];
    for (nonce, (cmd, may_put, may_del)) in (1..).zip(cases) {
        let open = switch(&b, "/bucket/open", cmd, nonce).to_car::<NativeHasher>();
        assert!(super::invoke(world, &b, &open).out.is_ok());
        assert_eq!(code(world.invoke(User::Bob, &b, &put(nonce), false)), may_put, "{cmd}");
        assert_eq!(code(world.invoke(User::Bob, &b, &del(nonce), false)), may_del, "{cmd}");
        let close = switch(&b, "/bucket/close", cmd, nonce).to_car::<NativeHasher>();
        assert!(super::invoke(world, &b, &close).out.is_ok());
    }
}

pub fn what_gives_rights_away_is_never_open(world: &mut dyn World) {
    let b = super::bucket(world, "Kept", Mode::Atomic);
    let before = world.bucket(&b).unwrap().root;
    let cases = ["/bucket", "/bucket/open", "/bucket/close", "/ucan", "/ucan/revoke", "/ucan/x"];
    let cases = cases.map(|cmd| (cmd, "OpenReserved")).into_iter();
    for (nonce, (cmd, name)) in (0..).zip(cases.chain([("/", "ArgsInvalid"), ("", "ArgsInvalid")])) {
        let open = switch(&b, "/bucket/open", cmd, nonce).to_car::<NativeHasher>();
        assert_eq!(super::invoke(world, &b, &open).out.unwrap_err().name, name, "{cmd}");
    }
    assert_eq!(world.bucket(&b).unwrap().root, before);
    let open = switch(&b, "/bucket/open", "/echo", 99).to_car::<NativeHasher>();
    assert_eq!(code(world.invoke(User::Bob, &b, &open, false)), 18);
}

/// What is open to another bucket's continuations is not open to who sends messages, and not to its key.
pub fn what_is_open_to_a_bucket_is_closed_to_senders(world: &mut dyn World) {
    let b = super::bucket(world, "To", Mode::Atomic);
    let friend = ed25519(7);
    let args = |to: &str| map([("cmd", text("/echo")), ("to", text(to))]);
    assert!(super::invoke(world, &b, &car(&b, "/bucket/open", args(friend.did().as_str()), 0)).out.is_ok());
    let echo = car(&b, "/echo", map([]), 0);
    for user in [User::Bob, User::Eve] {
        assert_eq!(code(world.invoke(user, &b, &echo, false)), 18);
        let by_friend = signed(&friend, task(&b, "/echo", map([]), 0), &[]);
        assert_eq!(code(world.invoke(user, &b, &by_friend, false)), 69);
    }
    // Closing it to everybody is something else than closing it to one.
    let close = switch(&b, "/bucket/close", "/echo", 1).to_car::<NativeHasher>();
    assert!(super::invoke(world, &b, &close).out.is_ok());
    let before = world.bucket(&b).unwrap().root;
    assert!(super::invoke(world, &b, &car(&b, "/bucket/close", args(friend.did().as_str()), 2)).out.is_ok());
    assert_ne!(world.bucket(&b).unwrap().root, before, "it was open until now");
    let bad = [map([("cmd", text("/echo")), ("to", text("me"))]), map([("cmd", text("/echo")), ("too", Ipld::Null)])];
    for (nonce, args) in (3..).zip(bad) {
        let receipt = super::invoke(world, &b, &car(&b, "/bucket/open", args, nonce));
        assert_eq!(receipt.out.unwrap_err().name, "ArgsInvalid");
    }
}

/// As deep as a signed task may be: reading, hashing and verifying it all take of the same stack.
pub fn the_deepest_signed_values_run(world: &mut dyn World) {
    for kind in KINDS {
        let keys = [1, 2, 3].map(|number| key(kind, number));
        let b = keys::create(world, &keys[0]);
        let proofs = chain(&keys.iter().collect::<Vec<_>>(), "/");
        // Around the value: the envelope, what is signed, the payload, its args.
        let put = |levels, nonce| {
            let args = map([("key", text("deep")), ("value", deep(levels))]);
            signed(&keys[2], task(&b, "/kv/put", args, nonce), &proofs)
        };
        assert_eq!(world.invoke(User::Bob, &b, &put(DEPTH_MAX - 4, 0), false).unwrap().ok, Some(true), "{kind}");
        assert_eq!(world.rows(&b), [(text("deep"), deep(DEPTH_MAX - 4))]);
        assert_eq!(code(world.invoke(User::Bob, &b, &put(DEPTH_MAX - 3, 1), false)), 39, "{kind}");

        // Queued, and with a continuation that its right is asked for.
        let next = map([("cmd", text("/echo")), ("args", map([("deep", deep(DEPTH_MAX - 8))]))]);
        let then = task(&b, "/echo/then", map([("tasks", Ipld::List(vec![next]))]), 2);
        queued(world, &b, &signed(&keys[2], then, &chain(&keys.iter().collect::<Vec<_>>(), "/echo")));
        let run = world.run(User::Eve, &b, 1).unwrap();
        assert_eq!((run.ran, run.failed), (1, 0), "{kind}");
    }
}
