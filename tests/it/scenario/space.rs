//! Spaces: edits with their witness, whoever may make them, and entries that don't count.

use std::collections::BTreeMap;

use bucket_client::Identity;
use bucket_core::abi::{CarParams, ChunkParams, Message};
use bucket_core::bucket::Mode;
use bucket_core::cid::{CarId, Cid, Hasher, NativeHasher, SHA2_256};
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::error::Failure;
use bucket_core::limits::{CAR_BYTES_MAX, CHUNK_BYTES_MAX};
use bucket_core::prolly::Tree;
use bucket_core::task::Task;
use bucket_protocols::space::edit::{OPS_MAX, VALUE_BYTES_MAX};
use bucket_protocols::space::head::{AUTHORS_MAX, Head};
use bucket_protocols::space::push::Prepared;
use bucket_protocols::space::standing::{Blob, Standing, Why, recognise};
use bucket_protocols::space::{head_row, keys};
use bucket_tests::cars::{id, map, text};
use bucket_tests::keys::{chain, create, ed25519};
use bucket_tests::network::NetworkWorld;
use bucket_tests::node::NodeWorld;
use bucket_tests::space::{Change, Replica, car, entries, link, put, receipt, remove, task};
use bucket_tests::{User, World};
use cid::multihash::Multihash;

use super::delegation::denied;
use super::staging::{announced, by_id, stage_all};
use super::{bucket, int, invoke, receipt_of};

/// Pushes as Alice; the replica follows.
fn push(world: &mut dyn World, b: &BucketId, replica: &mut Replica, changes: Vec<Change>, nonce: u64) -> Head {
    let prepared = replica.prepare(changes, None);
    let out = invoke(world, b, &car(b, &prepared, nonce)).out.expect("pushed");
    replica.follow(&prepared);
    let head = Head::from_ipld(&out).expect("a head");
    assert_eq!(head.root, replica.root);
    head
}

/// The rows of a space: its head, and its entries.
fn rows(world: &mut dyn World, b: &BucketId) -> (Head, BTreeMap<String, Ipld>) {
    let (mut head, mut found) = (None, BTreeMap::new());
    for (key, value) in world.rows(b) {
        if key == head_row() {
            head = Some(Head::from_ipld(&value).expect("a head"));
            continue;
        }
        let Ipld::List(parts) = key else { panic!("{key:?}") };
        let [Ipld::String(space), Ipld::String(entry), Ipld::String(key)] = &parts[..] else { panic!("{parts:?}") };
        assert_eq!((&space[..], &entry[..]), ("space", "entry"));
        found.insert(key.clone(), value);
    }
    (head.expect("a head"), found)
}

fn failure(world: &mut dyn World, b: &BucketId, car: &[u8]) -> Failure {
    let before = world.bucket(b).unwrap().root;
    let failure = invoke(world, b, car).out.expect_err("a failure");
    assert_eq!(world.bucket(b).unwrap().root, before);
    failure
}

pub fn a_push_edits_the_space(world: &mut dyn World) {
    let b = bucket(world, "Space", Mode::Atomic);
    let mut replica = Replica::default();
    let head = push(world, &b, &mut replica, vec![put("/b", int(2)), put("/a", text("1"))], 0);
    assert_eq!((head.seq, head.clock.len()), (1, 0));
    let all = entries(200);
    push(world, &b, &mut replica, all.clone(), 1);
    // What the machine has no more than a root of, it edits by its witness.
    let prepared = replica.prepare([remove("/a"), put(&all[100].0, int(3))], None);
    let size: usize = prepared.witness.values().map(Vec::len).sum();
    assert!(prepared.witness.len() > 2 && size < 15_000, "{} nodes, {size} bytes", prepared.witness.len());
    let last = push(world, &b, &mut replica, vec![remove("/a"), put(&all[100].0, int(3))], 2);
    assert_eq!(last.seq, 3);
    let (row, found) = rows(world, &b);
    assert_eq!(row, last);
    let expected = all.into_iter().map(|(key, value)| (key, value.unwrap())).chain([("/b".to_owned(), int(2))]);
    let mut expected: BTreeMap<_, _> = expected.collect();
    expected.insert(format!("/blob/zQm{:044}", 100), int(3));
    assert_eq!(found, expected);
    assert!(expected.iter().all(|(key, value)| replica.get(key).as_ref() == Some(value)));
}

