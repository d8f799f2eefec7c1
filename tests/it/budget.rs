//! A run ends before its gas does: whatever the tasks are and however little gas there is, once the first of them fits.

mod pushes;

use std::slice::from_ref;

use bucket_client::identity::IdentityKind;
use bucket_core::abi::{CarParams, Hook, Message, RunParams, RunReturn};
use bucket_core::bucket::Mode;
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::limits::{CHUNK_BYTES_MAX, FORK_SIGNATURES_MAX, FORKS_MAX, PROOFS_MAX, STAGED_BYTES_MAX};
use bucket_devnet::Message as ChainMessage;
use bucket_devnet::fees::BLOCK_GAS_LIMIT;
use bucket_tests::cars::{Tx, car, id, map, task, text};
use bucket_tests::keys::{create, key};
use bucket_tests::node::NodeWorld;
use bucket_tests::{User, World};
use devnet_actors_wasm::HOOK;
use fvm_shared::address::Address;

use crate::scenario::reach::carries_delegated;
use crate::scenario::staging::{by_id, car_of, stage_all};
use crate::scenario::{bucket, int};

/// The FVM's code for a message that ran out of gas.
const OUT_OF_GAS: u32 = 7;
/// The machine's for one that has too little for a send or a hook.
const TOO_LITTLE: u32 = 63;

/// How a run would end now.
struct Tried {
    code: u32,
    gas: u64,
    told: Option<RunReturn>,
}

fn run(bucket: &BucketId, max: u64) -> Message {
    Message::Run(RunParams { bucket: bucket.clone(), max })
}

/// Tries a run and keeps nothing of it.
fn attempt(world: &NodeWorld, bucket: &BucketId, max: u64, gas_limit: u64) -> Tried {
    let message = run(bucket, max);
    let (method, params) = message.encode();
    let sent = ChainMessage::new(world.address(User::Bob), world.actor, method, params.to_vec());
    let result = world.chain.call(ChainMessage { gas_limit, ..sent }).expect("the chain answers");
    let receipt = result.msg_receipt;
    let code = receipt.exit_code.value();
    let told = (code == 0).then(|| match message.returned(receipt.return_data.bytes()) {
        Ok(bucket_core::abi::Returned::Run(told)) => told,
        other => panic!("{other:?}"),
    });
    Tried { code, gas: receipt.gas_used, told }
}

/// The smallest limit from `low` on with which a run does what is asked for, within half a percent.
fn least(low: u64, does: impl Fn(u64) -> bool) -> Option<u64> {
    let (mut low, mut high) = (low, BLOCK_GAS_LIMIT);
    if !does(high) {
        return None;
    }
    while high - low > low / 200 {
        let middle = low + (high - low) / 2;
        if does(middle) { high = middle } else { low = middle }
    }
    Some(high)
}

/// Limits from the one that does for the first task up to a block's, closely at first.
fn limits(first: u64) -> Vec<u64> {
    let close = (0..20).map(|step| first + first * step / 100);
    let wide = std::iter::successors(Some(first + first / 4), |limit| Some(limit + limit / 6));
    close.chain(wide.take_while(|limit| *limit < BLOCK_GAS_LIMIT)).chain([BLOCK_GAS_LIMIT]).collect()
}

/// No limit that does for the first task makes a run of all fail; then the queue is emptied with little gas at a time.
fn check(world: &mut NodeWorld, what: &str, b: &BucketId) {
    let pending = world.bucket(b).unwrap().pending();
    let first = least(1_000_000, |limit| attempt(world, b, 1, limit).code == 0).expect("the first task fits a block");
    // Asking whether another one fits takes a little, too.
    let one = first;
    let first = least(one, |limit| attempt(world, b, 1000, limit).code == 0).expect("the first task fits a block");
    assert!(first - one <= one / 100, "{what}: {one} gas for one, {first} to see that no other fits");
    let mut taken = 0;
    for limit in limits(first) {
        let Tried { code, told, gas } = attempt(world, b, 1000, limit);
        assert!(code != OUT_OF_GAS && code != TOO_LITTLE, "{what}: exit code {code} with {limit} gas, {first} for one");
        let told = told.unwrap_or_else(|| panic!("{what}: exit code {code} with {limit} gas"));
        assert!(told.taken >= taken.max(1), "{what}: more gas, fewer tasks");
        assert_eq!(told.stopped, told.pending > 0, "{what}");
        assert!(gas <= limit);
        taken = told.taken;
    }
    let takes = |count: u64| move |told: &RunReturn| told.taken >= count;
    let least_of =
        |count: u64| least(first, |limit| attempt(world, b, 1000, limit).told.as_ref().is_some_and(takes(count)));
    let all = attempt(world, b, 1000, BLOCK_GAS_LIMIT);
    println!(
        "{what}: 1 of {pending} takes {:.1} M gas; 2 begin at {:?}; {taken} with a block's take {:.1}",
        attempt(world, b, 1, first).gas as f64 / 1e6,
        least_of(2).map(|limit| limit / 1_000_000),
        all.gas as f64 / 1e6,
    );
    empty(world, what, b, first * 3 / 2);
}

