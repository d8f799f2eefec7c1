//! The worker at work: a devnet, an indexer, a real S3 server, and buckets that it serves.

mod entry;
mod kill;
mod objects;
mod trouble;
mod upload;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bucket_client::store::index;
use bucket_client::worker::ledger::Ledger;
use bucket_client::worker::s3::{S3 as Client, Settings as Store, UPLOAD_SECONDS};
use bucket_client::worker::{Settings, Worker};
use bucket_client::{ActorClient, Identity, Key, Progress, store};
use bucket_core::bucket::Mode;
use bucket_core::cid::{CarId, NativeHasher};
use bucket_core::did::BucketId;
use bucket_core::error::Failure;
use bucket_core::task::Task;
use bucket_protocols::store::{Entry, Outbox, Status, Upload};
use bucket_tests::cars::id;
use bucket_tests::keys::{self, ed25519};
use bucket_tests::network::NetworkWorld;
use bucket_tests::s3::S3;
use bucket_tests::{User, World};
use reqwest::StatusCode;
use tokio::runtime::Runtime;

/// The S3 bucket.
const CARS: &str = "cars";
/// Bytes that each bucket may have.
const CAPACITY: u64 = 1000;
/// The account that pays for events.
const PAYER: usize = 5;
/// The number of the key of the bucket.
const OWNER: u8 = 1;
/// The number of the service's key.
const SERVICE: u8 = 99;

/// Everything that storing takes.
pub struct Shop {
    pub world: NetworkWorld,
    pub runtime: Runtime,
    pub bucket: BucketId,
    pub s3: S3,
    pub worker: Option<Worker>,
    pub notes: Arc<Mutex<Vec<String>>>,
    /// How long URLs count.
    pub upload: Duration,
    files: tempfile::TempDir,
    data: tempfile::TempDir,
    nonce: u64,
}

/// A key that signs for whom it names, in a bucket of its own.
pub fn service() -> Identity {
    ed25519(SERVICE)
}

/// A bucket whose service is `service`.
pub fn served(world: &mut NetworkWorld, number: u8, service: &Identity) -> BucketId {
    let owner = ed25519(number);
    let bucket = keys::create(world, &owner);
    provide(world, &bucket, &owner, service);
    bucket
}

/// Makes `service` a bucket's provider.
fn provide(world: &mut NetworkWorld, bucket: &BucketId, owner: &Identity, service: &Identity) {
    let car = store::provide(bucket, &service.did(), owner, &[], None, 0).unwrap();
    assert_eq!(world.invoke(User::Bob, bucket, &car, false).unwrap().ok, Some(true));
}

