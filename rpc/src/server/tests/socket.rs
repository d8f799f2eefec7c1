//! Calls and subscriptions over WebSocket.

use super::*;

struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    async fn open(url: &str) -> Self {
        let url = format!("{}/rpc/v1", url.replace("http", "ws"));
        Self(connect_async(url).await.unwrap().0)
    }

    async fn send(&mut self, value: Value) {
        self.0.send(Frame::Text(value.to_string().into())).await.unwrap();
    }

    /// The next frame; none when the connection has ended.
    async fn next(&mut self) -> Option<Value> {
        match soon(self.0.next()).await? {
            Ok(Frame::Text(text)) => Some(serde_json::from_str(&text).unwrap()),
            Ok(Frame::Close(_)) | Err(_) => None,
            Ok(other) => panic!("unexpected {other:?}"),
        }
    }

    async fn call(&mut self, value: Value) -> Value {
        self.send(value).await;
        self.next().await.unwrap()
    }
}

#[tokio::test]
async fn carries_ordinary_calls_and_batches() {
    let mut socket = Socket::open(&start().await).await;
    let answer = socket.call(json!({"id": 1, "method": "Filecoin.ChainHead"})).await;
    assert_eq!(answer, json!({"jsonrpc": "2.0", "id": 1, "result": tipset()}));
    let answer = socket.call(json!([{"id": 1, "method": "No.Such"}])).await;
    assert_eq!(answer[0]["error"]["code"], code::METHOD_NOT_FOUND);
    let answer = socket.call(json!("x")).await;
    assert_eq!(answer["error"]["code"], code::INVALID_REQUEST);
    socket.0.send(Frame::Text("{".into())).await.unwrap();
    assert_eq!(socket.next().await.unwrap()["error"]["code"], code::PARSE_ERROR);
    // A notification has no answer, so the next frame answers the next call.
    socket.send(json!({"method": "Filecoin.ChainHead"})).await;
    let answer = socket.call(json!({"id": 9, "method": "Filecoin.StateNetworkName"})).await;
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(9), &json!(code::INTERNAL_ERROR)));
}

#[tokio::test]
async fn notifies_of_the_head_until_cancelled() {
    let mut socket = Socket::open(&start().await).await;
    let answer = socket.call(json!({"id": 5, "method": "Filecoin.ChainNotify", "params": []})).await;
    assert_eq!(answer, json!({"jsonrpc": "2.0", "id": 5, "result": 1}));
    let current = json!([{"Type": "current", "Val": tipset()}]);
    let value = json!({"jsonrpc": "2.0", "method": "xrpc.ch.val", "params": [1, current]});
    assert_eq!(socket.next().await.unwrap(), value);
    // The call goes on beside the subscription.
    let answer = socket.call(json!({"id": 6, "method": "Filecoin.ChainHead"})).await;
    assert_eq!(answer["id"], 6);
    socket.send(json!({"jsonrpc": "2.0", "method": "xrpc.cancel", "params": [5]})).await;
    let close = json!({"jsonrpc": "2.0", "method": "xrpc.ch.close", "params": [1]});
    assert_eq!(socket.next().await.unwrap(), close);
    // The id is free again, and the channel is another one.
    let answer = socket.call(json!({"id": 5, "method": "Filecoin.ChainNotify"})).await;
    assert_eq!(answer["result"], 2);
}

#[tokio::test]
async fn a_stream_that_ends_closes_its_channel() {
    let mut socket = Socket::open(&start().await).await;
    let answer = socket.call(json!({"id": "s", "method": "Test.Numbers", "params": [2]})).await;
    assert_eq!(answer["result"], 1);
    assert_eq!(socket.next().await.unwrap()["params"], json!([1, "0"]));
    assert_eq!(socket.next().await.unwrap()["params"], json!([1, "1"]));
    assert_eq!(socket.next().await.unwrap()["method"], "xrpc.ch.close");
    let answer = socket.call(json!({"id": "s", "method": "Test.Numbers", "params": [13]})).await;
    assert_eq!(answer["error"], json!({"code": 1, "message": "not thirteen"}));
    let answer = socket.call(json!({"id": "s", "method": "Test.Numbers", "params": []})).await;
    assert_eq!(answer["error"]["code"], code::INVALID_PARAMS);
}

