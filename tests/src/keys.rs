//! Keys for tests, and what they sign: buckets whose DID is a key, delegations, invocations, and tokens that are wrong on
//! purpose.

use std::collections::BTreeMap;

use bucket_client::Identity;
use bucket_client::identity::IdentityKind;
use bucket_core::abi::{CreateParams, CreateReturn, Message, Returned};
use bucket_core::bucket::Mode;
use bucket_core::cid::{Cid, DAG_CBOR, NativeHasher, block_cid};
use bucket_core::create;
use bucket_core::dag_cbor::{self, Ipld};
use bucket_core::did::BucketId;
use bucket_core::map::Bytes;
use bucket_core::task::Task;
use bucket_core::ucan::{DelegationDraft, InvocationDraft, Policy};
use fvm_shared::address::Address;

use crate::cars::{Tx, task};
use crate::{Refused, User, World};

/// Every kind of key.
pub const KINDS: [IdentityKind; 3] = [IdentityKind::Ed25519, IdentityKind::Secp256k1, IdentityKind::P256];

/// A key, the same for each number.
pub fn key(kind: IdentityKind, number: u8) -> Identity {
    Identity::from_secret(kind, &[number; 32]).expect("a secret of either curve")
}

/// An Ed25519 key, the same for each number.
pub fn ed25519(number: u8) -> Identity {
    key(IdentityKind::Ed25519, number)
}

/// The proof that a bucket's key wants it created so.
pub fn creation(bucket: &Identity, controllers: &[Address], mode: Mode) -> Vec<u8> {
    signed(bucket, task(&bucket.did(), create::CREATE, create::args(controllers, mode), 0), &[])
}

/// `Create` with this proof, sent by Bob, who gains nothing by it.
pub fn create_with(
    world: &mut dyn World,
    bucket: &BucketId,
    controllers: Vec<Address>,
    mode: Mode,
    proof: Option<Vec<u8>>,
) -> Result<CreateReturn, Refused> {
    let params = CreateParams { bucket: bucket.clone(), controllers, mode, proof: proof.map(Bytes) };
    match world.apply(User::Bob, Message::Create(params))? {
        Returned::Create(created) => Ok(created),
        other => panic!("returned {other:?}"),
    }
}

/// A bucket whose DID is this key, with these controllers.
pub fn create_for(world: &mut dyn World, key: &Identity, controllers: Vec<Address>) -> BucketId {
    let proof = creation(key, &controllers, Mode::Atomic);
    create_with(world, &key.did(), controllers, Mode::Atomic, Some(proof)).expect("created");
    key.did()
}

/// A bucket whose DID is this key, and which Alice controls.
pub fn create(world: &mut dyn World, key: &Identity) -> BucketId {
    let alice = world.address(User::Alice);
    create_for(world, key, vec![alice])
}

/// A delegation of `cmd` on `bucket`, to be changed and signed.
pub fn grant(iss: &Identity, aud: &Identity, bucket: &BucketId, cmd: &str) -> DelegationDraft {
    DelegationDraft {
        iss: iss.did(),
        aud: aud.did(),
        sub: Some(bucket.clone()),
        cmd: cmd.to_owned(),
        pol: Policy::default(),
        nonce: b"n".to_vec(),
        meta: None,
        nbf: None,
        exp: None,
    }
}

/// Delegations of `cmd` on the first key's bucket, from each key to the next.
pub fn chain(keys: &[&Identity], cmd: &str) -> Vec<Vec<u8>> {
    let bucket = keys[0].did();
    keys.windows(2).map(|pair| pair[0].delegate(&grant(pair[0], pair[1], &bucket, cmd))).collect()
}

/// A CAR of a task that `iss` signs.
pub fn signed(iss: &Identity, task: Task, proofs: &[Vec<u8>]) -> Vec<u8> {
    iss.invoke(task, proofs, None, Tx::default())
}

/// An invocation to be changed and signed.
pub fn ask(iss: &Identity, task: Task, proofs: &[Vec<u8>]) -> InvocationDraft {
    let prf = proofs.iter().map(|proof| cid(proof)).collect();
    InvocationDraft { iss: iss.did(), aud: None, task, prf, meta: None, exp: None, iat: None, cause: None }
}

/// A CAR of these DAG-CBOR blocks, the last of which is its root.
pub fn pack(blocks: &[Vec<u8>]) -> Vec<u8> {
    let mut transaction = Tx::default();
    for block in blocks {
        transaction.write_block(DAG_CBOR, block);
    }
    transaction.commit().expect("at least one block")
}

/// A CAR of an invocation after its proofs.
pub fn pack_with(proofs: &[Vec<u8>], invocation: Vec<u8>) -> Vec<u8> {
    pack(&[proofs, &[invocation]].concat())
}

/// A block's name.
pub fn cid(block: &[u8]) -> Cid {
    block_cid::<NativeHasher>(DAG_CBOR, block)
}

/// A token taken apart.
pub struct Parts {
    /// The signature.
    pub signature: Vec<u8>,
    /// The header.
    pub header: Vec<u8>,
    /// Like `ucan/inv@1.0.0`.
    pub tag: String,
    /// What it says.
    pub payload: BTreeMap<String, Ipld>,
}

impl Parts {
    /// Takes a token apart.
    pub fn of(token: &[u8]) -> Self {
        let Ok(Ipld::List(parts)) = dag_cbor::decode(token) else { panic!("a list") };
        let Ok([Ipld::Bytes(signature), Ipld::Map(mut signed)]) = <[Ipld; 2]>::try_from(parts) else {
            panic!("a signature and what is signed")
        };
        let Some(Ipld::Bytes(header)) = signed.remove("h") else { panic!("a header") };
        let Some((tag, Ipld::Map(payload))) = signed.pop_first() else { panic!("a payload") };
        Self { signature, header, tag, payload }
    }

    fn signed(&self) -> Ipld {
        let header = ("h".to_owned(), Ipld::Bytes(self.header.clone()));
        Ipld::Map([header, (self.tag.clone(), Ipld::Map(self.payload.clone()))].into())
    }

    /// Signs what it says now.
    pub fn sign(mut self, key: &Identity) -> Self {
        self.signature = key.sign(&dag_cbor::encode(&self.signed()));
        self
    }

    /// The token.
    pub fn join(&self) -> Vec<u8> {
        dag_cbor::encode(&Ipld::List(vec![Ipld::Bytes(self.signature.clone()), self.signed()]))
    }
}

/// The same token with one bit of its signature wrong.
pub fn forged(token: &[u8]) -> Vec<u8> {
    let mut parts = Parts::of(token);
    parts.signature[40] ^= 1;
    parts.join()
}

/// The same token with its ECDSA signature (r, n − s) for (r, s): the same to a verifier that knows no better.
pub fn other_form(token: &[u8], kind: IdentityKind) -> Vec<u8> {
    let order = match kind {
        IdentityKind::Ed25519 => panic!("an Ed25519 signature has one form"),
        IdentityKind::Secp256k1 => "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141",
        IdentityKind::P256 => "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
    };
    let order = hex::decode(order).expect("hex");
    let mut parts = Parts::of(token);
    let mut borrow = false;
    for at in (0..32).rev() {
        let (less, under) = order[at].overflowing_sub(parts.signature[32 + at]);
        let (less, under_again) = less.overflowing_sub(u8::from(borrow));
        parts.signature[32 + at] = less;
        borrow = under || under_again;
    }
    parts.join()
}
