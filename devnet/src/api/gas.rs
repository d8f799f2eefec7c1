//! `Filecoin.GasEstimate…`, always for the tipset after the head.

use bucket_rpc::{
    Lotus, Server,
    methods::{GasEstimateFeeCap, GasEstimateGasLimit, GasEstimateGasPremium, GasEstimateMessageGas},
};

use super::Table;
use crate::{estimate, node::NodeRef};

/// Longer queues than this would make any message unaffordable.
const QUEUE_BLOCKS_MAX: i64 = 1_000;

pub(super) fn add(server: Server<NodeRef>) -> Server<NodeRef> {
    server
        .node::<GasEstimateMessageGas>(|node, (message, spec, _)| estimate::message_gas(node, message, spec))
        .node::<GasEstimateGasLimit>(|node, (message, _)| Ok(i64::try_from(estimate::gas_used(node, message)?)?))
        .node::<GasEstimateGasPremium>(|_, (blocks, ..)| Ok(Lotus(estimate::premium(blocks))))
        .node::<GasEstimateFeeCap>(|node, (message, blocks, _)| {
            let blocks = u32::try_from(blocks.clamp(0, QUEUE_BLOCKS_MAX))?;
            Ok(Lotus(estimate::fee_cap(node, blocks) + message.gas_premium))
        })
}
