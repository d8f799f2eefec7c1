//! An actor that accepts every method, its constructor included, and does nothing: the price of a call as such.

#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the FVM finds the entry point by its name")]
pub extern "C" fn invoke(_: u32) -> u32 {
    fvm_sdk::NO_DATA_BLOCK_ID
}
