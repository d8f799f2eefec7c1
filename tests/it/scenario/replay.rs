//! A signed invocation counts once, in whatever CAR and with whatever signature it comes.

use bucket_client::identity::IdentityKind;
use bucket_core::abi::Status;
use bucket_core::bucket::Mode;
use bucket_core::create::{self, CREATE};
use bucket_core::dag_cbor::{Ipld, encode};
use bucket_core::did::BucketId;
use bucket_core::task::Task;
use bucket_tests::cars::{car, id, map, put, task, text};
use bucket_tests::keys::{self, KINDS, ask, chain, creation, ed25519, key, other_form, pack, pack_with, signed};
use bucket_tests::{User, World};

use super::delegation::denied;
use super::{int, receipt_of};

fn echo(b: &BucketId, nonce: u64) -> Task {
    task(b, "/echo", map([]), nonce)
}

/// Another CAR of the same invocation: a block more, which nothing names.
fn rewrapped(blocks: &[Vec<u8>]) -> Vec<u8> {
    pack(&[&[encode(&text("more"))], blocks].concat())
}

pub fn the_same_car_is_remembered_and_not_run(world: &mut dyn World) {
    for kind in KINDS {
        let owner = key(kind, 1);
        let b = keys::create(world, &owner);
        let car = signed(&owner, echo(&b, 0), &[]);
        let first = world.invoke(User::Bob, &b, &car, false).unwrap();
        let (before, _) = world.check();
        for user in [User::Bob, User::Eve, User::Alice] {
            let again = world.invoke(user, &b, &car, false).unwrap();
            assert_eq!((again.ran, again.receipt, again.root), (false, first.receipt, first.root));
            let scheduled = world.schedule(user, &b, &car, false).unwrap();
            assert_eq!((scheduled.status, scheduled.receipt), (Status::Done, Some(first.receipt)));
        }
        assert_eq!(world.check().0, before);
        assert_eq!(world.bucket(&b).unwrap().ran, 1);
    }
}

pub fn the_same_invocation_in_another_car_is_refused(world: &mut dyn World) {
    for kind in KINDS {
        let (owner, asker) = (key(kind, 1), key(kind, 2));
        let b = keys::create(world, &owner);
        let proofs = chain(&[&owner, &asker], "/");
        let invocation = asker.seal(&ask(&asker, echo(&b, 0), &proofs));
        let blocks = [&proofs[..], &[invocation]].concat();
        let (one, other) = (pack(&blocks), rewrapped(&blocks));
        assert_eq!(world.invoke(User::Bob, &b, &one, false).unwrap().ok, Some(true));
        denied(world, &b, "in another CAR", &other, 53, "replayed");
        assert_eq!(world.receipt(&b, id(&other)).unwrap().status, Status::NotFound);
        let force = world.invoke(User::Alice, &b, &other, true).unwrap_err();
        assert_eq!(force.code(), 53, "not even a controller, who may force the one that ran");
        assert_eq!(world.invoke(User::Alice, &b, &one, true).unwrap().ok, Some(true));

        // It is known from the moment that it waits.
        let invocation = asker.seal(&ask(&asker, echo(&b, 1), &proofs));
        let blocks = [&proofs[..], &[invocation]].concat();
        let (one, other) = (pack(&blocks), rewrapped(&blocks));
        world.schedule(User::Eve, &b, &other, false).unwrap();
        denied(world, &b, "while it waits", &one, 53, "replayed");
        assert_eq!(world.run(User::Bob, &b, 10).unwrap().ran, 1);
        denied(world, &b, "after it waited", &one, 53, "replayed");
    }
}

/// With P-256 both forms of a signature are valid: what was signed is the same.
pub fn the_other_form_of_a_signature_is_a_replay(world: &mut dyn World) {
    let owner = key(IdentityKind::P256, 1);
    let b = keys::create(world, &owner);
    for (nonce, swap) in [(0, false), (1, true)] {
        let invocation = owner.seal(&ask(&owner, echo(&b, nonce), &[]));
        let mut forms = [invocation.clone(), other_form(&invocation, IdentityKind::P256)];
        if swap {
            forms.reverse();
        }
        let [first, second] = forms.map(|form| pack(&[form]));
        assert_eq!(world.invoke(User::Bob, &b, &first, false).unwrap().ok, Some(true));
        denied(world, &b, "the other form", &second, 53, "replayed");
    }
}