#[tokio::test]
async fn a_waiting_call_can_be_cancelled() {
    let counters = Counters::default();
    let url = listen(server(counters.clone()).into_router()).await;
    let mut socket = Socket::open(&url).await;
    let wait = json!({
        "id": "w",
        "method": "Filecoin.StateWaitMsg",
        "params": [{"/": tipset().cids[0].to_string()}, 1, -1, true],
    });
    socket.send(wait.clone()).await;
    until(&counters.waiting, 1).await;
    let answer = socket.call(wait).await;
    assert_eq!(answer["error"]["message"], "a request with this id is still running");
    // What can't be understood cancels nothing and breaks nothing.
    for params in [json!(null), json!([]), json!([{}]), json!(["other"])] {
        socket.send(json!({"method": "xrpc.cancel", "params": params})).await;
    }
    let answer = socket.call(json!({"method": "xrpc.cancel", "params": ["w"]})).await;
    assert_eq!((&answer["id"], &answer["error"]["message"]), (&json!("w"), &json!("request cancelled")));
    until(&counters.waiting, 0).await;
}

#[tokio::test]
async fn everything_ends_with_the_connection() {
    let counters = Counters::default();
    let url = listen(server(counters.clone()).into_router()).await;
    let mut socket = Socket::open(&url).await;
    let params = json!([{"/": tipset().cids[0].to_string()}, 1, -1, true]);
    socket.send(json!({"id": 1, "method": "Filecoin.StateWaitMsg", "params": params})).await;
    socket.send(json!({"id": 2, "method": "Test.Numbers", "params": [u64::MAX]})).await;
    until(&counters.waiting, 1).await;
    until(&counters.streams, 1).await;
    drop(socket);
    until(&counters.waiting, 0).await;
    until(&counters.streams, 0).await;
}

#[tokio::test]
async fn a_slow_reader_is_dropped_and_others_are_not() {
    let counters = Counters::default();
    let limits = Limits { queue: 2, patience: Duration::from_millis(100), in_flight: 4 };
    let url = listen(server(counters.clone()).with_limits(limits).into_router()).await;
    let mut slow = Socket::open(&url).await;
    // More than any buffer between the two takes.
    slow.send(json!({"id": 1, "method": "Test.Numbers", "params": [1_000_000, 1 << 20]})).await;
    until(&counters.streams, 1).await;
    let mut other = Socket::open(&url).await;
    until(&counters.streams, 0).await;
    let answer = other.call(json!({"id": 1, "method": "Filecoin.ChainHead"})).await;
    assert_eq!(answer["id"], 1);
    let received = soon(async {
        let mut received = 0;
        while slow.next().await.is_some() {
            received += 1;
        }
        received
    })
    .await;
    assert!(received < 1_000, "{received} MiB were buffered");
}

#[tokio::test]
async fn a_connection_may_only_run_so_much_at_once() {
    let counters = Counters::default();
    let limits = Limits { in_flight: 2, ..crate::server::LIMITS };
    let url = listen(server(counters.clone()).with_limits(limits).into_router()).await;
    let mut socket = Socket::open(&url).await;
    let params = json!([{"/": tipset().cids[0].to_string()}, 1, -1, true]);
    for id in 0..2 {
        socket.send(json!({"id": id, "method": "Filecoin.StateWaitMsg", "params": params})).await;
    }
    until(&counters.waiting, 2).await;
    let answer = socket.call(json!({"id": 2, "method": "Filecoin.ChainHead"})).await;
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(2), &json!(code::LIMIT_EXCEEDED)));
    assert_eq!(socket.call(json!({"method": "xrpc.cancel", "params": [0]})).await["id"], 0);
    let answer = socket.call(json!({"id": 2, "method": "Filecoin.ChainHead"})).await;
    assert_eq!(answer["result"], json!(tipset()));
}