pub fn a_stale_root_has_to_be_rebased(world: &mut dyn World) {
    let b = bucket(world, "Stale", Mode::Atomic);
    let mut replica = Replica::default();
    push(world, &b, &mut replica, entries(100), 0);
    let mut other = replica.clone();
    let first = push(world, &b, &mut replica, vec![put("/mine", int(1))], 1);
    let stale = other.prepare([put("/theirs", int(2))], None);
    let failed = failure(world, &b, &car(&b, &stale, 2));
    let words = format!("expected the root of edit 2, {}, as base, got {}", first.root, stale.push.base);
    assert_eq!((&*failed.name, failed.message), ("RebaseRequired", words));
    other.nodes.extend(replica.nodes.clone());
    other.root = first.root;
    push(world, &b, &mut other, vec![put("/theirs", int(2))], 3);
    let (_, found) = rows(world, &b);
    assert_eq!((&found["/mine"], &found["/theirs"], found.len()), (&int(1), &int(2), 102));

    // Without a node of the old tree the machine can't come to the new one.
    let prepared = other.prepare([remove("/mine")], None);
    let left_out = *prepared.witness.keys().next_back().expect("a node");
    let mut lacking = Prepared { witness: prepared.witness.clone(), ..prepared };
    lacking.witness.remove(&left_out);
    let failed = failure(world, &b, &car(&b, &lacking, 4));
    assert!(failed.name == "BlockMissing" && failed.message.contains(&left_out.to_string()), "{failed}");
}

pub fn only_who_may_pushes(world: &mut dyn World) {
    let [owner, delegate, stranger] = [1, 2, 3].map(ed25519);
    let b = create(world, &owner);
    let mut replica = Replica::default();
    push(world, &b, &mut replica, entries(50), 0);
    let prepared = replica.prepare([put("/a", int(1))], Some(1));
    let unsigned = world.invoke(User::Bob, &b, &car(&b, &prepared, 1), false).unwrap_err();
    assert_eq!(unsigned.code(), 18, "{}", unsigned.message());
    let sign = |by, cmd: Option<&str>| {
        let proofs = cmd.map_or(vec![], |cmd| chain(&[&owner, by], cmd));
        by.invoke(task(&b, &prepared, 2), &proofs, None, prepared.blocks([]))
    };
    denied(world, &b, "a stranger's", &sign(&stranger, None), 69, "InvalidClaim");
    denied(world, &b, "of another right", &sign(&delegate, Some("/kv")), 72, "InvalidCommand");
    // Bob carries it; its author is who signed.
    assert_eq!(world.invoke(User::Bob, &b, &sign(&delegate, Some("/space")), false).unwrap().ok, Some(true));
    replica.follow(&prepared);
    let (head, _) = rows(world, &b);
    assert_eq!(head.clock, [(delegate.did().to_string(), 1)].into());
    // Another author has numbers of its own, and none counts twice.
    let next = replica.prepare([put("/a", int(2))], Some(1));
    let by_owner = owner.invoke(task(&b, &next, 3), &[], None, next.blocks([]));
    assert_eq!(world.invoke(User::Eve, &b, &by_owner, false).unwrap().ok, Some(true));
    replica.follow(&next);
    let again = replica.prepare([put("/a", int(3))], Some(1));
    let again = owner.invoke(task(&b, &again, 4), &[], None, again.blocks([]));
    assert_eq!(world.invoke(User::Eve, &b, &again, false).unwrap().ok, Some(false));
    assert_eq!(receipt_of(world, &b, id(&again)).out.unwrap_err().name, "EditKnown");
    assert_eq!(rows(world, &b).1["/a"], int(2));
}

/// A delegate can make as many authors as there are places for, and yet not keep out those whose bucket it is.
pub fn an_owner_always_finds_a_place_among_the_authors(world: &mut dyn World) {
    let [owner, delegate] = [201, 202].map(ed25519);
    let b = create(world, &owner);
    let mut replica = Replica::default();
    let mut nonce = 0;
    let mut ask = |world: &mut dyn World, by: Option<&Identity>, proofs: &[Vec<u8>]| {
        nonce += 1;
        let prepared = replica.prepare([put("/a", int(nonce))], Some(1));
        let asked = task(&b, &prepared, nonce as u64);
        let (user, car) = match by {
            Some(author) => (User::Bob, author.invoke(asked, proofs, None, prepared.blocks([]))),
            None => (User::Alice, car(&b, &prepared, nonce as u64)),
        };
        world.invoke(user, &b, &car, false).expect("admitted");
        let out = receipt_of(world, &b, id(&car)).out;
        if out.is_ok() {
            replica.follow(&prepared);
        }
        out.map(|head| Head::from_ipld(&head).expect("a head").clock.len()).map_err(|failure| failure.name)
    };
    for number in 0..=AUTHORS_MAX {
        let made = ed25519(number as u8);
        let out = ask(world, Some(&made), &chain(&[&owner, &delegate, &made], "/space"));
        let expected = if number < AUTHORS_MAX { Ok(number + 1) } else { Err("AuthorsMany".to_owned()) };
        assert_eq!(out, expected);
    }
    // A delegate of everything can make others just as well.
    assert_eq!(ask(world, Some(&delegate), &chain(&[&owner, &delegate], "/")), Err("AuthorsMany".to_owned()));
    assert_eq!(ask(world, Some(&owner), &[]), Ok(AUTHORS_MAX + 1), "the bucket's key");
    assert_eq!(ask(world, None, &[]), Ok(AUTHORS_MAX + 2), "a controller");
}

