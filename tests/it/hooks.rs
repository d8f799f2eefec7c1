//! Calls out of the actor and into it: hooks that are told of receipts, and another actor that schedules.

use bucket_core::abi::{
    self, CarParams, CreateParams, DeliverParams, Hook, HookParams, InvokeReturn, Message, Returned, RunParams,
    ScheduleReturn, Status, method,
};
use bucket_core::bucket::{Chain, Mode};
use bucket_core::cid::{CarId, NativeHasher};
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::limits::{CHUNK_BYTES_MAX, HOOK_CAR_BYTES_MAX, STAGED_BYTES_MAX};
use bucket_core::receipt::Receipt;
use bucket_core::task::Task;
use bucket_devnet::{Message as ChainMessage, Store};
use bucket_tests::cars::{car, did, id, map, put, task, text};
use bucket_tests::network::NetworkWorld;
use bucket_tests::node::NodeWorld;
use bucket_tests::{Refused, User, World, returned};
use devnet_actors_wasm::HOOK;
use fvm_ipld_blockstore::Blockstore;
use fvm_ipld_encoding::{RawBytes, strict_bytes, tuple::*};
use fvm_shared::address::Address;

use crate::scenario::staging::{by_id, stage_all};
use crate::scenario::{bucket, int, receipt_of};

/// The methods of `devnet/actors/hook`.
const TELL: u64 = (1 << 24) + 1;
const REFUSE: u64 = (1 << 24) + 2;
const BURN: u64 = (1 << 24) + 3;
const CALL_BACK: u64 = (1 << 24) + 4;
const PREPARE: u64 = (1 << 24) + 5;
const FORWARD: u64 = (1 << 24) + 6;
const MEASURE: u64 = (1 << 24) + 7;

#[derive(Deserialize_tuple)]
struct HookState {
    told: Vec<Told>,
    #[expect(dead_code, reason = "part of the tuple")]
    prepared: Option<Call>,
    answers: Vec<u32>,
}

#[derive(Deserialize_tuple)]
struct Told {
    caller: u64,
    #[serde(with = "strict_bytes")]
    params: Vec<u8>,
}

#[derive(Clone, Serialize_tuple, Deserialize_tuple)]
struct Call {
    to: Address,
    method: u64,
    params: RawBytes,
}

#[derive(Deserialize_tuple)]
struct Answer {
    exit_code: u32,
    returned: RawBytes,
}

/// Worlds in which other actors can be.
trait Actors: World + Sized {
    fn install(&mut self) -> Address;
    fn call_hook(&mut self, hook: Address, method: u64, params: RawBytes) -> RawBytes;
    fn read_state(&self, hook: Address) -> HookState;
}

fn hook_state(store: &Store, root: &bucket_core::cid::Cid) -> anyhow::Result<HookState> {
    let block = store.get(root)?.ok_or_else(|| anyhow::anyhow!("no state"))?;
    Ok(fvm_ipld_encoding::from_slice(&block)?)
}

impl Actors for NodeWorld {
    fn install(&mut self) -> Address {
        self.deploy(HOOK).expect("it loads").id
    }

    fn call_hook(&mut self, hook: Address, method: u64, params: RawBytes) -> RawBytes {
        let message = ChainMessage::new(self.address(User::Alice), hook, method, params.to_vec());
        self.execute(message).and_then(|executed| executed.success()).expect("it answers").receipt.return_data
    }

    fn read_state(&self, hook: Address) -> HookState {
        let root = self.chain.state().expect("a state tree").actor(&hook).expect("the hook").1.state;
        hook_state(self.chain.store(), &root).expect("its state")
    }
}

impl Actors for NetworkWorld {
    fn install(&mut self) -> Address {
        let alice = self.devnet.account(0).expect("an account");
        self.devnet.deploy(&alice, HOOK, &[]).expect("it loads").id
    }

    fn call_hook(&mut self, hook: Address, method: u64, params: RawBytes) -> RawBytes {
        let alice = self.devnet.account(0).expect("an account");
        let message = ChainMessage::new(alice.address(), hook, method, params.to_vec());
        let executed = self.devnet.execute(&alice, message).and_then(|executed| executed.success());
        executed.expect("it answers").receipt.return_data
    }

    fn read_state(&self, hook: Address) -> HookState {
        let read = move |chain: &bucket_devnet::Chain| {
            let root = chain.state()?.actor(&hook)?.1.state;
            hook_state(chain.store(), &root)
        };
        self.devnet.inspect(read).expect("its state")
    }
}

