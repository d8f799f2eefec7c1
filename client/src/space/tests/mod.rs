//! What holds for replicas, without a network: signed edits, and the model under random histories.

mod blocks;
mod convergence;
mod edits;
mod forks;
mod http;
mod join;
mod judge;
mod liars;
mod store;
mod world;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use bucket_core::cid::{Cid, DAG_CBOR, NativeHasher, block_cid};
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::ucan::{DelegationDraft, Policy};
use bucket_protocols::space::head::Head;

use super::edit::{Edit, EditDraft, Ops};
use crate::identity::{Identity, IdentityKind};

/// The same keys in each run.
fn key(n: u8) -> Identity {
    Identity::from_secret(IdentityKind::Ed25519, &[n; 32]).unwrap()
}

/// The space's own key, and those of its authors.
static SPACE: LazyLock<Identity> = LazyLock::new(|| key(1));

fn space() -> BucketId {
    SPACE.did()
}

/// A delegation of all of the space's commands below `cmd`.
fn delegation(from: &Identity, to: &BucketId, cmd: &str, exp: Option<u64>) -> Vec<u8> {
    from.delegate(&DelegationDraft {
        iss: from.did(),
        aud: to.clone(),
        sub: Some(space()),
        cmd: cmd.into(),
        pol: Policy::default(),
        nonce: vec![1],
        meta: None,
        nbf: None,
        exp,
    })
}

fn ops<const N: usize>(ops: [(&str, Option<i128>); N]) -> Ops {
    Ops::new(ops.map(|(key, value)| (key.to_owned(), value.map(Ipld::Integer)))).unwrap()
}

/// An edit of the author with key `author`.
fn edit(author: u8, n: u64, time: u64, ops: Ops) -> Arc<Edit> {
    let key = key(author);
    let proofs = if author == 1 { vec![] } else { vec![delegation(&SPACE, &key.did(), "/space", None)] };
    let draft = EditDraft { space: space(), author: key.did(), n, time, ops, proofs };
    Arc::new(draft.seal(&key).unwrap())
}

/// An edit of the author with key `author` whose delegation ends with this second.
fn until(author: u8, n: u64, exp: u64) -> Arc<Edit> {
    let (key, ops) = (key(author), ops([(&format!("/{author}")[..], Some(n.into()))]));
    let proofs = vec![delegation(&SPACE, &key.did(), "/space", Some(exp))];
    let draft = EditDraft { space: space(), author: key.did(), n, time: 1_000 + n, ops, proofs };
    Arc::new(draft.seal(&key).unwrap())
}

/// A head of the chain: with this number, and these last edits of authors.
fn head<const N: usize>(seq: u64, clock: [(u8, u64); N]) -> Head {
    let root = block_cid::<NativeHasher>(DAG_CBOR, &seq.to_be_bytes());
    Head { seq, root, clock: clock.map(|(author, n)| (key(author).did().to_string(), n)).into() }
}

type Blocks = BTreeMap<Cid, Vec<u8>>;
