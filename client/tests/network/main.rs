//! The client against a node and an indexer that behave, and misbehave, as told.

mod stub;

use std::time::Duration;

use bucket_client::deploy::deploy;
use bucket_client::task::Draft;
use bucket_client::{ActorClient, Chain, ClientError, Gateway, Identity, IdentityKind, Signer};
use bucket_core::abi::*;
use bucket_core::bucket::Mode;
use bucket_core::cid::{CarId, NativeHasher, RAW, block_cid};
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::limits::{CAR_BYTES_MAX, STAGED_BYTES_MAX};
use bucket_core::receipt::Receipt;
use fvm_shared::address::Address;
use fvm_shared::econ::TokenAmount;
use stub::{Node, client, gateway, key, node};

fn bucket() -> BucketId {
    "did:key:z1".parse().unwrap()
}

fn invoke_return() -> InvokeReturn {
    let root = block_cid::<NativeHasher>(RAW, b"root");
    InvokeReturn { receipt: CarId([1; 32]), ran: true, ok: Some(true), root, sent: vec![], reserve: 0 }
}

#[tokio::test]
async fn a_message_is_priced_numbered_signed_and_decoded() {
    let (client, node) = client(Node { result: (0, encode(&invoke_return()).to_vec()), ..Node::default() }).await;
    let sent = client.invoke(CarParams::new(bucket(), b"some car".to_vec())).await.unwrap();
    assert_eq!((sent.value, sent.gas_used, sent.height), (invoke_return(), 42, 7));

    let node = node.lock().unwrap();
    let [signed] = &node.pushed[..] else { panic!("{} messages", node.pushed.len()) };
    assert_eq!(signed.message.from, key().address());
    assert_eq!((signed.message.to, signed.message.method), (Address::new_id(1000), method::INVOKE));
    assert_eq!((signed.message.nonce, signed.message.gas_limit), (0, 1_000_000));
    assert_eq!(signed.signature, key().sign(&signed.message.cid().unwrap().to_bytes()).unwrap());
    assert_eq!(signed.cid().unwrap(), sent.message);
    let asked = ["StateCall", "GasEstimateMessageGas", "WalletBalance", "MpoolGetNonce", "MpoolPush", "StateWaitMsg"];
    assert_eq!(node.asked, asked);
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_anybody_is_asked() {
    let (client, node) = client(Node::default()).await;
    let raw = Message::Invoke(CarParams::new(bucket(), vec![0; CAR_BYTES_MAX + 1]));
    let error = client.apply(&raw).await.unwrap_err();
    assert!(matches!(error, ClientError::CarTooLarge(61_441)), "{error}");
    let staged = CarParams::new(bucket(), vec![0; STAGED_BYTES_MAX + 1]);
    let error = client.invoke(staged.clone()).await.unwrap_err();
    assert!(matches!(error, ClientError::CarTooLarge(1_048_577)), "{error}");
    assert_eq!(client.schedule(staged).await.unwrap_err().code(), "car_too_large");
    let error = client.chain().push(Address::new_id(1000), 2, vec![0; 64 << 10]).await.unwrap_err();
    assert_eq!(error.code(), "message_too_large");
    assert!(node.lock().unwrap().asked.is_empty());
    // The largest CAR fits.
    assert!(client.invoke(CarParams::new(bucket(), vec![0; CAR_BYTES_MAX])).await.is_err_and(|e| e.code() == "return"));
    assert_eq!(node.lock().unwrap().pushed.len(), 1);
}

#[tokio::test]
async fn a_large_car_is_staged_by_its_missing_pieces() {
    let car = vec![7; 3 * CAR_BYTES_MAX];
    let id = CarId::of::<NativeHasher>(&car);
    let told = StageReturn { car: id, missing: vec![0, 2], expires: 99 };
    let (client, node) = client(Node { result: (0, encode(&told).to_vec()), ..Node::default() }).await;
    let staged = client.stage(&car).await.unwrap();
    assert_eq!((staged.car, staged.pieces, staged.sent, staged.expires), (id, 3, 2, 99));
    assert_eq!(staged.gas_used, 3 * 42);
    let node = node.lock().unwrap();
    let read = |signed: &bucket_rpc::json::SignedMessage| {
        Message::read(signed.message.method, &signed.message.params).unwrap().unwrap()
    };
    let messages: Vec<_> = node.pushed.iter().map(read).collect();
    let [Message::Stage(stage), Message::Chunk(first), Message::Chunk(last)] = &messages[..] else {
        panic!("{messages:?}")
    };
    assert_eq!((stage.car, stage.size, stage.chunks.len()), (id, car.len() as u64, 3));
    assert_eq!((first.index, last.index, last.data.len()), (0, 2, CAR_BYTES_MAX));
    // Waited for before the last is estimated.
    let waits = node.asked.iter().filter(|asked| **asked == "StateWaitMsg").count();
    assert_eq!((waits, node.asked.last()), (3, Some(&"StateWaitMsg")));
}

#[tokio::test]
async fn a_large_car_that_would_be_refused_is_not_staged() {
    let mut draft = Draft::new(bucket(), "/kv/put", Ipld::Map(Default::default())).unwrap();
    draft.files.push(("value".into(), vec![1; 2 * CAR_BYTES_MAX]));
    let mut with = Node::default();
    with.calls.insert(method::INVOKE, (18, vec![], "x\n00: f01000 (method 1) -- not a controller (18)".into()));
    let (client, node) = client(with).await;
    let error = client.schedule(CarParams::new(bucket(), draft.clone().pack().unwrap())).await.unwrap_err();
    assert_eq!(error.to_string(), "the actor refused with exit code 18: not a controller");
    // Signed too long ago.
    let key = Identity::generate(IdentityKind::Ed25519).unwrap();
    let own = Draft { bucket: key.did(), ..draft }.sign(&key, &[], Some(1), 0).unwrap();
    let error = client.invoke(CarParams::new(key.did(), own)).await.unwrap_err();
    assert!(error.to_string().starts_with("Expired"), "{error}");
    assert!(node.lock().unwrap().pushed.is_empty());
}

#[tokio::test]
async fn a_run_of_several_tasks_has_room_for_the_machines_reserve() {
    let root = block_cid::<NativeHasher>(RAW, b"root");
    for reserve in [0, 77_000_000] {
        let told = RunReturn { ran: 2, failed: 0, pending: 0, root, taken: 2, stopped: false, sent: vec![], reserve };
        let mut with = Node { result: (0, encode(&told).to_vec()), ..Node::default() };
        with.calls.insert(method::RUN, (0, encode(&told).to_vec(), String::new()));
        let (client, node) = client(with).await;
        client.run(&bucket(), 10).await.unwrap();
        assert_eq!(node.lock().unwrap().pushed[0].message.gas_limit, 1_000_000 + reserve);
    }
}

#[tokio::test]
async fn an_abort_is_told_in_the_actors_words_and_costs_nothing() {
    let mut with = Node::default();
    let error =
        "message failed with backtrace:\n00: f01000 (method 508237557) -- bucket did:key:z1 exists already (48)";
    with.calls.insert(method::CREATE, (48, vec![], error.into()));
    let (client, node) = client(with).await;
    let params = CreateParams { bucket: bucket(), controllers: vec![], mode: Mode::Atomic, proof: None };
    let error = client.create(params).await.unwrap_err();
    let ClientError::Abort { code: 48, message } = &error else { panic!("{error}") };
    assert_eq!(message, "bucket did:key:z1 exists already");
    assert!(node.lock().unwrap().pushed.is_empty());
}

#[tokio::test]
async fn a_message_that_fails_on_the_chain_is_explained() {
    let replay = "message failed with backtrace:\n00: f01000 (method 1) -- the queue is empty (46)".to_owned();
    let (client, _) = client(Node { result: (46, vec![]), replay, ..Node::default() }).await;
    let error = client.run(&bucket(), 1).await.unwrap_err();
    assert_eq!(error.to_string(), "the actor refused with exit code 46: the queue is empty");
    // No node has to replay: then the code speaks.
    let (client, _) = stub::client(Node { result: (7, vec![]), ..Node::default() }).await;
    let error = client.run(&bucket(), 1).await.unwrap_err();
    assert_eq!(error.to_string(), "the actor refused with exit code 7: out of gas");
}

#[tokio::test]
async fn senders_who_cannot_pay_are_told_before_signing() {
    let (client, node) = client(Node { balance: TokenAmount::from_atto(5), ..Node::default() }).await;
    let error = client.run(&bucket(), 1).await.unwrap_err();
    assert!(error.to_string().contains("needs up to 0.000001 FIL"), "{error}");
    assert!(error.hint().unwrap().starts_with("Send some FIL to t1"));
    assert!(node.lock().unwrap().pushed.is_empty());

    let (client, _) = stub::client(Node { known: false, ..Node::default() }).await;
    assert_eq!(client.run(&bucket(), 1).await.unwrap_err().code(), "sender_missing");
}

#[tokio::test]
async fn a_missing_actor_is_named() {
    let mut with = Node::default();
    with.calls.insert(method::BUCKET, (5, vec![], "actor does not exist: 1000".into()));
    with.calls.insert(method::RUN, (5, vec![], "actor does not exist: 1000".into()));
    let (client, _) = client(with).await;
    assert_eq!(client.bucket(&bucket()).await.unwrap_err().to_string(), "there is no actor at t01000");
    assert_eq!(client.run(&bucket(), 1).await.unwrap_err().code(), "actor_missing");
}

#[tokio::test]
async fn without_key_or_node_the_errors_say_so() {
    let (rpc, _) = node(Node::default()).await;
    let reader = ActorClient::new(rpc, Address::new_id(1000));
    assert_eq!(reader.run(&bucket(), 1).await.unwrap_err().code(), "no_key");
    let nowhere = bucket_rpc::Client::new("http://127.0.0.1:1", None).unwrap();
    let error = ActorClient::new(nowhere, Address::new_id(1000)).bucket(&bucket()).await.unwrap_err();
    assert_eq!(error.code(), "node_unreachable");
    assert!(error.hint().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_sent_at_once_get_nonces_of_their_own() {
    let (client, node) = client(Node { result: (0, encode(&invoke_return()).to_vec()), ..Node::default() }).await;
    let tasks: Vec<_> = (0..8u8)
        .map(|i| {
            let client = client.clone();
            tokio::spawn(async move { client.invoke(CarParams::new(bucket(), vec![i])).await.unwrap() })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let nonces: Vec<_> = node.lock().unwrap().pushed.iter().map(|signed| signed.message.nonce).collect();
    assert_eq!(nonces, (0..8).collect::<Vec<_>>());
}

fn receipt_of(ran: CarId) -> (CarId, Vec<u8>) {
    let receipt = Receipt { ran, out: Ok(Ipld::Integer(1)), fork: vec![], cause: None, prior: None };
    let bytes = receipt.to_car::<NativeHasher>();
    (CarId::of::<NativeHasher>(&bytes), bytes)
}

/// A client whose node commits to `receipt`, and whose indexer serves `bytes` under its name.
async fn receipts(status: Status, receipt: Option<CarId>, served: Option<Vec<u8>>) -> ActorClient {
    let position = (status == Status::Pending).then_some(3);
    let known = ReceiptReturn { status, receipt, version: 1, position };
    let mut with = Node::default();
    with.calls.insert(method::RECEIPT, (0, encode(&known).to_vec(), String::new()));
    let path = receipt.map(|id| format!("/ipfs/{id}"));
    let indexer = gateway(path.zip(served).into_iter().collect()).await;
    let (rpc, _) = node(with).await;
    let chain = Chain::new(rpc).with_timeout(Duration::from_secs(2));
    ActorClient::on(chain, Address::new_id(1000)).with_gateway(indexer)
}

#[tokio::test]
async fn a_receipt_is_given_out_only_when_it_is_what_the_chain_committed_to() {
    let car = CarId([5; 32]);
    let (id, bytes) = receipt_of(car);
    let fetched = receipts(Status::Done, Some(id), Some(bytes.clone())).await.fetch_receipt(&bucket(), &car).await;
    let fetched = fetched.unwrap();
    assert_eq!((fetched.id, &fetched.bytes, fetched.version()), (id, &bytes, 1));

    let mut wrong = bytes.clone();
    *wrong.last_mut().unwrap() ^= 1;
    let (_, foreign) = receipt_of(CarId([6; 32]));
    for bad in [wrong, foreign, vec![], b"<html>".to_vec()] {
        let error = receipts(Status::Done, Some(id), Some(bad)).await.fetch_receipt(&bucket(), &car).await;
        assert_eq!(error.unwrap_err().code(), "mismatch");
    }
    // The chain itself would have to err for this one.
    let (id, bytes) = receipt_of(CarId([6; 32]));
    let error = receipts(Status::Done, Some(id), Some(bytes)).await.fetch_receipt(&bucket(), &car).await;
    assert_eq!(error.unwrap_err().code(), "mismatch");
}

#[tokio::test]
async fn receipts_that_are_not_there_are_typed() {
    let car = CarId([5; 32]);
    let fetch = async |client: ActorClient| client.fetch_receipt(&bucket(), &car).await.unwrap_err();
    let error = fetch(receipts(Status::NotFound, None, None).await).await;
    assert!(matches!(error, ClientError::ReceiptNotFound(id) if id == car));
    let error = fetch(receipts(Status::Pending, None, None).await).await;
    assert!(matches!(error, ClientError::ReceiptPending { position: 3, .. }));
    let error = fetch(receipts(Status::Done, Some(receipt_of(car).0), None).await).await;
    assert_eq!(error.code(), "not_served");

    let nowhere = Gateway::new("http://127.0.0.1:1").unwrap();
    let client = receipts(Status::Done, Some(car), None).await.with_gateway(nowhere);
    let error = client.wait_receipt(&bucket(), &car).await.unwrap_err();
    assert_eq!(error.code(), "receipt_timeout");
    assert!(error.to_string().contains("the indexer at http://127.0.0.1:1/"), "{error}");
}

#[tokio::test]
async fn networks_that_take_no_actors_are_found_out_for_free() {
    let wasm = b"\0asm";
    let refused = async |with: Node| {
        let (rpc, shared) = node(with).await;
        let chain = Chain::new(rpc).with_signer(std::sync::Arc::new(key()));
        let error = deploy(&chain, wasm).await.unwrap_err();
        assert!(shared.lock().unwrap().pushed.is_empty());
        assert!(error.hint().unwrap().contains("Nothing was spent"), "{error}");
        error.to_string()
    };
    for network in ["mainnet", "calibrationnet"] {
        let error = refused(Node { network, ..Node::default() }).await;
        assert!(error.contains(network), "{error}");
    }
    let mut plain = Node::default();
    plain.calls.insert(4, (22, vec![], String::new()));
    plain.calls.insert(2, (18, vec![], "x\n00: f01 (method 2) -- called actor not allowed (18)".into()));
    let error = refused(plain).await;
    assert!(error.ends_with("refuses to make an actor of it: called actor not allowed"), "{error}");
}