/// The hook sends a message of ours on its own behalf.
fn forward(world: &mut impl Actors, hook: Address, message: &Message) -> Answer {
    let (method, params) = message.encode();
    let call = Call { to: Address::new_id(world.instance()), method, params };
    let answer = world.call_hook(hook, FORWARD, abi::encode(&call));
    fvm_ipld_encoding::from_slice(answer.bytes()).expect("an answer")
}

fn hooked(bucket: &BucketId, car: &[u8], to: Address, method: u64) -> CarParams {
    CarParams { hook: Some(Hook { to, method }), ..CarParams::new(bucket.clone(), car.to_vec()) }
}

fn schedule(world: &mut dyn World, params: CarParams) -> ScheduleReturn {
    returned!(Schedule, world.apply(User::Alice, Message::Schedule(params))).expect("scheduled")
}

fn invoke(world: &mut dyn World, params: CarParams) -> Result<InvokeReturn, Refused> {
    returned!(Invoke, world.apply(User::Alice, Message::Invoke(params)))
}

fn told(told: &Told) -> HookParams {
    fvm_ipld_encoding::from_slice(&told.params).expect("HookParams")
}

/// What the hook was told of is what the chain committed to.
fn assert_told(world: &mut dyn World, params: HookParams, bucket: &BucketId, ran: CarId, ok: bool) {
    assert_eq!((&params.bucket, params.ran, params.ok), (bucket, ran, ok));
    let committed = world.receipt(bucket, ran).unwrap().receipt.expect("it ran");
    assert_eq!((params.receipt, id(&params.receipt_car)), (committed, committed));
    let receipt = Receipt::from_car::<NativeHasher>(params.receipt_car).expect("a receipt");
    assert_eq!((receipt.ran, receipt.out.is_ok()), (ran, ok));
}

fn hooks_are_told_of_receipts(world: &mut impl Actors) {
    let hook = world.install();
    let this = world.instance();
    for mode in [Mode::Atomic, Mode::Mutex] {
        let b = bucket(world, &format!("Told{mode}"), mode);
        let before = world.read_state(hook).told.len();
        let [put, fail, quiet, now] = [
            put(&b, text("a"), int(1), 1),
            car(&b, "/echo/fail", map([("message", text("no"))]), 2),
            car(&b, "/echo", map([]), 3),
            car(&b, "/echo", map([]), 4),
        ];
        schedule(world, hooked(&b, &put, hook, TELL));
        schedule(world, CarParams::new(b.clone(), quiet));
        schedule(world, hooked(&b, &fail, hook, TELL));
        assert_eq!(world.read_state(hook).told.len(), before, "scheduling tells nobody");
        let run = world.run(User::Bob, &b, 10).unwrap();
        assert_eq!((run.ran, run.failed), (3, 1));
        assert!(invoke(world, hooked(&b, &now, hook, TELL)).unwrap().ran);
        let state = world.read_state(hook);
        let calls: Vec<HookParams> = state.told[before..].iter().map(told).collect();
        assert!(state.told.iter().all(|told| told.caller == this));
        let [first, second, third] = &calls[..] else { panic!("{} calls", calls.len()) };
        assert_told(world, first.clone(), &b, id(&put), true);
        assert_told(world, second.clone(), &b, id(&fail), false);
        assert_told(world, third.clone(), &b, id(&now), true);
        // What is known already runs no second time, and is told of no second time.
        assert!(!invoke(world, hooked(&b, &now, hook, TELL)).unwrap().ran);
        assert_eq!(world.read_state(hook).told.len(), before + 3);
    }
}

/// `/echo`, whose receipt CAR has exactly so many bytes.
fn echo_for(bucket: &BucketId, receipt: usize) -> Vec<u8> {
    let with = |pad| task(bucket, "/echo", map([("pad", Ipld::Bytes(vec![7; pad]))]), 1);
    let told = |task: &Task| {
        let ran = id(&task.to_car::<NativeHasher>());
        Receipt { ran, out: Ok(Ipld::Map(task.args.clone())), fork: vec![], cause: None, prior: None }
            .to_car::<NativeHasher>()
            .len()
    };
    let around = told(&with(receipt)) - receipt;
    let task = with(receipt - around);
    assert_eq!(told(&task), receipt);
    task.to_car::<NativeHasher>()
}

