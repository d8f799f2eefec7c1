//! Receipts that count, and all that look like them.

use bucket_core::cid::{CarId, DAG_CBOR, NativeHasher, RAW, block_cid, sha2_cid};
use bucket_core::dag_cbor::{self, Ipld};
use bucket_core::error::Failure;
use bucket_core::receipt::Receipt;
use bucket_core::task::Task;
use bucket_core::ucan::assertion::assertion;
use bucket_core::ucan::{DelegationDraft, Denied, InvocationDraft, Policy};

use super::scene::{NOW, Scene, asked, blocks, site, stored};
use super::{Key, Tx, map, pack, s};
use crate::space::keys::{self, Kind};
use crate::space::receipt::{Draft, Signed};
use crate::space::standing::{Blob, Recognised, Standing, Why};

#[test]
fn a_receipt_of_the_service_counts_under_its_key_and_under_its_tasks() {
    let scene = Scene::new();
    let (service, task) = (scene.service.did(), scene.add(b"hello"));
    let car = scene.service.receipt(scene.draft(&service, &task));
    let id = CarId::of::<NativeHasher>(&car);
    let ran = task.cid::<NativeHasher>();
    for (kind, key) in [(Kind::Blob, keys::key_of(&task).unwrap()), (Kind::Receipt, Kind::Receipt.key(&ran))] {
        let receipt = Signed { ran, task: task.clone(), by: service.clone(), out: Ok(stored()), origin: None };
        let recognised = scene.recognised(&key, &car);
        assert_eq!(recognised, Recognised { kind, car: id, receipt });
        assert!(recognised.is_ok());
        assert_eq!(recognised.blob(), (kind == Kind::Blob).then_some(Blob::Stored { site: site() }));
    }
    assert_eq!(car, scene.service.receipt(scene.draft(&service, &task)), "the same receipt is the same CAR");
}

/// What the service says of a blob, as a client lists it.
#[test]
fn the_state_of_a_blob_is_what_its_receipt_says() {
    let scene = Scene::new();
    let (service, task) = (scene.service.did(), scene.add(b"hello"));
    let key = keys::key_of(&task).unwrap();
    let blob = |out: Result<Ipld, Failure>| {
        let recognised =
            scene.recognised(&key, &scene.service.receipt(Draft { out: out.clone(), ..scene.draft(&service, &task) }));
        assert_eq!(recognised.is_ok(), out.is_ok());
        recognised.blob()
    };
    let pending = |status: &str| Some(Blob::Pending { status: status.into() });
    assert_eq!(blob(Ok(stored())), Some(Blob::Stored { site: site() }));
    assert_eq!(blob(Ok(map([("status", s("receiving")), ("url", s("http://…"))]))), pending("receiving"));
    assert_eq!(blob(Ok(map([("status", s("ok"))]))), pending("ok"), "no commitment, no promise");
    assert_eq!(blob(Ok(map([("status", s("receiving")), ("site", Ipld::Link(site()))]))), pending("receiving"));
    assert_eq!(
        blob(Err(Failure::new("CapacityExceeded", "…"))),
        Some(Blob::Refused { name: "CapacityExceeded".into() })
    );
    assert_eq!(blob(Ok(Ipld::Null)), None);
    assert_eq!(blob(Ok(map([("site", Ipld::Link(site()))]))), None);
}

#[test]
fn a_new_receipt_links_to_the_one_before() {
    let scene = Scene::new();
    let (service, task) = (scene.service.did(), scene.add(b"hello"));
    let key = keys::key_of(&task).unwrap();
    let first = scene.service.receipt(scene.draft(&service, &task));
    let origin = Some(CarId::of::<NativeHasher>(&first));
    let second = scene.service.receipt(Draft { origin, ..scene.draft(&service, &task) });
    assert_ne!(first, second);
    assert_eq!(scene.recognised(&key, &second).receipt.origin, origin);
}

