//! Loads a wasm module into the FVM for real, because a module that compiles may still be refused.

use anyhow::{Result, ensure};
use bucket_rpc::json::Message;
use cid::Cid;
use fvm::{executor::ApplyRet, trace::ExecutionEvent};
use fvm_shared::error::ExitCode;

use crate::{
    account::Account,
    chain::Chain,
    config::{Config, GenesisActor},
    drive::{EXEC, INIT, INSTALL_CODE, exec_params, install_code_of},
    executor, trace,
};

/// The most bytes of a module: those of a block in the FVM.
pub const MODULE_BYTES_MAX: usize = 1 << 20;

/// A module that the FVM accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckedModule {
    /// Bytes of wasm.
    pub size: usize,
    /// Its name on a chain.
    pub code_cid: Cid,
}

/// Compiles the module with gas metering, links it to the FVM's syscalls and calls its constructor once.
///
/// What the constructor does is its own affair: it may abort, for want of parameters for instance. An error says why
/// the engine refused the module.
pub fn check_wasm(wasm: &[u8]) -> Result<CheckedModule> {
    let size = wasm.len();
    ensure!(size <= MODULE_BYTES_MAX, "the module has {size} bytes, the FVM takes at most {MODULE_BYTES_MAX}");
    let code_cid = executor::preload(wasm).map_err(explain)?;
    let actor = GenesisActor { name: "module".into(), wasm: wasm.to_vec() };
    let chain = Chain::open(&Config { accounts: 0, actors: vec![actor], ..Config::default() })?;
    let sender = Account::faucet(&chain.config().seed)?.address();
    let result = chain.call(Message::new(sender, INIT, EXEC, exec_params(code_cid, &[])?))?;
    let called = result.exec_trace.iter().filter(|event| matches!(event, ExecutionEvent::Call { .. })).count();
    ensure!(called > 1, "Init does not create an actor of the module: {}", trace::failure(&result));
    ensure!(
        result.msg_receipt.exit_code != ExitCode::SYS_ASSERTION_FAILED,
        "the FVM cannot start the module: {}",
        trace::failure(&result)
    );
    Ok(CheckedModule { size, code_cid })
}

/// Why a message failed, in the FVM's words; empty when it did not.
///
/// For a module that was to be installed the engine's reason is added, which the FVM does not hand on.
pub fn failure(message: &Message, result: &ApplyRet) -> String {
    let failure = trace::failure(result);
    if message.to != INIT || message.method != INSTALL_CODE || failure.is_empty() {
        return failure;
    }
    match install_code_of(&message.params).and_then(|wasm| executor::preload(&wasm).map_err(explain)) {
        Ok(_) => failure,
        Err(reason) => format!("{failure}\n--> {reason:#}"),
    }
}

/// The engine's reason, and what to do about the one that says nothing.
fn explain(error: anyhow::Error) -> anyhow::Error {
    let hint = if format!("{error:#}").contains("injecting gas counter failed") {
        " (its gas metering does not know bulk memory instructions with a negative constant: build with \
         -Ctarget-cpu=mvp, as scripts/wasm-builder does)"
    } else {
        ""
    };
    error.context(format!("the FVM's engine refuses the module{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts sections together; each is its number and its content, which is shorter than 128 bytes.
    fn module(sections: &[(u8, &[u8])]) -> Vec<u8> {
        let mut wasm = b"\0asm\x01\0\0\0".to_vec();
        for (number, content) in sections {
            wasm.extend([*number, u8::try_from(content.len()).unwrap()]);
            wasm.extend(*content);
        }
        wasm
    }

    const NOTHING_AND_INVOKE: (u8, &[u8]) = (1, &[2, 0x60, 0, 0, 0x60, 1, 0x7f, 1, 0x7f]);
    const IMPORT: (u8, &[u8]) = (2, b"\x01\x02no\x04such\0\0");
    const ONE_FUNCTION: (u8, &[u8]) = (3, &[1, 1]);
    const MEMORY: (u8, &[u8]) = (5, &[1, 0, 1]);
    const EXPORT_0: (u8, &[u8]) = (7, b"\x02\x06memory\x02\0\x06invoke\0\0");
    const EXPORT_1: (u8, &[u8]) = (7, b"\x02\x06memory\x02\0\x06invoke\0\x01");
    const RETURN_0: (u8, &[u8]) = (10, &[1, 4, 0, 0x41, 0, 0x0b]);

    fn refusal(wasm: &[u8]) -> String {
        format!("{:#}", check_wasm(wasm).unwrap_err())
    }

    #[test]
    fn takes_modules_that_run_whatever_their_constructors_do() {
        let smallest = module(&[NOTHING_AND_INVOKE, ONE_FUNCTION, MEMORY, EXPORT_0, RETURN_0]);
        for wasm in [&smallest, devnet_actors_wasm::IDLE, devnet_actors_wasm::NOOP, devnet_actors_wasm::INIT] {
            let checked = check_wasm(wasm).unwrap();
            assert_eq!(checked, CheckedModule { size: wasm.len(), code_cid: crate::genesis::code_cid(wasm) });
        }
    }

    #[test]
    fn refuses_what_is_no_module() {
        assert_eq!(
            refusal(b"\0asm"),
            "the FVM's engine refuses the module: failed to validate actor wasm: unexpected end-of-file (at offset 0x4)"
        );
        let large = vec![0; MODULE_BYTES_MAX + 1];
        assert_eq!(refusal(&large), "the module has 1048577 bytes, the FVM takes at most 1048576");
    }

    #[test]
    fn refuses_an_import_that_the_fvm_does_not_have() {
        let wasm = module(&[NOTHING_AND_INVOKE, IMPORT, ONE_FUNCTION, MEMORY, EXPORT_1, RETURN_0]);
        assert!(executor::preload(&wasm).is_ok(), "only linking finds it");
        let refusal = refusal(&wasm);
        assert!(refusal.contains("unknown import: `no::such` has not been defined"), "{refusal}");
    }

    #[test]
    fn says_what_to_do_against_bulk_memory() {
        // memory.copy of i32.const -1 bytes: what LLVM makes of a vector's capacity.
        let copy: &[u8] = &[1, 14, 0, 0x41, 0, 0x41, 0, 0x41, 0x7f, 0xfc, 0x0a, 0, 0, 0x41, 0, 0x0b];
        let refusal = refusal(&module(&[NOTHING_AND_INVOKE, ONE_FUNCTION, MEMORY, EXPORT_0, (10, copy)]));
        assert!(refusal.contains("injecting gas counter failed"), "{refusal}");
        assert!(refusal.contains("-Ctarget-cpu=mvp"), "{refusal}");
    }
}
