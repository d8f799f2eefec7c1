//! What an uploader does: a file becomes a CAR, the CAR is put, and receipts prove what became of it.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use bucket_client::ClientError;
use bucket_client::store::Source;
use bucket_client::store::upload::{Put, put};
use bucket_client::worker::Settings;
use bucket_core::cid::{CarId, DAG_CBOR, NativeHasher, block_cid};
use bucket_protocols::store::{Entry, Status, Upload};

use super::Shop;

fn proven(shop: &Shop, link: &CarId, like: &Entry) -> Option<Entry> {
    shop.world.catch_up();
    let found = shop.runtime.block_on(shop.payer().prove_entry(&shop.bucket, link, like)).unwrap();
    found.map(|proven| proven.entry)
}

#[test]
fn a_file_is_packed_put_and_proven() {
    let mut shop = Shop::new();
    shop.start(Settings::new(10 << 20));
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let bytes: Vec<u8> = (0..3_333_333u32).map(|n| (n % 251) as u8).collect();
    file.write_all(&bytes).unwrap();
    let source = Source::open(file.path()).unwrap();
    let (link, size, bucket) = (source.id, source.size, shop.bucket.clone());

    let active = shop.add_to(&bucket, link, size).unwrap();
    assert_eq!(proven(&shop, &link, &active).unwrap().status, Status::Active);
    shop.good_turn();
    let row = shop.entry(&link);
    let receiving = proven(&shop, &link, &row).unwrap();
    let upload = row.put.clone().unwrap();
    assert_eq!(
        receiving.upload,
        Some(block_cid::<NativeHasher>(DAG_CBOR, &upload.to_block())),
        "the URL is proven too"
    );

    // What is nobody's doing may go better next time; what isn't signed never will. Small, so that the server reads it all.
    let small = tempfile::NamedTempFile::new().unwrap();
    let small = Source::open(small.path()).unwrap();
    let send = |source: &Source, upload: &Upload, tell: &(dyn Fn(u64) + Sync)| {
        shop.runtime.block_on(put(source, upload, tell))
    };
    let elsewhere = Upload { url: "http://127.0.0.1:9/".into(), ..upload.clone() };
    assert!(matches!(send(&small, &elsewhere, &|_| ()), Err(ClientError::Upload { transient: true, .. })));
    let mut forged = Upload { url: upload.url.replace("X-Amz-Expires=7200", "X-Amz-Expires=7201"), ..upload.clone() };
    forged.headers.insert("content-length".into(), small.size.to_string());
    let refused = send(&small, &forged, &|_| ()).unwrap_err();
    assert!(matches!(refused, ClientError::Upload { transient: false, .. }), "{refused}");
    let words = refused.to_string();
    assert!(words.contains("403") && words.contains("SignatureDoesNotMatch") && !words.contains("X-Amz"), "{words}");

    let moved = AtomicU64::new(0);
    assert_eq!(send(&source, &upload, &|now| moved.store(now, Ordering::Relaxed)).unwrap(), Put::Done);
    assert_eq!(moved.load(Ordering::Relaxed), size);
    let claimed = Entry { status: Status::Ok, ..row };
    assert_eq!(proven(&shop, &link, &claimed), None, "the service has not seen it yet");
    shop.good_turn();
    assert_eq!(proven(&shop, &link, &shop.entry(&link)).unwrap().status, Status::Ok);

    // What is stored is the CAR, and the file is in it.
    let mut car = Vec::new();
    source.reader().unwrap().read_to_end(&mut car).unwrap();
    let stored = std::fs::read(shop.s3.object(super::CARS, &link.to_string())).unwrap();
    assert_eq!(stored, car);
    let read = bucket_client::car::read(&stored).unwrap();
    assert_eq!(read.roots, [source.packed.unwrap()]);
    let (_, blocks) = read.blocks.split_last().unwrap();
    assert_eq!(blocks.iter().flat_map(|block| block.data).copied().collect::<Vec<u8>>(), bytes);
}
