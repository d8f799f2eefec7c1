//! `Filecoin.State…`: actors, and what messages do to them.
//!
//! The state *at* a tipset is the one that its messages start from.

use cid::Cid;
use fvm_shared::address::Address;
use fvm_shared::clock::ChainEpoch;
use fvm_shared::econ::TokenAmount;

use super::methods;
use crate::Lotus;
use crate::json::{ActorState, InvocResult, Message, MsgLookup, TipsetKey};

methods! {
    /// `[message, tsk]`: what the message would do, without nonce, signature or cost.
    StateCall = "Filecoin.StateCall", (Message, TipsetKey) => InvocResult;

    /// `[tsk, message]`: what a message of that tipset did, with its trace.
    ///
    /// With an empty key the node searches for the message itself.
    StateReplay = "Filecoin.StateReplay", (TipsetKey, Lotus<Cid>) => InvocResult;

    /// `[address, tsk]`: the actor; an error when there is none.
    StateGetActor = "Filecoin.StateGetActor", (Lotus<Address>, TipsetKey) => ActorState;

    /// `[address, tsk]`: its ID address.
    StateLookupID = "Filecoin.StateLookupID", (Lotus<Address>, TipsetKey) => Lotus<Address>;

    /// `[address, tsk]`: the address of an account's public key, f1 or f3.
    StateAccountKey = "Filecoin.StateAccountKey", (Lotus<Address>, TipsetKey) => Lotus<Address>;

    /// `[address, tsk]`: the address of an ID that survives a reorganisation.
    StateLookupRobustAddress = "Filecoin.StateLookupRobustAddress",
        (Lotus<Address>, TipsetKey) => Lotus<Address>;

    /// The network's name, such as `mainnet` or `calibrationnet`.
    StateNetworkName = "Filecoin.StateNetworkName", () => String;

    /// `[tsk]`: the network version that its messages are executed under.
    StateNetworkVersion = "Filecoin.StateNetworkVersion", (TipsetKey,) => u32;

    /// `[message, confidence, limit, allowReplaced]`: waits until the message is on the chain with
    /// `confidence` epochs above it; looks back `limit` epochs first, -1 for all.
    ///
    /// Call it with [`Client::call_with_timeout`](crate::Client::call_with_timeout).
    StateWaitMsg = "Filecoin.StateWaitMsg", (Lotus<Cid>, u64, ChainEpoch, bool) => MsgLookup;

    /// `[from, message, limit, allowReplaced]`: looks back `limit` epochs, -1 for all; null when the
    /// message is not there.
    StateSearchMsg = "Filecoin.StateSearchMsg",
        (TipsetKey, Lotus<Cid>, ChainEpoch, bool) => Option<MsgLookup>;

    /// `[address]`: what it owns at the head; zero when it doesn't exist.
    WalletBalance = "Filecoin.WalletBalance", (Lotus<Address>,) => Lotus<TokenAmount>;

    /// `[address, blockNumber]`: the Ethereum form, such as `0xff00…`; the block matters for f1 to f3
    /// addresses only and may be left out.
    FilecoinAddressToEthAddress = "Filecoin.FilecoinAddressToEthAddress",
        (Lotus<Address>, Option<String>) => String;
}
