//! Senders with an Ethereum key: f410 addresses, delegated signatures, and the account that the FVM makes of them.

use bucket_devnet::{
    Account, Chain, Config, Devnet, GenesisActor, Handle, IDLE, Message, Mining, Reorg, SignedMessage,
};
use bucket_rpc::{
    Client, Lotus,
    eth::{EthAddress, INVOKE_CONTRACT, is_eth_sender},
    json::{ApiMessage, Signature, SignatureType, TipsetKey},
    methods::*,
};
use fvm_ipld_encoding::{BytesSer, to_vec};
use fvm_shared::{METHOD_SEND, address::Address, econ::TokenAmount, error::ExitCode};

fn whole(fil: u64) -> TokenAmount {
    TokenAmount::from_whole(fil)
}

/// A call of a contract with that input, ready to be estimated.
fn invoke(from: &Account, to: Address, input: &[u8]) -> Message {
    let params = if input.is_empty() { vec![] } else { to_vec(&BytesSer(input)).unwrap() };
    Message::new(from.address(), to, INVOKE_CONTRACT, params)
}

fn fresh() -> Account {
    Account::derive_eth("fresh", 0).unwrap()
}

#[test]
fn genesis_funds_ethereum_accounts_after_the_others() {
    let chain = Chain::open(&Config { eth_accounts: 2, ..Config::default() }).unwrap();
    let state = chain.state().unwrap();
    for (index, expected) in [(0, 111), (1, 112)] {
        let address = chain.eth_account(index).unwrap().address();
        assert!(is_eth_sender(&address));
        let (id, actor) = state.actor(&address).unwrap();
        assert_eq!((id, actor.sequence, actor.balance), (expected, 0, whole(1_000_000)));
        assert_eq!(actor.delegated_address, Some(address));
        assert_eq!(state.key_address(&Address::new_id(id)).unwrap(), address);
        assert_eq!(state.robust_address(&Address::new_id(id)).unwrap(), address);
    }
    assert!(chain.eth_account(2).is_err());
    assert_eq!(state.actor(&chain.account(9).unwrap().address()).unwrap().0, 109, "others keep their ids");
}

#[test]
fn the_first_message_makes_an_account_of_the_placeholder() {
    let mut chain = Chain::open(&Config::default()).unwrap();
    let alice = chain.account(0).unwrap();
    let idle = chain.deploy(&alice, IDLE, &[]).unwrap();
    let funded = fresh();
    chain.transfer(&alice, funded.address(), whole(10)).unwrap().success().unwrap();
    let (id, placeholder) = chain.state().unwrap().actor(&funded.address()).unwrap();
    assert_eq!((placeholder.balance.clone(), placeholder.sequence), (whole(10), 0));
    assert_eq!(placeholder.delegated_address, Some(funded.address()));

    let executed = chain.send(&funded, invoke(&funded, idle.id, b"input")).unwrap().success().unwrap();
    let (same, account) = chain.state().unwrap().actor(&funded.address()).unwrap();
    assert_eq!((same, account.sequence), (id, 1));
    assert_ne!(account.code, placeholder.code);
    let paid = &executed.cost.total_cost;
    assert!(*paid > TokenAmount::from_atto(0));
    assert_eq!(account.balance, whole(10) - paid);
    chain.send(&funded, invoke(&funded, idle.id, b"")).unwrap().success().unwrap();
    assert_eq!(chain.state().unwrap().actor(&funded.address()).unwrap().1.sequence, 2);
}

#[test]
fn placeholders_and_accounts_receive_as_on_the_real_networks() {
    let mut chain = Chain::open(&Config::default()).unwrap();
    let (alice, eth) = (chain.account(0).unwrap(), chain.eth_account(0).unwrap());
    let code = |chain: &mut Chain, method| {
        let message = Message::new(alice.address(), eth.address(), method, vec![]);
        chain.send(&alice, message).unwrap().receipt.exit_code
    };
    // AuthenticateMessage, which only an account with an f1 or f3 key answers.
    const AUTHENTICATE_MESSAGE: u64 = 2_643_134_072;
    for method in [METHOD_SEND, 2, INVOKE_CONTRACT, AUTHENTICATE_MESSAGE] {
        assert_eq!(code(&mut chain, method), ExitCode::OK, "a placeholder takes method {method}");
    }
    // An Ethereum account sends FIL by invoking.
    let bob = fresh().address();
    let payment = Message { value: whole(3), ..invoke(&eth, bob, b"") };
    chain.send(&eth, payment).unwrap().success().unwrap();
    assert_eq!(chain.state().unwrap().actor(&bob).unwrap().1.balance, whole(3));

    for method in [METHOD_SEND, INVOKE_CONTRACT, AUTHENTICATE_MESSAGE] {
        assert_eq!(code(&mut chain, method), ExitCode::OK, "an account takes method {method}");
    }
    assert_eq!(code(&mut chain, 2), ExitCode::USR_UNHANDLED_MESSAGE);
    assert_eq!(code(&mut chain, 1), ExitCode::USR_FORBIDDEN);
}

