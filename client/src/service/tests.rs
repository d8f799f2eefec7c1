//! What a service decides, without a chain.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::routing::get;
use bucket_core::car::{Car, Transaction};
use bucket_core::cid::{CarId, Cid, DAG_CBOR, NativeHasher, RAW, SHA2_256, block_cid};
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::error::Failure;
use bucket_core::task::Task;
use bucket_core::ucan::{DelegationDraft, InvocationDraft, Policy};
use bucket_protocols::space::keys::{Kind, key_of};
use bucket_protocols::space::standing::{Blob as Held, Recognised, Standing, recognise};
use cid::multihash::Multihash;
use fvm_shared::address::Address;
use serde_json::json;

use super::answer::{Answer, answer, blob as blob_of};
use super::runs::Run;
use super::sweep::{Asked, Plan, Progress, Sweeper, asked};
use super::{ASKED_MAX, SPACES_MAX, Service};
use crate::identity::{Identity, IdentityKind};
use crate::space::Replica;
use crate::space::edit::Ops;
use crate::{ActorClient, Gateway};

const NOW: u64 = 1_800_000_000;

fn key(n: u8) -> Identity {
    Identity::from_secret(IdentityKind::Ed25519, &[n; 32]).unwrap()
}

/// The space's owner and the service.
fn keys() -> (Identity, Identity) {
    (key(1), key(2))
}

fn text(text: &str) -> Ipld {
    Ipld::String(text.into())
}

fn map<const N: usize>(fields: [(&str, Ipld); N]) -> BTreeMap<String, Ipld> {
    fields.map(|(field, value)| (field.to_owned(), value)).into()
}

fn task(cmd: &str, args: BTreeMap<String, Ipld>, nonce: u8) -> Task {
    Task { sub: keys().0.did(), cmd: cmd.into(), args, nonce: vec![nonce] }
}

fn blob(content: &[u8], nonce: u8) -> Task {
    let digest = Multihash::<64>::wrap(SHA2_256, &CarId::of::<NativeHasher>(content).0).unwrap().to_bytes();
    let blob = map([("digest", Ipld::Bytes(digest)), ("size", Ipld::Integer(content.len() as i128))]);
    task("/blob/add", map([("blob", Ipld::Map(blob))]), nonce)
}

/// A CAR of an invocation by `iss`, and its entry in the queue.
fn queued(iss: &Identity, aud: Option<BucketId>, task: Task, exp: Option<u64>) -> (String, Ipld, Vec<u8>) {
    let (public, iss_did) = (iss.public(), iss.did());
    let draft = InvocationDraft { iss: iss_did, aud, task, prf: vec![], meta: None, exp, iat: None, cause: None };
    let block = draft.seal(&public, |message| iss.sign(message));
    let mut transaction = Transaction::<NativeHasher>::default();
    let cid = transaction.write_block(DAG_CBOR, &block);
    let car = transaction.commit().unwrap();
    (Kind::Queue.key(&cid), Ipld::Link(CarId::of::<NativeHasher>(&car).to_cid()), car)
}

fn read((key, value, car): &(String, Ipld, Vec<u8>)) -> Option<Asked> {
    let (owner, service) = keys();
    asked(key, value, Some(car.clone()), &service.did(), &owner.did(), NOW)
}

/// An invocation that the owner addresses to the service.
fn ask(task: Task) -> Asked {
    let (owner, service) = keys();
    read(&queued(&owner, Some(service.did()), task, None)).expect("addressed to the service")
}

/// A service with its memory, and the space as a map.
#[derive(Default)]
struct Bench {
    runs: BTreeMap<Cid, Run>,
    space: BTreeMap<String, Ipld>,
    cars: BTreeMap<CarId, Vec<u8>>,
    adds: RefCell<Vec<CarId>>,
}

impl Bench {
    /// One look, with what became of all blobs.
    fn look(&mut self, asked: &[Asked], progress: Progress) -> Plan {
        let (owner, service) = keys();
        let (key, space) = (&service, &owner.did());
        let sweeper = Sweeper { key, space };
        let mut known: BTreeMap<_, _> = self.runs.clone();
        known.retain(|ran, run| !run.last || !run.written || asked.iter().any(|asked| asked.ran == *ran));
        sweeper.begin(asked, &mut known, |link| *link == CarId::of::<NativeHasher>(b"shard"));
        for run in known.values_mut().filter(|run| !run.added) {
            self.adds.borrow_mut().push(blob_of(&run.task).unwrap().link);
            run.added = true;
        }
        let plan = sweeper.plan(asked, known, 64, |_| progress.clone());
        self.runs.extend(plan.runs.clone());
        plan
    }

