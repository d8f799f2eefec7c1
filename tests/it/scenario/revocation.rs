//! Who may take a delegation back, and what that stops.

use std::time::Duration;

use bucket_client::Identity;
use bucket_core::cid::NativeHasher;
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::task::Task;
use bucket_core::ucan::DelegationDraft;
use bucket_tests::cars::{Tx, id, map, task};
use bucket_tests::keys::{self, KINDS, ask, chain, cid, ed25519, forged, grant, key, pack_with, signed};
use bucket_tests::{User, World};

use super::delegation::denied;
use super::receipt_of;

fn echo(b: &BucketId, nonce: u64) -> Task {
    task(b, "/echo", map([]), nonce)
}

/// `/ucan/revoke` of the last of these delegations, by way of the others.
fn revoke(b: &BucketId, path: &[Vec<u8>]) -> Task {
    let links = path.iter().map(|proof| Ipld::Link(cid(proof)));
    let revoked = Ipld::Link(cid(path.last().expect("a delegation")));
    task(b, "/ucan/revoke", map([("ucan", revoked), ("path", Ipld::List(links.collect()))]), 0)
}

/// Revokes the last of these with no other right than having issued one of them.
fn revoke_by(issuer: &Identity, b: &BucketId, path: &[Vec<u8>]) -> Vec<u8> {
    pack_with(path, issuer.seal(&ask(issuer, revoke(b, path), &[])))
}

fn runs(world: &mut dyn World, b: &BucketId, car: &[u8]) {
    assert_eq!(world.invoke(User::Eve, b, car, false).expect("allowed").ok, Some(true));
}

/// A revocation's CAR, made of a chain.
type Way<'a> = &'a dyn Fn(&[Vec<u8>]) -> Vec<u8>;

