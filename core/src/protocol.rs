//! What a protocol is, and all that it can do.
//!
//! A protocol decides what commands mean for a bucket. It sees its calls and [`Cx`]: the bucket's entries under its own
//! number, the epoch, continuations and index rows. There is no clock, no randomness, no log, no balance.

use std::cell::Cell;
use std::collections::BTreeMap;

use fvm_shared::ActorID;
use fvm_shared::clock::ChainEpoch;

use crate::car::Car;
use crate::cid::{CarId, Cid, sha2_cid};
use crate::dag_cbor::{self, Ipld};
use crate::did::BucketId;
use crate::error::{Abort, Error, Failure};
use crate::limits::{FORKS_MAX, TASK_READS_MAX, TASK_WRITES_MAX};
use crate::task::Task;
use crate::ucan::Did;

/// One pending task as its protocol sees it.
#[derive(Debug)]
pub struct Call<'a> {
    /// The CAR's id: the receipt's key.
    pub id: CarId,
    /// The CAR's root.
    pub task: &'a Task,
    /// The whole CAR: `args` may link into it.
    pub car: &'a Car,
    /// Who scheduled it, or who scheduled what it continues. Where there is an issuer, it only carried the message.
    pub caller: ActorID,
    /// Who signed it, or what it continues.
    pub issuer: Option<&'a Did>,
    /// Whether the issuer speaks for itself, and not by a right that comes from the bucket.
    pub alone: bool,
    /// Whether it has all rights of the bucket: a controller's, its own key's, or those of a chain of `/` without policies.
    pub full: bool,
}

/// A continuation that a protocol asks for. It has the right of the call that asks for it, no more.
#[derive(Debug, Clone, PartialEq)]
pub struct Fork {
    /// What to do.
    pub ask: Ask,
    /// The instance of the actor whose bucket it is for; `None` for this one.
    pub at: Option<ActorID>,
}

/// What a continuation does.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// A task of the protocol's making.
    Task(Task),
    /// A block of the call's CAR that is an invocation, signed by somebody.
    Signed(Cid),
}

impl From<Task> for Fork {
    fn from(task: Task) -> Self {
        Self { ask: Ask::Task(task), at: None }
    }
}

/// A continuation that is packed and may go.
#[derive(Debug, Clone, PartialEq)]
pub struct Packed {
    /// Its CAR.
    pub car: Vec<u8>,
    /// Its id.
    pub id: CarId,
    /// What it does.
    pub task: Task,
    /// The SHA-256 of what is signed, of a signed invocation.
    pub signed: Option<[u8; 32]>,
    /// The other instance that it is for.
    pub at: Option<ActorID>,
    /// Whether it has all rights of its bucket.
    pub full: bool,
    /// Whether its cause has all rights of the bucket that asks, and so speaks for it.
    pub speaks: bool,
}

/// The most that a call may do, as far as its arguments tell. `Run` starts it when the gas that is left is enough for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight {
    /// Keys that it changes.
    pub writes: usize,
    /// Continuations.
    pub forks: usize,
    /// Those of them that go to other instances.
    pub sends: usize,
    /// What it does with the blocks of its CAR.
    pub work: Work,
}

/// What a call does with the blocks of its CAR, beside reading what it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Nothing.
    None,
    /// Works through the nodes of prolly trees, and so many entries besides, and hashes each entry.
    Entries(usize),
    /// Works through all of them, with a hash for every few bytes.
    Any,
}

impl Weight {
    /// What the machine allows at all.
    pub const MOST: Self = Self { writes: TASK_WRITES_MAX, forks: FORKS_MAX, sends: FORKS_MAX, work: Work::Any };
    /// A call that keeps nothing and asks for nothing.
    pub const NONE: Self = Self { writes: 0, forks: 0, sends: 0, work: Work::None };
}

/// What a protocol answers to one call.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The receipt's `out`.
    pub out: Result<Ipld, Failure>,
    /// The continuations. Empty when `out` is a failure.
    pub forks: Vec<Packed>,
    /// Index rows. Empty when `out` is a failure.
    pub ops: Vec<Op>,
    /// Blocks for the index. Empty when `out` is a failure.
    pub blocks: Vec<(Cid, Vec<u8>)>,
    /// How many keys it changed.
    pub writes: usize,
}

impl Reply {
    /// A no that changes nothing.
    pub fn failure(failure: Failure) -> Self {
        Self { out: Err(failure), forks: vec![], ops: vec![], blocks: vec![], writes: 0 }
    }
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

    /// The most that a call may do. Without an answer of its own a protocol is taken to need all that the machine allows.
    fn weight(&self, _: &Task) -> Weight {
        Weight::MOST
    }

    /// Executes one call. A [`Failure`] undoes the call's writes, continuations and rows.
    fn execute(&self, cx: &mut Cx<'_>, call: &Call<'_>) -> Result<Ipld, Error>;

    /// Executes the calls that a bucket in mutex mode has pending, all at once, and answers each in the order of the calls.
    /// The default runs one after the other; a protocol that wants to see all before it answers overrides it.
    fn execute_all(&self, cx: &mut Cx<'_>, calls: &[Call<'_>]) -> Result<Vec<Reply>, Abort> {
        one_after_another(cx, calls, &|cx, call| self.execute(cx, call))
    }
}

