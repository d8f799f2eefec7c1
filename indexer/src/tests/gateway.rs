//! The gateway on a real server.

use bucket_core::car::{Car, archive};
use bucket_core::cid::{DAG_CBOR, NativeHasher, block_cid};
use bucket_core::dag_cbor::{self, Ipld};
use bucket_core::receipt::Receipt;
use reqwest::Method;
use serde_json::Value;

use super::http::{Site, header};
use super::rig::*;
use crate::store::Store;

#[tokio::test(flavor = "multi_thread")]
async fn cars_by_their_names_are_their_own_bytes() {
    let site = Site::filled().await;
    let car = put_car("x", s("a"), s("1"));
    let receipt = site.receipts("").await["items"][0]["receipt"].as_str().unwrap().to_owned();
    let ran = id(&car);
    for (query, accept, extension) in [
        ("?format=car", "", "car"),
        ("?format=raw", "", "bin"),
        ("", "application/vnd.ipld.car;version=1", "car"),
        ("", "application/vnd.ipld.raw", "bin"),
    ] {
        let response = site.ask(Method::GET, &format!("/ipfs/{ran}{query}"), &[("accept", accept)]).await;
        assert_eq!(response.status(), 200);
        let headers = response.headers().clone();
        assert_eq!(response.bytes().await.unwrap(), car, "what comes hashes to what was asked for");
        let name = format!("attachment; filename=\"{ran}.{extension}\"");
        assert_eq!(header(&headers, "content-disposition"), name);
        assert_eq!(header(&headers, "cache-control"), "public, max-age=29030400, immutable");
        assert_eq!(header(&headers, "x-content-type-options"), "nosniff");
        assert_eq!(header(&headers, "access-control-allow-origin"), "*");
        assert_eq!(header(&headers, "accept-ranges"), if extension == "car" { "none" } else { "bytes" });
        assert_eq!(header(&headers, "content-length"), car.len().to_string());
    }
    let bytes = site.get(&format!("/ipfs/{receipt}?format=car")).await.bytes().await.unwrap();
    assert_eq!(id(&bytes).to_string(), receipt);
    assert_eq!(Receipt::from_car::<NativeHasher>(bytes.to_vec()).unwrap().ran, ran);
}

