//! The store state machine on chain: who may say what, and what becomes of an entry.

use std::cell::Cell;
use std::collections::BTreeMap;

use bucket_client::Identity;
use bucket_core::cid::CarId;
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::receipt::Receipt;
use bucket_core::task::Task;
use bucket_protocols::store::effects::{DEALLOCATION, UPLOAD_EPOCHS};
use bucket_protocols::store::event::{ADD, DONE, EXCEED, EXPIRE, PUT, RECEIVE};
use bucket_protocols::store::{self, Entry, Outbox, Row, Status, Upload};
use bucket_tests::cars::id;
use bucket_tests::keys::{self, chain, cid, ed25519, pack_with, signed};
use bucket_tests::{User, World};

use super::int;

/// A bucket with a service, and a user who may add.
struct Scene {
    b: BucketId,
    owner: Identity,
    service: Identity,
    user: Identity,
    nonce: Cell<u64>,
}

impl Scene {
    fn new(world: &mut dyn World) -> Self {
        let [owner, service, user] = [1, 2, 3].map(ed25519);
        let b = keys::create(world, &owner);
        let scene = Self { b, owner, service, user, nonce: Cell::new(0) };
        let provided = scene.provide(world, "/store");
        assert!(provided.out.is_ok(), "{provided:?}");
        scene
    }

    fn nonce(&self) -> Vec<u8> {
        self.nonce.set(self.nonce.get() + 1);
        self.nonce.get().to_be_bytes().to_vec()
    }

    fn proofs(&self, to: &Identity, cmd: &str) -> Vec<Vec<u8>> {
        chain(&[&self.owner, to], cmd)
    }

    /// The bucket's key makes the service its provider.
    fn provide(&self, world: &mut dyn World, cmd: &str) -> Receipt {
        let proofs = self.proofs(&self.service, cmd);
        let links = proofs.iter().map(|proof| cid(proof)).collect();
        let task = store::provide(&self.b, &self.service.did(), links, self.nonce());
        let car = pack_with(&proofs, self.owner.seal(&keys::ask(&self.owner, task, &[])));
        self.carry(world, &car)
    }

    fn carry(&self, world: &mut dyn World, car: &[u8]) -> Receipt {
        let invoked = world.invoke(User::Bob, &self.b, car, false).expect("allowed");
        world.receipt_car(&self.b, invoked.receipt)
    }

    /// The user adds a CAR.
    fn add(&self, world: &mut dyn World, link: CarId, size: u64) -> Receipt {
        let task = store::add(&self.b, link, size, self.nonce());
        let car = signed(&self.user, task, &self.proofs(&self.user, ADD));
        self.carry(world, &car)
    }

    fn event(&self, link: CarId, attempt: u64, cmd: &str) -> Task {
        let args = match cmd {
            RECEIVE => [("upload".to_owned(), upload().to_ipld())].into(),
            DONE => [("effect".to_owned(), int(DEALLOCATION.into()))].into(),
            _ => BTreeMap::new(),
        };
        store::event(&self.b, link, attempt, cmd, args, self.nonce())
    }

    /// The service says that something happened.
    fn tell(&self, world: &mut dyn World, link: CarId, attempt: u64, cmd: &str) -> Receipt {
        let task = self.event(link, attempt, cmd);
        let car = signed(&self.service, task, &self.proofs(&self.service, "/store"));
        self.carry(world, &car)
    }

    /// What the index says of a CAR: its entry, and what waits for the service.
    fn look(&self, world: &mut dyn World, link: CarId) -> (Option<Entry>, Option<Outbox>) {
        let rows = world.rows(&self.b);
        let rows: Vec<Row> =
            rows.iter().filter_map(|(key, value)| Row::read("store", key, value).expect("readable")).collect();
        let entry = rows.iter().find_map(|row| match row {
            Row::Entry(entry) if entry.car.is_some_and(|(car, _)| car == link) => Some(entry.clone()),
            _ => None,
        });
        let outbox = rows.into_iter().find_map(|row| match row {
            Row::Outbox(outbox) if outbox.link == link => Some(outbox),
            _ => None,
        });
        (entry, outbox)
    }
}

