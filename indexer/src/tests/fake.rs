//! A node that is made up, for the watcher alone: a chain whose tipsets are as a test wants them, behind real JSON-RPC. Its
//! actor is the real machine.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bucket_core::abi::Message;
use bucket_core::bucket::Bucket;
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

use super::rig::ALICE;

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
        let genesis = Made { tipset, messages: vec![], receipts: vec![], after };
        Arc::new(Mutex::new(Self {
            made: [(head.clone(), genesis)].into(),
            memory,
            head,
            nonce: 0,
            lies: BTreeMap::new(),
            records: BTreeMap::new(),
            denied: false,
            calls: BTreeMap::new(),
        }))
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
        let mut made = Made { tipset: tipset.clone(), messages: vec![], receipts: vec![], after: parent.after };
        self.memory.epoch = height;
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
        let other = Address::new_id(99);
        let (to, message, spare_gas) = match sent {
            Sent::To(to, message) => (to, Some(message), true),
            Sent::Elsewhere(message) => (other, Some(message), true),
            Sent::OutOfGas(message) => (ACTOR, Some(message), false),
            Sent::Deploy => {
                made.after = Some(Memory::new(TABLE).root);
                (Address::new_id(1), None, true)
            }
        };
        let (method, params) = message.as_ref().map_or((4, vec![]), |message| {
            let (method, params) = message.encode();
            (method, params.to_vec())
        });
        let (code, returned) = match (message, made.after) {
            (Some(_), _) if !spare_gas => (7, vec![]),
            (Some(message), Some(root)) if to != other => {
                self.memory.root = root;
                let result = self.memory.apply(ALICE, message);
                made.after = Some(self.memory.root);
                result.map_or_else(|abort| (abort.code(), vec![]), |applied| (0, applied.returned.encode().to_vec()))
            }
            (Some(_), None) if to != other => (6, vec![]),
            _ => (0, vec![]),
        };
        let message = Message_ { nonce: self.nonce, ..Message_::new(alice(), to, method, params) };
        made.messages.push(ApiMessage { cid: message.cid().unwrap(), message });
        made.receipts.push(MessageReceipt {
            exit_code: ExitCode::new(code),
            return_data: returned,
            gas_used: 1,
            events_root: None,
        });
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
        let receipt = serde_json::json!({"ExitCode": code, "Return": "", "ReturnCodec": 0});
        let trace = serde_json::json!({
            "Msg": {"From": "f00", "To": "f01000", "Value": "0", "Method": 0, "Params": "", "ParamsCodec": 0},
            "MsgRct": receipt,
        });
        Ok(InvocResult {
            msg_cid: message.cid().unwrap(),
            msg: message,
            msg_rct: Some(MessageReceipt {
                exit_code: ExitCode::new(code),
                return_data: bytes,
                gas_used: 0,
                events_root: None,
            }),
            gas_cost: MsgGasCost::default(),
            execution_trace: serde_json::from_value(trace).unwrap(),
            error: String::new(),
            duration: 0,
        })
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
