//! Pushes that wait: what their CARs bring is worked through, be it a byte or a MiB.

use bucket_client::identity::IdentityKind;
use bucket_core::abi::Message;
use bucket_core::cid::{Hasher, NativeHasher};
use bucket_core::dag_cbor;
use bucket_core::limits::{CAR_BYTES_MAX, CHUNK_BYTES_MAX};
use bucket_core::prolly::FACTOR;
use bucket_protocols::space::head::{AUTHORS_MAX, NUMBER_MAX};
use bucket_protocols::space::keys;
use bucket_tests::cars::id;
use bucket_tests::keys::{chain, create, key};
use bucket_tests::node::NodeWorld;
use bucket_tests::space::{self, Change, Replica};
use bucket_tests::{User, World};

use super::{both, check, schedule};
use crate::scenario::int;
use crate::scenario::staging::{by_id, stage_all};

/// Pushes that wait in the order in which they were made, each on the root of the one before.
fn pushes(what: &str, entries: &[Change], changes: impl Fn(usize) -> Vec<Change>) {
    both(what, |world, b| {
        let mut replica = Replica::default();
        for (nonce, part) in (0..).zip(entries.chunks(200)) {
            let prepared = replica.prepare(part.to_vec(), None);
            assert_eq!(world.invoke(User::Alice, b, &space::car(b, &prepared, nonce), false).unwrap().ok, Some(true));
            replica.follow(&prepared);
        }
        for nonce in 0..5 {
            let prepared = replica.prepare(changes(nonce), None);
            let car = space::car(b, &prepared, 1000 + nonce as u64);
            println!("{what}: a CAR of {} bytes, {} nodes", car.len(), prepared.witness.len());
            if car.len() <= CAR_BYTES_MAX {
                schedule(world, b, car, None);
            } else {
                stage_all(world, User::Bob, &car, CHUNK_BYTES_MAX);
                world.apply(User::Alice, Message::Schedule(by_id(b, id(&car)))).expect("scheduled");
            }
            replica.follow(&prepared);
        }
    });
}

/// So many blobs more, over all of `size` of them.
fn blobs(size: usize, count: usize) -> impl Fn(usize) -> Vec<Change> {
    move |nonce| (0..count).map(|n| space::blob(nonce + n * size / count, "x")).collect()
}

#[test]
fn of_one_op() {
    pushes("a push of 1 op", &space::entries(300), blobs(300, 1));
}

#[test]
fn of_ten_ops() {
    pushes("a push of 10 ops", &space::entries(4000), blobs(4000, 10));
}

#[test]
fn that_are_staged() {
    pushes("a push of 256 ops", &space::entries(10_000), blobs(10_000, 256));
}

/// The shortest entries that there are, of which none ends a node, so that each has to be hashed and a change in front moves all
/// ends behind it.
#[test]
fn of_hostile_entries() {
    let is_no_end = |(key, value): &Change| {
        let entry = [key.as_bytes(), &dag_cbor::encode(value.as_ref().expect("a value"))].concat();
        let [.., a, b, c, d] = NativeHasher::sha2_256(&entry);
        u32::from_be_bytes([a, b, c, d]) > u32::MAX / FACTOR
    };
    let entry = |key: String| (0..24).map(|value| space::put(&key, int(value))).find(is_no_end).expect("one of 24");
    let letters = || (b'#'..=b'~').map(char::from);
    let pairs = letters().flat_map(|a| letters().map(move |b| format!("/{a}{b}")));
    let entries: Vec<_> = pairs.filter(|key| keys::check(key).is_ok()).map(entry).collect();
    pushes("a push that moves all nodes", &entries, |nonce| vec![entry(format!("/!{nonce}"))]);
}

/// The head is written with the names of all authors.
#[test]
fn after_many_authors() {
    let mut world = NodeWorld::default();
    let owner = key(IdentityKind::Ed25519, 200);
    let b = create(&mut world, &owner);
    let mut replica = Replica::default();
    for number in 0..AUTHORS_MAX as u8 {
        let author = key(IdentityKind::Secp256k1, 1 + number);
        let prepared = replica.prepare([space::blob(number.into(), "")], Some(NUMBER_MAX - 9));
        let task = space::task(&b, &prepared, number.into());
        let car = author.invoke(task, &chain(&[&owner, &author], "/space"), None, prepared.blocks([]));
        assert_eq!(world.invoke(User::Bob, &b, &car, false).unwrap().ok, Some(true));
        replica.follow(&prepared);
    }
    // The last ones find their place at the front of the queue.
    for nonce in 0..5 {
        let prepared = replica.prepare([space::blob(nonce, "x")], (nonce == 0).then_some(NUMBER_MAX));
        schedule(&mut world, &b, space::car(&b, &prepared, 1000 + nonce as u64), None);
        replica.follow(&prepared);
    }
    check(&mut world, "a push after 64 authors", &b);
}

/// A push of 256 ops brings nothing along where nothing is.
#[test]
fn of_many_ops() {
    pushes("a push of 256 small ops", &[], |nonce| {
        (0..256).map(|n| space::put(&format!("/{nonce}/{n}"), int(1))).collect()
    });
}
