//! Calls over HTTP, as any program may make them.

use super::*;

#[tokio::test]
async fn calls_succeed_with_and_without_a_value() {
    let client = Client::new(&start().await, None).unwrap();
    assert_eq!(client.call::<ChainHead>(()).await.unwrap(), tipset());
    let by_height = client.call::<ChainGetTipSetByHeight>((0, TipsetKey::HEAD)).await.unwrap();
    by_height.check().unwrap();
    let cid = tipset().cids[0];
    let found = client.call::<StateSearchMsg>((TipsetKey::HEAD, cid.into(), -1, true)).await;
    assert_eq!(found.unwrap(), None);
    client.call::<DevnetSetMining>((crate::json::MiningMode::Manual,)).await.unwrap();
}

#[tokio::test]
async fn failures_of_the_node_keep_code_and_words() {
    let client = Client::new(&start().await, None).unwrap();
    let error = client.call::<ChainGetTipSetByHeight>((7, TipsetKey::HEAD)).await.unwrap_err();
    assert_eq!(error.to_string(), "Filecoin.ChainGetTipSetByHeight: no tipset at 7 (code 12)");
    assert_eq!(error.code(), Some(code::NULL_ROUND));
    assert!(!error.is_transient());
    let error = client.call::<EthChainId>(()).await.unwrap_err();
    assert_eq!(error.to_string(), "Filecoin.EthChainId: outer: inner (code 1)");
    let error = client.call::<Version>(()).await.unwrap_err();
    assert_eq!(error.code(), Some(code::METHOD_NOT_FOUND), "{error}");
    let error = client.call::<StateNetworkName>(()).await.unwrap_err();
    assert_eq!(error.code(), Some(code::INTERNAL_ERROR), "{error}");
    let error = client.call::<ChainNotify>(()).await.unwrap_err();
    assert!(error.to_string().contains("WebSocket"), "{error}");
}

#[tokio::test]
async fn the_envelope_is_json_rpc() {
    let url = start().await;
    let head = json!(tipset());
    for id in [json!(1), json!("a"), json!(null), json!(-1)] {
        let request = json!({"jsonrpc": "2.0", "id": id, "method": "Filecoin.ChainHead"});
        let answer = post_json(&url, request).await;
        assert_eq!(answer, json!({"jsonrpc": "2.0", "id": id, "result": head}));
    }
    let error = |id: Value, code: i64, message: &str| json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}});
    let by_height = "Filecoin.ChainGetTipSetByHeight";
    let cases = [
        (json!({"id": 1, "method": "No.Such"}), error(json!(1), -32601, "method 'No.Such' not found")),
        (
            json!({"id": 2, "method": by_height, "params": ["0"]}),
            error(json!(2), -32602, "parameter 1: invalid type: string \"0\", expected i64"),
        ),
        (json!({"id": 3, "method": by_height, "params": []}), error(json!(3), -32602, "parameter 1 of 2 is missing")),
        (json!({"id": 4, "method": 5}), error(json!(4), -32600, "expected a method's name as a string, got a number")),
        (
            json!({"id": [], "method": by_height}),
            error(json!(null), -32600, "expected an id that is a string, a number or null, got an array"),
        ),
        (json!(7), error(json!(null), -32600, "expected a request object, got a number")),
        (json!([]), error(json!(null), -32600, "the batch is empty")),
    ];
    for (request, answer) in cases {
        assert_eq!(post_json(&url, request.clone()).await, answer, "{request}");
    }
    // The tipset key may be left out, as it may be null.
    let request = json!({"id": 6, "method": by_height, "params": [0]});
    assert_eq!(post_json(&url, request).await["result"], head);
    let (status, text) = post_text(&url, "{").await;
    assert_eq!((status, text.contains("-32700")), (200, true), "{text}");
}

#[tokio::test]
async fn a_batch_is_answered_in_order_without_its_notifications() {
    let url = start().await;
    let batch = json!([
        {"id": 1, "method": "Filecoin.StateSearchMsg", "params": [[], {"/": tipset().cids[0].to_string()}, 1, true]},
        {"method": "Filecoin.ChainHead"},
        3,
        {"id": "b", "method": "No.Such"},
    ]);
    let answer = post_json(&url, batch).await;
    let expected = json!([
        {"jsonrpc": "2.0", "id": 1, "result": null},
        {"jsonrpc": "2.0", "id": null, "error": {"code": -32600, "message": "expected a request object, got a number"}},
        {"jsonrpc": "2.0", "id": "b", "error": {"code": -32601, "message": "method 'No.Such' not found"}},
    ]);
    assert_eq!(answer, expected);

    let notifications = json!([{"method": "Filecoin.ChainHead"}]).to_string();
    assert_eq!(post_text(&url, notifications).await, (204, String::new()));
    let many = vec![json!({"id": 1, "method": "Filecoin.ChainHead"}); BATCH_CALLS_MAX + 1];
    assert_eq!(post_json(&url, json!(many)).await["error"]["code"], code::INVALID_REQUEST);
    let enough = vec![json!({"id": 1, "method": "Filecoin.EthChainId"}); BATCH_CALLS_MAX];
    assert_eq!(post_json(&url, json!(enough)).await.as_array().unwrap().len(), BATCH_CALLS_MAX);
}

#[tokio::test]
async fn requests_have_a_largest_size() {
    let url = start().await;
    let padded = |bytes: usize| {
        let mut body = json!({"id": 1, "method": "Filecoin.EthChainId"}).to_string();
        body.push_str(&" ".repeat(bytes - body.len()));
        body
    };
    assert_eq!(post_text(&url, padded(REQUEST_BYTES_MAX)).await.0, 200);
    let (status, text) = post_text(&url, padded(REQUEST_BYTES_MAX + 1)).await;
    assert_eq!(status, 413);
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["error"]["code"], code::INVALID_REQUEST);
}

#[tokio::test]
async fn all_paths_answer_pages_of_any_origin() {
    let url = start().await;
    let http = reqwest::Client::new();
    for path in ["/rpc/v1", "/rpc/v0", "/"] {
        let url = format!("{url}{path}");
        let body = json!({"id": 1, "method": "Filecoin.EthChainId"}).to_string();
        let response = http.post(&url).header("Origin", "https://a.example").body(body).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        assert_eq!(response.headers()["content-type"], "application/json");
        let preflight = http
            .request(reqwest::Method::OPTIONS, &url)
            .header("Access-Control-Request-Headers", "authorization,content-type")
            .send()
            .await
            .unwrap();
        assert_eq!(preflight.status(), 204);
        assert_eq!(preflight.headers()["access-control-allow-headers"], "authorization,content-type");
        assert_eq!(preflight.headers()["access-control-allow-private-network"], "true");
        assert_eq!(http.get(&url).send().await.unwrap().status(), 405);
    }
}
