//! What the message pool takes, and what it refuses in which words.

use bucket_devnet::{Account, Config, Devnet, Handle, Message, Mining, SignedMessage, drive::INIT};
use bucket_rpc::json::Signature;
use fvm_shared::{address::Address, econ::TokenAmount};

use crate::modules::padded_idle;

fn manual() -> (Handle, Account) {
    let devnet = Devnet::spawn(Config { mining: Mining::Manual, ..Config::default() }).unwrap();
    let alice = devnet.account(0).unwrap();
    (devnet, alice)
}

/// A message of `alice` to herself that the pool takes as it is.
fn good(alice: &Account) -> Message {
    Message {
        gas_limit: 10_000_000,
        gas_fee_cap: TokenAmount::from_atto(1_000),
        gas_premium: TokenAmount::from_atto(100),
        ..Message::new(alice.address(), alice.address(), 0, vec![])
    }
}

fn refusal(devnet: &Handle, message: SignedMessage) -> String {
    devnet.push(message).unwrap_err().to_string()
}

fn pending(devnet: &Handle) -> usize {
    devnet.node().run_blocking(|node| Ok(node.pool.len())).unwrap()
}

#[test]
fn a_message_of_65_kib_is_refused() {
    let (devnet, alice) = manual();
    let of_params = |bytes| alice.sign(Message { params: vec![0; bytes], gas_limit: 1 << 30, ..good(&alice) }).unwrap();
    let words = refusal(&devnet, of_params(65 << 10));
    assert_eq!(words, "mpool message too large (66695B): message too big");
    // The limit is for the signed message, so a little less fits into it.
    let overhead = of_params(60_000).to_cbor().unwrap().len() - 60_000;
    let largest = of_params((64 << 10) - overhead);
    assert_eq!(largest.to_cbor().unwrap().len(), 64 << 10);
    let words = refusal(&devnet, of_params((64 << 10) - overhead + 1));
    assert_eq!(words, "mpool message too large (65537B): message too big");
    devnet.push(largest).unwrap();
}

#[test]
fn only_install_code_may_be_larger() {
    let (devnet, alice) = manual();
    let params = bucket_devnet::drive::install_code_params(&padded_idle(900_000)).unwrap();
    let message = Message { params, gas_limit: 9_000_000_000, ..good(&alice) };
    let install = Message { to: INIT, method: 4, ..message.clone() };
    let to_another = Message { to: Address::new_id(100), method: 4, ..message.clone() };
    let by_another_method = Message { to: INIT, method: 2, ..message };
    for other in [to_another, by_another_method] {
        assert!(refusal(&devnet, alice.sign(other).unwrap()).starts_with("mpool message too large (90"));
    }
    let cid = devnet.push(alice.sign(install.clone()).unwrap()).unwrap();
    devnet.mine(2).unwrap();
    let lookup = devnet.inspect(move |chain| chain.search(chain.head(), &cid, -1, false)).unwrap().unwrap();
    assert!(lookup.receipt.exit_code.is_success(), "{lookup:?}");

    let params = bucket_devnet::drive::install_code_params(&vec![0; 2 << 20]).unwrap();
    let words = refusal(&devnet, alice.sign(Message { params, nonce: 1, ..install }).unwrap());
    assert!(words.starts_with("mpool message too large (20972"), "{words}");
}

#[test]
fn signatures_are_checked() {
    let (devnet, alice) = manual();
    let bob = devnet.account(1).unwrap();
    // Bob signs what says it is from Alice.
    let words = refusal(&devnet, bob.sign(good(&alice)).unwrap());
    assert_eq!(words, "signature verification failed: Secp signature verification failed");

    let mut changed = alice.sign(good(&alice)).unwrap();
    changed.message.nonce += 1;
    assert!(refusal(&devnet, changed).starts_with("signature verification failed"));
    let short = SignedMessage { message: good(&alice), signature: Signature::secp256k1(vec![1; 64]) };
    assert!(refusal(&devnet, short).starts_with("signature verification failed"));
    let by_id = Message { from: Address::new_id(100), ..good(&alice) };
    assert!(refusal(&devnet, alice.sign(by_id).unwrap()).starts_with("signature verification failed"));
    assert_eq!(pending(&devnet), 0);
}

#[test]
fn fields_are_checked() {
    let (devnet, alice) = manual();
    let atto = |atto: i64| TokenAmount::from_atto(atto);
    let too_much = TokenAmount::from_whole(2_000_000_001u64);
    let cases = [
        (
            Message { gas_limit: 10_000_000_001, ..good(&alice) },
            "greater than a block's gas limit (10000000001 > 10000000000)",
        ),
        (Message { gas_limit: 1_000, ..good(&alice) }, "less than the cost of storing a message on chain 1000 < "),
        (Message { gas_fee_cap: atto(99), gas_premium: atto(1), ..good(&alice) }, "gas fee cap too low"),
        (Message { gas_premium: atto(1_001), ..good(&alice) }, "'GasFeeCap' less than 'GasPremium'"),
        (Message { gas_premium: atto(-1), ..good(&alice) }, "'GasPremium' field cannot be negative"),
        (Message { value: atto(-1), ..good(&alice) }, "'Value' field cannot be negative"),
        (Message { value: too_much, ..good(&alice) }, "greater than total filecoin supply"),
        (Message { version: 1, ..good(&alice) }, "'Version' unsupported"),
        (
            Message { gas_fee_cap: TokenAmount::from_whole(1), ..good(&alice) },
            "not enough funds to execute transaction",
        ),
    ];
    for (message, expected) in cases {
        let words = refusal(&devnet, alice.sign(message.clone()).unwrap());
        assert!(words.contains(expected), "{expected:?} is not in {words:?}, for {message:?}");
    }
    let nobody = Account::derive("nobody", 0).unwrap();
    assert!(refusal(&devnet, nobody.sign(good(&nobody)).unwrap()).contains("actor not found"));
}

