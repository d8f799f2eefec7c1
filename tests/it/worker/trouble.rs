//! What goes wrong around the worker stays where it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bucket_client::store::index;
use bucket_client::task::Draft;
use bucket_client::ucan::{Held, Token};
use bucket_client::worker::Settings;
use bucket_core::cid::NativeHasher;
use bucket_core::dag_cbor::Ipld;
use bucket_core::effect::Job;
use bucket_core::task::Task;
use bucket_devnet::node::Reorg;
use bucket_protocols::store::{self, Status, event};
use bucket_rpc::RpcMethod as _;
use bucket_rpc::methods::{MpoolGetNonce, StateCall};
use bucket_tests::cars::id;
use bucket_tests::keys::{self, chain, ed25519};
use bucket_tests::s3::S3;
use bucket_tests::{User, World};
use reqwest::StatusCode;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::{CAPACITY, Shop, car, served, service, signed};

/// Stops the S3 server.
fn close(shop: &mut Shop) -> std::net::SocketAddr {
    let address = shop.s3.address();
    let files = tempfile::tempdir().unwrap();
    let elsewhere = S3::start(([127, 0, 0, 1], 0).into(), files.path(), "key", "secret");
    let elsewhere = shop.runtime.block_on(elsewhere).unwrap();
    let here = std::mem::replace(&mut shop.s3, elsewhere);
    shop.runtime.block_on(here.stop());
    address
}

#[test]
fn a_store_that_is_away_is_no_lack_of_room() {
    let mut shop = Shop::open();
    let (one, two) = (car("one", 10), car("two", 20));
    shop.add(&one).unwrap();
    let address = close(&mut shop);
    shop.add(&two).unwrap();
    for _ in 0..2 {
        assert_eq!(shop.turn(), 2, "one failure each");
    }
    let told = shop.notes.lock().unwrap().join("\n");
    assert!(told.contains("the S3 store at http://127.0.0.1"), "{told}");
    assert!(!told.contains("X-Amz"), "no signature is told: {told}");
    for car in [&one, &two] {
        shop.stands(car, Status::Active);
    }
    let files = shop.files().to_owned();
    shop.s3 = shop.runtime.block_on(S3::start(address, &files, "key", "secret")).unwrap();
    shop.good_turn();
    for car in [&one, &two] {
        shop.stands(car, Status::Receiving);
    }
    assert_eq!(shop.used(), 30);
}

#[test]
fn a_store_that_is_busy_is_no_lack_of_room() {
    let mut shop = Shop::open();
    let one = car("one", 10);
    shop.add(&one).unwrap();
    let address = close(&mut shop);
    let busy = axum::Router::new().fallback(|| async { (StatusCode::SERVICE_UNAVAILABLE, [("connection", "close")]) });
    let listener = shop.runtime.block_on(TcpListener::bind(address)).unwrap();
    let serving = shop.runtime.spawn(async { axum::serve(listener, busy).await });
    assert_eq!(shop.turn(), 1);
    shop.stands(&one, Status::Active);
    let told = shop.notes.lock().unwrap().join("\n");
    assert!(told.contains("got HTTP status 503"), "{told}");
    serving.abort();
    assert!(shop.runtime.block_on(serving).unwrap_err().is_cancelled());
    let files = shop.files().to_owned();
    shop.s3 = shop.runtime.block_on(S3::start(address, &files, "key", "secret")).unwrap();
    shop.good_turn();
    shop.stands(&one, Status::Receiving);
}

#[test]
fn a_store_that_is_away_keeps_nothing_from_expiring() {
    let mut shop = Shop::open();
    let late = car("late", 10);
    shop.add(&late).unwrap();
    shop.good_turn();
    shop.stands(&late, Status::Receiving);
    close(&mut shop);
    shop.pass(200);
    assert_eq!(shop.turn(), 1);
    shop.stands(&late, Status::Expired);
}

/// The URL of a node that is busy for the first trial, and passes everything else on to `node`.
fn busy_once(runtime: &Runtime, node: &str) -> String {
    let (node, busy) = (node.to_owned(), Arc::new(AtomicBool::new(true)));
    let answer = move |body: String| {
        let (node, busy) = (node.clone(), busy.clone());
        async move {
            if body.contains(StateCall::NAME) && busy.swap(false, Ordering::Relaxed) {
                return (StatusCode::SERVICE_UNAVAILABLE, String::new());
            }
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let passed = client.post(&node).header("content-type", "application/json").body(body);
            let answer = passed.send().await.unwrap();
            (answer.status(), answer.text().await.unwrap())
        }
    };
    let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).unwrap();
    let url = format!("http://{}/rpc/v1", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback(answer);
    runtime.spawn(async { axum::serve(listener, router).await });
    url
}

