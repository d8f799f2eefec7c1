//! An index that is filled by applying messages: the machine in memory is the chain, the replay fills the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bucket_core::abi::{CarParams, CreateParams, Message, RunParams, Wire};
use bucket_core::bucket::Mode;
use bucket_core::car::Transaction;
use bucket_core::cid::{CarId, NativeHasher};
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::memory::Memory;
use bucket_core::task::Task;
use bucket_protocols::TABLE;
use bucket_rpc::json::blake2b_cid;
use fvm_shared::address::Address;
use tempfile::TempDir;

use crate::blocks::Blocks;
use crate::cars::Cars;
use crate::replay::{Input, Moment, empty_state, replay};
use crate::store::{Batch, Halt, Range, Row, Sqlite, Store, Tipset};

/// Who sends in tests.
pub const ALICE: u64 = 1001;

/// Actors that call in tests; messages elsewhere go to the first.
pub const OTHERS: [u64; 3] = [99, 77, 78];

/// A bucket's DID by a short name.
pub fn did(name: &str) -> BucketId {
    format!("did:example:{name}").parse().unwrap()
}

/// A text as a value.
pub fn s(text: &str) -> Ipld {
    Ipld::String(text.into())
}

/// A list as a value.
pub fn list<const N: usize>(items: [Ipld; N]) -> Ipld {
    Ipld::List(items.into())
}

pub fn create(bucket: &str) -> Message {
    Message::Create(CreateParams { bucket: did(bucket), controllers: vec![], mode: Mode::Atomic, proof: None })
}

/// A bucket that these control besides.
pub fn create_for(bucket: &str, others: &[u64]) -> Message {
    let controllers = others.iter().chain([&ALICE]).map(|id| Address::new_id(*id)).collect();
    Message::Create(CreateParams { bucket: did(bucket), controllers, mode: Mode::Atomic, proof: None })
}

fn task(bucket: &str, cmd: &str, args: &[(&str, Ipld)]) -> Task {
    let args = args.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    Task { sub: did(bucket), cmd: cmd.into(), args, nonce: vec![] }
}

/// The CAR of `/kv/put`.
pub fn put_car(bucket: &str, key: Ipld, value: Ipld) -> Vec<u8> {
    task(bucket, "/kv/put", &[("key", key), ("value", value)]).to_car::<NativeHasher>()
}

pub fn put(bucket: &str, key: Ipld, value: Ipld) -> Message {
    Message::Invoke(CarParams::new(did(bucket), put_car(bucket, key, value)))
}

pub fn force(bucket: &str, key: Ipld, value: Ipld) -> Message {
    Message::Invoke(CarParams { force: true, ..CarParams::new(did(bucket), put_car(bucket, key, value)) })
}

pub fn del(bucket: &str, key: Ipld) -> Message {
    let car = task(bucket, "/kv/del", &[("key", key)]).to_car::<NativeHasher>();
    Message::Invoke(CarParams::new(did(bucket), car))
}

pub fn schedule(bucket: &str, key: Ipld, value: Ipld) -> Message {
    Message::Schedule(CarParams::new(did(bucket), put_car(bucket, key, value)))
}

pub fn run(bucket: &str, max: u64) -> Message {
    Message::Run(RunParams { bucket: did(bucket), max })
}

/// A CAR of two blocks: a value, and a task that links to it.
pub fn linked_car(bucket: &str, key: Ipld, value: &Ipld) -> Vec<u8> {
    let mut transaction = Transaction::<NativeHasher>::default();
    let link = transaction.write(value);
    task(bucket, "/kv/put", &[("key", key), ("value", Ipld::Link(link))]).to_car_with(transaction)
}

/// The id of a CAR.
pub fn id(car: &[u8]) -> CarId {
    CarId::of::<NativeHasher>(car)
}

/// The index.
pub struct Rig {
    pub dir: TempDir,
    pub store: Arc<Sqlite>,
    pub cars: Cars,
    pub blocks: Blocks,
    pub chain: Memory,
    messages: u64,
}

