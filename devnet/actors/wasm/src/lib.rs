//! The devnet's own actors as wasm modules. Built by this crate's build script, see `scripts/wasm-builder`.

/// `Init`: installs code, creates actors. The only built-in that differs in kind from the real networks'.
pub const INIT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/devnet_actor_init.wasm"));

/// `Account`: holds the key of a sender.
pub const ACCOUNT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/devnet_actor_account.wasm"));

/// `EthAccount`: a sender with an Ethereum key.
pub const ETHACCOUNT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/devnet_actor_ethaccount.wasm"));

/// Stands in for every built-in that has to exist but is never called. It refuses all methods.
pub const NOOP: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/devnet_actor_noop.wasm"));

/// Accepts every method and does nothing: what a call costs before the actor has done anything. It is here to be
/// installed by tests and benches; under another name it is also the placeholder at an f410 address that has only received.
pub const IDLE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/devnet_actor_idle.wasm"));

/// Is told things, refuses, burns, calls back: whatever a called actor may do. For tests.
pub const HOOK: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/devnet_actor_hook.wasm"));