#[test]
fn what_is_there_does_not_expire_because_a_node_is_busy() {
    let mut shop = Shop::open();
    let close = car("close", 10);
    shop.add(&close).unwrap();
    shop.good_turn();
    shop.stands(&close, Status::Receiving);
    std::fs::write(shop.object(&close), &close).unwrap();
    shop.pass(300);
    let node = busy_once(&shop.runtime, shop.payer().chain().rpc().url());
    shop.start_as(shop.payer_at(&node), Settings::new(CAPACITY));
    assert_eq!(shop.turn(), 1, "{:#?}", shop.notes.lock().unwrap());
    shop.stands(&close, Status::Receiving);
    shop.good_turn();
    shop.stands(&close, Status::Ok);
    shop.nothing_waits();
    assert_eq!(shop.events(), ["/store/add", "/store/receive", "/store/put"]);
}

#[test]
fn a_key_that_does_not_open_the_store_is_no_lack_of_room() {
    let mut shop = Shop::open();
    let one = car("one", 10);
    shop.add(&one).unwrap();
    let (address, files) = (close(&mut shop), shop.files().to_owned());
    shop.s3 = shop.runtime.block_on(S3::start(address, &files, "key", "another")).unwrap();
    assert_eq!(shop.turn(), 1);
    shop.stands(&one, Status::Active);
    let told = shop.notes.lock().unwrap().join("\n");
    assert!(told.contains("403") && told.contains("check the key"), "{told}");
}

#[test]
fn a_bucket_that_gives_no_right_holds_up_no_other() {
    let mut shop = Shop::open();
    let one = car("one", 10);
    // It names the service, and lets it do nothing.
    let owner = ed25519(2);
    let closed = keys::create(&mut shop.world, &owner);
    let provide = store::provide(&closed, &service().did(), vec![], shop.nonce());
    shop.world.invoke(User::Bob, &closed, &signed(&owner, provide, &[]), false).unwrap();
    shop.add_to(&closed, id(&one), 10).unwrap();
    shop.add(&one).unwrap();
    assert_eq!(shop.turn(), 1);
    assert_eq!(shop.entry_of(&closed, &id(&one)).status, Status::Active);
    shop.stands(&one, Status::Receiving);
    let told = shop.notes.lock().unwrap().join("\n");
    assert!(told.contains("expected a chain of delegations"), "{told}");
}

#[test]
fn another_services_buckets_are_left_alone() {
    let mut shop = Shop::open();
    let one = car("one", 10);
    let other = served(&mut shop.world, 2, &ed25519(98));
    shop.add_to(&other, id(&one), 10).unwrap();
    shop.good_turn();
    assert_eq!(shop.entry_of(&other, &id(&one)).status, Status::Active);
    assert_eq!(shop.ledger().attempts(&other).unwrap(), vec![]);
}

#[test]
fn nobody_else_speaks_for_the_service() {
    let mut shop = Shop::open();
    let one = car("one", 10);
    let (bucket, owner) = (shop.bucket.clone(), ed25519(1));
    shop.add(&one).unwrap();
    let friend = ed25519(7);
    let proofs = chain(&[&owner, &friend], "/store");
    for cmd in [event::PUT, event::EXCEED, event::EXPIRE, event::DONE, event::RECEIVE] {
        let mut args = BTreeMap::new();
        match cmd {
            event::DONE => drop(args.insert("effect".to_owned(), Ipld::Integer(6))),
            event::RECEIVE => {
                let upload = store::Upload { url: "http://evil.test".into(), headers: BTreeMap::new() };
                args.insert("upload".to_owned(), upload.to_ipld());
            }
            _ => {}
        }
        let task = event(&bucket, id(&one), 1, cmd, args, shop.nonce());
        // A controller, the bucket's own key, and somebody with a right to all of the store.
        let cars = [task.to_car::<NativeHasher>(), signed(&owner, task.clone(), &[]), signed(&friend, task, &proofs)];
        for car in cars {
            assert_eq!(shop.tell(&bucket, &car).unwrap_err().name, "Forbidden", "{cmd}");
        }
    }
    shop.stands(&one, Status::Active);
    shop.good_turn();
    shop.stands(&one, Status::Receiving);
}

#[test]
fn nothing_is_done_before_it_has_the_confidence_that_was_asked_for() {
    let mut shop = Shop::new();
    shop.start(Settings { confidence: 3, ..Settings::new(CAPACITY) });
    let one = car("one", 10);
    shop.add(&one).unwrap();
    shop.good_turn();
    assert_eq!(shop.stands(&one, Status::Active).status, Status::Active);
    shop.world.devnet.mine(2).unwrap();
    shop.good_turn();
    shop.stands(&one, Status::Active);
    assert_eq!(shop.events(), ["/store/add"]);
    shop.world.devnet.mine(2).unwrap();
    shop.good_turn();
    shop.stands(&one, Status::Receiving);
}

