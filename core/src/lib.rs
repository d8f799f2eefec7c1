//! The machine of Bucket VM: what runs, byte for byte the same, in wasm on the FVM, in process and in an indexer's replay.
//!
//! A *bucket* is a DID with controllers, a FIFO queue of CARs, a root and receipts. A CAR's root block is a [`task::Task`];
//! running it gives a [`receipt::Receipt`], itself a CAR, and a new bucket root.
//!
//! Reading order: [`cid`], [`dag_cbor`], [`car`], [`task`], [`receipt`], [`protocol`], then [`execute`] with its helper
//! [`batch`]; [`host`] is what the machine asks of its surroundings, [`abi`] how messages are written.
//! [`stm`] is for protocols whose entries ask for [`effect`]s.
//!
//! Invariants:
//! - **The same inputs give the same bytes**: no clock, randomness, threads, logging or hash-map order in here.
//! - **A failure changes nothing but receipts; an abort changes nothing at all.**
//! - **A CAR runs once**, unless somebody forces it; then its receipt names the one before.
//! - **What comes from outside is canonical or refused**, and every block is hashed again.

// What `clippy.toml` beside this crate's manifest lists, and floats' arithmetic, could make native and wasm differ.
#![deny(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]
#![deny(clippy::float_arithmetic, clippy::iter_over_hash_type)]
// A panic is for what can't happen, and says why it can't.
#![deny(clippy::unwrap_used, clippy::panic)]

pub mod abi;
pub mod authority;
pub mod batch;
pub mod bucket;
pub mod car;
pub mod cid;
pub mod create;
pub mod dag_cbor;
pub mod did;
pub mod effect;
pub mod error;
pub mod evm;
pub mod execute;
mod fork;
pub mod hamt;
pub mod host;
pub mod invariants;
pub mod limits;
pub mod map;
// What runs in process verifies signatures in process, which wasm leaves to syscalls.
#[cfg(not(target_family = "wasm"))]
pub mod memory;
pub mod open;
pub mod prolly;
pub mod protocol;
pub mod receipt;
mod right;
pub mod stage;
pub mod state;
pub mod stm;
mod take;
pub mod task;
pub mod ucan;
