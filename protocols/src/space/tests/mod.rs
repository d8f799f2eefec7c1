mod bounds;
mod push;
mod rig;
mod scene;
mod standing;

use bucket_core::car::Transaction;
use bucket_core::cid::{DAG_CBOR, NativeHasher};
use bucket_core::dag_cbor::Ipld;
use bucket_core::ucan::{Did, InvocationDraft, PublicKey};
use ed25519_dalek::{Signer as _, SigningKey};

type Tx = Transaction<NativeHasher>;

/// A key, the same for each number.
struct Key(SigningKey);

impl Key {
    fn new(number: u8) -> Self {
        Self(SigningKey::from_bytes(&[number; 32]))
    }

    fn public(&self) -> PublicKey {
        PublicKey::Ed25519(self.0.verifying_key().to_bytes())
    }

    fn did(&self) -> Did {
        self.public().to_did()
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).to_bytes().to_vec()
    }

    fn seal(&self, draft: &InvocationDraft) -> Vec<u8> {
        draft.seal(&self.public(), |message| self.sign(message))
    }
}

fn s(text: &str) -> Ipld {
    Ipld::String(text.into())
}

fn int(n: i128) -> Ipld {
    Ipld::Integer(n)
}

fn map<const N: usize>(entries: [(&str, Ipld); N]) -> Ipld {
    Ipld::Map(entries.map(|(key, value)| (key.to_owned(), value)).into())
}

/// A CAR of DAG-CBOR blocks, the last of which is the root.
fn pack(blocks: &[&[u8]]) -> Vec<u8> {
    let mut tx = Tx::default();
    blocks.iter().for_each(|block| _ = tx.write_block(DAG_CBOR, block));
    tx.commit().unwrap()
}
