//! Receipts that the indexer signs, read as their clients do.

use std::collections::BTreeMap;

use bucket_core::abi::{CarParams, CreateParams, Message};
use bucket_core::bucket::Mode;
use bucket_core::car::{Car, Transaction};
use bucket_core::cid::{CarId, Cid, DAG_CBOR, NativeHasher, block_cid};
use bucket_core::create::{self, CREATE};
use bucket_core::dag_cbor::{self, Ipld};
use bucket_core::map::Bytes;
use bucket_core::receipt::Receipt;
use bucket_core::task::Task;
use bucket_core::ucan::{InvocationDraft, PublicKey, Request};
use reqwest::Method;
use serde_json::json;

use super::http::{Site, header};
use super::rig::*;
use crate::signed::COMMAND;
use crate::signer::Signer;
use crate::store::Store;

/// The secret 07 07 ….
pub const KEY: &str = "z3u2RhErZEGEPQoX72wwNiAQiFxJjUEx7pmQ6djbr6Lbzgyt";

fn signer() -> Signer {
    Signer::from_multikey(KEY).unwrap()
}

fn path(car: &[u8]) -> String {
    format!("/v1/buckets/did:example:x/receipts/{}", id(car))
}

async fn car(site: &Site, path: &str) -> Car {
    let response = site.get(path).await;
    assert_eq!(response.status(), 200, "{path}");
    assert_eq!(header(response.headers(), "content-type"), "application/vnd.ipld.car; version=1");
    Car::decode::<NativeHasher>(response.bytes().await.unwrap().to_vec()).unwrap()
}

/// The receipt that the chain vouches for.
async fn plain(site: &Site, input: &[u8]) -> (CarId, Receipt) {
    let done = site.json(&path(input)).await;
    let bytes = site.get(done["links"]["receipt"].as_str().unwrap()).await.bytes().await.unwrap();
    (id(&bytes), Receipt::from_car::<NativeHasher>(bytes.to_vec()).unwrap())
}

fn fields(value: Ipld) -> BTreeMap<String, Ipld> {
    if let Ipld::Map(map) = value { map } else { panic!("expected a map, got {value:?}") }
}

fn out(receipt: &Receipt) -> Ipld {
    fields(receipt.to_ipld())["out"].clone()
}

/// A UCAN 1.0 on the bucket that is the key.
fn sealed(cmd: &str, args: Ipld) -> Vec<u8> {
    let sub = signer().did();
    let task = Task { sub: sub.clone(), cmd: cmd.into(), args: fields(args), nonce: vec![1] };
    let draft =
        InvocationDraft { iss: sub, aud: None, task, prf: vec![], meta: None, exp: None, iat: None, cause: None };
    let mut transaction = Transaction::<NativeHasher>::default();
    transaction.write_block(DAG_CBOR, &draft.seal(&signer().public(), |message| signer().sign(message)));
    transaction.commit().unwrap()
}

