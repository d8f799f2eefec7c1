//! Our client, against our server and against others.

use super::*;

async fn fake(status: StatusCode, body: &'static str) -> Client {
    let router = Router::new().route("/rpc/v1", post(move || async move { (status, body) }));
    Client::new(&listen(router).await, None).unwrap()
}

#[tokio::test]
async fn a_late_answer_is_a_timeout() {
    let client = Client::new(&start().await, None).unwrap();
    let params = (tipset().cids[0].into(), 1, -1, true);
    let short = Duration::from_millis(50);
    let error = client.call_with_timeout::<StateWaitMsg>(params, short).await.unwrap_err();
    assert!(matches!(error, RpcError::Timeout { after, .. } if after == short), "{error}");
    assert!(error.is_transient());
    let error = client.with_timeout(short).call::<StateWaitMsg>(params).await.unwrap_err();
    assert!(error.to_string().ends_with("within 0.05 s"), "{error}");
}

#[tokio::test]
async fn a_node_that_is_not_there_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = Client::new(&url, None).unwrap().call::<ChainHead>(()).await.unwrap_err();
    assert!(matches!(error, RpcError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&format!("{url}/rpc/v1")), "{error}");
    assert!(error.is_transient());
}

#[tokio::test]
async fn other_servers_are_told_apart() {
    let call = async |status, body| {
        let client = fake(status, body).await;
        client.call::<StateNetworkName>(()).await.unwrap_err().to_string()
    };
    let error = call(StatusCode::UNAUTHORIZED, "no").await;
    assert!(error.contains("HTTP status 401 (the token") && error.ends_with(": no"), "{error}");
    let error = call(StatusCode::OK, "<html>").await;
    assert!(error.contains("expected a JSON-RPC answer, got <html>"), "{error}");
    let error = call(StatusCode::OK, r#"{"jsonrpc":"2.0","id":1,"result":[7]}"#).await;
    assert!(error.contains("Filecoin.StateNetworkName: expected String, got [7]"), "{error}");
    // So does Lotus: a proper error with status 500.
    let lotus = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"gone"}}"#;
    let error = call(StatusCode::INTERNAL_SERVER_ERROR, lotus).await;
    assert_eq!(error, "Filecoin.StateNetworkName: gone (code -32601)");
}

#[tokio::test]
async fn a_missing_result_is_null() {
    let client = fake(StatusCode::OK, r#"{"jsonrpc":"2.0","id":1}"#).await;
    let params = (TipsetKey::HEAD, tipset().cids[0].into(), -1, true);
    assert_eq!(client.call::<StateSearchMsg>(params).await.unwrap(), None);
}

#[tokio::test]
async fn the_token_and_positional_parameters_are_sent() {
    let router = Router::new().route(
        "/rpc/v1",
        post(|headers: axum::http::HeaderMap, body: String| async move {
            let request: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(request["jsonrpc"], "2.0");
            assert_eq!(headers["content-type"], "application/json");
            let token = headers["authorization"].to_str().unwrap();
            json!({"jsonrpc": "2.0", "result": format!("{token} {}", request["params"])}).to_string()
        }),
    );
    let url = listen(router).await;
    let client = Client::from_api_info(&format!("a.b.c:{url}")).unwrap();
    assert_eq!(client.call::<StateNetworkName>(()).await.unwrap(), "Bearer a.b.c []");
}
