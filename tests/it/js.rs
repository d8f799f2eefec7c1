//! The project against other people's npm packages: CARs of `car-transaction`, keys of `charwise`, the wallet `iso-filecoin`.
//!
//! The programs lie in `tests/js`; each answers one line of JSON for one line of JSON.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use bucket_client::{ActorClient, Chain, Key, deploy::deploy};
use bucket_core::abi::{self, InvokeReturn, Status};
use bucket_core::bucket::Mode;
use bucket_core::car::{Car, Transaction};
use bucket_core::cid::{CarId, Cid, NativeHasher, RAW, block_cid};
use bucket_core::dag_cbor::Ipld;
use bucket_core::task::Task;
use bucket_devnet::config::Config as DevnetConfig;
use bucket_devnet::handle::Devnet;
use bucket_protocols::kv::charwise::{self, CharwiseError};
use bucket_rpc::json::{TipsetKey, format_address, parse_address};
use bucket_rpc::methods::{DevnetAccounts, StateGetActor, StateSearchMsg, WalletBalance};
use bucket_tests::cars::{did, id, map, task, text};
use bucket_tests::memory::MemoryWorld;
use bucket_tests::{User, World};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

/// A node program that runs until it is dropped.
struct Program {
    name: &'static str,
    process: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Program {
    fn start(name: &'static str) -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("js");
        assert!(directory.join("node_modules").is_dir(), "run npm ci --prefix tests/js");
        let mut process = Command::new("node")
            .arg(directory.join(name))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("node (20 or newer) is needed for the tests of {name}: {error}"));
        let stdin = process.stdin.take().expect("a pipe");
        let stdout = BufReader::new(process.stdout.take().expect("a pipe"));
        Self { name, process, stdin, stdout }
    }

    /// Sends a request and waits for its answer.
    fn ask(&mut self, request: &Value) -> Value {
        writeln!(self.stdin, "{request}").unwrap_or_else(|error| panic!("{} has ended: {error}", self.name));
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("text");
        let answer: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{} has ended", self.name));
        assert!(answer.get("error").is_none(), "{}: {}\nasked: {request}", self.name, answer["error"]);
        answer
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A value as `tests/js/values.mjs` writes it.
fn tagged(value: &Ipld) -> Value {
    match value {
        Ipld::Null => Value::Null,
        Ipld::Bool(b) => json!(b),
        Ipld::String(text) => json!(text),
        Ipld::Integer(n) => json!({"i": n.to_string()}),
        Ipld::Float(x) => json!({"f": hex::encode(x.to_be_bytes())}),
        Ipld::Bytes(bytes) => json!({"b": hex::encode(bytes)}),
        Ipld::Link(cid) => json!({"l": cid.to_string()}),
        Ipld::List(items) => items.iter().map(tagged).collect(),
        Ipld::Map(map) => json!({"m": map.iter().map(|(key, value)| json!([key, tagged(value)])).collect::<Vec<_>>()}),
    }
}

fn untagged(value: &Value) -> Ipld {
    let tag = match value {
        Value::Null => return Ipld::Null,
        Value::Bool(b) => return Ipld::Bool(*b),
        Value::String(text) => return Ipld::String(text.clone()),
        Value::Array(items) => return Ipld::List(items.iter().map(untagged).collect()),
        Value::Object(tag) => tag.iter().next().expect("a tag"),
        Value::Number(n) => panic!("the number {n} has no tag"),
    };
    let content = || tag.1.as_str().expect("text");
    let bytes = || hex::decode(content()).expect("hex");
    match tag.0.as_str() {
        "i" => Ipld::Integer(content().parse().expect("an integer")),
        "f" => Ipld::Float(f64::from_be_bytes(bytes().try_into().expect("8 bytes"))),
        "b" => Ipld::Bytes(bytes()),
        "l" => Ipld::Link(content().parse().expect("a CID")),
        "m" => {
            let entry = |entry: &Value| (entry[0].as_str().expect("a key").to_owned(), untagged(&entry[1]));
            Ipld::Map(tag.1.as_array().expect("entries").iter().map(entry).collect())
        }
        tag => panic!("no value has the tag {tag}"),
    }
}

/// Where JavaScript's integers end.
const SAFE_MAX: i128 = (1 << 53) - 1;

/// JavaScript writes 1.0 as 1, and 0 for −0: as floats they can't come from there.
fn is_float_in_javascript(x: &f64) -> bool {
    x.is_finite() && (x.fract() != 0.0 || x.abs() > SAFE_MAX as f64)
}

fn float() -> impl Strategy<Value = f64> {
    let special = prop::sample::select(vec![0.1, -1.5, 5e-324, f64::MIN_POSITIVE, f64::MAX, f64::MIN, 1e21, -1e300]);
    prop_oneof![special, any::<f64>()].prop_filter("a float in JavaScript as well", is_float_in_javascript)
}

/// Text with everything that could matter to an encoding: empty, separators, controls, every length of UTF-8.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c]{0,3}",
        "[JK?!\"@%\u{0}\u{1}\u{7f}\u{80}ß€\u{ffff}\u{10000}\u{10ffff}]{0,6}",
        any::<String>(),
        prop::sample::select(vec!["constructor", "toString", "0", "42", "/", "bytes"]).prop_map(Into::into),
    ]
}

