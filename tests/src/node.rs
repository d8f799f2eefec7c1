//! The actor's wasm on the real FVM, driven message by message.
//!
//! Every message that changed state is replayed natively from the state before, over the chain's own blocks: the return value
//! and the new state root must be the chain's. So each scenario that runs here is a differential test as well.

use bucket_actor_wasm::WASM;
use bucket_core::abi::*;
use bucket_core::bucket::Bucket;
use bucket_core::cid::{CarId, Cid, NativeHasher};
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::host::Told;
use bucket_core::memory::{Memory, MemoryHost, Outside, Reachable};
use bucket_core::receipt::Receipt;
use bucket_core::{evm, execute, invariants};
use bucket_devnet::account::Account;
use bucket_devnet::drive::{Deployed, Executed};
use bucket_devnet::store::Store;
use bucket_devnet::{Chain, Config, Message as ChainMessage};
use bucket_protocols::TABLE;
use fvm_ipld_encoding::RawBytes;
use fvm_shared::address::Address;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::memory::{Index, queue};
use crate::{Refused, USERS, User, World};

/// The largest message that the mempool takes.
const MESSAGE_BYTES_MAX: usize = bucket_core::limits::MESSAGE_BYTES_MAX;

/// A devnet without HTTP and an actor on it.
pub struct NodeWorld {
    /// The chain.
    pub chain: Chain,
    /// The actor.
    pub actor: Address,
    /// The gas limit of the next messages; 0 for half of a block's.
    pub gas_limit: u64,
    users: [Account; USERS.len()],
    /// The other instance.
    other: Option<Address>,
    index: Index,
}

impl Default for NodeWorld {
    fn default() -> Self {
        let mut chain = Chain::open(&Config::default()).expect("a devnet");
        let users = [chain.account(0), chain.account(1), chain.eth_account(0)].map(|user| user.expect("an account"));
        let actor = chain.deploy(&users[0], WASM, &[]).expect("the actor loads").robust;
        Self { chain, actor, gas_limit: 0, users, other: None, index: Index::default() }
    }
}

impl NodeWorld {
    /// The actor's state root after the newest message.
    pub fn root(&self) -> Cid {
        let state = self.chain.state().expect("a state tree");
        state.actor(&self.actor).expect("the actor").1.state
    }

    /// Sends a message as it is and answers all that the chain says of it.
    pub fn send(&mut self, user: User, method: u64, params: RawBytes) -> Result<Executed, Refused> {
        let sender = self.account(user).clone();
        let (method, params) = match user {
            User::Eve => (method::INVOKE_EVM, RawBytes::new(evm::wrap_call(method, params.bytes()))),
            _ => (method, params),
        };
        // An Ethereum transaction names an actor by its id.
        let to = if user == User::Eve { Address::new_id(self.instance()) } else { self.actor };
        let gas_limit = self.gas_limit;
        let message = ChainMessage { gas_limit, ..ChainMessage::new(sender.address(), to, method, params.to_vec()) };
        if params.len() > MESSAGE_BYTES_MAX {
            return Err(Refused::Unsent(format!("a message of more than {MESSAGE_BYTES_MAX} bytes")));
        }
        Ok(self.chain.send(&sender, message).expect("the chain goes on"))
    }

    /// Installs and creates another actor.
    pub fn deploy(&mut self, wasm: &[u8]) -> anyhow::Result<Deployed> {
        self.chain.deploy(&self.users[0], wasm, &[])
    }

    /// Executes a message of Alice's as it is.
    pub fn execute(&mut self, message: ChainMessage) -> anyhow::Result<Executed> {
        self.chain.send(&self.users[0], message)
    }

    /// Gives a bucket `count` receipts by as many invocations, many to a tipset.
    pub fn fill(&mut self, bucket: &BucketId, count: u64) -> anyhow::Result<()> {
        const TIPSET: u64 = 1000;
        let mut sequence = self.chain.state()?.actor(&self.users[0].address())?.1.sequence;
        let fee_cap = self.chain.env_after_head().base_fee * 1_000_000;
        for start in (0..count).step_by(TIPSET as usize) {
            let mut messages = Vec::new();
            for nonce in start..count.min(start + TIPSET) {
                let car = crate::cars::car(bucket, "/echo", crate::cars::map([]), nonce);
                let (method, params) =
                    Message::Invoke(CarParams { bucket: bucket.clone(), car, force: false, hook: None }).encode();
                let mut message = ChainMessage::new(self.users[0].address(), self.actor, method, params.to_vec());
                (message.nonce, message.gas_limit, message.gas_fee_cap) = (sequence, 100_000_000, fee_cap.clone());
                messages.push(self.users[0].sign(message)?);
                sequence += 1;
            }
            let produced = self.chain.produce(messages, false)?;
            for applied in produced.applied {
                anyhow::ensure!(applied.msg_receipt.exit_code.is_success(), "{:?}", applied.failure_info);
            }
        }
        self.chain.commit()
    }

