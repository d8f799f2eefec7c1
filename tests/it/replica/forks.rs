//! Forks: what the chain takes back waits again where it was made, also when somebody else is quicker.

use bucket_client::space::kept::Holds as _;
use bucket_client::space::push::pack;
use bucket_core::abi::{CarParams, InvokeReturn, Message};
use bucket_core::cid::NativeHasher;
use bucket_core::dag_cbor::Ipld;
use bucket_devnet::Message as ChainMessage;
use bucket_devnet::node::Reorg;
use bucket_protocols::space::head::Head;
use bucket_tests::User;

use super::{Home, Net};
use crate::scenario::int;

/// The chain's epoch, from which on a fork may leave everything out.
pub(super) fn epoch(net: &Net) -> i64 {
    net.world.devnet.head().unwrap().height
}

/// A fork without what came behind this epoch, whose messages wait.
pub(super) fn fork(net: &Net, epoch: i64) {
    let depth = usize::try_from(self::epoch(net) - epoch).unwrap();
    net.world.devnet.reorg(Reorg { include: false, null_rounds: 0, ..Reorg::of_depth(depth) }).unwrap();
}

/// Pushes what waits in a tipset of its own, before messages that wait.
fn be_quicker(net: &Net, home: &Home) {
    let packed = home.replica.read(|kept| pack(kept, &net.space, &home.key, &home.author.proofs)).unwrap().unwrap();
    let payer = net.world.devnet.account(User::Alice as usize).unwrap();
    let (method, params) = Message::Invoke(CarParams::new(net.space.clone(), packed.car)).encode();
    let message = ChainMessage::new(payer.address(), net.world.clients[0].address(), method, params.to_vec());
    let executed = net.world.devnet.execute(&payer, message).unwrap().success().unwrap();
    let told: InvokeReturn = executed.receipt.return_data.deserialize().unwrap();
    assert_eq!(told.ok, Some(true));
}

#[test]
fn a_head_that_the_chain_takes_back_is_left_and_comes_again() {
    let net = Net::new();
    let (alice, bob) = (net.home(2), net.home(3));
    alice.edit(&[("/a", Some(int(1)))]);
    net.push(&alice);
    let (first, then) = (alice.head(), epoch(&net));
    alice.edit(&[("/a", Some(int(2)))]);
    net.push(&alice);
    let second = alice.head();
    net.pull(&bob).unwrap();
    assert_eq!(bob.head(), second);
    fork(&net, then);
    for home in [&alice, &bob] {
        let pulled = net.pull(home).unwrap();
        assert!(pulled.taken_back && pulled.head == first, "{pulled:?}");
    }
    assert_eq!((bob.root(), bob.get("/a")), (first.root, Some(int(1))));
    assert_eq!((alice.waiting(), alice.get("/a")), (1, Some(int(2))), "her edit waits again");
    // The messages come again, and with them the head.
    net.world.devnet.mine(3).unwrap();
    for home in [&alice, &bob] {
        let pulled = net.pull(home).unwrap();
        assert!(pulled.advanced && !pulled.taken_back);
        assert_eq!((home.head(), home.get("/a"), home.waiting()), (second.clone(), Some(int(2)), 0));
    }
    assert!(net.push(&alice).pushes.is_empty(), "nothing is sent twice");
}

#[test]
fn the_first_push_of_all_may_be_taken_back() {
    let net = Net::new();
    let (alice, bob) = (net.home(2), net.home(3));
    let then = epoch(&net);
    alice.edit(&[("/a", Some(int(1)))]);
    net.push(&alice);
    let head = alice.head();
    net.pull(&bob).unwrap();
    fork(&net, then);
    for home in [&alice, &bob] {
        let pulled = net.pull(home).unwrap();
        assert_eq!((pulled.taken_back, pulled.head), (true, Head::empty::<NativeHasher>()));
    }
    assert_eq!((alice.waiting(), alice.get("/a"), bob.get("/a")), (1, Some(int(1)), None));
    bob.edit(&[("/b", Some(int(2)))]);
    be_quicker(&net, &bob);
    net.world.devnet.mine(3).unwrap();
    net.pull(&alice).unwrap();
    assert_ne!(alice.head(), head);
    assert_eq!((alice.waiting(), alice.get("/a"), alice.get("/b")), (1, Some(int(1)), Some(int(2))));
    assert_eq!(net.push(&alice).pushes.len(), 1);
    net.pull(&bob).unwrap();
    assert_eq!((bob.root(), bob.waiting(), bob.get("/a")), (alice.root(), 0, Some(int(1))));
}

#[test]
fn what_a_fork_leaves_out_waits_again_and_is_pushed_behind_others() {
    // So many pushes of somebody else's are in the fork: the head there is behind, or ahead.
    for others in [1, 2] {
        let net = Net::new();
        let (alice, bob) = (net.home(2), net.home(3));
        alice.edit(&[("/a", Some(int(1)))]);
        net.push(&alice);
        net.pull(&bob).unwrap();
        let then = epoch(&net);
        alice.edit(&[("/a", Some(int(2)))]);
        alice.put_file("/file", vec![7; 5_000]);
        net.push(&alice);
        let dropped = alice.head();
        fork(&net, then);
        for n in 0..others {
            bob.edit(&[("/b", Some(int(n)))]);
            be_quicker(&net, &bob);
            net.world.devnet.mine(1).unwrap();
            net.pull(&bob).unwrap();
        }
        // Her message came too late.
        net.world.devnet.mine(3).unwrap();
        net.pull(&alice).unwrap();
        assert_eq!((alice.head(), alice.waiting()), (net.head(), 2));
        assert_eq!((alice.get("/a"), alice.get("/b")), (Some(int(2)), Some(int(others - 1))));
        let pushed = net.push(&alice);
        assert_eq!((pushed.pushes.len(), pushed.anew, pushed.rebased), (1, 0, 0));
        assert_eq!(pushed.pushes[0].edits, 2);
        assert_ne!(alice.head(), dropped);
        net.pull(&bob).unwrap();
        assert_eq!((bob.root(), bob.waiting()), (alice.root(), 0));
        let Some(Ipld::Link(file)) = bob.get("/file") else { panic!("expected a link") };
        assert_eq!(bob.replica.read(|kept| kept.block(&file)).unwrap(), Some(vec![7; 5_000]));
        assert_eq!(net.world.validate().problems, Vec::<String>::new());
    }
}

#[test]
fn a_number_that_another_device_took_in_the_fork_loses_nothing() {
    let net = Net::new();
    let (phone, laptop) = (net.home(2), net.home(2));
    let then = epoch(&net);
    phone.edit(&[("/phone", Some(int(1)))]);
    net.push(&phone);
    fork(&net, then);
    // Two, so that the head there is a later one that says to include the phone's first.
    for n in 0..2 {
        laptop.edit(&[("/laptop", Some(int(n)))]);
        be_quicker(&net, &laptop);
        net.world.devnet.mine(1).unwrap();
        net.pull(&laptop).unwrap();
    }
    net.world.devnet.mine(3).unwrap();
    assert!(!net.pull(&phone).unwrap().taken_back);
    assert_eq!(phone.replica.read(|kept| Ok(kept.stranded()?.len())).unwrap(), 1);
    let pushed = net.push(&phone);
    assert_eq!((pushed.anew, pushed.pushes.len()), (1, 1));
    net.pull(&laptop).unwrap();
    assert_eq!((laptop.get("/phone"), laptop.get("/laptop")), (Some(int(1)), Some(int(1))));
    assert_eq!((laptop.root(), laptop.waiting()), (phone.root(), 0));
}