fn start(mining: Mining) -> (Handle, Client, Account, Address) {
    let idle = GenesisActor { name: "idle".into(), wasm: IDLE.to_vec() };
    let devnet = Devnet::spawn(Config { actors: vec![idle], mining, ..Config::default() }).unwrap();
    let client = Client::new(devnet.url(), None).unwrap();
    let alice = devnet.account(0).unwrap();
    let actor = devnet.deploy(&alice, IDLE, &[]).unwrap().id;
    (devnet, client, fresh(), actor)
}

#[tokio::test]
async fn a_wallet_is_funded_and_sends_over_json_rpc() {
    let (_devnet, client, sender, actor) = start(Mining::Instant);
    let from = Lotus(sender.address());
    assert_eq!(client.call::<WalletBalance>((from,)).await.unwrap(), Lotus(whole(0)));
    assert!(client.call::<MpoolGetNonce>((from,)).await.is_err(), "there is no actor yet");
    let fund = client.call::<DevnetFund>((from, Lotus(whole(5)))).await.unwrap();
    client.call::<StateWaitMsg>((fund, 0, -1, true)).await.unwrap();
    assert_eq!(client.call::<WalletBalance>((from,)).await.unwrap(), Lotus(whole(5)));
    let id = client.call::<StateLookupID>((from, TipsetKey::HEAD)).await.unwrap();
    assert_eq!(client.call::<StateAccountKey>((id, TipsetKey::HEAD)).await.unwrap(), from);

    for nonce in [0, 1] {
        assert_eq!(client.call::<MpoolGetNonce>((from,)).await.unwrap(), nonce);
        assert_eq!(client.call::<MpoolGetNonce>((id,)).await.unwrap(), nonce);
        let message = invoke(&sender, actor, b"calldata");
        let called = client.call::<StateCall>((message.clone(), TipsetKey::HEAD)).await.unwrap();
        assert_eq!(called.msg_rct.unwrap().exit_code, ExitCode::OK);
        let estimated = client.call::<GasEstimateMessageGas>((message, None, TipsetKey::HEAD)).await.unwrap();
        let signed = sender.sign(Message { nonce, ..estimated }).unwrap();
        assert_eq!(signed.signature.sig_type, SignatureType::Delegated);
        let cid = client.call::<MpoolPush>((signed.clone(),)).await.unwrap();
        assert_eq!(cid.0, signed.cid().unwrap(), "known by its signed form");
        let lookup = client.call::<StateWaitMsg>((cid, 0, -1, true)).await.unwrap();
        assert_eq!(lookup.receipt.exit_code, ExitCode::OK);
        let listed = client.call::<ChainGetParentMessages>((Lotus(lookup.tipset.0[0]),)).await.unwrap();
        assert_eq!(listed, [ApiMessage { cid: cid.0, message: signed.message.clone() }]);
        for cid in [cid.0, signed.message.cid().unwrap()] {
            let found = client.call::<StateSearchMsg>((TipsetKey::HEAD, Lotus(cid), -1, false)).await.unwrap();
            assert_eq!(found.unwrap().receipt, lookup.receipt);
        }
    }
    let left = client.call::<WalletBalance>((from,)).await.unwrap().0;
    assert!(left < whole(5) && left > whole(4), "{left}");
    let ethereum = client.call::<FilecoinAddressToEthAddress>((from, None)).await.unwrap();
    assert_eq!(ethereum, EthAddress::of(&sender.address()).unwrap().to_string());
}

