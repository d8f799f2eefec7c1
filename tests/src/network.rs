//! The whole network: a devnet behind HTTP, the client that signs and sends, the indexer that follows and serves.

use std::path::Path;
use std::time::Duration;

use bucket_actor_wasm::WASM;
use bucket_client::key::KeyType;
use bucket_client::{ActorClient, Chain, ClientError, Gateway, Key, dag_json, deploy};
use bucket_core::abi::*;
use bucket_core::bucket::Bucket;
use bucket_core::cid::{CarId, Cid, NativeHasher};
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::invariants;
use bucket_core::receipt::Receipt;
use bucket_devnet::account::Account;
use bucket_devnet::handle::Handle;
use bucket_devnet::{Config, Devnet};
use bucket_indexer::Indexer;
use bucket_indexer::validate::{Verdict, validate};
use fvm_shared::address::Address;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::memory::queue;
use crate::{Refused, USERS, User, World};

/// How long the indexer may take to catch up; only a broken one takes so long.
const CATCH_UP: Duration = Duration::from_secs(60);

/// Devnet, client and indexer, all over 127.0.0.1.
pub struct NetworkWorld {
    /// The node.
    pub devnet: Handle,
    /// Where the indexer answers.
    pub gateway: Gateway,
    /// The users' clients.
    pub clients: [ActorClient; USERS.len()],
    /// The indexer's settings.
    pub config: bucket_indexer::Config,
    indexer: Option<bucket_indexer::Handle>,
    runtime: Runtime,
    data: tempfile::TempDir,
    /// The other instance of the actor, with an indexer of its own.
    other: Option<Side>,
}

/// What belongs to one instance of the actor.
struct Side {
    gateway: Gateway,
    clients: [ActorClient; USERS.len()],
    config: bucket_indexer::Config,
    indexer: Option<bucket_indexer::Handle>,
    data: tempfile::TempDir,
}

impl Side {
    fn new(runtime: &Runtime, devnet: &Handle) -> Self {
        let key = |user| account(devnet, user).and_then(|account| Ok(signer(user, &account)?)).expect("a key");
        let rpc = bucket_rpc::Client::new(devnet.url(), None).expect("a URL");
        let deployer = Chain::new(rpc.clone()).with_signer(std::sync::Arc::new(key(User::Alice)));
        let actor = runtime.block_on(deploy::deploy(&deployer, WASM)).expect("deployed").robust;
        let data = tempfile::tempdir().expect("a folder");
        let mut config = bucket_indexer::Config::new(devnet.url(), actor, data.path());
        config.listen.set_port(0);
        config.poll_interval = Duration::from_millis(20);
        let indexer = start(runtime, &config);
        let gateway = Gateway::new(&indexer.url()).expect("a URL");
        let client = |user| ActorClient::new(rpc.clone(), actor).with_signer(key(user)).with_gateway(gateway.clone());
        Self { clients: USERS.map(client), gateway, config, indexer: Some(indexer), data }
    }
}

fn account(devnet: &Handle, user: User) -> anyhow::Result<Account> {
    if user == User::Eve { devnet.eth_account(0) } else { devnet.account(user as usize) }
}

fn signer(user: User, account: &Account) -> Result<Key, bucket_client::key::KeyError> {
    let key = Key::from_secret(&account.private_key())?;
    Ok(if user == User::Eve { key.with_type(KeyType::Delegated) } else { key })
}

impl Default for NetworkWorld {
    fn default() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let devnet = Devnet::spawn(Config::default()).expect("a devnet");
        let Side { gateway, clients, config, indexer, data } = Side::new(&runtime, &devnet);
        Self { devnet, gateway, clients, config, indexer, runtime, data, other: None }
    }
}

fn start(runtime: &Runtime, config: &bucket_indexer::Config) -> bucket_indexer::Handle {
    runtime.block_on(async { Indexer::build(config.clone()).await.expect("an indexer").spawn() })
}

