//! The wallet `iso-filecoin` on the devnet.

use std::sync::Arc;

use bucket_client::{ActorClient, Chain, Key, deploy::deploy};
use bucket_core::abi::{self, InvokeReturn, Status};
use bucket_core::bucket::Mode;
use bucket_core::car::Car;
use bucket_core::cid::{Cid, NativeHasher};
use bucket_core::dag_cbor::Ipld;
use bucket_core::task::Task;
use bucket_devnet::config::Config;
use bucket_devnet::handle::Devnet;
use bucket_rpc::json::{TipsetKey, format_address, parse_address};
use bucket_rpc::methods::{DevnetAccounts, StateGetActor, StateSearchMsg, WalletBalance};
use bucket_tests::cars::{did, id, text};
use bucket_tests::memory::MemoryWorld;
use bucket_tests::{User, World};
use serde_json::json;

use super::Program;

#[tokio::test(flavor = "multi_thread")]
async fn iso_filecoin_pays_and_invokes() {
    let devnet = Devnet::spawn(Config::default()).expect("a devnet");
    let rpc = bucket_rpc::Client::new(devnet.url(), None).expect("a URL");
    let accounts = rpc.call::<DevnetAccounts>(()).await.expect("accounts");
    let (wallet, deployer) = (&accounts[0], &accounts[1]);
    let signer = Key::from_lotus(&deployer.key).expect("a key");
    let chain = Chain::new(rpc.clone()).with_signer(Arc::new(signer));
    let actor = deploy(&chain, bucket_actor_wasm::WASM).await.expect("deployed").robust;

    let mut node = Program::start("filecoin.mjs");
    let connected = node.ask(&json!({"command": "connect", "url": devnet.url(), "key": wallet.key}));
    assert_eq!(connected["address"], json!(format_address(&wallet.address)));
    assert_eq!(connected["network"], json!(devnet.config().network_name));
    let head = devnet.head().expect("a head");
    assert_eq!(connected["head"]["Height"], json!(head.height));
    assert!(connected["version"].as_str().is_some_and(|version| version.contains("devnet")), "{connected}");
    let before = node.ask(&json!({"command": "account"}));
    assert_eq!(before, json!({"balance": wallet.balance.atto().to_string(), "nonce": 0}));

    // Money to an address that the chain has never seen.
    let sent = node.ask(&json!({"command": "send", "fil": "1.5"}));
    assert_eq!(sent["receipt"]["ExitCode"], 0, "{sent}");
    let to = parse_address(sent["to"].as_str().expect("an address")).expect("an address");
    let got = rpc.call::<WalletBalance>((to.into(),)).await.expect("a balance").into_inner();
    assert_eq!(got.atto().to_string(), "1500000000000000000");
    assert_eq!(sent["balance"], json!(got.atto().to_string()));
    let left = rpc.call::<WalletBalance>((wallet.address.into(),)).await.expect("a balance").into_inner();
    assert!(left < &wallet.balance - &got, "gas is paid for");

    // A bucket of the wallet's, and a CAR into it.
    let bucket = did("isofilecoin");
    let actor_text = format_address(&actor);
    let created = node.ask(&json!({"command": "create", "actor": actor_text, "bucket": bucket}));
    assert_eq!((&created["receipt"]["ExitCode"], &created["nonce"]), (&json!(0), &json!(1)), "{created}");
    let invoke =
        json!({"command": "invoke", "actor": actor_text, "bucket": bucket, "key": "greeting", "value": ["hé", 1.5]});
    let invoked = node.ask(&invoke);
    assert_eq!((&invoked["receipt"]["ExitCode"], &invoked["nonce"]), (&json!(0), &json!(2)), "{invoked}");

    // What the package decoded is what the chain holds.
    let message: Cid = invoked["cid"].as_str().expect("a CID").parse().expect("a CID");
    let lookup = rpc.call::<StateSearchMsg>((TipsetKey::HEAD, message.into(), -1, true)).await.expect("answered");
    let lookup = lookup.expect("the message is on the chain");
    let returned: InvokeReturn = abi::decode("Invoke", &lookup.receipt.return_data).expect("a return value");
    assert_eq!((returned.ran, returned.ok), (true, Some(true)));
    let theirs = json!({
        "receipt": hex::encode(returned.receipt.to_bytes()), "ran": true, "ok": true, "root": returned.root.to_string(),
        "sent": [],
    });
    assert_eq!(invoked["returned"], theirs);

    // And the machine in process, given the same CAR, comes to the same receipt and root.
    let car = hex::decode(invoked["car"].as_str().expect("hex")).expect("hex");
    let client = ActorClient::new(rpc.clone(), actor);
    let found = client.receipt(&bucket, &id(&car)).await.expect("answered");
    assert_eq!((found.status, found.receipt, found.version), (Status::Done, Some(returned.receipt), 1));
    let record = client.bucket(&bucket).await.expect("a record");
    assert_eq!((record.root, record.ran), (returned.root, 1));
    let root = Car::decode::<NativeHasher>(car.clone()).expect("a CAR").root_value();
    assert_eq!(Task::from_ipld(root).expect("a task").cmd, "/kv/put");
    let mut world = MemoryWorld::default();
    world.create(&bucket, Mode::Atomic).expect("created");
    let native = world.invoke(User::Alice, &bucket, &car, false).expect("accepted");
    assert_eq!((native.receipt, native.root), (returned.receipt, returned.root));
    assert_eq!(world.rows(&bucket), [(text("greeting"), Ipld::List(vec![text("hé"), Ipld::Float(1.5)]))]);

    let after = node.ask(&json!({"command": "account"}));
    let state = rpc.call::<StateGetActor>((wallet.address.into(), TipsetKey::HEAD)).await.expect("answered");
    assert_eq!(after, json!({"balance": state.balance.atto().to_string(), "nonce": 3}));
}
