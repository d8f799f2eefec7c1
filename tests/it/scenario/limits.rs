use bucket_core::bucket::Mode;
use bucket_core::cid::{DAG_CBOR, NativeHasher, block_cid};
use bucket_core::dag_cbor::{Ipld, encode};
use bucket_core::did::BucketId;
use bucket_core::limits::{CAR_BYTES_MAX, CONTROLLERS_MAX, MESSAGE_BYTES_MAX};
use bucket_tests::cars::{Tx, car, did, map, put, task, text};
use bucket_tests::{Refused, User, World};
use fvm_shared::address::Address;

use super::{bucket, int, invoke, schedule};

/// A CAR of these blocks under these roots, whatever they are.
fn raw_car(roots: &[&[u8]], blocks: &[&[u8]]) -> Vec<u8> {
    let cid = |data: &[u8]| block_cid::<NativeHasher>(DAG_CBOR, data);
    let roots = roots.iter().map(|root| Ipld::Link(cid(root))).collect();
    let header = encode(&map([("roots", Ipld::List(roots)), ("version", int(1))]));
    let mut out = vec![header.len() as u8];
    out.extend(header);
    for block in blocks {
        let name = cid(block).to_bytes();
        let len = name.len() + block.len();
        out.extend([len as u8 | 0x80, (len >> 7) as u8]);
        out.extend(name);
        out.extend(*block);
    }
    out
}

fn bad_cars(b: &BucketId) -> Vec<(&'static str, Vec<u8>, u32, &'static str)> {
    let good = put(b, text("a"), text(&"long enough to be cut ".repeat(6)), 0);
    let root = encode(&task(b, "/echo", map([("pad", text(&"x".repeat(100)))]), 0).to_ipld());
    let other = encode(&text(&"y".repeat(120)));
    let bomb = [&vec![0x81; 200][..], &[0xf6]].concat();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    // {"sub": …} with a padded length is the same value in more bytes.
    let padded = [&[0xa1, 0x78, 0x03][..], b"sub", &[0x78, 100], &[b'x'; 100]].concat();
    let task_without = |field: &str| {
        let Ipld::Map(mut fields) = task(b, "/echo", map([("pad", text(&"x".repeat(100)))]), 0).to_ipld() else {
            unreachable!()
        };
        fields.remove(field);
        encode(&Ipld::Map(fields))
    };
    let with = |field: &str, value: Ipld| {
        let Ipld::Map(mut fields) = task(b, "/echo", map([("pad", text(&"x".repeat(100)))]), 0).to_ipld() else {
            unreachable!()
        };
        fields.insert(field.to_owned(), value);
        encode(&Ipld::Map(fields))
    };
    let one = |block: &[u8]| raw_car(&[block], &[block]);
    let mut two_writes = Tx::default();
    two_writes.write(&Ipld::Bytes(vec![7; 200]));
    let too_many = {
        let mut tx = Tx::default();
        (0..1024).for_each(|n| _ = tx.write(&int(n)));
        task(b, "/echo", map([]), 0).to_car_with(tx)
    };
    vec![
        ("not a CAR", b"PK\x03\x04 this is a zip file, or so it says".to_vec(), 32, "not a CAR"),
        ("nothing", vec![], 32, "got no bytes"),
        ("truncated", good[..good.len() - 5].to_vec(), 33, "truncated"),
        ("trailing bytes", [&good[..], &[0, 0]].concat(), 34, "2 trailing bytes"),
        ("two roots", raw_car(&[&root, &other], &[&root, &other]), 35, "one root, got 2"),
        ("no root", raw_car(&[], &[&root]), 35, "one root, got 0"),
        ("root absent", raw_car(&[&root], &[&other]), 36, "not among its blocks"),
        ("wrong hash", flipped, 37, "wrong hash"),
        ("non-canonical DAG-CBOR", one(&padded), 39, "smallest encoding"),
        ("depth bomb", one(&bomb), 39, "levels of nesting"),
        ("too many blocks", too_many, 40, "1024 blocks"),
        ("too large", put(b, text("a"), Ipld::Bytes(vec![0; CAR_BYTES_MAX]), 0), 42, "bytes, got"),
        ("a root of bytes", two_writes.commit().unwrap(), 43, "got bytes"),
        ("a root that is no task", one(&other), 43, "got a string"),
        ("no nonce", one(&task_without("nonce")), 43, "“nonce”, got none"),
        ("a field too many", one(&with("exp", int(1))), 43, "got “exp”"),
        ("a nonce of text", one(&with("nonce", text("1"))), 43, "“nonce” to be bytes, got a string"),
        ("a command without a slash", one(&with("cmd", text("echo"))), 43, "got “echo”"),
        ("a subject that is no DID", one(&with("sub", text("me"))), 43, "got “me”"),
        ("wrong sub", car(&did("Else"), "/echo", map([]), 0), 44, "the task is for did:key:zTestElse"),
        ("unknown cmd", car(b, "/no/such", map([]), 0), 45, "expected one of /echo"),
    ]
}

