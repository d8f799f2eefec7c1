//! A push: an edit of a stated root, with the witness by which the machine, that has nothing but the root, can do it.

use std::collections::BTreeMap;

use bucket_core::car::Transaction;
use bucket_core::cid::{Cid, DAG_CBOR, Hasher, RAW};
use bucket_core::dag_cbor::{Ipld, fields_of};
use bucket_core::error::Failure;
use bucket_core::prolly::{Blocks, ProllyError, Recording, Tree, Written};
use bucket_core::task::kind;

use super::edit::Edit;
use super::head::as_number;
use crate::args::Args;

/// The command.
pub const PUSH: &str = "/space/push";

/// What a push asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Push {
    /// The root that it edits.
    pub base: Cid,
    /// The edit.
    pub edit: Edit,
    /// The number of the last of its author's edits that is in it.
    pub upto: Option<u64>,
}

/// A push with all that its CAR has to bring along, and what will come of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// The push.
    pub push: Push,
    /// The nodes of the old tree that it needs, by their CIDs.
    pub witness: BTreeMap<Cid, Vec<u8>>,
    /// The tree that the machine will make, and those of its nodes that are new.
    pub written: Written,
}

impl Push {
    /// Reads a task's arguments.
    pub fn read(args: &BTreeMap<String, Ipld>) -> Result<Self, Failure> {
        let mut args = Args::new(args);
        let base = match args.take("base")? {
            Ipld::Link(cid) => *cid,
            other => return Err(Failure::args(format!("expected “base” to be a link, got {}", kind(other)))),
        };
        let edit = Edit::from_ipld(args.take("ops")?)?;
        let upto = args.maybe("upto").map(as_number).transpose();
        args.end()?;
        Ok(Self { base, edit, upto: upto.map_err(|why| Failure::args(format!("upto: {why}")))? })
    }

    /// The task's arguments.
    pub fn args(&self) -> BTreeMap<String, Ipld> {
        let upto = self.upto.map(|upto| Ipld::Integer(upto.into()));
        let fields = [("base", Some(Ipld::Link(self.base))), ("ops", Some(self.edit.to_ipld())), ("upto", upto)];
        fields_of(fields.into_iter().filter_map(|(field, value)| Some((field, value?))))
    }

    /// Does what the machine will do, and remembers what it reads: `blocks` need to have the tree as far as it is touched.
    pub fn prepare<H: Hasher>(self, blocks: &impl Blocks) -> Result<Prepared, ProllyError> {
        let recording = Recording::new(blocks);
        let written = Tree::<_, H>::new(&recording, self.base).apply(self.edit.ops())?;
        Ok(Prepared { push: self, witness: recording.into_read(), written })
    }
}

impl Prepared {
    /// Begins the task's CAR: the witness, and CARs that new values link to, so that whoever gets the push has them. The index
    /// serves them by their hashes.
    pub fn blocks<'a, H: Hasher>(&self, cars: impl IntoIterator<Item = &'a [u8]>) -> Transaction<H> {
        let mut blocks = Transaction::default();
        for bytes in self.witness.values() {
            blocks.write_block(DAG_CBOR, bytes);
        }
        for car in cars {
            // Under a CAR's own codec no other CAR may carry it.
            blocks.write_block(RAW, car);
        }
        blocks
    }
}
