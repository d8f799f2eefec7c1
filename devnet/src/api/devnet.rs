//! `Devnet.…`: what a test may do.

use anyhow::{Result, ensure};
use bucket_rpc::{
    Lotus, Server,
    json::{DevnetAccount, DevnetActor, DevnetSummary, Message, Tipset},
    methods::{DevnetAccounts, DevnetFund, DevnetInfo, DevnetMine, DevnetMineNull, DevnetReorg, DevnetSetMining},
};
use cid::Cid;
use fvm_shared::{METHOD_SEND, address::Address, clock::ChainEpoch, econ::TokenAmount};
use num_traits::Zero;

use super::Table;
use crate::{
    account::Account,
    config::{CHAIN_ID, Config, NETWORK_VERSION},
    estimate, genesis,
    node::{Node, NodeRef, Reorg},
};

/// The most tipsets or epochs of one call: nothing else happens until it is done.
const EPOCHS_MAX: u64 = 100_000;

pub(super) fn add(server: Server<NodeRef>) -> Server<NodeRef> {
    server
        .node::<DevnetMine>(mine)
        .node::<DevnetMineNull>(mine_null)
        .node::<DevnetReorg>(reorg)
        .node::<DevnetFund>(fund)
        .node::<DevnetAccounts>(accounts)
        .node::<DevnetSetMining>(|node, (mode,)| node.set_mining(mode))
        .node::<DevnetInfo>(info)
}

fn count(n: Option<u64>) -> Result<u64> {
    let n = n.unwrap_or(1);
    ensure!(n <= EPOCHS_MAX, "expected at most {EPOCHS_MAX}, got {n}");
    Ok(n)
}

fn mine(node: &mut Node, (n,): (Option<u64>,)) -> Result<Tipset> {
    node.mine(count(n)?)?;
    Ok(node.chain.head().tipset())
}

fn mine_null(node: &mut Node, (n,): (Option<u64>,)) -> Result<ChainEpoch> {
    node.mine_null(u32::try_from(count(n)?)?)?;
    Ok(node.chain.next_epoch())
}

fn reorg(node: &mut Node, (depth,): (u64,)) -> Result<Tipset> {
    node.reorg(Reorg::of_depth(usize::try_from(depth)?))?;
    Ok(node.chain.head().tipset())
}

fn fund(node: &mut Node, (address, value): (Lotus<Address>, Lotus<TokenAmount>)) -> Result<Lotus<Cid>> {
    let faucet = Account::faucet(&node.chain.config().seed)?;
    let message = Message { value: value.0, ..Message::new(faucet.address(), address.0, METHOD_SEND, Vec::new()) };
    Ok(Lotus(estimate::send(node, &faucet, message)?))
}

fn accounts(node: &mut Node, (): ()) -> Result<Vec<DevnetAccount>> {
    let state = node.state_at(node.chain.head())?;
    let Config { accounts, eth_accounts, .. } = *node.chain.config();
    let accounts = (0..accounts).map(|index| node.chain.account(index));
    accounts
        .chain((0..eth_accounts).map(|index| node.chain.eth_account(index)))
        .map(|account| {
            let account = account?;
            let actor = state.find(&account.address())?;
            Ok(DevnetAccount {
                address: account.address(),
                key: account.lotus_export(),
                balance: actor.map_or_else(TokenAmount::zero, |(_, actor)| actor.balance),
            })
        })
        .collect()
}

fn info(node: &mut Node, (): ()) -> Result<DevnetSummary> {
    let config = node.chain.config();
    let actors = config.actors.iter();
    Ok(DevnetSummary {
        network_name: config.network_name.clone(),
        network_version: NETWORK_VERSION,
        chain_id: CHAIN_ID,
        genesis: node.chain.genesis().cid,
        height: node.chain.head().height(),
        mining: node.mining(),
        pending: node.pool.len() as u64,
        actors: actors
            .map(|actor| DevnetActor { name: actor.name.clone(), code: genesis::code_cid(&actor.wasm), address: None })
            .collect(),
    })
}
