//! Null rounds and reorgs.

use bucket_devnet::{Account, Config, Devnet, Handle, Message, Mining, Reorg};
use bucket_rpc::json::{HeadChangeType, MsgLookup, Tipset, TipsetKey};
use cid::Cid;
use fvm_ipld_blockstore::Blockstore;
use fvm_shared::{clock::ChainEpoch, econ::TokenAmount};

fn manual() -> Handle {
    Devnet::spawn(Config { mining: Mining::Manual, ..Config::default() }).unwrap()
}

fn send(devnet: &Handle, from: &Account) -> Cid {
    let message =
        Message { value: TokenAmount::from_whole(1), ..Message::new(from.address(), from.address(), 0, vec![]) };
    devnet.send(from, message).unwrap()
}

fn search(devnet: &Handle, cid: Cid) -> Option<MsgLookup> {
    devnet.inspect(move |chain| chain.search(chain.head(), &cid, -1, false)).unwrap()
}

fn path(devnet: &Handle, from: TipsetKey, to: TipsetKey) -> Vec<(HeadChangeType, Tipset)> {
    let path = devnet.inspect(move |chain| chain.path(&from, &to)).unwrap();
    path.into_iter().map(|change| (change.r#type, change.val)).collect()
}

fn heights(devnet: &Handle) -> Vec<ChainEpoch> {
    devnet
        .inspect(|chain| {
            let mut heights = vec![chain.head().height()];
            let mut block = chain.head().clone();
            while let Some(parent) = block.parent() {
                block = chain.block(&parent)?;
                heights.push(block.height());
            }
            heights.reverse();
            Ok(heights)
        })
        .unwrap()
}

#[test]
fn null_rounds_leave_gaps() {
    let devnet = manual();
    devnet.mine(1).unwrap();
    assert_eq!(devnet.mine_null(3).unwrap(), 5);
    assert_eq!(devnet.head().unwrap().height, 1);
    assert_eq!(devnet.mine_null(1).unwrap(), 6);
    devnet.mine(2).unwrap();
    assert_eq!(heights(&devnet), [0, 1, 6, 7]);
    let around = devnet.inspect(|chain| {
        let height = |block: Option<&std::sync::Arc<bucket_devnet::block::Block>>| block.map(|block| block.height());
        Ok((height(chain.at_or_before(4)), height(chain.at_or_after(4)), height(chain.at_or_after(8))))
    });
    assert_eq!(around.unwrap(), (Some(1), Some(6), None));
}

#[test]
fn a_reorg_of_depth_3_mines_the_messages_again() {
    let devnet = manual();
    let alice = devnet.account(0).unwrap();
    devnet.mine(1).unwrap();
    let stays = send(&devnet, &alice);
    devnet.mine(1).unwrap();
    let moves = [send(&devnet, &alice), send(&devnet, &alice)];
    devnet.mine(1).unwrap();
    let last = send(&devnet, &alice);
    devnet.mine(2).unwrap();
    let (old_head, old) = (devnet.head().unwrap(), search(&devnet, moves[0]).unwrap());
    assert_eq!((old_head.height, old.height), (5, 4));
    let old_stays = search(&devnet, stays).unwrap();
    let mut follower = devnet.node().follow().unwrap();

    let new_head = devnet.reorg(Reorg::of_depth(3)).unwrap();
    // A null round at 3, then as many tipsets as before.
    assert_eq!(heights(&devnet), [0, 1, 2, 4, 5, 6]);
    assert_ne!(new_head.key(), old_head.key());
    for cid in moves.into_iter().chain([last]) {
        let new = search(&devnet, cid).unwrap();
        assert_eq!(new.height, 5, "the first tipset of the fork has all of them, its child the results");
        assert!(new.receipt.exit_code.is_success());
    }
    // That message stayed at 2, but what shows its result is another tipset now.
    let new_stays = search(&devnet, stays).unwrap();
    assert_eq!((old_stays.height, new_stays.height), (3, 4));
    assert_eq!(old_stays.receipt, new_stays.receipt);

    let path = path(&devnet, old_head.key(), new_head.key());
    let kinds: Vec<_> = path.iter().map(|(kind, tipset)| (*kind, tipset.height)).collect();
    use HeadChangeType::{Apply, Revert};
    assert_eq!(kinds, [(Revert, 5), (Revert, 4), (Revert, 3), (Apply, 4), (Apply, 5), (Apply, 6)]);
    // Followers are told the same, in one step.
    let told = follower.try_recv().unwrap();
    let told: Vec<_> = told.iter().map(|change| (change.r#type, change.val.clone())).collect();
    assert_eq!(told, path);
    assert!(follower.try_recv().is_err());

    // What was reverted can still be read.
    let key = old_head.key();
    let old_messages = devnet.inspect(move |chain| {
        let block = chain.tipset(&key)?;
        let middle = chain.block(&chain.block(&block.parent().unwrap())?.parent().unwrap())?;
        assert!(chain.store().has(&block.cid)?);
        bucket_devnet::block::messages(chain.store(), &middle.header)
    });
    assert_eq!(old_messages.unwrap().iter().map(|one| one.cid).collect::<Vec<_>>(), moves);
}

#[test]
fn forks_without_a_null_round_have_the_same_heights_and_other_cids() {
    let config = Config { mining: Mining::Manual, genesis_timestamp: Some(1_700_000_000), ..Config::default() };
    let devnet = Devnet::spawn(config).unwrap();
    let mut heads = vec![devnet.mine(2).unwrap()];
    for _ in 0..2 {
        heads.push(devnet.reorg(Reorg { null_rounds: 0, ..Reorg::of_depth(1) }).unwrap());
    }
    assert!(heads.iter().all(|head| head.height == 2));
    assert_ne!(heads[0].key(), heads[1].key());
    assert_ne!(heads[1].key(), heads[2].key());
    let weight = |head: &Tipset| head.blocks[0].parent_weight.clone();
    assert_eq!(weight(&heads[0]), weight(&heads[1]));
    // The next tipset shows that the newest fork weighs more.
    let next = devnet.mine(1).unwrap();
    assert!(weight(&next) > weight(&heads[2]));
}

#[test]
fn messages_can_be_left_out_of_a_fork() {
    let devnet = manual();
    let alice = devnet.account(0).unwrap();
    let cid = send(&devnet, &alice);
    devnet.mine(2).unwrap();
    let root = devnet.state_root().unwrap();
    assert!(search(&devnet, cid).is_some());

    devnet.reorg(Reorg { include: false, ..Reorg::of_depth(2) }).unwrap();
    assert_eq!(search(&devnet, cid), None);
    assert_ne!(devnet.state_root().unwrap(), root);
    // It waits, before whatever came later.
    devnet.mine(2).unwrap();
    assert_eq!(search(&devnet, cid).unwrap().height, 5);
    assert_eq!(devnet.state_root().unwrap(), root);
}

#[test]
fn genesis_cannot_be_replaced() {
    let devnet = manual();
    devnet.mine(2).unwrap();
    let words = devnet.reorg(Reorg::of_depth(3)).unwrap_err().to_string();
    assert_eq!(words, "cannot take 3 tipsets off: above genesis there are 2, up to 2");
    assert_eq!(devnet.reorg(Reorg::of_depth(0)).unwrap_err().to_string(), "expected a depth of at least 1, got 0");
    assert_eq!(devnet.head().unwrap().height, 2);
    assert_eq!(devnet.reorg(Reorg::of_depth(2)).unwrap().height, 3);
}

#[test]
fn an_actor_survives_a_reorg_under_its_robust_address() {
    let devnet = Devnet::spawn(Config::default()).unwrap();
    let alice = devnet.account(0).unwrap();
    let created = devnet.deploy(&alice, bucket_devnet::IDLE, &[]).unwrap();
    devnet.reorg(Reorg::of_depth(2)).unwrap();
    let called = devnet.execute(&alice, Message::new(alice.address(), created.robust, 2, vec![])).unwrap();
    assert!(called.receipt.exit_code.is_success());
}