fn create_signed() -> Message {
    let (bucket, controllers, mode) = (signer().did(), vec![], Mode::Atomic);
    let proof = Some(Bytes(sealed(CREATE, create::args(&controllers, mode))));
    Message::Create(CreateParams { bucket, controllers, mode, proof })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_as_an_invocation_of_ucan_1() {
    let site = Site::filled().await;
    let inputs = [put_car("x", s("a"), s("1")), put_car("x", list([Ipld::Null]), s("reserved"))];
    for (input, key) in inputs.iter().zip(["ok", "error"]) {
        let car = car(&site, &format!("{}/signed", path(input))).await;
        let request = Request::from_car::<NativeHasher>(&car).unwrap().unwrap();
        request.check_signatures::<NativeHasher>().unwrap();
        // It says what was, at any time and to anybody.
        request.check(0, None).unwrap();
        request.check(u64::MAX, None).unwrap();
        let draft = &request.invocation;
        assert_eq!((&draft.iss, &draft.task.sub, &draft.aud), (&signer().did(), &signer().did(), &None));
        assert_eq!((draft.task.cmd.as_str(), draft.exp), (COMMAND, None));

        let (receipt_id, receipt) = plain(&site, input).await;
        let input = Car::decode::<NativeHasher>(input.clone()).unwrap();
        let args = [("ran".to_owned(), Ipld::Link(input.root())), ("out".to_owned(), out(&receipt))];
        assert_eq!(draft.task.args, args.into());
        assert!(fields(out(&receipt)).contains_key(key));
        let meta = draft.meta.clone().unwrap();
        assert_eq!(meta["receipt"], Ipld::Link(receipt_id.to_cid()));
        assert_eq!((&meta["invocation"], &meta["fork"]), (&Ipld::Link(input.root()), &list([])));
        // What it links to is there.
        assert_eq!(car.value(&input.root()), Some(input.root_value()));
        assert!(car.blocks().any(|(_, block)| dag_cbor::decode(block) == Ok(receipt.to_ipld())));
        assert_eq!(car.blocks().count(), 3);
    }
    let status = site.json("/v1/status").await;
    assert_eq!((&status["did"], &status["ready"]), (&json!(signer().did()), &json!(false)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_receipt_gives_the_same_bytes() {
    let mut site = Site::filled().await;
    let input = put_car("x", s("a"), s("1"));
    for format in ["ucan", "ucanto"] {
        let path = format!("{}/signed?format={format}", path(&input));
        let response = site.get(&path).await;
        let etag = header(response.headers(), "etag").to_owned();
        assert_eq!(header(response.headers(), "cache-control"), "no-cache");
        let first = response.bytes().await.unwrap();
        assert_eq!(etag, format!("\"{}\"", id(&first)));
        assert_eq!(site.get(&path).await.bytes().await.unwrap(), first);
        let known = site.ask(Method::GET, &path, &[("if-none-match", &etag)]).await;
        assert_eq!((known.status().as_u16(), known.bytes().await.unwrap().len()), (304, 0));
    }
    let before = plain(&site, &input).await.0;
    site.rig.tipset("t6", 6, &[force("x", s("a"), s("1"))]).await;
    let again = car(&site, &format!("{}/signed", path(&input))).await;
    let request = Request::from_car::<NativeHasher>(&again).unwrap().unwrap();
    let meta = request.invocation.meta.clone().unwrap();
    assert_eq!((&meta["prior"], &meta["version"]), (&Ipld::Link(before.to_cid()), &Ipld::Integer(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_as_a_message_of_ucanto() {
    let site = Site::filled().await;
    let input = put_car("x", s("a"), s("1"));
    let root = Car::decode::<NativeHasher>(input.clone()).unwrap().root();
    let message = car(&site, &format!("{}/signed?format=ucanto", path(&input))).await;
    let same = car(&site, &format!("/receipt/{root}")).await;
    assert_eq!(message.bytes(), same.bytes(), "clients of w3up ask by what ran");
    let report = fields(fields(message.root_value())["ucanto/message@7.0.0"].clone())["report"].clone();
    let Ipld::Link(block) = fields(report)[&root.to_string()] else { panic!("a receipt under the name of what ran") };
    let mut receipt = fields(message.value(&block).unwrap());
    let (outcome, Some(Ipld::Bytes(signature))) = (receipt["ocm"].clone(), receipt.remove("sig")) else {
        panic!("a receipt is signed")
    };
    let key = PublicKey::from_did(signer().did().as_str()).unwrap();
    assert!(key.verify::<NativeHasher>(&dag_cbor::encode(&outcome), &signature[signature.len() - 64..]));
    let outcome = fields(outcome);
    let (_, expected) = plain(&site, &input).await;
    assert_eq!((&outcome["ran"], &outcome["out"]), (&Ipld::Link(root), &out(&expected)));
    assert_eq!(outcome["iss"], s(signer().did().as_str()));
}

/// A task that was signed has two names: the block that was signed, and the task in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_signed_task_is_found_by_both_of_its_names() {
    let mut site = Site::new().await;
    let args = [("key".to_owned(), s("a")), ("value".to_owned(), s("1"))];
    let input = sealed("/kv/put", Ipld::Map(args.into()));
    let root = Car::decode::<NativeHasher>(input.clone()).unwrap();
    let request = Request::from_car::<NativeHasher>(&root).unwrap().unwrap();
    let task = block_cid::<NativeHasher>(DAG_CBOR, &dag_cbor::encode(&request.invocation.task.to_ipld()));
    assert_ne!(task, root.root());
    site.rig.tipset("t1", 1, &[create_signed()]).await;
    site.rig.tipset("t2", 2, &[Message::Invoke(CarParams::new(signer().did(), input))]).await;
    for name in [task, root.root()] {
        let car = car(&site, &format!("/receipt/{name}?format=ucan")).await;
        let assertion = Request::from_car::<NativeHasher>(&car).unwrap().unwrap();
        let meta = assertion.invocation.meta.clone().unwrap();
        assert_eq!(assertion.invocation.task.args["ran"], Ipld::Link(task));
        assert_eq!(meta["invocation"], Ipld::Link(root.root()));
        assert_eq!(car.value(&task), Some(request.invocation.task.to_ipld()), "the task's own block travels along");
        assert_eq!(car.blocks().count(), 4);
        // ucanto means the block that was signed.
        let message = self::car(&site, &format!("/receipt/{name}")).await;
        let report = fields(fields(message.root_value())["ucanto/message@7.0.0"].clone())["report"].clone();
        assert!(fields(report).contains_key(&root.root().to_string()));
    }
}

/// w3up's roots link to the UCAN; that is what its clients call the task.
#[test]
fn the_invocation_in_the_roots_of_w3up_is_found() {
    let cases: serde_json::Value =
        serde_json::from_str(include_str!("../../../core/src/ucan/ucanto/cases.json")).unwrap();
    let mut seen = 0;
    for case in cases["cases"].as_array().unwrap() {
        let (_, bytes) = cid::multibase::decode(case["car"].as_str().unwrap()).unwrap();
        let (Some(cid), Ok(car)) = (case["cid"].as_str(), Car::decode::<NativeHasher>(bytes)) else { continue };
        let Ok(Some(request)) = Request::from_car::<NativeHasher>(&car) else { continue };
        let names = crate::signed::Names::new::<NativeHasher>(&car, &request.invocation.task);
        assert_eq!(names.invocation, cid.parse::<Cid>().unwrap(), "{}", case["name"]);
        seen += u32::from(names.invocation != car.root());
    }
    assert!(seen > 5, "{seen} roots that are no UCAN");
}

/// Whoever sends the same task in another CAR doesn't take the place of a success; a reorganisation does.
#[tokio::test(flavor = "multi_thread")]
async fn names_lead_to_the_success_and_follow_the_chain() {
    let mut site = Site::new().await;
    site.rig.tipset("t1", 1, &[create("x")]).await;
    let task = put_car("x", s("a"), s("1"));
    let root = Car::decode::<NativeHasher>(task.clone()).unwrap();
    let mut other = Transaction::<NativeHasher>::default();
    other.write(&s("something else"));
    other.write(&root.root_value());
    let other = other.commit().unwrap();
    let invoke = |car: &[u8]| [Message::Invoke(CarParams::new(did("x"), car.to_vec()))];
    site.rig.tipset("t2", 2, &invoke(&task)).await;
    site.rig.tipset("t3", 3, &invoke(&other)).await;
    let ran = async |site: &Site| site.rig.store.execution_named(&root.root()).await.unwrap().map(|it| it.executed.ran);
    assert_eq!(ran(&site).await, Some(id(&task)), "the earliest of two");
    site.rig.tipset("t4", 4, &[force("x", s("a"), s("1"))]).await;
    assert_eq!(ran(&site).await, Some(id(&other)), "by then the other CAR's run is the earlier one");
    site.rig.store.revert(2).await.unwrap();
    assert_eq!(ran(&site).await, Some(id(&task)));
    site.rig.store.revert(1).await.unwrap();
    assert_eq!(ran(&site).await, None);
    assert_eq!(site.error(&format!("/receipt/{}", root.root())).await, (404, "receipt_not_found".into()));
    // The same once more; now the first one failed.
    let (mut batch, _) = site.rig.batch("t2b", 2, &invoke(&task)).await;
    batch.executed[0].ok = false;
    site.rig.store.commit(&batch).await.unwrap();
    assert_eq!(ran(&site).await, Some(id(&task)));
    site.rig.tipset("t3b", 3, &invoke(&other)).await;
    assert_eq!(ran(&site).await, Some(id(&other)), "a success before a failure");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_receipt_is_not_signed() {
    let site = Site::filled().await;
    let pending = format!("{}/signed", path(&put_car("x", s("last"), s("1"))));
    let done = path(&put_car("x", s("a"), s("1")));
    for (path, status, code) in [
        (pending.as_str(), 404, "receipt_not_found"),
        (&format!("{done}/signed?format=car"), 400, "query_invalid"),
        (&format!("{done}/signed?form=ucan"), 400, "query_invalid"),
        ("/v1/buckets/did:example:x/receipts/nothing/signed", 400, "car_id_invalid"),
        ("/receipt/nothing", 400, "cid_invalid"),
        ("/receipt/bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy", 404, "receipt_not_found"),
    ] {
        assert_eq!(site.error(path).await, (status, code.to_owned()), "{path}");
    }
}
