//! Drives a [`Chain`] directly: a message is signed, put into a tipset of its own and executed, in one call.
//!
//! For tests and benches that want thousands of messages and no HTTP:
//!
//! ```
//! use bucket_devnet::{Chain, Config, IDLE, Message};
//!
//! let mut chain = Chain::open(&Config::default())?;
//! let alice = chain.account(0)?;
//! let actor = chain.deploy(&alice, IDLE, &[])?;
//! let result = chain.send(&alice, Message::new(alice.address(), actor.robust, 2, vec![]))?;
//! assert!(result.receipt.exit_code.is_success());
//! println!("{} gas, {:?}", result.receipt.gas_used, result.gas);
//! # anyhow::Ok(())
//! ```

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bucket_rpc::json::{Message, MsgGasCost, SignedMessage};
use cid::Cid;
use fvm::executor::{ApplyKind, ApplyRet};
use fvm_ipld_encoding::{RawBytes, tuple::*};
use fvm_shared::{METHOD_SEND, address::Address, econ::TokenAmount, event::StampedEvent, receipt::Receipt};

use crate::{
    account::Account,
    block::Block,
    chain::{Chain, Produced},
    check,
    executor::{Call, Env},
    fees::{BLOCK_GAS_LIMIT, BLOCK_GAS_TARGET},
    state::State,
    trace::{self, GasBreakdown},
};

/// Init's address.
pub const INIT: Address = Address::new_id(1);

/// Init's method that creates an actor of installed code.
pub const EXEC: u64 = 2;

/// Init's method that takes a wasm module. The real networks have none.
pub const INSTALL_CODE: u64 = 4;

/// What a message did.
#[derive(Debug, Clone)]
pub struct Executed {
    /// By which the chain knows the message.
    pub cid: Cid,
    /// The tipset that was made for it; its outcome is the state after the message.
    pub block: Arc<Block>,
    /// As the chain holds it.
    pub receipt: Receipt,
    /// What actors emitted.
    pub events: Vec<StampedEvent>,
    /// What gas was spent on.
    pub gas: GasBreakdown,
    /// Who paid what.
    pub cost: MsgGasCost,
    /// Why it failed, in the FVM's words; empty when it did not.
    pub failure: String,
}

/// The addresses of a new actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize_tuple)]
pub struct Deployed {
    /// f0.
    pub id: Address,
    /// f2, which does not change with a reorg.
    pub robust: Address,
}

#[derive(Serialize_tuple, Deserialize_tuple)]
struct InstallCodeParams {
    code: RawBytes,
}

#[derive(Deserialize_tuple)]
struct InstallCodeReturn {
    code_cid: Cid,
    #[expect(dead_code, reason = "part of the tuple")]
    installed: bool,
}

#[derive(Serialize_tuple)]
struct ExecParams {
    code_cid: Cid,
    constructor_params: RawBytes,
}

/// The parameters of `Init.InstallCode`.
pub fn install_code_params(wasm: &[u8]) -> Result<Vec<u8>> {
    Ok(fvm_ipld_encoding::to_vec(&InstallCodeParams { code: RawBytes::new(wasm.to_vec()) })?)
}

/// The module in parameters of `Init.InstallCode`.
pub(crate) fn install_code_of(params: &[u8]) -> Result<Vec<u8>> {
    let InstallCodeParams { code } = fvm_ipld_encoding::from_slice(params).context("no parameters of InstallCode")?;
    Ok(code.to_vec())
}

/// The parameters of `Init.Exec`.
pub fn exec_params(code_cid: Cid, constructor_params: &[u8]) -> Result<Vec<u8>> {
    let constructor_params = RawBytes::new(constructor_params.to_vec());
    Ok(fvm_ipld_encoding::to_vec(&ExecParams { code_cid, constructor_params })?)
}

/// What `Init.Exec` returned.
pub fn exec_return(return_data: &[u8]) -> Result<Deployed> {
    fvm_ipld_encoding::from_slice(return_data).context("this is no return value of Init.Exec")
}

pub(crate) fn install_message(sender: Address, wasm: &[u8]) -> Result<Message> {
    let message = Message::new(sender, INIT, INSTALL_CODE, install_code_params(wasm)?);
    // A large module needs more than half of a block.
    Ok(Message { gas_limit: BLOCK_GAS_LIMIT, ..message })
}

pub(crate) fn install_code_return(executed: &Executed) -> Result<Cid> {
    let returned: InstallCodeReturn = fvm_ipld_encoding::from_slice(executed.receipt.return_data.bytes())?;
    Ok(returned.code_cid)
}

pub(crate) fn exec_message(sender: Address, code: Cid, constructor_params: &[u8]) -> Result<Message> {
    Ok(Message::new(sender, INIT, EXEC, exec_params(code, constructor_params)?))
}