impl Rig {
    /// An index that begins after tipset “base” at epoch 0.
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Sqlite::open(&dir.path().join("index.sqlite")).await.unwrap());
        let (state, blocks) = empty_state().unwrap();
        let base = Tipset { key: "base".into(), parent: String::new(), height: 0, nulls: 0, state };
        store.begin(&base, &blocks).await.unwrap();
        let cars = Cars::open(&dir.path().join("cars")).unwrap();
        let blocks = Blocks::new(store.clone());
        Self { dir, store, cars, blocks, chain: Memory::new(TABLE), messages: 0 }
    }

    /// What a tipset adds, without adding it.
    pub async fn batch(&mut self, key: &str, height: i64, messages: &[Message]) -> (Batch, Vec<(CarId, Vec<u8>)>) {
        let head = self.store.head().await.unwrap().unwrap();
        self.chain.root = head.state;
        self.chain.epoch = height;
        // The machine in memory knows only what it did itself.
        let mut inputs = Vec::new();
        for message in messages {
            self.messages += 1;
            let applied = self.chain.apply(ALICE, message.clone()).unwrap();
            inputs.push(Input {
                cid: blake2b_cid(&self.messages.to_be_bytes()),
                this: self.chain.this,
                caller: ALICE,
                origin: ALICE,
                value: false,
                message: Ok(message.clone()),
                wire: Wire::Native,
                addresses: BTreeMap::new(),
                returned: applied.returned.encode().to_vec(),
            });
        }
        let (blocks, root) = (self.blocks.clone(), head.state);
        let when = Moment { epoch: height, timestamp: 0 };
        let replayed = move || replay(blocks, root, when, &inputs, &BTreeSet::new()).unwrap();
        let replayed = tokio::task::spawn_blocking(replayed).await.unwrap();
        assert_eq!(replayed.halts, [], "nothing differs");
        assert_eq!(replayed.state, self.chain.root, "the replay's state is the chain's");
        let nulls = height - head.height - 1;
        let tipset = Tipset { key: key.into(), parent: head.key, height, nulls, state: replayed.state };
        let (cars, files) = replayed.cars.into_iter().map(|(map, bytes)| (map.clone(), (map.id, bytes))).unzip();
        let (blocks, created, executed) = (replayed.blocks, replayed.created, replayed.executed);
        (Batch { tipset, blocks, created, executed, cars, halts: vec![] }, files)
    }

    /// Adds a tipset.
    pub async fn tipset(&mut self, key: &str, height: i64, messages: &[Message]) -> Batch {
        self.tipset_with(key, height, messages, vec![]).await
    }

    /// Adds a tipset with halts.
    pub async fn tipset_with(&mut self, key: &str, height: i64, messages: &[Message], halts: Vec<Halt>) -> Batch {
        let (mut batch, files) = self.batch(key, height, messages).await;
        batch.halts = halts;
        self.cars.put_all(files).await.unwrap();
        self.store.commit(&batch).await.unwrap();
        batch
    }

    /// A bucket's rows under keys that are strings: keys and values as text.
    pub async fn rows(&self, bucket: &str) -> Vec<(String, String)> {
        let (from, to) = (b"J".to_vec(), Some(b"K".to_vec()));
        let range = Range { from, to, limit: 1000, bytes: usize::MAX, ..Range::default() };
        let page = self.store.rows(&did(bucket), &range).await.unwrap().unwrap();
        page.rows.iter().map(shown).collect()
    }
}

/// A row as text.
pub fn shown(row: &Row) -> (String, String) {
    let key = String::from_utf8(row.key.clone()).unwrap();
    let value = bucket_core::dag_cbor::decode(&row.value).unwrap();
    (
        key,
        match value {
            Ipld::String(text) => text,
            other => format!("{other:?}"),
        },
    )
}
