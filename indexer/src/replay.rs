//! Runs a tipset's calls to the actor again, with the machine that ran them on chain.
//!
//! Pure: blocks and calls in, blocks, executions and differences out. What the chain says of a call is compared at
//! once; whether the whole state is the chain's is for [`crate::follow`] to ask.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use bucket_core::abi::{DeliverParams, Message, Wire};
use bucket_core::batch::Execution;
use bucket_core::car::{Car, archive};
use bucket_core::cid::{CarId, NativeHasher};
use bucket_core::did::BucketId;
use bucket_core::error::Abort;
use bucket_core::evm;
use bucket_core::execute::{self, Applied};
use bucket_core::host::{Host, Told};
use bucket_core::state as actor;
use bucket_protocols::TABLE;
use bucket_protocols::kv::receipt_op;
use bucket_rpc::json::Tipset;
use cid::Cid;
use fvm_ipld_blockstore::{Blockstore, MemoryBlockstore};
use fvm_shared::ActorID;
use fvm_shared::address::Address;
use fvm_shared::clock::ChainEpoch;

use crate::blocks::{NewBlocks, Overlay};
use crate::signed::Names;
use crate::store::{CarMap, Executed, Halt};
use crate::view;

/// When a tipset's messages execute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The tipset's epoch.
    pub epoch: ChainEpoch,
    /// Seconds since 1970, by the tipset's blocks: the earliest, where they differ.
    ///
    /// lotus:chain/consensus/compute_state.go `ApplyBlocks`, chain/types/tipset.go `MinTimestamp`.
    pub timestamp: u64,
}

impl From<&Tipset> for Moment {
    fn from(tipset: &Tipset) -> Self {
        let timestamp = tipset.blocks.iter().map(|block| block.timestamp).min().unwrap_or_default();
        Self { epoch: tipset.height, timestamp }
    }
}

/// A call to the actor that the chain executed with exit code 0 and didn't take back.
#[derive(Debug, Clone)]
pub struct Input {
    /// The chain's name of the message in which it was made.
    pub cid: Cid,
    /// Our actor's id.
    pub this: ActorID,
    /// Actor id of the caller.
    pub caller: ActorID,
    /// Actor id of who signed the message; equal to the caller when the call is the message.
    pub origin: ActorID,
    /// Whether money came along.
    pub value: bool,
    /// What it asks.
    pub message: Result<Message, Abort>,
    /// How that was written.
    pub wire: Wire,
    /// Actor ids of the addresses in it, as far as the chain knows them.
    pub addresses: BTreeMap<Address, ActorID>,
    /// What it returned on chain.
    pub returned: Vec<u8>,
}

impl Input {
    /// What only the chain could know, as far as the return value tells. Where that can't be read, the replay's will differ.
    fn told(&self) -> Told {
        let bytes = match self.wire {
            Wire::Native => Ok(self.returned.clone()),
            Wire::Evm => evm::unwrap_return(&self.returned),
        };
        let (Ok(message), Ok(bytes)) = (&self.message, bytes) else { return Told::default() };
        message.returned(&bytes).map(|returned| Told::by(&returned)).unwrap_or_default()
    }
}

/// The bucket that a message is for; none for what is staged.
fn subject(message: &Message) -> Option<BucketId> {
    let Message::Deliver(DeliverParams { car, .. }) = message else { return message.bucket().cloned() };
    let car = Car::decode::<NativeHasher>(car.clone()).ok()?;
    view::task(&car).ok().map(|task| task.sub)
}

/// What a tipset's messages did.
#[derive(Debug)]
pub struct Replayed {
    /// The new state.
    pub state: Cid,
    /// Its new blocks, and those that protocols keep in the index.
    pub blocks: NewBlocks,
    /// Buckets that were created.
    pub created: Vec<BucketId>,
    /// Tasks that ran.
    pub executed: Vec<Executed>,
    /// Their CARs and receipts.
    pub cars: Vec<(CarMap, Vec<u8>)>,
    /// Buckets that a message was for.
    pub touched: BTreeSet<BucketId>,
    /// Messages that did something else on chain. The state is that without them.
    pub halts: Vec<Halt>,
}

/// The state of an actor without buckets, with its blocks.
pub fn empty_state() -> Result<(Cid, NewBlocks)> {
    let overlay = Overlay::new(MemoryBlockstore::new());
    let root = actor::create::<_, NativeHasher>(&overlay)?;
    Ok((root, overlay.reachable(&root)?))
}

/// Applies `inputs` to the state under `root`, leaving out what is for a bucket in `halted`.
pub fn replay<S: Blockstore>(
    below: S,
    root: Cid,
    when: Moment,
    inputs: &[Input],
    halted: &BTreeSet<String>,
) -> Result<Replayed> {
    let overlay = Overlay::new(below);
    let mut replayed = Replayed {
        state: root,
        blocks: vec![],
        created: vec![],
        executed: vec![],
        cars: vec![],
        touched: BTreeSet::new(),
        halts: vec![],
    };
    for input in inputs {
        replayed.step(&overlay, when, input, halted)?;
    }
    replayed.blocks.extend(overlay.reachable(&replayed.state)?);
    Ok(replayed)
}

