//! Messages to any actor: tried, sized and paid for before they are signed, then sent and waited for.
//!
//! A message's receipt on the chain holds an exit code and nothing else. So every message is executed by the node before it
//! is signed: what would fail is told in the actor's own words, and costs nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bucket_core::evm::unwrap_return;
use bucket_core::limits::MESSAGE_BYTES_MAX;
use bucket_rpc::eth::{is_eth_sender, parse_chain_id};
use bucket_rpc::json::{InvocResult, Message, MsgLookup, Signature, SignedMessage, TipsetKey};
use bucket_rpc::methods::*;
use bucket_rpc::{Client, RpcError};
use cid::Cid;
use fvm_shared::MethodNum;
use fvm_shared::address::Address;
use fvm_shared::clock::ChainEpoch;
use fvm_shared::econ::TokenAmount;

use crate::error::{ClientError, explain_exit};
use crate::key::{KeyError, SIGNATURE_BYTES, Signer, eth_message, sign_message};
use crate::progress::{Progress, Step};

/// Epochs after which the chain takes nothing back: Filecoin's chain finality.
pub const FINALITY: i64 = 900;

/// How long a message is waited for: twenty epochs of the real networks.
pub const WAIT_TIMEOUT: Duration = Duration::from_secs(600);

/// One `StateWaitMsg` lasts at most so long: proxies cut longer requests.
const WAIT_CALL: Duration = Duration::from_secs(50);

/// Between two tries when the node is away.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

/// Between two lines of progress.
const TICK: Duration = Duration::from_secs(3);

/// Gas of a block (Lotus, `build/buildconstants/params_shared_vals.go`): no message may have more.
const BLOCK_GAS_LIMIT: u64 = 10_000_000_000;

/// A message that was executed with exit code 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent<T> {
    /// The message's CID, as the chain calls it.
    pub message: Cid,
    /// The epoch of the tipset that holds its receipt.
    pub height: ChainEpoch,
    /// That tipset.
    pub tipset: TipsetKey,
    /// Gas that it used.
    pub gas_used: u64,
    /// What it returned.
    pub value: T,
}

impl<T> Sent<T> {
    /// The same message with another view of what it returned.
    pub fn try_map<U, E>(self, f: impl FnOnce(T) -> Result<U, E>) -> Result<Sent<U>, E> {
        let Self { message, height, tipset, gas_used, value } = self;
        Ok(Sent { message, height, tipset, gas_used, value: f(value)? })
    }
}

/// A node, and who signs. A clone shares connections and the order of nonces.
#[derive(Clone)]
pub struct Chain {
    rpc: Client,
    signer: Option<Arc<dyn Signer>>,
    /// Held from asking for a nonce to handing the message in, so that two messages never get the same one.
    sending: Arc<tokio::sync::Mutex<()>>,
    confidence: u64,
    timeout: Duration,
    message_bytes_max: usize,
    progress: Progress,
}

impl Chain {
    /// A node without a key: it can be asked, and nothing can be sent.
    pub fn new(rpc: Client) -> Self {
        Self {
            rpc,
            signer: None,
            sending: Arc::default(),
            confidence: 0,
            timeout: WAIT_TIMEOUT,
            message_bytes_max: MESSAGE_BYTES_MAX,
            progress: Progress::default(),
        }
    }

    /// Signs with `signer` from now on.
    #[must_use]
    pub fn with_signer(self, signer: Arc<dyn Signer>) -> Self {
        Self { signer: Some(signer), sending: Arc::default(), ..self }
    }

    /// Waits for so many epochs above a message's result. 0 takes it as soon as it is there.
    #[must_use]
    pub fn with_confidence(self, confidence: u64) -> Self {
        Self { confidence, ..self }
    }

    /// Waits at most so long for a message or a receipt.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Tells `progress` what happens.
    #[must_use]
    pub fn with_progress(self, progress: Progress) -> Self {
        Self { progress, ..self }
    }

    /// Allows larger messages than the public networks do.
    #[must_use]
    pub fn with_message_bytes_max(self, message_bytes_max: usize) -> Self {
        Self { message_bytes_max, ..self }
    }

    /// The node.
    pub fn rpc(&self) -> &Client {
        &self.rpc
    }

