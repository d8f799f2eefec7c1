//! The account actor, and messages signed with BLS.

use bls_signatures::{PrivateKey, Serialize as _};
use bucket_devnet::{Account, Chain, Config, Message, SignedMessage, block};
use bucket_rpc::json::Signature;
use fvm_ipld_encoding::{BytesSer, to_vec};
use fvm_shared::{address::Address, crypto::signature::ops::verify_bls_aggregate, econ::TokenAmount, error::ExitCode};

fn exit_code(chain: &mut Chain, sender: &Account, to: Address, method: u64, params: Vec<u8>) -> ExitCode {
    chain.send(sender, Message::new(sender.address(), to, method, params)).unwrap().receipt.exit_code
}

#[test]
fn sending_to_a_fresh_key_makes_an_account_that_can_send() {
    let mut chain = Chain::open(&Config::default()).unwrap();
    let alice = chain.account(0).unwrap();
    let fresh = Account::derive("fresh", 0).unwrap();
    assert!(chain.state().unwrap().find(&fresh.address()).unwrap().is_none());
    chain.transfer(&alice, fresh.address(), TokenAmount::from_whole(10)).unwrap().success().unwrap();

    let state = chain.state().unwrap();
    let (id, _) = state.actor(&fresh.address()).unwrap();
    assert_eq!(id, 1001);
    assert_eq!(state.key_address(&Address::new_id(id)).unwrap(), fresh.address());
    assert_eq!(state.robust_address(&Address::new_id(id)).unwrap(), fresh.address());
    chain.transfer(&fresh, alice.address(), TokenAmount::from_whole(1)).unwrap().success().unwrap();
}

#[test]
fn an_account_tells_its_key_and_takes_exported_methods() {
    let mut chain = Chain::open(&Config::default()).unwrap();
    let (alice, bob) = (chain.account(0).unwrap(), chain.account(1).unwrap().address());
    let told = chain.send(&alice, Message::new(alice.address(), bob, 2, vec![])).unwrap();
    assert_eq!(told.receipt.return_data.deserialize::<Address>().unwrap(), bob);

    assert_eq!(exit_code(&mut chain, &alice, bob, 1 << 24, b"anything".to_vec()), ExitCode::OK);
    assert_eq!(exit_code(&mut chain, &alice, bob, (1 << 24) - 1, vec![]), ExitCode::USR_UNHANDLED_MESSAGE);
    // Only the system may construct an account.
    let params = to_vec(&alice.address()).unwrap();
    assert_eq!(exit_code(&mut chain, &alice, bob, 1, params), ExitCode::USR_FORBIDDEN);
}

#[test]
fn an_account_authenticates_its_signatures() {
    const AUTHENTICATE_MESSAGE: u64 = 2_643_134_072;
    let mut chain = Chain::open(&Config::default()).unwrap();
    let (alice, bob) = (chain.account(0).unwrap(), chain.account(1).unwrap());
    // A signature over the bytes of a message's CID is at hand.
    let signed = bob.sign(Message::new(bob.address(), alice.address(), 0, vec![])).unwrap();
    let plaintext = signed.message.cid().unwrap().to_bytes();
    let params = |signature: &[u8], plaintext: &[u8]| to_vec(&(BytesSer(signature), BytesSer(plaintext))).unwrap();

    let good = params(&signed.signature.data, &plaintext);
    let message = Message::new(alice.address(), bob.address(), AUTHENTICATE_MESSAGE, good.clone());
    let answer = chain.send(&alice, message).unwrap().success().unwrap();
    assert!(answer.receipt.return_data.deserialize::<bool>().unwrap());

    let wrong_text = params(&signed.signature.data, b"other");
    let wrong_key = (alice.address(), good);
    for (to, params) in [(bob.address(), wrong_text), wrong_key] {
        let code = exit_code(&mut chain, &alice, to, AUTHENTICATE_MESSAGE, params);
        assert_eq!(code, ExitCode::USR_ILLEGAL_ARGUMENT);
    }
    let code = exit_code(&mut chain, &alice, bob.address(), AUTHENTICATE_MESSAGE, b"\xa0".to_vec());
    assert_eq!(code, ExitCode::USR_SERIALIZATION);
}

#[test]
fn bls_messages_go_first_and_share_one_signature() {
    let mut chain = Chain::open(&Config::default()).unwrap();
    let alice = chain.account(0).unwrap();
    let keys = [PrivateKey::new([1; 32]), PrivateKey::new([2; 32])];
    let addresses = keys.each_ref().map(|key| Address::new_bls(&key.public_key().as_bytes()).unwrap());
    for address in addresses {
        chain.transfer(&alice, address, TokenAmount::from_whole(10)).unwrap().success().unwrap();
    }
    let base_fee = chain.head().outcome.base_fee.clone();
    let message = |from| Message {
        gas_limit: 10_000_000,
        gas_fee_cap: base_fee.clone(),
        ..Message::new(from, alice.address(), 0, vec![])
    };
    let bls = |index: usize| {
        let message: Message = message(addresses[index]);
        let signature = keys[index].sign(message.cid().unwrap().to_bytes());
        SignedMessage { message, signature: Signature::bls(signature.as_bytes()) }
    };
    let secp = alice.sign(Message { nonce: 2, ..message(alice.address()) }).unwrap();
    let produced = chain.produce(vec![bls(0), secp.clone(), bls(1)], false).unwrap();
    assert!(produced.applied.iter().all(|applied| applied.msg_receipt.exit_code.is_success()));

    let included = block::messages(chain.store(), &produced.block.header).unwrap();
    let cids: Vec<_> = included.iter().map(|included| included.cid).collect();
    // BLS messages are known by the unsigned message, others by the signed one.
    let expected = [bls(0).message.cid(), bls(1).message.cid(), secp.cid()].map(Result::unwrap);
    assert_eq!(cids, expected);
    let aggregate = produced.block.header.bls_aggregate.clone().unwrap().data.try_into().unwrap();
    let publics = keys.each_ref().map(|key| key.public_key().as_bytes().try_into().unwrap());
    let plaintexts = [cids[0].to_bytes(), cids[1].to_bytes()];
    assert_eq!(verify_bls_aggregate(&aggregate, &publics, &[&plaintexts[0], &plaintexts[1]]), Ok(true));
    assert_eq!(verify_bls_aggregate(&aggregate, &publics, &[&plaintexts[1], &plaintexts[0]]), Ok(false));

    let signed = block::signed_messages(chain.store(), &produced.block).unwrap();
    assert_eq!(signed, [bls(0), bls(1), secp]);
}