impl Replayed {
    fn step<S: Blockstore>(
        &mut self,
        overlay: &Overlay<S>,
        when: Moment,
        input: &Input,
        halted: &BTreeSet<String>,
    ) -> Result<()> {
        let message = match &input.message {
            Ok(message) => message.clone(),
            Err(abort) => {
                self.halt(Halt::ALL, input, "the chain took parameters that can't be read", abort.to_string());
                return Ok(());
            }
        };
        let subject = subject(&message);
        let bucket = subject.as_ref().map_or(Halt::ALL, BucketId::as_str);
        if halted.contains(bucket) || self.halts.iter().any(|halt| halt.bucket == bucket) {
            return Ok(());
        }
        self.touched.extend(subject.clone());
        let created = subject.clone().filter(|_| matches!(message, Message::Create(_)));
        let host = ReplayHost { store: overlay, input, when, told: input.told() };
        let outcome = execute::apply(&host, &TABLE, &self.state, message);
        if let Some(failure) = overlay.take_failure() {
            return Err(failure.context("failed to read the state"));
        }
        match outcome {
            Err(abort) => self.halt(bucket, input, "the replay aborts", abort.to_string()),
            Ok(applied) => {
                let ours = input.wire.returned(applied.returned.encode());
                match ours.bytes() == input.returned {
                    true => self.take(input, applied, created)?,
                    false => self.halt(bucket, input, "the return values differ", hex(ours.bytes())),
                }
            }
        }
        Ok(())
    }

    fn halt(&mut self, bucket: &str, input: &Input, reason: &str, ours: String) {
        let reason = format!("message {}: {reason}", input.cid);
        let chain = format!("exit code 0, returned {}", hex(&input.returned));
        self.halts.push(Halt { bucket: bucket.into(), height: 0, reason, ours, chain });
    }

    fn take(&mut self, input: &Input, applied: Applied, created: Option<BucketId>) -> Result<()> {
        self.state = applied.state;
        self.created.extend(created);
        // Continuations go to other buckets, too.
        self.touched.extend(applied.touched);
        for execution in applied.ran {
            let Execution { car, receipt_car, ran, receipt, mut ops, .. } = execution;
            ops.push(receipt_op(ran, receipt));
            self.blocks.extend(execution.blocks);
            let names = Names::new::<NativeHasher>(&Car::decode::<NativeHasher>(car.clone())?, &execution.task);
            self.cars.push((car_map(ran, &car)?, car));
            self.cars.push((car_map(receipt, &receipt_car)?, receipt_car));
            self.executed.push(Executed {
                bucket: execution.bucket,
                message: input.cid,
                caller: input.caller,
                cmd: execution.task.cmd,
                names: Some(names),
                ran,
                receipt,
                ok: execution.ok,
                version: execution.version,
                cause: execution.cause,
                forks: execution.forks,
                ops,
            });
        }
        Ok(())
    }
}

fn car_map(id: CarId, bytes: &[u8]) -> Result<CarMap> {
    let archive = archive::open(bytes).with_context(|| format!("the machine's own CAR {id}"))?;
    let mut blocks = Vec::new();
    for section in archive.sections() {
        let section = section?;
        blocks.push((section.cid, section.data.start as u64, section.data.len() as u64));
    }
    Ok(CarMap { id, size: bytes.len() as u64, blocks })
}

/// Lower-case hex, as evidence is kept.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The environment of a message as the chain had it.
struct ReplayHost<'a, S> {
    store: &'a Overlay<S>,
    input: &'a Input,
    when: Moment,
    told: Told,
}

impl<S: Blockstore> Host for ReplayHost<'_, S> {
    type Store = Overlay<S>;
    type Hasher = NativeHasher;

    fn store(&self) -> &Self::Store {
        self.store
    }

    fn this(&self) -> ActorID {
        self.input.this
    }

    fn caller(&self) -> ActorID {
        self.input.caller
    }

    fn origin(&self) -> ActorID {
        self.input.origin
    }

    fn value_received(&self) -> bool {
        self.input.value
    }

    fn epoch(&self) -> ChainEpoch {
        self.when.epoch
    }

    fn timestamp(&self) -> u64 {
        self.when.timestamp
    }

    fn resolve(&self, address: &Address) -> Option<ActorID> {
        self.input.addresses.get(address).copied()
    }

    // The chain asked and went on.
    fn is_instance(&self, _: ActorID) -> bool {
        true
    }

    fn room(&self, _: u64, taken: u64) -> bool {
        self.told.room(taken)
    }

    fn deliver(&self, _: ActorID, _: &DeliverParams, _: u64) -> Result<u32, Abort> {
        Ok(self.told.deliver())
    }
}
