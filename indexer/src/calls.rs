//! Calls to the actor that no message carries: what other actors sent it while a message ran.
//!
//! Only traces tell of them. A node executes the tipset again for each trace, so they are asked for only when the messages
//! alone don't explain the actor's state (see [`crate::follow`]).
//!
//! **Order.** Calls are taken parent before child. Another order would need to know when a call set its state root: the actor
//! does so before it calls anybody who may call back.

use std::time::Duration;

use anyhow::Result;
use bucket_rpc::RpcError;
use bucket_rpc::json::{ApiMessage, ExecutionTrace, InvocResult, Message, MessageReceipt, TipsetKey};
use bucket_rpc::methods::StateReplay;
use bucket_rpc::server::code;
use cid::Cid;
use futures::{StreamExt, TryStreamExt, stream};
use fvm_shared::address::{Address, Payload};

use crate::node::{Node, Results};
use crate::replay::{Input, hex};

/// Executing a full tipset again, up to its last message.
const TRACE_TIMEOUT: Duration = Duration::from_secs(120);

/// Traces that are fetched at once.
const FETCH_AHEAD: usize = 4;

/// Waits before a node is asked again that refused in other words than those for a method that it doesn't have: a halt is
/// for good, and a node that only just restarted is no reason for one.
const AGAIN: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];

/// A call that succeeded, and that nothing above it reverted.
#[derive(Debug, Clone)]
pub struct Call {
    /// The message in which it was made.
    pub cid: Cid,
    /// Who signed that message.
    pub origin: Address,
    /// The caller; the origin, for a message.
    pub from: Address,
    /// The callee, by any of its names.
    pub to: Address,
    /// Whether money came along.
    pub value: bool,
    /// The callee's method.
    pub method: u64,
    /// Its parameters.
    pub params: Vec<u8>,
    /// What it returned.
    pub returned: Vec<u8>,
}

/// A tipset's calls to the actor, as traces tell them.
#[derive(Debug, Clone)]
pub struct Traced {
    /// All calls; those by messages alone when the node gives no traces.
    pub inputs: Vec<Input>,
    /// What was asked and what came, when the node gives no traces.
    pub refused: Option<String>,
}

/// Whether code may run at an address. Accounts (f1, f3) call nobody.
fn may_run(to: &Address) -> bool {
    matches!(to.payload(), Payload::ID(_) | Payload::Actor(_) | Payload::Delegated(_))
}

impl Call {
    /// The call that a message is; `None` when it failed or is for an account: then nothing happened in it that matters.
    pub fn of_message(sent: ApiMessage, receipt: MessageReceipt) -> Option<Self> {
        let ApiMessage { cid, message: Message { to, from, value, method, params, .. } } = sent;
        let returned = receipt.return_data;
        let matters = receipt.exit_code.is_success() && may_run(&to);
        matters.then(|| Self { cid, origin: from, from, to, value: !value.is_zero(), method, params, returned })
    }

    /// The message itself, then the calls that were made in it.
    fn with_inner(&self, trace: &ExecutionTrace) -> Vec<Self> {
        let mut calls = vec![self.clone()];
        let mut next: Vec<&ExecutionTrace> = trace.subcalls.iter().rev().collect();
        while let Some(ExecutionTrace { msg, msg_rct, subcalls, .. }) = next.pop() {
            // What a failed call did is taken back, with all that was called in it.
            if !msg_rct.exit_code.is_success() {
                continue;
            }
            calls.push(Self {
                cid: self.cid,
                origin: self.origin,
                from: msg.from,
                to: msg.to,
                value: !msg.value.is_zero(),
                method: msg.method,
                params: msg.params.clone(),
                returned: msg_rct.return_data.clone(),
            });
            next.extend(subcalls.iter().rev());
        }
        calls.retain(|call| may_run(&call.to));
        calls
    }
}

impl Node {
    /// All calls to the actor in `tipset`, whose `results` its child at `at` brought.
    pub async fn traced(&self, tipset: &TipsetKey, results: &Results, at: &TipsetKey) -> Result<Traced> {
        let calls: Result<Vec<Vec<Call>>, Untraced> = stream::iter(results.calls.clone())
            .map(|call| self.inner(tipset, call))
            .buffered(FETCH_AHEAD)
            .try_collect()
            .await;
        let calls = match calls {
            Ok(calls) => calls,
            Err(Untraced::Away(error)) => return Err(error.into()),
            Err(Untraced::Refused(text)) => {
                return Ok(Traced { inputs: results.inputs.clone(), refused: Some(text) });
            }
        };
        let mut inputs = Vec::new();
        for call in calls.iter().flatten() {
            inputs.extend(self.input(call, at).await?);
        }
        Ok(Traced { inputs, refused: None })
    }

    async fn inner(&self, tipset: &TipsetKey, call: Call) -> Result<Vec<Call>, Untraced> {
        let asked = || format!("Filecoin.StateReplay of message {} in tipset {tipset}", call.cid);
        let InvocResult { msg_rct, execution_trace, .. } = match self.replayed(tipset, call.cid).await {
            Ok(result) => result,
            Err(error) if error.is_transient() => return Err(Untraced::Away(error)),
            Err(error) => return Err(Untraced::Refused(format!("the node gives no trace by {}: {error}", asked()))),
        };
        let (code, returned) = msg_rct.map(|receipt| (receipt.exit_code, receipt.return_data)).unzip();
        if code.is_none_or(|code| !code.is_success()) || returned.as_ref() != Some(&call.returned) {
            let came = code.map_or("no receipt".into(), |code| format!("exit code {}", code.value()));
            let came = format!("{came}, returned {}", hex(&returned.unwrap_or_default()));
            let expected = format!("exit code 0, returned {}", hex(&call.returned));
            return Err(Untraced::Refused(format!(
                "{} gives another receipt: expected {expected}, got {came}",
                asked()
            )));
        }
        Ok(call.with_inner(&execution_trace))
    }

    async fn replayed(&self, tipset: &TipsetKey, message: Cid) -> Result<InvocResult, RpcError> {
        let ask = || self.client.call_with_timeout::<StateReplay>((tipset.clone(), message.into()), TRACE_TIMEOUT);
        for wait in AGAIN {
            match ask().await {
                Err(error @ RpcError::Node { .. }) if error.code() != Some(code::METHOD_NOT_FOUND) => {
                    tracing::warn!("The node gives no trace of message {message}, asking again: {error}");
                    tokio::time::sleep(wait).await;
                }
                answer => return answer,
            }
        }
        ask().await
    }
}

/// Why there is no trace.
enum Untraced {
    /// Waiting may mend it.
    Away(RpcError),
    /// It doesn't.
    Refused(String),
}
