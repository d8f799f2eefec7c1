//! Spaces and their service: users queue invocations offline and push, the service runs each once and writes receipts, and the
//! blobs that it adds are the worker's, up to the real object.

mod trouble;

use std::collections::BTreeMap;

use bucket_client::service::Service;
use bucket_client::space::edit::Ops;
use bucket_client::space::kept::{Author, Holds as _};
use bucket_client::space::pull::pull;
use bucket_client::space::push::push;
use bucket_client::space::{Replica, millis};
use bucket_client::{ActorClient, Identity};
use bucket_core::cid::{CarId, NativeHasher, SHA2_256};
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::ucan::InvocationDraft;
use bucket_protocols::space::keys::{Kind, key_of};
use bucket_protocols::space::standing::{Blob, Recognised, Standing, recognise};
use bucket_protocols::store::Status;
use bucket_tests::cars::{id, map, task, text};
use bucket_tests::keys::{ask, chain, cid, ed25519, pack, pack_with, signed};
use bucket_tests::space::receipt;
use bucket_tests::{User, World as _};
use cid::multihash::Multihash;

use crate::worker::{Shop, car, service};

/// A shop whose bucket has a space, a user's replica of it, and the service.
struct Town {
    shop: Shop,
    user: Identity,
    client: ActorClient,
    replica: Replica,
    service: Service,
    _homes: [tempfile::TempDir; 2],
}

/// What somebody asks the service to do: its CAR, the key that it goes under, and the key of its receipt.
struct Request {
    car: Vec<u8>,
    queue: String,
    invoked: String,
    receipt: String,
    key: Option<String>,
}

fn blob(content: &[u8]) -> Ipld {
    let digest = Multihash::<64>::wrap(SHA2_256, &id(content).0).unwrap().to_bytes();
    map([("blob", map([("digest", Ipld::Bytes(digest)), ("size", Ipld::Integer(content.len() as i128))]))])
}

impl Town {
    fn new() -> Self {
        let shop = Shop::open();
        let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let replica = Replica::new(homes[0].path(), shop.bucket.clone());
        let client = shop.world.clients[0].clone().with_gateway(shop.world.gateway.clone());
        let notes = shop.notes.clone();
        let progress = bucket_client::Progress::new(move |step| notes.lock().unwrap().push(step.to_string()));
        let served = Service::open(shop.payer(), service(), homes[1].path()).unwrap().with_progress(progress);
        // The bucket's own key edits the space.
        Self { shop, user: ed25519(1), client, replica, service: served, _homes: homes }
    }

    /// An invocation by the bucket's key.
    fn request(&self, aud: Option<BucketId>, cmd: &str, args: Ipld, nonce: u64) -> Request {
        let task = task(&self.shop.bucket, cmd, args, nonce);
        let (receipt, key) = (Kind::Receipt.key(&cid(&encoded(&task))), key_of(&task));
        let mut draft = ask(&self.user, task, &[]);
        draft.aud = aud;
        let block = self.user.seal(&draft);
        let named = cid(&block);
        let car = pack(&[block]);
        Request { car, queue: Kind::Queue.key(&named), invoked: Kind::Invoked.key(&named), receipt, key }
    }

    fn ask(&self, cmd: &str, args: Ipld, nonce: u64) -> Request {
        self.request(Some(service().did()), cmd, args, nonce)
    }

    /// The user changes the replica offline, and pushes.
    fn edit(&self, changes: Vec<(String, Option<Ipld>)>, blocks: &[&[u8]]) {
        self.shop.world.catch_up();
        let author = Author { did: self.user.did(), proofs: vec![] };
        self.replica
            .write(|kept| {
                kept.make(&self.shop.bucket, &self.user, &[], Ops::new(changes).unwrap())?;
                blocks.iter().try_for_each(|block| kept.put_block(block))
            })
            .unwrap();
        let pushed = self.shop.runtime.block_on(push(&self.replica, &self.client, &self.user, &author)).unwrap();
        assert_eq!(pushed.pushes.len(), 1);
    }

    fn queue(&self, request: &Request) {
        self.edit(vec![(request.queue.clone(), Some(Ipld::Link(id(&request.car).to_cid())))], &[&request.car]);
    }

    /// Lets the service look once; answers whether it changed the space.
    fn serve(&self) -> bool {
        self.shop.world.catch_up();
        let changed = self.shop.runtime.block_on(self.service.once()).unwrap() == 1;
        println!("{:#?}", std::mem::take(&mut *self.shop.notes.lock().unwrap()));
        changed
    }

