//! Money: who pays what, exactly.

use bucket_devnet::{Account, Chain, Config, IDLE, Message};
use fvm_shared::{address::Address, econ::TokenAmount, error::ExitCode};
use num_traits::Zero;

const REWARD: Address = Address::new_id(2);
const BURNT: Address = Address::new_id(99);

fn balance(chain: &Chain, address: &Address) -> TokenAmount {
    chain.state().unwrap().find(address).unwrap().map_or_else(TokenAmount::zero, |(_, actor)| actor.balance)
}

fn atto(atto: u64) -> TokenAmount {
    TokenAmount::from_atto(atto)
}

#[test]
fn a_transfer_costs_base_fee_tip_and_overestimation() {
    let mut chain = Chain::open(&Config::default()).unwrap();
    let (alice, bob) = (chain.account(0).unwrap(), chain.account(1).unwrap().address());
    let before = balance(&chain, &alice.address());
    let message = Message {
        value: TokenAmount::from_whole(5),
        gas_limit: 2_000_000,
        gas_fee_cap: atto(1_000),
        gas_premium: atto(7),
        ..Message::new(alice.address(), bob, 0, vec![])
    };
    let sent = chain.send(&alice, message).unwrap();
    assert_eq!(sent.receipt.exit_code, ExitCode::OK);

    // The gas of a transfer is a fact of the price list and of the message's length: a golden value.
    let used = sent.receipt.gas_used;
    assert_eq!(used, 1_223_663);
    let base_fee = 100;
    // FIP-0018's rule, computed by hand: how far the limit is above 1.1 times the use, at most the use itself.
    let remaining = 2_000_000 - used;
    let over = (2_000_000 - used * 11 / 10).min(used);
    let burnt_gas = remaining * over / used;
    assert_eq!(sent.cost.base_fee_burn, atto(base_fee * used));
    assert_eq!(sent.cost.over_estimation_burn, atto(base_fee * burnt_gas));
    assert_eq!(sent.cost.miner_tip, atto(7 * 2_000_000));
    assert_eq!(sent.cost.miner_penalty, TokenAmount::zero());

    let paid = atto(base_fee * used + base_fee * burnt_gas + 7 * 2_000_000);
    assert_eq!(sent.cost.total_cost, paid);
    assert_eq!(balance(&chain, &alice.address()), before - &paid - TokenAmount::from_whole(5));
    assert_eq!(balance(&chain, &bob), TokenAmount::from_whole(1_000_005));
    assert_eq!(balance(&chain, &REWARD), atto(7 * 2_000_000));
    assert_eq!(balance(&chain, &BURNT), atto(base_fee * (used + burnt_gas)));
}

#[test]
fn gas_is_broken_down_by_charge() {
    let mut chain = Chain::open(&Config::default()).unwrap();
    let alice = chain.account(0).unwrap();
    let idle = chain.deploy(&alice, IDLE, &[]).unwrap();
    let called = chain.send(&alice, Message::new(alice.address(), idle.robust, 2, vec![])).unwrap();
    assert_eq!(called.gas["OnMethodInvocation"], (1, 75_000));
    assert_eq!(called.gas["OnChainMessage"].0, 1);
    let sum: u64 = called.gas.values().map(|(_, gas)| gas).sum();
    // Each line is rounded up by itself.
    let lines = called.gas.len() as u64;
    assert!(sum >= called.receipt.gas_used && sum - called.receipt.gas_used <= lines, "{sum} of {called:?}");
}

#[test]
fn a_message_that_fails_pays_too() {
    let mut chain = Chain::open(&Config::default()).unwrap();
    let alice = chain.account(0).unwrap();
    let before = balance(&chain, &alice.address());
    let nobody = Address::new_id(5_000);
    let sent = chain.transfer(&alice, nobody, TokenAmount::from_whole(1)).unwrap();
    assert_eq!(sent.receipt.exit_code, ExitCode::SYS_INVALID_RECEIVER);
    assert!(sent.receipt.gas_used > 0);
    assert_eq!(balance(&chain, &alice.address()), before - sent.cost.total_cost);
    assert_eq!(chain.state().unwrap().actor(&alice.address()).unwrap().1.sequence, 1);
}

#[test]
fn the_base_fee_falls_with_empty_tipsets_and_rises_with_full_ones() {
    let base_fee = atto(1_000_000_000);
    let mut chain = Chain::open(&Config { base_fee: base_fee.clone(), ..Config::default() }).unwrap();
    let alice = chain.account(0).unwrap();
    assert_eq!(chain.head().outcome.base_fee, atto(875_000_000));
    let empty = chain.produce(vec![], false).unwrap().block;
    assert_eq!(empty.header.parent_base_fee, atto(875_000_000));
    assert_eq!(empty.outcome.base_fee, atto(765_625_000));

    let message = Message { gas_limit: 10_000_000_000, ..Message::new(alice.address(), alice.address(), 0, vec![]) };
    let sent = chain.send(&alice, message).unwrap();
    assert_eq!(sent.block.header.parent_base_fee, atto(765_625_000));
    assert_eq!(sent.block.outcome.base_fee, atto(861_328_125));
    assert_eq!(sent.cost.base_fee_burn, atto(765_625_000 * sent.receipt.gas_used));
}

#[test]
fn all_money_stays_in_the_state_tree() {
    let mut chain = Chain::open(&Config { accounts: 2, ..Config::default() }).unwrap();
    let (alice, bob) = (chain.account(0).unwrap(), chain.account(1).unwrap());
    let faucet = Account::faucet(&chain.config().seed).unwrap().address();
    let fresh = Account::derive("somebody", 0).unwrap().address();
    let idle = chain.deploy(&alice, IDLE, &[]).unwrap();
    let total = |chain: &Chain| {
        let holders = [alice.address(), bob.address(), faucet, fresh, idle.id, REWARD, BURNT];
        holders.iter().map(|holder| balance(chain, holder)).fold(TokenAmount::zero(), |sum, one| sum + one)
    };
    let before = total(&chain);
    for (to, value) in [(bob.address(), 1), (fresh, 22), (idle.robust, 333), (Address::new_id(7_777), 4)] {
        let message = Message {
            value: TokenAmount::from_whole(value),
            gas_premium: atto(50),
            ..Message::new(alice.address(), to, 0, vec![])
        };
        chain.send(&alice, message).unwrap();
    }
    assert_eq!(total(&chain), before);
    assert_eq!(balance(&chain, &fresh), TokenAmount::from_whole(22));
    assert_eq!(balance(&chain, &idle.id), TokenAmount::from_whole(333));
}