/// Runs the queue with so little gas that it stops again and again: nothing is lost.
fn empty(world: &mut NodeWorld, what: &str, b: &BucketId, mut gas_limit: u64) {
    let before = world.bucket(b).unwrap();
    let queued = world.queue(b);
    let (mut runs, mut ran) = (0, 0);
    while world.bucket(b).unwrap().pending() > 0 {
        // A later task may need more than the first: its bucket has grown.
        while attempt(world, b, 1, gas_limit - gas_limit / 50).code != 0 {
            gas_limit += gas_limit / 2;
        }
        world.gas_limit = gas_limit;
        let told = world.run(User::Bob, b, 1000).unwrap_or_else(|refused| panic!("{what}: run {runs}: {refused:?}"));
        assert!(told.taken > 0, "{what}: no progress");
        (runs, ran) = (runs + 1, ran + told.ran);
    }
    world.gas_limit = 0;
    let after = world.bucket(b).unwrap();
    assert!(ran >= before.pending() && after.ran >= before.ran + ran, "{what}: {ran} of {} ran", before.pending());
    for car in queued {
        assert!(world.receipt(b, car).unwrap().receipt.is_some(), "{what}: {car} was lost");
    }
    assert_eq!(world.check().1, Vec::<String>::new());
    println!("{what}: {ran} tasks in {runs} runs of at most {:.0} M gas", gas_limit as f64 / 1e6);
}

fn schedule(world: &mut NodeWorld, b: &BucketId, car: Vec<u8>, hook: Option<Hook>) {
    let params = CarParams { hook, ..CarParams::new(b.clone(), car) };
    world.apply(User::Alice, Message::Schedule(params)).expect("scheduled");
}

fn both(what: &str, fill: impl Fn(&mut NodeWorld, &BucketId)) {
    let mut world = NodeWorld::default();
    for mode in [Mode::Atomic, Mode::Mutex] {
        let b = bucket(&mut world, &format!("Budget{mode}"), mode);
        fill(&mut world, &b);
        check(&mut world, &format!("{what} ({mode})"), &b);
    }
}

fn batch(b: &BucketId, from: i128, nonce: u64) -> Vec<u8> {
    let put = |key: i128| map([("type", text("put")), ("key", int(key)), ("value", text("a value in state"))]);
    car(b, "/kv/batch", map([("ops", Ipld::List((from..from + 256).map(put).collect()))]), nonce)
}