/// The indexer begins anew over what it has, and looks at the chain so often.
fn restart_indexer(shop: &mut Shop, poll: Duration) {
    shop.world.config.poll_interval = poll;
    let data = shop.world.config.data.clone();
    shop.world.restart_indexer(&data);
    let looked = || shop.runtime.block_on(shop.world.gateway.json("v1/status")).unwrap()["chain"].is_number();
    while !looked() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_event_is_told_once_though_the_index_is_behind() {
    let mut shop = Shop::new();
    let one = car("one", 10);
    shop.add(&one).unwrap();
    shop.world.catch_up();
    restart_indexer(&mut shop, Duration::from_secs(3600));
    shop.start(Settings::new(CAPACITY));
    let once = |shop: &Shop| shop.runtime.block_on(shop.worker.as_ref().unwrap().once()).unwrap();
    assert_eq!(once(&shop), 0);
    // The index shows what was to be done before. This worker remembers, the next one has to ask the chain.
    assert_eq!(once(&shop), 0);
    shop.start(Settings::new(CAPACITY));
    assert_eq!(once(&shop), 1, "{:#?}", shop.notes.lock().unwrap());
    let told = shop.notes.lock().unwrap().join("\n");
    assert!(told.contains("does not have"), "the chain has the receipt, the index doesn't yet: {told}");

    restart_indexer(&mut shop, Duration::from_millis(20));
    shop.start(Settings::new(CAPACITY));
    shop.good_turn();
    shop.stands(&one, Status::Receiving);
    assert_eq!(shop.events(), ["/store/add", "/store/receive"]);
    let payer = shop.payer();
    let address = payer.chain().signer().unwrap().address();
    let paid = payer.chain().rpc().call::<MpoolGetNonce>((address.into(),));
    assert_eq!(shop.runtime.block_on(paid).unwrap(), 1, "one message, paid for once");
}

#[test]
fn an_event_that_a_reorganisation_drops_is_sent_again() {
    let mut shop = Shop::open();
    let one = car("one", 10);
    std::fs::write(shop.object(&one), &one).unwrap();
    shop.add(&one).unwrap();
    shop.world.catch_up();
    shop.good_turn();
    shop.stands(&one, Status::Ok);
    take_back(&shop, 2);
    // The dropped messages wait and are mined again, or the worker sends its event anew: either way the end is the same.
    shop.world.devnet.mine(2).unwrap();
    shop.turn();
    shop.stands(&one, Status::Ok);
    shop.nothing_waits();
    assert_eq!(shop.used(), 10);
    let (_, violations) = shop.world.check();
    assert_eq!(violations, Vec::<String>::new());
}

/// Replaces so many tipsets by empty ones. Their messages wait for the next.
fn take_back(shop: &Shop, tipsets: usize) {
    shop.world.devnet.reorg(Reorg { include: false, null_rounds: 0, ..Reorg::of_depth(tipsets) }).unwrap();
}

#[test]
fn room_follows_an_attempt_that_a_reorganisation_revives_and_ends() {
    let mut shop = Shop::open();
    let late = car("late", 600);
    shop.add(&late).unwrap();
    shop.good_turn();
    shop.pass(200);
    shop.good_turn();
    shop.stands(&late, Status::Expired);
    shop.good_turn();
    shop.nothing_waits();
    assert_eq!(shop.used(), 0);

    // `expire` and `done`, a tipset and its result each.
    take_back(&shop, 4);
    shop.stands(&late, Status::Receiving);
    std::fs::write(shop.object(&late), &late).unwrap();
    // Its room is given anew before it is said to be stored, which comes behind the two that wait.
    shop.good_turn();
    shop.stands(&late, Status::Expired);
    shop.nothing_waits();
    assert_eq!(shop.used(), 600);
    // So nothing asks for it to be freed.
    shop.good_turn();
    assert_eq!(shop.used(), 0);
    assert_eq!(shop.events(), ["/store/add", "/store/receive", "/store/expire", "/store/done", "/store/put"]);
}

#[test]
fn what_was_told_too_early_is_told_again() {
    let mut shop = Shop::open();
    let (one, bucket) = (car("one", 10), shop.bucket.clone());
    std::fs::write(shop.object(&one), &one).unwrap();
    shop.world.catch_up();
    // As a reorganisation may bring it: the worker's message before that of who added the CAR.
    let gateway = shop.world.gateway.clone();
    let proofs = shop.runtime.block_on(index::provider(&gateway, &bucket)).unwrap().unwrap().proofs;
    let held =
        proofs.iter().map(|cid| Held::new(Token::new(shop.runtime.block_on(index::block(&gateway, cid)).unwrap())));
    let held: Vec<_> = held.collect::<Result<_, _>>().unwrap();
    let job = Job::new(event::PUT, []);
    let nonce = store::idempotency_key::<NativeHasher>(&bucket, id(&one), 1, &job).to_vec();
    let Task { sub, cmd, args, nonce } = event(&bucket, id(&one), 1, &job.cmd, job.args, nonce);
    let early = Draft { bucket: sub, cmd, args, files: vec![], nonce }.sign(&service(), &held, None, 0).unwrap();
    assert_eq!(shop.tell(&bucket, &early).unwrap().status, Status::NotFound);

    shop.add(&one).unwrap();
    shop.good_turn();
    shop.stands(&one, Status::Ok);
    shop.nothing_waits();
    assert_eq!(shop.events(), ["/store/put", "/store/add", "/store/put"]);
}
