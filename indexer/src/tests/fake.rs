//! A node that is made up, for the watcher alone: a chain whose tipsets are as a test wants them, behind real JSON-RPC. Its
//! actor is the real machine.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bucket_core::abi::{Message, method};
use bucket_core::bucket::Bucket;
use bucket_core::evm;
use bucket_core::memory::Memory;
use bucket_protocols::TABLE;
use bucket_rpc::json::*;
use bucket_rpc::methods::*;
use bucket_rpc::{Failure, Lotus, Server};
use cid::Cid;
use fvm_shared::address::Address;
use fvm_shared::bigint::BigInt;
use fvm_shared::econ::TokenAmount;
use fvm_shared::error::ExitCode;

use super::rig::{ALICE, OTHERS};
use super::sub::{Sub, Traces, invoked, receipt, unserved};

/// The actor.
pub const ACTOR: Address = Address::new_id(1000);

/// Another name of the actor.
pub fn alias() -> Address {
    Address::new_actor(b"the bucket actor")
}

/// The sender's key.
pub fn alice() -> Address {
    Address::new_secp256k1(&[7; 65]).unwrap()
}

/// What to put into a tipset.
#[derive(Clone)]
pub enum Sent {
    /// A message to the actor, by any of its names.
    To(Address, Message),
    /// A message with these parameters to somebody else.
    Elsewhere(Message),
    /// A message that runs out of gas, although the machine would take it.
    OutOfGas(Message),
    /// Creates the actor.
    Deploy,
    /// A message to the actor, as senders write it that can only call contracts.
    Evm(Message),
    /// A message to somebody else, who makes these calls.
    Via(Vec<Sub>),
    /// The same, but it fails at the end.
    ViaFailing(Vec<Sub>),
    /// A message to the actor, which makes these calls.
    Calling(Message, Vec<Sub>),
}

impl From<Message> for Sent {
    fn from(message: Message) -> Self {
        Self::To(ACTOR, message)
    }
}

#[derive(Clone)]
struct Made {
    tipset: Tipset,
    messages: Vec<ApiMessage>,
    receipts: Vec<MessageReceipt>,
    traces: Vec<ExecutionTrace>,
    /// The actor's state after its messages.
    after: Option<Cid>,
}

/// The chain, for tests to change.
pub struct Chain {
    made: BTreeMap<TipsetKey, Made>,
    memory: Memory,
    head: TipsetKey,
    nonce: u64,
    /// Answers for the results of children, instead of the true ones, so many times.
    pub lies: BTreeMap<TipsetKey, (u32, Vec<MessageReceipt>)>,
    /// Answers of `Bucket` that replace the true ones.
    pub records: BTreeMap<String, Vec<u8>>,
    /// Whether the node says that there is no actor.
    pub denied: bool,
    /// What the node says of traces.
    pub traces: Traces,
    /// Calls by their names.
    pub calls: BTreeMap<&'static str, u32>,
}

pub type Shared = Arc<Mutex<Chain>>;

fn header(parents: Vec<Cid>, height: i64, salt: u64) -> BlockHeader {
    let some = blake2b_cid(b"something");
    BlockHeader {
        miner: Address::new_id(100),
        ticket: None,
        election_proof: None,
        beacon_entries: vec![],
        win_post_proof: vec![],
        parents,
        parent_weight: BigInt::from(height),
        height,
        parent_state_root: some,
        parent_message_receipts: some,
        messages: some,
        bls_aggregate: None,
        timestamp: salt,
        block_sig: None,
        fork_signaling: 0,
        parent_base_fee: TokenAmount::from_atto(0),
    }
}

impl Chain {
    /// A chain with a genesis; with the actor in it, or without.
    pub fn new(actor: bool) -> Shared {
        let memory = Memory::new(TABLE);
        let tipset = Tipset::from_block(header(vec![], 0, 0)).unwrap();
        let head = tipset.key();
        let after = actor.then_some(memory.root);
        let genesis = Made { tipset, messages: vec![], receipts: vec![], traces: vec![], after };
        Arc::new(Mutex::new(Self {
            made: [(head.clone(), genesis)].into(),
            memory,
            head,
            nonce: 0,
            lies: BTreeMap::new(),
            records: BTreeMap::new(),
            denied: false,
            traces: Traces::True,
            calls: BTreeMap::new(),
        }))
    }

