//! The table of methods, a file per family.
//!
//! Every type here is empty: it only carries the trait. Parameters are in Lotus' order; the names in
//! the comments are Lotus'. See `lotus:documentation/en/api-methods-v1-stable.md`.

mod chain;
mod devnet;
mod event;
mod gas;
mod mpool;
mod node;
mod state;

pub use chain::*;
pub use devnet::*;
pub use event::*;
pub use gas::*;
pub use mpool::*;
pub use node::*;
pub use state::*;

/// Writes `Name = "Wire.Name", (Params,) => Ok;` as a type with its [`RpcMethod`](crate::RpcMethod).
macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident = $wire:literal, $params:ty => $ok:ty;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {}

        impl crate::RpcMethod for $name {
            const NAME: &'static str = $wire;
            type Params = $params;
            type Ok = $ok;
        }
    )+};
}
use methods;
