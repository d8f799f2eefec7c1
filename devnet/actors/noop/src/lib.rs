//! Code for built-in actors that must exist but are never called on the devnet, such as the reward actor.

use fvm_shared::error::ExitCode;

#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the FVM finds the entry point by its name")]
pub extern "C" fn invoke(_: u32) -> u32 {
    fvm_sdk::vm::abort(ExitCode::USR_UNHANDLED_MESSAGE.value(), Some("the devnet's stand-in has no methods"))
}
