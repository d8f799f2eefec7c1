//! The client of Bucket VM: wallet, messages, verified receipts, CAR files. The binary `bucket` is a thin layer over it.
//!
//! - [`Key`] signs messages, [`Identity`] UCANs, [`Wallet`] keeps keys in a directory;
//! - [`ucan`] reads, sorts, judges and makes UCANs;
//! - [`Chain`] sends a message to any actor through any Lotus-compatible node, and [`ActorClient`] those of the bucket actor;
//! - [`Gateway`] downloads receipts, and [`ActorClient::fetch_receipt`] compares them with what the chain committed to;
//! - [`proof`] makes files that prove a receipt to those who know a block header, and judges them;
//! - [`deploy`](deploy::deploy) brings the actor to a network;
//! - [`task`] packs what to do, [`car`] is a toolbox for any CAR file.
//!
//! Every message is executed by the node before it is signed, so that **what would fail costs nothing**; and
//! **no receipt is given out whose bytes don't hash to the id on the chain**.

pub mod actor;
pub mod car;
pub mod chain;
pub mod config;
pub mod dag_json;
pub mod deploy;
pub mod error;
pub mod fetch;
pub mod hook;
pub mod identity;
pub mod key;
pub mod keyring;
pub mod progress;
pub mod proof;
pub mod service;
pub mod space;
pub mod staging;
pub mod store;
pub mod task;
pub mod ucan;
pub mod wallet;
pub mod worker;

pub use actor::ActorClient;
pub use chain::{Chain, Sent};
pub use config::Config;
pub use error::ClientError;
pub use fetch::{Fetched, Gateway};
pub use identity::{Identity, IdentityKind};
pub use key::{Key, Signer};
pub use keyring::Named;
pub use progress::{Progress, Step};
pub use wallet::Wallet;
