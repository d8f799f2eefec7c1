//! A Filecoin network of one node, in this process: real wasm actors on the real FVM, Lotus' JSON-RPC in front.
//!
//! ```
//! use bucket_devnet::{Config, Devnet, IDLE, Message};
//!
//! let devnet = Devnet::spawn(Config::default())?;
//! println!("any Filecoin client may talk to {}", devnet.url());
//!
//! let alice = devnet.account(0)?;
//! let bob = devnet.account(1)?.address();
//! let message = devnet.send(&alice, Message::new(alice.address(), bob, 0, vec![]))?;
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let lookup = devnet.wait(message).await?;
//! assert!(lookup.receipt.exit_code.is_success());
//! # anyhow::Ok(()) })?;
//! # anyhow::Ok(())
//! ```
//!
//! # What is as on the real networks
//! Execution, gas, fees and the base fee's rule; addresses, messages, signatures, blocks, receipts and events with
//! their CIDs; results that appear in a tipset's child; null rounds and reorgs; the message pool's rules.
//!
//! # What is not
//! - Anyone may install native code with `Init.InstallCode` (4), in a message of up to 2 MiB.
//! - One miner makes tipsets of one block whenever it is told to. There is no power, no proof, no block reward and no
//!   cron, hence no implicit message. Tips go to f02 as ever.
//! - Built-in actors are small stand-ins for Init, Account and EthAccount; the others cannot be called. There are no
//!   multisigs and no contracts. Ethereum accounts (f410) send as others do, with messages that `MpoolPush` takes; the
//!   methods of Ethereum's own API are missing.
//! - Randomness is known in advance. Finality is a number of epochs.
//! - Messages that wait do not survive a restart. Tipsets do, whatever ends the process.
//!
//! # Layout
//! [`chain`] makes and undoes tipsets, [`executor`] executes them, [`block`] lays them out, [`store`] keeps them and
//! [`genesis`] begins; [`drive`] is the short way for tests and benches to all that. [`node`] adds the [`mempool`] and
//! those who follow the head or [`wait`] for a message; [`miner`] the time. [`api`] answers JSON-RPC, and [`handle`]
//! starts and stops everything.

#![warn(missing_docs)]
#![allow(rustdoc::private_intra_doc_links)]

pub mod account;
mod api;
pub mod block;
mod bundle;
pub mod chain;
pub mod check;
pub mod config;
pub mod drive;
mod estimate;
pub mod executor;
mod externs;
pub mod fees;
mod genesis;
pub mod handle;
pub mod mempool;
mod miner;
pub mod node;
mod record;
mod search;
pub mod state;
pub mod store;
pub mod trace;
pub mod wait;

pub use account::Account;
pub use bucket_rpc::json::{Message, SignedMessage};
pub use chain::Chain;
pub use config::{Config, GenesisActor, Mining};
pub use devnet_actors_wasm::IDLE;
pub use drive::{Deployed, Executed};
pub use handle::{Devnet, Handle};
pub use node::Reorg;
pub use store::Store;
pub use trace::GasBreakdown;
pub use wait::Wait;