/// As `indexer/src/signed.rs` makes them: after the blocks of what was signed, the task and the machine's receipt, with `meta`.
#[test]
fn the_indexers_signed_receipts_count() {
    let scene = Scene::new();
    let task = scene.add(b"hello");
    let invocation = InvocationDraft { aud: None, ..asked(&scene, &task) };
    let invocation = scene.user.seal(&invocation);
    let ran = task.cid::<NativeHasher>();
    let id = CarId::of::<NativeHasher>(b"the input");
    let receipt = Receipt { ran: id, out: Ok(stored()), fork: vec![], cause: None, prior: None };
    let meta = [("receipt", Ipld::Link(id.to_cid())), ("fork", Ipld::List(vec![]))];
    let meta = meta.map(|(key, value)| (key.to_owned(), value)).into();
    let asserted = assertion(&scene.service.did(), ran, Ok(stored()), id.0.to_vec());
    let assertion = scene.service.seal(&InvocationDraft { meta: Some(meta), ..asserted });
    let (task_block, receipt) = (dag_cbor::encode(&task.to_ipld()), dag_cbor::encode(&receipt.to_ipld()));
    let car = pack(&[&invocation, &task_block, &receipt, &assertion]);
    let recognised = scene.recognised(&keys::key_of(&task).unwrap(), &car);
    assert_eq!(recognised.blob(), Some(Blob::Stored { site: site() }));
}

#[test]
fn others_words_dont_count() {
    let scene = Scene::new();
    let (service, task) = (scene.service.did(), scene.add(b"hello"));
    let key = keys::key_of(&task).unwrap();
    // In their own name, in the service's, and with proofs that are somebody else's.
    for forger in [&scene.user, &scene.stranger] {
        let own = forger.did();
        scene.refused("in their own name", &key, &forger.receipt(scene.draft(&own, &task)), "in the name of");
        scene.refused("in the service's", &key, &forger.receipt(scene.draft(&service, &task)), "expected proofs that");
        let to_self = [forger.grant(forger, &service, |_| ())];
        let car = forger.receipt(Draft { proofs: &to_self, ..scene.draft(&service, &task) });
        scene.refused("with a proof of their own", &key, &car, "expected the first proof to be a delegation by");
    }
    let proofs = [scene.service.grant(&scene.user, &service, |_| ())];
    let car = scene.stranger.receipt(Draft { proofs: &proofs, ..scene.draft(&service, &task) });
    scene.refused("with another's proof", &key, &car, "InvalidAudience");
    // The service's name under a stranger's signature.
    let ran = task.cid::<NativeHasher>();
    let assertion = assertion(&service, ran, Ok(stored()), vec![]);
    let forged = assertion.seal(&scene.service.public(), |message| scene.stranger.sign(message));
    let car = pack(&[&dag_cbor::encode(&task.to_ipld()), &forged]);
    scene.refused("a stranger's signature", &key, &car, "InvalidSignature");
}

#[test]
fn a_delegate_speaks_for_the_service_within_its_delegation() {
    let scene = Scene::new();
    let (service, task) = (scene.service.did(), scene.add(b"hello"));
    let key = keys::key_of(&task).unwrap();
    let delegate = Key::new(9);
    let receipt = |change: &dyn Fn(&mut DelegationDraft)| {
        let proofs = [scene.service.grant(&delegate, &service, change)];
        delegate.receipt(Draft { proofs: &proofs, ..scene.draft(&service, &task) })
    };
    let good = receipt(&|_| ());
    assert_eq!(scene.recognised(&key, &good).receipt.by, delegate.did());
    assert_eq!(scene.recognised(&key, &receipt(&|draft| draft.cmd = "/".into())).receipt.by, delegate.did());
    scene.refused("expired", &key, &receipt(&|draft| draft.exp = Some(NOW - 1)), "Expired");
    scene.refused("too early", &key, &receipt(&|draft| draft.nbf = Some(NOW + 1)), "TooEarly");
    scene.refused("of another command", &key, &receipt(&|draft| draft.cmd = "/blob".into()), "InvalidCommand");
    let about = |draft: &mut DelegationDraft| draft.sub = Some(scene.space.clone());
    scene.refused("about the space", &key, &receipt(&about), "InvalidSubject");
    let [proof, task_block, root] = <[Vec<u8>; 3]>::try_from(blocks(&good)).unwrap();
    scene.refused("without the proof", &key, &pack(&[&task_block, &root]), "UnavailableProof");
    let mut forged = proof;
    // Within the signature, which comes first.
    forged[20] ^= 1;
    scene.refused("with a forged proof", &key, &pack(&[&forged, &task_block, &root]), "UnavailableProof");
    // A policy binds what may be asserted.
    let only = Policy::from_ipld(Ipld::List(vec![Ipld::List(vec![s("=="), s(".out.ok"), s("no")])])).unwrap();
    scene.refused("outside its policy", &key, &receipt(&|draft| draft.pol = only.clone()), "MatchError");
}

