//! The bucket actor as the chain sees it: the bytes of a wasm module, and the hash that names them.
//!
//! The module is built by this crate's build script; `scripts/wasm-builder` explains how, and with which flags.

use cid::Cid;
use multihash_codetable::{Code, MultihashDigest};

/// The codec of raw bytes, under which the FVM keeps code.
const RAW: u64 = 0x55;

/// The wasm module of the package `bucket-actor`.
pub const WASM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/bucket_actor.wasm"));

/// The identity of [`WASM`] on a chain: blake2b-256 of a RAW block, as `Init.InstallCode` returns it.
pub fn code_cid() -> Cid {
    Cid::new_v1(RAW, Code::Blake2b256.digest(WASM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_is_wasm_and_its_name_a_blake2b_cid() {
        assert!(WASM.starts_with(b"\0asm\x01\0\0\0"));
        assert!(code_cid().to_string().starts_with("bafk2bza"), "{}", code_cid());
    }
}
