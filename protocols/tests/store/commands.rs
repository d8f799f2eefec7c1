//! Who may what, and what is refused.

use std::collections::BTreeMap;

use bucket_core::abi::{CarParams, Message, RunParams};
use bucket_core::bucket::Mode;
use bucket_core::car::Transaction;
use bucket_core::cid::{Cid, DAG_CBOR, NativeHasher, RAW, block_cid};
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::task::Task;
use bucket_protocols::store::event::{
    ADD, CAR_BYTES_MAX, DONE, EXCEED, EXPIRE, HEADERS_MAX, PUT, RECEIVE, URL_BYTES_MAX,
};
use bucket_protocols::store::{self, PROVIDE, Provider, Row, Status, Upload};

use crate::kit::{ALICE, Bucket, CARRIER, Key, Out, block, link, upload};
use crate::spec::Event;

fn name(out: Out) -> String {
    out.map_or_else(|failure| failure.name, |_| "ok".into())
}

fn none() -> BTreeMap<String, Ipld> {
    BTreeMap::new()
}

fn task(bucket: &mut Bucket, cmd: &str, args: BTreeMap<String, Ipld>) -> Task {
    Task { sub: bucket.did(), cmd: cmd.to_owned(), args, nonce: bucket.nonce() }
}

fn json(text: &str) -> BTreeMap<String, Ipld> {
    serde_json::from_str(text).unwrap()
}