/// In one place for all protocols.
fn one_after_another(
    cx: &mut Cx<'_>,
    calls: &[Call<'_>],
    execute: &dyn Fn(&mut Cx<'_>, &Call<'_>) -> Result<Ipld, Error>,
) -> Result<Vec<Reply>, Abort> {
    calls.iter().map(|call| cx.attempt(call, |cx| execute(cx, call))).collect()
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

/// What [`Cx`] needs of the machine, without being generic over its host.
pub(crate) trait Machine {
    /// SHA-256.
    fn sha2_256(&self, data: &[u8]) -> [u8; 32];

    /// Packs the continuations that `call` asks for, if all of them may go.
    fn pack(&self, forks: Vec<Fork>, call: &Call<'_>) -> Result<Vec<Packed>, Error>;
}

/// All that a protocol can see and do.
pub struct Cx<'a> {
    pub(crate) overlay: Overlay<'a>,
    pub(crate) bucket: &'a BucketId,
    pub(crate) epoch: ChainEpoch,
    pub(crate) machine: &'a dyn Machine,
    pub(crate) number: u8,
    pub(crate) name: &'static str,
    pub(crate) journal: Journal,
    pub(crate) forks: Vec<Fork>,
    pub(crate) ops: Vec<Op>,
    pub(crate) blocks: Vec<(Cid, Vec<u8>)>,
    pub(crate) reads: Cell<usize>,
}

impl<'a> Cx<'a> {
    pub(crate) fn new(
        source: &'a dyn Source,
        bucket: &'a BucketId,
        epoch: ChainEpoch,
        machine: &'a dyn Machine,
    ) -> Self {
        let overlay = Overlay { source, changes: BTreeMap::new() };
        let (journal, forks, ops, blocks, reads) = (vec![], vec![], vec![], vec![], Cell::new(0));
        Self { overlay, bucket, epoch, machine, number: 0, name: "", journal, forks, ops, blocks, reads }
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
        self.machine.sha2_256(data)
    }

    /// The protocol's value under `key`.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.reads.set(self.reads.get() + 1);
        if self.reads.get() > TASK_READS_MAX {
            return Err(too_much(TASK_READS_MAX, "reads").into());
        }
        let key = self.key(key);
        match self.overlay.changes.get(&key) {
            Some(changed) => Ok(changed.clone()),
            None => Ok(self.overlay.source.read(&key)?),
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

    /// Asks for a continuation after the call, with the blocks of the call's CAR that it links to. One for another bucket
    /// goes to that bucket's queue.
    pub fn fork(&mut self, fork: impl Into<Fork>) -> Result<(), Failure> {
        let Fork { ask, at } = fork.into();
        if self.forks.len() == FORKS_MAX {
            return Err(Failure::new(
                "ForksMany",
                format!("expected at most {FORKS_MAX} continuations of one task, got more"),
            ));
        }
        let ask = match ask {
            // What is queued must run: a task that could not be read back would stop its queue for ever.
            Ask::Task(task) => {
                let invalid = |why: String| Failure::new("ForkInvalid", why);
                let value = task.to_ipld();
                dag_cbor::check(&value).map_err(invalid)?;
                Ask::Task(Task::from_ipld(value).map_err(|error| invalid(error.to_string()))?)
            }
            signed => signed,
        };
        self.forks.push(Fork { ask, at });
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

    /// Keeps a block in the index, where everybody finds it by its CID (version 1, sha2-256), and nowhere on chain. Like rows,
    /// such blocks are made again by every replay.
    pub fn put_block(&mut self, codec: u64, data: Vec<u8>) -> Cid {
        let cid = sha2_cid(codec, &self.sha2_256(&data));
        self.blocks.push((cid, data));
        cid
    }

    /// Runs `f` for one call, all or nothing: a [`Failure`] takes back what it changed. Not to be nested.
    pub fn attempt(
        &mut self,
        call: &Call<'_>,
        f: impl FnOnce(&mut Self) -> Result<Ipld, Error>,
    ) -> Result<Reply, Abort> {
        self.journal.clear();
        self.forks.clear();
        self.ops.clear();
        self.blocks.clear();
        self.reads.set(0);
        let done = f(self).and_then(|out| {
            encodable(&out)?;
            if self.journal.len() > TASK_WRITES_MAX {
                return Err(too_much(TASK_WRITES_MAX, "writes").into());
            }
            Ok((out, self.machine.pack(std::mem::take(&mut self.forks), call)?))
        });
        match done {
            Ok((out, forks)) => {
                let (ops, blocks) = (std::mem::take(&mut self.ops), std::mem::take(&mut self.blocks));
                Ok(Reply { out: Ok(out), forks, ops, blocks, writes: self.journal.len() })
            }
            Err(Error::Abort(abort)) => Err(abort),
            Err(Error::Failure(failure)) => {
                self.take_back();
                Ok(Reply::failure(failure))
            }
        }
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

fn too_much(most: usize, what: &str) -> Failure {
    Failure::new("WorkExceeded", format!("expected at most {most} {what} of one task, got more"))
}

/// A receipt wraps `out` twice, `{out: {ok}}`, and must be readable itself.
pub(crate) fn encodable(out: &Ipld) -> Result<(), Failure> {
    dag_cbor::check_under(out, 2).map_err(|why| Failure::new("OutInvalid", format!("in the receipt: {why}")))
}
