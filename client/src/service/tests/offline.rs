//! The service without a chain, as far as it gets.

use std::sync::Arc;

use axum::routing::get;
use fvm_shared::address::Address;
use serde_json::json;

use super::*;
use crate::service::{ASKED_MAX, SPACES_MAX, Service};
use crate::space::Replica;
use crate::space::edit::Ops;
use crate::{ActorClient, Gateway};

/// A service in a directory of its own, whose index is at `url`, without a node.
fn offline(url: &str) -> (tempfile::TempDir, Service) {
    let dir = tempfile::tempdir().unwrap();
    let rpc = bucket_rpc::Client::new("http://127.0.0.1:1", None).unwrap();
    let client = ActorClient::new(rpc, Address::new_id(1000)).with_gateway(Gateway::new(url).unwrap());
    let service = Service::open(client, keys().1, dir.path()).unwrap();
    (dir, service)
}

#[tokio::test]
async fn junk_in_the_queue_hides_nothing() {
    let (owner, service) = keys();
    let (dir, served) = offline("http://127.0.0.1:1");
    let replica = Replica::new(dir.path(), owner.did());
    // As if the space said so.
    let put = |(key, value, car): &(String, Ipld, Vec<u8>)| {
        let ops = Ops::new([(key.clone(), Some(value.clone()))]).unwrap();
        replica.write(|kept| {
            kept.make(&owner.did(), &owner, &[], ops)?;
            kept.put_block(car)
        })
    };
    let at = |number: u8| task("/no/such", map([]), number);
    let invocations = (0..20).map(|n| queued(&owner, Some(service.did()), at(n), None));
    let good = invocations.max_by_key(|(key, ..)| key.clone()).expect("one of them comes last");
    // Strangers address the service.
    let junk: Vec<_> = (20..=220).map(|n| queued(&key(3), Some(service.did()), at(n), None)).collect();
    assert!(junk.iter().filter(|junk| junk.0 < good.0).count() > ASKED_MAX);
    junk.iter().for_each(|junk| put(junk).unwrap());
    assert!(served.queue(&replica).await.unwrap().0.is_empty());
    put(&good).unwrap();
    let (found, _) = served.queue(&replica).await.unwrap();
    assert_eq!(found.iter().map(|asked| &asked.key).collect::<Vec<_>>(), [&good.0]);
}

/// The index answers about a bucket when it is asked about as many as are served at a time.
#[tokio::test]
async fn several_spaces_are_served_at_a_time() {
    let together = Arc::new(tokio::sync::Barrier::new(SPACES_MAX));
    let spaces = (0..SPACES_MAX as u8).map(|n| json!({"id": key(n + 10).did(), "root": "r", "halted": null}));
    let page =
        |items: Vec<serde_json::Value>| json!({"head": {"epoch": 1, "tipset": []}, "items": items, "cursor": null});
    let all = page(spaces.collect());
    let rows = move || {
        let together = together.clone();
        async move {
            together.wait().await;
            axum::Json(page(vec![]))
        }
    };
    let router = axum::Router::new()
        .route("/v1/buckets", get(move || async move { axum::Json(all) }))
        .route("/v1/buckets/{did}/kv", get(rows));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let (_dir, served) = offline(&url);
    assert_eq!(served.once().await.unwrap(), 0);
    assert_eq!(
        served.done.lock().unwrap().len(),
        SPACES_MAX,
        "none of them names this service, so there is nothing to do"
    );
}