    /// Says that an actor runs the same code.
    pub fn add_instance(&mut self, id: u64) {
        self.memory.siblings.insert(id);
    }

    pub fn head(&self) -> Tipset {
        self.made[&self.head].tipset.clone()
    }

    /// Makes another chain of it, with the same actor.
    pub fn regenesis(&mut self) {
        let mut genesis = self.made[&self.head].clone();
        genesis.tipset = Tipset::from_block(header(vec![], 0, 1)).unwrap();
        self.head = genesis.tipset.key();
        self.made.insert(self.head.clone(), genesis);
    }

    /// Moves the head, back or elsewhere.
    pub fn set_head(&mut self, tipset: &Tipset) {
        self.head = tipset.key();
    }

    /// Adds a tipset on the head after `nulls` null rounds.
    pub fn mine(&mut self, nulls: i64, sent: impl IntoIterator<Item = impl Into<Sent>>) -> Tipset {
        let parent = self.made[&self.head].clone();
        self.nonce += 1;
        let height = parent.tipset.height + nulls + 1;
        let tipset = Tipset::from_block(header(parent.tipset.cids.clone(), height, self.nonce)).unwrap();
        let (messages, receipts, traces) = (vec![], vec![], vec![]);
        let mut made = Made { tipset: tipset.clone(), messages, receipts, traces, after: parent.after };
        (self.memory.epoch, self.memory.timestamp) = (height, tipset.blocks[0].timestamp);
        for sent in sent {
            self.execute(sent.into(), &mut made);
        }
        self.head = tipset.key();
        self.made.insert(self.head.clone(), made);
        tipset
    }

    /// Goes back by `depth` tipsets.
    pub fn rewind(&mut self, depth: usize) {
        for _ in 0..depth {
            self.head = self.made[&self.head].tipset.parents();
        }
    }

    fn execute(&mut self, sent: Sent, made: &mut Made) {
        self.nonce += 1;
        let other = Address::new_id(OTHERS[0]);
        let (to, message, calls, spare_gas) = match sent {
            Sent::To(to, message) => (to, Some(message), vec![], true),
            Sent::Elsewhere(message) => (other, Some(message), vec![], true),
            Sent::OutOfGas(message) => (ACTOR, Some(message), vec![], false),
            Sent::Evm(message) => return self.wrapped(message, made),
            Sent::Via(calls) => (other, None, calls, true),
            Sent::ViaFailing(calls) => (other, None, calls, false),
            Sent::Calling(message, calls) => (ACTOR, Some(message), calls, true),
            Sent::Deploy => {
                made.after = Some(Memory::new(TABLE).root);
                (Address::new_id(1), None, vec![], true)
            }
        };
        let before = made.after;
        let call = Sub { to, message, reverted: !spare_gas, calls };
        let trace = self.run(Address::new_id(ALICE), call, &mut made.after);
        if !trace.msg_rct.exit_code.is_success() {
            made.after = before;
        }
        self.record(trace, made);
    }

    /// As [`Chain::execute`], with parameters and return value wrapped.
    fn wrapped(&mut self, message: Message, made: &mut Made) {
        let mut trace = self.run(Address::new_id(ALICE), Sub::to(ACTOR, message), &mut made.after);
        trace.msg.params = evm::wrap_call(trace.msg.method, &trace.msg.params);
        trace.msg.method = method::INVOKE_EVM;
        trace.msg_rct.return_data = evm::wrap_return(&trace.msg_rct.return_data);
        self.record(trace, made);
    }