/// Links to the n-th block of a sequence; see [`placed`].
fn link() -> impl Strategy<Value = Cid> {
    (0..8u8).prop_map(|n| block_cid::<NativeHasher>(RAW, &[n]))
}

fn any_value() -> impl Strategy<Value = Ipld> {
    let leaf = prop_oneof![
        Just(Ipld::Null),
        any::<bool>().prop_map(Ipld::Bool),
        (-300i128..300).prop_map(Ipld::Integer),
        (-SAFE_MAX..=SAFE_MAX).prop_map(Ipld::Integer),
        any::<u64>().prop_map(|n| Ipld::Integer(n.into())),
        any::<u64>().prop_map(|n| Ipld::Integer(-1 - i128::from(n))),
        float().prop_map(Ipld::Float),
        any_text().prop_map(Ipld::String),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Ipld::Bytes),
        link().prop_map(Ipld::Link),
    ];
    leaf.prop_recursive(5, 40, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Ipld::List),
            prop::collection::btree_map(any_text(), inner, 0..8)
                .prop_filter("no CID in JavaScript", |map| !is_cid_in_javascript(map))
                .prop_map(Ipld::Map),
        ]
    })
}

/// The npm package multiformats takes an object whose “/” is its “bytes” for a CID, whatever they are.
fn is_cid_in_javascript(map: &BTreeMap<String, Ipld>) -> bool {
    map.contains_key("/") && map.contains_key("bytes")
}

/// The same value with links to blocks that were written before, as far as there are any.
fn placed(value: &Ipld, written: &[Cid]) -> Ipld {
    match value {
        Ipld::Link(cid) => {
            let place = (0..8u8).position(|n| *cid == block_cid::<NativeHasher>(RAW, &[n]));
            Ipld::Link(*place.and_then(|place| written.get(place)).unwrap_or(cid))
        }
        Ipld::List(items) => Ipld::List(items.iter().map(|item| placed(item, written)).collect()),
        Ipld::Map(map) => Ipld::Map(map.iter().map(|(key, item)| (key.clone(), placed(item, written))).collect()),
        other => other.clone(),
    }
}

/// Some values, and some of them again.
fn any_writes() -> impl Strategy<Value = Vec<Ipld>> {
    let again = prop::collection::vec(any::<prop::sample::Index>(), 0..3);
    (prop::collection::vec(any_value(), 1..8), again).prop_map(|(values, again)| {
        let again: Vec<_> = again.iter().map(|place| place.get(&values).clone()).collect();
        [values, again].concat()
    })
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
}

