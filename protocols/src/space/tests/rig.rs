//! A bucket in memory, what a follower of it knows, and pushes to it.

use std::collections::BTreeMap;

use bucket_core::abi::{CarParams, CreateParams, Message};
use bucket_core::batch::Execution;
use bucket_core::bucket::Mode;
use bucket_core::cid::{Cid, DAG_CBOR, NativeHasher};
use bucket_core::create;
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::error::{Abort, Failure};
use bucket_core::map::Bytes;
use bucket_core::memory::Memory;
use bucket_core::prolly;
use bucket_core::receipt::Receipt;
use bucket_core::task::Task;
use bucket_core::ucan::InvocationDraft;
use fvm_shared::address::Address;

use super::{Key, Tx, s};
use crate::TABLE;
use crate::kv::charwise;
use crate::space::edit::Edit;
use crate::space::head::Head;
use crate::space::head_row;
use crate::space::push::{PUSH, Prepared, Push};

pub const ALICE: u64 = 100;

/// Every block that a replica has.
pub type Blocks = BTreeMap<Cid, Vec<u8>>;

/// A bucket, and what a follower of it knows.
pub struct Rig {
    pub memory: Memory,
    pub owner: Key,
    pub bucket: BucketId,
    pub blocks: Blocks,
    pub rows: BTreeMap<Vec<u8>, Ipld>,
    pub nonce: u64,
}

pub fn root_of(model: &BTreeMap<Vec<u8>, Ipld>) -> Cid {
    prolly::build::<NativeHasher, _, _>(model).unwrap().root
}

pub fn edit(changes: &[(&str, Option<Ipld>)]) -> Edit {
    Edit::new(changes.iter().map(|(key, value)| ((*key).to_owned(), value.clone()))).unwrap()
}

impl Rig {
    pub fn new(mode: Mode) -> Self {
        let (mut memory, owner) = (Memory::new(TABLE), Key::new(1));
        let bucket = owner.did();
        let controllers = vec![Address::new_id(ALICE)];
        let args = create::args(&controllers, mode);
        let proof = Task { sub: bucket.clone(), cmd: create::CREATE.into(), args: fields(args), nonce: vec![] };
        let proof = Some(Bytes(sign(&owner, proof, &[], Tx::default())));
        memory
            .apply(ALICE, Message::Create(CreateParams { bucket: bucket.clone(), controllers, mode, proof }))
            .unwrap();
        let (blocks, rows) = Default::default();
        Self { memory, owner, bucket, blocks, rows, nonce: 0 }
    }

    pub fn task(&mut self, args: BTreeMap<String, Ipld>) -> Task {
        self.nonce += 1;
        Task { sub: self.bucket.clone(), cmd: PUSH.into(), args, nonce: self.nonce.to_be_bytes().to_vec() }
    }

    /// The head as the index has it.
    pub fn head(&self) -> Head {
        let row = charwise::encode(&head_row()).unwrap().into_bytes();
        self.rows.get(&row).map_or_else(Head::empty::<NativeHasher>, |row| Head::from_ipld(row).unwrap())
    }

    pub fn prepare(&self, base: Cid, edit: Edit, upto: Option<u64>) -> Prepared {
        Push { base, edit, upto }.prepare::<NativeHasher>(&self.blocks).unwrap()
    }

    pub fn invoke(&mut self, caller: u64, car: Vec<u8>) -> Result<Option<Execution>, Abort> {
        let params = CarParams { bucket: self.bucket.clone(), car, force: false, hook: None };
        let mut ran = self.memory.apply(caller, Message::Invoke(params))?.ran;
        if let Some(ran) = ran.first() {
            self.take_in(ran);
        }
        Ok(ran.pop())
    }

    pub fn take_in(&mut self, ran: &Execution) {
        for op in ran.ops.clone() {
            assert_eq!(op.protocol, "space");
            match op.value {
                Some(value) => drop(self.rows.insert(op.key, value)),
                None => drop(self.rows.remove(&op.key)),
            }
        }
        self.blocks.extend(ran.blocks.clone());
    }

    /// Alice's push of raw arguments.
    pub fn ask(&mut self, args: BTreeMap<String, Ipld>, tx: Tx) -> Result<Ipld, Failure> {
        let car = self.task(args).to_car_with(tx);
        out(&self.invoke(ALICE, car).unwrap().unwrap())
    }

    /// Alice's push, with all that it needs.
    pub fn push(&mut self, prepared: &Prepared) -> Result<Head, Failure> {
        let head = self.ask(prepared.push.args(), prepared.blocks([]))?;
        Ok(Head::from_ipld(&head).unwrap())
    }

    /// The same on the current head.
    pub fn edit(&mut self, changes: &[(&str, Option<Ipld>)]) -> Head {
        let prepared = self.prepare(self.head().root, edit(changes), None);
        self.push(&prepared).unwrap()
    }

    /// A tree of several levels.
    pub fn fill(&mut self) {
        for part in 0..8 {
            let put = |n: usize| (format!("/filled/{:05}", part * 200 + n), Some(s(&"v".repeat(80))));
            let edit = Edit::new((0..200).map(put)).unwrap();
            let prepared = self.prepare(self.head().root, edit, None);
            self.push(&prepared).unwrap();
        }
    }
}

pub fn fields(value: Ipld) -> BTreeMap<String, Ipld> {
    if let Ipld::Map(map) = value { map } else { panic!("{value:?}") }
}

pub fn out(ran: &Execution) -> Result<Ipld, Failure> {
    Receipt::from_car::<NativeHasher>(ran.receipt_car.clone()).unwrap().out
}

/// A CAR of a task that `key` signs.
pub fn sign(key: &Key, task: Task, proofs: &[Vec<u8>], mut tx: Tx) -> Vec<u8> {
    let prf = proofs.iter().map(|proof| tx.write_block(DAG_CBOR, proof)).collect();
    let iss = key.did();
    let draft = InvocationDraft { iss, aud: None, task, prf, meta: None, exp: None, iat: None, cause: None };
    tx.write_block(DAG_CBOR, &key.seal(&draft));
    tx.commit().unwrap()
}
