//! The routes below `/v1`, and health, on a real server, over an index that was filled by applying messages.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bucket_core::dag_cbor::Ipld;
use expect_test::expect;
use reqwest::header::{HeaderMap, HeaderName};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};

use super::rig::*;
use super::signed::KEY;
use crate::http::{App, router};
use crate::metrics::Metrics;
use crate::signer::Signer;
use crate::status::Status;
use crate::store::{Halt, Store};

pub struct Site {
    pub rig: Rig,
    url: String,
    status: Status,
    client: Client,
}

impl Site {
    pub async fn new() -> Self {
        let rig = Rig::new().await;
        let status = Status::default();
        let app = App {
            store: rig.store.clone(),
            blocks: rig.blocks.clone(),
            cars: rig.cars.clone(),
            status: status.clone(),
            signer: Arc::new(Signer::from_multikey(KEY).unwrap()),
            metrics: Arc::new(Metrics::default()),
            lag_max: 10,
            silence_max: Duration::from_secs(60),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router(app)).await.unwrap() });
        let client = Client::builder().no_proxy().build().unwrap();
        Self { rig, url, status, client }
    }

    /// With bucket x: a and ["a", 1] are put, del fails nothing, one more is pending.
    pub async fn filled() -> Self {
        let mut site = Self::new().await;
        let pair = || list([s("a"), Ipld::Integer(1)]);
        site.rig.tipset("t1", 1, &[create("x"), create("y")]).await;
        site.rig
            .tipset("t2", 2, &[put("x", s("a"), s("1")), put("x", pair(), list([pair(), Ipld::Bytes(vec![1])]))])
            .await;
        site.rig.tipset("t4", 4, &[put("x", list([Ipld::Null]), s("reserved")), del("x", s("a"))]).await;
        site.rig.tipset("t5", 5, &[schedule("x", s("later"), s("1")), schedule("x", s("last"), s("1"))]).await;
        site
    }

    pub async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Response {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Response {
        self.ask(Method::GET, path, &[]).await
    }

    pub async fn json(&self, path: &str) -> Value {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    }

    /// Status and code of an error.
    pub async fn error(&self, path: &str) -> (u16, String) {
        let response = self.get(path).await;
        let status = response.status().as_u16();
        let body: Value = response.json().await.unwrap();
        assert!(!body["error"]["message"].as_str().unwrap().is_empty());
        (status, body["error"]["code"].as_str().unwrap().to_owned())
    }

    pub async fn receipts(&self, query: &str) -> Value {
        self.json(&format!("/v1/buckets/did:example:x/receipts{query}")).await
    }
}