pub fn bad_cars_are_refused_each_in_its_own_words(world: &mut dyn World) {
    let b = bucket(world, "Bad", Mode::Atomic);
    invoke(world, &b, &put(&b, text("a"), int(1), 99));
    let (before, _) = world.check();
    for (name, car, code, words) in bad_cars(&b) {
        let invoked = world.invoke(User::Alice, &b, &car, false).expect_err(name);
        let scheduled = world.schedule(User::Alice, &b, &car, true).expect_err(name);
        assert_eq!((invoked.code(), scheduled.code()), (code, code), "{name}: {}", invoked.message());
        assert!(invoked.message().contains(words), "{name}: {}", invoked.message());
        assert_eq!(world.check().0, before, "{name} changed the state");
    }
}

pub fn bad_messages_are_refused_each_in_its_own_words(world: &mut dyn World) {
    let b = bucket(world, "Message", Mode::Atomic);
    let (echo, nowhere) = (car(&b, "/echo", map([]), 0), did("Nowhere"));
    let (before, _) = world.check();
    let huge = vec![0; MESSAGE_BYTES_MAX + 1024];
    let refused: Vec<(&str, Refused, u32, &str)> = vec![
        ("a stranger invokes", world.invoke(User::Bob, &b, &echo, false).unwrap_err(), 18, "not a controller"),
        ("a stranger schedules", world.schedule(User::Bob, &b, &echo, false).unwrap_err(), 18, "not a controller"),
        ("run on an empty queue", world.run(User::Alice, &b, 1).unwrap_err(), 46, "is empty"),
        ("run of nothing", world.run(User::Alice, &b, 0).unwrap_err(), 52, "max of 0"),
        (
            "invoke on an unknown bucket",
            world.invoke(User::Alice, &nowhere, &echo, false).unwrap_err(),
            17,
            "unknown bucket",
        ),
        ("run on an unknown bucket", world.run(User::Alice, &nowhere, 1).unwrap_err(), 17, "zTestNowhere"),
        ("an unknown bucket", world.bucket(&nowhere).unwrap_err(), 17, "unknown bucket"),
        ("a receipt of an unknown bucket", world.receipt(&nowhere, some_id()).unwrap_err(), 17, "unknown"),
        ("a bucket that exists", world.create(&b, Mode::Atomic).unwrap_err(), 48, "exists already"),
    ];
    for (name, refused, code, words) in refused {
        assert!(refused.code() == code && refused.message().contains(words), "{name}: {refused:?}");
    }
    // Whether the mempool or the machine says so: a message of 65 KiB goes nowhere.
    match world.invoke(User::Alice, &b, &huge, false).unwrap_err() {
        Refused::Abort { code, message } => assert!(code == 42 && message.contains("got 66560"), "{message}"),
        Refused::Unsent(message) => assert!(message.contains("65536"), "{message}"),
    }
    assert_eq!(world.check().0, before);
    schedule(world, &b, &echo);
}

/// Some CAR's id.
pub fn some_id() -> bucket_core::cid::CarId {
    bucket_tests::cars::id(b"some")
}

pub fn controllers_are_resolved_and_bounded(world: &mut dyn World) {
    let alone = did("Alone");
    let created = world.create(&alone, Mode::Atomic).unwrap();
    let record = world.bucket(&alone).unwrap();
    assert_eq!((created.controllers.len(), &record.controllers, record.root), (1, &created.controllers, created.root));

    let both = did("Both");
    let (alice, bob) = (world.address(User::Alice), world.address(User::Bob));
    let created = world.create_with(&both, Mode::Atomic, vec![bob, alice, bob]).unwrap();
    assert_eq!(created.controllers.len(), 2);
    assert!(created.controllers.is_sorted());
    assert!(world.invoke(User::Bob, &both, &car(&both, "/echo", map([]), 0), false).unwrap().ran);

    let (before, _) = world.check();
    let nobody = Address::new_secp256k1(&[4; 65]).unwrap();
    for (controllers, words) in
        [(vec![nobody], "doesn't know"), (vec![alice; CONTROLLERS_MAX + 1], "at most 16, got 17")]
    {
        let refused = world.create_with(&did("Never"), Mode::Atomic, controllers).unwrap_err();
        assert!(refused.code() == 49 && refused.message().contains(words), "{refused:?}");
    }
    assert_eq!(world.check().0, before);
}
