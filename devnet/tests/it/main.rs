//! The devnet from outside. One binary, so that the wasm engine starts once for all tests.

mod accounts;
mod actors;
mod binary;
mod ethereum;
mod fees;
mod genesis;
mod modules;
mod pool;
mod reorg;
mod restart;
mod rpc;
mod state;
mod wait;