#[test]
fn receipts_count_in_their_time() {
    let scene = Scene::new();
    let (service, task) = (scene.service.did(), scene.add(b"hello"));
    let key = keys::key_of(&task).unwrap();
    let until = |exp| {
        let asserted = assertion(&service, task.cid::<NativeHasher>(), Ok(stored()), vec![]);
        let assertion = scene.service.seal(&InvocationDraft { exp: Some(exp), ..asserted });
        pack(&[&dag_cbor::encode(&task.to_ipld()), &assertion])
    };
    assert!(scene.recognised(&key, &until(NOW)).is_ok());
    scene.refused("expired", &key, &until(NOW - 1), "Expired");
}

/// A receipt counts for what it is about.
#[test]
fn a_receipt_counts_nowhere_else() {
    let scene = Scene::new();
    let (service, task, other) = (scene.service.did(), scene.add(b"hello"), scene.add(b"other"));
    let key = keys::key_of(&task).unwrap();
    let car = scene.service.receipt(scene.draft(&service, &task));
    scene.refused("of another blob", &keys::key_of(&other).unwrap(), &car, &format!("expected the key {key}"));
    scene.refused(
        "of another part",
        &key.replace("/blob/", "/upload/"),
        &car,
        "expected the key of a receipt of /blob/add",
    );
    let other_task = Kind::Receipt.key(&other.cid::<NativeHasher>());
    scene.refused("of another task", &other_task, &car, "expected the key /receipt/");
    scene.refused("in the queue", &key.replace("/blob/", "/queue/"), &car, "expected the space");
    for key in ["/notes", "/blob", "/", "blob/a"] {
        assert_eq!(scene.standing(key, &car), Standing::Unrecognised(Why::Own));
    }
    let elsewhere = Task { sub: scene.stranger.did(), ..task.clone() };
    let car = scene.service.receipt(scene.draft(&service, &elsewhere));
    scene.refused("of another space", &key, &car, "expected the space");
    let unknown = Task { cmd: "/blob/remove".into(), ..task };
    let car = scene.service.receipt(scene.draft(&service, &unknown));
    scene.refused("of another command", &key, &car, "expected the key of a receipt of /blob/remove");
    assert!(scene.recognised(&Kind::Receipt.key(&unknown.cid::<NativeHasher>()), &car).is_ok());
}

#[test]
fn values_that_link_to_no_receipt_dont_count() {
    let scene = Scene::new();
    let (service, task) = (scene.service.did(), scene.add(b"hello"));
    let key = keys::key_of(&task).unwrap();
    let car = scene.service.receipt(scene.draft(&service, &task));
    let id = CarId::of::<NativeHasher>(&car);
    for value in [Ipld::Null, s("bag"), Ipld::Bytes(id.to_bytes()), Ipld::List(vec![Ipld::Link(id.to_cid())])] {
        let Standing::Unrecognised(Why::Value(_)) = scene.standing_of(&key, &value, Some(&car)) else {
            panic!("{value:?}")
        };
    }
    for codec in [RAW, DAG_CBOR] {
        let link = Ipld::Link(sha2_cid(codec, &id.0));
        let Standing::Unrecognised(Why::Value(_)) = scene.standing_of(&key, &link, Some(&car)) else {
            panic!("{codec}")
        };
    }
    let link = Ipld::Link(id.to_cid());
    assert_eq!(scene.standing_of(&key, &link, None), Standing::Unrecognised(Why::Absent(id)));
    let mut other = car.clone();
    *other.last_mut().unwrap() ^= 1;
    let got = CarId::of::<NativeHasher>(&other);
    let tampered = Standing::Unrecognised(Why::Tampered { expected: id, got });
    assert_eq!(scene.standing_of(&key, &link, Some(&other)), tampered);
    scene.refused("a broken CAR", &key, &other, "hash");
    scene.refused("no CAR", &key, b"hello", "CAR");
    scene.refused("a large one", &key, &vec![0; 1 << 21], "at most 1048576 bytes, got 2097152");
}