pub fn what_was_scheduled_and_invoked_runs_once(world: &mut dyn World) {
    let owner = ed25519(1);
    let b = keys::create(world, &owner);
    let cars = [0, 1].map(|nonce| signed(&owner, echo(&b, nonce), &[]));
    for car in &cars {
        for user in [User::Bob, User::Eve] {
            assert_eq!(world.schedule(user, &b, car, false).unwrap().status, Status::Pending);
        }
    }
    assert_eq!(world.queue(&b), [id(&cars[0]), id(&cars[1])], "each once");
    let invoked = world.invoke(User::Eve, &b, &cars[1], false).unwrap();
    assert!(invoked.ran && !world.invoke(User::Bob, &b, &cars[1], false).unwrap().ran);
    let run = world.run(User::Bob, &b, 10).unwrap();
    assert_eq!((run.ran, run.pending), (1, 0), "the invoked one fell out");
    let known = world.receipt(&b, id(&cars[1])).unwrap();
    assert_eq!((known.receipt, known.version), (Some(invoked.receipt), 1));
}

/// Whoever only carries may not repeat; who controls the bucket may.
pub fn a_carrier_may_not_force(world: &mut dyn World) {
    let owner = ed25519(1);
    let b = keys::create(world, &owner);
    let cars = [0, 1].map(|nonce| signed(&owner, echo(&b, nonce), &[]));
    let first = world.invoke(User::Bob, &b, &cars[0], false).unwrap().receipt;
    world.schedule(User::Bob, &b, &cars[1], false).unwrap();
    let before = (world.bucket(&b).unwrap(), world.check().0);
    for user in [User::Bob, User::Eve] {
        for car in &cars {
            assert_eq!(world.invoke(user, &b, car, true).unwrap_err().code(), 18);
            assert_eq!(world.schedule(user, &b, car, true).unwrap_err().code(), 18);
        }
    }
    assert_eq!((world.bucket(&b).unwrap(), world.check().0), before);
    assert!(world.invoke(User::Alice, &b, &cars[0], true).unwrap().ran);
    assert_eq!(receipt_of(world, &b, id(&cars[0])).prior, Some((first, 2)));
}

pub fn the_proof_of_a_creation_is_no_task(world: &mut dyn World) {
    let owner = ed25519(1);
    let alice = world.address(User::Alice);
    let proof = creation(&owner, &[alice], Mode::Atomic);
    let b = owner.did();
    assert_eq!(world.invoke(User::Bob, &b, &proof, false).unwrap_err().code(), 17, "before there is a bucket");
    keys::create(world, &owner);
    denied(world, &b, "the proof", &proof, 45, "unknown command");
    let unsigned = car(&b, CREATE, create::args(&[alice], Mode::Atomic), 0);
    denied(world, &b, "its task", &unsigned, 45, "unknown command");
}

fn continued(link: Ipld, to: &[&str]) -> Ipld {
    let tasks = to.iter().map(|_| map([("signed", link.clone())])).collect();
    map([("tasks", Ipld::List(tasks))])
}

/// One run of a bucket's queue may send an invocation to another bucket by several tasks, which see nothing of each other
/// in that bucket's state yet: it counts once all the same.
pub fn continuations_of_one_run_bring_an_invocation_once(world: &mut dyn World) {
    let (from, to) = (ed25519(1), ed25519(2));
    let (a, b) = (keys::create(world, &from), keys::create(world, &to));
    let leaf = encode(&text("a block that an argument links to"));
    let args = map([("leaf", Ipld::Link(keys::cid(&leaf)))]);
    let invocation = to.seal(&ask(&to, task(&b, "/echo", args, 0), &[]));
    let link = Ipld::Link(keys::cid(&invocation));
    // One comes with the block that the invocation's argument links to, the other without: two CARs of one invocation.
    let direct = task(&a, "/echo/then", continued(link.clone(), &["b"]), 1);
    let nested = map([("cmd", text("/echo/then")), ("args", continued(link, &["b"])), ("nonce", Ipld::Bytes(vec![7]))]);
    let later = task(&a, "/echo/then", map([("tasks", Ipld::List(vec![nested]))]), 2);
    let direct = pack(&[leaf, invocation.clone(), encode(&direct.to_ipld())]);
    let later = pack_with(&[invocation], encode(&later.to_ipld()));
    for car in [&direct, &later] {
        world.schedule(User::Alice, &a, car, false).unwrap();
    }
    let run = world.run(User::Bob, &a, 10).unwrap();
    assert_eq!(run.ran, 3, "the second one's continuation runs in the same message");
    assert_eq!(world.queue(&b).len(), 1, "one invocation came twice");
    assert_eq!(run.failed, 1, "who brings it again is told");
    assert_eq!(world.run(User::Bob, &b, 10).unwrap().ran, 1);
    assert_eq!(world.bucket(&b).unwrap().ran, 1);
    // What has nothing to do with it goes on.
    assert!(super::invoke(world, &b, &put(&b, text("a"), int(1), 0)).out.is_ok());
}
