//! An index that is behind, or lies.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bucket_client::progress::Progress;
use bucket_client::space::kept::Holds as _;
use bucket_client::space::pull::pull;
use bucket_client::space::push::pack;
use bucket_client::{ActorClient, Gateway, Identity};
use bucket_core::cid::CarId;
use bucket_core::dag_cbor::Ipld;
use bucket_protocols::store;
use bucket_tests::cars::{car, id, map, text};
use bucket_tests::keys::{ed25519, signed};
use bucket_tests::{User, World as _};

use super::Net;
use super::forks::{epoch, fork};
use crate::scenario::int;

/// In front of the index: answers one row as it is told.
#[derive(Clone)]
struct Proxy {
    gateway: Gateway,
    /// Of which row it says what instead, and how many times.
    name: &'static str,
    row: serde_json::Value,
    times: Arc<AtomicUsize>,
}

async fn proxy(State(proxy): State<Proxy>, request: Request) -> Response {
    let uri = request.uri().to_string();
    let left = proxy.times.load(Ordering::SeqCst);
    if uri.contains("/kv") && uri.contains(proxy.name) && left > 0 {
        proxy.times.store(left - 1, Ordering::SeqCst);
        return axum::Json(proxy.row).into_response();
    }
    let accept = request.headers().get("accept").and_then(|accept| accept.to_str().ok()).unwrap_or_default().to_owned();
    match proxy.gateway.get(uri.trim_start_matches('/'), &accept).await {
        Ok((status, body)) => (status, body).into_response(),
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}

impl Net {
    /// A client whose index says this of the head, so many times.
    fn client_told(&self, row: serde_json::Value, times: usize) -> ActorClient {
        self.client_told_of("head", row, times)
    }

    /// A client whose index says this of a row, so many times.
    fn client_told_of(&self, name: &'static str, row: serde_json::Value, times: usize) -> ActorClient {
        let times = Arc::new(AtomicUsize::new(times));
        let proxied = Proxy { gateway: self.world.gateway.clone(), name, row, times };
        let url = self.listen(Router::new().fallback(proxy).with_state(proxied));
        self.client(User::Bob).with_gateway(Gateway::new(&url).unwrap())
    }

    fn head_row(&self) -> serde_json::Value {
        self.world.index(&self.space, "/kv?gte=[%22space%22,%22head%22]&lte=[%22space%22,%22head%22]")
    }

    fn provider_row(&self) -> serde_json::Value {
        self.world.index(&self.space, "/kv?gte=[%22store%22,%22provider%22]&lte=[%22store%22,%22provider%22]")
    }

    /// The bucket's owner makes somebody its provider.
    fn provide(&mut self, provider: &Identity, nonce: u8) {
        let (space, owner) = (self.space.clone(), ed25519(1));
        let car = signed(&owner, store::provide(&space, &provider.did(), vec![], vec![nonce]), &[]);
        assert_eq!(self.world.invoke(User::Bob, &space, &car, false).unwrap().ok, Some(true));
        self.world.catch_up();
    }
}

#[test]
fn a_push_from_a_stale_root_is_rebased() {
    let net = Net::new();
    let (alice, bob) = (net.home(2), net.home(3));
    alice.edit(&[("/a", Some(int(1)))]);
    net.push(&alice);
    net.pull(&bob).unwrap();
    let stale = net.head_row();
    alice.edit(&[("/a", Some(int(2))), ("/c", Some(int(2)))]);
    net.push(&alice);
    bob.edit(&[("/a", Some(int(3)))]);
    // What Bob's replica would send is refused by the machine, in these words.
    let packed = bob.replica.read(|kept| pack(kept, &net.space, &bob.key, &bob.author.proofs)).unwrap().unwrap();
    let mut net = net;
    let space = net.space.clone();
    let receipt = net.world.invoke(User::Bob, &space, &packed.car, false).unwrap().receipt;
    let failure = net.world.receipt_car(&space, receipt).out.unwrap_err();
    assert_eq!(failure.name, "RebaseRequired");
    // An index that is behind tells him the old head twice: he is refused, waits for the newer, and goes on from there.
    let pushed = net.push_by(&bob, &net.client_told(stale, 2)).unwrap();
    assert_eq!((pushed.rebased, pushed.pushes.len(), pushed.head.seq), (1, 1, 3));
    net.pull(&alice).unwrap();
    assert_eq!((alice.get("/a"), alice.get("/c")), (Some(int(3)), Some(int(2))));
    assert_eq!(alice.root(), bob.root());
}

#[test]
fn an_index_that_lies_about_the_head_is_found_out() {
    let mut net = Net::new();
    let alice = net.home(2);
    alice.edit(&[("/a", Some(int(1)))]);
    net.push(&alice);
    let before = (alice.head(), alice.root());
    let honest = net.head_row();
    let refused = |net: &Net, row: serde_json::Value| {
        let told = net.runtime.block_on(pull(&alice.replica, &net.client_told(row, 1))).unwrap_err();
        assert_eq!((alice.head(), alice.root()), before, "{told}");
        told.code()
    };
    // Another root, or number, for the same push.
    let mut row = honest.clone();
    row["items"][0]["value"]["seq"] = 7.into();
    assert_eq!(refused(&net, row), "mismatch");
    // Something that the bucket did run, and that says what a head says: anybody may let it echo.
    let space = net.space.clone();
    let fake = map([("root", Ipld::Link(before.0.root)), ("seq", int(9)), ("clock", map([]))]);
    let echo = car(&space, "/echo", fake, 1);
    assert_eq!(net.world.invoke(User::Alice, &space, &echo, false).unwrap().ok, Some(true));
    net.world.catch_up();
    let mut row = honest.clone();
    row["items"][0]["value"]["seq"] = 9.into();
    row["items"][0]["value"]["clock"] = serde_json::json!({});
    row["items"][0]["value"]["car"] = serde_json::json!({"/": id(&echo).to_string()});
    assert_eq!(refused(&net, row), "mismatch");
    // A push that nobody sent, and a row that is none.
    let mut row = honest.clone();
    row["items"][0]["value"]["car"] = serde_json::json!({"/": CarId([3; 32]).to_string()});
    assert_eq!(refused(&net, row), "receipt_not_found");
    let mut row = honest.clone();
    row["items"][0]["value"]["root"] = 1.into();
    assert_eq!(refused(&net, row), "indexer");
    // Rows of that name by another protocol are nobody's head.
    let key = Ipld::List(vec![text("space"), text("head")]);
    let put = bucket_tests::cars::put(&space, key, map([("seq", int(99))]), 2);
    net.world.invoke(User::Alice, &space, &put, false).unwrap();
    let pulled = net.pull(&alice).unwrap();
    assert_eq!((pulled.head.seq, pulled.advanced), (1, false));
}

#[test]
fn an_index_that_lies_about_the_provider_changes_nothing() {
    let mut net = Net::new();
    let (alice, space) = (net.home(2), net.space.clone());
    let (first, second, liar) = (ed25519(7), ed25519(8), ed25519(9));
    let told = |net: &Net, row: &serde_json::Value| {
        let pulled = net.runtime.block_on(pull(&alice.replica, &net.client_told_of("provider", row.clone(), 1)));
        (pulled.map_err(|error| error.code()).err(), alice.replica.read(|kept| kept.service()).unwrap())
    };
    net.provide(&first, 1);
    let honest = net.provider_row();
    // Another one by the same CAR, before anything is known and later; another term.
    let mut other = honest.clone();
    other["items"][0]["value"]["provider"] = liar.did().to_string().into();
    assert_eq!(told(&net, &other), (Some("mismatch"), None));
    assert_eq!(told(&net, &honest), (None, Some(first.did())));
    let mut later = honest.clone();
    later["items"][0]["value"]["term"] = 2.into();
    let broken = serde_json::json!({"items": [{"protocol": "store", "value": {"provider": 1}}]});
    for (row, code) in [(&other, "mismatch"), (&later, "mismatch"), (&broken, "indexer")] {
        assert_eq!(told(&net, row), (Some(code), Some(first.did())));
    }
    // Something that the bucket did run, and that says what such a receipt says.
    let fake = map([("provider", text(&liar.did().to_string())), ("proofs", Ipld::List(vec![])), ("term", int(2))]);
    let echo = car(&space, "/echo", fake, 1);
    assert_eq!(net.world.invoke(User::Alice, &space, &echo, false).unwrap().ok, Some(true));
    net.world.catch_up();
    let mut row = later.clone();
    row["items"][0]["value"]["provider"] = liar.did().to_string().into();
    row["items"][0]["value"]["car"] = serde_json::json!({"/": id(&echo).to_string()});
    assert_eq!(told(&net, &row), (Some("mismatch"), Some(first.did())));
    row["items"][0]["value"]["car"] = serde_json::json!({"/": CarId([3; 32]).to_string()});
    assert_eq!(told(&net, &row), (Some("receipt_not_found"), Some(first.did())));
    // It is another one indeed, as the user hears. One who was it before isn't any more, and neither is nobody.
    let then = epoch(&net);
    net.provide(&second, 2);
    let heard = Arc::new(Mutex::new(String::new()));
    let listen = Arc::clone(&heard);
    let progress = Progress::new(move |step| listen.lock().unwrap().push_str(&step.to_string()));
    let client = net.client(User::Alice);
    let client = ActorClient::on(client.chain().clone().with_progress(progress), client.address());
    let client = client.with_gateway(net.world.gateway.clone());
    net.runtime.block_on(pull(&alice.replica, &client)).unwrap();
    let (heard, expected) = (heard.lock().unwrap().clone(), [&first, &second].map(|who| who.did().to_string()));
    assert!(expected.iter().all(|did| heard.contains(did)), "{heard}");
    for row in [&honest, &serde_json::json!({"items": []})] {
        assert_eq!(told(&net, row), (None, Some(second.did())));
    }
    // Unless the chain took the change back.
    fork(&net, then);
    net.pull(&alice).unwrap();
    assert_eq!(alice.replica.read(|kept| kept.service()).unwrap(), Some(first.did()));
}