#[test]
fn cars_that_hold_something_else_dont_count() {
    let scene = Scene::new();
    let (service, task) = (scene.service.did(), scene.add(b"hello"));
    let key = keys::key_of(&task).unwrap();
    let good = scene.service.receipt(scene.draft(&service, &task));
    let [task_block, root] = <[Vec<u8>; 2]>::try_from(blocks(&good)).unwrap();
    let other = dag_cbor::encode(&scene.add(b"other").to_ipld());
    let sealed = |change: &dyn Fn(&mut InvocationDraft)| {
        let mut draft = assertion(&service, task.cid::<NativeHasher>(), Ok(stored()), vec![]);
        change(&mut draft);
        pack(&[&task_block, &scene.service.seal(&draft)])
    };
    scene.refused("without its task", &key, &pack(&[&root]), "expected the task bafy");
    scene.refused("with another", &key, &pack(&[&other, &root]), "expected the task bafy");
    scene.refused("the task alone", &key, &pack(&[&root, &task_block]), "Malformed");
    let raw = {
        let mut tx = Tx::default();
        tx.write_block(RAW, &root);
        tx.commit().unwrap()
    };
    scene.refused("as raw bytes", &key, &raw, "raw bytes");
    let of_raw = sealed(&|draft| {
        _ = draft.task.args.insert("ran".into(), Ipld::Link(block_cid::<NativeHasher>(RAW, &task_block)))
    });
    scene.refused("of the task as raw bytes", &key, &of_raw, "expected the task bafk");
    scene.refused(
        "another command",
        &key,
        &sealed(&|draft| draft.task.cmd = "/ucan/assert".into()),
        "an invocation of /ucan/assert",
    );
    scene.refused("for somebody else", &key, &sealed(&|draft| draft.aud = Some(scene.user.did())), "InvalidAudience");
    for (field, value) in [
        ("ran", s("bafy")),
        ("out", Ipld::Null),
        ("out", map([])),
        ("fx", Ipld::Null),
        ("out", map([("ok", Ipld::Null), ("error", Ipld::Null)])),
    ] {
        let car = sealed(&|draft| _ = draft.task.args.insert(field.into(), value.clone()));
        scene.refused("other arguments", &key, &car, "other arguments");
    }
    for origin in [s("bag"), Ipld::Link(site())] {
        let car = sealed(&|draft| draft.meta = Some([("origin".to_owned(), origin.clone())].into()));
        scene.refused("another origin", &key, &car, "an origin");
    }
    // An assertion about what is no task.
    let nothing = dag_cbor::encode(&map([("sub", s("did:key:z"))]));
    let ran = block_cid::<NativeHasher>(DAG_CBOR, &nothing);
    let car = pack(&[&nothing, &scene.service.seal(&assertion(&service, ran, Ok(stored()), vec![]))]);
    scene.refused("of no task", &key, &car, "expected a task");
    assert!(scene.recognised(&key, &good).is_ok());
}

/// The draft's first challenge: an entry for content that the service doesn't have.
#[test]
fn nobody_claims_what_the_service_lacks() {
    let scene = Scene::new();
    let (service, have, lack) = (scene.service.did(), scene.add(b"have"), scene.add(b"lack"));
    let key = keys::key_of(&lack).unwrap();
    let good = scene.service.receipt(scene.draft(&service, &have));
    // The receipt of another, with the task that one would like in its place, signed by nobody who may.
    let [_, root] = <[Vec<u8>; 2]>::try_from(blocks(&good)).unwrap();
    scene.refused("a borrowed receipt", &key, &good, "expected the key");
    scene.refused(
        "with the task exchanged",
        &key,
        &pack(&[&dag_cbor::encode(&lack.to_ipld()), &root]),
        "expected the task",
    );
    scene.refused("one's own", &key, &scene.user.receipt(scene.draft(&service, &lack)), "expected proofs");
    scene.refused(
        "the request alone",
        &key,
        &pack(&[&scene.user.seal(&asked(&scene, &lack))]),
        "an invocation of /blob/add",
    );
}

