//! What the FVM writes down while it executes, in the form of Lotus.
//!
//! filecoin-ffi:rust/src/fvm/machine.rs `build_lotus_trace`.

use std::collections::BTreeMap;

use bucket_rpc::json::{ExecutionTrace, GasTrace, MessageTrace, MsgGasCost, ReturnTrace};
use cid::Cid;
use fvm::{
    executor::ApplyRet,
    gas::GasCharge,
    trace::{ExecutionEvent, ExecutionTrace as FvmTrace},
};
use fvm_ipld_encoding::ipld_block::IpldBlock;
use fvm_shared::{
    address::Address,
    bigint::BigInt,
    econ::TokenAmount,
    error::{ErrorNumber, ExitCode},
    message::Message,
};

/// What gas was spent on: for each name of a charge, how many there were and their gas together.
pub type GasBreakdown = BTreeMap<String, (u64, u64)>;

/// Sums up the charges of a trace. Each sum is rounded up to whole gas.
pub fn gas_breakdown(trace: &FvmTrace) -> GasBreakdown {
    let mut milligas = BTreeMap::<String, (u64, u64)>::new();
    for event in trace {
        if let ExecutionEvent::GasCharge(charge) = event {
            let (count, sum) = milligas.entry(charge.name.to_string()).or_default();
            *count += 1;
            *sum += charge.total().as_milligas();
        }
    }
    milligas.into_iter().map(|(name, (count, sum))| (name, (count, sum.div_ceil(1000)))).collect()
}

/// The tree of calls under a message.
pub fn call_tree(message: &Message, result: &ApplyRet) -> ExecutionTrace {
    let mut builder = Builder::default();
    for event in &result.exec_trace {
        builder.take(event);
    }
    // The FVM tells the end of each call that it told of, also of those that ran out of gas.
    let Builder { roots, loose, .. } = builder;
    let mut root = roots.into_iter().next().unwrap_or_else(|| not_started(message, result));
    root.gas_charges.extend(loose);
    root
}

#[derive(Default)]
struct Builder {
    open: Vec<ExecutionTrace>,
    roots: Vec<ExecutionTrace>,
    /// Charges outside of any call: before the first one, for inclusion, and after the last one, for the return value.
    loose: Vec<GasTrace>,
}

impl Builder {
    fn take(&mut self, event: &ExecutionEvent) {
        match event {
            ExecutionEvent::GasCharge(charge) => match self.open.last_mut() {
                Some(call) => call.gas_charges.push(gas_trace(charge)),
                None => self.loose.push(gas_trace(charge)),
            },
            ExecutionEvent::Call { from, to, method, params, value, gas_limit, read_only } => {
                let (params, params_codec) = block(params.as_ref());
                let msg = MessageTrace {
                    from: Address::new_id(*from),
                    to: *to,
                    value: value.clone(),
                    method: *method,
                    params,
                    params_codec,
                    gas_limit: *gas_limit,
                    read_only: *read_only,
                };
                // Charges for inclusion belong to the message, hence to its outermost call.
                let gas_charges = if self.open.is_empty() { std::mem::take(&mut self.loose) } else { Vec::new() };
                self.open.push(ExecutionTrace { msg, msg_rct: failed(0), gas_charges, subcalls: Vec::new() });
            }
            ExecutionEvent::CallReturn(exit_code, value) => {
                let (return_data, return_codec) = block(value.as_ref());
                self.close(ReturnTrace { exit_code: *exit_code, return_data, return_codec });
            }
            ExecutionEvent::CallError(error) => self.close(failed(
                match error.1 {
                    ErrorNumber::InsufficientFunds => ExitCode::SYS_INSUFFICIENT_FUNDS,
                    ErrorNumber::NotFound => ExitCode::SYS_INVALID_RECEIVER,
                    _ => ExitCode::SYS_ASSERTION_FAILED,
                }
                .value(),
            )),
            _ => {}
        }
    }

    fn close(&mut self, msg_rct: ReturnTrace) {
        let Some(mut call) = self.open.pop() else { return };
        call.msg_rct = msg_rct;
        match self.open.last_mut() {
            Some(caller) => caller.subcalls.push(call),
            None => self.roots.push(call),
        }
    }
}

fn failed(exit_code: u32) -> ReturnTrace {
    ReturnTrace { exit_code: ExitCode::new(exit_code), return_data: Vec::new(), return_codec: 0 }
}

/// A message that never came to its first call, for instance because of a wrong nonce.
fn not_started(message: &Message, result: &ApplyRet) -> ExecutionTrace {
    let Message { from, to, value, method_num, params, gas_limit, .. } = message;
    ExecutionTrace {
        msg: MessageTrace {
            from: *from,
            to: *to,
            value: value.clone(),
            method: *method_num,
            params: params.to_vec(),
            params_codec: 0,
            gas_limit: *gas_limit,
            read_only: false,
        },
        msg_rct: failed(result.msg_receipt.exit_code.value()),
        gas_charges: Vec::new(),
        subcalls: Vec::new(),
    }
}

fn block(block: Option<&IpldBlock>) -> (Vec<u8>, u64) {
    block.map_or_else(Default::default, |block| (block.data.clone(), block.codec))
}

fn gas_trace(charge: &GasCharge) -> GasTrace {
    let whole = |gas: fvm::gas::Gas| i64::try_from(gas.round_up()).unwrap_or(i64::MAX);
    let nanoseconds = charge.elapsed.get().map_or(0, |elapsed| elapsed.as_nanos());
    GasTrace {
        name: charge.name.to_string(),
        total_gas: whole(charge.total()),
        compute_gas: whole(charge.compute_gas),
        storage_gas: whole(charge.other_gas),
        time_taken: i64::try_from(nanoseconds).unwrap_or(i64::MAX),
    }
}

/// Who paid what for an explicit message. lotus:chain/stmgr/utils.go `MakeMsgGasCost`.
pub fn gas_cost(message: &Message, cid: Cid, result: &ApplyRet) -> MsgGasCost {
    let offered: TokenAmount = &message.gas_fee_cap * message.gas_limit;
    MsgGasCost {
        message: Some(cid),
        gas_used: BigInt::from(result.msg_receipt.gas_used),
        base_fee_burn: result.base_fee_burn.clone(),
        over_estimation_burn: result.over_estimation_burn.clone(),
        miner_penalty: result.penalty.clone(),
        miner_tip: result.miner_tip.clone(),
        refund: result.refund.clone(),
        total_cost: offered - &result.refund,
    }
}

/// Why the message failed, in the FVM's words; empty when it did not.
pub fn failure(result: &ApplyRet) -> String {
    result.failure_info.as_ref().map_or_else(String::new, |failure| failure.to_string().trim_end().to_owned())
}
