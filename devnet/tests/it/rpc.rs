//! The chain's methods over HTTP and WebSocket, and what only a devnet does.

use std::time::Duration;

use bucket_devnet::{Config, Devnet, Handle, IDLE, Message, Mining};
use bucket_rpc::{
    Client, Lotus,
    json::{HeadChange, HeadChangeType, MiningMode, TipsetKey, format_address, parse_address},
    methods::*,
};
use futures::{SinkExt, StreamExt};
use fvm_shared::{address::Address, econ::TokenAmount};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::{connect_async, tungstenite::Message as Frame};

fn start(config: Config) -> (Handle, Client) {
    let devnet = Devnet::spawn(config).unwrap();
    let client = Client::new(devnet.url(), None).unwrap();
    (devnet, client)
}

#[tokio::test]
async fn a_node_says_what_it_is() {
    let (_devnet, client) = start(Config::default());
    let version = client.call::<Version>(()).await.unwrap();
    assert!(version.version.starts_with("bucket-devnet-"));
    assert_eq!((version.api_version, version.block_delay), (0x02_03_00, 30));
    assert_eq!(client.call::<StateNetworkName>(()).await.unwrap(), "bucket-devnet");
    assert_eq!(client.call::<StateNetworkVersion>((TipsetKey::HEAD,)).await.unwrap(), 28);
    assert_eq!(client.call::<EthChainId>(()).await.unwrap(), "0x1df5e76");
}

#[tokio::test]
async fn tipsets_are_found_by_height_key_and_finality() {
    let (devnet, client) = start(Config { mining: Mining::Manual, finality: 3, ..Config::default() });
    devnet.mine(2).unwrap();
    devnet.mine_null(2).unwrap();
    devnet.mine(2).unwrap();
    let head = client.call::<ChainHead>(()).await.unwrap();
    head.check().unwrap();
    assert_eq!(head.height, 6);
    let at = async |height| client.call::<ChainGetTipSetByHeight>((height, TipsetKey::HEAD)).await.map(|t| t.height);
    let after =
        async |height| client.call::<ChainGetTipSetAfterHeight>((height, TipsetKey::HEAD)).await.map(|t| t.height);
    assert_eq!((at(2).await.unwrap(), at(3).await.unwrap(), at(4).await.unwrap(), at(5).await.unwrap()), (2, 2, 2, 5));
    assert_eq!((after(2).await.unwrap(), after(3).await.unwrap(), after(5).await.unwrap()), (2, 5, 5));
    assert!(at(7).await.unwrap_err().to_string().contains("height greater than start point"));
    assert!(at(-1).await.is_err());
    // From an ancestor, later tipsets do not exist.
    let second = client.call::<ChainGetTipSetByHeight>((2, TipsetKey::HEAD)).await.unwrap();
    assert!(client.call::<ChainGetTipSetByHeight>((5, second.key())).await.is_err());
    assert_eq!(client.call::<ChainGetTipSet>((second.key(),)).await.unwrap(), second);
    assert_eq!(client.call::<ChainGetBlock>((Lotus(second.cids[0]),)).await.unwrap(), second.blocks[0]);

    assert_eq!(client.call::<ChainGetFinalizedTipSet>(()).await.unwrap().height, 2);
    let genesis = client.call::<ChainGetGenesis>(()).await.unwrap();
    assert_eq!((genesis.height, genesis.parents()), (0, TipsetKey::HEAD));
    // A fork is walked through by its own parents.
    let old_head = head;
    client.call::<DevnetReorg>((2,)).await.unwrap();
    let on_the_fork = client.call::<ChainGetTipSetByHeight>((5, old_head.key())).await.unwrap();
    assert_eq!(on_the_fork.key(), old_head.parents());
    let after = client.call::<ChainGetTipSetAfterHeight>((3, old_head.key())).await.unwrap();
    assert_eq!(after.key(), old_head.parents());
    assert_eq!(client.call::<ChainGetTipSetByHeight>((4, old_head.key())).await.unwrap(), second);
    let missing = TipsetKey(vec![old_head.blocks[0].parent_state_root]);
    assert!(client.call::<ChainGetTipSet>((missing,)).await.unwrap_err().to_string().contains("not found"));
}

