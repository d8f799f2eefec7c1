//! `space`: what a user has with a service, as one tree of entries that its user edits offline and syncs. See `README.md`.
//!
//! | command | args | out |
//! |---|---|---|
//! | `/space/push` | `{base: link, ops: [[key, value] \| [key]], upto?: int}` | the new head, `{root, seq, clock}` |
//!
//! The tree (`bucket_core::prolly`) is in replicas and in the index; state holds the head alone. A push brings those nodes of
//! the old tree that it touches, each is hashed, and the machine comes to the new root by itself: gas is of the edit's size,
//! not of the space's.
//!
//! Keys are free, and so are values. What counts of them is a question to ask of each ([`standing`]), and the machine doesn't
//! ask it.

pub mod edit;
pub mod head;
pub mod keys;
pub mod push;
pub mod receipt;
pub mod standing;
#[cfg(test)]
mod tests;

use std::marker::PhantomData;

use bucket_core::car::Car;
use bucket_core::cid::{DAG_CBOR, Hasher};
use bucket_core::dag_cbor::Ipld;
use bucket_core::error::{Error, Failure};
use bucket_core::prolly::{ProllyError, Tree, Written};
use bucket_core::protocol::{Call, Cx, Protocol, Weight, Work};
use bucket_core::task::Task;

use crate::kv::charwise;
use edit::Edit;
use head::Head;
use push::{PUSH, Push};

/// Its number in a table of protocols, and in state.
pub const NUMBER: u8 = 5;

/// Where state keeps the head.
const HEAD: &[u8] = b"head";

/// With the names of all authors the head takes as much to write as so many other keys.
const HEAD_WRITES: usize = 4;

/// The protocol. Trees are hashed by the host's `H`.
pub struct Space<H>(PhantomData<fn() -> H>);

impl<H> Space<H> {
    /// The protocol.
    pub const NEW: Self = Self(PhantomData);
}

impl<H: Hasher> Protocol for Space<H> {
    fn name(&self) -> &'static str {
        "space"
    }

    fn commands(&self) -> &'static [&'static str] {
        &[PUSH]
    }

    fn weight(&self, task: &Task) -> Weight {
        let ops = if let Some(Ipld::List(ops)) = task.args.get("ops") { ops.len() } else { 0 };
        Weight { writes: HEAD_WRITES, work: Work::Entries(ops), ..Weight::NONE }
    }

    fn execute(&self, cx: &mut Cx<'_>, call: &Call<'_>) -> Result<Ipld, Error> {
        let push = Push::read(&call.task.args)?;
        let mut head = match cx.get(HEAD)? {
            Some(bytes) => Head::from_state(&bytes)?,
            None => Head::empty::<H>(),
        };
        if let Some(upto) = push.upto {
            head.advance(&author(call), is_own(cx, call), upto)?;
        }
        if push.base != head.root {
            let Head { root, seq, .. } = head;
            let message = format!("expected the root of edit {seq}, {root}, as base, got {}", push.base);
            return Err(Failure::new("RebaseRequired", message).into());
        }
        let Written { root, nodes } = apply::<H>(call.car, &head, &push.edit)?;
        // After this point it must succeed.
        head.root = root;
        head.seq += 1;
        cx.put(HEAD, head.to_state());
        for (_, node) in nodes {
            cx.put_block(DAG_CBOR, node);
        }
        rows(cx, call, &head, &push.edit);
        Ok(head.to_ipld())
    }
}

/// Who edits.
fn author(call: &Call<'_>) -> String {
    call.issuer.map_or_else(|| format!("f0{}", call.caller), |issuer| issuer.to_string())
}

/// Whether it is the bucket's key that edits, or a controller. There are few of them, so that others, of whom a delegate can make
/// as many as it likes, can't keep them out.
fn is_own(cx: &Cx<'_>, call: &Call<'_>) -> bool {
    call.issuer.map_or(call.full, |issuer| issuer == cx.bucket())
}

/// The new tree, by the nodes of the old one that the CAR brings along.
fn apply<H: Hasher>(car: &Car, head: &Head, edit: &Edit) -> Result<Written, Failure> {
    Tree::<_, H>::new(car, head.root).apply(edit.ops()).map_err(|error| match error {
        ProllyError::Missing(cid) => {
            let message = format!("expected the node {cid} of the tree {} in the CAR, got none", head.root);
            Failure::new("BlockMissing", message)
        }
        ProllyError::Entry { .. } => Failure::args(error.to_string()),
        // The root is one that this protocol came to, and its nodes are known by their hashes.
        other => Failure::new("TreeInvalid", other.to_string()),
    })
}

fn rows(cx: &mut Cx<'_>, call: &Call<'_>, head: &Head, edit: &Edit) {
    for (key, value) in edit.changes() {
        let row = keys::encoded_row(key);
        match value {
            Some(value) => cx.put_op(row, value.clone()),
            None => cx.del_op(row),
        }
    }
    let Ipld::Map(mut fields) = head.to_ipld() else { unreachable!("a head is a map") };
    fields.insert("car".to_owned(), Ipld::Link(call.id.to_cid()));
    let row = charwise::encode(&head_row()).expect("two short words").into_bytes();
    cx.put_op(row, Ipld::Map(fields));
}

/// The key of the head's row in the index.
pub fn head_row() -> Ipld {
    Ipld::List(vec![Ipld::String("space".into()), Ipld::String("head".into())])
}
