//! CARs per second from `/store/add` to `ok`: wallet, devnet, indexer, worker and an S3 server, all on this machine.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bucket_client::store::{index, provide};
use bucket_client::worker::ledger::Ledger;
use bucket_client::worker::s3::S3 as Client;
use bucket_client::worker::{Settings, Worker};
use bucket_client::{ActorClient, Key};
use bucket_core::cid::NativeHasher;
use bucket_core::did::BucketId;
use bucket_protocols::store::{Status, Upload, add};
use bucket_tests::cars::id;
use bucket_tests::keys::{self, ed25519};
use bucket_tests::network::NetworkWorld;
use bucket_tests::s3::S3;
use bucket_tests::{User, World};
use tokio::runtime::Runtime;

use crate::{Report, Row};

const CARS: usize = 50;
const CAR_BYTES: usize = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(300);
/// The account that pays for events.
const PAYER: usize = 5;

pub fn run(report: &Report) -> Result<()> {
    let mut world = NetworkWorld::default();
    let runtime = Runtime::new()?;
    let (files, data) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let s3 = runtime.block_on(S3::start(([127, 0, 0, 1], 0).into(), files.path(), "key", "secret"))?;
    s3.create_bucket("cars")?;
    let (owner, service) = (ed25519(1), ed25519(2));
    let bucket = keys::create(&mut world, &owner);
    let provided = provide(&bucket, &service.did(), &owner, &[], None, 0)?;
    world.invoke(User::Bob, &bucket, &provided, false).ok().context("the bucket takes its service")?;

    let key = Key::from_secret(&world.devnet.account(PAYER)?.private_key())?;
    let rpc = bucket_rpc::Client::new(world.devnet.url(), None)?;
    let payer = ActorClient::new(rpc, world.clients[0].address()).with_signer(key).with_gateway(world.gateway.clone());
    let store = Client::new(&s3.settings("cars"))?;
    let settings = Settings { poll: Duration::from_millis(50), ..Settings::new(1 << 30) };
    let worker = Worker::new(payer, service, store, Ledger::open(data.path())?, settings);
    let working = runtime.spawn(async move { worker.run(std::future::pending()).await });

    let cars: Vec<Vec<u8>> = (0..CARS).map(|n| [&n.to_be_bytes()[..], &[7; CAR_BYTES - 8]].concat()).collect();
    report.progress("storing 50 CARs of 64 KiB");
    let start = Instant::now();
    for (n, car) in cars.iter().enumerate() {
        let task = add(&bucket, id(car), car.len() as u64, n.to_be_bytes().to_vec()).to_car::<NativeHasher>();
        world.invoke(User::Alice, &bucket, &task, false).ok().context("the bucket takes a CAR")?;
    }
    runtime.block_on(upload_all(&world, &bucket, &cars))?;
    let seconds = start.elapsed().as_secs_f64();
    working.abort();
    let floor = runtime.block_on(put_alone(&Client::new(&s3.settings("cars"))?))?;
    report.row(Row {
        bench: "store/add-to-ok".into(),
        value: CARS as f64 / seconds,
        unit: "CARs/s",
        against: "as many PUTs alone".into(),
        against_value: floor,
    });
    Ok(())
}

/// Puts each CAR as soon as its entry says where, until all are stored.
async fn upload_all(world: &NetworkWorld, bucket: &BucketId, cars: &[Vec<u8>]) -> Result<()> {
    let (start, mut put) = (Instant::now(), vec![false; cars.len()]);
    loop {
        let entries = index::entries(&world.gateway, bucket).await?;
        let of = |car: &Vec<u8>| entries.iter().find(|entry| entry.car.is_some_and(|(link, _)| link == id(car)));
        let mut stored = 0;
        for (car, put) in cars.iter().zip(&mut put) {
            let Some(entry) = of(car) else { continue };
            if let (false, Some(upload)) = (*put, &entry.put) {
                ensure!(send(upload, car).await?.is_success(), "the store takes the CAR");
                *put = true;
            }
            stored += usize::from(entry.status == Status::Ok);
        }
        if stored == cars.len() {
            return Ok(());
        }
        ensure!(start.elapsed() < PATIENCE, "{stored} of {} are stored", cars.len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn send(upload: &Upload, car: &[u8]) -> Result<reqwest::StatusCode> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let request =
        upload.headers.iter().fold(client.put(&upload.url), |request, (name, value)| request.header(name, value));
    Ok(request.body(car.to_vec()).send().await?.status())
}

/// What storing can't be faster than: as many PUTs of as many bytes.
async fn put_alone(store: &Client) -> Result<f64> {
    let cars: Vec<Vec<u8>> = (0..CARS).map(|n| [&n.to_be_bytes()[..], &[8; CAR_BYTES - 8]].concat()).collect();
    let start = Instant::now();
    for car in &cars {
        ensure!(send(&store.sign(&id(car), car.len() as u64), car).await?.is_success(), "the store takes the CAR");
    }
    Ok(cars.len() as f64 / start.elapsed().as_secs_f64())
}