#[test]
fn nonces_may_have_gaps_that_are_filled_later() {
    let (devnet, alice) = manual();
    let of_nonce = |nonce| alice.sign(Message { nonce, ..good(&alice) }).unwrap();
    let next = |devnet: &Handle| {
        let from = alice.address();
        devnet.node().run_blocking(move |node| Ok(node.pool.next_nonce(&from, 0))).unwrap()
    };
    devnet.push(of_nonce(0)).unwrap();
    devnet.push(of_nonce(2)).unwrap();
    assert_eq!(next(&devnet), 1);
    devnet.mine(1).unwrap();
    assert_eq!(pending(&devnet), 1);
    assert_eq!(refusal(&devnet, of_nonce(0)), "minimum expected nonce is 1: message nonce too low");

    devnet.push(of_nonce(1)).unwrap();
    assert_eq!(next(&devnet), 0, "0 is the caller's idea of the state nonce, with which nothing waits");
    devnet.mine(1).unwrap();
    assert_eq!(pending(&devnet), 0);
}

#[test]
fn a_message_is_replaced_for_a_quarter_more() {
    let (devnet, alice) = manual();
    let of_premium = |premium: i64| {
        let gas_premium = TokenAmount::from_atto(premium);
        alice.sign(Message { gas_premium, ..good(&alice) }).unwrap()
    };
    let first = devnet.push(of_premium(100)).unwrap();
    let words = refusal(&devnet, of_premium(100));
    assert!(words.ends_with("already in mpool: message with nonce already exists"), "{words}");
    let words = refusal(&devnet, of_premium(125));
    assert!(words.contains("increase GasPremium to 126 from 100 to trigger replace by fee"), "{words}");
    let second = devnet.push(of_premium(126)).unwrap();
    assert_ne!(first, second);
    assert_eq!(pending(&devnet), 1);
    devnet.mine(2).unwrap();

    // Whoever waits for the first one is told of the second, if that is allowed.
    let search = |allow| devnet.inspect(move |chain| chain.search(chain.head(), &first, -1, allow));
    assert_eq!(search(true).unwrap().unwrap().message, second);
    let words = search(false).unwrap_err().to_string();
    assert!(words.starts_with("found message with equal nonce as the one we are looking for (wanted"), "{words}");
}

#[test]
fn messages_wait_until_they_can_pay_and_fit() {
    let (devnet, alice) = manual();
    let bob = devnet.account(1).unwrap();
    // Two of these do not fit into one block.
    let large = |nonce| alice.sign(Message { nonce, gas_limit: 6_000_000_000, ..good(&alice) }).unwrap();
    devnet.push(large(0)).unwrap();
    devnet.push(large(1)).unwrap();
    // This one offers less than the base fee will be after full blocks: it waits.
    let gas_fee_cap = TokenAmount::from_atto(100);
    devnet.push(bob.sign(Message { gas_fee_cap, ..good(&bob) }).unwrap()).unwrap();
    // Each takes what came first: Alice's one, Alice's other, nothing for the base fee is 104, and then Bob's.
    for left in [2, 1, 1, 0] {
        devnet.mine(1).unwrap();
        assert_eq!(pending(&devnet), left);
    }
}

#[test]
fn instant_mining_waits_for_the_base_fee_to_fall() {
    let base_fee = TokenAmount::from_atto(1_000);
    let devnet = Devnet::spawn(Config { base_fee, ..Config::default() }).unwrap();
    let alice = devnet.account(0).unwrap();
    let gas_fee_cap = TokenAmount::from_atto(600);
    devnet.push(alice.sign(Message { gas_fee_cap, ..good(&alice) }).unwrap()).unwrap();
    assert_eq!(pending(&devnet), 0);
    // Genesis leaves 875; after three empty tipsets it is 585, the fourth has the message and the fifth its result.
    let head = devnet.head().unwrap();
    assert_eq!(head.height, 5);
    let parent = head.blocks[0].parents[0];
    let paid = devnet.inspect(move |chain| Ok(chain.block(&parent)?.header.parent_base_fee.clone())).unwrap();
    assert_eq!(paid, TokenAmount::from_atto(585));
}

#[test]
fn instant_mining_needs_no_asking() {
    let devnet = Devnet::spawn(Config::default()).unwrap();
    let alice = devnet.account(0).unwrap();
    let before = devnet.head().unwrap();
    assert_eq!(before.height, 0);
    devnet.push(alice.sign(good(&alice)).unwrap()).unwrap();
    // The message's tipset, and the one that shows the result.
    assert_eq!(devnet.head().unwrap().height, 2);
    // With a gap there is nothing to mine.
    devnet.push(alice.sign(Message { nonce: 2, ..good(&alice) }).unwrap()).unwrap();
    assert_eq!(devnet.head().unwrap().height, 2);
    devnet.push(alice.sign(Message { nonce: 1, ..good(&alice) }).unwrap()).unwrap();
    assert_eq!(devnet.head().unwrap().height, 4);
    assert_eq!(pending(&devnet), 0);
}