/// The bucket's key, its controllers, its agents, and each issuer of the chain; then no invocation counts that rests on it.
pub fn those_above_may_revoke(world: &mut dyn World) {
    for (round, kind) in (0..).zip(KINDS) {
        let [owner, agent, middle, asker] = [1, 2, 3, 4].map(|number| key(kind, 10 * round + number));
        let b = keys::create(world, &owner);
        let first = chain(&[&owner, &middle], "/");
        let agency = chain(&[&owner, &agent], "/ucan");
        // Delegations that differ in their nonces: each way takes back one.
        let second =
            |nonce: u8| middle.delegate(&DelegationDraft { nonce: vec![nonce], ..grant(&middle, &asker, &b, "/") });
        let proofs = |nonce| [&first[..], &[second(nonce)]].concat();
        let ways: [(&str, User, Way<'_>); 4] = [
            ("the bucket's key", User::Bob, &|path| signed(&owner, revoke(&b, &path[1..]), &[])),
            ("a controller", User::Alice, &|path| revoke(&b, path).to_car::<NativeHasher>()),
            ("an agent", User::Eve, &|path| signed(&agent, revoke(&b, path), &agency)),
            ("the issuer", User::Bob, &|path| revoke_by(&middle, &b, path)),
        ];
        for (nonce, (who, carrier, way)) in (0..).zip(ways) {
            let proofs = proofs(nonce);
            runs(world, &b, &signed(&asker, echo(&b, u64::from(nonce)), &proofs));
            let revocation = way(&proofs);
            assert_eq!(world.invoke(carrier, &b, &revocation, false).expect(who).ok, Some(true), "{who}");
            let late = signed(&asker, echo(&b, 100 + u64::from(nonce)), &proofs);
            denied(world, &b, who, &late, 76, "Revoked");
        }
        runs(world, &b, &signed(&asker, echo(&b, 50), &proofs(50)));
        runs(world, &b, &signed(&middle, echo(&b, 51), &first));
        // With the first one all that rests on it goes; the bucket's key issued it.
        runs(world, &b, &revoke_by(&owner, &b, &first));
        denied(world, &b, "below", &signed(&asker, echo(&b, 52), &proofs(50)), 76, "Revoked");
        denied(world, &b, "itself", &signed(&middle, echo(&b, 53), &first), 76, "Revoked");
    }
}

pub fn nobody_else_may_revoke(world: &mut dyn World) {
    let [owner, middle, asker, stranger, other] = [1, 2, 3, 4, 5].map(ed25519);
    let b = keys::create(world, &owner);
    let proofs = chain(&[&owner, &middle, &asker], "/");
    let first = &proofs[..1];
    let cases = [
        ("a stranger", revoke_by(&stranger, &b, &proofs), 69),
        ("a stranger without the path", revoke_by(&stranger, &b, &proofs[1..]), 69),
        ("a stranger with nothing", signed(&stranger, revoke(&b, &proofs), &[]), 67),
        ("who got it", revoke_by(&asker, &b, &proofs), 69),
        ("who is below", revoke_by(&asker, &b, first), 69),
        ("who got the first", revoke_by(&middle, &b, first), 69),
        ("its issuer without the path", revoke_by(&middle, &b, &proofs[1..]), 69),
        ("its issuer by a forged path", revoke_by(&middle, &b, &[forged(&proofs[0]), proofs[1].clone()]), 66),
        ("its issuer on another bucket", revoke_by(&middle, &other.did(), &proofs), 44),
        ("a controller's task", revoke(&b, &proofs).to_car::<NativeHasher>(), 18),
        ("who may do something else", signed(&other, revoke(&b, &proofs), &chain(&[&owner, &other], "/kv")), 72),
    ];
    for (who, car, code) in cases {
        denied(world, &b, who, &car, code, "");
    }
    let backdated = ask(&stranger, revoke(&b, &proofs), &[]);
    let signed_by_stranger = stranger.seal(&bucket_core::ucan::InvocationDraft { iss: middle.did(), ..backdated });
    denied(world, &b, "in the issuer's name", &pack_with(&proofs, signed_by_stranger), 66, "InvalidSignature");
    runs(world, &b, &signed(&asker, echo(&b, 0), &proofs));
}

/// Somebody who stands before a delegation in one chain has nothing to say about it in another.
pub fn a_revocation_counts_for_the_revokers_own_chains(world: &mut dyn World) {
    let [owner, middle, asker, rival] = [1, 2, 3, 4].map(ed25519);
    let b = keys::create(world, &owner);
    let proofs = chain(&[&owner, &middle, &asker], "/");
    let by_rival = [&chain(&[&owner, &rival, &middle], "/")[..], &proofs[1..]].concat();
    runs(world, &b, &signed(&asker, echo(&b, 0), &by_rival));
    runs(world, &b, &revoke_by(&rival, &b, &by_rival));
    denied(world, &b, "by way of the rival", &signed(&asker, echo(&b, 1), &by_rival), 76, "Revoked");
    runs(world, &b, &signed(&asker, echo(&b, 2), &proofs));
    runs(world, &b, &revoke_by(&middle, &b, &proofs));
    denied(world, &b, "by any way", &signed(&asker, echo(&b, 3), &proofs), 76, "Revoked");
}

/// Schedules, revokes, runs: a receipt says why not, and nothing happened.
pub fn what_waits_is_stopped_by_a_revocation(world: &mut dyn World) {
    let [owner, middle, asker] = [1, 2, 3].map(ed25519);
    let b = keys::create(world, &owner);
    let proofs = chain(&[&owner, &middle, &asker], "/kv");
    let args = map([("key", super::int(1)), ("value", super::int(1))]);
    let waiting = signed(&asker, task(&b, "/kv/put", args, 0), &proofs);
    let good = signed(&middle, echo_of_kv(&b), &proofs[..1]);
    for car in [&waiting, &good] {
        world.schedule(User::Bob, &b, car, false).unwrap();
    }
    runs(world, &b, &revoke_by(&middle, &b, &proofs));
    let root = world.bucket(&b).unwrap().root;
    assert_eq!(world.run(User::Eve, &b, 1).unwrap().failed, 1);
    let failure = receipt_of(world, &b, id(&waiting)).out.unwrap_err();
    assert!(failure.name == "Revoked" && failure.message.contains(middle.did().as_str()), "{failure}");
    assert_eq!(world.bucket(&b).unwrap().root, root);
    assert_eq!(world.run(User::Eve, &b, 1).unwrap().failed, 0, "what has nothing to do with it runs");
    denied(world, &b, "what was stopped", &waiting, 76, "Revoked");
}

fn echo_of_kv(b: &BucketId) -> Task {
    task(b, "/kv/del", map([("key", super::int(2))]), 0)
}

/// A queue's order counts, however many of its tasks one message runs.
pub fn a_revocation_counts_for_what_is_behind_it_in_the_queue(world: &mut dyn World) {
    let mut named = Vec::new();
    for (number, max) in [(1, 1), (2, 10)] {
        let [owner, asker] = [number, 10].map(ed25519);
        let b = keys::create(world, &owner);
        let proofs = chain(&[&owner, &asker], "/");
        let cars = [
            signed(&asker, echo(&b, 0), &proofs),
            signed(&owner, revoke(&b, &proofs), &[]),
            signed(&asker, echo(&b, 1), &proofs),
        ];
        for car in &cars {
            world.schedule(User::Bob, &b, car, false).unwrap();
        }
        while world.bucket(&b).unwrap().queue.is_some() {
            world.run(User::Eve, &b, max).unwrap();
        }
        named.push(cars.map(|car| receipt_of(world, &b, id(&car)).out.err().map(|failure| failure.name)));
    }
    for outcome in named {
        assert_eq!(outcome, [None, None, Some("Revoked".to_owned())]);
    }
}

pub fn what_waits_too_long_expires(world: &mut dyn World) {
    let [owner, asker] = [1, 2].map(ed25519);
    let begin = world.now();
    let b = keys::create(world, &owner);
    // Long enough for some messages, whether the world's clock goes with them or by itself.
    let soon = world.now() + 4 * (world.now() - begin) + 4;
    let exp = soon + 10_000;
    let proofs = chain(&[&owner, &asker], "/");
    let brief = [owner.delegate(&DelegationDraft { exp: Some(soon), ..grant(&owner, &asker, &b, "/") })];
    let late = asker.invoke(echo(&b, 0), &proofs, Some(soon), Tx::default());
    let late_proof = signed(&asker, echo(&b, 1), &brief);
    let in_time = asker.invoke(echo(&b, 2), &proofs, Some(exp), Tx::default());
    let root = world.bucket(&b).unwrap().root;
    for car in [&in_time, &late, &late_proof] {
        world.schedule(User::Bob, &b, car, false).unwrap();
    }
    while world.now() <= soon {
        world.pass(1);
        if world.now() <= soon {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    let run = world.run(User::Eve, &b, 10).unwrap();
    assert_eq!((run.ran, run.failed, run.root), (3, 2, root));
    for car in [&late, &late_proof] {
        let failure = receipt_of(world, &b, id(car)).out.unwrap_err();
        assert!(failure.name == "Expired" && failure.message.contains(&soon.to_string()), "{failure}");
    }
    assert!(receipt_of(world, &b, id(&in_time)).out.is_ok());
}
