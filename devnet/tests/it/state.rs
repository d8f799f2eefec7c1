//! Calls, replays and estimates: executions that leave no trace on the chain.

use bucket_devnet::{
    Account, Config, Devnet, GenesisActor, Handle, IDLE, Message, Mining,
    drive::{EXEC, INIT, exec_params},
};
use bucket_rpc::{
    Client, Lotus, RpcError,
    json::{ActorEventFilter, InvocResult, MessageSendSpec, SignedMessage, TipsetKey},
    methods::*,
    server::code,
};
use fvm_shared::{address::Address, econ::TokenAmount, error::ExitCode};

use crate::modules::{EVENT, emitter};

fn start() -> (Handle, Client, Account) {
    let devnet = Devnet::spawn(Config::default()).unwrap();
    let client = Client::new(devnet.url(), None).unwrap();
    let alice = devnet.account(0).unwrap();
    (devnet, client, alice)
}

fn transfer(from: &Account, to: Address, whole: u64) -> Message {
    Message { value: TokenAmount::from_whole(whole), ..Message::new(from.address(), to, 0, vec![]) }
}

#[tokio::test]
async fn a_call_changes_nothing() {
    let (devnet, client, alice) = start();
    let bob = devnet.account(1).unwrap().address();
    let (head, root) = (devnet.head().unwrap(), devnet.state_root().unwrap());
    let result = client.call::<StateCall>((transfer(&alice, bob, 5), TipsetKey::HEAD)).await.unwrap();
    let receipt = result.msg_rct.unwrap();
    assert_eq!(receipt.exit_code, ExitCode::OK);
    assert!(receipt.gas_used > 0);
    assert_eq!(result.error, "");
    assert_eq!(result.gas_cost.message, None);
    assert_eq!(devnet.state_root().unwrap(), root);
    assert_eq!(devnet.head().unwrap(), head);
    // On the state *before* the head's messages there is not more than this.
    let too_much = transfer(&alice, bob, 1_000_001);
    let receipt = client.call::<StateCall>((too_much, TipsetKey::HEAD)).await.unwrap().msg_rct.unwrap();
    assert_eq!(receipt.exit_code, ExitCode::SYS_INSUFFICIENT_FUNDS);
}

#[tokio::test]
async fn a_call_sees_the_state_of_its_tipset() {
    let (devnet, client, alice) = start();
    let fresh = Account::derive("fresh", 0).unwrap().address();
    let before = devnet.head().unwrap().key();
    let cid = devnet.send(&alice, transfer(&alice, fresh, 5)).unwrap();
    let after = devnet.wait(cid).await.unwrap().tipset;
    let pubkey_address = |from| Message::new(from, fresh, 2, vec![]);

    let result = client.call::<StateCall>((pubkey_address(alice.address()), after.clone())).await.unwrap();
    let returned: Address = fvm_ipld_encoding::from_slice(&result.msg_rct.unwrap().return_data).unwrap();
    assert_eq!(returned, fresh);
    let by_id = Message { to: Address::new_id(1001), ..pubkey_address(alice.address()) };
    let result = client.call::<StateCall>((by_id, before.clone())).await.unwrap();
    assert_eq!(result.msg_rct.unwrap().exit_code, ExitCode::SYS_INVALID_RECEIVER);
    assert!(result.error.contains("actor does not exist"), "{}", result.error);

    let balance = client.call::<StateGetActor>((Lotus(fresh), after.clone())).await.unwrap().balance;
    assert_eq!(balance, TokenAmount::from_whole(5));
    let error = client.call::<StateGetActor>((Lotus(fresh), before.clone())).await.unwrap_err();
    assert_eq!(error.code(), Some(code::ACTOR_NOT_FOUND));
    let id = client.call::<StateLookupID>((Lotus(fresh), after.clone())).await.unwrap();
    assert_eq!(id, Lotus(Address::new_id(1001)));
    assert_eq!(client.call::<StateAccountKey>((id, after.clone())).await.unwrap(), Lotus(fresh));
    assert_eq!(client.call::<StateLookupRobustAddress>((id, after)).await.unwrap(), Lotus(fresh));
    assert!(client.call::<StateLookupID>((Lotus(fresh), before)).await.is_err());
}

