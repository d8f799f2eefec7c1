//! Transactions that other implementations have written and signed, and what none of them would.

use fvm_ipld_encoding::{BytesSer, to_vec};
use fvm_shared::address::Address;
use fvm_shared::econ::TokenAmount;
use k256::ecdsa::SigningKey;

use super::*;
use crate::json::parse_address;

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn signature(r: &str, s: &str, v: u8) -> Signature {
    let data = [bytes(r), bytes(s), vec![v]].concat();
    Signature { sig_type: SignatureType::Delegated, data }
}

fn message(from: &str, to: Address, input: &str) -> Message {
    let params = if input.is_empty() { vec![] } else { to_vec(&BytesSer(&bytes(input))).unwrap() };
    Message::new(parse_address(from).unwrap(), to, INVOKE_CONTRACT, params)
}

/// lotus:chain/types/ethtypes/rlp_test.go `TestDecode1`: for a devnet, from an f410 address to itself.
fn from_lotus() -> (SignedMessage, &'static str) {
    const TO: &str = "52963ef50e27e06d72d59fcb4f3c2a687be3cfef";
    let to = EthAddress(bytes(TO).try_into().unwrap()).to_filecoin();
    let message = Message {
        value: TokenAmount::from_whole(1),
        gas_limit: 0x0767f8,
        gas_fee_cap: TokenAmount::from_atto(0x2c8411),
        gas_premium: TokenAmount::from_atto(0x2c8411),
        ..message("f410fkkld55ioe7qg24wvt7fu6pbknb56ht7pt4zamxa", to, "")
    };
    let signature = signature(
        "94b11866f453ad85a980e0e8a2fc98cbaeb4409618c7734a7e12ae2f66fd405d",
        "42dbfb1b37af102023830ceeee0e703ffba0b8b3afeb8fe59f405eca9ed61072",
        0,
    );
    let raw = "02f8758401df5e7680832c8411832c8411830767f89452963ef50e27e06d72d59fcb4f3c2a687be3cfef880de0b6b3a76400008\
               0c080a094b11866f453ad85a980e0e8a2fc98cbaeb4409618c7734a7e12ae2f66fd405da042dbfb1b37af102023830ceeee0e70\
               3ffba0b8b3afeb8fe59f405eca9ed61072";
    (SignedMessage { message, signature }, raw)
}

const DEVNETS: u64 = 31_415_926;

#[test]
fn a_transaction_that_lotus_tests_with_is_its_senders() {
    let (signed, raw) = from_lotus();
    let transaction = Transaction::from_message(&signed.message, DEVNETS).unwrap();
    let signature = signed.signature.data.clone().try_into().unwrap();
    assert_eq!(hex(&transaction.signed_bytes(&signature)), raw);
    verify(&signed, DEVNETS).unwrap();
    assert_eq!(transaction_hash(&signed, DEVNETS).unwrap(), keccak_256(&bytes(raw)));
    assert!(is_eth_sender(&signed.message.from));
}

/// lotus:chain/types/ethtypes/eth_1559_transactions_test.go `TestDelegatedSigner`: to f01010, with a nonce.
#[test]
fn a_message_to_an_id_is_signed_with_the_masked_id() {
    let key = "04cfecc0520d906cbfea387759246e89d85e2998843e56ad1c41de247ce10b3e4c453aa73c8de13c178d94461b6fa3f8b6f74406ce43\
               d2fbab6992d0b283394242";
    let sender = EthAddress::of_key(&VerifyingKey::from_sec1_bytes(&bytes(key)).unwrap()).to_filecoin();
    let message = Message {
        nonce: 3,
        value: TokenAmount::from_atto(3_000_000),
        gas_limit: 10_000_000,
        gas_fee_cap: TokenAmount::from_nano(1),
        gas_premium: TokenAmount::from_nano(10),
        ..Message::new(sender, Address::new_id(1010), INVOKE_CONTRACT, vec![])
    };
    let transaction = Transaction::from_message(&message, DEVNETS).unwrap();
    let unsigned =
        "02f08401df5e76038502540be400843b9aca008398968094ff000000000000000000000000000000000003f2832dc6c080c0";
    assert_eq!(hex(&transaction.unsigned_bytes()), unsigned);
    let signature = signature(
        "cf1fa52fae9154ba21d67aeca9b42adfe186eb9e426c441051a8473efd190848",
        "0e6c8c79ffaf35fb8f136c8cf6c5656f1f3befad21f2644321aa6dba58d68737",
        0,
    );
    verify(&SignedMessage { message, signature }, DEVNETS).unwrap();
}

