//! The watcher where other actors call ours: what it finds in traces, what it leaves out, and what it does without them.

use bucket_core::abi::{DeliverParams, Message};
use bucket_core::bucket::Chain as Cause;
use bucket_core::cid::CarId;
use bucket_core::did::BucketId;
use bucket_rpc::json::Tipset;
use tokio::runtime::Builder;

use super::fake::{ACTOR, Chain, Sent, Shared, alias, serve};
use super::rig::{ALICE, OTHERS, create, create_for, did, put, put_car, run, s, schedule};
use super::sub::{Sub, Traces};
use super::watch::{NOTHING, assert_equal, catch_up, history, verdict, watch, watched};
use crate::replay::Moment;
use crate::watch::Watch;

/// Actors beside the one that messages elsewhere go to.
const NEAR: u64 = OTHERS[1];
const FAR: u64 = OTHERS[2];

/// A chain with the buckets x and y, which the others control as well.
fn shared() -> Shared {
    let chain = Chain::new(true);
    chain.lock().unwrap().mine(0, [create_for("x", &OTHERS), create_for("y", &OTHERS)]);
    chain
}

fn mine(chain: &Shared, sent: impl IntoIterator<Item = impl Into<Sent>>) {
    chain.lock().unwrap().mine(0, sent);
}

fn call(bucket: &str, key: &str) -> Sub {
    Sub::to(ACTOR, schedule(bucket, s(key), s("1")))
}

fn replays(chain: &Shared) -> u32 {
    chain.lock().unwrap().calls.get("StateReplay").copied().unwrap_or_default()
}

