//! The service when it dies, when the chain takes back what it did, and when somebody else's word stands where its own should.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;

use bucket_client::store::provide;
use bucket_client::worker::Observer;
use bucket_core::abi::{CarParams, InvokeReturn, Message};
use bucket_devnet::Message as ChainMessage;
use bucket_devnet::node::Reorg;
use bucket_protocols::store;
use bucket_protocols::store::event::PUT;
use bucket_tests::space::{self, put};

use super::*;

/// Ends whoever is observed at a step.
struct Fuse(Mutex<u64>);

impl Fuse {
    fn step(&self) {
        let mut left = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *left = left.saturating_sub(1);
        if *left == 0 {
            // As a panic, but without its noise.
            resume_unwind(Box::new("the fuse"));
        }
    }
}

impl Observer for Fuse {
    fn before(&self, _: &'static str) {
        self.step();
    }

    fn after(&self, _: &'static str) {
        self.step();
    }
}

/// More steps than a look takes, and fewer than the shortest.
const STEPS: std::ops::Range<u64> = 14..60;

/// A service ends at its first step, the next one at its second, and so on. Whatever it was about, the next service brings it to
/// the same end, and adds nothing twice.
#[test]
fn each_task_runs_once_whenever_the_service_dies() {
    let town = Town::new();
    let home = tempfile::tempdir().unwrap();
    let open = || Service::open(town.shop.payer(), service(), home.path()).unwrap();
    let look = |service: &Service| {
        town.shop.world.catch_up();
        town.shop.runtime.block_on(service.once()).unwrap()
    };
    for step in 1..STEPS.end {
        let content = car(&format!("content {step} "), 64);
        let blob = town.ask("/blob/add", blob(&content), step);
        let account = map([("account", text(&format!("did:mailto:example.com:{step}")))]);
        let account = town.ask("/subscription/add", account, step);
        town.queue(&blob);
        town.queue(&account);
        let dying = open().with_observer(Fuse(Mutex::new(step)));
        let died = catch_unwind(AssertUnwindSafe(|| look(&dying))).is_err();
        drop(dying);
        let next = open();
        while look(&next) > 0 {}
        drop(next);
        let space = town.space();
        for request in [&blob, &account] {
            assert!(!space.contains_key(&request.queue) && space.contains_key(&request.invoked), "step {step}");
        }
        let key = account.key.as_ref().expect("a subscription's key");
        assert_eq!(space[key], space[&account.receipt], "step {step}");
        assert!(town.recognised(key).is_ok(), "step {step}");
        assert_eq!(town.count("/store/add") as u64, step);
        if !died {
            assert!(step > STEPS.start, "it takes more than {step} steps");
            return;
        }
    }
    panic!("expected a look to end in less than {} steps", STEPS.end);
}

impl Town {
    /// Sends an edit before what waits in the pool.
    fn be_quicker(&self, car: Vec<u8>) {
        let world = &self.shop.world;
        let bob = world.devnet.account(User::Bob as usize).unwrap();
        let (method, params) = Message::Invoke(CarParams::new(self.shop.bucket.clone(), car)).encode();
        let message = ChainMessage::new(bob.address(), world.clients[0].address(), method, params.to_vec());
        let executed = world.devnet.execute(&bob, message).unwrap().success().unwrap();
        let told: InvokeReturn = executed.receipt.return_data.deserialize().unwrap();
        assert_eq!(told.ok, Some(true));
    }
}

/// The fork has somebody else's edit in the place of the service's, whose message then comes too late.
#[test]
fn what_the_chain_takes_back_is_written_again() {
    let town = Town::new();
    let request = town.ask("/subscription/add", map([("account", text("did:mailto:example.com:alice"))]), 0);
    town.queue(&request);
    let before = town.space();
    town.shop.world.devnet.mine(3).unwrap();
    assert!(town.serve());
    let written = town.recognised(&request.receipt).car;

    town.shop.world.devnet.reorg(Reorg { include: false, null_rounds: 0, ..Reorg::of_depth(3) }).unwrap();
    let mut there = space::Replica::default();
    there.follow(&there.clone().prepare(before.into_iter().map(|(key, value)| (key, Some(value))), None));
    let edit = there.prepare([put("/notes/other", text("was quicker"))], None);
    let edit = town.user.invoke(space::task(&town.shop.bucket, &edit, 1), &[], None, edit.blocks([]));
    town.be_quicker(edit);
    town.shop.world.devnet.mine(2).unwrap();
    let space = town.space();
    assert!(space.contains_key(&request.queue) && !space.contains_key(&request.receipt), "{space:?}");

    assert!(town.serve());
    let space = town.space();
    assert!(!space.contains_key(&request.queue) && space.contains_key(&request.invoked));
    assert_eq!(town.recognised(&request.receipt).car, written);
    assert_eq!(space["/notes/other"], text("was quicker"));
    assert!(!town.serve());
}

/// A bucket's owner may be its provider for a while, and say that what nobody has is stored.
#[test]
fn what_another_provider_called_stored_is_not_upheld() {
    let mut town = Town::new();
    let (bucket, friend) = (town.shop.bucket.clone(), ed25519(7));
    let nowhere = car("nowhere", 64);
    let name = |town: &mut Town, provider: &Identity| {
        let car = provide(&bucket, &provider.did(), &town.user, &[], None, 0).unwrap();
        assert_eq!(town.shop.world.invoke(User::Bob, &bucket, &car, false).unwrap().ok, Some(true));
    };
    name(&mut town, &friend);
    town.shop.add(&nowhere).unwrap();
    let said = store::event(&bucket, id(&nowhere), 1, PUT, Default::default(), vec![]);
    let said = signed(&friend, said, &chain(&[&town.user, &friend], "/store"));
    assert_eq!(town.shop.tell(&bucket, &said).unwrap().status, Status::Ok);
    name(&mut town, &service());

    let shards = Ipld::List(vec![Ipld::Link(id(&nowhere).to_cid())]);
    let root = Ipld::Link(id(b"root").to_cid());
    let upload = town.ask("/upload/add", map([("root", root), ("shards", shards)]), 1);
    let request = town.ask("/blob/add", blob(&nowhere), 2);
    town.queue(&upload);
    assert!(town.serve());
    assert!(!town.recognised(&upload.receipt).is_ok());
    town.queue(&request);
    assert!(town.serve());
    town.shop.good_turn();
    assert!(town.serve());
    let key = request.key.clone().expect("a blob's key");
    assert_eq!(town.recognised(&key).blob(), Some(Blob::Pending { status: "receiving".into() }));
    town.upload(&nowhere);
    town.shop.good_turn();
    assert!(town.serve());
    assert_eq!(town.recognised(&key).blob(), Some(Blob::Stored { site: id(&nowhere).to_cid() }));
}
