//! Continuations have the right of what they continue, no more.

use bucket_client::Identity;
use bucket_core::abi::Status;
use bucket_core::cid::NativeHasher;
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::receipt::Receipt;
use bucket_core::task::Task;
use bucket_core::ucan::{DelegationDraft, Policy};
use bucket_tests::cars::{car, id, map, put, task, text};
use bucket_tests::keys::{self, chain, cid, ed25519, grant, signed};
use bucket_tests::{User, World};

use super::{int, invoke, receipt_of};

/// Arguments of `/echo/then`, with this nonce for each of the tasks.
fn then_with<const N: usize>(nonce: u8, tasks: [(&str, Ipld); N]) -> Ipld {
    let task = |(cmd, args)| map([("cmd", text(cmd)), ("args", args), ("nonce", Ipld::Bytes(vec![nonce]))]);
    map([("tasks", Ipld::List(tasks.map(task).into()))])
}

fn then<const N: usize>(tasks: [(&str, Ipld); N]) -> Ipld {
    then_with(1, tasks)
}

/// What gives a stranger something.
fn coveted(proof: &[u8]) -> [(&'static str, Ipld); 4] {
    [
        ("/kv/put", map([("key", text("mine")), ("value", int(1))])),
        ("/bucket/open", map([("cmd", text("/kv"))])),
        ("/bucket/close", map([("cmd", text("/echo"))])),
        ("/ucan/revoke", map([("ucan", Ipld::Link(cid(proof)))])),
    ]
}

/// Bob carries it.
fn carried(world: &mut dyn World, b: &BucketId, car: &[u8]) -> Receipt {
    let invoked = world.invoke(User::Bob, b, car, false).expect("allowed");
    world.receipt_car(b, invoked.receipt)
}

/// A continuation's CAR as the machine packs it.
fn packed(b: &BucketId, cmd: &str, args: Ipld) -> Vec<u8> {
    Task { nonce: vec![1], ..task(b, cmd, args, 0) }.to_car::<NativeHasher>()
}

struct Scene {
    b: BucketId,
    owner: Identity,
    asker: Identity,
}

impl Scene {
    fn new(world: &mut dyn World) -> Self {
        let [owner, asker] = [1, 2].map(ed25519);
        Self { b: keys::create(world, &owner), owner, asker }
    }

    /// `/echo/then` by the asker, who was delegated `cmd`.
    fn then<const N: usize>(&self, cmd: &str, nonce: u64, tasks: [(&str, Ipld); N]) -> Vec<u8> {
        signed(&self.asker, task(&self.b, "/echo/then", then(tasks), nonce), &chain(&[&self.owner, &self.asker], cmd))
    }
}

fn refused(world: &mut dyn World, b: &BucketId, what: &str, receipt: &Receipt) {
    let failure = receipt.out.as_ref().expect_err(what);
    assert_eq!((failure.name.as_str(), &receipt.fork), ("ForkRefused", &vec![]), "{what}: {failure}");
    assert_eq!(world.queue(b), [], "{what}");
}

pub fn a_continuation_may_do_what_its_cause_may(world: &mut dyn World) {
    let scene = Scene::new(world);
    let b = &scene.b;
    // What a continuation links to travels with it, if it is there: they revoke what is not.
    let [echo, all] = ["/echo", "/"].map(|cmd| chain(&[&scene.owner, &scene.asker], cmd).remove(0));
    for (nonce, (cmd, args)) in (0..).zip(coveted(&all)) {
        let root = world.bucket(b).unwrap().root;
        let receipt = carried(world, b, &scene.then("/echo", nonce, [("/echo", map([])), (cmd, args.clone())]));
        refused(world, b, cmd, &receipt);
        // Neither by waiting in the queue, nor by way of another continuation.
        let queued = scene.then("/echo", 10 + nonce, [(cmd, args.clone())]);
        world.schedule(User::Eve, b, &queued, false).unwrap();
        assert_eq!(world.run(User::Eve, b, 10).unwrap().failed, 1);
        let receipt = receipt_of(world, b, id(&queued));
        refused(world, b, cmd, &receipt);
        let grandchild = then([(cmd, args)]);
        assert!(carried(world, b, &scene.then("/echo", 20 + nonce, [("/echo/then", grandchild.clone())])).out.is_ok());
        assert_eq!(world.run(User::Bob, b, 10).unwrap().failed, 1);
        let receipt = receipt_of(world, b, id(&packed(b, "/echo/then", grandchild)));
        refused(world, b, cmd, &receipt);
        assert_eq!(world.bucket(b).unwrap().root, root, "{cmd}");
    }
    // With all rights it works, down to the third step.
    for (nonce, (cmd, args)) in (0..).zip(coveted(&echo)) {
        // Another nonce: what was refused above has its receipt.
        let deep = then_with(2, [("/echo/then", then([(cmd, args.clone())]))]);
        assert!(carried(world, b, &scene.then("/", 30 + nonce, [("/echo/then", deep)])).out.is_ok());
        assert_eq!(world.run(User::Bob, b, 10).unwrap().failed, 0, "{cmd}");
        assert!(receipt_of(world, b, id(&packed(b, cmd, args))).out.is_ok());
    }
    assert_eq!(world.rows(b), [(text("mine"), int(1))]);
    let late = scene.then("/echo", 99, [("/echo", map([]))]);
    assert_eq!(world.invoke(User::Bob, b, &late, false).unwrap_err().code(), 76, "it was revoked by a continuation");
}

/// What is within a delegation may be continued; the continuation itself only runs, and asks for nothing more.
pub fn a_partial_right_ends_with_the_first_continuation(world: &mut dyn World) {
    let scene = Scene::new(world);
    let b = &scene.b;
    let child = then([("/echo", map([]))]);
    let first = scene.then("/echo", 0, [("/echo", map([("a", int(1))])), ("/echo/then", child.clone())]);
    assert!(carried(world, b, &first).out.is_ok());
    let run = world.run(User::Bob, b, 10).unwrap();
    assert_eq!((run.ran, run.failed), (2, 1));
    let receipt = receipt_of(world, b, id(&packed(b, "/echo/then", child)));
    refused(world, b, "a grandchild", &receipt);
}

/// All commands under a policy are not all rights.
pub fn a_policy_binds_continuations_as_well(world: &mut dyn World) {
    let scene = Scene::new(world);
    let b = &scene.b;
    let statement = Ipld::List(vec![text("=="), text(".out"), int(1)]);
    let pol = Policy::from_ipld(Ipld::List(vec![statement])).unwrap();
    let proofs = [scene.owner.delegate(&DelegationDraft { pol, ..grant(&scene.owner, &scene.asker, b, "/") })];
    let ask = |nonce, args| {
        let next = map([("cmd", text("/echo")), ("args", args), ("nonce", Ipld::Bytes(vec![1]))]);
        let args = map([("tasks", Ipld::List(vec![next])), ("out", int(1))]);
        signed(&scene.asker, task(b, "/echo/then", args, nonce), &proofs)
    };
    let receipt = carried(world, b, &ask(0, map([("out", int(2))])));
    refused(world, b, "outside the policy", &receipt);
    assert!(carried(world, b, &ask(1, map([("out", int(1))]))).out.is_ok());
    assert_eq!(world.run(User::Bob, b, 10).unwrap().failed, 0);
}

pub fn callers_of_open_commands_get_no_further(world: &mut dyn World) {
    let scene = Scene::new(world);
    let b = &scene.b;
    assert!(invoke(world, b, &car(b, "/bucket/open", map([("cmd", text("/echo"))]), 0)).out.is_ok());
    let root = world.bucket(b).unwrap().root;
    let proof = chain(&[&scene.owner, &scene.asker], "/").remove(0);
    for (nonce, (cmd, args)) in (0..).zip(coveted(&proof)) {
        let receipt = carried(world, b, &car(b, "/echo/then", then([(cmd, args.clone())]), nonce));
        refused(world, b, cmd, &receipt);
        // Neither do grandchildren, whose causes are open.
        let deep = then([("/echo/then", then([(cmd, args)]))]);
        assert!(carried(world, b, &car(b, "/echo/then", deep, 10 + nonce)).out.is_ok());
        assert_eq!(world.run(User::Eve, b, 10).unwrap().failed, 1);
        assert_eq!(world.bucket(b).unwrap().root, root, "{cmd}");
    }
    let open = then([("/echo/then", then([("/echo", map([]))]))]);
    assert!(carried(world, b, &car(b, "/echo/then", open, 99)).out.is_ok());
    assert_eq!(world.run(User::Eve, b, 10).unwrap().failed, 0, "what is open may continue with what is open");
    assert_eq!(world.rows(b), []);
}

/// Where its command is open, a stranger may run what waits before its turn; it has the right with which it was scheduled.
pub fn a_stranger_who_runs_it_early_takes_no_right_away(world: &mut dyn World) {
    let scene = Scene::new(world);
    let b = &scene.b;
    assert!(invoke(world, b, &car(b, "/bucket/open", map([("cmd", text("/echo"))]), 0)).out.is_ok());
    let wish = |key: i128| then([("/kv/put", map([("key", int(key)), ("value", int(1))]))]);
    let scheduled = car(b, "/echo/then", wish(1), 1);
    super::schedule(world, b, &scheduled);
    assert!(invoke(world, b, &car(b, "/echo/then", then([("/echo/then", wish(2))]), 2)).out.is_ok());
    for early in [scheduled, packed(b, "/echo/then", wish(2))] {
        assert_eq!(world.receipt(b, id(&early)).unwrap().status, Status::Pending);
        assert!(carried(world, b, &early).out.is_ok());
    }
    assert_eq!(world.run(User::Bob, b, 10).unwrap().failed, 0);
    assert_eq!(world.rows(b), [1, 2].map(|key| (int(key), int(1))));
}

/// What can't be delivered gets a receipt. Who may hardly do anything may not make one for a CAR of this bucket that they
/// could not run, or that ran already: it would never run, or seem not to have.
pub fn another_instance_gets_no_receipts_into_this_bucket(world: &mut dyn World) {
    let scene = Scene::new(world);
    let b = &scene.b;
    let (ran, coming) = (put(b, int(1), int(1), 1), put(b, int(2), int(2), 2));
    let receipt = world.invoke(User::Alice, b, &ran, false).unwrap().receipt;
    let nowhere = |nonce: u64| {
        let args = map([("key", int(nonce.into())), ("value", int(nonce.into()))]);
        let nonce = Ipld::Bytes(nonce.to_be_bytes().to_vec());
        map([("cmd", text("/kv/put")), ("args", args), ("nonce", nonce), ("at", int(99))])
    };
    let args = map([("tasks", Ipld::List(vec![nowhere(1), nowhere(2)]))]);
    let proofs = chain(&[&scene.owner, &scene.asker], "/echo");
    world.invoke(User::Bob, b, &signed(&scene.asker, task(b, "/echo/then", args, 0), &proofs), false).unwrap();
    assert_eq!(world.receipt(b, id(&ran)).unwrap().receipt, Some(receipt), "it ran");
    assert_eq!(world.receipt(b, id(&coming)).unwrap().status, Status::NotFound, "it is the controller's to run");
    assert!(world.invoke(User::Alice, b, &coming, false).unwrap().ran);
}