    /// The edit is on the chain.
    fn write(&mut self, plan: &Plan) {
        for (key, value) in &plan.ops {
            match value {
                Some(value) => drop(self.space.insert(key.clone(), value.clone())),
                None => drop(self.space.remove(key)),
            }
        }
        self.cars.extend(plan.cars.clone());
        for ran in plan.runs.keys() {
            self.runs.get_mut(ran).unwrap().written = true;
        }
    }

    fn recognised(&self, key: &str) -> Recognised {
        let (owner, service) = keys();
        let cars = |id: &CarId| self.cars.get(id).cloned();
        match recognise::<NativeHasher>(key, &self.space[key], cars, &service.did(), &owner.did(), NOW) {
            Standing::Recognised(found) => *found,
            other => panic!("{key}: {other:?}"),
        }
    }
}

fn receiving() -> Progress {
    Progress::Receiving { url: "http://127.0.0.1/put".into(), headers: BTreeMap::new() }
}

#[test]
fn only_what_is_addressed_to_the_service_by_right_is_taken() {
    let (owner, service) = keys();
    let good = queued(&owner, Some(service.did()), blob(b"a", 0), None);
    assert!(read(&good).is_some());
    for (what, other) in [
        ("no audience", queued(&owner, None, blob(b"a", 0), None)),
        ("the space itself", queued(&owner, Some(owner.did()), blob(b"a", 0), None)),
        ("another service", queued(&owner, Some(key(3).did()), blob(b"a", 0), None)),
        ("a stranger", queued(&key(3), Some(service.did()), blob(b"a", 0), None)),
        ("too late", queued(&owner, Some(service.did()), blob(b"a", 0), Some(NOW - 1))),
        ("another key", ("/queue/bafy".into(), good.1.clone(), good.2.clone())),
        ("another space", {
            let task = Task { sub: key(3).did(), ..blob(b"a", 0) };
            queued(&key(3), Some(service.did()), task, None)
        }),
        ("another CAR", (good.0.clone(), good.1.clone(), queued(&owner, None, blob(b"a", 0), None).2)),
        ("no link", (good.0.clone(), text("run me"), good.2.clone())),
    ] {
        assert!(read(&other).is_none(), "{what}");
    }
    assert!(asked(&good.0, &good.1, None, &service.did(), &owner.did(), NOW).is_none());
}

#[test]
fn a_blob_is_added_once_and_its_receipts_follow_it() {
    let mut bench = Bench::default();
    let ask = ask(blob(b"content", 0));
    let queue = [ask.clone()];
    bench.space.insert(ask.key.clone(), Ipld::Link(ask.car.to_cid()));

    let plan = bench.look(&queue, Progress::Waiting);
    bench.write(&plan);
    let invoked = Kind::Invoked.key(&ask.invocation);
    assert_eq!(bench.space.keys().collect::<Vec<_>>(), [&invoked]);

    let plan = bench.look(&[], receiving());
    bench.write(&plan);
    let key = key_of(&ask.task).unwrap();
    assert_eq!(bench.recognised(&key).blob(), Some(Held::Pending { status: "receiving".into() }));
    let first = bench.recognised(&key).car;
    assert!(bench.look(&[], receiving()).ops.is_empty());

    // Crashed before the edit went out: it is planned again, to the byte.
    let plan = bench.look(&[], Progress::Stored);
    let again = bench.look(&[], Progress::Stored);
    assert_eq!((&plan.ops, &plan.cars), (&again.ops, &again.cars));
    bench.write(&again);
    let last = bench.recognised(&key);
    assert_eq!(last.blob(), Some(Held::Stored { site: CarId::of::<NativeHasher>(b"content").to_cid() }));
    assert_eq!(last.receipt.origin, Some(first));
    assert_eq!(bench.recognised(&Kind::Receipt.key(&ask.ran)).car, last.car);
    assert!(bench.look(&[], Progress::Waiting).ops.is_empty());

    // What is queued again moves back, with the same receipt; what is taken away stays away.
    let before = bench.space.clone();
    bench.space.insert(ask.key.clone(), Ipld::Link(ask.car.to_cid()));
    bench.space.remove(&key);
    let plan = bench.look(&queue, Progress::Waiting);
    bench.write(&plan);
    assert_eq!(bench.space, before);
    bench.space.clear();
    assert!(bench.look(&[], Progress::Waiting).ops.is_empty());
    assert_eq!(bench.adds.borrow().len(), 1);
}

