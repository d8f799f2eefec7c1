//! What the machine asks of where it runs. Three implementations: the actor's over `fvm_sdk`, [`crate::memory`] in process,
//! the indexer's replay. Everything else that `core` does is a pure function.

use std::cell::Cell;

use fvm_ipld_blockstore::Blockstore;
use fvm_shared::ActorID;
use fvm_shared::address::Address;
use fvm_shared::clock::ChainEpoch;

use crate::abi::{DeliverParams, Returned};
use crate::error::Abort;
use crate::ucan::Crypto;

/// The environment of one message.
pub trait Host {
    /// Where blocks are.
    type Store: Blockstore;
    /// How SHA-256 and signatures are computed.
    type Hasher: Crypto;

    /// Blocks of the actor's state. On the FVM a block can be read only when it is reachable from the actor's root or was
    /// written in the same message.
    fn store(&self) -> &Self::Store;

    /// This actor.
    fn this(&self) -> ActorID;

    /// The actor that sent the message.
    fn caller(&self) -> ActorID;

    /// The account that signed the outermost message; equal to the caller when that message is this one.
    fn origin(&self) -> ActorID;

    /// Whether money came along.
    fn value_received(&self) -> bool;

    /// The epoch that the message executes in.
    fn epoch(&self) -> ChainEpoch;

    /// The time of the tipset that the message executes in, in seconds since 1970.
    fn timestamp(&self) -> u64;

    /// The actor id of an address, or `None` when the chain doesn't know the address yet.
    fn resolve(&self, address: &Address) -> Option<ActorID>;

    /// Whether an actor runs the same code as this one.
    fn is_instance(&self, actor: ActorID) -> bool;

    /// Whether so much gas is left for one more task after `taken`. A replay knows no gas: it takes as many as the chain did.
    fn room(&self, gas: u64, taken: u64) -> bool;

    /// Sends a continuation to another instance, which may take so much gas, and answers the exit code. Aborts when that much
    /// isn't left: whoever runs a task mustn't be able to starve what it asks for. A replay answers what the chain answered.
    fn deliver(&self, to: ActorID, params: &DeliverParams, gas: u64) -> Result<u32, Abort>;
}

/// What only the chain could tell a message: how many tasks it had gas for, and what other instances answered. Its return
/// value says both, so that a replay does the same.
#[derive(Debug, Default)]
pub struct Told {
    taken: u64,
    sent: Vec<u32>,
    answered: Cell<usize>,
}

impl Told {
    /// What a message's return value tells.
    pub fn by(returned: &Returned) -> Self {
        let (taken, sent) = match returned {
            Returned::Run(told) => (told.taken, told.sent.clone()),
            Returned::Invoke(told) => (1, told.sent.clone()),
            _ => (0, vec![]),
        };
        Self { taken, sent, ..Self::default() }
    }

    /// See [`Host::room`].
    pub fn room(&self, taken: u64) -> bool {
        taken < self.taken
    }

    /// See [`Host::deliver`]. Of more sends than were told nothing is known; the comparison with the chain will fail.
    pub fn deliver(&self) -> u32 {
        let at = self.answered.replace(self.answered.get() + 1);
        self.sent.get(at).copied().unwrap_or(u32::MAX)
    }
}