    /// The space as the user's replica has it after a pull.
    fn space(&self) -> BTreeMap<String, Ipld> {
        self.shop.world.catch_up();
        self.shop.runtime.block_on(pull(&self.replica, &self.client)).unwrap();
        let page = self.replica.read(|kept| kept.view()?.list("/", None, 1000)).unwrap();
        page.entries.into_iter().collect()
    }

    fn standing(&self, key: &str) -> Standing {
        let value = &self.space()[key];
        let (service, space) = (service().did(), &self.shop.bucket);
        let cars = |id: &CarId| self.replica.read(|kept| kept.block(&id.to_cid())).unwrap();
        recognise::<NativeHasher>(key, value, cars, &service, space, millis() / 1000)
    }

    fn recognised(&self, key: &str) -> Recognised {
        match self.standing(key) {
            Standing::Recognised(found) => *found,
            other => panic!("{key}: {other:?}, {:#?}", self.shop.notes.lock().unwrap()),
        }
    }

    fn upload(&self, content: &[u8]) {
        let upload = self.shop.stands(content, Status::Receiving).put.expect("where to");
        assert!(self.shop.put(&upload, content).is_success());
    }

    fn count(&self, cmd: &str) -> usize {
        self.shop.events().iter().filter(|ran| *ran == cmd).count()
    }
}

fn encoded(task: &bucket_core::task::Task) -> Vec<u8> {
    bucket_core::dag_cbor::encode(&task.to_ipld())
}

#[test]
fn a_queued_blob_is_stored_and_its_receipts_are_in_the_space() {
    let town = Town::new();
    let content = car("content", 64);
    let request = town.ask("/blob/add", blob(&content), 0);
    let key = request.key.clone().expect("a blob's key");
    town.queue(&request);
    println!("{:?}", town.standing(&request.queue));
    assert!(town.serve());
    let space = town.space();
    assert!(!space.contains_key(&request.queue) && space.contains_key(&request.invoked));

    town.shop.good_turn();
    assert!(town.serve());
    assert_eq!(town.recognised(&key).blob(), Some(Blob::Pending { status: "receiving".into() }));
    town.upload(&content);
    town.shop.good_turn();
    assert!(town.serve());
    let found = town.recognised(&key);
    assert_eq!(found.blob(), Some(Blob::Stored { site: id(&content).to_cid() }));
    assert!(found.receipt.origin.is_some());
    assert_eq!(town.recognised(&request.receipt).car, found.car);
    assert_eq!(std::fs::read(town.shop.object(&content)).unwrap(), content);
    assert!(!town.serve(), "nothing is left to do");

    // Queued again, it moves back with the same receipt, and nothing runs twice.
    town.edit(
        vec![
            (request.queue.clone(), Some(Ipld::Link(id(&request.car).to_cid()))),
            (request.invoked.clone(), None),
            (request.receipt.clone(), None),
        ],
        &[],
    );
    assert!(town.serve());
    let space = town.space();
    assert!(!space.contains_key(&request.queue) && space.contains_key(&request.invoked));
    assert_eq!(town.recognised(&request.receipt).car, found.car);
    assert_eq!(town.count("/store/add"), 1);

    // Taken away, it stays away: for the service nothing changes.
    town.edit([&request.invoked, &request.receipt, &key].map(|key| (key.clone(), None)).into(), &[]);
    assert!(!town.serve());
    assert!(!town.space().contains_key(&key));
    assert_eq!(std::fs::read(town.shop.object(&content)).unwrap(), content);
}

#[test]
fn what_the_service_did_not_sign_does_not_count() {
    let town = Town::new();
    let space = &town.shop.bucket;
    let nowhere = task(space, "/blob/add", blob(b"content that nobody has"), 0);
    let forged = receipt(&service(), &ed25519(7), &nowhere, Ok(map([("status", text("ok"))])));
    let foreign = receipt(&ed25519(7), &ed25519(7), &nowhere, Ok(map([("status", text("ok"))])));
    let key = key_of(&nowhere).expect("a blob's key");
    let other = key_of(&task(space, "/blob/add", blob(b"other content"), 0)).expect("a blob's key");
    let mine = "/notes/mine".to_owned();
    let link = |car: &[u8]| Some(Ipld::Link(id(car).to_cid()));
    // An entry for content that the service lacks syncs like any other.
    town.edit(
        vec![(key.clone(), link(&forged)), (other.clone(), link(&foreign)), (mine.clone(), Some(text("kept")))],
        &[&forged, &foreign],
    );
    // Others' invocations, and those that give no right, stay where they are.
    let not_ours = town.request(None, "/blob/add", blob(b"not ours"), 1);
    let mut stranger = ask(&ed25519(7), task(space, "/blob/add", blob(b"a stranger's"), 2), &[]);
    stranger.aud = Some(service().did());
    let block = ed25519(7).seal(&stranger);
    let (cid, stranger) = (cid(&block), pack(&[block]));
    town.edit(
        vec![(not_ours.queue.clone(), link(&not_ours.car)), (Kind::Queue.key(&cid), link(&stranger))],
        &[&not_ours.car, &stranger],
    );
    assert!(!town.serve());
    for key in [&key, &other, &mine] {
        assert!(matches!(town.standing(key), Standing::Unrecognised(_)), "{key}");
    }
    assert_eq!(town.space().len(), 5);
    assert_eq!(town.count("/store/add"), 0);
}