#[test]
fn a_blob_without_room_is_refused_by_a_receipt() {
    let mut bench = Bench::default();
    let ask = ask(blob(b"content", 0));
    let plan = bench.look(std::slice::from_ref(&ask), Progress::Refused(Failure::new("ExceedsLimit", "full")));
    bench.write(&plan);
    let key = key_of(&ask.task).unwrap();
    assert_eq!(bench.recognised(&key).blob(), Some(Held::Refused { name: "ExceedsLimit".into() }));
    assert!(!bench.recognised(&key).is_ok());
}

#[test]
fn each_command_has_its_answer() {
    let (owner, service) = keys();
    let cid = block_cid::<NativeHasher>(RAW, b"root");
    let shard = |content: &[u8]| Ipld::Link(CarId::of::<NativeHasher>(content).to_cid());
    let draft = DelegationDraft {
        iss: owner.did(),
        aud: service.did(),
        sub: Some(owner.did()),
        cmd: "/".into(),
        pol: Policy::default(),
        nonce: vec![],
        meta: None,
        nbf: None,
        exp: None,
    };
    let delegation = draft.seal(&owner.public(), |message| owner.sign(message));
    let mut transaction = Transaction::<NativeHasher>::default();
    let granted = transaction.write_block(DAG_CBOR, &delegation);
    let car = Car::decode::<NativeHasher>(transaction.commit().unwrap()).unwrap();
    let upload = |shards: Vec<Ipld>| map([("root", Ipld::Link(cid)), ("shards", Ipld::List(shards))]);
    let digest =
        |bytes: Vec<u8>| map([("blob", Ipld::Map(map([("digest", Ipld::Bytes(bytes)), ("size", Ipld::Integer(1))])))]);
    for (cmd, args, expected) in [
        ("/upload/add", upload(vec![shard(b"shard")]), None),
        ("/upload/add", upload(vec![shard(b"other")]), Some("ShardUnknown")),
        ("/upload/add", upload(vec![text("a")]), Some("ArgsInvalid")),
        ("/access/delegate", map([("delegation", Ipld::Link(granted))]), None),
        ("/access/delegate", map([("delegation", Ipld::Link(cid))]), Some("DelegationAbsent")),
        ("/subscription/add", map([("account", text("did:mailto:example.com:a"))]), None),
        ("/subscription/add", map([("account", text("a"))]), Some("ArgsInvalid")),
        ("/blob/add", map([]), Some("ArgsInvalid")),
        ("/blob/add", digest(vec![0x12, 0x20]), Some("ArgsInvalid")),
        ("/blob/add", digest(Multihash::<64>::wrap(0x1b, &[0; 32]).unwrap().to_bytes()), Some("HashUnsupported")),
        ("/kv/put", map([]), Some("CommandUnknown")),
    ] {
        let task = task(cmd, args, 0);
        let Answer::Said(said) = answer(&task, &car, |link| *link == CarId::of::<NativeHasher>(b"shard")) else {
            panic!("{cmd}")
        };
        assert_eq!(said.as_ref().err().map(|failure| &*failure.name), expected, "{cmd} {:?}", task.args);
    }
    let Answer::Store(stored) = answer(&blob(b"abc", 0), &car, |_| false) else { panic!("a blob") };
    assert_eq!((stored.link, stored.size), (CarId::of::<NativeHasher>(b"abc"), 3));
}

#[test]
fn a_plan_is_bounded_and_the_rest_comes_later() {
    let mut bench = Bench::default();
    let asks: Vec<_> = (0..100u8).map(|n| ask(task("/no/such", map([]), n))).collect();
    let (mut looks, mut moved) = (0, 0);
    while moved < asks.len() {
        let left: Vec<_> =
            asks.iter().filter(|ask| !bench.space.contains_key(&Kind::Invoked.key(&ask.invocation))).cloned().collect();
        let plan = bench.look(&left, Progress::Waiting);
        assert!(!plan.ops.is_empty() && plan.ops.len() <= 256);
        bench.write(&plan);
        moved = bench.space.keys().filter(|key| key.starts_with(Kind::Invoked.prefix())).count();
        looks += 1;
    }
    assert_eq!(looks, 2);
    assert!(asks.iter().all(|ask| !bench.recognised(&Kind::Receipt.key(&ask.ran)).is_ok()));
}

