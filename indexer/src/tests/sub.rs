//! Calls within the messages of a made-up chain, and how its node tells of them.

use bucket_core::abi::Message;
use bucket_rpc::Failure;
use bucket_rpc::json::{ExecutionTrace, InvocResult, Message as ChainMessage, MessageReceipt, MsgGasCost, ReturnTrace};
use bucket_rpc::server::code;
use fvm_shared::address::Address;

/// Who is called by a message, and calls on.
#[derive(Clone)]
pub struct Sub {
    pub to: Address,
    pub message: Option<Message>,
    pub reverted: bool,
    pub calls: Vec<Sub>,
}

impl Sub {
    /// A call to the actor, by any of its names.
    pub fn to(to: Address, message: Message) -> Self {
        Self { to, message: Some(message), reverted: false, calls: vec![] }
    }

    /// A call to another actor, which calls on.
    pub fn other(id: u64, calls: impl Into<Vec<Sub>>) -> Self {
        Self { to: Address::new_id(id), message: None, reverted: false, calls: calls.into() }
    }

    /// The same call; it fails after all it did.
    pub fn reverted(self) -> Self {
        Self { reverted: true, ..self }
    }
}

/// How a node answers when it is asked for a trace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Traces {
    /// As it was.
    True,
    /// Without the calls in messages.
    Bare,
    /// Not at all.
    Unserved,
}

pub fn receipt(ended: &ReturnTrace) -> MessageReceipt {
    let ReturnTrace { exit_code, return_data, .. } = ended.clone();
    MessageReceipt { exit_code, return_data, gas_used: 1, events_root: None }
}

pub fn invoked(msg: ChainMessage, execution_trace: ExecutionTrace) -> InvocResult {
    InvocResult {
        msg_cid: msg.cid().unwrap(),
        msg,
        msg_rct: Some(receipt(&execution_trace.msg_rct)),
        gas_cost: MsgGasCost::default(),
        execution_trace,
        error: String::new(),
        duration: 0,
    }
}

/// As a server says that it doesn't have a method.
pub fn unserved(method: &str) -> Failure {
    Failure::with_code(code::METHOD_NOT_FOUND, format!("method '{method}' not found"))
}