#[test]
fn the_same_writes_give_the_same_car() {
    let node = RefCell::new(Program::start("car.mjs"));
    let property = |values: Vec<Ipld>| {
        let mut transaction = Transaction::<NativeHasher>::default();
        let mut cids = Vec::new();
        let mut blocks = Vec::new();
        for value in &values {
            let value = placed(value, &cids);
            cids.push(transaction.write(&value));
            blocks.push(value);
        }
        let ours = transaction.commit().expect("at least one block");

        let mut node = node.borrow_mut();
        let theirs = node.ask(&json!({"write": blocks.iter().map(tagged).collect::<Vec<_>>()}));
        prop_assert_eq!(theirs["car"].as_str(), Some(&*hex::encode(&ours)), "the same bytes");

        let read = node.ask(&json!({"read": hex::encode(&ours)}));
        let root = cids.last().map(ToString::to_string);
        prop_assert_eq!(read["root"].as_str(), root.as_deref());
        let found: Vec<_> = read["blocks"].as_array().expect("blocks").iter().collect();
        prop_assert_eq!(found.len(), blocks.len());
        for (found, (cid, value)) in found.iter().zip(cids.iter().zip(&blocks)) {
            prop_assert_eq!(found[0].as_str(), Some(&*cid.to_string()));
            prop_assert_eq!(&untagged(&found[1]), value, "read back by car-transaction");
        }

        let car = Car::decode::<NativeHasher>(ours).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(Some(&car.root_value()), blocks.last());
        prop_assert!(cids.iter().zip(&blocks).all(|(cid, value)| car.value(cid).as_ref() == Some(value)));
        Ok(())
    };
    if let Err(failure) = runner(300).run(&any_writes(), property) {
        panic!("{failure}");
    }
}

#[test]
fn a_task_of_car_transaction_is_executed() {
    let mut node = Program::start("car.mjs");
    let mut world = MemoryWorld::default();
    let bucket = did("fromjavascript");
    world.create(&bucket, Mode::Atomic).expect("created");

    let photo = Ipld::Bytes(vec![0xff; 1000]);
    let link = Ipld::Link(block_cid::<NativeHasher>(RAW, &[0xff; 1000]));
    let value = map([("photo", link), ("stars", Ipld::Float(4.5))]);
    let put = task(&bucket, "/kv/put", map([("key", text("Füße")), ("value", value.clone())]), 1);
    let answer = node.ask(&json!({"write": [tagged(&photo), tagged(&put.to_ipld())]}));
    let car = hex::decode(answer["car"].as_str().expect("hex")).expect("hex");

    let invoked = world.invoke(User::Alice, &bucket, &car, false).expect("accepted");
    assert_eq!((invoked.ran, invoked.ok), (true, Some(true)));
    assert_eq!(world.receipt_car(&bucket, invoked.receipt).ran, id(&car));
    assert_eq!(world.rows(&bucket), [(text("Füße"), value)]);

    // The receipt is a CAR that car-transaction reads.
    let found = world.receipt(&bucket, id(&car)).expect("answered");
    assert_eq!(found.receipt, Some(invoked.receipt));
    let receipt = world.receipt_car(&bucket, invoked.receipt).to_car::<NativeHasher>();
    assert_eq!(CarId::of::<NativeHasher>(&receipt), invoked.receipt);
    let read = node.ask(&json!({"read": hex::encode(&receipt)}));
    let Ipld::Map(root) = untagged(&read["blocks"].as_array().and_then(|blocks| blocks.last()).expect("a block")[1])
    else {
        panic!("a receipt is a map")
    };
    assert!(matches!(&root["out"], Ipld::Map(out) if out.contains_key("ok")), "{root:?}");
}

fn any_key() -> impl Strategy<Value = Ipld> {
    let float = prop_oneof![any::<f64>(), (-20..20i32).prop_map(f64::from), (-1e25..1e25f64)];
    let leaf = prop_oneof![
        Just(Ipld::Null),
        any::<bool>().prop_map(Ipld::Bool),
        (-1100i128..1100).prop_map(Ipld::Integer),
        (-(1i128 << 53)..=1 << 53).prop_map(Ipld::Integer),
        float.prop_filter("finite", |x| x.is_finite()).prop_map(Ipld::Float),
        any_text().prop_map(Ipld::String),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| prop::collection::vec(inner, 0..4).prop_map(Ipld::List))
}