/// `/blob/add` of some content.
fn add(space: &BucketId, content: &[u8]) -> Task {
    let digest = Multihash::<64>::wrap(SHA2_256, &NativeHasher::sha2_256(content)).expect("32 bytes");
    let blob = [("digest", Ipld::Bytes(digest.to_bytes())), ("size", int(content.len() as i128))];
    bucket_tests::cars::task(space, "/blob/add", map([("blob", map(blob))]), 0)
}

/// Whatever somebody puts there syncs as any other; what counts is what the service signed for that key.
pub fn forged_receipts_sync_and_dont_count(world: &mut dyn World) {
    let [owner, service] = [11, 12].map(ed25519);
    let b = create(world, &owner);
    let [have, lack, much] = [&b"have"[..], b"lack", b"too much"].map(|content| add(&b, content));
    let key = |task: &Task| keys::key_of(task).expect("a key");
    let site = Cid::try_from("bafyreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy").unwrap();
    let ok = || Ok(map([("status", text("ok")), ("site", Ipld::Link(site))]));
    let over = Failure::new("CapacityExceeded", "expected at most 4 bytes, got 8");
    let good = receipt(&service, &service, &have, ok());
    let no = receipt(&service, &service, &much, Err(over));
    let forged = receipt(&service, &owner, &lack, ok());
    let yes = receipt(&owner, &owner, &much, ok());
    let copy = format!("{}/of-it", key(&much));
    let cars = [&good, &no, &forged, &yes];
    let changes = [
        put(&key(&have), link(id(&good))),
        put(&key(&much), link(id(&no))),
        put(&key(&lack), link(id(&forged))),
        put(&copy, link(id(&yes))),
        put("/notes", text("my own")),
    ];
    let prepared = Replica::default().prepare(changes, Some(1));
    let blocks = prepared.blocks(cars.map(|car| &car[..]));
    let pushed = owner.invoke(task(&b, &prepared, 0), &[], None, blocks);
    assert_eq!(world.invoke(User::Bob, &b, &pushed, false).unwrap().ok, Some(true), "they sync");
    let (_, found) = rows(world, &b);
    let cars: BTreeMap<CarId, Vec<u8>> = cars.map(|car| (id(car), car.clone())).into();
    let now = world.now();
    let standing = |key: &str| {
        let car = |id: &CarId| cars.get(id).cloned();
        recognise::<NativeHasher>(key, &found[key], car, &service.did(), &b, now)
    };
    let blob = |key: &str| match standing(key) {
        Standing::Recognised(recognised) => recognised.blob(),
        other => panic!("{other:?}"),
    };
    assert_eq!(blob(&key(&have)), Some(Blob::Stored { site }));
    assert_eq!(blob(&key(&much)), Some(Blob::Refused { name: "CapacityExceeded".into() }), "beyond capacity");
    let why = |key: &str| match standing(key) {
        Standing::Unrecognised(why) => why,
        other => panic!("{other:?}"),
    };
    assert!(matches!(why(&key(&lack)), Why::Denied(_)), "content that the service lacks");
    assert!(matches!(why(&copy), Why::Service { .. }));
    assert_eq!(why("/notes"), Why::Own);
    assert_eq!(found.len(), 5);
}

/// What no message carries comes in pieces.
pub fn a_large_edit_is_staged(world: &mut dyn World) {
    let b = bucket(world, "LargeEdit", Mode::Atomic);
    let value = Ipld::Bytes(vec![7; VALUE_BYTES_MAX - 2]);
    let large = Replica::default().prepare((0..OPS_MAX).map(|n| put(&format!("/{n:03}"), value.clone())), None);
    let car = car(&b, &large, 0);
    assert!(car.len() > CAR_BYTES_MAX, "{}", car.len());
    world.invoke(User::Alice, &b, &car, false).unwrap_err();
    stage_all(world, User::Bob, &car, CHUNK_BYTES_MAX);
    world.apply(User::Alice, Message::Invoke(by_id(&b, id(&car)))).unwrap();
    let head = Head::from_ipld(&receipt_of(world, &b, id(&car)).out.unwrap()).unwrap();
    assert_eq!((head.root, head.seq), (large.written.root, 1));
    assert_eq!(rows(world, &b).1.len(), OPS_MAX);
}

