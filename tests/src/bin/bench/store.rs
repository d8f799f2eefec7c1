//! CARs per second from `/store/add` to `ok`: wallet, devnet, indexer, worker and an S3 server, all on this machine. An
//! uploader has many CARs under way at once, each as a user's `bucket store add` goes: a message, a PUT, a look at the index.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bucket_client::store::{index, provide};
use bucket_client::ucan::{Held, Token};
use bucket_client::worker::ledger::Ledger;
use bucket_client::worker::s3::S3 as Client;
use bucket_client::worker::{Settings, Worker};
use bucket_client::{ActorClient, Gateway, Identity, Key};
use bucket_core::abi::CarParams;
use bucket_core::cid::{CarId, NativeHasher};
use bucket_core::did::BucketId;
use bucket_core::task::Task;
use bucket_protocols::store::{self, Entry, Status, Upload};
use bucket_tests::cars::id;
use bucket_tests::keys::{self, ed25519};
use bucket_tests::network::NetworkWorld;
use bucket_tests::s3::S3;
use bucket_tests::{User, World};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::{Report, Row};

const CARS: usize = 200;
const CAR_BYTES: usize = 64 * 1024;
/// CARs that an uploader has under way.
const AT_ONCE: usize = 32;
const PATIENCE: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(50);
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
    world.catch_up();

    let key = Key::from_secret(&world.devnet.account(PAYER)?.private_key())?;
    let rpc = bucket_rpc::Client::new(world.devnet.url(), None)?;
    let payer = ActorClient::new(rpc, world.clients[0].address()).with_signer(key).with_gateway(world.gateway.clone());
    let store = Client::new(&s3.settings("cars"))?;
    let settings = Settings { poll: POLL, ..Settings::new(1 << 30) };
    let worker = Worker::new(payer.clone(), service.clone(), store.clone(), Ledger::open(data.path())?, settings);
    let working = runtime.spawn(async move { worker.run(std::future::pending()).await });

    report.progress(&format!("storing {CARS} CARs of 64 KiB, {AT_ONCE} at once"));
    let uploader = Uploader { alice: world.clients[0].clone(), bucket, http: http()? };
    let start = Instant::now();
    runtime.block_on(async {
        let stored = tokio::time::timeout(PATIENCE, uploader.store_all(&world.gateway)).await;
        stored.context("the worker stores them")?
    })?;
    let stored = CARS as f64 / start.elapsed().as_secs_f64();
    working.abort();
    let puts = runtime.block_on(put_alone(&store))?;
    report.progress("sending as many messages");
    let start = Instant::now();
    runtime.block_on(tell_alone(&uploader, payer, service, &world.gateway))?;
    world.catch_up();
    let messages = CARS as f64 / start.elapsed().as_secs_f64();
    for (bench, against, against_value) in [
        ("store/add-to-ok", "as many PUTs alone", puts),
        ("store/add-to-ok/messages", "three messages each, indexed", messages),
    ] {
        let row = Row { bench: bench.into(), value: stored, unit: "CARs/s", against: against.into(), against_value };
        report.row(row);
    }
    Ok(())
}

fn http() -> Result<reqwest::Client> {
    Ok(reqwest::Client::builder().no_proxy().build()?)
}

fn car(n: usize, filling: u8) -> Vec<u8> {
    [&n.to_be_bytes()[..], &[filling; CAR_BYTES - 8]].concat()
}

