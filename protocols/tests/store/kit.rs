//! Keys, a bucket in memory whose service may store for it, and what is asked of it.

use std::collections::BTreeMap;

use bucket_core::abi::{CarParams, CreateParams, Message};
use bucket_core::batch::Execution;
use bucket_core::bucket::Mode;
use bucket_core::car::Transaction;
use bucket_core::cid::{CarId, Cid, DAG_CBOR, NativeHasher, block_cid};
use bucket_core::create;
use bucket_core::dag_cbor::{self, Ipld};
use bucket_core::did::BucketId;
use bucket_core::error::{Abort, Failure};
use bucket_core::map::Bytes;
use bucket_core::memory::Memory;
use bucket_core::receipt::Receipt;
use bucket_core::task::Task;
use bucket_core::ucan::{DelegationDraft, InvocationDraft, Policy, PublicKey};
use bucket_protocols::kv::charwise;
use bucket_protocols::store::event::{DONE, EXCEED, EXPIRE, PUT, RECEIVE};
use bucket_protocols::store::{Row, Upload};
use bucket_protocols::{TABLE, store};
use ed25519_dalek::{Signer as _, SigningKey};

use crate::spec::Event;

pub const ALICE: u64 = 100;
pub const CARRIER: u64 = 101;

/// A key that can sign.
#[derive(Clone)]
pub struct Key(SigningKey);

impl Key {
    pub fn new(seed: u8) -> Self {
        Self(SigningKey::from_bytes(&[seed; 32]))
    }

    fn public(&self) -> PublicKey {
        PublicKey::Ed25519(self.0.verifying_key().to_bytes())
    }

    pub fn did(&self) -> BucketId {
        self.public().to_did()
    }

    /// A delegation of `cmd` on `bucket`.
    pub fn delegate(&self, aud: &Key, bucket: &BucketId, cmd: &str) -> Vec<u8> {
        let (sub, nonce) = (Some(bucket.clone()), b"n".to_vec());
        let (iss, aud, cmd, pol) = (self.did(), aud.did(), cmd.to_owned(), Policy::default());
        let draft = DelegationDraft { iss, aud, sub, cmd, pol, nonce, meta: None, nbf: None, exp: None };
        draft.seal(&self.public(), |message| self.0.sign(message).to_bytes().to_vec())
    }

    /// A CAR of a task that this key signs, with its proofs.
    pub fn sign(&self, task: Task, proofs: &[Vec<u8>]) -> Vec<u8> {
        let prf = proofs.iter().map(|proof| block(proof)).collect();
        let draft =
            InvocationDraft { iss: self.did(), aud: None, task, prf, meta: None, exp: None, iat: None, cause: None };
        let mut transaction = Transaction::<NativeHasher>::default();
        for proof in proofs {
            transaction.write_block(DAG_CBOR, proof);
        }
        let invocation = draft.seal(&self.public(), |message| self.0.sign(message).to_bytes().to_vec());
        transaction.write_block(DAG_CBOR, &invocation);
        transaction.commit().unwrap()
    }
}

pub fn block(bytes: &[u8]) -> Cid {
    block_cid::<NativeHasher>(DAG_CBOR, bytes)
}

/// The CAR that entry number `n` is about.
pub fn link(n: u8) -> CarId {
    CarId::of::<NativeHasher>(&[n])
}

pub fn upload(n: u64) -> Upload {
    Upload { url: format!("https://example.com/{n}"), headers: [("x-n".to_owned(), n.to_string())].into() }
}

/// The protocol's event for the requirements'.
pub fn real(event: Event) -> store::Event {
    match event {
        Event::Add(size) => store::Event::Add { size },
        Event::Exceed(attempt) => store::Event::Exceed { attempt },
        Event::Receive(attempt) => {
            let upload = upload(attempt);
            store::Event::Receive { attempt, block: block(&upload.to_block()), upload }
        }
        Event::Expire(attempt) => store::Event::Expire { attempt },
        Event::Put(attempt) => store::Event::Put { attempt },
        Event::Done(attempt) => store::Event::Done { attempt, effect: 6 },
    }
}

pub type Out = Result<Ipld, Failure>;

/// A bucket in memory, with the rows that an index would have.
pub struct Bucket {
    pub memory: Memory,
    pub key: Key,
    pub service: Key,
    /// The service's delegation of `/store`.
    pub proof: Vec<u8>,
    pub rows: BTreeMap<Vec<u8>, Ipld>,
    pub blocks: BTreeMap<Cid, Vec<u8>>,
    nonce: u64,
}

impl Bucket {
    /// A bucket that Alice controls, with a service.
    pub fn new(mode: Mode) -> Self {
        let mut bucket = Self::without_service(mode);
        let task = store::provide(&bucket.did(), &bucket.service.did(), vec![block(&bucket.proof)], vec![]);
        let mut transaction = Transaction::<NativeHasher>::default();
        transaction.write_block(DAG_CBOR, &bucket.proof);
        let out = bucket.invoke(ALICE, task.to_car_with(transaction));
        assert!(out.unwrap().unwrap().is_ok());
        bucket
    }