/// Whoever has nothing but a root gets the tree from the index, node by node, and the CARs that values link to.
#[test]
fn an_index_serves_a_space() {
    let mut world = NetworkWorld::default();
    let owner = ed25519(21);
    let b = create(&mut world, &owner);
    let mut replica = Replica::default();
    push(&mut world, &b, &mut replica, entries(250), 0);
    let linked = receipt(&owner, &owner, &add(&b, b"x"), Ok(Ipld::Null));
    let prepared = replica.prepare([put("/c", link(id(&linked)))], None);
    let pushed = owner.invoke(task(&b, &prepared, 1), &[], None, prepared.blocks([&linked[..]]));
    assert_eq!(world.invoke(User::Bob, &b, &pushed, false).unwrap().ok, Some(true));
    let (head, expected) = rows(&mut world, &b);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let get = |cid: &Cid| {
        let route = format!("ipfs/{cid}?format=raw");
        let (_, body) = runtime.block_on(world.gateway.get(&route, "application/vnd.ipld.raw")).expect("served");
        body
    };
    let mut nodes = BTreeMap::new();
    loop {
        let missing = Tree::<_, NativeHasher>::new(&nodes, head.root).missing(None).unwrap();
        if missing.is_empty() {
            break;
        }
        nodes.extend(missing.iter().map(|cid| (*cid, get(cid))));
    }
    let pulled = Replica { root: head.root, nodes };
    assert_eq!(expected.len(), 251);
    assert!(expected.iter().all(|(key, value)| pulled.get(key).as_ref() == Some(value)));
    let raw = bucket_core::cid::sha2_cid(bucket_core::cid::RAW, &id(&linked).0);
    assert_eq!(get(&raw), linked);
}

/// Gas of all messages that a push takes: those of its pieces as well, if it has to come in pieces.
fn gas(world: &mut NodeWorld, b: &BucketId, car: Vec<u8>) -> u64 {
    let mut send = |message: Message| {
        let (method, params) = message.encode();
        let executed = world.send(User::Alice, method, params).unwrap();
        assert!(executed.receipt.exit_code.is_success(), "{}", executed.failure);
        executed.receipt.gas_used
    };
    if car.len() <= CAR_BYTES_MAX {
        return send(Message::Invoke(CarParams::new(b.clone(), car)));
    }
    let pieces = (0..).zip(car.chunks(CHUNK_BYTES_MAX));
    let staged = send(Message::Stage(announced(&car, CHUNK_BYTES_MAX)));
    let pieces = pieces.map(|(index, data)| ChunkParams { car: id(&car), index, data: data.to_vec() });
    let pieces: u64 = pieces.map(|piece| send(Message::Chunk(piece))).sum();
    staged + pieces + send(Message::Invoke(by_id(b, id(&car))))
}

/// A push costs what its edit does: with a hundred times as many entries it is a path of one or two nodes more. Bounds with some
/// air, as in `gas.rs`.
#[test]
fn a_push_costs_its_edit() {
    /// Entries, and millions of gas that 1 op and 10 ops may take.
    const BOUNDS: [(usize, [f64; 2]); 3] = [(100, [20.0, 45.0]), (1000, [25.0, 90.0]), (10_000, [35.0, 150.0])];
    /// An entry somewhere.
    fn hashed(number: usize) -> Change {
        let hash = NativeHasher::sha2_256(&number.to_be_bytes());
        put(&format!("/blob/zQm{}", hex::encode(&hash[..22])), link(CarId(hash)))
    }
    let mut world = NodeWorld::default();
    for (size, bounds) in BOUNDS {
        let b = bucket(&mut world, &format!("Of{size}"), Mode::Atomic);
        let mut replica = Replica::default();
        let mut entries: Vec<_> = (0..size).map(hashed).collect();
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (nonce, part) in (0..).zip(entries.chunks(200)) {
            push(&mut world, &b, &mut replica, part.to_vec(), nonce);
        }
        for (ops, bound) in [1, 10].into_iter().zip(bounds) {
            let mut all = Vec::new();
            for round in 1..4 {
                let prepared = replica.prepare((0..ops).map(|n| hashed(size * 10 * round + n)), None);
                let car = car(&b, &prepared, (1000 * round + ops) as u64);
                all.push((gas(&mut world, &b, car.clone()), car.len(), prepared.witness.len()));
                replica.follow(&prepared);
            }
            let most = all.iter().map(|(gas, ..)| *gas).max().expect("three") as f64 / 1e6;
            println!("{ops} ops on {size} entries: (gas, bytes of the CAR, nodes) {all:?}");
            assert!(most < bound, "{ops} ops on {size} entries: {most} M gas");
        }
    }
}