impl From<ClientError> for Refused {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Abort { code, message } => Refused::Abort { code, message },
            // The client knows the machine's bound and says so before it signs.
            ClientError::CarTooLarge(_) => Refused::Abort { code: 42, message: error.to_string() },
            ClientError::MessageTooLarge(_) => Refused::Unsent(error.to_string()),
            other => panic!("expected an answer of the actor, got: {other}"),
        }
    }
}

impl NetworkWorld {
    /// The actor's state root after the newest message.
    pub fn root(&self) -> Cid {
        let actor = self.clients[0].address();
        self.devnet.inspect(move |chain| Ok(chain.state()?.actor(&actor)?.1.state)).expect("the actor")
    }

    /// Stops the indexer in order, if it runs.
    pub fn stop_indexer(&mut self) {
        if let Some(indexer) = self.indexer.take() {
            self.runtime.block_on(indexer.stop()).expect("stopped in order");
        }
    }

    /// The indexer's metrics, as text.
    pub fn metrics(&self) -> String {
        let (_, body) = self.runtime.block_on(self.gateway.get("metrics", "text/plain")).expect("it answers");
        String::from_utf8(body).expect("text")
    }

    /// Stops the indexer and starts one over the data in `data`.
    pub fn restart_indexer(&mut self, data: &Path) {
        self.stop_indexer();
        self.config.data = data.to_owned();
        let indexer = start(&self.runtime, &self.config);
        self.gateway = Gateway::new(&indexer.url()).expect("a URL");
        self.clients = self.clients.clone().map(|client| client.with_gateway(self.gateway.clone()));
        self.indexer = Some(indexer);
    }

