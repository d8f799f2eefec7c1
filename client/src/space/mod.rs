//! Replicas of spaces: what `bucket space` keeps on disk, edits without a node, and brings in step with others.
//!
//! - [`edit`]: a signed edit; [`model`]: what a replica holds, and how two become one; [`tree`]: what it says;
//! - [`store`]: the file, [`kept`]: what is in it, [`change`]: how it changes, [`blocks`]: what it keeps of trees and values,
//!   [`judge`]: which edits count now;
//! - [`pull`], [`push`] and [`settle`]: the chain, and whose receipts count (`provider`);
//! - [`sync`] and [`serve`]: other replicas, in the words of [`wire`], with [`evidence`];
//! - [`content`]: files and large values, [`mod@import`]: a tree from lines.

pub mod blocks;
pub mod change;
pub mod content;
pub mod edit;
pub mod error;
pub mod evidence;
pub mod import;
pub mod judge;
pub mod kept;
pub mod model;
mod provider;
pub mod pull;
pub mod push;
pub mod remote;
pub mod serve;
pub mod settle;
pub mod store;
pub mod sync;
#[cfg(test)]
mod tests;
pub mod tree;
pub mod wire;

pub use edit::{Edit, EditDraft};
pub use error::SpaceError;
pub use model::State;
pub use store::Replica;

/// The time, in milliseconds since 1970.
pub fn millis() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis().try_into().unwrap_or(u64::MAX))
}
