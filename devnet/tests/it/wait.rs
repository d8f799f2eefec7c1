//! Waiting for messages.

use std::time::Duration;

use bucket_devnet::{Account, Config, Devnet, Handle, Message, Mining, Reorg, Wait};
use cid::Cid;
use tokio::time::timeout;

fn devnet(mining: Mining) -> (Handle, Account) {
    let devnet = Devnet::spawn(Config { mining, ..Config::default() }).unwrap();
    let alice = devnet.account(0).unwrap();
    (devnet, alice)
}

fn send(devnet: &Handle, from: &Account) -> Cid {
    devnet.send(from, Message::new(from.address(), from.address(), 0, vec![])).unwrap()
}

fn wait(message: Cid, confidence: u64) -> Wait {
    Wait { message, confidence, limit: -1, allow_replaced: false }
}

/// Enough for the waiting task to have looked, and looked in vain.
async fn still_waits<T>(task: &tokio::task::JoinHandle<T>) -> bool {
    tokio::time::sleep(Duration::from_millis(100)).await;
    !task.is_finished()
}

#[tokio::test]
async fn instant_mining_gives_the_confidence_that_is_asked_for() {
    let (devnet, alice) = devnet(Mining::Instant);
    let cid = send(&devnet, &alice);
    let lookup = devnet.wait(cid).await.unwrap();
    assert_eq!((lookup.message, lookup.height), (cid, 2));
    assert_eq!(devnet.head().unwrap().height, 2);
    let lookup = devnet.node().wait(wait(cid, 5)).await.unwrap();
    assert_eq!(lookup.height, 2);
    assert_eq!(devnet.head().unwrap().height, 7);
    // What is deep enough already needs no more tipsets.
    devnet.node().wait(wait(cid, 5)).await.unwrap();
    assert_eq!(devnet.head().unwrap().height, 7);
}

#[tokio::test]
async fn manual_mining_lets_wait_until_somebody_mines() {
    let (devnet, alice) = devnet(Mining::Manual);
    let cid = send(&devnet, &alice);
    let node = devnet.node().clone();
    let task = tokio::spawn(async move { node.wait(wait(cid, 2)).await });
    for height in 1..=3 {
        assert!(still_waits(&task).await, "at {height}");
        devnet.mine(1).unwrap();
    }
    // At 1 the message, at 2 its result, at 4 two epochs of confidence; a null round is an epoch, too.
    assert!(still_waits(&task).await);
    devnet.mine_null(7).unwrap();
    assert!(still_waits(&task).await);
    devnet.mine(1).unwrap();
    assert_eq!(task.await.unwrap().unwrap().height, 2);
}

#[tokio::test]
async fn interval_mining_needs_nobody() {
    let (devnet, alice) = devnet(Mining::Interval(20));
    let cid = send(&devnet, &alice);
    let lookup = timeout(Duration::from_secs(60), devnet.node().wait(wait(cid, 3))).await.unwrap().unwrap();
    assert!(devnet.head().unwrap().height >= lookup.height + 3);
}

#[tokio::test]
async fn the_mode_can_be_changed_while_messages_wait() {
    let (devnet, alice) = devnet(Mining::Manual);
    let cid = send(&devnet, &alice);
    let node = devnet.node().clone();
    let task = tokio::spawn(async move { node.wait(wait(cid, 0)).await });
    assert!(still_waits(&task).await);
    devnet.set_mining(Mining::Instant).unwrap();
    assert_eq!(timeout(Duration::from_secs(60), task).await.unwrap().unwrap().unwrap().height, 2);

    devnet.set_mining(Mining::Manual).unwrap();
    let cid = send(&devnet, &alice);
    devnet.set_mining(Mining::Interval(20)).unwrap();
    timeout(Duration::from_secs(60), devnet.wait(cid)).await.unwrap().unwrap();
    let words = devnet.set_mining(Mining::Interval(0)).unwrap_err().to_string();
    assert_eq!(words, "expected an interval of at least a millisecond, got 0");
}

#[tokio::test]
async fn what_a_reorg_has_undone_does_not_count() {
    let (devnet, alice) = devnet(Mining::Manual);
    let cid = send(&devnet, &alice);
    devnet.mine(2).unwrap();
    let node = devnet.node().clone();
    let task = tokio::spawn(async move { node.wait(wait(cid, 1)).await });
    assert!(still_waits(&task).await);
    // Deep enough now, but for a fork without the message.
    devnet.reorg(Reorg { null_rounds: 5, include: false, ..Reorg::of_depth(2) }).unwrap();
    assert!(still_waits(&task).await);
    let head = devnet.mine(3).unwrap();
    let lookup = task.await.unwrap().unwrap();
    assert_eq!(lookup.height, head.height - 1);
    let tipset = lookup.tipset;
    assert!(devnet.inspect(move |chain| Ok(chain.is_canonical(&*chain.tipset(&tipset)?))).unwrap());
}

#[tokio::test]
async fn an_unknown_message_is_an_error_and_an_end_as_well() {
    let (devnet, alice) = devnet(Mining::Manual);
    let message = Message::new(alice.address(), alice.address(), 0, vec![]);
    let unknown = message.cid().unwrap();
    let words = devnet.wait(unknown).await.unwrap_err().to_string();
    assert_eq!(words, format!("failed to load message: {unknown} was never pushed to this node"));

    let cid = send(&devnet, &alice);
    let node = devnet.node().clone();
    let task = tokio::spawn(async move { node.wait(wait(cid, 0)).await });
    assert!(still_waits(&task).await);
    devnet.stop();
    assert!(timeout(Duration::from_secs(60), task).await.unwrap().unwrap().is_err());
}

#[tokio::test]
async fn looking_back_has_a_limit() {
    let (devnet, alice) = devnet(Mining::Manual);
    let cid = send(&devnet, &alice);
    devnet.mine(12).unwrap();
    // The result is at 2, the head at 12.
    let search = |limit| devnet.inspect(move |chain| chain.search(chain.head(), &cid, limit, false)).unwrap();
    assert_eq!(search(10), None);
    assert_eq!(search(11).unwrap().height, 2);
    assert_eq!(search(-1), search(11));
}