    /// Waits until the index is where the chain is.
    pub fn catch_up(&self) {
        let until = std::time::Instant::now() + CATCH_UP;
        loop {
            // Somebody else may send messages meanwhile.
            let head = self.devnet.head().expect("a head");
            let parent = serde_json::to_value(head.parents()).expect("a tipset key");
            let (_, body) =
                self.runtime.block_on(self.gateway.get("v1/buckets", "application/json")).expect("it answers");
            let answer: Value = serde_json::from_slice(&body).expect("JSON");
            let at = &answer["head"]["tipset"];
            if at.as_array().map(Vec::len) == parent.as_array().map(Vec::len) && tipset_is(at, &parent) {
                return;
            }
            if std::time::Instant::now() > until {
                let ready = self.runtime.block_on(self.gateway.get("readyz", "application/json"));
                let ready = ready.map(|(_, body)| String::from_utf8_lossy(&body).into_owned());
                panic!("the index is at {at}, the chain at {parent}; /readyz: {ready:?}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// `GET` of a bucket's route, once the index has caught up.
    pub fn index(&self, bucket: &BucketId, route: &str) -> Value {
        self.catch_up();
        self.runtime.block_on(self.gateway.json(&format!("v1/buckets/{bucket}{route}"))).expect("it answers")
    }

    /// What `bucket-indexer validate` finds.
    pub fn validate(&self) -> Verdict {
        self.catch_up();
        self.runtime.block_on(validate(&self.config)).expect("validated")
    }

    fn client(&self, user: User) -> &ActorClient {
        &self.clients[user as usize]
    }

    fn ask<T>(&self, answer: impl Future<Output = Result<T, ClientError>>) -> Result<T, Refused> {
        Ok(self.runtime.block_on(answer)?)
    }
}

/// The indexer writes CIDs as text, Lotus as `{"/": …}`.
fn tipset_is(index: &Value, lotus: &Value) -> bool {
    let (Some(index), Some(lotus)) = (index.as_array(), lotus.as_array()) else { return false };
    index.iter().zip(lotus).all(|(a, b)| *a == b["/"])
}

impl World for NetworkWorld {
    fn name(&self) -> &'static str {
        "network"
    }

    fn address(&self, user: User) -> Address {
        account(&self.devnet, user).expect("an account").address()
    }

    fn apply(&mut self, user: User, message: Message) -> Result<Returned, Refused> {
        let client = self.client(user);
        self.ask(async { Ok(client.apply(&message).await?.value) })
    }

    fn receipt(&mut self, bucket: &BucketId, car: CarId) -> Result<ReceiptReturn, Refused> {
        self.ask(self.client(User::Bob).receipt(bucket, &car))
    }

    fn bucket(&mut self, bucket: &BucketId) -> Result<Bucket, Refused> {
        self.ask(self.client(User::Bob).bucket(bucket))
    }

    /// Fetched as a user would, by the input's id, when it is the newest; an older one by its own id.
    fn receipt_car(&mut self, bucket: &BucketId, receipt: CarId) -> Receipt {
        self.catch_up();
        let bytes = self.runtime.block_on(self.gateway.fetch(&receipt)).expect("served");
        let receipt_again = Receipt::from_car::<NativeHasher>(bytes).expect("a receipt");
        let client = self.client(User::Bob);
        let newest = self.runtime.block_on(client.fetch_receipt(bucket, &receipt_again.ran)).expect("verified");
        assert!(newest.id == receipt || newest.version() > 1, "{receipt} is not what the chain committed to");
        receipt_again
    }

    fn rows(&mut self, bucket: &BucketId) -> Vec<(Ipld, Ipld)> {
        let all = self.index(bucket, "/kv?limit=1000");
        let read = |json: &Value| dag_json::from_json(json).expect("DAG-JSON");
        let rows = all["items"].as_array().expect("a list").iter().map(|row| (read(&row["key"]), read(&row["value"])));
        let of_receipts = |key: &Ipld| matches!(key, Ipld::List(list) if list.first() == Some(&Ipld::Null));
        rows.filter(|(key, _)| !of_receipts(key)).collect()
    }

    fn queue(&mut self, bucket: &BucketId) -> Vec<CarId> {
        let record = self.bucket(bucket).expect("the bucket exists");
        let on_chain = self.devnet.inspect(move |chain| Ok(queue(chain.store(), &record))).expect("readable");
        let indexed = self.index(bucket, "/queue?limit=1000");
        let indexed = indexed["items"].as_array().expect("a list").iter();
        let indexed: Vec<CarId> =
            indexed.map(|item| item["car"].as_str().expect("text").parse().expect("an id")).collect();
        assert_eq!(indexed, on_chain);
        on_chain
    }

    fn now(&mut self) -> u64 {
        self.devnet.inspect(|chain| Ok(chain.env_after_head().timestamp)).expect("the chain answers")
    }

    fn pass(&mut self, epochs: u64) {
        // All of them null rounds, but for the last.
        let nulls = epochs.saturating_sub(1);
        self.devnet.mine_null(nulls.try_into().expect("less than centuries")).expect("the chain goes on");
        self.devnet.mine(epochs.min(1)).expect("the chain goes on");
    }

    fn instance(&mut self) -> u64 {
        let actor = self.clients[0].address();
        self.devnet.inspect(move |chain| Ok(chain.state()?.actor(&actor)?.0)).expect("the actor")
    }

    fn swap(&mut self) {
        let other = self.other.take();
        let mut other = other.unwrap_or_else(|| Side::new(&self.runtime, &self.devnet));
        std::mem::swap(&mut self.gateway, &mut other.gateway);
        std::mem::swap(&mut self.clients, &mut other.clients);
        std::mem::swap(&mut self.config, &mut other.config);
        std::mem::swap(&mut self.indexer, &mut other.indexer);
        std::mem::swap(&mut self.data, &mut other.data);
        self.other = Some(other);
    }

    fn check(&mut self) -> (String, Vec<String>) {
        let root = self.root();
        let on_chain =
            self.devnet.inspect(move |chain| Ok(invariants::check::<_, NativeHasher>(chain.store(), &root)?));
        let mut violations = on_chain.expect("the state is readable");
        violations.extend(self.validate().problems);
        (root.to_string(), violations)
    }
}
