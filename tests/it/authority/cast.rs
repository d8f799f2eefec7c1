//! The bucket, and who has rights on it.

use bucket_client::Identity;
use bucket_core::abi::{CarParams, CreateParams, Message};
use bucket_core::bucket::Mode;
use bucket_core::cid::NativeHasher;
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::map::Bytes;
use bucket_core::memory::Memory;
use bucket_protocols::TABLE;
use bucket_tests::cars::{did, map, put, task, text};
use bucket_tests::keys::{KINDS, chain, cid, creation, ed25519, key, signed};
use fvm_shared::address::Address;

use super::{ALICE, BOB, EVE};

/// Who has rights on the victim, and what they do with them.
pub struct Cast {
    pub victim: BucketId,
    /// A bucket that Bob controls.
    pub strangers: BucketId,
    pub stranger: Identity,
    /// Somebody whose delegation is revoked from the beginning.
    pub former: Identity,
    pub former_proofs: Vec<Vec<u8>>,
    /// Valid CARs; those that are unsigned are Alice's.
    pub rightful: Vec<Vec<u8>>,
    pub creation: Vec<u8>,
}

impl Cast {
    pub fn new() -> Self {
        let owner = ed25519(1);
        let victim = owner.did();
        let (second, third) = (key(KINDS[1], 2), key(KINDS[2], 3));
        let (stranger, former) = (ed25519(66), ed25519(5));
        let chains = [vec![&owner], vec![&owner, &second], vec![&owner, &second, &third]];
        let job = |n: u64| {
            let args = map([("key", Ipld::Integer((n % 5).into())), ("value", Ipld::Integer(n.into()))]);
            task(&victim, "/kv/put", args, n)
        };
        let mut rightful: Vec<Vec<u8>> = (0..12)
            .map(|n| {
                let keys = &chains[n as usize % 3];
                signed(keys[keys.len() - 1], job(n), &chain(keys, "/kv"))
            })
            .collect();
        rightful.extend((12..16).map(|n| put(&victim, Ipld::Integer((n % 5).into()), text("Alice's"), n as u64)));
        let former_proofs = chain(&[&owner, &former], "/");
        let creation = creation(&owner, &[address(ALICE)], Mode::Atomic);
        Self { victim, strangers: did("Strangers"), stranger, former, former_proofs, rightful, creation }
    }

    /// The buckets, and the revocation.
    pub fn begin(&self) -> Memory {
        let mut memory = Memory::new(TABLE);
        memory.timestamp = 1_700_000_000;
        let mut other = Memory::new(TABLE);
        other.this += 1;
        memory.instances.get_mut().insert(other.this, other);
        let create = |bucket: &BucketId, controller, proof: Option<&Vec<u8>>| {
            let proof = proof.cloned().map(Bytes);
            let controllers = vec![address(controller)];
            Message::Create(CreateParams { bucket: bucket.clone(), controllers, mode: Mode::Atomic, proof })
        };
        memory.apply(EVE, create(&self.victim, ALICE, Some(&self.creation))).expect("created");
        memory.apply(BOB, create(&self.strangers, BOB, None)).expect("created");
        let revoked = Ipld::Link(cid(&self.former_proofs[0]));
        let revoke = task(&self.victim, "/ucan/revoke", map([("ucan", revoked)]), 0).to_car::<NativeHasher>();
        memory.apply(ALICE, invoke(&self.victim, revoke)).expect("revoked");
        memory
    }
}

pub fn address(id: u64) -> Address {
    Address::new_id(id)
}

pub fn invoke(bucket: &BucketId, car: Vec<u8>) -> Message {
    Message::Invoke(CarParams::new(bucket.clone(), car))
}
