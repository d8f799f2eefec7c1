//! What the machine asks of where it runs. Three implementations: the actor's over `fvm_sdk`, [`crate::memory`] in process,
//! the indexer's replay. Everything else that `core` does is a pure function.

use fvm_ipld_blockstore::Blockstore;
use fvm_shared::ActorID;
use fvm_shared::address::Address;
use fvm_shared::clock::ChainEpoch;

use crate::cid::Hasher;

/// The environment of one message.
pub trait Host {
    /// Where blocks are.
    type Store: Blockstore;
    /// How SHA-256 is computed.
    type Hasher: Hasher;

    /// Blocks of the actor's state. On the FVM a block can be read only when it is reachable from the actor's root or was
    /// written in the same message.
    fn store(&self) -> &Self::Store;

    /// The actor that sent the message.
    fn caller(&self) -> ActorID;

    /// The account that signed the outermost message; equal to the caller when that message is this one.
    fn origin(&self) -> ActorID;

    /// Whether money came along.
    fn value_received(&self) -> bool;

    /// The epoch that the message executes in.
    fn epoch(&self) -> ChainEpoch;

    /// The actor id of an address, or `None` when the chain doesn't know the address yet.
    fn resolve(&self, address: &Address) -> Option<ActorID>;
}