#[tokio::test]
async fn messages_and_receipts_come_one_to_one_in_the_child() {
    let (devnet, client) = start(Config { mining: Mining::Manual, ..Config::default() });
    let (alice, bob) = (devnet.account(0).unwrap(), devnet.account(1).unwrap());
    let send = |from: &bucket_devnet::Account, to| {
        devnet
            .send(from, Message { value: TokenAmount::from_whole(1), ..Message::new(from.address(), to, 0, vec![]) })
            .unwrap()
    };
    let cids = [send(&alice, bob.address()), send(&bob, alice.address()), send(&alice, bob.address())];
    let with = devnet.mine(1).unwrap();
    let child = devnet.mine(1).unwrap();
    let messages = client.call::<ChainGetParentMessages>((Lotus(child.cids[0]),)).await.unwrap();
    let receipts = client.call::<ChainGetParentReceipts>((Lotus(child.cids[0]),)).await.unwrap();
    assert_eq!(messages.iter().map(|one| one.cid).collect::<Vec<_>>(), cids);
    assert_eq!(receipts.len(), 3);
    assert_eq!(client.call::<ChainGetMessagesInTipset>((with.key(),)).await.unwrap(), messages);
    assert!(client.call::<ChainGetParentMessages>((Lotus(with.cids[0]),)).await.unwrap().is_empty());
    assert!(client.call::<ChainGetParentReceipts>((Lotus(with.cids[0]),)).await.unwrap().is_empty());
    let genesis = client.call::<ChainGetGenesis>(()).await.unwrap();
    assert!(client.call::<ChainGetParentMessages>((Lotus(genesis.cids[0]),)).await.unwrap().is_empty());

    let unsigned = messages[0].message.cid().unwrap();
    assert_ne!(unsigned, cids[0], "a secp256k1 message is known by its signed form");
    for cid in [unsigned, cids[0]] {
        assert_eq!(client.call::<ChainGetMessage>((Lotus(cid),)).await.unwrap(), messages[0].message);
        let found = client.call::<StateSearchMsg>((TipsetKey::HEAD, Lotus(cid), -1, false)).await.unwrap().unwrap();
        assert_eq!((found.message, found.receipt), (cids[0], receipts[0].clone()));
        assert_eq!((found.tipset, found.height), (child.key(), child.height));
    }
    // At the tipset that holds it, the message is not executed yet.
    assert_eq!(client.call::<StateSearchMsg>((with.key(), Lotus(cids[0]), -1, false)).await.unwrap(), None);
    let unknown = client.call::<StateSearchMsg>((TipsetKey::HEAD, Lotus(child.cids[0]), -1, false)).await;
    assert!(unknown.is_err() || unknown.unwrap().is_none());
    let lookup = client.call::<StateWaitMsg>((Lotus(cids[2]), 0, -1, true)).await.unwrap();
    assert_eq!(lookup.receipt, receipts[2]);
}

#[tokio::test]
async fn any_block_can_be_read_and_hashes_to_its_cid() {
    let (devnet, client) = start(Config::default());
    let alice = devnet.account(0).unwrap();
    devnet.send(&alice, Message::new(alice.address(), alice.address(), 0, vec![])).unwrap();
    let header = devnet.head().unwrap().blocks[0].clone();
    for cid in [header.cid().unwrap(), header.messages, header.parent_message_receipts, header.parent_state_root] {
        assert!(client.call::<ChainHasObj>((Lotus(cid),)).await.unwrap());
        let bytes = client.call::<ChainReadObj>((Lotus(cid),)).await.unwrap().0;
        assert_eq!(bucket_rpc::json::blake2b_cid(&bytes), cid);
    }
    let code = bucket_devnet::check::check_wasm(IDLE).unwrap().code_cid;
    assert!(!client.call::<ChainHasObj>((Lotus(code),)).await.unwrap());
    assert!(client.call::<ChainReadObj>((Lotus(code),)).await.unwrap_err().to_string().contains("not found"));
}

