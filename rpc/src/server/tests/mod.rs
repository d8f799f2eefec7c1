//! Server and client on a loopback port; this file is the server that the others talk to.

mod client;
mod http;
mod socket;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use futures::{SinkExt, StreamExt, stream};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::{BATCH_CALLS_MAX, Failure, Limits, REQUEST_BYTES_MAX, Server, code};
use crate::json::{BlockHeader, HeadChange, HeadChangeType, Tipset, TipsetKey};
use crate::methods::*;
use crate::{Client, RpcError, RpcMethod, Subscription};

/// A subscription to numbers, which can be made as many and as large as a test needs.
enum Numbers {}

impl RpcMethod for Numbers {
    const NAME: &'static str = "Test.Numbers";
    type Params = (u64, Option<u64>);
    type Ok = u64;
}

impl Subscription for Numbers {
    type Item = String;
}

/// How many streams of [`Numbers`] are alive, and how many calls wait.
#[derive(Clone, Default)]
struct Counters {
    streams: Arc<AtomicUsize>,
    waiting: Arc<AtomicUsize>,
}

/// Counts while it lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn tipset() -> Tipset {
    let bytes = crate::json::tests::mainnet_genesis();
    Tipset::from_block(BlockHeader::from_cbor(&bytes).unwrap()).unwrap()
}

fn server(counters: Counters) -> Server<Counters> {
    Server::new(counters)
        .method::<ChainHead, _, _>(|_, ()| async { Ok(tipset()) })
        .method::<ChainGetTipSetByHeight, _, _>(|_, (height, key)| async move {
            match (height, key.is_head()) {
                (0, true) => Ok(tipset()),
                _ => Err(Failure::with_code(code::NULL_ROUND, format!("no tipset at {height}"))),
            }
        })
        .method::<StateSearchMsg, _, _>(|_, _| async { Ok(None) })
        .method::<DevnetSetMining, _, _>(|_, _| async { Ok(()) })
        .method::<StateNetworkName, _, _>(|_, ()| async { panic!("on purpose") })
        .method::<EthChainId, _, _>(|_, ()| async { Err(anyhow::anyhow!("inner").context("outer").into()) })
        .method::<StateWaitMsg, _, _>(|counters, _| async move {
            let _counted = Counted::new(&counters.waiting);
            std::future::pending().await
        })
        .subscription::<ChainNotify, _, _, _>(|_, ()| async {
            let current = HeadChange { r#type: HeadChangeType::Current, val: tipset() };
            Ok(stream::iter([vec![current]]).chain(stream::pending()))
        })
        .subscription::<Numbers, _, _, _>(|counters, (count, bytes)| async move {
            if count == 13 {
                return Err(Failure::new("not thirteen"));
            }
            let counted = Counted::new(&counters.streams);
            let padding = "x".repeat(bytes.unwrap_or(0) as usize);
            Ok(stream::iter(0..count).map(move |n| {
                let _ = &counted;
                format!("{n}{padding}")
            }))
        })
}

async fn listen(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

async fn start() -> String {
    listen(server(Counters::default()).into_router()).await
}

async fn post_text(url: &str, body: impl Into<reqwest::Body>) -> (u16, String) {
    let response = reqwest::Client::new().post(url).body(body).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

async fn post_json(url: &str, body: Value) -> Value {
    let (status, text) = post_text(url, body.to_string()).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// Waits for what happens soon; a test that waits in vain fails.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("waited 10 s in vain")
}

async fn until(count: &AtomicUsize, expected: usize) {
    soon(async {
        while count.load(Ordering::SeqCst) != expected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[test]
fn names_are_listed_and_can_be_taken_once() {
    let server = server(Counters::default());
    assert!(server.names().any(|name| name == "Filecoin.ChainNotify"));
    let again = || server.method::<ChainHead, _, _>(|_, ()| async { Ok(tipset()) });
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(again)).is_err());
}