/// lotus:chain/types/ethtypes/eth_1559_transactions_test.go, the fifth case of `prepareTxTestcases`: mainnet's id.
#[test]
fn the_input_is_what_the_parameters_hold() {
    let input = "f8b2cb4f000000000000000000000000ff00000000000000000000000000000000000064";
    let raw = "02f88682013a8080808094ff000000000000000000000000000000000003ec80a4f8b2cb4f000000000000000000000000ff0000000\
               0000000000000000000000000000064c080a0706d871013403cf8b965dfa7f2be5a4d185d746da45b21d5a67c667c26d255d6a0\
               2e68a14f386aa325ce8e82d30405107d53103d038cf20e40af961ef3a3963608";
    let signature = signature(
        "706d871013403cf8b965dfa7f2be5a4d185d746da45b21d5a67c667c26d255d6",
        "2e68a14f386aa325ce8e82d30405107d53103d038cf20e40af961ef3a3963608",
        0,
    );
    let message = message("f410fkkld55ioe7qg24wvt7fu6pbknb56ht7pt4zamxa", Address::new_id(1004), input);
    let transaction = Transaction::from_message(&message, 314).unwrap();
    assert_eq!(transaction.input, bytes(input));
    assert_eq!(hex(&transaction.signed_bytes(&signature.data.try_into().unwrap())), raw);
}

/// The first key that local Ethereum networks hand out, and what eth-account makes of it.
#[test]
fn we_sign_as_ethereums_own_tools_do() {
    let secret = bytes("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80");
    let key = SigningKey::from_slice(&secret).unwrap();
    let sender = EthAddress::of_key(key.verifying_key());
    assert_eq!(sender.to_string(), "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266");
    let to = EthAddress(bytes("70997970c51812dc3a010c7d01b50e0d17dc79c8").try_into().unwrap());
    let message = Message {
        value: TokenAmount::from_whole(1),
        gas_limit: 21_000,
        gas_fee_cap: TokenAmount::from_nano(20),
        gas_premium: TokenAmount::from_nano(1),
        ..Message::new(sender.to_filecoin(), to.to_filecoin(), INVOKE_CONTRACT, vec![])
    };
    let signed = sign_message(&key, message, 1).unwrap();
    verify(&signed, 1).unwrap();
    let r = "0a3a2646d4ad968bb56317fdb15e17fb4d9deec0d03e8b6cb05e7125bda3006d";
    let s = "26618ad17cc63cf1979ca75f850c536a073ec88ab1ab7c8db8b8eb129499d9ae";
    assert_eq!(signed.signature, signature(r, s, 1));
    let hash = "9bab8d3e7893fd77088c164d2834ddcb9fbfa73c93bdee90e396e3e27141f1ba";
    assert_eq!(hex(&transaction_hash(&signed, 1).unwrap()), hash);
}

#[test]
fn whatever_is_changed_is_noticed() {
    let (signed, _) = from_lotus();
    let changes: [fn(&mut Message); 8] = [
        |m| m.nonce += 1,
        |m| m.value += TokenAmount::from_atto(1),
        |m| m.gas_limit += 1,
        |m| m.gas_fee_cap += TokenAmount::from_atto(1),
        |m| m.gas_premium += TokenAmount::from_atto(1),
        |m| m.to = Address::new_id(1),
        |m| m.params = vec![0x41, 7],
        |m| m.from = EthAddress([1; 20]).to_filecoin(),
    ];
    for change in changes {
        let mut changed = signed.clone();
        change(&mut changed.message);
        let refused = verify(&changed, DEVNETS).unwrap_err();
        assert!(matches!(refused, EthError::Signer { sender, .. } if sender == changed.message.from), "{refused}");
    }
    assert!(matches!(verify(&signed, 314), Err(EthError::Signer { .. })), "it is for another network");
}

