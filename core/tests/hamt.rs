//! Our HAMT against `fvm_ipld_hamt`: the same entries, the same blocks, whatever happened before.

use std::collections::BTreeMap;

use bucket_core::cid::{Hasher, NativeHasher};
use bucket_core::hamt::{BIT_WIDTH, Hamt};
use cid::Cid;
use fvm_ipld_blockstore::{Block, Blockstore, MemoryBlockstore};
use fvm_ipld_hamt::{BytesKey, Config};
use multihash_codetable::Code;
use proptest::prelude::*;

type Ours<'s> = Hamt<'s, MemoryBlockstore, NativeHasher>;
type Theirs<'s> = fvm_ipld_hamt::Hamt<&'s MemoryBlockstore, u64>;

const CONFIG: Config = Config { bit_width: BIT_WIDTH as u32, min_data_depth: 0, max_array_width: 1 };

#[derive(Debug, Clone)]
enum Edit {
    Set(u16, u64),
    Delete(u16),
    Flush,
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        6 => (0u16..400, 0u64..3).prop_map(|(key, value)| Edit::Set(key, value)),
        3 => (0u16..400).prop_map(Edit::Delete),
        1 => Just(Edit::Flush),
    ]
}

fn encoded(value: u64) -> Vec<u8> {
    fvm_ipld_encoding::to_vec(&value).unwrap()
}

fn entries(map: &Ours<'_>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut all = BTreeMap::new();
    map.each(&mut |key, value| {
        assert!(all.insert(key.to_vec(), value.to_vec()).is_none());
        Ok(())
    })
    .unwrap();
    all
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn writes_what_the_crate_writes(edits in proptest::collection::vec(edit(), 0..300)) {
        let store = MemoryBlockstore::new();
        let mut ours = Ours::empty(&store);
        let mut theirs = Theirs::new_with_config(&store, CONFIG);
        let mut model = BTreeMap::new();
        for edit in edits {
            match edit {
                Edit::Set(key, value) => {
                    let key = key.to_be_bytes();
                    ours.set(&key, &encoded(value)).unwrap();
                    theirs.set(BytesKey(key.to_vec()), value).unwrap();
                    model.insert(key.to_vec(), encoded(value));
                }
                Edit::Delete(key) => {
                    let key = key.to_be_bytes();
                    let found = ours.delete(&key).unwrap();
                    prop_assert_eq!(found, theirs.delete(&key[..]).unwrap().is_some());
                    prop_assert_eq!(found, model.remove(&key[..]).is_some());
                }
                Edit::Flush => {
                    let root = ours.flush().unwrap();
                    prop_assert_eq!(root, theirs.flush().unwrap());
                    ours = Ours::load(&store, &root).unwrap();
                    theirs = Theirs::load_with_config(&root, &store, CONFIG).unwrap();
                }
            }
        }
        for key in (0u16..400).map(u16::to_be_bytes) {
            prop_assert_eq!(ours.get(&key).unwrap(), model.get(&key[..]).map(Vec::as_slice));
        }
        prop_assert_eq!(&entries(&ours), &model);
        let root = ours.flush().unwrap();
        prop_assert_eq!(root, theirs.flush().unwrap());

        // The form depends on the entries alone.
        let mut fresh = Ours::empty(&store);
        model.iter().rev().for_each(|(key, value)| fresh.set(key, value).unwrap());
        prop_assert_eq!(fresh.flush().unwrap(), root);
        prop_assert_eq!(&entries(&Ours::load(&store, &root).unwrap()), &model);
    }

    #[test]
    fn noise_is_an_error(noise in proptest::collection::vec(any::<u8>(), 0..80)) {
        let store = MemoryBlockstore::new();
        let root = store.put(Code::Blake2b256, &Block::new(0x71, &noise[..])).unwrap();
        if let Ok(map) = Ours::load(&store, &root) {
            let _ = map.get(b"key");
        }
    }
}

#[test]
fn what_is_unchanged_is_not_written_again() {
    let store = MemoryBlockstore::new();
    let mut map = Ours::empty(&store);
    (0u16..100).for_each(|key| map.set(&key.to_be_bytes(), &encoded(1)).unwrap());
    let root = map.flush().unwrap();
    let counting = Counting { store: &store, puts: Default::default() };
    let mut map: Hamt<'_, Counting<'_>, NativeHasher> = Hamt::load(&counting, &root).unwrap();
    map.set(&7u16.to_be_bytes(), &encoded(1)).unwrap();
    assert!(!map.delete(b"absent").unwrap());
    assert_eq!((map.flush().unwrap(), counting.puts.get()), (root, 0));
    map.set(&7u16.to_be_bytes(), &encoded(2)).unwrap();
    map.flush().unwrap();
    assert!((1..6).contains(&counting.puts.get()), "one path: {}", counting.puts.get());
}

struct Counting<'s> {
    store: &'s MemoryBlockstore,
    puts: std::cell::Cell<usize>,
}

impl Blockstore for Counting<'_> {
    fn get(&self, cid: &Cid) -> anyhow::Result<Option<Vec<u8>>> {
        self.store.get(cid)
    }

    fn put_keyed(&self, cid: &Cid, block: &[u8]) -> anyhow::Result<()> {
        self.puts.set(self.puts.get() + 1);
        self.store.put_keyed(cid, block)
    }
}

#[test]
fn broken_nodes_say_what_is_wrong() {
    let store = MemoryBlockstore::new();
    let put = |block: &[u8]| store.put(Code::Blake2b256, &Block::new(0x71, block)).unwrap();
    let missing = bucket_core::cid::sha2_cid(0x71, &NativeHasher::sha2_256(b"missing"));
    let cases: [(Cid, &str); 5] = [
        (missing, "is missing"),
        (put(&[0x82, 0x42, 1, 1, 0x80]), "node of 8 slots, got one of 16"),
        (put(&[0x82, 0x41, 3, 0x80]), "a list of 2 items"),
        (put(&[0x82, 0x40, 0x80, 0]), "1 more bytes"),
        (put(&[0x81, 0x40]), "a list of 2 items"),
    ];
    for (root, why) in cases {
        let error = Ours::load(&store, &root).err().expect("an error");
        assert!(error.contains(why), "{error}");
    }
}