#[tokio::test]
async fn a_replay_gives_the_receipt_again_with_its_trace_and_cost() {
    let actor = GenesisActor { name: "idle".into(), wasm: IDLE.to_vec() };
    let devnet = Devnet::spawn(Config { mining: Mining::Manual, actors: vec![actor], ..Config::default() }).unwrap();
    let client = Client::new(devnet.url(), None).unwrap();
    let (alice, bob) = (devnet.account(0).unwrap(), devnet.account(1).unwrap().address());
    let code = client.call::<DevnetInfo>(()).await.unwrap().actors[0].code;
    // Two messages of one tipset: the second one stands on the first.
    let exec = Message::new(alice.address(), INIT, EXEC, exec_params(code, &[]).unwrap());
    let first = devnet.send(&alice, exec).unwrap();
    let second = devnet.send(&alice, transfer(&alice, bob, 6)).unwrap();
    let head = devnet.mine(2).unwrap();
    let tipset = head.parents();
    let receipts = client.call::<ChainGetParentReceipts>((Lotus(head.cids[0]),)).await.unwrap();
    assert_eq!(receipts.len(), 2);
    for (cid, receipt) in [first, second].into_iter().zip(receipts) {
        let replayed = client.call::<StateReplay>((tipset.clone(), Lotus(cid))).await.unwrap();
        assert_eq!(replayed.msg_rct, Some(receipt.clone()));
        assert_eq!(replayed.gas_cost.gas_used, receipt.gas_used.into());
        assert_eq!(replayed.gas_cost.message, Some(cid));
        let offered = &replayed.msg.gas_fee_cap * replayed.msg.gas_limit;
        assert_eq!(replayed.gas_cost.total_cost, offered - &replayed.gas_cost.refund);
        let charged: i64 = all_gas(&replayed);
        assert!((charged - receipt.gas_used as i64).unsigned_abs() < 30, "{charged} for {receipt:?}");
        // The node also finds the tipset by itself.
        let found = client.call::<StateReplay>((TipsetKey::HEAD, Lotus(cid))).await.unwrap();
        assert_eq!(found.gas_cost, replayed.gas_cost);
    }
    // Init called the constructor.
    let replayed = client.call::<StateReplay>((tipset.clone(), Lotus(first))).await.unwrap();
    assert_eq!(replayed.execution_trace.subcalls.len(), 1);
    assert_eq!(replayed.execution_trace.subcalls[0].msg.method, 1);
    let names: Vec<_> = replayed.execution_trace.gas_charges.iter().map(|charge| charge.name.as_str()).collect();
    assert_eq!(names.first(), Some(&"OnChainMessage"));
    let error = client.call::<StateReplay>((head.key(), Lotus(first))).await.unwrap_err().to_string();
    assert!(error.contains("not found in tipset"), "{error}");
}

fn all_gas(result: &InvocResult) -> i64 {
    let mut calls = vec![&result.execution_trace];
    let mut sum = 0;
    while let Some(call) = calls.pop() {
        sum += call.gas_charges.iter().map(|charge| charge.total_gas).sum::<i64>();
        calls.extend(&call.subcalls);
    }
    sum
}

#[tokio::test]
async fn estimated_gas_is_enough_and_not_much_more() {
    let (devnet, client, alice) = start();
    let estimate = |message| client.call::<GasEstimateMessageGas>((message, None, TipsetKey::HEAD));
    let message = transfer(&alice, Account::derive("fresh", 0).unwrap().address(), 1);
    let estimated = estimate(message.clone()).await.unwrap();
    assert_eq!(estimated.gas_premium, TokenAmount::from_atto(100_000));
    // 100 attoFIL times 1.125 to the 20th, and the premium.
    assert_eq!(estimated.gas_fee_cap, TokenAmount::from_atto(101_055));
    let used = client.call::<GasEstimateGasLimit>((message, TipsetKey::HEAD)).await.unwrap();
    assert_eq!(estimated.gas_limit, used as u64 * 5 / 4);

    let cid = devnet.push(alice.sign(estimated).unwrap()).unwrap();
    let receipt = devnet.wait(cid).await.unwrap().receipt;
    assert_eq!(receipt.exit_code, ExitCode::OK);
    // The estimate was for a message with zeros for fees, which is a few bytes shorter.
    let off = receipt.gas_used.abs_diff(used as u64);
    assert!(off < receipt.gas_used / 20, "used {}, estimated {used}", receipt.gas_used);
}

#[tokio::test]
async fn an_estimate_says_why_a_message_would_fail() {
    let (_devnet, client, alice) = start();
    let params = bucket_devnet::drive::install_code_params(b"no module").unwrap();
    let message = Message::new(alice.address(), Address::new_id(1), 4, params);
    let error = client.call::<GasEstimateMessageGas>((message, None, TipsetKey::HEAD)).await.unwrap_err();
    let RpcError::Node { code, message, .. } = &error else { panic!("{error}") };
    assert_eq!(*code, code::EXECUTION_REVERTED);
    assert!(message.starts_with("message execution failed: exit 16"), "{message}");
    assert!(message.contains("failed to validate actor wasm"), "{message}");
    let nobody = Message::new(Account::derive("nobody", 0).unwrap().address(), alice.address(), 0, vec![]);
    let error = client.call::<GasEstimateMessageGas>((nobody, None, TipsetKey::HEAD)).await.unwrap_err();
    assert_eq!(error.code(), Some(code::ACTOR_NOT_FOUND));
}

