//! A chain on disk continues where it was.

use std::path::Path;

use bucket_devnet::{Config, Devnet, Handle, Message, Mining, Reorg};
use fvm_ipld_blockstore::Blockstore;
use fvm_shared::econ::TokenAmount;

fn config(directory: &Path) -> Config {
    Config { state_dir: Some(directory.to_owned()), mining: Mining::Manual, ..Config::default() }
}

fn start(directory: &Path) -> Handle {
    Devnet::spawn(config(directory)).unwrap()
}

#[test]
fn the_head_the_state_and_the_index_are_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let devnet = start(directory.path());
    let (alice, bob) = (devnet.account(0).unwrap(), devnet.account(1).unwrap().address());
    let message = Message { value: TokenAmount::from_whole(7), ..Message::new(alice.address(), bob, 0, vec![]) };
    let cid = devnet.send(&alice, message).unwrap();
    devnet.mine(3).unwrap();
    let reverted = devnet.head().unwrap();
    devnet.reorg(Reorg::of_depth(1)).unwrap();
    devnet.mine_null(5).unwrap();
    let (head, root) = (devnet.head().unwrap(), devnet.state_root().unwrap());
    devnet.stop();

    let devnet = start(directory.path());
    assert_eq!(devnet.head().unwrap(), head);
    assert_eq!(devnet.state_root().unwrap(), root);
    let (_, bob_now) = devnet.inspect(move |chain| chain.state()?.actor(&bob)).unwrap();
    assert_eq!(bob_now.balance, TokenAmount::from_whole(1_000_007));
    assert_eq!(devnet.inspect(move |chain| chain.search(chain.head(), &cid, -1, false)).unwrap().unwrap().height, 2);
    // Also what had been reverted, and that null rounds had passed.
    assert_eq!(devnet.inspect(move |chain| Ok(chain.tipset(&reverted.key())?.height())).unwrap(), 3);
    assert_eq!(devnet.mine(1).unwrap().height, head.height + 6);
    // A fork has another number than the one before the restart.
    let again = devnet.reorg(Reorg::of_depth(1)).unwrap();
    assert_eq!(again.height, head.height + 2);
}

#[test]
fn nothing_is_lost_without_a_shutdown() {
    let directory = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let devnet = start(directory.path());
    let alice = devnet.account(0).unwrap();
    for _ in 0..3 {
        devnet.send(&alice, Message::new(alice.address(), alice.address(), 0, vec![])).unwrap();
        devnet.mine(1).unwrap();
    }
    let head = devnet.head().unwrap();
    // What a killed process leaves behind, while this one still runs.
    std::fs::copy(directory.path().join("chain.redb"), copy.path().join("chain.redb")).unwrap();
    let survivor = start(copy.path());
    assert_eq!(survivor.head().unwrap(), head);
    let root = head.blocks[0].parent_state_root;
    assert!(survivor.inspect(move |chain| chain.store().has(&root)).unwrap());
}

#[test]
fn other_settings_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    start(directory.path()).stop();
    let other = Config { accounts: 3, ..config(directory.path()) };
    let words = Devnet::spawn(other).err().unwrap().to_string();
    assert!(words.starts_with("the chain was begun with other settings: expected network bucket-devnet, 10 accounts"));
    assert!(words.contains("got network bucket-devnet, 3 accounts"), "{words}");
    // What is no part of the chain may differ.
    let other = Config { finality: 5, mining: Mining::Instant, ..config(directory.path()) };
    Devnet::spawn(other).unwrap();
}

#[test]
fn a_directory_serves_one_devnet() {
    let directory = tempfile::tempdir().unwrap();
    let _devnet = start(directory.path());
    let words = Devnet::spawn(config(directory.path())).err().unwrap().to_string();
    assert!(words.contains("does another devnet run on this directory"), "{words}");
}