    fn record(&self, trace: ExecutionTrace, made: &mut Made) {
        let MessageTrace { to, method, params, .. } = trace.msg.clone();
        let message = Message_ { nonce: self.nonce, ..Message_::new(alice(), to, method, params) };
        made.messages.push(ApiMessage { cid: message.cid().unwrap(), message });
        made.receipts.push(receipt(&trace.msg_rct));
        made.traces.push(trace);
    }

    /// Runs a call on the actor's state, and what is called in it; answers the trace.
    fn run(&mut self, from: Address, call: Sub, state: &mut Option<Cid>) -> ExecutionTrace {
        let Sub { to, message, reverted, calls } = call;
        let before = *state;
        let (method, params) = message.as_ref().map_or((4, vec![]), |message| {
            let (method, params) = message.encode();
            (method, params.to_vec())
        });
        let ours = [ACTOR, alias()].contains(&to);
        let (mut code, mut returned) = match (message, *state) {
            (Some(message), Some(root)) if ours => {
                self.memory.root = root;
                let result = self.memory.apply_from(from.id().unwrap(), ALICE, message);
                *state = Some(self.memory.root);
                result.map_or_else(|abort| (abort.code(), vec![]), |applied| (0, applied.returned.encode().to_vec()))
            }
            (Some(_), None) if ours => (6, vec![]),
            _ => (0, vec![]),
        };
        let next = if ours { ACTOR } else { to };
        let subcalls = calls.into_iter().map(|call| self.run(next, call, state)).collect();
        if reverted {
            (code, returned, *state) = (7, vec![], before);
        }
        let value = TokenAmount::from_atto(0);
        let msg = MessageTrace { from, to, value, method, params, params_codec: 0x51, gas_limit: 0, read_only: false };
        let msg_rct = ReturnTrace { exit_code: ExitCode::new(code), return_data: returned, return_codec: 0x51 };
        ExecutionTrace { msg, msg_rct, gas_charges: vec![], subcalls }
    }

    /// What `Filecoin.StateReplay` answers.
    fn trace(&self, key: &TipsetKey, message: &Cid) -> Result<InvocResult, Failure> {
        let made = self.get(key)?;
        let index = made.messages.iter().position(|sent| sent.cid == *message);
        let index = index.ok_or_else(|| Failure::new("given message not found in tipset"))?;
        let mut trace = made.traces[index].clone();
        match self.traces {
            Traces::True => {}
            Traces::Bare => trace.subcalls.clear(),
            Traces::Unserved => return Err(unserved("Filecoin.StateReplay")),
        }
        Ok(invoked(made.messages[index].message.clone(), trace))
    }

    fn get(&self, key: &TipsetKey) -> Result<&Made, Failure> {
        let key = if key.is_head() { &self.head } else { key };
        self.made.get(key).ok_or_else(|| Failure::new("tipset: block not found"))
    }

    fn parent(&self, block: &Cid) -> Result<&Made, Failure> {
        let child = self.get(&TipsetKey(vec![*block]))?;
        self.get(&child.tipset.parents())
    }

    /// The actor's state from which the messages of `key` start.
    fn before(&self, key: &TipsetKey) -> Result<Cid, Failure> {
        let tipset = &self.get(key)?.tipset;
        let before = if tipset.height == 0 { self.get(key)? } else { self.get(&tipset.parents())? };
        before.after.filter(|_| !self.denied).ok_or_else(|| Failure::new("resolution lookup failed: actor not found"))
    }

    fn at(&self, height: i64, key: &TipsetKey, after: bool) -> Result<Tipset, Failure> {
        let mut at = self.get(key)?;
        if height > at.tipset.height {
            return Err(Failure::new("looking for tipset with height greater than start point"));
        }
        while at.tipset.height > height {
            let parent = self.get(&at.tipset.parents())?;
            if after && parent.tipset.height < height {
                break;
            }
            at = parent;
        }
        Ok(at.tipset.clone())
    }