/// Invokes a CAR whose receipt has so many bytes; answers both ids and what the hook kept.
fn invoke_for(
    world: &mut impl Actors,
    b: &BucketId,
    receipt: usize,
    to: Address,
    method: u64,
) -> (CarId, CarId, Vec<u8>) {
    let car = echo_for(b, receipt);
    stage_all(world, User::Alice, &car, CHUNK_BYTES_MAX);
    let params = CarParams { hook: Some(Hook { to, method }), ..by_id(b, id(&car)) };
    let invoked = invoke(world, params).unwrap();
    assert_eq!((invoked.ran, invoked.ok), (true, Some(true)));
    let told = world.read_state(to).told.pop().expect("it was told");
    (id(&car), invoked.receipt, told.params)
}

/// A receipt that doesn't fit what actors send each other is told by its id; the largest that fits arrives.
fn large_receipts_are_told_by_their_ids(world: &mut impl Actors) {
    let hook = world.install();
    let b = bucket(world, "LargeReceipts", Mode::Atomic);
    let told = |ran, receipt, receipt_car| HookParams { bucket: b.clone(), ran, receipt, ok: true, receipt_car };
    let (ran, receipt, length) = invoke_for(world, &b, HOOK_CAR_BYTES_MAX, hook, MEASURE);
    let all = abi::encode(&told(ran, receipt, vec![0; HOOK_CAR_BYTES_MAX]));
    assert_eq!(length, (all.len() as u64).to_be_bytes());
    for size in [HOOK_CAR_BYTES_MAX + 1, STAGED_BYTES_MAX - 100] {
        let (ran, receipt, params) = invoke_for(world, &b, size, hook, TELL);
        assert_eq!(params, abi::encode(&told(ran, receipt, vec![])).bytes());
    }
    assert_eq!(world.read_state(hook).told.len(), 3);
}

fn failing_hooks_change_nothing(world: &mut impl Actors) {
    let hook = world.install();
    let nowhere = Address::new_id(99_999_999);
    let b = bucket(world, "Failing", Mode::Atomic);
    let cars: Vec<_> = (0..5).map(|n| put(&b, int(n), int(n), n as u64)).collect();
    let hooks = [(hook, REFUSE), (hook, BURN), (nowhere, TELL), (hook, (1 << 24) + 99), (hook, TELL)];
    for (car, (to, method)) in cars.iter().zip(hooks) {
        schedule(world, hooked(&b, car, to, method));
    }
    let run = world.run(User::Bob, &b, 10).unwrap();
    assert_eq!((run.ran, run.failed, run.pending), (5, 0, 0));
    for car in &cars {
        assert!(receipt_of(world, &b, id(car)).out.is_ok());
    }
    let state = world.read_state(hook);
    assert_eq!(state.told.len(), 1, "the last is told all the same");
    assert_told(world, told(&state.told[0]), &b, id(&cars[4]), true);
    assert!(invoke(world, hooked(&b, &put(&b, int(9), int(9), 9), hook, BURN)).unwrap().ran);
    assert_eq!(world.rows(&b).len(), 6);
}

fn reserved_methods_are_no_hooks(world: &mut impl Actors) {
    let hook = world.install();
    let b = bucket(world, "Reserved", Mode::Atomic);
    let car = car(&b, "/echo", map([]), 1);
    let (before, _) = world.check();
    for method in [0, 1, 2, (1 << 24) - 1, method::SCHEDULE, method::DELIVER, method::INVOKE_EVM, method::CREATE] {
        let params = hooked(&b, &car, hook, method);
        for message in [Message::Schedule(params.clone()), Message::Invoke(params)] {
            let refused = world.apply(User::Alice, message).unwrap_err();
            assert!(refused.code() == 57 && refused.message().contains("FRC-0042"), "{method}: {refused:?}");
        }
    }
    assert_eq!(world.check().0, before);
    assert!(invoke(world, hooked(&b, &car, hook, 1 << 24)).unwrap().ran, "the first that is free");
}