impl Shop {
    /// A bucket that is served by a worker that was not started yet.
    pub fn new() -> Self {
        let mut world = NetworkWorld::default();
        let runtime = Runtime::new().unwrap();
        let (files, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let s3 = S3::start(([127, 0, 0, 1], 0).into(), files.path(), "key", "secret");
        let s3 = runtime.block_on(s3).unwrap();
        s3.create_bucket(CARS).unwrap();
        let bucket = served(&mut world, OWNER, &service());
        let notes = Arc::default();
        let upload = Duration::from_secs(UPLOAD_SECONDS);
        Self { world, runtime, bucket, s3, worker: None, notes, upload, files, data, nonce: 0 }
    }

    /// One with a worker.
    pub fn open() -> Self {
        let mut shop = Self::new();
        shop.start(Settings::new(CAPACITY));
        shop
    }

    /// A client whose messages nobody else sends.
    pub fn payer(&self) -> ActorClient {
        self.payer_at(self.world.devnet.url())
    }

    fn payer_at(&self, node: &str) -> ActorClient {
        let account = self.world.devnet.account(PAYER).unwrap();
        let key = Key::from_secret(&account.private_key()).unwrap();
        let rpc = bucket_rpc::Client::new(node, None).unwrap();
        ActorClient::new(rpc, self.world.clients[0].address()).with_signer(key).with_gateway(self.world.gateway.clone())
    }

    /// Another provider for the bucket.
    pub fn provide(&mut self, service: &Identity) {
        provide(&mut self.world, &self.bucket, &ed25519(OWNER), service);
    }

    /// Starts a worker over what the one before left.
    pub fn start(&mut self, settings: Settings) {
        self.start_as(self.payer(), settings);
    }

    fn start_as(&mut self, payer: ActorClient, settings: Settings) {
        self.worker = None;
        let s3 = Client::new(&Store { upload: self.upload, ..self.s3.settings(CARS) }).unwrap();
        self.runtime.block_on(s3.check()).unwrap();
        let ledger = Ledger::open(self.data.path()).unwrap();
        let notes = self.notes.clone();
        let progress = Progress::new(move |step| notes.lock().unwrap().push(step.to_string()));
        self.worker = Some(Worker::new(payer, service(), s3, ledger, settings).with_progress(progress));
    }

    /// Lets the worker do what it can; answers how much of it failed.
    pub fn turn(&self) -> usize {
        self.world.catch_up();
        let worker = self.worker.as_ref().expect("it was started");
        self.runtime.block_on(worker.once()).expect("the index answers")
    }

    /// As [`Shop::turn`], when nothing may fail.
    pub fn good_turn(&self) {
        assert_eq!(self.turn(), 0, "{:#?}", self.notes.lock().unwrap());
    }

    /// Sends `/store/add`, as Alice, who controls the bucket.
    pub fn add(&mut self, car: &[u8]) -> Result<Entry, Failure> {
        let bucket = self.bucket.clone();
        self.add_to(&bucket, id(car), car.len() as u64)
    }

    pub fn add_to(&mut self, bucket: &BucketId, link: CarId, size: u64) -> Result<Entry, Failure> {
        let nonce = self.nonce();
        self.tell(bucket, &bucket_protocols::store::add(bucket, link, size, nonce).to_car::<NativeHasher>())
    }

    pub fn nonce(&mut self) -> Vec<u8> {
        self.nonce += 1;
        self.nonce.to_be_bytes().to_vec()
    }

    /// Sends a CAR of `store`, as Alice.
    pub fn tell(&mut self, bucket: &BucketId, car: &[u8]) -> Result<Entry, Failure> {
        let receipt = self.world.invoke(User::Alice, bucket, car, false).unwrap().receipt;
        let out = self.world.receipt_car(bucket, receipt).out?;
        Ok(Entry::read(&out).expect("an entry"))
    }

    /// The entry, as the index has it.
    pub fn entry(&self, link: &CarId) -> Entry {
        self.entry_of(&self.bucket, link)
    }

    pub fn entry_of(&self, bucket: &BucketId, link: &CarId) -> Entry {
        self.world.catch_up();
        let found = self.runtime.block_on(index::entry(&self.world.gateway, bucket, link)).unwrap();
        found.1.expect("it was added")
    }

    /// Asserts an entry's status, after a look at the index.
    pub fn stands(&self, car: &[u8], status: Status) -> Entry {
        let entry = self.entry(&id(car));
        assert_eq!(entry.status, status, "{:#?}", self.notes.lock().unwrap());
        entry
    }

    /// PUTs bytes to where the entry wants its CAR.
    pub fn put(&self, upload: &Upload, bytes: &[u8]) -> StatusCode {
        let mut request = reqwest::Client::builder().no_proxy().build().unwrap().put(&upload.url).body(bytes.to_vec());
        for (name, value) in &upload.headers {
            let value = if name == "content-length" { bytes.len().to_string() } else { value.clone() };
            request = request.header(name, value);
        }
        self.runtime.block_on(async { request.send().await.unwrap().status() })
    }

    /// Lets so many epochs pass. The index is where the head's parent is.
    pub fn pass(&mut self, epochs: u64) {
        self.world.pass(epochs);
        self.world.devnet.mine(1).unwrap();
    }

    /// The object's file.
    pub fn object(&self, car: &[u8]) -> std::path::PathBuf {
        self.s3.object(CARS, &id(car).to_string())
    }

    /// Commands that ran in the bucket with success, in their order, without `/store/provide`.
    pub fn events(&self) -> Vec<String> {
        let receipts = self.world.index(&self.bucket, "/receipts?limit=1000");
        let items = receipts["items"].as_array().expect("a list").iter().filter(|item| item["ok"] == true);
        items.map(|item| item["cmd"].as_str().expect("text").to_owned()).filter(|cmd| cmd != "/store/provide").collect()
    }

    /// What waits in entries of the bucket.
    pub fn waiting(&self) -> Vec<Outbox> {
        self.world.catch_up();
        self.runtime.block_on(index::outboxes(&self.world.gateway, &self.bucket)).unwrap().1
    }

    /// Asserts that nothing does.
    pub fn nothing_waits(&self) {
        assert_eq!(self.waiting(), vec![]);
    }

    /// Ends the worker and opens its ledger.
    pub fn ledger(&mut self) -> Ledger {
        self.worker = None;
        Ledger::open(self.data.path()).unwrap()
    }

    /// Bytes that the ledger has allocated for the bucket.
    pub fn used(&mut self) -> u64 {
        let settings = Settings::new(CAPACITY);
        let used = self.ledger().used(&self.bucket).unwrap();
        self.start(settings);
        used
    }

    pub fn data(&self) -> &Path {
        self.data.path()
    }

    pub fn files(&self) -> &Path {
        self.files.path()
    }
}

/// Bytes for a CAR: what is in them is nobody's business but the uploader's.
pub fn car(name: &str, size: usize) -> Vec<u8> {
    name.bytes().cycle().take(size).collect()
}

/// A task of `store`, signed by `key`.
pub fn signed(key: &Identity, task: Task, proofs: &[Vec<u8>]) -> Vec<u8> {
    keys::signed(key, task, proofs)
}

#[test]
fn a_bucket_without_a_service_stores_nothing() {
    let mut shop = Shop::new();
    let bucket = bucket_tests::cars::did("Unserved");
    shop.world.create(&bucket, Mode::Atomic).unwrap();
    let refused = shop.add_to(&bucket, id(b"x"), 1).unwrap_err();
    assert_eq!(refused.name, "NoProvider");
}