    fn receipts(&mut self, block: &Cid) -> Result<Vec<MessageReceipt>, Failure> {
        if let Some((times, lie)) = self.lies.get_mut(&TipsetKey(vec![*block]))
            && *times > 0
        {
            *times -= 1;
            return Ok(lie.clone());
        }
        Ok(self.parent(block)?.receipts.clone())
    }

    fn lookup(&self, address: Address) -> Result<Address, Failure> {
        match address {
            address if address == alias() => Ok(ACTOR),
            address if address == alice() => Ok(Address::new_id(ALICE)),
            address if address.id().is_ok() => Ok(address),
            _ => Err(Failure::new("actor not found")),
        }
    }

    fn call(&mut self, message: Message_, key: &TipsetKey) -> Result<InvocResult, Failure> {
        let root = self.before(key)?;
        let params: bucket_core::abi::BucketParams = bucket_core::abi::decode("Bucket", &message.params).unwrap();
        self.memory.root = root;
        let record: Result<Bucket, _> = self.memory.bucket(&params.bucket);
        let (code, bytes) = record
            .map_or_else(|abort| (abort.code(), vec![]), |record| (0, bucket_core::abi::encode(&record).to_vec()));
        let bytes = self.records.get(params.bucket.as_str()).cloned().unwrap_or(bytes);
        let (from, value, params) = (message.from, message.value.clone(), message.params.clone());
        let (method, params_codec, gas_limit, read_only) = (message.method, 0x51, 0, false);
        let msg = MessageTrace { from, to: ACTOR, value, method, params, params_codec, gas_limit, read_only };
        let msg_rct = ReturnTrace { exit_code: ExitCode::new(code), return_data: bytes, return_codec: 0x51 };
        Ok(invoked(message, ExecutionTrace { msg, msg_rct, gas_charges: vec![], subcalls: vec![] }))
    }
}

use bucket_rpc::json::Message as Message_;

/// Answers a call on the locked chain, and counts it.
macro_rules! answer {
    ($server:expr, $($method:ident => |$chain:ident, $params:pat_param| $body:expr;)+) => {
        $server$(.method::<$method, _, _>(|shared: Shared, $params| async move {
            let mut $chain = shared.lock().unwrap();
            *$chain.calls.entry(stringify!($method)).or_default() += 1;
            $body
        }))+
    };
}

fn router(chain: Shared) -> axum::Router {
    answer!(Server::new(chain),
        ChainHead => |chain, ()| Ok(chain.head());
        ChainGetGenesis => |chain, ()| chain.at(0, &TipsetKey::HEAD, false);
        StateNetworkName => |chain, ()| Ok(format!("fake-{}", chain.made.len()));
        ChainGetTipSet => |chain, (key,)| Ok(chain.get(&key)?.tipset.clone());
        ChainGetTipSetByHeight => |chain, (height, key)| chain.at(height, &key, false);
        ChainGetTipSetAfterHeight => |chain, (height, key)| chain.at(height, &key, true);
        ChainGetFinalizedTipSet => |chain, ()| chain.at((chain.head().height - 5).max(0), &TipsetKey::HEAD, false);
        ChainGetParentMessages => |chain, (Lotus(block),)| Ok(chain.parent(&block)?.messages.clone());
        ChainGetParentReceipts => |chain, (Lotus(block),)| chain.receipts(&block);
        StateLookupID => |chain, (Lotus(address), _)| Ok(Lotus(chain.lookup(address)?));
        StateCall => |chain, (message, key)| chain.call(message, &key);
        StateReplay => |chain, (key, Lotus(message))| chain.trace(&key, &message);
        StateGetActor => |chain, (_, key)| Ok(ActorState {
            code: blake2b_cid(b"code"),
            head: chain.before(&key)?,
            nonce: 0,
            balance: TokenAmount::from_atto(0),
            delegated_address: None,
        });
    )
    .into_router()
}

/// Serves the chain on `listen` until the task is aborted.
pub async fn serve(chain: Shared, listen: &str) -> (String, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind(listen).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move { axum::serve(listener, router(chain)).await.unwrap() });
    (url, task)
}