async fn heights(watch: &Watch, bucket: &BucketId) -> Vec<i64> {
    let page = watch.follow.store.executions(bucket, None, 100, false).await.unwrap().unwrap();
    page.rows.iter().map(|placed| placed.place.height).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_explain_the_state_cost_no_traces() {
    let chain = Chain::new(false);
    history(&chain);
    mine(&chain, [Sent::Via(vec![Sub::other(NEAR, [])])]);
    mine(&chain, NOTHING);
    let watch = watched(&chain).await;
    catch_up(&watch).await;
    assert_equal(&watch, 5).await;
    assert_eq!((watch.metrics.traced.get(), replays(&chain)), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_by_another_actor_is_found_in_the_trace() {
    let chain = shared();
    let sub = Sub::to(alias(), schedule("x", s("a"), s("1")));
    mine(&chain, [Sent::from(put("y", s("a"), s("1"))), Sent::Via(vec![sub]), Sent::OutOfGas(run("x", 1))]);
    // The queue's item names the caller, so that a wrong one would give another state.
    mine(&chain, [run("x", 5)]);
    mine(&chain, NOTHING);
    let watch = watched(&chain).await;
    catch_up(&watch).await;
    assert_equal(&watch, 2).await;
    assert_eq!(watch.metrics.traced.get(), 1);
    assert_eq!(replays(&chain), 2, "one for each message of that tipset that succeeded");
    assert_eq!(heights(&watch, &did("x")).await, [3]);
    let text = watch.metrics.encode();
    assert!(text.contains("bucket_indexer_traced_tipsets_total 1"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_reverted_is_left_out() {
    let chain = shared();
    let gone = Sub::other(NEAR, [call("x", "gone"), Sub::other(FAR, [call("x", "gone too")])]).reverted();
    mine(&chain, [Sent::Via(vec![gone, call("x", "a"), call("y", "refused").reverted()])]);
    // A whole message that failed after a call that succeeded.
    let lost = Sub::to(ACTOR, schedule("y", s("lost"), s("1")));
    mine(&chain, [Sent::ViaFailing(vec![lost]), Sent::Via(vec![call("y", "b")])]);
    mine(&chain, [run("x", 5), run("y", 5)]);
    mine(&chain, NOTHING);
    let watch = watched(&chain).await;
    catch_up(&watch).await;
    assert_equal(&watch, 2).await;
    assert_eq!((watch.metrics.traced.get(), replays(&chain)), (2, 2));
}

/// The queue's order and the callers in it are in the state.
#[tokio::test(flavor = "multi_thread")]
async fn nested_calls_count_in_their_order() {
    let chain = shared();
    let deep = Sub::other(NEAR, [Sub::other(FAR, [call("x", "1")]), call("x", "2")]);
    mine(&chain, [Sent::Via(vec![deep, call("x", "3")])]);
    // The actor itself calls, and is called back by the callee's callee: after its own change.
    let back = Sub::other(NEAR, [Sub::other(FAR, [call("x", "4"), call("y", "5")])]);
    mine(&chain, [Sent::Calling(run("x", 2), vec![back]), Sent::from(schedule("x", s("6"), s("1")))]);
    mine(&chain, [run("x", 9), run("y", 9)]);
    mine(&chain, NOTHING);
    let watch = watched(&chain).await;
    catch_up(&watch).await;
    assert_equal(&watch, 6).await;
    assert_eq!(heights(&watch, &did("x")).await, [3, 3, 4, 4, 4]);
    assert_eq!(watch.metrics.traced.get(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn traced_tipsets_are_reverted_and_cut_like_others() {
    let chain = shared();
    mine(&chain, [Sent::Via(vec![call("x", "gone")])]);
    mine(&chain, [run("x", 1)]);
    mine(&chain, NOTHING);
    let first = watched(&chain).await;
    catch_up(&first).await;
    assert_equal(&first, 1).await;
    chain.lock().unwrap().rewind(3);
    for key in ["a", "b"] {
        mine(&chain, [Sent::Via(vec![call("y", key)]), run("y", 1).into()]);
    }
    mine(&chain, NOTHING);
    mine(&chain, NOTHING);
    // A restart in between.
    let second = first.again().await;
    catch_up(&second).await;
    assert_equal(&second, 2).await;
    assert_eq!(second.follow.store.execution_count(&did("x")).await.unwrap(), 0);
    assert_eq!(second.metrics.reverts.get(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_traces_is_named_in_the_halt() {
    let chain = shared();
    mine(&chain, [create("z")]);
    mine(&chain, [Sent::from(put("x", s("a"), s("1"))), Sent::Via(vec![call("x", "b")])]);
    mine(&chain, [put("y", s("a"), s("1")), put("z", s("a"), s("1"))]);
    chain.lock().unwrap().traces = Traces::Unserved;
    mine(&chain, NOTHING);
    let watch = watched(&chain).await;
    catch_up(&watch).await;
    let halts = watch.follow.store.halts().await.unwrap();
    assert_eq!(halts.len(), 1, "{halts:?}");
    assert_eq!((halts[0].bucket.as_str(), halts[0].height), ("did:example:x", 3));
    let reason = &halts[0].reason;
    assert!(reason.starts_with("the records differ; the node gives no trace by Filecoin.StateReplay of"), "{reason}");
    assert!(reason.contains("method 'Filecoin.StateReplay' not found (code -32601)"), "{reason}");
    let count = async |bucket| watch.follow.store.execution_count(&did(bucket)).await.unwrap();
    assert_eq!((count("x").await, count("y").await, count("z").await), (0, 1, 1), "the others go on");

    // With one bucket halted, whole states differ anyway; a call nobody sees is found all the same.
    mine(&chain, [Sent::Via(vec![call("y", "c")])]);
    mine(&chain, NOTHING);
    catch_up(&watch).await;
    let halted: Vec<String> = watch.follow.store.halts().await.unwrap().into_iter().map(|halt| halt.bucket).collect();
    assert_eq!(halted, ["did:example:x", "did:example:y"]);
    mine(&chain, [put("z", s("b"), s("1"))]);
    mine(&chain, NOTHING);
    catch_up(&watch).await;
    assert_eq!(count("z").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_that_explains_nothing_halts_as_ever() {
    let chain = shared();
    mine(&chain, [Sent::Via(vec![call("x", "a")])]);
    chain.lock().unwrap().traces = Traces::Bare;
    mine(&chain, NOTHING);
    let watch = watched(&chain).await;
    catch_up(&watch).await;
    let halts = watch.follow.store.halts().await.unwrap();
    assert_eq!(halts.len(), 1, "{halts:?}");
    assert_eq!((halts[0].bucket.as_str(), halts[0].reason.as_str()), ("did:example:x", "the records differ"));
    assert_ne!(halts[0].ours, halts[0].chain);
    assert!(verdict(&watch).await.problems.iter().any(|problem| problem.contains("did:example:x is halted")));

    // Traces that tell the truth keep the other bucket right, although whole states can't be compared any more.
    chain.lock().unwrap().traces = Traces::True;
    mine(&chain, [Sent::Via(vec![call("y", "a"), call("x", "b")])]);
    mine(&chain, [run("y", 1)]);
    mine(&chain, NOTHING);
    catch_up(&watch).await;
    assert_eq!(watch.follow.store.execution_count(&did("y")).await.unwrap(), 1);
    assert_eq!(watch.follow.store.halts().await.unwrap().len(), 1);

    // A reorganisation takes the halt back.
    chain.lock().unwrap().rewind(5);
    mine(&chain, [put("x", s("c"), s("1"))]);
    (0..5).for_each(|_| mine(&chain, NOTHING));
    catch_up(&watch).await;
    assert_equal(&watch, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_instance_brings_a_continuation() {
    let chain = shared();
    chain.lock().unwrap().add_instance(NEAR);
    let cause = Cause { cause: CarId([7; 32]), depth: 1, work: 9, issuer: None, full: false, foreign: true };
    let car = put_car("x", s("a"), s("1"));
    let params = DeliverParams { car, from: Some(did("elsewhere")), chain: cause, caller: ALICE };
    mine(&chain, [Sent::Via(vec![Sub::other(NEAR, [Sub::to(ACTOR, Message::Deliver(params))])])]);
    mine(&chain, [run("x", 1)]);
    mine(&chain, NOTHING);
    let watch = watched(&chain).await;
    catch_up(&watch).await;
    assert_equal(&watch, 1).await;
    let page = watch.follow.store.executions(&did("x"), None, 10, false).await.unwrap().unwrap();
    assert_eq!(page.rows[0].executed.cause, Some(CarId([7; 32])));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrapped_for_contracts_is_replayed() {
    let chain = shared();
    mine(&chain, [Sent::Evm(schedule("x", s("a"), s("1"))), Sent::Evm(put("y", s("a"), s("1")))]);
    mine(&chain, [Sent::Evm(run("x", 1))]);
    mine(&chain, NOTHING);
    let watch = watched(&chain).await;
    catch_up(&watch).await;
    assert_equal(&watch, 2).await;
    assert_eq!(watch.metrics.traced.get(), 0);
}

#[test]
fn a_tipset_executes_at_the_time_of_its_earliest_block() {
    let mut tipset: Tipset = Chain::new(true).lock().unwrap().mine(0, NOTHING);
    for timestamp in [30, 10, 20] {
        let block = tipset.blocks[0].clone();
        tipset.blocks.push(bucket_rpc::json::BlockHeader { timestamp, ..block });
    }
    tipset.blocks.remove(0);
    assert_eq!(Moment::from(&tipset), Moment { epoch: 1, timestamp: 10 });
}

/// As deep as the FVM lets actors call (ref-fvm `fvm/src/machine/mod.rs`, `max_call_depth`), on the stacks that an indexer has.
#[test]
fn a_trace_of_the_deepest_call_is_read() {
    let chain = shared();
    // The node that is made up recurses; a thread's usual stack is too small for it.
    let node = Builder::new_multi_thread().thread_stack_size(256 << 20).enable_all().build().unwrap();
    let shared = chain.clone();
    let served = node.spawn(async move {
        let deepest = (0..1024).fold(call("x", "deep"), |inner, _| Sub::other(NEAR, [inner]));
        mine(&shared, [Sent::Via(vec![deepest])]);
        mine(&shared, [run("x", 1)]);
        mine(&shared, NOTHING);
        serve(shared, "127.0.0.1:0").await
    });
    let (url, _node) = node.block_on(served).unwrap();
    let indexer = Builder::new_multi_thread().enable_all().build().unwrap();
    let watched = indexer.spawn(async move {
        let dir = tempfile::tempdir().unwrap();
        let watch = watch(&url, &dir).await;
        catch_up(&watch).await;
        assert_equal(&watch, 1).await;
        watch.metrics.traced.get()
    });
    assert_eq!((indexer.block_on(watched).unwrap(), replays(&chain)), (1, 1));
}
