//! dev
pub mod account;
pub mod block;
mod bundle;
pub mod chain;
pub mod config;
pub mod drive;
pub mod executor;
mod externs;
pub mod fees;
mod genesis;
mod search;
pub mod state;
pub mod store;
pub mod trace;
pub use bucket_rpc::json::Message;
pub use chain::Chain;
pub use config::Config;
pub use devnet_actors_wasm::IDLE;
