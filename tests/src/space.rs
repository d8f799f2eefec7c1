//! Spaces for tests: a replica of the tree, edits of it with their witness, and receipts as a service signs them.

use std::collections::BTreeMap;

use bucket_client::Identity;
use bucket_core::cid::{CarId, Cid, NativeHasher};
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::error::Failure;
use bucket_core::prolly::{self, Tree};
use bucket_core::task::Task;
use bucket_protocols::space::edit::Edit;
use bucket_protocols::space::push::{PUSH, Prepared, Push};
use bucket_protocols::space::receipt::Draft;

use crate::cars::{Tx, id};

/// A change of one key.
pub type Change = (String, Option<Ipld>);

/// All nodes of a space's tree.
#[derive(Debug, Clone)]
pub struct Replica {
    /// The root.
    pub root: Cid,
    /// Nodes, also of earlier trees.
    pub nodes: BTreeMap<Cid, Vec<u8>>,
}

impl Default for Replica {
    fn default() -> Self {
        Self { root: prolly::empty::<NativeHasher>().root, nodes: BTreeMap::new() }
    }
}

/// A change that puts.
pub fn put(key: &str, value: Ipld) -> Change {
    (key.to_owned(), Some(value))
}

/// A change that removes.
pub fn remove(key: &str) -> Change {
    (key.to_owned(), None)
}

/// A value that links to a CAR.
pub fn link(car: CarId) -> Ipld {
    Ipld::Link(car.to_cid())
}

/// A blob's entry as a service would make it, about 100 bytes; those of greater numbers come later, and those with a `suffix`
/// behind those without.
pub fn blob(number: usize, suffix: &str) -> Change {
    put(&format!("/blob/zQm{number:044}{suffix}"), link(id(&number.to_be_bytes())))
}

/// The first so many of them.
pub fn entries(count: usize) -> Vec<Change> {
    (0..count).map(|number| blob(number, "")).collect()
}

impl Replica {
    /// An edit of this tree, with its witness.
    pub fn prepare(&self, changes: impl IntoIterator<Item = Change>, upto: Option<u64>) -> Prepared {
        let push = Push { base: self.root, edit: Edit::new(changes).expect("an edit"), upto };
        push.prepare::<NativeHasher>(&self.nodes).expect("all nodes are here")
    }

    /// Goes on to the tree of an edit.
    pub fn follow(&mut self, prepared: &Prepared) {
        self.root = prepared.written.root;
        self.nodes.extend(prepared.written.nodes.iter().cloned());
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<Ipld> {
        Tree::<_, NativeHasher>::new(&self.nodes, self.root).get(key.as_bytes()).expect("all nodes are here")
    }
}

/// The task of a push.
pub fn task(bucket: &BucketId, prepared: &Prepared, nonce: u64) -> Task {
    let nonce = nonce.to_be_bytes().to_vec();
    Task { sub: bucket.clone(), cmd: PUSH.to_owned(), args: prepared.push.args(), nonce }
}

/// The CAR of a push that nobody signs.
pub fn car(bucket: &BucketId, prepared: &Prepared, nonce: u64) -> Vec<u8> {
    task(bucket, prepared, nonce).to_car_with::<NativeHasher>(prepared.blocks([]))
}

/// A receipt's CAR: what the service, or `by` in its name, says of a task.
pub fn receipt(service: &Identity, by: &Identity, task: &Task, out: Result<Ipld, Failure>) -> Vec<u8> {
    let draft = Draft { service: &service.did(), task, out, origin: None, proofs: &[] };
    draft.to_car(&by.public(), |message| by.sign(message), Tx::default())
}