#[test]
fn only_all_rights_set_the_provider() {
    let mut bucket = Bucket::without_service(Mode::Atomic);
    let did = bucket.did();
    let (all, some) = (Key::new(4), Key::new(5));
    let all_proof = bucket.key.delegate(&all, &did, "/");
    let some_proof = bucket.key.delegate(&some, &did, "/store");
    let provide = |bucket: &mut Bucket| {
        let nonce = bucket.nonce();
        store::provide(&did, &Key::new(2).did(), vec![], nonce)
    };
    let key = bucket.key.clone();
    let open = task(&mut bucket, "/bucket/open", json(r#"{"cmd":"/store"}"#));
    bucket.memory.apply(ALICE, Message::Invoke(params(&bucket, open.to_car::<NativeHasher>()))).unwrap();

    let cars = [
        (some.sign(provide(&mut bucket), &[some_proof]), CARRIER, "Forbidden"),
        (provide(&mut bucket).to_car::<NativeHasher>(), CARRIER, "Forbidden"),
        (provide(&mut bucket).to_car::<NativeHasher>(), ALICE, "ok"),
        (key.sign(provide(&mut bucket), &[]), CARRIER, "ok"),
        (all.sign(provide(&mut bucket), &[all_proof]), CARRIER, "ok"),
    ];
    for (at, (car, sender, expected)) in cars.into_iter().enumerate() {
        assert_eq!(name(bucket.invoke(sender, car).unwrap().unwrap()), expected, "{at}");
        assert_eq!(bucket.rows.is_empty(), at < 2);
    }
}

fn params(bucket: &Bucket, car: Vec<u8>) -> CarParams {
    CarParams { bucket: bucket.did(), car, force: false, hook: None }
}

#[test]
fn a_provider_brings_its_delegations() {
    let mut bucket = Bucket::without_service(Mode::Atomic);
    let (did, service, proof) = (bucket.did(), bucket.service.did(), bucket.proof.clone());
    let mut provide = |proofs: Vec<Cid>| {
        let nonce = bucket.nonce();
        let task = store::provide(&did, &service, proofs, nonce);
        let mut transaction = Transaction::<NativeHasher>::default();
        transaction.write_block(DAG_CBOR, &proof);
        transaction.write_block(RAW, b"raw");
        let out = bucket.invoke(ALICE, task.to_car_with(transaction)).unwrap().unwrap();
        out.map_err(|failure| failure.to_string())
    };
    let there = block(&proof);
    let absent = block(b"\xf6");
    assert_eq!(
        provide(vec![there, absent]),
        Err(format!("ProofMissing: expected the delegation {absent} in the CAR, got none"))
    );
    assert!(provide(vec![block_cid::<NativeHasher>(RAW, b"raw")]).unwrap_err().starts_with("ProofMissing"));
    assert_eq!(provide(vec![there; 9]), Err("ArgsInvalid: expected at most 8 proofs, got 9".into()));
    let out = provide(vec![there]).unwrap();
    let fields = [
        ("provider", Ipld::String(service.to_string())),
        ("proofs", Ipld::List(vec![Ipld::Link(there)])),
        ("term", Ipld::Integer(1)),
    ];
    assert_eq!(out, Ipld::Map(fields.map(|(field, value)| (field.to_owned(), value)).into()));
    let [Row::Provider(row)] = &bucket.read_rows()[..] else { panic!("expected the provider's row") };
    let Provider { provider, proofs, term, car: _ } = row;
    assert_eq!((provider, &proofs[..], *term), (&service, &[there][..], 1));
}

#[test]
fn without_a_provider_nothing_begins() {
    let mut bucket = Bucket::without_service(Mode::Atomic);
    assert_eq!(name(bucket.add(1, 10)), "NoProvider");
    for event in [Event::Exceed(1), Event::Receive(1), Event::Expire(1), Event::Put(1), Event::Done(1)] {
        assert_eq!(name(bucket.send(1, event)), "NoProvider");
    }
    assert!(bucket.rows.is_empty());
}

/// Defect l.
#[test]
fn only_the_provider_says_what_happened() {
    let mut bucket = Bucket::new(Mode::Atomic);
    let did = bucket.did();
    let stranger = Key::new(3);
    let proof = bucket.key.delegate(&stranger, &did, "/store");
    let add = store::add(&did, link(1), 10, vec![]);
    let added = bucket.invoke(CARRIER, stranger.sign(add, std::slice::from_ref(&proof))).unwrap().unwrap();
    assert_eq!(name(added), "ok", "anybody with a right adds");
    let before = (bucket.rows.clone(), bucket.memory.bucket(&did).unwrap().root);
    let upload = || [("upload".to_owned(), upload(1).to_ipld())].into();
    let done = || [("effect".to_owned(), Ipld::Integer(6))].into();
    for (cmd, args) in [(EXCEED, none()), (RECEIVE, upload()), (EXPIRE, none()), (PUT, none()), (DONE, done())] {
        let mut ask = || {
            let nonce = bucket.nonce();
            store::event(&did, link(1), 1, cmd, args.clone(), nonce)
        };
        let cars = [
            (ask().to_car::<NativeHasher>(), ALICE),
            (stranger.sign(ask(), std::slice::from_ref(&proof)), CARRIER),
            (Key::new(1).sign(ask(), &[]), CARRIER),
        ];
        for (car, sender) in cars {
            let failure = bucket.invoke(sender, car).unwrap().unwrap().unwrap_err();
            assert_eq!(failure.name, "Forbidden", "{failure}");
            assert!(failure.message.starts_with(&format!("expected {cmd} to be signed by the provider did:key:z6Mk")));
        }
    }
    assert_eq!((bucket.rows.clone(), bucket.memory.bucket(&did).unwrap().root), before);

    // Another provider: the old one's word counts no longer.
    let nonce = bucket.nonce();
    let task = store::provide(&did, &stranger.did(), vec![], nonce);
    assert_eq!(name(bucket.ask(task)), "ok");
    assert_eq!(name(bucket.send(1, Event::Put(1))), "Forbidden");
    let put = store::event(&did, link(1), 1, PUT, none(), vec![]);
    let out = bucket.invoke(CARRIER, stranger.sign(put, &[proof])).unwrap().unwrap();
    let entry = store::Entry::read(&out.unwrap()).unwrap();
    assert!(entry.is_stored(2) && !entry.is_stored(1), "{entry:?}");
}

/// What one provider says that it has is not the word of the next, nor of the same one after another.
#[test]
fn stored_is_the_word_of_a_provider_in_its_term() {
    let mut bucket = Bucket::new(Mode::Atomic);
    let (did, service, other) = (bucket.did(), bucket.service.did(), Key::new(3));
    let provide = |bucket: &mut Bucket, to: &BucketId, term: u64| {
        let nonce = bucket.nonce();
        bucket.ask(store::provide(&did, to, vec![], nonce)).unwrap();
        let provider = bucket.read_rows().into_iter().find_map(|row| match row {
            Row::Provider(provider) => Some((provider.provider, provider.term)),
            _ => None,
        });
        assert_eq!(provider, Some((to.clone(), term)));
    };
    bucket.add(1, 10).unwrap();
    provide(&mut bucket, &other.did(), 2);
    // The owner may be anybody's provider, and say that it has what it never saw.
    let put = store::event(&bucket.did(), link(1), 1, PUT, none(), vec![]);
    let proof = bucket.key.delegate(&other, &bucket.did(), "/store");
    bucket.invoke(CARRIER, other.sign(put, &[proof])).unwrap().unwrap().unwrap();
    assert_eq!(name(bucket.add(1, 10)), "ok");
    assert_eq!(bucket.entry(1).unwrap().attempt, 1, "it is stored");
    provide(&mut bucket, &service, 3);
    let entry = bucket.entry(1).unwrap();
    assert!(entry.is_stored(2) && !entry.is_stored(3));
    // The same again is no other term.
    provide(&mut bucket, &service, 3);
    assert_eq!(name(bucket.add(1, 10)), "ok");
    let (entry, outbox) = (bucket.entry(1).unwrap(), bucket.outbox(1).unwrap());
    assert_eq!((entry.status, entry.attempt), (Status::Active, 2));
    let waits: Vec<_> = outbox.items.iter().map(|item| (item.key.attempt, item.key.number)).collect();
    assert_eq!(waits, [(1, 6), (2, 0), (2, 1), (2, 2)]);
    bucket.send(1, Event::Put(2)).unwrap();
    assert!(bucket.entry(1).unwrap().is_stored(3));
}

#[test]
fn arguments_are_read_strictly() {
    let mut bucket = Bucket::new(Mode::Atomic);
    let raw = Ipld::Link(block_cid::<NativeHasher>(RAW, b"raw"));
    let car = Ipld::Link(link(1).to_cid());
    let mut refused = |cmd: &str, args: BTreeMap<String, Ipld>, why: &str| {
        let task = task(&mut bucket, cmd, args);
        let failure = bucket.ask(task).unwrap_err();
        assert_eq!(failure.name, "ArgsInvalid");
        assert!(failure.message.contains(why), "{cmd}: {failure}");
    };
    let with = |link: &Ipld, more: &str| {
        let mut args = json(more);
        args.insert("link".into(), link.clone());
        args
    };
    refused(PROVIDE, none(), "expected a field “provider”, got none");
    refused(PROVIDE, json(r#"{"provider":"alice"}"#), "provider: expected a DID");
    refused(
        PROVIDE,
        json(r#"{"provider":"did:web:a","proofs":[1]}"#),
        "expected “proofs” to be a list of links, got an integer",
    );
    refused(PROVIDE, json(r#"{"provider":"did:web:a","more":1}"#), "expected no field “more”");
    refused(ADD, none(), "expected a field “link”, got none");
    refused(ADD, json(r#"{"link":"bag"}"#), "expected “link” to be a link to a CAR, got a string");
    refused(ADD, with(&raw, r#"{"size":1}"#), "link: expected the CID of a CAR");
    refused(ADD, with(&car, "{}"), "expected a field “size”, got none");
    refused(ADD, with(&car, r#"{"size":"1"}"#), "expected “size” to be an integer, got a string");
    refused(ADD, with(&car, r#"{"size":0}"#), "expected “size” to be of 1 to 5368709120 bytes, got 0");
    refused(ADD, with(&car, r#"{"size":-1}"#), "expected “size” to be at least 0, got -1");
    let large = format!(r#"{{"size":{}}}"#, CAR_BYTES_MAX + 1);
    refused(ADD, with(&car, &large), "got 5368709121");
    refused(ADD, with(&car, r#"{"size":1,"more":1}"#), "expected no field “more”");
    for cmd in [EXCEED, EXPIRE, PUT] {
        refused(cmd, with(&car, "{}"), "expected a field “attempt”, got none");
        refused(cmd, with(&car, r#"{"attempt":-1}"#), "expected “attempt” to be at least 0, got -1");
        refused(cmd, with(&car, r#"{"attempt":1,"size":1}"#), "expected no field “size”");
    }
    refused(DONE, with(&car, r#"{"attempt":1}"#), "expected a field “effect”, got none");
    refused(RECEIVE, with(&car, r#"{"attempt":1}"#), "expected a field “upload”, got none");

    let url = |url: &str| format!(r#"{{"attempt":1,"upload":{{"url":"{url}","headers":{{}}}}}}"#);
    for bad in
        ["", "ftp://a", "https:// a", "https://ä", "http://a\\n", &format!("https://{}", "a".repeat(URL_BYTES_MAX))]
    {
        refused(RECEIVE, with(&car, &url(bad)), "expected a URL of HTTP of at most 4096 ASCII bytes, got ");
    }
    let headers = |headers: &str| format!(r#"{{"attempt":1,"upload":{{"url":"http://a","headers":{headers}}}}}"#);
    refused(RECEIVE, with(&car, &headers("[]")), "expected “headers” to be a map, got a list");
    refused(RECEIVE, with(&car, &headers(r#"{"a":1}"#)), "expected “headers” to be a string, got an integer");
    let many: Vec<_> = (0..=HEADERS_MAX).map(|n| format!(r#""h{n}":"""#)).collect();
    refused(RECEIVE, with(&car, &headers(&format!("{{{}}}", many.join(",")))), "expected at most 16 headers, got 17");
    let long = format!(r#"{{"a":"{}"}}"#, "a".repeat(1025));
    for bad in [r#"{"":""}"#, r#"{"a b":""}"#, r#"{"a:":""}"#, r#"{"a":"b\r\nc: d"}"#, r#"{"a":"ä"}"#, &long] {
        refused(
            RECEIVE,
            with(&car, &headers(bad)),
            "expected a header's name of at most 128 bytes and value of at most 1024",
        );
    }
}

#[test]
fn the_largest_upload_fits() {
    let mut bucket = Bucket::new(Mode::Atomic);
    bucket.add(1, CAR_BYTES_MAX).unwrap();
    let url = format!("https://{}", "a".repeat(URL_BYTES_MAX - 8));
    let headers = (0..HEADERS_MAX).map(|n| (format!("{n:0128}"), "~".repeat(1024))).collect();
    let upload = Upload { url, headers };
    let args = [("upload".to_owned(), upload.to_ipld())].into();
    bucket.event(1, 1, RECEIVE, args).unwrap();
    assert_eq!(bucket.entry(1).unwrap().put, Some(upload));
}

/// 2.9: the same CAR again is the same answer, and another `add` of the same link changes nothing.
#[test]
fn adding_again_changes_nothing() {
    let mut bucket = Bucket::new(Mode::Atomic);
    let did = bucket.did();
    let car = store::add(&did, link(1), 10, vec![1]).to_car::<NativeHasher>();
    let first = bucket.invoke(ALICE, car.clone()).unwrap();
    let (rows, root) = (bucket.rows.clone(), bucket.memory.bucket(&did).unwrap().root);
    assert_eq!(bucket.invoke(ALICE, car).unwrap(), None, "it ran");
    assert_eq!(Some(bucket.add(1, 99)), first);
    assert_eq!((bucket.rows.clone(), bucket.memory.bucket(&did).unwrap().root), (rows, root));
}

/// In one batch, each task sees what those before it did.
#[test]
fn a_mutex_bucket_runs_them_in_turn() {
    let mut bucket = Bucket::new(Mode::Mutex);
    let did = bucket.did();
    for nonce in 0..6u8 {
        let add = store::add(&did, link(nonce % 2), 10 + u64::from(nonce), vec![nonce]);
        let params = params(&bucket, add.to_car::<NativeHasher>());
        bucket.memory.apply(ALICE, Message::Schedule(params)).unwrap();
    }
    let put = store::event(&did, link(0), 1, PUT, none(), vec![]);
    let put = bucket.service.sign(put, std::slice::from_ref(&bucket.proof));
    let put = params(&bucket, put);
    bucket.memory.apply(CARRIER, Message::Schedule(put)).unwrap();
    let ran = bucket.memory.apply(ALICE, Message::Run(RunParams { bucket: did, max: 10 })).unwrap().ran;
    let outs: Vec<_> = bucket.index(ran).into_iter().map(|out| store::Entry::read(&out.unwrap()).unwrap()).collect();
    let seen: Vec<_> = outs.iter().map(|entry| (entry.status, entry.attempt, entry.car.unwrap().1)).collect();
    let (even, odd) = ((Status::Active, 1, 10), (Status::Active, 1, 11));
    assert_eq!(seen, [even, odd, even, odd, even, odd, (Status::Ok, 1, 10)]);
    assert_eq!(bucket.outbox(0), None);
    assert_eq!(bucket.outbox(1).unwrap().items.len(), 3);
}