    /// Calls a method that changes nothing.
    pub fn query<T: DeserializeOwned>(&self, method: u64, params: &impl Serialize) -> Result<T, Refused> {
        let params = encode(params).to_vec();
        let message = ChainMessage::new(self.users[0].address(), self.actor, method, params);
        let result = self.chain.call(message).expect("the chain answers");
        let code = result.msg_receipt.exit_code.value();
        if code != 0 {
            let message = result.failure_info.map(|info| info.to_string()).unwrap_or_default();
            return Err(Refused::Abort { code, message });
        }
        Ok(decode("query", result.msg_receipt.return_data.bytes()).expect("a return value"))
    }

    /// The user's actor id.
    pub fn actor_id(&self, user: User) -> u64 {
        let state = self.chain.state().expect("a state tree");
        state.actor(&self.account(user).address()).expect("the sender").0
    }

    /// An actor's id.
    pub fn id_of(&self, actor: Address) -> u64 {
        self.chain.state().expect("a state tree").actor(&actor).expect("the actor").0
    }

    fn account(&self, user: User) -> &Account {
        &self.users[user as usize]
    }

    fn store(&self) -> &Store {
        self.chain.store()
    }
}

impl World for NodeWorld {
    fn name(&self) -> &'static str {
        "node"
    }

    fn address(&self, user: User) -> Address {
        self.account(user).address()
    }

    /// Applies a message on the FVM and natively, and compares.
    fn apply(&mut self, user: User, message: Message) -> Result<Returned, Refused> {
        let (method, params) = message.encode();
        let before = self.root();
        let executed = self.send(user, method, params)?;
        let after = self.root();
        let code = executed.receipt.exit_code.value();
        let mut returned = executed.receipt.return_data.clone();
        if user == User::Eve && code == 0 {
            returned = RawBytes::new(evm::unwrap_return(returned.bytes()).expect("wrapped as it came"));
        }
        let told = if code == 0 {
            Told::by(&message.returned(returned.bytes()).expect("its return"))
        } else {
            Told::default()
        };
        let this = self.instance();
        let store = Reachable::new(self.chain.store(), before);
        let addresses = USERS.map(|user| (self.address(user), self.actor_id(user))).into();
        let (caller, epoch, timestamp) =
            (self.actor_id(user), executed.block.height(), executed.block.header.timestamp);
        // A message that succeeded was told what it asked; one that failed knows who is an instance.
        let mut others = Memory::new(TABLE);
        others.siblings.extend(self.other.map(|other| self.id_of(other)));
        let outside = if code == 0 { Outside::Told(told) } else { Outside::Instances(&others) };
        let host = MemoryHost { store, this, caller, origin: caller, epoch, timestamp, addresses, outside };
        let native = execute::apply(&host, &TABLE, &before, message);
        match native {
            Ok(applied) => {
                assert_eq!(code, 0, "the FVM failed where the native machine did not: {}", executed.failure);
                assert_eq!(applied.state, after, "state roots differ");
                assert_eq!(applied.returned.encode(), returned, "return values differ");
                assert_eq!(applied.ran.len(), executed.events.len(), "one event per execution");
                self.index.extend(applied.ran);
                Ok(applied.returned)
            }
            Err(abort) => {
                assert_eq!(code, abort.code(), "exit codes differ: {} natively {abort}", executed.failure);
                assert_eq!(before, after, "an abort changed state");
                assert!(executed.failure.contains(&abort.to_string()), "{} natively {abort}", executed.failure);
                Err(Refused::Abort { code, message: abort.to_string() })
            }
        }
    }

    fn receipt(&mut self, bucket: &BucketId, car: CarId) -> Result<ReceiptReturn, Refused> {
        self.query(method::RECEIPT, &ReceiptParams { bucket: bucket.clone(), car })
    }

    fn bucket(&mut self, bucket: &BucketId) -> Result<Bucket, Refused> {
        self.query(method::BUCKET, &BucketParams { bucket: bucket.clone() })
    }

    fn receipt_car(&mut self, _: &BucketId, receipt: CarId) -> Receipt {
        self.index.receipt(receipt)
    }

    fn rows(&mut self, bucket: &BucketId) -> Vec<(Ipld, Ipld)> {
        self.index.rows(bucket)
    }

    fn queue(&mut self, bucket: &BucketId) -> Vec<CarId> {
        let record = self.bucket(bucket).expect("the bucket exists");
        queue(self.store(), &record)
    }

    fn now(&mut self) -> u64 {
        self.chain.env_after_head().timestamp
    }

    fn pass(&mut self, epochs: u64) {
        // All of them null rounds, but for the last.
        let nulls = epochs.saturating_sub(1);
        self.chain.skip(nulls.try_into().expect("less than centuries"));
        if epochs > 0 {
            self.chain.produce(vec![], false).expect("the chain goes on");
        }
        self.chain.commit().expect("the chain goes on");
    }

    fn instance(&mut self) -> u64 {
        self.id_of(self.actor)
    }

    fn swap(&mut self) {
        let other = self.other.take();
        let other = other.unwrap_or_else(|| self.deploy(WASM).expect("the actor loads").robust);
        self.other = Some(std::mem::replace(&mut self.actor, other));
    }

    fn check(&mut self) -> (String, Vec<String>) {
        let root = self.root();
        let violations = invariants::check::<_, NativeHasher>(self.store(), &root).expect("the state is readable");
        (root.to_string(), violations)
    }
}
