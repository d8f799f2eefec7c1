//! `Devnet.…`: what a test may do to our devnet; no other node knows these.

use cid::Cid;
use fvm_shared::address::Address;
use fvm_shared::clock::ChainEpoch;
use fvm_shared::econ::TokenAmount;

use super::methods;
use crate::Lotus;
use crate::json::{DevnetAccount, DevnetSummary, MiningMode, Tipset};

methods! {
    /// `[n]`: makes so many tipsets, one when left out; gives the new head.
    DevnetMine = "Devnet.Mine", (Option<u64>,) => Tipset;

    /// `[n]`: lets so many epochs pass without a tipset, one when left out; gives the epoch that the
    /// next tipset will have.
    DevnetMineNull = "Devnet.MineNull", (Option<u64>,) => ChainEpoch;

    /// `[depth]`: replaces so many tipsets at the head by others; gives the new head.
    DevnetReorg = "Devnet.Reorg", (u64,) => Tipset;

    /// `[address, attoFIL]`: sends from the faucet; gives the message to wait for.
    DevnetFund = "Devnet.Fund", (Lotus<Address>, Lotus<TokenAmount>) => Lotus<Cid>;

    /// Accounts with money, and their keys.
    DevnetAccounts = "Devnet.Accounts", () => Vec<DevnetAccount>;

    /// `[mode]`: when tipsets are made from now on.
    DevnetSetMining = "Devnet.SetMining", (MiningMode,) => ();

    /// The devnet at a glance.
    DevnetInfo = "Devnet.Info", () => DevnetSummary;
}
