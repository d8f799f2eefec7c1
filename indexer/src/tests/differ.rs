//! The watcher on a node whose answers and state don't agree.

use std::time::Duration;

use bucket_rpc::json::MessageReceipt;
use fvm_shared::error::ExitCode;

use super::fake::{Chain, Shared, serve};
use super::rig::{create, did, put, s};
use super::watch::{NOTHING, assert_equal, catch_up, history, verdict, watch, watched};

fn failed(chain: &Shared, child: &bucket_rpc::json::Tipset, times: u32) {
    let lie = MessageReceipt { exit_code: ExitCode::new(7), return_data: vec![], gas_used: 0, events_root: None };
    chain.lock().unwrap().lies.insert(child.key(), (times, vec![lie]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_first_answer_is_not_believed() {
    let chain = Chain::new(true);
    chain.lock().unwrap().mine(0, [create("x")]);
    chain.lock().unwrap().mine(0, [put("x", s("a"), s("1"))]);
    let child = chain.lock().unwrap().mine(0, NOTHING);
    failed(&chain, &child, 1);
    let watch = watched(&chain).await;
    catch_up(&watch).await;
    assert_equal(&watch, 1).await;
    assert!(watch.status.get().halted.is_empty());
    assert_eq!(watch.metrics.traced.get(), 0, "asking a second time is cheaper");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_differs_is_halted_and_the_others_go_on() {
    let chain = Chain::new(true);
    chain.lock().unwrap().mine(0, [create("x"), create("y")]);
    chain.lock().unwrap().mine(0, [put("x", s("a"), s("1"))]);
    // The node keeps saying that the put failed, although the state holds it.
    let child = chain.lock().unwrap().mine(0, [put("y", s("a"), s("1"))]);
    failed(&chain, &child, u32::MAX);
    chain.lock().unwrap().mine(0, [put("x", s("b"), s("1")), put("y", s("b"), s("1"))]);
    chain.lock().unwrap().mine(0, NOTHING);
    let watch = watched(&chain).await;
    catch_up(&watch).await;
    let halts = watch.follow.store.halts().await.unwrap();
    assert_eq!(halts.len(), 1);
    assert_eq!((halts[0].bucket.as_str(), halts[0].height), ("did:example:x", 2));
    assert_ne!(halts[0].ours, halts[0].chain);
    let count = async |bucket| watch.follow.store.execution_count(&did(bucket)).await.unwrap();
    assert_eq!((count("x").await, count("y").await), (0, 2), "x stands still, y goes on");
    let reasons = watch.status.get().reasons(10, Duration::from_secs(60));
    assert_eq!(reasons, ["bucket did:example:x differs from the chain and is halted"]);
    assert_eq!(watch.metrics.halted.get(), 1);
    assert!(verdict(&watch).await.problems.iter().any(|problem| problem.contains("did:example:x is halted")));

    // A reorganisation takes the halt back with its tipset.
    {
        let mut chain = chain.lock().unwrap();
        chain.rewind(4);
        chain.mine(0, [put("x", s("c"), s("1"))]);
        (0..4).for_each(|_| drop(chain.mine(0, NOTHING)));
    }
    catch_up(&watch).await;
    assert_eq!(watch.follow.store.halts().await.unwrap(), []);
    assert_equal(&watch, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_returned_something_else_halts_its_bucket() {
    let chain = Chain::new(true);
    chain.lock().unwrap().mine(0, [create("x")]);
    let child = chain.lock().unwrap().mine(0, NOTHING);
    let lie = MessageReceipt { exit_code: ExitCode::OK, return_data: vec![0x80], gas_used: 0, events_root: None };
    chain.lock().unwrap().lies.insert(child.key(), (u32::MAX, vec![lie]));
    let watch = watched(&chain).await;
    catch_up(&watch).await;
    let halts = watch.follow.store.halts().await.unwrap();
    assert!(halts[0].reason.contains("the return values differ"), "{halts:?}");
    assert_eq!(halts[0].chain, "exit code 0, returned 80");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_chain_behind_the_address_is_refused() {
    let chain = Chain::new(false);
    history(&chain);
    let (url, _node) = serve(chain, "127.0.0.1:0").await;
    let dir = tempfile::tempdir().unwrap();
    catch_up(&watch(&url, &dir).await).await;
    let other = Chain::new(true);
    other.lock().unwrap().regenesis();
    let (url, _node) = serve(other, "127.0.0.1:0").await;
    let error = watch(&url, &dir).await.run().await.unwrap_err();
    assert!(error.to_string().contains("is an index of genesis"), "{error:#}");
}