    /// How long things are waited for.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(crate) fn tell(&self, step: Step) {
        self.progress.tell(step);
    }

    /// Who signs.
    pub fn signer(&self) -> Result<&Arc<dyn Signer>, ClientError> {
        self.signer.as_ref().ok_or(ClientError::NoKey)
    }

    /// What `from` would get by a message, or by the system actor when there is no key. Costs and changes nothing.
    pub async fn call(&self, to: Address, method: MethodNum, params: Vec<u8>) -> Result<Vec<u8>, ClientError> {
        let from = self.signer.as_ref().map_or(Address::new_id(0), |signer| signer.address());
        let message = Message::new(from, to, method, params);
        let result = match self.rpc.call::<StateCall>((message.clone(), TipsetKey::HEAD)).await {
            Ok(result) => result,
            Err(error @ RpcError::Node { .. }) => return Err(self.who_is_missing(&message, error).await),
            Err(error) => return Err(error.into()),
        };
        outcome(result, to)
    }

    /// Sends a message and waits for its result.
    pub async fn send(&self, to: Address, method: MethodNum, params: Vec<u8>) -> Result<Sent<Vec<u8>>, ClientError> {
        let message = self.push(to, method, params).await?;
        self.wait(message).await
    }

    /// Tries, sizes, prices and signs a message, and hands it in. Answers what to wait for.
    pub async fn push(&self, to: Address, method: MethodNum, params: Vec<u8>) -> Result<Cid, ClientError> {
        self.push_with(to, method, params, 0).await
    }

    /// As [`Chain::push`], with so much gas more than the node's estimate, as far as a block has it.
    pub async fn push_with(
        &self,
        to: Address,
        method: MethodNum,
        params: Vec<u8>,
        reserve: u64,
    ) -> Result<Cid, ClientError> {
        let signer = self.signer()?;
        let mut message = Message::new(signer.address(), to, method, params);
        if is_eth_sender(&message.from) {
            message = match self.rpc.call::<StateLookupID>((to.into(), TipsetKey::HEAD)).await {
                Ok(id) => eth_message(message, id.into_inner())?,
                Err(error @ RpcError::Node { .. }) => return Err(self.who_is_missing(&message, error).await),
                Err(error) => return Err(error.into()),
            };
        }
        // The node isn't bothered with what can't be sent anyway.
        self.check_size(&message)?;
        let message = self.estimate(message, reserve).await?;
        self.check_size(&message)?;
        self.check_funds(&message).await?;
        // After this point it costs.
        let cid = self.sign_and_push(signer.as_ref(), message).await?;
        self.tell(Step::Sent(cid));
        Ok(cid)
    }

    async fn sign_and_push(&self, signer: &dyn Signer, mut message: Message) -> Result<Cid, ClientError> {
        let _sending = self.sending.lock().await;
        message.nonce = self.rpc.call::<MpoolGetNonce>((message.from.into(),)).await?;
        let chain_id = match is_eth_sender(&message.from) {
            true => parse_chain_id(&self.rpc.call::<EthChainId>(()).await?).map_err(KeyError::from)?,
            false => 0,
        };
        let signed = sign_message(signer, message, chain_id)?;
        Ok(self.rpc.call::<MpoolPush>((signed,)).await?.into_inner())
    }

    fn check_size(&self, message: &Message) -> Result<(), ClientError> {
        // A nonce and gas fields take up to so many bytes more than zeros do.
        const UNKNOWN: usize = 32;
        let signature = Signature::secp256k1([0; SIGNATURE_BYTES]);
        let signed = SignedMessage { message: message.clone(), signature };
        let size = signed.chain_length().map_err(KeyError::from)? + UNKNOWN;
        if size > self.message_bytes_max { Err(ClientError::MessageTooLarge(size)) } else { Ok(()) }
    }

    /// Has the node execute the message on top of those that wait, and fill in its gas.
    async fn estimate(&self, message: Message, reserve: u64) -> Result<Message, ClientError> {
        match self.rpc.call::<GasEstimateMessageGas>((message.clone(), None, TipsetKey::HEAD)).await {
            Ok(mut message) => {
                message.gas_limit =
                    message.gas_limit.max(BLOCK_GAS_LIMIT.min(message.gas_limit.saturating_add(reserve)));
                let fee = fee(&message);
                self.tell(Step::Estimated { gas: message.gas_limit, fee });
                Ok(message)
            }
            Err(error @ RpcError::Node { .. }) => Err(self.why_not(&message, error).await),
            Err(error) => Err(error.into()),
        }
    }

    /// Estimation fails with a sentence; the same message as a call gives the exit code and the actor's words.
    async fn why_not(&self, message: &Message, error: RpcError) -> ClientError {
        match self.rpc.call::<StateCall>((message.clone(), TipsetKey::HEAD)).await {
            Ok(result) => match outcome(result, message.to) {
                Err(abort) => abort,
                Ok(_) => error.into(),
            },
            Err(_) => self.who_is_missing(message, error).await,
        }
    }

    async fn who_is_missing(&self, message: &Message, error: RpcError) -> ClientError {
        let absent = |address: Address| async move {
            let found = self.rpc.call::<StateGetActor>((address.into(), TipsetKey::HEAD)).await;
            matches!(found, Err(RpcError::Node { .. }))
        };
        if absent(message.from).await {
            ClientError::SenderMissing(message.from)
        } else if absent(message.to).await {
            ClientError::ActorMissing(message.to)
        } else {
            error.into()
        }
    }

    async fn check_funds(&self, message: &Message) -> Result<(), ClientError> {
        let balance = self.rpc.call::<WalletBalance>((message.from.into(),)).await?.into_inner();
        let needed = fee(message) + &message.value;
        if balance < needed {
            let (balance, needed) = (Box::new(balance), Box::new(needed));
            return Err(ClientError::Funds { address: message.from, balance, needed });
        }
        Ok(())
    }

    /// Waits until a message is on the chain, executed, with the confidence that was asked for.
    pub async fn wait(&self, message: Cid) -> Result<Sent<Vec<u8>>, ClientError> {
        let start = Instant::now();
        let found = tokio::select! {
            found = self.wait_long(message, start) => found?,
            () = self.tick(message, start) => unreachable!("it ticks for ever"),
        };
        let MsgLookup { receipt, tipset, height, message, .. } = found;
        if !receipt.exit_code.is_success() {
            let code = receipt.exit_code.value();
            // Best effort: not every node replays.
            let replayed = self.rpc.call::<StateReplay>((TipsetKey::HEAD, message.into())).await;
            let text = replayed.map(|result| result.error).unwrap_or_default();
            return Err(ClientError::Abort { code, message: abort_text(&text, code) });
        }
        // In this one form, which is no method's own, an f410 sender gets what its call returned.
        let value = unwrap_return(&receipt.return_data).unwrap_or(receipt.return_data);
        Ok(Sent { message, height, tipset, gas_used: receipt.gas_used, value })
    }

    async fn wait_long(&self, message: Cid, start: Instant) -> Result<MsgLookup, ClientError> {
        loop {
            let left = self.timeout.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Err(ClientError::WaitTimeout { message, seconds: self.timeout.as_secs() });
            }
            let params = (message.into(), self.confidence, -1, true);
            match self.rpc.call_with_timeout::<StateWaitMsg>(params, WAIT_CALL.min(left)).await {
                Ok(found) => return Ok(found),
                Err(RpcError::Timeout { .. }) => {}
                Err(error) if error.is_transient() => {
                    self.tell(Step::Retrying(error.to_string()));
                    tokio::time::sleep(RETRY_PAUSE.min(left)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn tick(&self, message: Cid, start: Instant) {
        loop {
            tokio::time::sleep(TICK).await;
            self.tell(Step::Waiting(message, start.elapsed()));
        }
    }
}

/// The most that a message can cost.
fn fee(message: &Message) -> TokenAmount {
    &message.gas_fee_cap * message.gas_limit
}

/// The FVM's exit code for a receiver that isn't there.
const INVALID_RECEIVER: u32 = 5;

fn outcome(result: InvocResult, to: Address) -> Result<Vec<u8>, ClientError> {
    let Some(receipt) = result.msg_rct else {
        return Err(ClientError::Abort { code: 0, message: result.error });
    };
    match receipt.exit_code.value() {
        0 => Ok(receipt.return_data),
        INVALID_RECEIVER => Err(ClientError::ActorMissing(to)),
        code => Err(ClientError::Abort { code, message: abort_text(&result.error, code) }),
    }
}

/// The actor's words out of what nodes say: `message failed with backtrace:\n00: f01000 (method 5) -- words (17)\n…`,
/// where the first frame is the one that failed.
fn abort_text(error: &str, code: u32) -> String {
    let end = format!("({code})");
    let words = |line: &str| {
        let (_, words) = line.split_once(" -- ")?;
        let words = words.trim_end();
        let words = words.strip_suffix(&end).unwrap_or(words).trim_end();
        (!words.is_empty()).then(|| words.to_owned())
    };
    match error.lines().find_map(words) {
        Some(words) => words,
        None => explain_exit(code).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_actors_words_are_found_in_a_nodes_error() {
        let lotus = "message failed with backtrace:\n00: f01000 (method 3929173870) -- unknown bucket did:key:z1: \
                     create it first (17)\n (RetCode=17)";
        assert_eq!(abort_text(lotus, 17), "unknown bucket did:key:z1: create it first");
        assert_eq!(abort_text("", 46), "the queue is empty: schedule a CAR first");
        assert_eq!(abort_text("RetCode=46", 46), "the queue is empty: schedule a CAR first");
    }
}