/// `/echo/then` of so many continuations, each with a block of so many bytes.
fn then(b: &BucketId, subs: &[BucketId], at: Option<u64>, count: usize, bytes: usize, nonce: u64) -> Vec<u8> {
    let mut tx = Tx::default();
    let link = Ipld::Link(tx.write(&Ipld::Bytes(vec![nonce as u8; bytes])));
    let one = |place: usize| {
        let args = map([("pad", link.clone())]);
        let mut asked = vec![("cmd", text("/echo")), ("args", args), ("sub", text(subs[place % subs.len()].as_str()))];
        asked.extend(at.map(|at| ("at", int(at.into()))));
        Ipld::Map(asked.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    };
    task(b, "/echo/then", map([("tasks", Ipld::List((0..count).map(one).collect()))]), nonce).to_car_with(tx)
}

#[test]
fn small_tasks() {
    both("/echo of 1 KiB", |world, b| {
        for nonce in 0..30 {
            let args = map([("pad", Ipld::Bytes(vec![7; 800]))]);
            schedule(world, b, car(b, "/echo", args, nonce), None);
        }
    });
}

#[test]
fn large_tasks() {
    both("/echo of 60 KB", |world, b| {
        for nonce in 0..5 {
            let mut tx = Tx::default();
            let link = Ipld::Link(tx.write(&Ipld::Bytes(vec![nonce as u8; 60_000])));
            schedule(world, b, task(b, "/echo", map([("pad", link)]), nonce).to_car_with(tx), None);
        }
    });
}

#[test]
fn staged_tasks() {
    both("/echo of 1 MiB", |world, b| {
        for nonce in 0..3 {
            let car = car_of(b, STAGED_BYTES_MAX, nonce);
            stage_all(world, User::Bob, &car, CHUNK_BYTES_MAX);
            world.apply(User::Alice, Message::Schedule(by_id(b, id(&car)))).expect("scheduled");
        }
    });
}

#[test]
fn batches() {
    both("/kv/batch of 256", |world, b| {
        for nonce in 0..4 {
            schedule(world, b, batch(b, 1000 * i128::from(nonce), nonce), None);
        }
    });
}

/// 8192 keys and many receipts.
fn fill(world: &mut NodeWorld, b: &BucketId) {
    for nonce in 0..32 {
        let car = batch(b, 256 * i128::from(nonce), 100 + nonce);
        assert_eq!(world.invoke(User::Alice, b, &car, false).unwrap().ok, Some(true));
    }
    world.fill(b, 1000).unwrap();
}

/// Half of the keys are there already.
#[test]
fn batches_on_a_filled_bucket() {
    both("/kv/batch of 256 on 8192 keys", |world, b| {
        fill(world, b);
        for nonce in 0..4 {
            schedule(world, b, batch(b, 8064 - 2000 * i128::from(nonce), nonce), None);
        }
    });
}

#[test]
fn continuations() {
    both("16 continuations of 16 KB", |world, b| {
        for nonce in 0..3 {
            schedule(world, b, then(b, from_ref(b), None, FORKS_MAX, 15_500, nonce), None);
        }
    });
}

#[test]
fn continuations_for_other_buckets() {
    both("16 continuations for 16 buckets", |world, b| {
        let of = |at| bucket_tests::cars::did(&format!("{}n{at}", b.as_str().replace("did:key:z", "")));
        let others: Vec<_> = (0..FORKS_MAX).map(of).collect();
        for other in &others {
            world.create(other, Mode::Atomic).unwrap();
        }
        for nonce in 0..4 {
            schedule(world, b, then(b, &others, None, FORKS_MAX, 1000, nonce), None);
        }
    });
}

/// Continuations that somebody signed, for a bucket in which revocations are looked for among many keys: as many signatures as
/// a task may ask for, of the dearest kind, some of them those of delegations that all continuations share.
fn signed_continuations(count: usize, proofs: usize) {
    assert!(count * (1 + proofs) <= FORK_SIGNATURES_MAX && count * (2 + proofs) > FORK_SIGNATURES_MAX);
    both(&format!("{count} signed continuations with {proofs} delegations"), |world, b| {
        let first = if b.as_str().ends_with("mutex") { 100 } else { 1 };
        let keys: Vec<_> = (first..).take(1 + proofs).map(|number| key(IdentityKind::P256, number)).collect();
        let to = create(world, &keys[0]);
        fill(world, &to);
        let keys: Vec<_> = keys.iter().collect();
        for nonce in 0..4 {
            schedule(world, b, carries_delegated(b, &to, &keys, count, nonce), None);
        }
    });
}

#[test]
fn signed_continuations_without_delegations() {
    signed_continuations(FORKS_MAX, 0);
}

#[test]
fn signed_continuations_with_a_delegation() {
    signed_continuations(FORK_SIGNATURES_MAX / 2, 1);
}

#[test]
fn signed_continuations_with_a_long_chain() {
    signed_continuations(2, PROOFS_MAX);
}

fn elsewhere(world: &mut NodeWorld, name: &str) -> (u64, BucketId) {
    world.swap();
    let there = bucket(world, name, Mode::Atomic);
    let at = world.instance();
    world.swap();
    (at, there)
}

#[test]
fn many_sends() {
    both("16 sends", |world, b| {
        let name = b.as_str().replace("did:key:zTest", "There");
        let (at, there) = elsewhere(world, &name);
        for nonce in 0..3 {
            schedule(world, b, then(b, from_ref(&there), Some(at), FORKS_MAX, 500, nonce), None);
        }
    });
}

#[test]
fn large_sends() {
    both("4 sends of 50 KB", |world, b| {
        let name = b.as_str().replace("did:key:zTest", "There");
        let (at, there) = elsewhere(world, &name);
        for nonce in 0..3 {
            schedule(world, b, then(b, from_ref(&there), Some(at), 4, 50_000, nonce), None);
        }
    });
}

fn hooks(what: &str, method: u64) {
    both(what, |world, b| {
        let to: Address = world.deploy(HOOK).expect("it loads").robust;
        for nonce in 0..5 {
            schedule(world, b, car(b, "/echo", map([]), nonce), Some(Hook { to, method }));
        }
    });
}

#[test]
fn hooks_that_are_told() {
    hooks("/echo with a hook", (1 << 24) + 1);
}

#[test]
fn hooks_that_burn() {
    hooks("/echo with a hook that burns", (1 << 24) + 3);
}

/// What is cheap goes before what is dear: the estimate of the next one decides.
#[test]
fn a_mixed_queue() {
    both("a mixed queue", |world, b| {
        for nonce in 0..12 {
            let next = match nonce % 4 {
                0 => batch(b, 300 * i128::from(nonce), nonce),
                1 => then(b, from_ref(b), None, FORKS_MAX, 3000, nonce),
                _ => car(b, "/echo", map([]), nonce),
            };
            schedule(world, b, next, None);
        }
    });
}
