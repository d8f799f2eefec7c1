//! Lotus' JSON as plain structs.
//!
//! The names of fields, their order and their optionality are Lotus' (lotus:chain/types and
//! lotus:api); Rust names are the same in snake case. Where `fvm_shared` has the same notion, there is
//! a conversion each way, and it is fallible when the JSON can say more than the type.
//!
//! JSON and CBOR are kept apart: these structs serialize to JSON only, and those with a CBOR form have
//! `to_cbor` and `cid`. A CID that Lotus writes beside a message is computed on writing and ignored
//! on reading, so it can't be wrong.

pub mod address;
mod cbor;
mod devnet;
mod event;
mod header;
mod invoc;
mod lotus;
mod message;
mod node;
mod receipt;
mod signature;
mod state;
mod tipset;

pub use address::{
    AddressError, format_address, format_address_in, network, network_named, parse_address, set_network,
};
pub use cbor::{CborError, blake2b_cid};
pub use devnet::{DevnetAccount, DevnetActor, DevnetSummary, MiningMode};
pub use event::{ActorEvent, ActorEventBlock, ActorEventFilter, Entry, Event};
pub use header::{BeaconEntry, BlockHeader, ElectionProof, PoStProof, Ticket};
pub use invoc::{ExecutionTrace, GasTrace, InvocResult, MessageTrace, MsgGasCost, ReturnTrace};
pub use lotus::{Lotus, LotusJson};
pub use message::{ApiMessage, Message, SignedMessage};
pub use node::{MessageSendSpec, VersionInfo};
pub use receipt::{MessageReceipt, MsgLookup};
pub use signature::{DelegatedSignature, Signature, SignatureType};
pub use state::ActorState;
pub use tipset::{HeadChange, HeadChangeType, Tipset, TipsetError, TipsetKey};

#[cfg(test)]
pub(crate) mod tests;
