//! Scalars, CIDs that the networks know, and conversions; how each type is written is in `snapshots`.

mod snapshots;

use cid::Cid;
use fvm_ipld_encoding::{from_slice, to_vec};
use fvm_shared::address::{Address, Network};
use fvm_shared::bigint::BigInt;
use fvm_shared::crypto::signature as fvm;
use fvm_shared::econ::TokenAmount;
use fvm_shared::event::StampedEvent;
use fvm_shared::receipt::Receipt;
use fvm_shared::state::ActorState as FvmActorState;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;

fn read<T: DeserializeOwned>(json: Value) -> Result<T, String> {
    serde_json::from_value(json).map_err(|e| e.to_string())
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

#[test]
fn scalars_are_written_as_lotus_does() {
    let cid = blake2b_cid(b"x");
    assert_eq!(json!(Lotus(cid)), json!({"/": cid.to_string()}));
    assert_eq!(json!(Lotus(Address::new_id(5))), json!("t05"));
    assert_eq!(json!(Lotus(BigInt::from(-12))), json!("-12"));
    assert_eq!(json!(Lotus(TokenAmount::from_whole(2))), json!("2000000000000000000"));
    assert_eq!(json!(Lotus(vec![0u8, 255])), json!("AP8="));
    assert_eq!(json!(Lotus(Vec::<u8>::new())), json!(""));
    assert_eq!(json!(Lotus(None::<Cid>)), Value::Null);
    assert_eq!(json!(TipsetKey::HEAD), json!([]));
}

#[test]
fn scalars_are_read_as_go_writes_them() {
    assert_eq!(read::<Lotus<Vec<u8>>>(Value::Null), Ok(Lotus(vec![])));
    assert_eq!(read::<Lotus<Vec<Cid>>>(Value::Null), Ok(Lotus(vec![])));
    assert_eq!(read::<TipsetKey>(Value::Null), Ok(TipsetKey::HEAD));
    assert_eq!(read::<Lotus<Address>>(json!("f05")), Ok(Lotus(Address::new_id(5))));
    assert_eq!(read::<Lotus<Address>>(json!("t05")), Ok(Lotus(Address::new_id(5))));
    assert_eq!(read::<Lotus<BigInt>>(json!("-7")), Ok(Lotus(BigInt::from(-7))));
}

#[test]
fn what_is_no_scalar_is_refused_with_what_was_expected() {
    let refused = |error: Option<String>, words: &str| {
        let error = error.unwrap_or_else(|| panic!("accepted, where {words:?} is expected"));
        assert!(error.contains(words), "{error}");
    };
    for bad in ["", "+1", "1_0", "0x10", "1.5", "-", " 1", &"9".repeat(400)] {
        refused(read::<Lotus<BigInt>>(json!(bad)).err(), "expected a decimal integer");
        refused(read::<Lotus<TokenAmount>>(json!(bad)).err(), "expected a decimal integer");
    }
    refused(read::<Lotus<BigInt>>(json!(1)).err(), "expected a string");
    refused(read::<Lotus<Cid>>(json!("bafy")).err(), "expected struct Link");
    refused(read::<Lotus<Cid>>(json!({"/": "bafy"})).err(), "expected a CID, got \"bafy\"");
    refused(read::<Lotus<Vec<u8>>>(json!("AP8")).err(), "expected base64");
    for bad in ["", "t", "x05", "05", "é05", "t1aa", "t0-1"] {
        refused(read::<Lotus<Address>>(json!(bad)).err(), "expected an address");
    }
}

#[test]
fn only_the_letter_of_an_address_depends_on_the_network() {
    let address = Address::new_delegated(10, &[1; 20]).unwrap();
    let f = format_address_in(Network::Mainnet, &address);
    let t = format_address_in(Network::Testnet, &address);
    assert_eq!((&f[..5], &t[..5]), ("f410f", "t410f"));
    assert_eq!(f[1..], t[1..]);
    assert_eq!(parse_address(&f).unwrap(), address);
    assert_eq!(parse_address(&t).unwrap(), address);
    assert_eq!(network_named("mainnet"), Network::Mainnet);
    assert_eq!(network_named("calibrationnet"), Network::Testnet);
}

/// The first block of mainnet (lotus:build/genesis/mainnet.car.zst).
const MAINNET_GENESIS: &str = "904200008158205f8a03396b309a60fb7d3d33dd13483d05464bce5fd9d06171e7a8c280e24216820040818200582000000000000000000000000000000000000000000000000000000000000000008081d82a58250001711220107d821c25dc0735200249df94a8bebc9c8e489744f86a4ca8919e81f19dcd724000d82a5827000171a0e402208fbc07f7587e2efebab9ff1ab27c928881abf9d1b7e5ad5206781415615867aed82a5827000171a0e40220e5658b3d18cd06e1db9015b4b0ec55c123a24d5be1ea24d83938c5b8397b4f2fd82a5827000171a0e4022098307faeabdd208c1321be4c1ec84fbb952cd8424c24db0d5a96c8032fb2ce10f61a5f443860f600450005f5e100";

pub(crate) fn mainnet_genesis() -> Vec<u8> {
    bytes(MAINNET_GENESIS)
}

#[test]
fn the_first_block_of_mainnet_has_its_name() {
    let header = BlockHeader::from_cbor(&mainnet_genesis()).unwrap();
    assert_eq!(header.to_cbor().unwrap(), mainnet_genesis());
    assert_eq!(header.cid().unwrap().to_string(), "bafy2bzacecnamqgqmifpluoeldx7zzglxcljo6oja4vrmtj7432rphldpdmm2");
    assert_eq!((header.height, header.timestamp), (0, 1_598_306_400));
    assert_eq!((header.bls_aggregate, header.block_sig), (None, None));
    assert_eq!(header.parent_base_fee, TokenAmount::from_atto(100_000_000));
}

/// A block with every field in use, from filecoin-project/serialization-vectors `block_headers.json`.
fn vector_header() -> (Value, &'static str, &'static str) {
    let block = json!({
        "Miner": "t01000",
        "Ticket": {"VRFProof": "gst0d6gB9VwfLqXl0RZ2Yf7qYKOfaX4Qma8TJoK4HMUEe+rPW26A1fUrn9kDI/uFEKU5ZBbdB2wTyFYZ4XZVhYJ0QFOj+u9nZIKaoCEyoVcadqq9xJimOOoAVNO7V/Qd"},
        "ElectionProof": {"WinCount": 1, "VRFProof": "gS0jlsxFks33+Ck3SwH/0DxUaaSwqazFzMZCeXqgpUmLl7KNkIIP7cb3n/CmAF9cFduso7ikVyCvftUwAFVWZyB6DMtQBzzSRRCZWr1MTkXB6eEUkFAYstqUVBkEmZQe"},
        "BeaconEntries": [{"Round": 1, "Data": "Et0Kan0OIiqXkm2gOttad2jTHMfFwr1oKOFKfSX6OmA="}],
        "WinPoStProof": [{"PoStProof": 0, "ProofBytes": "dmFsaWQgcHJvb2Y="}],
        "Parents": [{"/": "bafy2bzaceayprgulanz222ihtw6lyww572ntjxhjgimjpbxfbu7limxn4o5jy"}],
        "ParentWeight": "3840",
        "Height": 1,
        "ParentStateRoot": {"/": "bafy2bzacebjchdd5cxaqbqnz5p4esvaycde6hqwyn2bgkewgyqlnemmpzvew2"},
        "ParentMessageReceipts": {"/": "bafy2bzacedswlcz5ddgqnyo3sak3jmhmkxashisnlpq6ujgyhe4mlobzpnhs6"},
        "Messages": {"/": "bafy2bzaceamngujudqycuilynnmfocgjq42wligqprbfehkkv5jnup7w6lsgc"},
        "BLSAggregate": {"Type": 2, "Data": "wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
        "Timestamp": 1596740665,
        "BlockSig": {"Type": 2, "Data": "tc1Ick3OD+yHmdd/1sURMnbn9HDIOR+qC1pgM6Pq81fWNXBcNqvhAwnXNZJycoloBRWv2dQkeTukeWsFJoLSGwPFyKN9lIJ/7MWc3FdQ4Zj98g3uAS9NYnxmZRMimKuV"},
        "ForkSignaling": 0,
        "ParentBaseFee": "87500000",
    });
    let cbor = "904300e80781586082cb7477a801f55c1f2ea5e5d1167661feea60a39f697e1099af132682b81cc5047beacf5b6e80d5f52b9fd90323fb8510a5396416dd076c13c85619e176558582744053a3faef6764829aa02132a1571a76aabdc498a638ea0054d3bb57f41d82015860812d2396cc4592cdf7f829374b01ffd03c5469a4b0a9acc5ccc642797aa0a5498b97b28d90820fedc6f79ff0a6005f5c15dbaca3b8a45720af7ed53000555667207a0ccb50073cd24510995abd4c4e45c1e9e114905018b2da9454190499941e818201582012dd0a6a7d0e222a97926da03adb5a7768d31cc7c5c2bd6828e14a7d25fa3a608182004b76616c69642070726f6f6681d82a5827000171a0e4022030f89a8b0373ad69079dbcbc5addfe9b34dce932189786e50d3eb432ede3ba9c43000f0001d82a5827000171a0e4022052238c7d15c100c1b9ebf849541810c9e3c2d86e826512c6c416d2318fcd496dd82a5827000171a0e40220e5658b3d18cd06e1db9015b4b0ec55c123a24d5be1ea24d83938c5b8397b4f2fd82a5827000171a0e4022018d351341c302a21786b585708c9873565a0d07c42521d4aaf52da3ff6f2e461586102c000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000001a5f2c5439586102b5cd48724dce0fec8799d77fd6c5113276e7f470c8391faa0b5a6033a3eaf357d635705c36abe10309d73592727289680515afd9d424793ba4796b052682d21b03c5c8a37d94827fecc59cdc5750e198fdf20dee012f4d627c6665132298ab95004500053724e0";
    (block, cbor, "bafy2bzacecv2dnse37l6p2xwhqaq63txtme7hc7ajkgawuswyzqftgdmuhrfs")
}

#[test]
fn a_block_goes_from_lotus_json_to_lotus_cbor_and_back() {
    let (json, cbor, cid) = vector_header();
    let header: BlockHeader = read(json.clone()).unwrap();
    assert_eq!(header.to_cbor().unwrap(), bytes(cbor));
    assert_eq!(header.cid().unwrap().to_string(), cid);
    assert_eq!(serde_json::to_value(BlockHeader::from_cbor(&bytes(cbor)).unwrap()).unwrap(), json);
    assert_ne!(header.signing_bytes().unwrap(), header.to_cbor().unwrap());
    assert!(BlockHeader::from_cbor(&bytes(cbor)[1..]).is_err());
}

/// From filecoin-project/serialization-vectors `message_signing.json`.
#[test]
fn messages_have_the_cids_of_lotus() {
    let message: Message = read(json!({
        "Version": 0,
        "To": "t099999",
        "From": "t3sogjuub37grt2tuvvlxbiamthwxenf2dwgq6sn7gpj72c5omg7gojjplsdsovgq6g3aagwerkght3e7boqfq",
        "Nonce": 55,
        "Value": "1",
        "GasLimit": 1000000,
        "GasFeeCap": "100",
        "GasPremium": "1",
        "Method": 0,
        "Params": null,
    }))
    .unwrap();
    let unsigned = "bafy2bzacedhl5cowfmp7hq2ke3irf7indry55px44cbbjthazwvpm7ktf676w";
    assert_eq!(message.cid().unwrap().to_string(), unsigned);

    // Lotus documents MpoolPush with this message, its CID, and the CID of the signed message.
    let documented: SignedMessage = read(json!({
        "Message": {
            "Version": 42, "To": "f01234", "From": "f01234", "Nonce": 42, "Value": "0", "GasLimit": 9,
            "GasFeeCap": "0", "GasPremium": "0", "Method": 1, "Params": "Ynl0ZSBhcnJheQ==",
        },
        "Signature": {"Type": 2, "Data": "Ynl0ZSBhcnJheQ=="},
    }))
    .unwrap();
    let known = "bafy2bzacebbpdegvr3i4cosewthysg5xkxpqfn2wfcz6mv2hmoktwbdxkax4s";
    assert_eq!(documented.message.cid().unwrap().to_string(), known);
    assert_eq!(documented.cid().unwrap().to_string(), known, "a BLS signature is no part of the CID");

    let signature = Signature::secp256k1(documented.signature.data.clone());
    let secp = SignedMessage { signature, ..documented.clone() };
    assert_eq!(secp.cid().unwrap(), blake2b_cid(&secp.to_cbor().unwrap()));
    assert_ne!(secp.cid().unwrap(), documented.cid().unwrap());
    assert_eq!(secp.chain_length().unwrap(), documented.chain_length().unwrap() + 1 + 1 + 1 + 10);
}

#[test]
fn messages_may_leave_out_what_is_zero_but_not_who() {
    let short: Message = read(json!({"To": "t01", "From": "t0100"})).unwrap();
    assert_eq!(short, Message::new(Address::new_id(100), Address::new_id(1), 0, vec![]));
    assert_eq!(read::<Message>(json!({"To": "t01"})).unwrap_err(), "missing field `From`");
    assert!(read::<Message>(json!({"To": "t01", "From": "t02", "GasLimit": -1})).is_err());
}

#[test]
fn a_wrong_cid_beside_a_message_is_ignored() {
    let mut json = json!(Message::new(Address::new_id(100), Address::new_id(1), 0, vec![]));
    let right = json["CID"].clone();
    json["CID"] = json!({"/": blake2b_cid(b"other").to_string()});
    assert_eq!(json!(read::<Message>(json).unwrap())["CID"], right);
}

#[test]
fn conversions_lose_nothing() {
    let message = snapshots::message();
    assert_eq!(Message::from(fvm_shared::message::Message::from(message.clone())), message);
    let receipt = snapshots::receipt();
    assert_eq!(MessageReceipt::from(Receipt::from(receipt.clone())), receipt);
    let actor = snapshots::actor();
    assert_eq!(ActorState::from(FvmActorState::from(actor.clone())), actor);
    let event = Event { emitter: 5, entries: vec![snapshots::entry()] };
    assert_eq!(Event::from(StampedEvent::from(event.clone())), event);
    for signature in [Signature::bls([1; 96]), Signature::secp256k1([2; 65])] {
        let shared = fvm::Signature::try_from(signature.clone()).unwrap();
        assert_eq!(to_vec(&shared).unwrap(), to_vec(&signature).unwrap());
        assert_eq!(Signature::from(shared), signature);
        assert_eq!(from_slice::<Signature>(&to_vec(&signature).unwrap()).unwrap(), signature);
    }
    let delegated = Signature { sig_type: SignatureType::Delegated, data: vec![3; 65] };
    assert_eq!(fvm::Signature::try_from(delegated), Err(DelegatedSignature));
    assert!(read::<Signature>(json!({"Type": 4, "Data": ""})).unwrap_err().contains("got 4"));
}

#[test]
fn a_tipset_that_lies_is_found_out() {
    let good = Tipset::from_block(snapshots::header()).unwrap();
    good.check().unwrap();
    assert_eq!(good.key().0, vec![good.blocks[0].cid().unwrap()]);
    assert_eq!(good.parents().0, good.blocks[0].parents);

    let empty = Tipset { cids: vec![], blocks: vec![], height: 0 };
    assert!(matches!(empty.check(), Err(TipsetError::Empty)));
    let mut counted = good.clone();
    counted.cids.push(good.cids[0]);
    assert!(matches!(counted.check(), Err(TipsetError::Count { cids: 2, blocks: 1, .. })));
    let higher = Tipset { height: good.height + 1, ..good.clone() };
    assert!(matches!(higher.check(), Err(TipsetError::Mixed { index: 0, .. })));
    let mut forged = good.clone();
    forged.blocks[0].timestamp += 1;
    assert!(matches!(forged.check(), Err(TipsetError::Cid { index: 0, .. })));
}
