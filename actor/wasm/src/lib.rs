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

    /// The FVM's largest block (ref-fvm `fvm/src/machine/mod.rs`, `max_block_size`).
    const BLOCK_BYTES_MAX: usize = 1 << 20;
    /// A protocol takes 50 to 80 kB: before one doesn't fit, somebody should know.
    const ROOM: usize = 96 * 1024;

    #[test]
    fn the_module_leaves_room_in_its_block() {
        assert!(
            WASM.len() + ROOM <= BLOCK_BYTES_MAX,
            "expected a module of at most {} bytes, {ROOM} less than the FVM's largest block, got one of {}: the usual causes are \
             in scripts/wasm-builder/src/lib.rs",
            BLOCK_BYTES_MAX - ROOM,
            WASM.len(),
        );
    }

    #[test]
    fn the_module_is_wasm_and_its_name_a_blake2b_cid() {
        assert!(WASM.starts_with(b"\0asm\x01\0\0\0"));
        assert!(code_cid().to_string().starts_with("bafk2bza"), "{}", code_cid());
    }
}