fn upload() -> Upload {
    let headers = [("content-length".to_owned(), "5".to_owned())].into();
    Upload { url: "http://127.0.0.1:9000/bucket/key?X-Amz-Signature=00".into(), headers }
}

/// The status and attempt that a receipt tells.
fn told(receipt: &Receipt) -> (Status, u64) {
    let entry = Entry::read(receipt.out.as_ref().expect("ok")).expect("an entry");
    (entry.status, entry.attempt)
}

fn failure(receipt: &Receipt) -> &str {
    &receipt.out.as_ref().expect_err("a failure").name
}

/// From add to ok. What is repeated changes nothing.
pub fn a_car_is_stored(world: &mut dyn World) {
    let scene = Scene::new(world);
    let link = id(b"a CAR");
    let first = scene.add(world, link, 5);
    assert_eq!(told(&first), (Status::Active, 1));
    let (entry, outbox) = scene.look(world, link);
    assert_eq!(entry.expect("a row").status, Status::Active);
    let outbox = outbox.expect("effects wait");
    assert_eq!((outbox.attempt, outbox.size, outbox.items.len()), (1, 5, 3));

    let again = scene.add(world, link, 5);
    assert_eq!(told(&again), (Status::Active, 1));
    assert_eq!(scene.look(world, link).1, Some(outbox));

    assert_eq!(told(&scene.tell(world, link, 1, RECEIVE)), (Status::Receiving, 1));
    let (entry, outbox) = scene.look(world, link);
    assert_eq!(entry.expect("a row").put, Some(upload()));
    assert_eq!(outbox.expect("the upload's effects").items.len(), 3);

    assert_eq!(told(&scene.tell(world, link, 1, PUT)), (Status::Ok, 1));
    let (entry, outbox) = scene.look(world, link);
    assert_eq!((entry.expect("a row").status, outbox), (Status::Ok, None));
    for late in [EXCEED, RECEIVE, EXPIRE, PUT, DONE] {
        assert_eq!(told(&scene.tell(world, link, 1, late)), (Status::Ok, 1), "{late}");
    }
    assert_eq!(told(&scene.add(world, link, 5)), (Status::Ok, 1));
    // Another CAR has an entry of its own.
    assert_eq!(told(&scene.add(world, id(b"another"), 7)), (Status::Active, 1));
    assert_eq!(told(&scene.tell(world, id(b"a third"), 1, PUT)).0, Status::NotFound);
}

/// A controller, the bucket's own key and a delegate of all of `/store` can't speak for the service.
pub fn only_the_service_tells_what_happened(world: &mut dyn World) {
    let scene = Scene::new(world);
    let link = id(b"a CAR");
    scene.add(world, link, 5);
    let before = scene.look(world, link);
    for cmd in [EXCEED, RECEIVE, EXPIRE, PUT, DONE] {
        let unsigned = scene.event(link, 1, cmd).to_car::<bucket_core::cid::NativeHasher>();
        let by_alice = world.invoke(User::Alice, &scene.b, &unsigned, false).expect("a controller may ask");
        let by_alice = world.receipt_car(&scene.b, by_alice.receipt);
        let task = scene.event(link, 1, cmd);
        let by_owner = scene.carry(world, &signed(&scene.owner, task, &[]));
        let task = scene.event(link, 1, cmd);
        let by_user = scene.carry(world, &signed(&scene.user, task, &scene.proofs(&scene.user, "/store")));
        for receipt in [by_alice, by_owner, by_user] {
            assert_eq!(failure(&receipt), "Forbidden", "{cmd}");
        }
    }
    assert_eq!(scene.look(world, link), before);
    // Nor can a delegate choose the service.
    let other = store::provide(&scene.b, &scene.user.did(), vec![], scene.nonce());
    let receipt = scene.carry(world, &signed(&scene.user, other, &scene.proofs(&scene.user, "/store")));
    assert_eq!(failure(&receipt), "Forbidden");
    assert_eq!(told(&scene.tell(world, link, 1, EXCEED)), (Status::Exceeds, 1));
}