/// One form for what is one value in JavaScript: 42 and 42.0, 0 and −0.
fn one_number(key: &Ipld) -> Ipld {
    match key {
        Ipld::List(items) => Ipld::List(items.iter().map(one_number).collect()),
        Ipld::Float(x) if x.fract() == 0.0 && x.abs() <= (SAFE_MAX + 1) as f64 => Ipld::Integer(*x as i128),
        other => other.clone(),
    }
}

#[test]
fn keys_are_encoded_as_charwise_does() {
    let node = RefCell::new(Program::start("charwise.mjs"));
    let refused = RefCell::new(0);
    let property = |key: Ipld| {
        let theirs = node.borrow_mut().ask(&json!({"encode": tagged(&key)}));
        let encoded = theirs["encoded"].as_str().expect("text");
        let comes_back = theirs["back"].as_bool().expect("a boolean");
        match charwise::encode(&key) {
            Ok(ours) => {
                prop_assert_eq!(&*ours, encoded);
                prop_assert!(comes_back, "accepted, although charwise takes {encoded:?} for another key");
                let back = charwise::decode(encoded).map_err(|error| TestCaseError::fail(error.to_string()))?;
                prop_assert_eq!(one_number(&back), one_number(&key));
            }
            Err(CharwiseError::Ambiguous(ours)) => {
                prop_assert_eq!(&*ours, encoded);
                prop_assert!(!comes_back, "refused, although charwise gives {encoded:?} back");
                *refused.borrow_mut() += 1;
            }
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        }
        Ok(())
    };
    if let Err(failure) = runner(3000).run(&any_key(), property) {
        panic!("{failure}");
    }
    assert!(*refused.borrow() > 0, "no key was ambiguous: the generator is too tame");
}

#[test]
fn what_is_no_key_is_refused() {
    for n in [(1 << 53) + 1, -(1 << 53) - 1, i128::from(u64::MAX)] {
        assert_eq!(charwise::encode(&Ipld::Integer(n)), Err(CharwiseError::Integer(n)));
    }
    for (value, kind) in [(Ipld::Bytes(vec![1]), "bytes"), (map([]), "a map"), (Ipld::List(vec![map([])]), "a map")] {
        assert_eq!(charwise::encode(&value), Err(CharwiseError::Kind(kind)));
    }
}

#[test]
fn encoded_keys_sort_as_in_a_level_database() {
    let node = RefCell::new(Program::start("charwise.mjs"));
    // JavaScript compares halves of U+10000 and finds them less than U+FFFF; databases compare bytes.
    let astral = "[a\u{ffff}\u{10000}]{1,2}".prop_map(Ipld::String);
    let listed = prop::collection::vec(astral.clone(), 1..3).prop_map(Ipld::List);
    let keys = prop_oneof![any_key(), astral, listed].prop_filter("encodes", |key| charwise::encode(key).is_ok());
    let property = |keys: Vec<Ipld>| {
        let mut ours: Vec<_> = keys.iter().map(|key| charwise::encode(key).expect("filtered")).enumerate().collect();
        ours.sort_by(|(i, a), (j, b)| (a, i).cmp(&(b, j)));
        let ours: Vec<_> = ours.into_iter().map(|(place, _)| place).collect();
        let theirs = node.borrow_mut().ask(&json!({"sort": keys.iter().map(tagged).collect::<Vec<_>>()}));
        prop_assert_eq!(&theirs["order"], &json!(ours));
        Ok(())
    };
    if let Err(failure) = runner(200).run(&prop::collection::vec(keys, 2..40), property) {
        panic!("{failure}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn iso_filecoin_pays_and_invokes() {
    let devnet = Devnet::spawn(DevnetConfig::default()).expect("a devnet");
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
