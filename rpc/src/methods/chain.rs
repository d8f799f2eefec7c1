//! `Filecoin.Chain…`: blocks, tipsets and the messages in them.

use cid::Cid;
use fvm_shared::clock::ChainEpoch;

use super::methods;
use crate::json::{ApiMessage, BlockHeader, HeadChange, Message, MessageReceipt, Tipset, TipsetKey};
use crate::{Lotus, Subscription};

methods! {
    /// The heaviest tipset. Its own messages are not executed yet.
    ChainHead = "Filecoin.ChainHead", () => Tipset;

    /// `[tsk]`: the tipset of that key.
    ChainGetTipSet = "Filecoin.ChainGetTipSet", (TipsetKey,) => Tipset;

    /// `[height, tsk]`: the ancestor of `tsk` at that height, or the nearest *before* a null round.
    ChainGetTipSetByHeight = "Filecoin.ChainGetTipSetByHeight", (ChainEpoch, TipsetKey) => Tipset;

    /// `[height, tsk]`: the ancestor of `tsk` at that height, or the nearest *after* a null round.
    ChainGetTipSetAfterHeight = "Filecoin.ChainGetTipSetAfterHeight",
        (ChainEpoch, TipsetKey) => Tipset;

    /// `[block]`: its header.
    ChainGetBlock = "Filecoin.ChainGetBlock", (Lotus<Cid>,) => BlockHeader;

    /// `[block]`: messages of the block's *parent tipset*, without doubles, in order of execution.
    ChainGetParentMessages = "Filecoin.ChainGetParentMessages", (Lotus<Cid>,) => Vec<ApiMessage>;

    /// `[block]`: one receipt for each message of [`ChainGetParentMessages`], in the same order.
    ChainGetParentReceipts = "Filecoin.ChainGetParentReceipts",
        (Lotus<Cid>,) => Vec<MessageReceipt>;

    /// `[tsk]`: messages of the tipset itself, without doubles, in order of execution.
    ChainGetMessagesInTipset = "Filecoin.ChainGetMessagesInTipset",
        (TipsetKey,) => Vec<ApiMessage>;

    /// `[message]`: the unsigned message, by either of its CIDs.
    ChainGetMessage = "Filecoin.ChainGetMessage", (Lotus<Cid>,) => Message;

    /// `[from, to]`: reverts down to the common ancestor, then applies up to `to`.
    ChainGetPath = "Filecoin.ChainGetPath", (TipsetKey, TipsetKey) => Vec<HeadChange>;

    /// The latest tipset that won't be reverted, by F3 where it runs, else by depth.
    ChainGetFinalizedTipSet = "Filecoin.ChainGetFinalizedTipSet", () => Tipset;

    /// The tipset at epoch 0.
    ChainGetGenesis = "Filecoin.ChainGetGenesis", () => Tipset;

    /// Head changes over a WebSocket; `Ok` is the channel's id, each value a list of changes.
    ///
    /// The first value is the head of that moment, with type `current`.
    ChainNotify = "Filecoin.ChainNotify", () => u64;

    /// `[cid]`: the bytes of any block in the node's store.
    ChainReadObj = "Filecoin.ChainReadObj", (Lotus<Cid>,) => Lotus<Vec<u8>>;

    /// `[cid]`: whether the node's store has that block.
    ChainHasObj = "Filecoin.ChainHasObj", (Lotus<Cid>,) => bool;
}

impl Subscription for ChainNotify {
    type Item = Vec<HeadChange>;
}
