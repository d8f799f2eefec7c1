//! Random batches against a `BTreeMap`.

use std::collections::BTreeMap;

use bucket_core::abi::{CarParams, CreateParams, Message};
use bucket_core::bucket::{Entries, Mode};
use bucket_core::cid::{Cid, Hasher as _, NativeHasher};
use bucket_core::did::BucketId;
use bucket_core::error::Failure;
use bucket_core::memory::Memory;
use bucket_core::receipt::Receipt;
use bucket_core::task::Task;
use proptest::prelude::*;

use super::*;
use crate::TABLE;

const ALICE: u64 = 100;

/// What a bucket should hold: the value under each encoded key.
type Model = BTreeMap<Vec<u8>, Ipld>;

struct Store {
    memory: Memory,
    bucket: BucketId,
    rows: Model,
    runs: u64,
}

impl Store {
    fn new() -> Self {
        let bucket: BucketId = "did:key:zModel".parse().unwrap();
        let mut memory = Memory::new(TABLE);
        let create = CreateParams { bucket: bucket.clone(), controllers: vec![], mode: Mode::Atomic, proof: None };
        memory.apply(ALICE, Message::Create(create)).unwrap();
        Self { memory, bucket, rows: Model::new(), runs: 0 }
    }

    /// Invokes `/kv/batch`, takes in its rows, and answers the receipt's `out`.
    fn batch(&mut self, ops: Vec<Ipld>) -> Result<Ipld, Failure> {
        let args = [("ops".to_owned(), Ipld::List(ops))].into();
        let nonce = self.runs.to_be_bytes().to_vec();
        self.runs += 1;
        let task = Task { sub: self.bucket.clone(), cmd: "/kv/batch".into(), args, nonce };
        let params =
            CarParams { bucket: self.bucket.clone(), car: task.to_car::<NativeHasher>(), force: false, hook: None };
        let [ran] = self.memory.apply(ALICE, Message::Invoke(params)).unwrap().ran.try_into().unwrap();
        for op in ran.ops {
            match op.value {
                Some(value) => drop(self.rows.insert(op.key, value)),
                None => drop(self.rows.remove(&op.key)),
            }
        }
        Receipt::from_car::<NativeHasher>(ran.receipt_car).unwrap().out
    }

    fn root(&self) -> Cid {
        self.memory.bucket(&self.bucket).unwrap().root
    }

    /// What state holds, without the protocol's number.
    fn stored(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let entries = Entries::<_, NativeHasher>::load(self.memory.store(), &self.root(), "entries").unwrap();
        let mut stored = BTreeMap::new();
        let each = entries.each(|key, value| {
            assert_eq!(key[0], 1);
            stored.insert(key[1..].to_vec(), value.0.clone());
        });
        each.unwrap();
        stored
    }
}

fn op(kind: &str, key: &Ipld, value: Option<&Ipld>) -> Ipld {
    let fields = [("type", Some(Ipld::String(kind.into()))), ("key", Some(key.clone())), ("value", value.cloned())];
    Ipld::Map(fields.into_iter().filter_map(|(field, value)| Some((field.to_owned(), value?))).collect())
}

/// Few keys, so that they meet: some equal in JavaScript, some reserved, ambiguous, or no keys at all.
fn keys() -> impl Strategy<Value = Ipld> {
    let one = prop_oneof![
        Just(Ipld::Null),
        any::<bool>().prop_map(Ipld::Bool),
        (-3i128..4).prop_map(Ipld::Integer),
        (-3i8..4).prop_map(|n| Ipld::Float(n.into())),
        "[a?!\"%]{0,2}".prop_map(Ipld::String),
    ];
    let list = proptest::collection::vec(one.clone(), 0..3).prop_map(Ipld::List);
    prop_oneof![12 => one, 4 => list, 1 => Just(Ipld::Bytes(vec![1])), 1 => Just(Ipld::Integer(1 << 60))]
}

/// Around the length from which a value is in state by its hash.
fn values() -> impl Strategy<Value = Ipld> {
    let bytes = proptest::collection::vec(any::<u8>(), INLINE_BYTES_MAX - 4..INLINE_BYTES_MAX + 4);
    prop_oneof![any::<i64>().prop_map(|n| Ipld::Integer(n.into())), bytes.prop_map(Ipld::Bytes)]
}