/// Nobody puts the CAR in time: the room is given back once, and what comes late is another attempt's.
pub fn an_upload_expires(world: &mut dyn World) {
    let scene = Scene::new(world);
    let link = id(b"a CAR");
    scene.add(world, link, 5);
    scene.tell(world, link, 1, RECEIVE);
    assert_eq!(failure(&scene.tell(world, link, 1, EXPIRE)), "NotExpired");
    world.pass(UPLOAD_EPOCHS as u64);
    assert_eq!(told(&scene.tell(world, link, 1, EXPIRE)), (Status::Expired, 1));
    let outbox = scene.look(world, link).1.expect("room to give back");
    assert_eq!(outbox.items.iter().map(|item| item.key.number).collect::<Vec<_>>(), [DEALLOCATION]);
    assert_eq!(told(&scene.tell(world, link, 1, PUT)), (Status::Expired, 1));

    // The next attempt begins before the room of the first is given back.
    assert_eq!(told(&scene.add(world, link, 6)), (Status::Active, 2));
    for stale in [EXCEED, RECEIVE, EXPIRE, PUT] {
        assert_eq!(told(&scene.tell(world, link, 1, stale)), (Status::Active, 2), "{stale}");
    }
    let outbox = scene.look(world, link).1.expect("effects of both");
    assert_eq!(outbox.attempts().into_iter().map(|(n, items)| (n, items.len())).collect::<Vec<_>>(), [(1, 1), (2, 3)]);
    assert_eq!(told(&scene.tell(world, link, 1, DONE)), (Status::Active, 2));
    assert_eq!(scene.look(world, link).1.expect("the second's").items.len(), 3);
    assert_eq!(told(&scene.tell(world, link, 2, PUT)), (Status::Ok, 2));
    assert_eq!(scene.look(world, link).1, None);
}

/// A bucket without a service stores nothing, and events that are none are refused.
pub fn wrong_events_are_failures(world: &mut dyn World) {
    let owner = ed25519(9);
    let b = keys::create(world, &owner);
    let link = id(b"a CAR");
    let mut run = |task: Task| {
        let invoked = world.invoke(User::Bob, &b, &signed(&owner, task, &[]), false).expect("allowed");
        world.receipt_car(&b, invoked.receipt)
    };
    assert_eq!(failure(&run(store::add(&b, link, 5, vec![1]))), "NoProvider");
    let missing = store::provide(&b, &owner.did(), vec![cid(b"nowhere")], vec![2]);
    assert_eq!(failure(&run(missing)), "ProofMissing");
    assert!(run(store::provide(&b, &owner.did(), vec![], vec![3])).out.is_ok());
    assert_eq!(failure(&run(store::add(&b, link, 0, vec![4]))), "ArgsInvalid");
    assert_eq!(failure(&run(store::add(&b, link, u64::MAX, vec![5]))), "ArgsInvalid");
    let mut odd = store::add(&b, link, 5, vec![6]);
    odd.args.insert("root".into(), Ipld::Null);
    assert_eq!(failure(&run(odd)), "ArgsInvalid");
    let args = [("upload".to_owned(), Upload { url: "file:///etc".into(), headers: BTreeMap::new() }.to_ipld())].into();
    assert_eq!(failure(&run(store::event(&b, link, 1, RECEIVE, args, vec![7]))), "ArgsInvalid");
    assert_eq!(told(&run(store::add(&b, link, 5, vec![8]))), (Status::Active, 1));
}