/// An actor that controls a bucket may put CARs into its queue, and nothing else; only messages of accounts run tasks.
fn another_actor_schedules(world: &mut impl Actors) {
    let hook = world.install();
    let (b, other) = (did("Controlled"), bucket(world, "NotControlled", Mode::Atomic));
    world.create_with(&b, Mode::Mutex, vec![hook]).unwrap();
    let put = put(&b, text("a"), int(1), 1);
    let params = CarParams::new(b.clone(), put.clone());
    assert_eq!(world.schedule(User::Alice, &b, &put, false).unwrap_err().code(), 18);
    let scheduling = Message::Schedule(params.clone());
    let answer = forward(world, hook, &scheduling);
    assert_eq!(answer.exit_code, 0);
    let Returned::Schedule(scheduled) = scheduling.returned(answer.returned.bytes()).unwrap() else { unreachable!() };
    assert_eq!((scheduled.car, scheduled.status), (id(&put), Status::Pending));
    assert_eq!(world.queue(&b), [id(&put)]);

    let (before, _) = world.check();
    let chain = Chain { cause: id(b"cause"), depth: 1, work: 9, issuer: None, full: true, foreign: true };
    let create = CreateParams { bucket: did("Never"), controllers: vec![hook], mode: Mode::Atomic, proof: None };
    let refused = [
        (Message::Invoke(params), 50),
        (Message::Run(RunParams { bucket: b.clone(), max: 1 }), 50),
        (Message::Create(create), 50),
        (Message::Schedule(CarParams::new(other.clone(), car(&other, "/echo", map([]), 1))), 18),
        (Message::Deliver(DeliverParams { car: put.clone(), from: Some(other), chain, caller: 1 }), 58),
    ];
    for (message, code) in refused {
        assert_eq!(forward(world, hook, &message).exit_code, code, "{message:?}");
        assert_eq!(world.check().0, before);
    }
    assert_eq!(world.run(User::Bob, &b, 1).unwrap().failed, 0);
    assert_eq!(world.rows(&b), [(text("a"), int(1))]);
}

/// A hook that calls back finds all written: it may schedule what comes next, which is seen by those who follow by traces.
#[test]
fn a_hook_that_calls_back_schedules_and_no_more() {
    let mut world = NetworkWorld::default();
    let hook = world.install();
    let b = did("Back");
    let alice = world.address(User::Alice);
    world.create_with(&b, Mode::Atomic, vec![alice, hook]).unwrap();
    let next = put(&b, text("next"), int(1), 100);
    let chain = Chain { cause: id(b"cause"), depth: 1, work: 9, issuer: None, full: true, foreign: true };
    let params = CarParams::new(b.clone(), next.clone());
    let messages = [
        (Message::Schedule(params.clone()), 0),
        (Message::Invoke(params), 50),
        (Message::Run(RunParams { bucket: b.clone(), max: 1 }), 50),
        (Message::Deliver(DeliverParams { car: next.clone(), from: Some(b.clone()), chain, caller: 1 }), 58),
    ];
    for (nonce, (message, code)) in (0..).zip(messages) {
        let (method, params) = message.encode();
        let prepared = Call { to: hook, method, params };
        world.call_hook(hook, PREPARE, abi::encode(&prepared));
        let car = car(&b, "/echo", map([]), nonce);
        match nonce {
            0 => {
                schedule(&mut world, hooked(&b, &car, hook, CALL_BACK));
                // The queue was empty when the run ended; what the hook put there comes with the next run.
                let run = world.run(User::Bob, &b, 10).unwrap();
                assert_eq!((run.ran, run.pending), (1, 0));
                assert_eq!(world.queue(&b), [id(&next)]);
                assert_eq!(world.run(User::Bob, &b, 10).unwrap().ran, 1);
            }
            _ => assert!(invoke(&mut world, hooked(&b, &car, hook, CALL_BACK)).unwrap().ran),
        }
        assert_eq!(world.read_state(hook).answers.last(), Some(&code), "{message:?}");
        assert_eq!(world.check().1, Vec::<String>::new());
    }
    assert_eq!(world.rows(&b), [(text("next"), int(1))]);
    assert_eq!(world.bucket(&b).unwrap().ran, 5);
}

macro_rules! both {
    ($($name:ident)*) => {
        mod on_node {
            $(#[test] fn $name() { super::checked(super::NodeWorld::default(), super::$name) })*
        }
        mod on_network {
            $(#[test] fn $name() { super::checked(super::NetworkWorld::default(), super::$name) })*
        }
    };
}

fn checked<W: Actors>(mut world: W, scenario: fn(&mut W)) {
    scenario(&mut world);
    assert_eq!(world.check().1, Vec::<String>::new());
}

both! {
    hooks_are_told_of_receipts large_receipts_are_told_by_their_ids failing_hooks_change_nothing
    reserved_methods_are_no_hooks another_actor_schedules
}