#[tokio::test]
async fn messages_lie_with_the_secp256k1_ones_and_survive_a_reorg() {
    let (devnet, client, _, actor) = start(Mining::Manual);
    let (alice, eth) = (devnet.account(1).unwrap(), devnet.eth_account(0).unwrap());
    let first = devnet.send(&eth, invoke(&eth, actor, b"1")).unwrap();
    let second = devnet.send(&alice, invoke(&alice, actor, b"2")).unwrap();
    let third = devnet.send(&eth, invoke(&eth, actor, b"3")).unwrap();
    assert_eq!(client.call::<MpoolGetNonce>((Lotus(eth.address()),)).await.unwrap(), 2, "it counts those that wait");
    assert_eq!(client.call::<MpoolPending>((TipsetKey::HEAD,)).await.unwrap().len(), 3);
    devnet.mine(1).unwrap();
    let listed = async |child: bucket_rpc::json::Tipset| {
        let messages = client.call::<ChainGetParentMessages>((Lotus(child.cids[0]),)).await.unwrap();
        messages.into_iter().map(|message| message.cid).collect::<Vec<_>>()
    };
    assert_eq!(listed(devnet.mine(1).unwrap()).await, [first, second, third]);
    let replayed = client.call::<StateReplay>((TipsetKey::HEAD, Lotus(third))).await.unwrap();
    assert_eq!(replayed.msg_rct.unwrap().exit_code, ExitCode::OK);

    devnet.reorg(Reorg { depth: 2, null_rounds: 1, include: false }).unwrap();
    assert_eq!(client.call::<MpoolPending>((TipsetKey::HEAD,)).await.unwrap().len(), 3);
    devnet.mine(1).unwrap();
    let mut again = listed(devnet.mine(1).unwrap()).await;
    let mut all = vec![first, second, third];
    again.sort();
    all.sort();
    assert_eq!(again, all);
}

#[test]
fn forged_signatures_are_refused_in_clear_words() {
    let (devnet, _, _, actor) = start(Mining::Manual);
    let eth = devnet.eth_account(0).unwrap();
    let good = Message {
        gas_limit: 10_000_000,
        gas_fee_cap: TokenAmount::from_atto(1_000),
        gas_premium: TokenAmount::from_atto(100),
        ..invoke(&eth, actor, b"input")
    };
    let refusal = |message: SignedMessage| devnet.push(message).unwrap_err().to_string();
    let by_another = fresh().sign(good.clone()).unwrap();
    assert_eq!(
        refusal(by_another.clone()),
        format!(
            "signature verification failed: the delegated signature is by {}, or of another message; the sender is {}",
            fresh().address(),
            eth.address()
        )
    );
    let mut changed = eth.sign(good.clone()).unwrap();
    changed.message.nonce += 1;
    assert!(refusal(changed).starts_with("signature verification failed: the delegated signature is by t410f"));
    // The key itself, but by its other kind of signature; and the other way round.
    let f1 = Account::from_private_key(&eth.private_key()).unwrap();
    let words = refusal(f1.sign(good.clone()).unwrap());
    assert!(words.starts_with("signature verification failed"), "{words}");
    let from_f1 = Message { from: devnet.account(0).unwrap().address(), ..good.clone() };
    let words = refusal(SignedMessage { message: from_f1, ..by_another.clone() });
    assert!(words.contains("expected a sender with an Ethereum address (f410f…)"), "{words}");
    // By its id, as for other senders: the pool wants the address of the key.
    let by_id = Message { from: Address::new_id(111), ..good.clone() };
    assert!(refusal(SignedMessage { message: by_id, ..by_another.clone() }).contains("expected a sender"));

    // What Lotus could build no transaction from.
    let refused = [
        (
            Message { method: METHOD_SEND, params: vec![], ..good.clone() },
            "expected method 3844450837 (InvokeContract)",
        ),
        (Message { params: vec![0x80], ..good.clone() }, "a CBOR byte string or nothing"),
        (
            Message { to: Address::new_actor(b"robust"), ..good.clone() },
            "expected a receiver with an f0 or f410f address",
        ),
    ];
    for (message, expected) in refused {
        let words = refusal(SignedMessage { message: message.clone(), ..by_another.clone() });
        assert!(words.contains(expected), "{words}");
        let words = eth.sign(message).unwrap_err().to_string();
        assert!(words.contains(expected), "{words}");
    }
    let signature = Signature { sig_type: SignatureType::Delegated, data: vec![1; 66] };
    assert!(refusal(SignedMessage { message: good.clone(), signature }).contains("of 65 bytes (r, s, parity), got 66"));
    assert_eq!(devnet.node().run_blocking(|node| Ok(node.pool.len())).unwrap(), 0);
    devnet.push(eth.sign(good).unwrap()).unwrap();
}