/// The draft's second: an entry beyond what the service allows. It says so under the key, and this can't be made a yes.
#[test]
fn nobody_exceeds_capacity() {
    let scene = Scene::new();
    let (service, task) = (scene.service.did(), scene.add(b"too much"));
    let key = keys::key_of(&task).unwrap();
    let out = Err(Failure::new("CapacityExceeded", "expected at most 5 bytes, got 8"));
    let no = scene.service.receipt(Draft { out, ..scene.draft(&service, &task) });
    let recognised = scene.recognised(&key, &no);
    assert!(!recognised.is_ok());
    assert_eq!(recognised.blob(), Some(Blob::Refused { name: "CapacityExceeded".into() }));
    // Every byte of the assertion is signed: whatever is flipped, it isn't one of the service any more, or not under this key.
    let [task_block, root] = <[Vec<u8>; 2]>::try_from(blocks(&no)).unwrap();
    let mut tried = 0;
    for at in 0..root.len() {
        let mut forged = root.clone();
        forged[at] ^= 1;
        if dag_cbor::validate(&forged).is_ok() {
            let standing = scene.standing(&key, &pack(&[&task_block, &forged]));
            assert!(matches!(standing, Standing::Unrecognised(_)), "byte {at}: {standing:?}");
            tried += 1;
        }
    }
    assert!(tried > 100, "{tried}");
    scene.refused("a yes of one's own", &key, &scene.user.receipt(scene.draft(&service, &task)), "expected proofs");
}

#[test]
fn what_is_queued_asks_and_promises_nothing() {
    let scene = Scene::new();
    let owner = Key::new(4);
    let (service, task) = (scene.service.did(), scene.add(b"hello"));
    let proof = owner.grant(&scene.user, &scene.space, |draft| draft.cmd = "/blob".into());
    let prf = vec![block_cid::<NativeHasher>(DAG_CBOR, &proof)];
    let draft = InvocationDraft { prf, ..asked(&scene, &task) };
    let invocation = scene.user.seal(&draft);
    let (car, cid) = (pack(&[&proof, &invocation]), block_cid::<NativeHasher>(DAG_CBOR, &invocation));
    for kind in [Kind::Queue, Kind::Invoked] {
        let Standing::Asked(asked) = scene.standing(&kind.key(&cid), &car) else { panic!() };
        assert_eq!(asked.names.invocation, cid);
        assert_eq!(asked.names.task, task.cid::<NativeHasher>());
        assert_eq!(asked.request.invocation.task, task);
        assert_eq!(asked.check(&service, NOW), Ok(()));
        assert!(matches!(asked.check(&scene.stranger.did(), NOW), Err(Denied::InvalidAudience { .. })));
        scene.refused("under another name", &kind.key(&site()), &car, "expected the key");
        scene.refused(
            "a task without a signature",
            &kind.key(&cid),
            &pack(&[&dag_cbor::encode(&task.to_ipld())]),
            "a signed invocation",
        );
        let mut forged = invocation.clone();
        forged[20] ^= 1;
        let name = block_cid::<NativeHasher>(DAG_CBOR, &forged);
        scene.refused("a forged signature", &kind.key(&name), &pack(&[&proof, &forged]), "InvalidSignature");
        let elsewhere = Task { sub: scene.stranger.did(), ..task.clone() };
        let elsewhere = InvocationDraft { task: elsewhere, ..draft.clone() };
        let block = scene.user.seal(&elsewhere);
        let name = block_cid::<NativeHasher>(DAG_CBOR, &block);
        scene.refused("on another space", &kind.key(&name), &pack(&[&proof, &block]), "expected the space");
    }
    // Signed by whom it may, but not for the service, not any more, or without the right.
    for (draft, name) in [
        (InvocationDraft { aud: None, ..draft.clone() }, "InvalidClaim"),
        (InvocationDraft { aud: Some(scene.space.clone()), ..draft.clone() }, "InvalidAudience"),
        (InvocationDraft { exp: Some(NOW - 1), ..draft.clone() }, "Expired"),
        (InvocationDraft { prf: vec![], ..draft }, "InvalidClaim"),
    ] {
        let block = scene.user.seal(&draft);
        let key = Kind::Queue.key(&block_cid::<NativeHasher>(DAG_CBOR, &block));
        let Standing::Asked(asked) = scene.standing(&key, &pack(&[&proof, &block])) else { panic!("{name}") };
        assert_eq!(asked.check(&service, NOW).unwrap_err().name(), name);
    }
}