#[tokio::test]
async fn an_estimate_stands_on_what_waits_and_keeps_to_the_limit() {
    let (devnet, client, alice) = start();
    devnet.set_mining(Mining::Manual).unwrap();
    let fresh = Account::derive("fresh", 0).unwrap();
    devnet.send(&alice, transfer(&alice, fresh.address(), 1)).unwrap();
    // The account will exist by then, so that it costs less than making it.
    let first = client.call::<GasEstimateGasLimit>((transfer(&alice, fresh.address(), 1), TipsetKey::HEAD)).await;
    let other = Account::derive("fresh", 1).unwrap().address();
    let second = client.call::<GasEstimateGasLimit>((transfer(&alice, other, 1), TipsetKey::HEAD)).await;
    assert!(first.unwrap() < second.unwrap());

    let spec = MessageSendSpec { max_fee: TokenAmount::from_atto(5_000_000), ..Default::default() };
    let params = (transfer(&alice, other, 1), Some(spec), TipsetKey::HEAD);
    let capped = client.call::<GasEstimateMessageGas>(params).await.unwrap();
    assert!(&capped.gas_fee_cap * capped.gas_limit <= TokenAmount::from_atto(5_000_000));
    assert!(capped.gas_premium <= capped.gas_fee_cap);
}

#[tokio::test]
async fn events_are_found_by_place_emitter_and_value() {
    let (devnet, client, alice) = start();
    let emitting = devnet.deploy(&alice, &emitter(), &[]).unwrap();
    devnet.deploy(&alice, IDLE, &[]).unwrap();
    let cid = devnet.send(&alice, Message::new(alice.address(), emitting.robust, 2, vec![])).unwrap();
    let lookup = devnet.wait(cid).await.unwrap();
    let root = lookup.receipt.events_root.unwrap();
    let events = client.call::<ChainGetEvents>((Lotus(root),)).await.unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].emitter, 1001);

    let find = |filter: ActorEventFilter| client.call::<GetActorEventsRaw>((Some(filter),));
    let filter = ActorEventFilter { from_height: Some(0), ..Default::default() };
    let all = find(filter.clone()).await.unwrap();
    // The constructor emitted one as well.
    assert_eq!(all.len(), 2);
    assert_eq!(all[1].entries, events[0].entries);
    assert_eq!((all[1].emitter, all[1].msg_cid, all[1].reverted), (Address::new_id(1001), cid, false));
    assert_eq!(all[1].height, lookup.height - 1, "the message's tipset, not the one with the receipt");

    let of = |addresses| ActorEventFilter { addresses, ..filter.clone() };
    assert_eq!(find(of(vec![emitting.robust])).await.unwrap().len(), 2);
    assert_eq!(find(of(vec![Address::new_id(1002)])).await.unwrap().len(), 0);
    assert_eq!(find(of(vec![Account::derive("nobody", 0).unwrap().address()])).await.unwrap().len(), 0);
    let with = |key: &str, value: &[u8]| {
        let value = bucket_rpc::json::ActorEventBlock { codec: 0x55, value: value.to_vec() };
        ActorEventFilter { fields: [(key.to_owned(), vec![value])].into(), ..filter.clone() }
    };
    assert_eq!(find(with(EVENT.0, EVENT.1)).await.unwrap().len(), 2);
    assert_eq!(find(with(EVENT.0, b"other")).await.unwrap().len(), 0);
    let at = ActorEventFilter { tipset_key: Some(all[1].tipset_key.clone()), ..Default::default() };
    assert_eq!(find(at.clone()).await.unwrap().len(), 1);
    assert!(find(ActorEventFilter { from_height: Some(1), ..at }).await.is_err());
    let late = ActorEventFilter { from_height: Some(all[1].height + 1), ..Default::default() };
    assert_eq!(find(late).await.unwrap().len(), 0);
}

#[tokio::test]
async fn nonces_count_what_waits() {
    let (devnet, client, alice) = start();
    devnet.set_mining(Mining::Manual).unwrap();
    let nonce = |address| client.call::<MpoolGetNonce>((Lotus(address),));
    assert_eq!(nonce(alice.address()).await.unwrap(), 0);
    let message = client
        .call::<GasEstimateMessageGas>((transfer(&alice, alice.address(), 0), None, TipsetKey::HEAD))
        .await
        .unwrap();
    let signed: SignedMessage = alice.sign(message).unwrap();
    let cid = client.call::<MpoolPush>((signed.clone(),)).await.unwrap();
    assert_eq!(cid, Lotus(signed.cid().unwrap()));
    assert_eq!(nonce(alice.address()).await.unwrap(), 1);
    assert_eq!(nonce(Address::new_id(100)).await.unwrap(), 1);
    assert_eq!(client.call::<MpoolPending>((TipsetKey::HEAD,)).await.unwrap(), [signed]);
    devnet.mine(1).unwrap();
    assert_eq!(nonce(alice.address()).await.unwrap(), 1);
    assert_eq!(client.call::<MpoolPending>((TipsetKey::HEAD,)).await.unwrap(), []);
    assert!(client.call::<WalletBalance>((Lotus(Address::new_id(9_999)),)).await.unwrap().0.is_zero());
    let nobody = Account::derive("nobody", 0).unwrap().address();
    assert_eq!(nonce(nobody).await.unwrap_err().code(), Some(code::ACTOR_NOT_FOUND));
}
