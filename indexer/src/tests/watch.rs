//! The watcher on a node that is made up: null rounds, reorganisations, restarts, nodes that lag or are away.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bucket_core::abi::Message;
use bucket_rpc::Client;
use fvm_shared::address::Address;
use tempfile::TempDir;

use super::fake::{ACTOR, Chain, Sent, Shared, alias, serve};
use super::rig::{create, did, put, run, s, schedule};
use crate::blocks::Blocks;
use crate::cars::Cars;
use crate::follow::Follow;
use crate::metrics::Metrics;
use crate::node::Node;
use crate::status::Status;
use crate::store::{Sqlite, Store};
use crate::validate::{Verdict, check};
use crate::watch::{Round, Watch};
use crate::{Config, Indexer};

pub const NOTHING: [Message; 0] = [];

/// A watcher over a data directory; a second one over the same is a restart.
pub async fn watch(url: &str, dir: &TempDir) -> Watch {
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(&dir.path().join("index.sqlite")).await.unwrap());
    let blocks = Blocks::new(store.clone());
    let cars = Cars::open(&dir.path().join("cars")).unwrap();
    let node = Arc::new(Node::new(Client::new(url, None).unwrap(), ACTOR));
    let follow = Follow { store, blocks, cars, node };
    let (status, metrics) = (Status::default(), Arc::new(Metrics::default()));
    Watch { follow, status, metrics, poll: Duration::from_millis(20), start: None }
}

/// A watcher of a chain that is served, with a data directory of its own.
pub struct Watched {
    watch: Watch,
    url: String,
    dir: TempDir,
}

impl Watched {
    /// Another one over the same directory.
    pub async fn again(&self) -> Watch {
        watch(&self.url, &self.dir).await
    }
}

impl Deref for Watched {
    type Target = Watch;

    fn deref(&self) -> &Watch {
        &self.watch
    }
}

pub async fn watched(chain: &Shared) -> Watched {
    let (url, _node) = serve(chain.clone(), "127.0.0.1:0").await;
    let dir = tempfile::tempdir().unwrap();
    Watched { watch: watch(&url, &dir).await, url, dir }
}

pub async fn catch_up(watch: &Watch) {
    for _ in 0..100 {
        if watch.round().await.unwrap() == Round::Done {
            return;
        }
    }
    panic!("no end");
}

pub async fn verdict(watch: &Watch) -> Verdict {
    let Follow { store, cars, node, .. } = &watch.follow;
    check(store.clone(), cars.clone(), node).await.unwrap()
}

pub async fn assert_equal(watch: &Watch, executions: u64) {
    let verdict = verdict(watch).await;
    assert_eq!(verdict.problems, [""; 0], "{verdict}");
    assert_eq!(verdict.executions, executions, "{verdict}");
}

async fn height(watch: &Watch) -> i64 {
    watch.follow.store.head().await.unwrap().unwrap().height
}