pub fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(HeaderName::try_from(name).unwrap()).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets_and_their_records() {
    let site = Site::filled().await;
    let all = site.json("/v1/buckets").await;
    assert_eq!(all["head"], json!({"epoch": 5, "tipset": ["t5"]}));
    assert_eq!(all["cursor"], Value::Null);
    let one = site.json("/v1/buckets/did:example:x").await;
    let mut item = one.clone();
    item.as_object_mut().unwrap().remove("head");
    assert_eq!(all["items"][0], item, "the list's items are the records");
    assert_eq!(site.json("/v1/buckets/did%3Aexample%3Ax").await, one, "the DID may be percent-encoded");
    item["root"] = "…".into();
    expect![[r#"{"controllers":["t01001"],"created":{"epoch":1,"tipset":["t1"]},"halted":null,"id":"did:example:x","mode":"atomic","pending":2,"ran":4,"root":"…"}"#]]
        .assert_eq(&item.to_string());
    let first = site.json("/v1/buckets?limit=1").await;
    let second = site.json(&format!("/v1/buckets?limit=1&cursor={}", first["cursor"].as_str().unwrap())).await;
    assert_eq!(
        (&first["items"][0]["id"], &second["items"][0]["id"]),
        (&json!("did:example:x"), &json!("did:example:y"))
    );
    assert_eq!(second["cursor"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_in_order_and_in_pages() {
    let site = Site::filled().await;
    let queue = site.json("/v1/buckets/did:example:x/queue").await;
    let expected = |position: u64, key: &str| {
        let car = id(&put_car("x", s(key), s("1"))).to_string();
        json!({"position": position, "car": car, "cmd": "/kv/put", "caller": "t01001", "depth": 0, "cause": null, "force": false})
    };
    assert_eq!(queue["items"], json!([expected(0, "later"), expected(1, "last")]));
    assert_eq!(queue["cursor"], Value::Null);
    let first = site.json("/v1/buckets/did:example:x/queue?limit=1").await;
    assert_eq!(first["items"], json!([expected(0, "later")]));
    let cursor = first["cursor"].as_str().unwrap();
    let second = site.json(&format!("/v1/buckets/did:example:x/queue?limit=1&cursor={cursor}")).await;
    assert_eq!((&second["items"], &second["cursor"]), (&json!([expected(1, "last")]), &Value::Null));
    assert_eq!(site.json("/v1/buckets/did:example:y/queue").await["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_in_order_and_in_pages() {
    let mut site = Site::filled().await;
    site.status.update(|status| status.finalized = Some(2));
    let all = site.receipts("").await;
    let items = all["items"].as_array().unwrap();
    let seen: Vec<_> = items
        .iter()
        .map(|item| format!("{} {} {} {}", item["epoch"], item["cmd"], item["ok"], item["final"]))
        .collect();
    assert_eq!(
        seen,
        [
            r#"2 "/kv/put" true true"#,
            r#"2 "/kv/put" true true"#,
            r#"4 "/kv/put" false false"#,
            r#"4 "/kv/del" true false"#
        ]
    );
    let item = &items[0];
    let ran = id(&put_car("x", s("a"), s("1"))).to_string();
    assert_eq!(item["ran"], json!(ran));
    assert_eq!(item["links"]["ran"], json!(format!("/ipfs/{ran}?format=car")));
    assert_eq!(
        (&item["version"], &item["caller"], &item["cause"], &item["forks"]),
        (&json!(1), &json!("t01001"), &json!(null), &json!([]))
    );
    let reversed = site.receipts("?reverse=true").await;
    assert_eq!(reversed["items"].as_array().unwrap().iter().rev().cloned().collect::<Vec<_>>(), *items);

    let first = site.receipts("?limit=3").await;
    assert_eq!(first["items"].as_array().unwrap(), &items[..3]);
    let rest = format!("?limit=3&cursor={}", first["cursor"].as_str().unwrap());
    let second = site.receipts(&rest).await;
    assert_eq!((second["items"].as_array().unwrap(), &second["cursor"]), (&items[3..].to_vec(), &Value::Null));
    // A page after a reorganisation is refused, not wrong.
    site.rig.store.revert(3).await.unwrap();
    assert_eq!(site.error(&format!("/v1/buckets/did:example:x/receipts{rest}")).await, (409, "cursor_reverted".into()));
    site.rig.tipset("t4b", 4, &[]).await;
    assert_eq!(site.receipts("").await["items"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_receipt_is_done_pending_or_not_found() {
    let mut site = Site::filled().await;
    let path = |car: &[u8]| format!("/v1/buckets/did:example:x/receipts/{}", id(car));
    let done = site.json(&path(&put_car("x", s("a"), s("1")))).await;
    assert_eq!(
        (&done["status"], &done["out"], &done["position"]),
        (&json!("done"), &json!({"ok": {"del": 0, "put": 1}}), &Value::Null)
    );
    assert_eq!(done["head"]["epoch"], json!(5));
    let failed = site.json(&path(&put_car("x", list([Ipld::Null]), s("reserved")))).await;
    assert_eq!((&failed["ok"], &failed["out"]["error"]["name"]), (&json!(false), &json!("KeyReserved")));
    let pending = site.json(&path(&put_car("x", s("last"), s("1")))).await;
    assert_eq!((&pending["status"], &pending["position"]), (&json!("pending"), &json!(1)));
    let never = path(&put_car("x", s("never"), s("1")));
    assert_eq!(site.error(&never).await, (404, "receipt_not_found".into()));
    // Forced: a second version; the first can still be had by its own name.
    site.rig.tipset("t6", 6, &[force("x", s("a"), s("1"))]).await;
    let again = site.json(&path(&put_car("x", s("a"), s("1")))).await;
    assert_eq!((&again["version"], &again["epoch"]), (&json!(2), &json!(6)));
    assert_ne!(again["receipt"], done["receipt"]);
    assert_eq!(site.get(done["links"]["receipt"].as_str().unwrap()).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn kv_ranges() {
    let site = Site::filled().await;
    let kv = async |query: &str| {
        let page = site.json(&format!("/v1/buckets/did:example:x/kv{query}")).await;
        page["items"].as_array().unwrap().iter().map(|item| item["key"].to_string()).collect::<Vec<_>>()
    };
    // “a” was deleted; receipts have keys of their own.
    assert_eq!(kv(r#"?gte=["a"]"#).await, [r#"["a",1]"#]);
    assert_eq!(kv(r#"?gte=["a",1]"#).await, [r#"["a",1]"#]);
    assert_eq!(kv(r#"?gt=["a",1]"#).await, [""; 0]);
    assert_eq!(kv(r#"?gte=["a"]&lte=["a",1]"#).await, [r#"["a",1]"#]);
    assert_eq!(kv(r#"?gte=["a"]&lt=["a",1]"#).await, [""; 0]);
    let receipts = kv(r#"?gte=[null]&lt=["a"]"#).await;
    assert_eq!(receipts.len(), 4);
    let ran = id(&put_car("x", s("a"), s("1")));
    assert!(receipts.contains(&json!([null, ran.to_string(), null]).to_string()), "{receipts:?}");
    let mut reversed = kv(r#"?gte=[null]&lt=["a"]&reverse=true"#).await;
    reversed.reverse();
    assert_eq!(reversed, receipts);
    let item = site.json(r#"/v1/buckets/did:example:x/kv?gte=["a"]"#).await["items"][0].clone();
    expect![[r#"{"key":["a",1],"protocol":"kv","value":[["a",1],{"/":{"bytes":"AQ"}}]}"#]].assert_eq(&item.to_string());

    let (mut pages, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = site.json(&format!("/v1/buckets/did:example:x/kv?limit=2{cursor}")).await;
        pages.extend(page["items"].as_array().unwrap().iter().map(|item| item["key"].to_string()));
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(pages, kv("").await);
    assert_eq!(pages.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_stable_codes() {
    let site = Site::filled().await;
    for (path, status, code) in [
        ("/v1/buckets/did:example:nobody", 404, "bucket_unknown"),
        ("/v1/buckets/did:example:nobody/queue", 404, "bucket_unknown"),
        ("/v1/buckets/did:example:nobody/receipts", 404, "bucket_unknown"),
        ("/v1/buckets/did:example:nobody/kv", 404, "bucket_unknown"),
        ("/v1/buckets/nobody", 400, "bucket_invalid"),
        ("/v1/buckets?limit=0", 400, "query_invalid"),
        ("/v1/buckets?limit=1001", 400, "query_invalid"),
        ("/v1/buckets?limit=many", 400, "query_invalid"),
        ("/v1/buckets?lmit=5", 400, "query_invalid"),
        ("/v1/buckets?cursor=!", 400, "cursor_invalid"),
        ("/v1/buckets/did:example:x/receipts?cursor=eyJ9", 400, "cursor_invalid"),
        ("/v1/buckets/did:example:x/receipts/bafkqaaa", 400, "car_id_invalid"),
        ("/v1/buckets/did:example:x/kv?gte=a", 400, "key_invalid"),
        (r#"/v1/buckets/did:example:x/kv?gte={"a":1}"#, 400, "key_invalid"),
        ("/v1/buckets/did:example:x/kv?gte=1&gt=1", 400, "query_invalid"),
        ("/ipfs/nothing?format=raw", 400, "cid_invalid"),
        ("/ipfs/bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy?format=raw", 404, "block_not_found"),
        ("/ipfs/bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy", 406, "format_unsupported"),
        ("/ipfs/bafkqaaa/a?format=raw", 501, "path_unsupported"),
        ("/v2/buckets", 404, "route_unknown"),
    ] {
        assert_eq!(site.error(path).await, (status, code.to_owned()), "{path}");
    }
    let response = site.ask(Method::POST, "/v1/buckets", &[]).await;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(response.json::<Value>().await.unwrap()["error"]["code"], "method_not_allowed");
    site.rig.store.revert(i64::MIN).await.unwrap();
    assert_eq!(site.error("/v1/buckets").await, (503, "index_empty".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halted_bucket_says_so_and_gives_nothing_else() {
    let mut site = Site::filled().await;
    let x = did("x").to_string();
    let halt =
        Halt { bucket: x.clone(), height: 0, reason: "they differ".into(), ours: "aa".into(), chain: "bb".into() };
    site.rig.tipset_with("t6", 6, &[], vec![halt]).await;
    site.status.update(|status| {
        status.halted = [x].into();
        (status.seen, status.indexed, status.lag) = (Some(Instant::now()), Some(6), Some(0));
    });
    let one = site.json("/v1/buckets/did:example:x").await;
    assert_eq!(one["halted"], json!({"epoch": 6, "reason": "they differ", "ours": "aa", "chain": "bb"}));
    for path in ["queue", "receipts", "kv", &format!("receipts/{}", id(b""))] {
        let path = format!("/v1/buckets/did:example:x/{path}");
        assert_eq!(site.error(&path).await, (503, "bucket_halted".into()), "{path}");
    }
    assert_eq!(site.json("/v1/buckets/did:example:y").await["halted"], Value::Null);
    let ready = site.get("/readyz").await;
    assert_eq!(ready.status(), 503);
    let reasons = &ready.json::<Value>().await.unwrap()["reasons"];
    assert_eq!(reasons, &json!(["bucket did:example:x differs from the chain and is halted"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn health() {
    let site = Site::filled().await;
    assert_eq!(site.json("/healthz").await, json!({"ok": true}));
    let ready = async || site.get("/readyz").await.json::<Value>().await.unwrap()["reasons"].clone();
    assert_eq!(ready().await, json!(["the node hasn't been asked yet"]));
    let set = |lag| {
        site.status
            .update(|status| (status.seen, status.indexed, status.lag) = (Some(Instant::now()), Some(5), Some(lag)))
    };
    set(10);
    assert_eq!(ready().await, json!([]));
    set(11);
    assert_eq!(ready().await, json!(["11 epochs behind the chain, more than 10"]));
    let metrics = site.get("/metrics").await;
    assert!(header(metrics.headers(), "content-type").starts_with("application/openmetrics-text"));
    let text = metrics.text().await.unwrap();
    assert!(text.contains(r#"bucket_indexer_http_requests_total{route="/readyz",status="503"} 2"#), "{text}");
    assert!(text.ends_with("# EOF\n"));
    assert_eq!(site.json("/.well-known/libp2p/protocols").await["protocols"]["/ipfs/gateway"]["path"], "/");
}
