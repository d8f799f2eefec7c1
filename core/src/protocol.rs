//! What a protocol is, and all that it can do.
//!
//! A protocol decides what commands mean for a bucket. It sees its calls and [`Cx`]: the bucket's entries under its own
//! number, the epoch, continuations and index rows. There is no clock, no randomness, no log, no balance.

use std::collections::BTreeMap;

use fvm_shared::ActorID;
use fvm_shared::clock::ChainEpoch;

use crate::car::{Car, CarError};
use crate::cid::CarId;
use crate::dag_cbor::{self, Ipld};
use crate::did::BucketId;
use crate::error::{Abort, Error, Failure};
use crate::limits::{CAR_BYTES_MAX, FORK_BYTES_MAX, FORKS_MAX};
use crate::task::Task;

/// One pending task as its protocol sees it.
#[derive(Debug)]
pub struct Call<'a> {
    /// The CAR's id: the receipt's key.
    pub id: CarId,
    /// The CAR's root.
    pub task: &'a Task,
    /// The whole CAR: `args` may link into it.
    pub car: &'a Car,
    /// Who scheduled it, or who scheduled what it continues.
    pub caller: ActorID,
}

/// What a protocol answers to one call.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The receipt's `out`.
    pub out: Result<Ipld, Failure>,
    /// CARs of the continuations, packed. Empty when `out` is a failure.
    pub forks: Vec<Vec<u8>>,
    /// Index rows. Empty when `out` is a failure.
    pub ops: Vec<Op>,
}

/// A row of the index that follows a bucket (level-bucket-vm's `ops`): rows are made again by every replay and stored
/// nowhere on chain.
#[derive(Debug, Clone, PartialEq)]
pub struct Op {
    /// Name of the protocol.
    pub protocol: &'static str,
    /// Key, ordered by its bytes.
    pub key: Vec<u8>,
    /// The value to put, or `None` to delete the row.
    pub value: Option<Ipld>,
}

/// A protocol. Implementations live in `protocols/`, one folder each.
pub trait Protocol: Sync {
    /// Its name, the first segment of its commands.
    fn name(&self) -> &'static str;

    /// Its commands, as in a task's `cmd`.
    fn commands(&self) -> &'static [&'static str];

    /// Executes one call. A [`Failure`] undoes the call's writes, continuations and rows.
    fn execute(&self, cx: &mut Cx<'_>, call: &Call<'_>) -> Result<Ipld, Error>;

    /// Executes the calls that a bucket in mutex mode has pending, all at once, and answers each in the order of the calls.
    /// The default runs one after the other; a protocol that wants to see all before it answers overrides it.
    fn execute_all(&self, cx: &mut Cx<'_>, calls: &[Call<'_>]) -> Result<Vec<Reply>, Abort> {
        calls.iter().map(|call| cx.attempt(call, |cx| self.execute(cx, call))).collect()
    }
}

/// The protocols of a build: number and implementation. Numbers are in state and never reused.
#[derive(Clone, Copy)]
pub struct Protocols(pub &'static [(u8, &'static dyn Protocol)]);

impl Protocols {
    /// The protocol that has this command, with its number.
    pub fn find(&self, cmd: &str) -> Option<(u8, &'static dyn Protocol)> {
        self.0.iter().copied().find(|(_, protocol)| protocol.commands().contains(&cmd))
    }

    /// All commands, for an error's text.
    pub fn commands(&self) -> String {
        let commands: Vec<_> = self.0.iter().flat_map(|(_, protocol)| protocol.commands()).copied().collect();
        commands.join(", ")
    }
}

/// Where a bucket's committed entries are read.
pub(crate) trait Source {
    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Abort>;
}

/// A bucket's entries with the changes of one message over them; nothing is written before all tasks have run.
pub(crate) struct Overlay<'a> {
    pub source: &'a dyn Source,
    pub changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

/// What a call changed, in order, to take it back.
type Journal = Vec<(Vec<u8>, Option<Option<Vec<u8>>>)>;

/// What [`Cx`] needs of the host's hasher, without being generic over it.
#[derive(Clone, Copy)]
pub(crate) struct Tools {
    /// SHA-256.
    pub hash: fn(&[u8]) -> [u8; 32],
    /// Packs a task with the blocks of the CAR that it links to.
    pub pack: fn(&Task, &Car) -> Result<Vec<u8>, CarError>,
}

/// All that a protocol can see and do.
pub struct Cx<'a> {
    pub(crate) overlay: Overlay<'a>,
    pub(crate) bucket: &'a BucketId,
    pub(crate) epoch: ChainEpoch,
    pub(crate) tools: Tools,
    pub(crate) number: u8,
    pub(crate) name: &'static str,
    pub(crate) journal: Journal,
    pub(crate) tasks: Vec<Task>,
    pub(crate) ops: Vec<Op>,
}

impl<'a> Cx<'a> {
    pub(crate) fn new(source: &'a dyn Source, bucket: &'a BucketId, epoch: ChainEpoch, tools: Tools) -> Self {
        let overlay = Overlay { source, changes: BTreeMap::new() };
        Self { overlay, bucket, epoch, tools, number: 0, name: "", journal: vec![], tasks: vec![], ops: vec![] }
    }