#[test]
fn what_has_no_room_is_answered_and_not_upheld() {
    let town = Town::new();
    let large = car("large", 1001);
    let request = town.ask("/blob/add", blob(&large), 0);
    town.queue(&request);
    assert!(town.serve());
    town.shop.good_turn();
    assert!(town.serve());
    let key = request.key.clone().expect("a blob's key");
    assert_eq!(town.recognised(&key).blob(), Some(Blob::Refused { name: "ExceedsLimit".into() }));
    // A user who writes that it is there convinces nobody.
    let nowhere = task(&town.shop.bucket, "/blob/add", blob(&large), 0);
    let forged = receipt(&service(), &ed25519(1), &nowhere, Ok(map([("status", text("ok"))])));
    town.edit(vec![(key.clone(), Some(Ipld::Link(id(&forged).to_cid())))], &[&forged]);
    assert!(matches!(town.standing(&key), Standing::Unrecognised(_)));
    assert!(!town.serve());
}

#[test]
fn several_commands_are_answered_in_one_edit() {
    let town = Town::new();
    let unknown = town.ask("/no/such", map([]), 0);
    let account = town.ask("/subscription/add", map([("account", text("did:mailto:example.com:alice"))]), 1);
    let root = Ipld::Link(id(b"root").to_cid());
    let shards = |shard: &[u8]| Ipld::List(vec![Ipld::Link(id(shard).to_cid())]);
    let upload = town.ask("/upload/add", map([("root", root), ("shards", shards(b"absent"))]), 2);
    for request in [&unknown, &account, &upload] {
        town.queue(request);
    }
    assert!(town.serve());
    assert_eq!(town.count("/space/push"), 4);
    let out = |key: &str| town.recognised(key).receipt.out;
    let name = |key: &str| match out(key) {
        Err(Ipld::Map(error)) => error["name"].clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(name(&unknown.receipt), text("CommandUnknown"));
    assert_eq!(name(&upload.receipt), text("ShardUnknown"));
    assert!(out(&account.receipt).is_ok());
    assert_eq!(town.recognised(account.key.as_ref().expect("a key")).car, town.recognised(&account.receipt).car);
    assert!(!town.serve());
}

/// The bucket's key lets somebody ask for what it pays for, and takes that back while it lies in the queue.
#[test]
fn what_was_taken_back_is_not_run() {
    let mut town = Town::new();
    let (friend, other, bucket) = (ed25519(7), ed25519(8), town.shop.bucket.clone());
    let queued = |by: &Identity, nonce| {
        let proofs = chain(&[&town.user, by], "/subscription");
        let args = map([("account", text("did:mailto:example.com:alice"))]);
        let draft = InvocationDraft {
            aud: Some(service().did()),
            ..ask(by, task(&bucket, "/subscription/add", args, nonce), &proofs)
        };
        let block = by.seal(&draft);
        (Kind::Queue.key(&cid(&block)), pack_with(&proofs, block), cid(&proofs[0]))
    };
    let [first, late, good] = [queued(&friend, 1), queued(&friend, 2), queued(&other, 3)];
    let put = |town: &Town, (key, car, _): &(String, Vec<u8>, _)| {
        town.edit(vec![(key.clone(), Some(Ipld::Link(id(car).to_cid())))], &[car]);
    };
    put(&town, &first);
    assert!(town.serve());
    assert!(!town.space().contains_key(&first.0), "as long as it holds, it counts");
    let revocation = task(&bucket, "/ucan/revoke", map([("ucan", Ipld::Link(first.2))]), 4);
    let revocation = signed(&town.user, revocation, &[]);
    assert_eq!(town.shop.world.invoke(User::Bob, &bucket, &revocation, false).unwrap().ok, Some(true));
    put(&town, &late);
    put(&town, &good);
    assert!(town.serve());
    let space = town.space();
    assert!(space.contains_key(&late.0), "it stays where it is");
    assert!(!space.contains_key(&good.0), "and hides no other");
    assert!(!town.serve());
}
