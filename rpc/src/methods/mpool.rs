//! `Filecoin.Mpool…`: messages that wait for a block.

use cid::Cid;
use fvm_shared::address::Address;

use super::methods;
use crate::Lotus;
use crate::json::{SignedMessage, TipsetKey};

methods! {
    /// `[message]`: hands in a signed message and gives the CID to wait for.
    MpoolPush = "Filecoin.MpoolPush", (SignedMessage,) => Lotus<Cid>;

    /// `[address]`: the next nonce, counting messages that wait.
    ///
    /// Two callers may be given the same one; the pool refuses the second message then.
    MpoolGetNonce = "Filecoin.MpoolGetNonce", (Lotus<Address>,) => u64;

    /// `[tsk]`: messages that wait at that tipset.
    MpoolPending = "Filecoin.MpoolPending", (TipsetKey,) => Vec<SignedMessage>;
}
