//! Messages that wait for a tipset, by sender and nonce.
//!
//! The rules and the errors' words are those of lotus:chain/messagepool for a message that a wallet hands in, with one
//! exception: `Init.InstallCode` may be larger, or no module could be installed. Lotus would refuse it. Messages that
//! wait live in memory only; whatever is in a tipset is durable.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow, ensure};
use bucket_rpc::{
    eth,
    json::{Message, SignatureType, SignedMessage},
};
use fvm::gas::price_list_by_network_version;
use fvm_shared::{
    MethodNum, address::Address, bigint::BigInt, crypto::signature, econ::TokenAmount, version::NetworkVersion,
};

use crate::{
    block::execution_order,
    config::{CHAIN_ID, NETWORK_VERSION},
    drive::{INIT, INSTALL_CODE},
    fees::{BLOCK_GAS_LIMIT, MINIMUM_BASE_FEE},
};

/// The most bytes of a signed message.
pub const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// The same for `Init.InstallCode`. The FVM itself ends at 1 MiB a block, and with that a module.
pub const INSTALL_BYTES_MAX: usize = 2 << 20;

/// The most messages that may wait of one sender.
const PENDING_MAX: usize = 1_000;

/// The most messages in a block. lotus:build/buildconstants `BlockMessageLimit`.
const BLOCK_MESSAGES_MAX: usize = 10_000;

/// All FIL there can be.
const TOTAL_FIL: u64 = 2_000_000_000;

/// What the pool has to know of a sender, after the head's messages.
#[derive(Debug, Clone)]
pub struct Sender {
    /// The nonce that its next message has to have.
    pub nonce: u64,
    /// What it owns.
    pub balance: TokenAmount,
}

/// Messages that wait.
#[derive(Debug, Default)]
pub struct Mempool {
    senders: BTreeMap<Address, BTreeMap<u64, Waiting>>,
    /// Numbers messages as they come, up; and those that a reorg gave back, down, so that they go first.
    last: i64,
    first: i64,
}

#[derive(Debug, Clone)]
struct Waiting {
    message: SignedMessage,
    arrival: i64,
}

impl Mempool {
    /// Takes a message in, or says why not. It may wait for a gap in the nonces to be filled.
    pub fn add(&mut self, message: SignedMessage, sender: &Sender) -> Result<()> {
        check(&message)?;
        let Message { from, nonce, .. } = message.message;
        ensure!(nonce >= sender.nonce, "minimum expected nonce is {}: message nonce too low", sender.nonce);
        self.check_place(&message, sender)?;
        self.check_funds(&message, sender)?;
        self.last += 1;
        let waiting = Waiting { message, arrival: self.last };
        self.senders.entry(from).or_default().insert(nonce, waiting);
        Ok(())
    }

    /// Whether the nonce is free, or the message pays enough to take another's place.
    fn check_place(&self, message: &SignedMessage, sender: &Sender) -> Result<()> {
        let Message { from, nonce, ref gas_premium, .. } = message.message;
        let Some(waiting) = self.senders.get(&from) else { return Ok(()) };
        let Some(other) = waiting.get(&nonce) else {
            ensure!(
                waiting.len() < PENDING_MAX,
                "too many pending messages from actor {from}: {} of at most {PENDING_MAX}, the next nonce is {}",
                waiting.len(),
                self.next_nonce(&from, sender.nonce)
            );
            return Ok(());
        };
        ensure!(
            message.cid()? != other.message.cid()?,
            "message from {from} with nonce {nonce} already in mpool: message with nonce already exists"
        );
        let premium = &other.message.message.gas_premium;
        // lotus: a quarter more, and one attoFIL.
        let least = TokenAmount::from_atto(premium.atto() * 5u8 / BigInt::from(4) + 1u8);
        ensure!(
            *gas_premium >= least,
            "message from {from} with nonce {nonce} already in mpool, increase GasPremium to {} from {} to trigger \
             replace by fee: replace by fee has too low GasPremium",
            least.atto(),
            premium.atto()
        );
        Ok(())
    }

