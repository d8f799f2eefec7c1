//! UCANs outside of the chain: read from files of any form, sorted into chains, judged, and signed.
//!
//! - [`file`](mod@file) reads a CAR, a container or a bare token; [`container`] is the form of ucan-wg/container;
//! - [`chain`] finds the delegations that lead from a bucket to a key;
//! - [`revoked`] asks the chain which delegations were taken back;
//! - [`sign`] makes invocations, delegations, revocations and the proof that a bucket's key asks for its bucket;
//! - [`verify()`] judges what came from anywhere, by the machine's own checks.

pub mod chain;
pub mod container;
pub mod file;
pub mod revoked;
pub mod sign;
#[cfg(test)]
mod tests;
pub mod verify;

pub use chain::Held;
pub use file::{File, Form, Token};
pub use verify::{Report, verify};