    /// The bucket that the calls are for.
    pub fn bucket(&self) -> &BucketId {
        self.bucket
    }

    /// The epoch that the message executes in.
    pub fn epoch(&self) -> ChainEpoch {
        self.epoch
    }

    /// SHA-256, computed by the host.
    pub fn sha2_256(&self, data: &[u8]) -> [u8; 32] {
        (self.tools.hash)(data)
    }

    /// The protocol's value under `key`.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Abort> {
        let key = self.key(key);
        match self.overlay.changes.get(&key) {
            Some(changed) => Ok(changed.clone()),
            None => self.overlay.source.read(&key),
        }
    }

    /// Puts `value` under `key`.
    pub fn put(&mut self, key: &[u8], value: Vec<u8>) {
        self.change(key, Some(value));
    }

    /// Deletes what is under `key`.
    pub fn del(&mut self, key: &[u8]) {
        self.change(key, None);
    }

    /// Asks for `task` to be scheduled on this bucket after the call, with the blocks of the call's CAR that it links to.
    pub fn fork(&mut self, task: Task) -> Result<(), Failure> {
        if task.sub != *self.bucket {
            let message = format!("expected a continuation for {}, got one for {}", self.bucket, task.sub);
            return Err(Failure::new("ForkForeign", message));
        }
        if self.tasks.len() == FORKS_MAX {
            return Err(Failure::new(
                "ForksMany",
                format!("expected at most {FORKS_MAX} continuations of one task, got more"),
            ));
        }
        // What is queued must run: a task that could not be read back would stop its queue for ever.
        let invalid = |why: String| Failure::new("ForkInvalid", why);
        let value = task.to_ipld();
        dag_cbor::check(&value).map_err(invalid)?;
        self.tasks.push(Task::from_ipld(value).map_err(|error| invalid(error.to_string()))?);
        Ok(())
    }

    /// Puts a row into the index.
    pub fn put_op(&mut self, key: Vec<u8>, value: Ipld) {
        self.ops.push(Op { protocol: self.name, key, value: Some(value) });
    }

    /// Deletes a row of the index.
    pub fn del_op(&mut self, key: Vec<u8>) {
        self.ops.push(Op { protocol: self.name, key, value: None });
    }

    /// Runs `f` for one call, all or nothing: a [`Failure`] takes back what it changed. Not to be nested.
    pub fn attempt(
        &mut self,
        call: &Call<'_>,
        f: impl FnOnce(&mut Self) -> Result<Ipld, Error>,
    ) -> Result<Reply, Abort> {
        self.journal.clear();
        self.tasks.clear();
        self.ops.clear();
        let done = f(self).and_then(|out| {
            encodable(&out)?;
            Ok((out, self.packed(call)?))
        });
        match done {
            Ok((out, forks)) => Ok(Reply { out: Ok(out), forks, ops: std::mem::take(&mut self.ops) }),
            Err(Error::Abort(abort)) => Err(abort),
            Err(Error::Failure(failure)) => {
                self.take_back();
                Ok(Reply { out: Err(failure), forks: vec![], ops: vec![] })
            }
        }
    }

    fn packed(&mut self, call: &Call<'_>) -> Result<Vec<Vec<u8>>, Error> {
        let mut bytes = 0;
        let pack = |task| {
            let packed = (self.tools.pack)(&task, call.car);
            let car = packed.map_err(|error| Failure::new("ForkInvalid", error.to_string()))?;
            if car.len() > CAR_BYTES_MAX {
                let message = format!("expected a continuation of at most {CAR_BYTES_MAX} bytes, got {}", car.len());
                return Err(Failure::new("ForkTooLarge", message).into());
            }
            bytes += car.len();
            if bytes > FORK_BYTES_MAX {
                let message = format!("expected continuations of at most {FORK_BYTES_MAX} bytes together, got more");
                return Err(Failure::new("ForkTooLarge", message).into());
            }
            Ok(car)
        };
        std::mem::take(&mut self.tasks).into_iter().map(pack).collect()
    }

    fn take_back(&mut self) {
        while let Some((key, before)) = self.journal.pop() {
            match before {
                Some(change) => self.overlay.changes.insert(key, change),
                None => self.overlay.changes.remove(&key),
            };
        }
    }

    fn change(&mut self, key: &[u8], value: Option<Vec<u8>>) {
        let key = self.key(key);
        let before = self.overlay.changes.insert(key.clone(), value);
        self.journal.push((key, before));
    }

    fn key(&self, key: &[u8]) -> Vec<u8> {
        [&[self.number], key].concat()
    }
}

/// A receipt wraps `out` twice, `{out: {ok}}`, and must be readable itself.
pub(crate) fn encodable(out: &Ipld) -> Result<(), Failure> {
    dag_cbor::check_under(out, 2).map_err(|why| Failure::new("OutInvalid", format!("in the receipt: {why}")))
}