    /// Whether the sender can pay the gas of this message and of those before it.
    fn check_funds(&self, message: &SignedMessage, sender: &Sender) -> Result<()> {
        let Message { from, nonce, .. } = message.message;
        let required = gas_funds(&message.message);
        let balance = &sender.balance;
        ensure!(
            *balance >= required,
            "not enough funds (required: {required} FIL, balance: {balance} FIL): not enough funds to execute \
             transaction"
        );
        let waiting = self.senders.get(&from).into_iter().flatten().filter(|(other, _)| **other != nonce);
        let required =
            waiting.map(|(_, waiting)| gas_funds(&waiting.message.message)).fold(required, |sum, one| sum + one);
        ensure!(
            *balance >= required,
            "not enough funds including pending messages (required: {required} FIL, balance: {balance} FIL): \
             validation failure"
        );
        Ok(())
    }

    /// The nonce that the sender's next message should have: the first that nothing waits with.
    pub fn next_nonce(&self, from: &Address, state_nonce: u64) -> u64 {
        let Some(waiting) = self.senders.get(from) else { return state_nonce };
        let mut next = state_nonce;
        while waiting.contains_key(&next) {
            next += 1;
        }
        next
    }

    /// How many messages wait.
    pub fn len(&self) -> usize {
        self.senders.values().map(BTreeMap::len).sum()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.senders.is_empty()
    }

    /// All that wait, by sender and nonce.
    pub fn pending(&self) -> impl Iterator<Item = &SignedMessage> {
        self.senders.values().flat_map(BTreeMap::values).map(|waiting| &waiting.message)
    }

    /// Those of one sender that wait without a gap, in order.
    pub fn ready_of(&self, from: &Address, state_nonce: u64) -> Vec<SignedMessage> {
        let next = self.next_nonce(from, state_nonce);
        let waiting = self.senders.get(from).into_iter();
        waiting.flat_map(|waiting| waiting.range(state_nonce..next)).map(|(_, one)| one.message.clone()).collect()
    }

    /// Chooses messages for a tipset: as they came, each sender's in the order of nonces, as many as a block holds.
    ///
    /// Lotus orders by what a message pays; here nobody competes.
    pub fn select(
        &self,
        base_fee: &TokenAmount,
        mut sender: impl FnMut(&Address) -> Result<Option<Sender>>,
    ) -> Result<Vec<SignedMessage>> {
        let mut ready = Vec::new();
        for (from, waiting) in &self.senders {
            let Some(Sender { nonce, mut balance }) = sender(from)? else { continue };
            let mut before = i64::MIN;
            for (expected, (nonce, waiting)) in (nonce..).zip(waiting.range(nonce..)) {
                let message = &waiting.message.message;
                balance -= gas_funds(message);
                if *nonce != expected || message.gas_fee_cap < *base_fee || balance.is_negative() {
                    break;
                }
                // As in Lotus: a value that is not there makes the message fail, not wait.
                if balance >= message.value {
                    balance -= &message.value;
                }
                // A message cannot go before the one that its sender numbered before it.
                before = before.max(waiting.arrival);
                ready.push((before, &waiting.message));
            }
        }
        ready.sort_by_key(|(arrival, message)| (*arrival, message.message.nonce));
        let mut gas = 0u64;
        let fits = |message: &&SignedMessage| {
            gas = gas.saturating_add(message.message.gas_limit);
            gas <= BLOCK_GAS_LIMIT
        };
        let chosen = ready.into_iter().map(|(_, message)| message).take(BLOCK_MESSAGES_MAX).take_while(fits).cloned();
        Ok(execution_order(chosen.collect()))
    }