#[tokio::test(flavor = "multi_thread")]
async fn caches_ranges_and_heads() {
    let site = Site::filled().await;
    let car = put_car("x", s("a"), s("1"));
    let path = format!("/ipfs/{}?format=raw", id(&car));
    let etag = header(site.get(&path).await.headers(), "etag").to_owned();
    assert_eq!(etag, format!("\"{}.raw\"", id(&car)));
    for (tag, status) in
        [(etag.clone(), 304), (format!("\"a\", W/{etag}"), 304), ("*".into(), 304), ("\"a\"".into(), 200)]
    {
        let response = site.ask(Method::GET, &path, &[("if-none-match", &tag)]).await;
        assert_eq!(response.status(), status, "{tag}");
        assert_eq!(header(response.headers(), "etag"), etag);
    }
    let response = site.ask(Method::HEAD, &path, &[]).await;
    assert_eq!(header(response.headers(), "content-length"), car.len().to_string());
    assert_eq!(response.bytes().await.unwrap(), "");
    let response = site.ask(Method::GET, &path, &[("range", "bytes=2-5")]).await;
    assert_eq!(response.status(), 206);
    assert_eq!(header(response.headers(), "content-range"), format!("bytes 2-5/{}", car.len()));
    assert_eq!(response.bytes().await.unwrap(), &car[2..6]);
    assert_eq!(site.ask(Method::GET, &path, &[("range", "bytes=99999-")]).await.status(), 416);
    let stale = site.ask(Method::GET, &path, &[("range", "bytes=2-5"), ("if-range", "\"old\"")]).await;
    assert_eq!(stale.status(), 200);
    let options = site.ask(Method::OPTIONS, &path, &[("origin", "https://example.com")]).await;
    assert_eq!((options.status().as_u16(), header(options.headers(), "access-control-allow-origin")), (204, "*"));
    for method in [Method::HEAD, Method::GET] {
        let probe = site.ask(method, "/ipfs/bafkqaaa", &[]).await;
        assert_eq!(probe.status(), 200);
        assert_eq!(probe.bytes().await.unwrap(), "");
    }
    let named = site.get(&format!("{path}&filename=a%22%0D%0Ab%2F.bin")).await;
    assert_eq!(header(named.headers(), "content-disposition"), "attachment; filename=\"ab.bin\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn dags_of_users_and_of_state() {
    let mut site = Site::filled().await;
    let value = list([s("a long enough value that is by itself in the CAR"), Ipld::Null]);
    let car = linked_car("x", s("linked"), &value);
    let message = bucket_core::abi::CarParams::new(did("x"), car.clone());
    site.rig.tipset("t6", 6, &[bucket_core::abi::Message::Invoke(message)]).await;
    let car = Car::decode::<NativeHasher>(car).unwrap();

    // One block of it.
    let bytes = dag_cbor::encode(&value);
    let cid = block_cid::<NativeHasher>(DAG_CBOR, &bytes);
    assert_eq!(site.get(&format!("/ipfs/{cid}?format=raw")).await.bytes().await.unwrap(), bytes);
    // All of it, from the root down; the file had the root last.
    let response = site.get(&format!("/ipfs/{}?format=car", car.root())).await;
    assert_eq!(header(response.headers(), "content-type"), "application/vnd.ipld.car; version=1; order=dfs; dups=n");
    let dag = Car::decode::<NativeHasher>(response.bytes().await.unwrap().to_vec()).unwrap();
    assert_eq!(dag.root(), car.root());
    assert_eq!(dag.blocks().map(|(cid, _)| cid).collect::<Vec<_>>(), [car.root(), cid]);
    let block = site.get(&format!("/ipfs/{}?format=car&dag-scope=block", car.root())).await;
    let block = Car::decode::<NativeHasher>(block.bytes().await.unwrap().to_vec()).unwrap();
    assert_eq!(block.blocks().count(), 1);

    // The actor's state: another hash, the same gateway.
    let state = site.rig.store.head().await.unwrap().unwrap().state;
    let response = site.get(&format!("/ipfs/{state}?format=car")).await.bytes().await.unwrap();
    let dag = archive::open(&response).unwrap();
    assert_eq!(dag.roots, [state]);
    let blocks: Vec<_> = dag.sections().map(|section| section.unwrap()).collect();
    assert!(blocks.len() > 5, "{}", blocks.len());
    for block in &blocks {
        assert_eq!(bucket_rpc::json::blake2b_cid(&response[block.data.clone()]).hash(), block.cid.hash());
    }
    // A receipt's root links to CARs, which are files of their own.
    let receipt: bucket_core::cid::CarId =
        site.receipts("").await["items"][0]["receipt"].as_str().unwrap().parse().unwrap();
    let receipt = Car::decode::<NativeHasher>(site.rig.cars.get(&receipt).await.unwrap().unwrap().to_vec()).unwrap();
    let dag = site.get(&format!("/ipfs/{}?format=car", receipt.root())).await.bytes().await.unwrap();
    assert_eq!(Car::decode::<NativeHasher>(dag.to_vec()).unwrap().blocks().count(), 1);
}

/// A user's link may lead to what nobody sent: the answer must not look complete.
#[tokio::test(flavor = "multi_thread")]
async fn a_dag_with_a_missing_block_is_refused() {
    let mut site = Site::filled().await;
    let foreign = block_cid::<NativeHasher>(DAG_CBOR, b"\xf6");
    let root = put_car("x", s("foreign"), Ipld::Link(foreign));
    site.rig.tipset("t6", 6, &[put("x", s("foreign"), Ipld::Link(foreign))]).await;
    let root = Car::decode::<NativeHasher>(root).unwrap().root();
    let response = site.get(&format!("/ipfs/{root}?format=car")).await;
    assert_eq!(response.status(), 404);
    let message = response.json::<Value>().await.unwrap()["error"]["message"].to_string();
    assert!(message.contains(&foreign.to_string()), "the missing one is named: {message}");
    let block = site.get(&format!("/ipfs/{root}?format=car&dag-scope=block")).await;
    assert_eq!(Car::decode::<NativeHasher>(block.bytes().await.unwrap().to_vec()).unwrap().root(), root);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_dag_with_a_missing_block_is_broken_off() {
    let mut site = Site::filled().await;
    let big = |n: i128| schedule("y", Ipld::Integer(n), Ipld::Bytes(vec![n as u8; 50_000]));
    site.rig.tipset("t6", 6, &(0..60).map(big).collect::<Vec<_>>()).await;
    let path = format!("/ipfs/{}?format=car", site.rig.store.head().await.unwrap().unwrap().state);
    let whole = site.get(&path).await.bytes().await.unwrap();
    let blocks: Vec<_> = archive::open(&whole).unwrap().sections().map(|section| section.unwrap()).collect();
    assert!(blocks.len() > 60 && whole.len() > 3_000_000, "{} blocks, {} bytes", blocks.len(), whole.len());
    // Lose the last one.
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(site.rig.dir.path().join("index.sqlite"));
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let lost = sqlx::query("DELETE FROM blocks WHERE hash = $1").bind(blocks.last().unwrap().cid.hash().to_bytes());
    assert_eq!(lost.execute(&pool).await.unwrap().rows_affected(), 1);
    let response = site.get(&path).await;
    assert_eq!(response.status(), 200, "the answer begins before the end is known");
    response.bytes().await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_file_is_an_error_not_an_empty_answer() {
    let site = Site::filled().await;
    let car = id(&put_car("x", s("a"), s("1")));
    let name = car.to_string();
    let file = site.rig.dir.path().join("cars").join(&name[name.len() - 2..]).join(format!("{name}.car"));
    std::fs::write(&file, b"something else").unwrap();
    let cars = crate::cars::Cars::open(&site.rig.dir.path().join("cars")).unwrap();
    let error = cars.get(&car).await.unwrap_err();
    assert!(error.to_string().contains("holds something else"), "{error:#}");
    std::fs::remove_file(&file).unwrap();
    assert_eq!(cars.get(&car).await.unwrap(), None);
}
