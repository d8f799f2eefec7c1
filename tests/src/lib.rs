//! One scenario, three worlds: a behaviour is written once, as a function over [`World`], and runs in memory, in the devnet's
//! real FVM, and over the whole network (devnet, client, indexer).

pub mod cars;
pub mod keys;
pub mod memory;
pub mod network;
pub mod node;
pub mod s3;
pub mod space;

use bucket_core::abi::*;
use bucket_core::bucket::{Bucket, Mode};
use bucket_core::cid::CarId;
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::receipt::Receipt;
use fvm_shared::address::Address;

/// Who sends a message. Alice creates the buckets and controls them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// A controller.
    Alice,
    /// Nobody to these buckets.
    Bob,
    /// Nobody either, with an Ethereum key.
    Eve,
}

/// All of them.
pub const USERS: [User; 3] = [User::Alice, User::Bob, User::Eve];

/// A message that was refused, with everything unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The machine aborted.
    Abort {
        /// Its exit code.
        code: u32,
        /// Its words.
        message: String,
    },
    /// It never became a message: too large, or not understood before it was sent.
    Unsent(String),
}

impl Refused {
    /// The exit code, or 0 when it never ran.
    pub fn code(&self) -> u32 {
        if let Refused::Abort { code, .. } = self { *code } else { 0 }
    }

    /// The words.
    pub fn message(&self) -> &str {
        match self {
            Refused::Abort { message, .. } | Refused::Unsent(message) => message,
        }
    }
}

/// Takes one variant out of what a message returned.
#[macro_export]
macro_rules! returned {
    ($variant:ident, $result:expr) => {
        match $result {
            Ok(bucket_core::abi::Returned::$variant(value)) => Ok(value),
            Ok(other) => panic!("returned {other:?}"),
            Err(refused) => Err(refused),
        }
    };
}

/// A place where the machine runs.
pub trait World {
    /// For messages of tests.
    fn name(&self) -> &'static str;
    /// An address of the user's.
    fn address(&self, user: User) -> Address;
    /// Sends a message and answers what it returned.
    fn apply(&mut self, user: User, message: Message) -> Result<Returned, Refused>;
    /// `Create`, as Alice.
    fn create_with(
        &mut self,
        bucket: &BucketId,
        mode: Mode,
        controllers: Vec<Address>,
    ) -> Result<CreateReturn, Refused> {
        let params = CreateParams { bucket: bucket.clone(), controllers, mode, proof: None };
        returned!(Create, self.apply(User::Alice, Message::Create(params)))
    }
    /// `Create`, as Alice, who is the only controller.
    fn create(&mut self, bucket: &BucketId, mode: Mode) -> Result<CreateReturn, Refused> {
        self.create_with(bucket, mode, vec![])
    }
    /// `Schedule`.
    fn schedule(&mut self, user: User, bucket: &BucketId, car: &[u8], force: bool) -> Result<ScheduleReturn, Refused> {
        let params = CarParams { force, ..CarParams::new(bucket.clone(), car.to_vec()) };
        returned!(Schedule, self.apply(user, Message::Schedule(params)))
    }
    /// `Run`.
    fn run(&mut self, user: User, bucket: &BucketId, max: u64) -> Result<RunReturn, Refused> {
        returned!(Run, self.apply(user, Message::Run(RunParams { bucket: bucket.clone(), max })))
    }
    /// `Invoke`.
    fn invoke(&mut self, user: User, bucket: &BucketId, car: &[u8], force: bool) -> Result<InvokeReturn, Refused> {
        let params = CarParams { force, ..CarParams::new(bucket.clone(), car.to_vec()) };
        returned!(Invoke, self.apply(user, Message::Invoke(params)))
    }
    /// `Receipt`.
    fn receipt(&mut self, bucket: &BucketId, car: CarId) -> Result<ReceiptReturn, Refused>;
    /// `Bucket`.
    fn bucket(&mut self, bucket: &BucketId) -> Result<Bucket, Refused>;
    /// The receipt CAR of this id, verified.
    fn receipt_car(&mut self, bucket: &BucketId, receipt: CarId) -> Receipt;
    /// The index rows of `kv` in their order, without those of receipts: key and value.
    fn rows(&mut self, bucket: &BucketId) -> Vec<(Ipld, Ipld)>;
    /// Ids of what is pending, in the order of the queue.
    fn queue(&mut self, bucket: &BucketId) -> Vec<CarId>;
    /// The time at which the next message executes, in seconds since 1970.
    fn now(&mut self) -> u64;
    /// Lets so many epochs pass.
    fn pass(&mut self, epochs: u64);
    /// The actor's id.
    fn instance(&mut self) -> u64;
    /// From now on everything goes to the other instance of the actor, and with the next call back to the first.
    fn swap(&mut self);
    /// The actor's state root, and what violates the invariants under it.
    fn check(&mut self) -> (String, Vec<String>);
}