    /// Forgets the messages that a tipset has taken, and others of the same nonces.
    pub fn remove<'a>(&mut self, included: impl IntoIterator<Item = &'a Message>) {
        for message in included {
            if let Some(waiting) = self.senders.get_mut(&message.from) {
                waiting.remove(&message.nonce);
                if waiting.is_empty() {
                    self.senders.remove(&message.from);
                }
            }
        }
    }

    /// Takes back the messages of tipsets that a reorg has undone, oldest first. They go before all others.
    pub fn restore(&mut self, messages: Vec<SignedMessage>) {
        for message in messages.into_iter().rev() {
            self.first -= 1;
            let Message { from, nonce, .. } = message.message;
            let waiting = Waiting { message, arrival: self.first };
            self.senders.entry(from).or_default().insert(nonce, waiting);
        }
    }
}

/// What gas may cost the sender at most. Lotus leaves the value out: a message may fail for it, but be included.
fn gas_funds(message: &Message) -> TokenAmount {
    &message.gas_fee_cap * message.gas_limit
}

/// What can be said of a message without knowing its sender's state.
fn check(signed: &SignedMessage) -> Result<()> {
    let message = &signed.message;
    let length = signed.to_cbor()?.len();
    let most = if is_install(message) { INSTALL_BYTES_MAX } else { MESSAGE_BYTES_MAX };
    ensure!(length <= most, "mpool message too large ({length}B): message too big");
    check_fields(message, signed.chain_length()?)?;
    ensure!(message.gas_fee_cap >= TokenAmount::from_atto(MINIMUM_BASE_FEE), "gas fee cap too low");
    check_signature(signed)
}

fn is_install(message: &Message) -> bool {
    const METHOD: MethodNum = INSTALL_CODE;
    message.to == INIT && message.method == METHOD
}

/// lotus:chain/types/message.go `ValidForBlockInclusion`.
fn check_fields(message: &Message, chain_length: usize) -> Result<()> {
    let Message { version, value, gas_limit, gas_fee_cap, gas_premium, .. } = message;
    let invalid = "message not valid for block inclusion";
    ensure!(*version == 0, "{invalid}: 'Version' unsupported");
    ensure!(!value.is_negative(), "{invalid}: 'Value' field cannot be negative");
    ensure!(
        *value <= TokenAmount::from_whole(TOTAL_FIL),
        "{invalid}: 'Value' field cannot be greater than total filecoin supply"
    );
    ensure!(!gas_fee_cap.is_negative(), "{invalid}: 'GasFeeCap' field cannot be negative");
    ensure!(!gas_premium.is_negative(), "{invalid}: 'GasPremium' field cannot be negative");
    ensure!(gas_premium <= gas_fee_cap, "{invalid}: 'GasFeeCap' less than 'GasPremium'");
    ensure!(
        *gas_limit <= BLOCK_GAS_LIMIT,
        "{invalid}: 'GasLimit' field cannot be greater than a block's gas limit ({gas_limit} > {BLOCK_GAS_LIMIT})"
    );
    let prices = price_list_by_network_version(NetworkVersion::from(NETWORK_VERSION));
    let least = prices.on_chain_message(chain_length).total().round_up();
    ensure!(
        *gas_limit >= least,
        "message will not be included in a block: 'GasLimit' field cannot be less than the cost of storing a message \
         on chain {gas_limit} < {least}"
    );
    Ok(())
}

fn check_signature(signed: &SignedMessage) -> Result<()> {
    let SignedMessage { message, signature } = signed;
    let sig_type = match signature.sig_type {
        SignatureType::Secp256k1 => signature::SignatureType::Secp256k1,
        SignatureType::Bls => signature::SignatureType::BLS,
        SignatureType::Delegated => {
            return eth::verify(signed, CHAIN_ID).map_err(|why| anyhow!("signature verification failed: {why}"));
        }
    };
    let signed_bytes = message.cid()?.to_bytes();
    signature::verify(sig_type, &signature.data, &signed_bytes, &message.from)
        .map_err(|why| anyhow!("signature verification failed: {why}"))
}
