//! The Lotus JSON-RPC language, defined once for those who ask and those who answer.
//!
//! A method is a zero-sized type that says its name, its parameters and its result ([`RpcMethod`]).
//! `client` and `indexer` call such a type through [`Client`]; `devnet` answers it through [`Server`].
//! Both sides therefore read and write the same JSON, and a mistake in a type is a compile error
//! on one side or a failing snapshot here.
//!
//! Reading order:
//!
//! 1. [`method`]: the trait, and how positional parameters are read;
//! 2. [`json`]: what Lotus' JSON looks like, as plain structs that convert to and from `fvm_shared`;
//! 3. [`eth`]: how senders with an Ethereum key sign a message;
//! 4. [`methods`]: the table of methods, a file per family;
//! 5. [`client`] and [`endpoint`]: HTTP calls, and where they go; `deep`: how deep answers are read;
//! 6. [`server`]: an axum router that speaks HTTP and WebSocket.
//!
//! **The crate knows no bucket and runs no actor**: it depends on the chain's types only.

pub mod method;

pub mod json;

pub mod eth;

pub mod methods;

pub mod client;
mod deep;
pub mod endpoint;
pub mod error;

pub mod server;

pub use client::Client;
pub use endpoint::Endpoint;
pub use error::RpcError;
pub use json::Lotus;
pub use method::{RpcMethod, Subscription};
pub use server::{Failure, Server};