type Ops = Vec<(Ipld, Option<Ipld>)>;

fn batches() -> impl Strategy<Value = Vec<Ops>> {
    let op = (keys(), proptest::option::weighted(0.6, values()));
    proptest::collection::vec(proptest::collection::vec(op, 0..12), 1..8)
}

fn usable(key: &Ipld) -> Option<Vec<u8>> {
    let reserved = matches!(key, Ipld::List(list) if list.first() == Some(&Ipld::Null));
    charwise::encode(key).ok().filter(|_| !reserved).map(String::into_bytes)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// Rows and state are the model's; a batch with one bad key changes nothing; and the root tells what is there, not how
    /// it came to be.
    #[test]
    fn a_bucket_is_a_map(batches in batches()) {
        let mut store = Store::new();
        let mut model = Model::new();
        for batch in batches {
            let ops = batch.iter().map(|(key, value)| {
                op(if value.is_some() { "put" } else { "del" }, key, value.as_ref())
            });
            let out = store.batch(ops.collect());
            if let Some(keys) = batch.iter().map(|(key, _)| usable(key)).collect::<Option<Vec<_>>>() {
                let puts = batch.iter().filter(|(_, value)| value.is_some()).count();
                let counts = [("put", puts), ("del", batch.len() - puts)];
                let counts = counts.map(|(key, n)| (key.to_owned(), Ipld::Integer(n as i128)));
                prop_assert_eq!(out, Ok(Ipld::Map(counts.into())));
                for (key, (_, value)) in keys.into_iter().zip(batch) {
                    match value {
                        Some(value) => drop(model.insert(key, value)),
                        None => drop(model.remove(&key)),
                    }
                }
            } else {
                let name = out.unwrap_err().name;
                prop_assert!(["KeyReserved", "KeyInvalid"].contains(&&*name), "{}", name);
            }
            prop_assert_eq!(&store.rows, &model);
        }

        let stored = |value: &Ipld| {
            let bytes = dag_cbor::encode(value);
            let hash = || [&[HASHED], &NativeHasher::sha2_256(&bytes)[..]].concat();
            if bytes.len() <= 32 { bytes } else { hash() }
        };
        let expected: BTreeMap<_, _> = model.iter().map(|(key, value)| (key.clone(), stored(value))).collect();
        prop_assert_eq!(store.stored(), expected);

        let mut fresh = Store::new();
        let decode = |key: &[u8]| charwise::decode(std::str::from_utf8(key).unwrap()).unwrap();
        let all = model.iter().rev().map(|(key, value)| op("put", &decode(key), Some(value)));
        prop_assert!(fresh.batch(all.collect()).is_ok());
        prop_assert_eq!(store.root(), fresh.root());
    }
}

#[test]
fn a_batch_is_bounded() {
    let mut store = Store::new();
    let mut batch =
        |count: i128| store.batch((1..=count).map(|key| op("put", &Ipld::Integer(key), Some(&Ipld::Null))).collect());
    assert!(batch(BATCH_OPS_MAX as i128).is_ok());
    let failure = batch(BATCH_OPS_MAX as i128 + 1).unwrap_err();
    assert_eq!(
        (failure.name.as_str(), failure.message.as_str()),
        ("BatchTooLarge", "expected at most 256 ops in a batch, got 257")
    );
}

#[test]
fn a_key_of_a_few_bytes_does_not_become_megabytes() {
    let mut store = Store::new();
    let key = Ipld::List(vec![Ipld::Integer(1); 50_000]);
    let failure = store.batch(vec![op("del", &key, None)]).unwrap_err();
    assert_eq!(failure.name, "KeyTooLong");
    assert!(failure.message.ends_with("got 100001 or more"), "{failure}");
    let failure = store.batch(vec![op("del", &Ipld::List(vec![Ipld::Integer(1); 40]), None)]).unwrap_err();
    assert!(failure.name == "KeyTooLong" && failure.message.ends_with("got 1161"), "{failure}");
}
