//! `Filecoin.GasEstimate…`: what a message will need.

use fvm_shared::address::Address;
use fvm_shared::econ::TokenAmount;

use super::methods;
use crate::Lotus;
use crate::json::{Message, MessageSendSpec, TipsetKey};

methods! {
    /// `[message, spec, tsk]`: the message with its gas fields filled where they were zero.
    ///
    /// It executes the message on top of those that wait, so a message that fails gives an error.
    GasEstimateMessageGas = "Filecoin.GasEstimateMessageGas",
        (Message, Option<MessageSendSpec>, TipsetKey) => Message;

    /// `[message, maxQueueBlocks, tsk]`: a fee cap that holds for so many full blocks.
    GasEstimateFeeCap = "Filecoin.GasEstimateFeeCap",
        (Message, i64, TipsetKey) => Lotus<TokenAmount>;

    /// `[blocks, sender, gasLimit, tsk]`: a premium to be included within so many blocks.
    GasEstimateGasPremium = "Filecoin.GasEstimateGasPremium",
        (u64, Lotus<Address>, i64, TipsetKey) => Lotus<TokenAmount>;

    /// `[message, tsk]`: gas that the message uses, without reserve.
    GasEstimateGasLimit = "Filecoin.GasEstimateGasLimit", (Message, TipsetKey) => i64;
}