/// Does `each` for every number, so many at once.
async fn at_once<F: Future<Output = Result<()>> + Send + 'static>(each: impl Fn(usize) -> F) -> Result<()> {
    let (permits, mut tasks) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    for work in (0..CARS).map(each) {
        let permits = permits.clone();
        tasks.spawn(async move {
            let _permit = permits.acquire().await?;
            work.await
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

type Entries = BTreeMap<CarId, Entry>;

#[derive(Clone)]
struct Uploader {
    /// She controls the bucket.
    alice: ActorClient,
    bucket: BucketId,
    http: reqwest::Client,
}

impl Uploader {
    async fn store_all(&self, gateway: &Gateway) -> Result<()> {
        let (told, entries) = watch::channel(Entries::new());
        let all = at_once(|n| {
            let (uploader, entries) = (self.clone(), entries.clone());
            async move { uploader.store(car(n, 7), n, entries).await }
        });
        tokio::select! {
            stored = all => stored,
            error = self.look(gateway, told) => error,
        }
    }

    /// Tells how entries stand, again and again.
    async fn look(&self, gateway: &Gateway, told: watch::Sender<Entries>) -> Result<()> {
        loop {
            let entries = index::entries(gateway, &self.bucket).await?;
            told.send_replace(entries.into_iter().filter_map(|entry| Some((entry.car?.0, entry))).collect());
            tokio::time::sleep(POLL).await;
        }
    }

    async fn store(&self, car: Vec<u8>, n: usize, mut entries: watch::Receiver<Entries>) -> Result<()> {
        let link = id(&car);
        self.add(link, n.to_be_bytes().to_vec()).await?;
        let upload = {
            let put = |entries: &Entries| entries.get(&link).and_then(|entry| entry.put.clone());
            put(&*entries.wait_for(|entries| put(entries).is_some()).await?).context("where to put it")?
        };
        put(&self.http, &upload, car).await?;
        let stored = |entries: &Entries| entries.get(&link).is_some_and(|entry| entry.status == Status::Ok);
        entries.wait_for(stored).await?;
        Ok(())
    }

    async fn add(&self, link: CarId, nonce: Vec<u8>) -> Result<()> {
        let task = store::add(&self.bucket, link, CAR_BYTES as u64, nonce);
        self.invoke(&self.alice, task.to_car::<NativeHasher>()).await
    }

    async fn invoke(&self, sender: &ActorClient, car: Vec<u8>) -> Result<()> {
        let sent = sender.invoke(CarParams::new(self.bucket.clone(), car)).await?;
        ensure!(sent.value.ok == Some(true), "the bucket takes it");
        Ok(())
    }
}

async fn put(http: &reqwest::Client, upload: &Upload, car: Vec<u8>) -> Result<()> {
    let request =
        upload.headers.iter().fold(http.put(&upload.url), |request, (name, value)| request.header(name, value));
    let status = request.body(car).send().await?.status();
    ensure!(status.is_success(), "the store takes the CAR, got {status}");
    Ok(())
}

/// What storing can't be faster than: as many PUTs of as many bytes.
async fn put_alone(s3: &Client) -> Result<f64> {
    let (s3, http, start) = (s3.clone(), http()?, Instant::now());
    at_once(|n| {
        let (s3, http) = (s3.clone(), http.clone());
        async move {
            let car = car(n, 8);
            put(&http, &s3.sign(&id(&car), CAR_BYTES as u64), car).await
        }
    })
    .await?;
    Ok(CARS as f64 / start.elapsed().as_secs_f64())
}

/// Nor than this: the same three messages for each, which change nothing but receipts.
async fn tell_alone(uploader: &Uploader, payer: ActorClient, service: Identity, gateway: &Gateway) -> Result<()> {
    let provider = index::provider(gateway, &uploader.bucket).await?.context("it has a service")?;
    let mut held = Vec::new();
    for proof in &provider.proofs {
        held.push(Held::new(Token::new(index::block(gateway, proof).await?))?);
    }
    let proofs: Vec<Vec<u8>> = held.iter().take(1).map(|held| held.token.bytes.clone()).collect();
    at_once(|n| {
        let (uploader, payer, service, proofs) = (uploader.clone(), payer.clone(), service.clone(), proofs.clone());
        async move {
            let link = id(&car(n, 7));
            uploader.add(link, [&b"again"[..], &n.to_be_bytes()].concat()).await?;
            for effect in [0, 1] {
                let args = BTreeMap::from([("effect".to_owned(), bucket_core::dag_cbor::Ipld::Integer(effect))]);
                let nonce = n.to_be_bytes().to_vec();
                let done: Task = store::event(&uploader.bucket, link, 1, store::event::DONE, args, nonce);
                uploader.invoke(&payer, keys::signed(&service, done, &proofs)).await?;
            }
            Ok(())
        }
    })
    .await
}