#[test]
fn what_no_transaction_can_say_is_refused() {
    let (SignedMessage { message, .. }, _) = from_lotus();
    let refusal = |change: &dyn Fn(&mut Message)| {
        let mut changed = message.clone();
        change(&mut changed);
        Transaction::from_message(&changed, DEVNETS).unwrap_err().to_string()
    };
    let masked = Address::new_delegated(EAM_ID, &EthAddress::of_id(1).0).unwrap();
    let other_namespace = Address::new_delegated(11, &[1; 20]).unwrap();
    for from in [Address::new_id(100), Address::new_secp256k1(&[1; 65]).unwrap(), masked, other_namespace] {
        assert!(refusal(&|m| m.from = from).starts_with("expected a sender with an Ethereum address"));
        assert!(!is_eth_sender(&from));
    }
    for to in [Address::new_actor(b"f2"), masked, Address::new_delegated(EAM_ID, &[1; 19]).unwrap()] {
        let words = refusal(&|m| m.to = to);
        assert!(words.starts_with("expected a receiver with an f0 or f410f address"), "{words}");
    }
    for method in [0, 1, INVOKE_CONTRACT + 1, CREATE_EXTERNAL] {
        let words = refusal(&|m| m.method = method);
        assert!(words.starts_with("expected method 3844450837 (InvokeContract)"), "{words}");
    }
    assert!(refusal(&|m| m.to = Address::new_id(EAM_ID)).starts_with("expected method"));
    // No byte string, an array, an empty one, one with a byte too many, one whose length could be shorter.
    for params in [&b"\xff"[..], b"\x81\x01", b"\x40", b"\x41\x07\x00", b"\x58\x01\x07", b"\x42\x07", b"\x61a"] {
        let words = refusal(&|m| m.params = params.to_vec());
        assert!(words.starts_with("expected as parameters of an Ethereum-style sender"), "{params:?}: {words}");
    }
    assert_eq!(refusal(&|m| m.version = 1), "expected message version 0, got 1");
    assert_eq!(refusal(&|m| m.value = TokenAmount::from_atto(-1)), "Value is negative");
    assert_eq!(refusal(&|m| m.gas_premium = TokenAmount::from_atto(-1)), "GasPremium is negative");
}

#[test]
fn only_a_contract_is_created_by_a_transaction_to_nobody() {
    let (SignedMessage { message, .. }, _) = from_lotus();
    let create = Message { to: Address::new_id(EAM_ID), method: CREATE_EXTERNAL, ..message };
    let transaction = Transaction::from_message(&create, DEVNETS).unwrap();
    assert_eq!(transaction.to, None);
    // Where the receiver would be, after the gas limit, is an empty string.
    assert!(hex(&transaction.unsigned_bytes()).contains("830767f880880de0b6b3a7640000"));
}

#[test]
fn other_signatures_are_refused() {
    let (signed, _) = from_lotus();
    let refusal = |signature| verify(&SignedMessage { signature, ..signed.clone() }, DEVNETS).unwrap_err();
    let with = |data: Vec<u8>| Signature { sig_type: SignatureType::Delegated, data };
    let good = signed.signature.data.clone();
    assert_eq!(refusal(Signature::secp256k1(good.clone())), EthError::Type(SignatureType::Secp256k1));
    assert_eq!(refusal(with(good[..64].to_vec())), EthError::Length(64));
    assert_eq!(refusal(with([&[1][..], &good].concat())), EthError::Length(66));
    assert_eq!(refusal(with(vec![0; 65])), EthError::Unrecoverable);
    assert_eq!(refusal(with([&good[..64], &[27]].concat())), EthError::Unrecoverable);
    assert!(matches!(refusal(with([&good[..64], &[1]].concat())), EthError::Signer { .. }));
}

#[test]
fn the_negative_of_s_is_taken_as_lotus_does() {
    let (mut signed, _) = from_lotus();
    let (_, s) = Ecdsa::from_slice(&signed.signature.data[..64]).unwrap().split_scalars();
    signed.signature.data[32..64].copy_from_slice(&(-*s).to_bytes());
    assert!(matches!(verify(&signed, DEVNETS), Err(EthError::Signer { .. })), "with it the parity changes");
    signed.signature.data[64] ^= 1;
    verify(&signed, DEVNETS).unwrap();
}

#[test]
fn addresses_go_both_ways() {
    let masked = EthAddress::of_id(1004);
    assert_eq!(masked.to_string(), "0xff000000000000000000000000000000000003ec");
    assert_eq!(masked.to_filecoin(), Address::new_id(1004));
    assert_eq!(EthAddress::of(&Address::new_id(1004)), Some(masked));
    let (signed, _) = from_lotus();
    let from = EthAddress::of(&signed.message.from).unwrap();
    assert_eq!(from.to_string(), "0x52963ef50e27e06d72d59fcb4f3c2a687be3cfef");
    assert_eq!(from.to_filecoin(), signed.message.from);
    assert_eq!(EthAddress::of(&Address::new_actor(b"f2")), None);
}

#[test]
fn chain_ids_are_read_as_nodes_write_them() {
    assert_eq!(parse_chain_id("0x1df5e76"), Ok(DEVNETS));
    assert_eq!(parse_chain_id("0x13a"), Ok(314));
    for bad in ["", "0x", "314", "0x+1", "0x1g", "0x10000000000000000"] {
        assert_eq!(parse_chain_id(bad), Err(EthError::ChainId(bad.into())));
    }
}