    pub fn without_service(mode: Mode) -> Self {
        let (key, service) = (Key::new(1), Key::new(2));
        let did = key.did();
        let mut memory = Memory::new(TABLE);
        let controllers = vec![fvm_shared::address::Address::new_id(ALICE)];
        let (cmd, nonce) = (create::CREATE.to_owned(), vec![]);
        let Ipld::Map(args) = create::args(&controllers, mode) else { panic!("a map") };
        let proof = key.sign(Task { sub: did.clone(), cmd, args, nonce }, &[]);
        let create = CreateParams { bucket: did.clone(), controllers, mode, proof: Some(Bytes(proof)) };
        memory.apply(ALICE, Message::Create(create)).unwrap();
        let proof = key.delegate(&service, &did, "/store");
        Self { memory, key, service, proof, rows: BTreeMap::new(), blocks: BTreeMap::new(), nonce: 0 }
    }

    pub fn did(&self) -> BucketId {
        self.key.did()
    }

    /// A nonce that was not used before.
    pub fn nonce(&mut self) -> Vec<u8> {
        self.nonce += 1;
        self.nonce.to_be_bytes().to_vec()
    }

    /// Takes in what the index would.
    pub fn index(&mut self, ran: Vec<Execution>) -> Vec<Out> {
        let mut outs = vec![];
        for ran in ran {
            for op in ran.ops {
                assert_eq!(op.protocol, "store");
                match op.value {
                    // As it comes back from a database.
                    Some(value) => drop(self.rows.insert(op.key, dag_cbor::decode(&dag_cbor::encode(&value)).unwrap())),
                    None => drop(self.rows.remove(&op.key)),
                }
            }
            for (cid, bytes) in ran.blocks {
                assert_eq!(block(&bytes), cid);
                self.blocks.insert(cid, bytes);
            }
            outs.push(Receipt::from_car::<NativeHasher>(ran.receipt_car).unwrap().out);
        }
        outs
    }

    /// Sends a CAR. `None` when it was known already.
    pub fn invoke(&mut self, sender: u64, car: Vec<u8>) -> Result<Option<Out>, Abort> {
        let params = CarParams { bucket: self.did(), car, force: false, hook: None };
        let ran = self.memory.apply(sender, Message::Invoke(params))?.ran;
        Ok(self.index(ran).pop())
    }

    /// A new task of Alice.
    pub fn ask(&mut self, task: Task) -> Out {
        self.invoke(ALICE, task.to_car::<NativeHasher>()).unwrap().expect("a new nonce")
    }

    pub fn add(&mut self, n: u8, size: u64) -> Out {
        let nonce = self.nonce();
        self.ask(store::add(&self.did(), link(n), size, nonce))
    }

    /// An event that the service signs.
    pub fn event(&mut self, n: u8, attempt: u64, cmd: &str, args: BTreeMap<String, Ipld>) -> Out {
        let nonce = self.nonce();
        let task = store::event(&self.did(), link(n), attempt, cmd, args, nonce);
        let car = self.service.sign(task, std::slice::from_ref(&self.proof));
        self.invoke(CARRIER, car).unwrap().expect("a new nonce")
    }

    /// An event as who may sends it: Alice adds, the service does the rest.
    pub fn send(&mut self, n: u8, event: Event) -> Out {
        let none = BTreeMap::new();
        match event {
            Event::Add(size) => self.add(n, size),
            Event::Exceed(attempt) => self.event(n, attempt, EXCEED, none),
            Event::Receive(attempt) => {
                self.event(n, attempt, RECEIVE, [("upload".to_owned(), upload(attempt).to_ipld())].into())
            }
            Event::Expire(attempt) => self.event(n, attempt, EXPIRE, none),
            Event::Put(attempt) => self.event(n, attempt, PUT, none),
            Event::Done(attempt) => self.event(n, attempt, DONE, [("effect".to_owned(), Ipld::Integer(6))].into()),
        }
    }

    /// All rows, as clients read them.
    pub fn read_rows(&self) -> Vec<Row> {
        let row = |(key, value): (&Vec<u8>, &Ipld)| {
            let key = charwise::decode(std::str::from_utf8(key).unwrap()).unwrap();
            Row::read("store", &key, value).unwrap().unwrap()
        };
        self.rows.iter().map(row).collect()
    }

    pub fn entry(&self, n: u8) -> Option<store::Entry> {
        let mut rows = self.read_rows().into_iter();
        rows.find_map(|row| match row {
            Row::Entry(entry) if entry.car.is_some_and(|(car, _)| car == link(n)) => Some(entry),
            _ => None,
        })
    }

    pub fn outbox(&self, n: u8) -> Option<store::Outbox> {
        let mut rows = self.read_rows().into_iter();
        rows.find_map(|row| match row {
            Row::Outbox(outbox) if outbox.link == link(n) => Some(outbox),
            _ => None,
        })
    }
}