impl Chain {
    /// One of the funded accounts.
    pub fn account(&self, index: usize) -> Result<Account> {
        let accounts = self.config.accounts;
        ensure!(index < accounts, "there is no account {index}: genesis has funded {accounts}");
        Account::derive(&self.config.seed, index)
    }

    /// One of the funded Ethereum accounts: f410, delegated signatures.
    pub fn eth_account(&self, index: usize) -> Result<Account> {
        let accounts = self.config.eth_accounts;
        ensure!(index < accounts, "there is no Ethereum account {index}: genesis has funded {accounts}");
        Account::derive_eth(&self.config.seed, index)
    }

    /// The state after the head's messages. (A child of the head will call it its *parent* state.)
    pub fn state(&self) -> Result<State> {
        State::load(&self.store, &self.head().outcome.state_root)
    }

    /// Signs a message with the sender's next nonce and gives it a tipset of its own.
    ///
    /// Gas that is zero is filled in: half of what a block has, which keeps the base fee where it is, at that base fee.
    pub fn send(&mut self, sender: &Account, message: Message) -> Result<Executed> {
        let signed = self.prepare(sender, message)?;
        self.execute(signed)
    }

    /// What [`Chain::send`] would give a tipset to.
    pub fn prepare(&self, sender: &Account, mut message: Message) -> Result<SignedMessage> {
        message.nonce = self.state()?.actor(&sender.address())?.1.sequence;
        if message.gas_limit == 0 {
            message.gas_limit = BLOCK_GAS_TARGET;
        }
        if message.gas_fee_cap.is_zero() {
            message.gas_fee_cap = self.head().outcome.base_fee.clone();
        }
        sender.sign(message)
    }

    /// Gives a message a tipset of its own. The message pool's rules, signatures among them, are not checked.
    pub fn execute(&mut self, message: SignedMessage) -> Result<Executed> {
        let cid = message.cid()?;
        let Produced { block, mut applied } = self.produce(vec![message.clone()], true)?;
        self.commit()?;
        let result = applied.pop().context("a message without a result")?;
        Ok(Executed {
            cid,
            block,
            gas: trace::gas_breakdown(&result.exec_trace),
            cost: trace::gas_cost(&message.message.clone().into(), cid, &result),
            failure: check::failure(&message.message, &result),
            receipt: result.msg_receipt,
            events: result.events,
        })
    }

    /// Executes a message on the state after the head and keeps nothing of it. It needs no nonce and no money.
    pub fn call(&self, message: Message) -> Result<ApplyRet> {
        self.executor.try_last(self.env_after_head(), vec![implicit(message)])
    }

    /// Sends FIL.
    pub fn transfer(&mut self, sender: &Account, to: Address, value: TokenAmount) -> Result<Executed> {
        self.send(sender, Message { value, ..Message::new(sender.address(), to, METHOD_SEND, Vec::new()) })
    }

    /// Installs a wasm module and gives its code CID.
    pub fn install(&mut self, sender: &Account, wasm: &[u8]) -> Result<Cid> {
        let executed = self.send(sender, install_message(sender.address(), wasm)?)?.success()?;
        install_code_return(&executed)
    }

    /// Creates an actor of installed code.
    pub fn create(&mut self, sender: &Account, code: Cid, constructor_params: &[u8]) -> Result<Deployed> {
        let message = exec_message(sender.address(), code, constructor_params)?;
        let executed = self.send(sender, message)?.success()?;
        exec_return(executed.receipt.return_data.bytes())
    }

    /// Installs a wasm module and creates an actor of it.
    pub fn deploy(&mut self, sender: &Account, wasm: &[u8], constructor_params: &[u8]) -> Result<Deployed> {
        let code = self.install(sender, wasm)?;
        self.create(sender, code, constructor_params)
    }

    /// Where a message would be executed if the next tipset were made now.
    pub fn env_after_head(&self) -> Env {
        let head = self.head();
        Env {
            epoch: self.next_epoch(),
            timestamp: head.header.timestamp,
            base_fee: head.outcome.base_fee.clone(),
            state_root: head.outcome.state_root,
            parent: Some(head.cid),
        }
    }
}

impl Executed {
    /// The same, or an error that says why the message failed.
    pub fn success(self) -> Result<Self> {
        let exit_code = self.receipt.exit_code;
        ensure!(exit_code.is_success(), "message {} failed with exit code {exit_code}: {}", self.cid, self.failure);
        Ok(self)
    }
}

/// A message that needs no nonce, pays nothing, and may come from any actor.
pub(crate) fn implicit(mut message: Message) -> Call {
    if message.gas_limit == 0 {
        message.gas_limit = BLOCK_GAS_LIMIT;
    }
    Call { message: message.into(), kind: ApplyKind::Implicit, length: 0 }
}