#[test]
fn a_key_that_no_space_takes_is_left_out() {
    let mut bench = Bench::default();
    let long = format!("did:a:{}", "b".repeat(250));
    let ask = ask(task("/subscription/add", map([("account", text(&long))]), 0));
    let plan = bench.look(std::slice::from_ref(&ask), Progress::Waiting);
    bench.write(&plan);
    assert!(bench.recognised(&Kind::Receipt.key(&ask.ran)).is_ok());
    assert!(bench.space.keys().all(|key| key.len() <= 256));
}

#[test]
fn what_is_too_large_for_a_receipt_is_not_taken() {
    let (owner, service) = keys();
    let args = map([("x", Ipld::Bytes(vec![0; 70_000]))]);
    assert!(read(&queued(&owner, Some(service.did()), task("/no/such", args, 0), None)).is_none());
}

/// A service in a directory of its own, whose index is at `url`, without a node.
fn offline(url: &str) -> (tempfile::TempDir, Service) {
    let dir = tempfile::tempdir().unwrap();
    let rpc = bucket_rpc::Client::new("http://127.0.0.1:1", None).unwrap();
    let client = ActorClient::new(rpc, Address::new_id(1000)).with_gateway(Gateway::new(url).unwrap());
    let service = Service::open(client, keys().1, dir.path()).unwrap();
    (dir, service)
}

#[tokio::test]
async fn junk_in_the_queue_hides_nothing() {
    let (owner, service) = keys();
    let (dir, served) = offline("http://127.0.0.1:1");
    let replica = Replica::new(dir.path(), owner.did());
    // As if the space said so.
    let put = |(key, value, car): &(String, Ipld, Vec<u8>)| {
        let ops = Ops::new([(key.clone(), Some(value.clone()))]).unwrap();
        replica.write(|kept| {
            kept.make(&owner.did(), &owner, &[], ops)?;
            kept.put_block(car)
        })
    };
    let at = |number: u8| task("/no/such", map([]), number);
    let invocations = (0..20).map(|n| queued(&owner, Some(service.did()), at(n), None));
    let good = invocations.max_by_key(|(key, ..)| key.clone()).expect("one of them comes last");
    // Strangers address the service.
    let junk: Vec<_> = (20..=220).map(|n| queued(&key(3), Some(service.did()), at(n), None)).collect();
    assert!(junk.iter().filter(|junk| junk.0 < good.0).count() > ASKED_MAX);
    junk.iter().for_each(|junk| put(junk).unwrap());
    assert!(served.queue(&replica).await.unwrap().is_empty());
    put(&good).unwrap();
    let found = served.queue(&replica).await.unwrap();
    assert_eq!(found.iter().map(|asked| &asked.key).collect::<Vec<_>>(), [&good.0]);
}

/// The index answers about a bucket when it is asked about as many as are served at a time.
#[tokio::test]
async fn several_spaces_are_served_at_a_time() {
    let together = Arc::new(tokio::sync::Barrier::new(SPACES_MAX));
    let spaces = (0..SPACES_MAX as u8).map(|n| json!({"id": key(n + 10).did(), "root": "r", "halted": null}));
    let page =
        |items: Vec<serde_json::Value>| json!({"head": {"epoch": 1, "tipset": []}, "items": items, "cursor": null});
    let all = page(spaces.collect());
    let rows = move || {
        let together = together.clone();
        async move {
            together.wait().await;
            axum::Json(page(vec![]))
        }
    };
    let router = axum::Router::new()
        .route("/v1/buckets", get(move || async move { axum::Json(all) }))
        .route("/v1/buckets/{did}/kv", get(rows));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let (_dir, served) = offline(&url);
    assert_eq!(served.once().await.unwrap(), 0);
    assert_eq!(
        served.done.lock().unwrap().len(),
        SPACES_MAX,
        "none of them names this service, so there is nothing to do"
    );
}
