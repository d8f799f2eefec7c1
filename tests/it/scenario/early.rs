//! What strangers may do with what waits in a queue, and what they may not.

use bucket_core::abi::{CarParams, Hook, Message, Status};
use bucket_core::bucket::Mode;
use bucket_core::limits::FORK_SIGNATURES_MAX;
use bucket_tests::cars::{car, id, map, text};
use bucket_tests::keys::ed25519;
use bucket_tests::{User, World, returned};
use fvm_shared::address::Address;

use super::reach::{ask, bucket_of_key, carries_delegated, pair, then};
use super::{bucket, int, invoke, receipt_of, schedule};

fn open(world: &mut dyn World, b: &bucket_core::did::BucketId, what: &str, cmd: &str, nonce: u64) {
    assert!(invoke(world, b, &car(b, what, map([("cmd", text(cmd))]), nonce)).out.is_ok());
}

/// A continuation for another bucket needs its cause's sender, whoever has the cause run.
pub fn what_a_stranger_runs_early_is_still_its_senders(world: &mut dyn World) {
    let (a, b) = (bucket(world, "Early", Mode::Atomic), bucket(world, "Early2", Mode::Atomic));
    open(world, &a, "/bucket/open", "/echo", 1);
    let asks = car(&a, "/echo/then", then([ask(&b, "/kv/put", pair(1), 1)]), 2);
    schedule(world, &a, &asks);
    assert_eq!(world.invoke(User::Eve, &a, &asks, false).unwrap().ok, Some(true));
    assert_eq!(world.run(User::Bob, &b, 10).unwrap().failed, 0);
    assert_eq!(world.rows(&b), [(int(1), int(1))]);
}

/// Once: again only by their own right, and not in the sender's place.
pub fn a_stranger_repeats_nothing_with_anothers_right(world: &mut dyn World) {
    let b = bucket(world, "Repeat", Mode::Atomic);
    open(world, &b, "/bucket/open", "/echo", 1);
    let wish = map([("cmd", text("/kv/put")), ("args", pair(1))]);
    let asks = car(&b, "/echo/then", then([wish]), 2);
    schedule(world, &b, &asks);
    assert_eq!(world.invoke(User::Eve, &b, &asks, false).unwrap().ok, Some(true));
    assert_eq!(world.invoke(User::Eve, &b, &asks, true).unwrap().ok, Some(false), "by Eve's right");
    let later = car(&b, "/echo", map([]), 3);
    schedule(world, &b, &later);
    assert!(world.invoke(User::Eve, &b, &later, false).unwrap().ran);
    world.schedule(User::Eve, &b, &later, true).unwrap();
    world.run(User::Bob, &b, 10).unwrap();
    assert_eq!(world.receipt(&b, id(&later)).unwrap().version, 1, "Alice asked for it once");
}

/// What waits is asked again whether its command is open.
pub fn a_closed_command_is_closed_for_what_waits(world: &mut dyn World) {
    for mode in [Mode::Atomic, Mode::Mutex] {
        let b = bucket(world, &format!("Closed{mode}"), mode);
        open(world, &b, "/bucket/open", "/kv", 1);
        let cars = [1, 2].map(|n| car(&b, "/kv/put", pair(n), n));
        world.schedule(User::Eve, &b, &cars[0], false).unwrap();
        schedule(world, &b, &car(&b, "/bucket/close", map([("cmd", text("/kv"))]), 2));
        world.schedule(User::Eve, &b, &cars[1], false).unwrap();
        assert_eq!(world.run(User::Bob, &b, 10).unwrap().failed, 1);
        assert_eq!(receipt_of(world, &b, id(&cars[1])).out.unwrap_err().name, "Forbidden");
        assert_eq!(world.rows(&b), [(int(1), int(1))]);
    }
}

/// Who comes second learns that the hook is another one.
pub fn a_hook_is_not_dropped_in_silence(world: &mut dyn World) {
    let b = bucket(world, "Hooked", Mode::Atomic);
    let car = car(&b, "/echo", map([]), 1);
    schedule(world, &b, &car);
    let hook = Some(Hook { to: Address::new_id(99), method: 1 << 30 });
    let again = Message::Schedule(CarParams { hook, ..CarParams::new(b.clone(), car.clone()) });
    assert_eq!(world.apply(User::Alice, again).unwrap_err().code(), 57);
    let again = returned!(Schedule, world.apply(User::Alice, Message::Schedule(CarParams::new(b, car))));
    assert_eq!(again.unwrap().status, Status::Pending);
}

/// All signatures of a task's continuations are verified in one message.
pub fn signatures_of_continuations_are_bounded(world: &mut dyn World) {
    let owner = ed25519(71);
    let a = bucket(world, "Signers", Mode::Atomic);
    let b = bucket_of_key(world, &owner);
    let invoker = ed25519(72);
    let asks = |count, nonce| carries_delegated(&a, &b, &[&owner, &invoker], count, nonce);
    let most = FORK_SIGNATURES_MAX / 2;
    assert_eq!(invoke(world, &a, &asks(most, 1)).fork.len(), most);
    assert_eq!(invoke(world, &a, &asks(most + 1, 2)).out.unwrap_err().name, "ForksMany");
    assert_eq!(world.bucket(&b).unwrap().pending(), most as u64);
}