/// Twelve tipsets with two null rounds among them and five executions.
pub fn history(chain: &Shared) {
    let mut chain = chain.lock().unwrap();
    chain.mine(0, NOTHING);
    chain.mine(0, [Sent::Deploy]);
    chain.mine(1, [create("x")]);
    chain.mine(0, [put("x", s("a"), s("1")), put("x", s("b"), s("1"))]);
    chain.mine(0, [create("y"), schedule("x", s("c"), s("1"))]);
    chain.mine(1, [run("x", 5), put("y", s("a"), s("1"))]);
    chain.mine(0, [put("x", s("a"), s("2"))]);
    for _ in 0..3 {
        chain.mine(0, NOTHING);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn follows_over_null_rounds_up_to_the_heads_parent() {
    let chain = Chain::new(false);
    history(&chain);
    let watch = watched(&chain).await;
    catch_up(&watch).await;
    let head = chain.lock().unwrap().head();
    assert_eq!(height(&watch).await, head.height - 1);
    assert_equal(&watch, 5).await;
    let store = &watch.follow.store;
    assert_eq!(store.base().await.unwrap().unwrap().height, 1, "the parent of the tipset that deployed");
    let parents = bucket_rpc::json::TipsetKey(head.blocks[0].parents.clone());
    let newest = store.tipset(&crate::node::key_text(&parents)).await.unwrap().unwrap();
    assert_eq!(newest.nulls, 0);
    let status = watch.status.get();
    assert_eq!((status.chain, status.indexed, status.lag), (Some(head.height), Some(head.height - 1), Some(0)));
    // The head's own messages have no results yet.
    chain.lock().unwrap().mine(0, [put("x", s("late"), s("1"))]);
    catch_up(&watch).await;
    assert_equal(&watch, 5).await;
    chain.lock().unwrap().mine(2, NOTHING);
    catch_up(&watch).await;
    assert_equal(&watch, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_of_genesis_is_followed_from_there() {
    let chain = Chain::new(true);
    chain.lock().unwrap().mine(0, [create("x"), put("x", s("a"), s("1"))]);
    chain.lock().unwrap().mine(0, NOTHING);
    let watch = watched(&chain).await;
    catch_up(&watch).await;
    assert_equal(&watch, 1).await;
    assert_eq!(watch.follow.store.base().await.unwrap().unwrap().height, -1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_epoch_saves_the_search_but_must_be_early_enough() {
    let chain = Chain::new(false);
    history(&chain);
    let (url, _node) = serve(chain.clone(), "127.0.0.1:0").await;
    let dir = tempfile::tempdir().unwrap();
    let early = Watch { start: Some(2), ..watch(&url, &dir).await };
    catch_up(&early).await;
    assert_equal(&early, 5).await;
    assert_eq!(chain.lock().unwrap().calls.get("ChainGetTipSetByHeight"), None, "nothing was searched");
    let dir = tempfile::tempdir().unwrap();
    let late = Watch { start: Some(5), ..watch(&url, &dir).await };
    let error = late.run().await.unwrap_err();
    assert!(error.to_string().contains("begin the index earlier, with --start-epoch"), "{error:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorganisation_of_three_leaves_index_and_chain_equal() {
    let chain = Chain::new(false);
    history(&chain);
    let watch = watched(&chain).await;
    {
        let mut chain = chain.lock().unwrap();
        chain.mine(0, [put("x", s("gone"), s("1")), create("z")]);
        chain.mine(0, [put("z", s("gone"), s("1")), put("x", s("a"), s("gone"))]);
        chain.mine(0, NOTHING);
        chain.mine(0, NOTHING);
    }
    catch_up(&watch).await;
    assert_equal(&watch, 8).await;
    {
        let mut chain = chain.lock().unwrap();
        chain.rewind(4);
        chain.mine(1, [put("x", s("came"), s("1"))]);
        chain.mine(0, NOTHING);
        chain.mine(0, NOTHING);
    }
    catch_up(&watch).await;
    assert_equal(&watch, 6).await;
    assert_eq!(watch.follow.store.created(&did("z")).await.unwrap(), None);
    assert_eq!(watch.metrics.reverts.get(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_actors_own_creation_can_be_reverted() {
    let chain = Chain::new(false);
    let first = {
        let mut chain = chain.lock().unwrap();
        chain.mine(0, NOTHING);
        let first = chain.head();
        chain.mine(0, [Sent::Deploy, create("x").into()]);
        chain.mine(0, [put("x", s("a"), s("1"))]);
        chain.mine(0, NOTHING);
        first
    };
    let watch = watched(&chain).await;
    catch_up(&watch).await;
    assert_equal(&watch, 1).await;
    {
        let mut chain = chain.lock().unwrap();
        chain.set_head(&first);
        chain.rewind(1);
        (0..4).for_each(|_| drop(chain.mine(0, NOTHING)));
    }
    catch_up(&watch).await;
    assert_eq!(watch.follow.store.head().await.unwrap(), None, "no actor, no index");
    {
        let mut chain = chain.lock().unwrap();
        chain.mine(0, [Sent::Deploy]);
        chain.mine(0, [create("x")]);
        chain.mine(0, [put("x", s("b"), s("1"))]);
        chain.mine(0, NOTHING);
    }
    catch_up(&watch).await;
    assert_equal(&watch, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_silence_and_long_chains_are_walked_in_parts() {
    let chain = Chain::new(true);
    {
        let mut chain = chain.lock().unwrap();
        chain.mine(0, [create("x")]);
        chain.mine(700, [put("x", s("a"), s("1"))]);
        (0..300).for_each(|n| drop(chain.mine(0, (n % 100 == 0).then(|| put("x", s(&n.to_string()), s("1"))))));
        chain.mine(1000, NOTHING);
    }
    let watch = watched(&chain).await;
    assert_eq!(watch.round().await.unwrap(), Round::More);
    assert!(watch.status.get().lag.unwrap() > 240);
    catch_up(&watch).await;
    assert_equal(&watch, 4).await;
    assert_eq!(watch.status.get().lag, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_messages_that_succeeded_on_the_actor_count_by_whatever_name() {
    let chain = Chain::new(true);
    {
        let mut chain = chain.lock().unwrap();
        chain.mine(0, [Sent::To(alias(), create("x")), Sent::Elsewhere(create("elsewhere"))]);
        let twice = create("x");
        chain.mine(
            0,
            [Sent::To(alias(), put("x", s("a"), s("1"))), twice.into(), Sent::OutOfGas(put("x", s("b"), s("1")))],
        );
        chain.mine(0, NOTHING);
    }
    let watch = watched(&chain).await;
    catch_up(&watch).await;
    assert_equal(&watch, 1).await;
    assert_eq!(watch.follow.store.created(&did("elsewhere")).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lags_takes_nothing_back() {
    let chain = Chain::new(false);
    history(&chain);
    let watch = watched(&chain).await;
    catch_up(&watch).await;
    let before = height(&watch).await;
    let head = chain.lock().unwrap().head();
    chain.lock().unwrap().rewind(4);
    catch_up(&watch).await;
    assert_eq!((height(&watch).await, watch.metrics.reverts.get()), (before, 0));
    chain.lock().unwrap().set_head(&head);
    chain.lock().unwrap().mine(0, NOTHING);
    catch_up(&watch).await;
    assert_eq!(height(&watch).await, before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_denies_the_actor_is_not_believed() {
    let chain = Chain::new(false);
    history(&chain);
    let watch = watched(&chain).await;
    catch_up(&watch).await;
    let before = height(&watch).await;
    chain.lock().unwrap().mine(0, NOTHING);
    chain.lock().unwrap().denied = true;
    let error = watch.round().await.unwrap_err();
    assert!(format!("{error:#}").contains("knows no actor at"), "{error:#}");
    assert_eq!(height(&watch).await, before);
    chain.lock().unwrap().denied = false;
    catch_up(&watch).await;
    assert_eq!(height(&watch).await, before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_and_started_again_it_loses_and_doubles_nothing() {
    let chain = Chain::new(true);
    let mut executions = 0;
    {
        let mut chain = chain.lock().unwrap();
        chain.mine(0, [create("x"), create("y")]);
        for n in 0..60i64 {
            let bucket = if n % 2 == 0 { "x" } else { "y" };
            chain.mine(n % 3, (0..n % 4).map(|m| put(bucket, s(&format!("{}", (n + m) % 7)), s(&format!("{n} {m}")))));
            executions += (n % 4) as u64;
        }
        chain.mine(0, NOTHING);
    }
    let (url, _node) = serve(chain.clone(), "127.0.0.1:0").await;
    let dir = tempfile::tempdir().unwrap();
    let mut cuts = 0;
    for millis in (1..60).chain([2000]) {
        let watch = watch(&url, &dir).await;
        let task = tokio::spawn(async move { watch.run().await });
        tokio::time::sleep(Duration::from_millis(millis)).await;
        task.abort();
        cuts += u32::from(task.await.unwrap_err().is_cancelled());
    }
    assert_eq!(cuts, 60);
    let watch = watch(&url, &dir).await;
    catch_up(&watch).await;
    assert_equal(&watch, executions).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_away_is_waited_for() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listen = format!("127.0.0.1:{port}");
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::new(format!("http://{listen}"), ACTOR, dir.path());
    config.listen.set_port(0);
    config.poll_interval = Duration::from_millis(20);
    let indexer = Indexer::build(config.clone()).await.unwrap().spawn();
    let ready = async || {
        let answer = reqwest::get(format!("{}/readyz", indexer.url())).await.unwrap();
        (answer.status().as_u16(), answer.json::<serde_json::Value>().await.unwrap())
    };
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (code, body) = ready().await;
    assert_eq!(code, 503);
    assert!(body["reasons"][0].as_str().unwrap().starts_with("no word from the node yet"), "{body}");

    let chain = Chain::new(false);
    let (_, node) = serve(chain.clone(), &listen).await;
    for chunk in 0..200 {
        if ready().await.1["reasons"][0] == "the actor is not on the chain yet" {
            break;
        }
        assert!(chunk < 199, "{:?}", ready().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    history(&chain);
    for chunk in 0..200 {
        if ready().await.0 == 200 {
            break;
        }
        assert!(chunk < 199, "{:?}", ready().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Away again: what is indexed is still served, and stopping is in order.
    node.abort();
    let answer = reqwest::get(format!("{}/v1/buckets", indexer.url())).await.unwrap();
    assert_eq!(answer.json::<serde_json::Value>().await.unwrap()["items"].as_array().unwrap().len(), 2);
    let error = Indexer::build(config.clone()).await.err().expect("the folder is in use");
    assert!(error.to_string().contains("is in use by another indexer"), "{error:#}");
    indexer.stop().await.unwrap();
    let other = Config { actor: Some(Address::new_id(2000)), ..config.clone() };
    let error = Indexer::build(other).await.err().expect("the folder is of another actor");
    assert!(error.to_string().contains("is an index of actor"), "{error:#}");
    Indexer::build(config).await.unwrap();
}