#[tokio::test]
async fn the_devnets_own_methods() {
    let (_devnet, client) = start(Config { accounts: 2, ..Config::default() });
    let accounts = client.call::<DevnetAccounts>(()).await.unwrap();
    assert_eq!(accounts.len(), 3, "and one with an Ethereum key, after the others");
    for account in &accounts {
        assert_eq!(account.balance, TokenAmount::from_whole(1_000_000));
    }
    assert!(format_address(&accounts[2].address).starts_with("t410f"));
    assert!(String::from_utf8(hex::decode(&accounts[2].key).unwrap()).unwrap().contains(r#""Type":"delegated""#));
    let fresh = Address::new_secp256k1(&[4; 65]).unwrap();
    let cid = client.call::<DevnetFund>((Lotus(fresh), Lotus(TokenAmount::from_whole(42)))).await.unwrap();
    let lookup = client.call::<StateWaitMsg>((cid, 2, 100, false)).await.unwrap();
    assert!(lookup.receipt.exit_code.is_success());
    assert_eq!(client.call::<WalletBalance>((Lotus(fresh),)).await.unwrap(), Lotus(TokenAmount::from_whole(42)));

    client.call::<DevnetSetMining>((MiningMode::Manual,)).await.unwrap();
    let info = client.call::<DevnetInfo>(()).await.unwrap();
    assert_eq!((info.mining, info.pending, info.height), (MiningMode::Manual, 0, 4));
    assert_eq!((info.chain_id, info.network_version), (31_415_926, 28));
    client.call::<DevnetFund>((Lotus(fresh), Lotus(TokenAmount::from_whole(1)))).await.unwrap();
    assert_eq!(client.call::<DevnetInfo>(()).await.unwrap().pending, 1);
    assert_eq!(client.call::<DevnetMine>((None,)).await.unwrap().height, 5);
    assert_eq!(client.call::<DevnetMine>((Some(3),)).await.unwrap().height, 8);
    assert_eq!(client.call::<DevnetMineNull>((Some(2),)).await.unwrap(), 11);
    assert_eq!(client.call::<DevnetReorg>((3,)).await.unwrap().height, 9);
    assert!(client.call::<DevnetMine>((Some(1 << 40),)).await.unwrap_err().to_string().contains("at most 100000"));
    assert!(client.call::<DevnetReorg>((100,)).await.unwrap_err().to_string().contains("cannot take 100 tipsets off"));
}

#[tokio::test]
async fn addresses_have_an_ethereum_form() {
    let (devnet, client) = start(Config { finality: 0, ..Config::default() });
    let eth = |address, block: Option<&str>| {
        client.call::<FilecoinAddressToEthAddress>((Lotus(address), block.map(str::to_owned)))
    };
    let masked = "0xff00000000000000000000000000000000000064";
    assert_eq!(eth(Address::new_id(100), None).await.unwrap(), masked);
    assert_eq!(eth(devnet.account(0).unwrap().address(), Some("latest")).await.unwrap(), masked);
    let delegated = Address::new_delegated(10, &[0xab; 20]).unwrap();
    assert_eq!(eth(delegated, None).await.unwrap(), format!("0x{}", "ab".repeat(20)));
    assert!(eth(Address::new_delegated(11, &[0xab; 20]).unwrap(), None).await.is_err());
}

/// Reads frames until one is a response or a channel's value.
async fn next(
    socket: &mut (impl StreamExt<Item = Result<Frame, tokio_tungstenite::tungstenite::Error>> + Unpin),
) -> Value {
    loop {
        let frame = timeout(Duration::from_secs(60), socket.next()).await.unwrap().unwrap().unwrap();
        if let Frame::Text(text) = frame {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

fn changes(frame: Value, channel: &Value) -> Vec<(HeadChangeType, i64)> {
    assert_eq!((&frame["method"], &frame["params"][0]), (&json!("xrpc.ch.val"), channel));
    let changes: Vec<HeadChange> = serde_json::from_value(frame["params"][1].clone()).unwrap();
    changes.into_iter().map(|change| (change.r#type, change.val.height)).collect()
}

#[tokio::test]
async fn the_head_is_followed_over_a_websocket() {
    use HeadChangeType::{Apply, Current, Revert};
    let (devnet, _) = start(Config { mining: Mining::Manual, ..Config::default() });
    devnet.mine(2).unwrap();
    let (mut socket, _) = connect_async(devnet.ws_url()).await.unwrap();
    let request = json!({ "jsonrpc": "2.0", "id": 7, "method": "Filecoin.ChainNotify", "params": [] });
    socket.send(Frame::text(request.to_string())).await.unwrap();
    let response = next(&mut socket).await;
    assert_eq!(response["id"], 7);
    let channel = &response["result"];
    assert_eq!(changes(next(&mut socket).await, channel), [(Current, 2)]);

    devnet.mine(2).unwrap();
    assert_eq!(changes(next(&mut socket).await, channel), [(Apply, 3)]);
    assert_eq!(changes(next(&mut socket).await, channel), [(Apply, 4)]);
    devnet.reorg(bucket_devnet::Reorg::of_depth(2)).unwrap();
    let told = changes(next(&mut socket).await, channel);
    assert_eq!(told, [(Revert, 4), (Revert, 3), (Apply, 4), (Apply, 5)]);
    // The end of the devnet is the end of the channel, or of the connection.
    devnet.stop();
    let end = timeout(Duration::from_secs(60), socket.next()).await.unwrap();
    let closed = match &end {
        Some(Ok(Frame::Text(text))) => text.contains("xrpc.ch.close"),
        Some(Ok(Frame::Close(_)) | Err(_)) | None => true,
        _ => false,
    };
    assert!(closed, "{end:?}");
}

/// What a client of another make sends and reads: names, forms and letters as Lotus has them.
#[tokio::test]
async fn the_wire_is_lotus() {
    let (devnet, _) = start(Config::default());
    let alice = devnet.account(0).unwrap();
    let post = async |method: &str, params: Value| -> Value {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut answer: Value = serde_json::from_slice(&post(devnet.url(), &body).await).unwrap();
        assert_eq!(answer["error"], Value::Null, "{method}");
        answer["result"].take()
    };
    let accounts = post("Devnet.Accounts", json!([])).await;
    let address = accounts[0]["Address"].as_str().unwrap();
    assert!(address.starts_with("t1"), "{address}");
    assert_eq!(parse_address(address).unwrap(), alice.address());

    // As iso-filecoin writes it: unset gas as zeros, no CID, a null tipset key.
    let message = json!({
        "Version": 0, "To": accounts[1]["Address"], "From": address, "Nonce": 0, "Value": "1", "GasLimit": 0,
        "GasFeeCap": "0", "GasPremium": "0", "Method": 0, "Params": "",
    });
    let estimated = post("Filecoin.GasEstimateMessageGas", json!([message, { "MaxFee": "0" }, null])).await;
    assert!(estimated["GasLimit"].as_u64().unwrap() > 0);
    let signed = alice.sign(serde_json::from_value(estimated).unwrap()).unwrap();
    let cid = post("Filecoin.MpoolPush", json!([signed])).await;
    let lookup = post("Filecoin.StateWaitMsg", json!([cid, 2, 100, false])).await;
    assert_eq!(lookup["Message"], cid);
    assert_eq!(lookup["Receipt"]["ExitCode"], 0);
    assert_eq!(lookup["Receipt"]["Return"], "");
    assert_eq!(lookup["TipSet"][0]["/"].as_str().unwrap().len(), 62);
    let head = post("Filecoin.ChainHead", Value::Null).await;
    assert_eq!(head["Height"], 4);
    assert_eq!(head["Blocks"][0]["Miner"], "t01000");
    assert_eq!(post("Filecoin.WalletBalance", json!([accounts[1]["Address"]])).await, "1000000000000000000000001");
}

/// A POST without the client under test elsewhere.
async fn post(url: &str, body: &Value) -> Vec<u8> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let host = url.trim_start_matches("http://").split('/').next().unwrap();
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    let body = body.to_string();
    let head = format!(
        "POST /rpc/v1 HTTP/1.0\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    answer.split_off(end + 4)
}
