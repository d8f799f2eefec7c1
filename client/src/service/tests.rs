//! What a service decides, without a chain.

mod offline;

use std::cell::RefCell;
use std::collections::BTreeMap;

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

use super::answer::{Answer, answer, blob as blob_of};
use super::runs::{Keys, Run, Written};
use super::sweep::{Asked, Found, Plan, Progress, Sweeper, asked};
use crate::identity::{Identity, IdentityKind};

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

fn find((key, value, car): &(String, Ipld, Vec<u8>), ran: bool) -> Found {
    let (owner, service) = keys();
    asked(key, value, Some(car.clone()), (&service.did(), &owner.did()), |_| ran, NOW)
}

fn read(entry: &(String, Ipld, Vec<u8>)) -> Option<Asked> {
    if let Found::Asked(asked) = find(entry, false) { Some(*asked) } else { None }
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
    said: Keys,
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
        let open = |run: &Run| !run.last || run.written == Written::No;
        known.retain(|ran, run| open(run) || asked.iter().any(|asked| asked.ran == *ran));
        let begin = (&mut self.said, self.runs.len() as u64);
        sweeper.begin(asked, &mut known, begin, |link| *link == CarId::of::<NativeHasher>(b"shard"));
        for run in known.values_mut().filter(|run| !run.added) {
            self.adds.borrow_mut().push(blob_of(&run.task).unwrap().link);
            run.added = true;
        }
        self.runs.extend(known.clone());
        let plan = sweeper.plan(asked, known, self.said.clone(), 64, |_| progress.clone());
        self.runs.extend(plan.runs.clone());
        self.said = plan.said.clone();
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
            self.runs.get_mut(ran).unwrap().written = Written::Final;
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
    let absent = asked(&good.0, &good.1, None, (&service.did(), &owner.did()), |_| false, NOW);
    assert!(matches!(absent, Found::Later));
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

/// A new invocation for the same key.
fn sized(content: &[u8], size: Option<i128>, nonce: u8) -> Task {
    let mut task = blob(content, nonce);
    let Some(Ipld::Map(blob)) = task.args.get_mut("blob") else { panic!("a blob") };
    blob.remove("size");
    blob.extend(size.map(|size| ("size".to_owned(), Ipld::Integer(size))));
    task
}

/// What the service has signed that it has, it has: another invocation, of a wrong size or one that was refused before, takes
/// nothing back. A new one that comes to something follows, and leads back by its origin.
#[test]
fn a_blob_that_is_stored_stays_so() {
    let mut bench = Bench::default();
    let asks = [blob(b"content", 0), blob(b"content", 1), sized(b"content", Some(8), 2), sized(b"content", None, 3)];
    let [expired, good, wrong, without] = asks.map(ask);
    let key = key_of(&good.task).unwrap();
    let once = |bench: &mut Bench, ask: &Asked, progress: Progress| {
        let plan = bench.look(std::slice::from_ref(ask), progress);
        bench.write(&plan);
        bench.recognised(&Kind::Receipt.key(&ask.ran))
    };
    let late = || Progress::Refused(Failure::new("Expired", "late"));
    let first = once(&mut bench, &expired, late());
    assert_eq!(bench.recognised(&key).car, first.car);
    let second = once(&mut bench, &good, receiving());
    assert_eq!((bench.recognised(&key).car, second.receipt.origin), (second.car, Some(first.car)));
    let third = once(&mut bench, &good, Progress::Stored);
    assert_eq!((bench.recognised(&key).car, third.receipt.origin), (third.car, Some(second.car)));
    assert!(third.is_ok());
    let size = Progress::Refused(Failure::new("SizeMismatch", "8 bytes"));
    for (other, progress) in [(&expired, late()), (&wrong, size), (&without, Progress::Waiting), (&good, late())] {
        let said = once(&mut bench, other, progress);
        assert_eq!(said.is_ok(), other.ran == good.ran);
        assert_eq!(bench.recognised(&key).car, third.car, "{:?}", other.task);
    }
    let again = once(&mut bench, &ask(blob(b"content", 4)), Progress::Stored);
    assert_eq!((bench.recognised(&key).car, again.receipt.origin), (again.car, Some(third.car)));
}

#[test]
fn times_are_those_of_the_first_look() {
    let (owner, service) = keys();
    let late = queued(&owner, Some(service.did()), blob(b"a", 0), Some(NOW - 1));
    assert!(matches!(find(&late, false), Found::Other));
    assert!(matches!(find(&late, true), Found::Asked(_)), "it ran, and moves again");
    let stranger = queued(&key(3), Some(service.did()), blob(b"a", 0), Some(NOW - 1));
    assert!(matches!(find(&stranger, true), Found::Other));
    // A delegation whose time hasn't come.
    for (nbf, taken) in [(NOW - 1, true), (NOW + 9, false)] {
        let draft = DelegationDraft {
            iss: owner.did(),
            aud: key(3).did(),
            sub: Some(owner.did()),
            cmd: "/".into(),
            pol: Policy::default(),
            nonce: vec![],
            meta: None,
            nbf: Some(nbf),
            exp: None,
        };
        let delegation = draft.seal(&owner.public(), |message| owner.sign(message));
        let mut transaction = Transaction::<NativeHasher>::default();
        let prf = vec![transaction.write_block(DAG_CBOR, &delegation)];
        let (iss, task) = (key(3), blob(b"a", 0));
        let (public, aud) = (iss.public(), Some(service.did()));
        let draft = InvocationDraft { iss: iss.did(), aud, task, prf, meta: None, exp: None, iat: None, cause: None };
        let cid = transaction.write_block(DAG_CBOR, &draft.seal(&public, |message| iss.sign(message)));
        let car = transaction.commit().unwrap();
        let link = Ipld::Link(CarId::of::<NativeHasher>(&car).to_cid());
        match find(&(Kind::Queue.key(&cid), link, car), false) {
            Found::Asked(_) => assert!(taken),
            Found::Later => assert!(!taken),
            Found::Other => panic!("it is the service's"),
        }
    }
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
