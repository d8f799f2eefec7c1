//! Messages, receipts, tipsets and actors.

use expect_test::expect;

use super::*;

#[test]
fn messages() {
    snapshot(
        &message(),
        expect![[r#"
        {
          "Version": 0,
          "To": "t01234",
          "From": "t2c564by3bj654dyxbnn63z6hi5qbdcbiguc3fpdi",
          "Nonce": 7,
          "Value": "1000000000000000000",
          "GasLimit": 1000000,
          "GasFeeCap": "100",
          "GasPremium": "1",
          "Method": 2,
          "Params": "gA==",
          "CID": {
            "/": "bafy2bzacecxrk6krl4sm5gf6yhtcqtr4xkxzumwa2eensmurxauxnrltjrlvq"
          }
        }"#]],
    );
    let delegated = Signature { sig_type: SignatureType::Delegated, data: vec![1, 2] };
    let plain = Message::new(Address::new_id(100), Address::new_id(101), 0, vec![]);
    snapshot(
        &SignedMessage { message: plain, signature: delegated },
        expect![[r#"
        {
          "Message": {
            "Version": 0,
            "To": "t0101",
            "From": "t0100",
            "Nonce": 0,
            "Value": "0",
            "GasLimit": 0,
            "GasFeeCap": "0",
            "GasPremium": "0",
            "Method": 0,
            "Params": "",
            "CID": {
              "/": "bafy2bzaceapd6u7ank4rf6uqf2jtc5nsiewml7tkd26dxd4pcbpkevvp67ccs"
            }
          },
          "Signature": {
            "Type": 3,
            "Data": "AQI="
          },
          "CID": {
            "/": "bafy2bzacebskwobo7xf6dekw3hjuq3x2pej76erglxqy74z5v2mh624cq6nwy"
          }
        }"#]],
    );
    let plain = Message::new(Address::new_id(100), Address::new_id(101), 0, vec![]);
    snapshot(
        &ApiMessage { cid: cid(1), message: plain },
        expect![[r#"
        {
          "Cid": {
            "/": "bafy2bzacedxbkwwotracsiduznvp7de4zxjhhsawjd7rcsppg26ou3v3ri7ck"
          },
          "Message": {
            "Version": 0,
            "To": "t0101",
            "From": "t0100",
            "Nonce": 0,
            "Value": "0",
            "GasLimit": 0,
            "GasFeeCap": "0",
            "GasPremium": "0",
            "Method": 0,
            "Params": "",
            "CID": {
              "/": "bafy2bzaceapd6u7ank4rf6uqf2jtc5nsiewml7tkd26dxd4pcbpkevvp67ccs"
            }
          }
        }"#]],
    );
}

#[test]
fn receipts() {
    snapshot(
        &receipt(),
        expect![[r#"
        {
          "ExitCode": 17,
          "Return": "AQID",
          "GasUsed": 99,
          "EventsRoot": {
            "/": "bafy2bzaced24recuc6j7g67657do36ryiew6abpvvskpb4pl7ofvlxza433fi"
          }
        }"#]],
    );
    let lookup = MsgLookup {
        message: cid(1),
        receipt: MessageReceipt { events_root: None, return_data: vec![], ..receipt() },
        return_dec: serde_json::Value::Null,
        tipset: TipsetKey(vec![cid(2), cid(3)]),
        height: 12,
    };
    snapshot(
        &lookup,
        expect![[r#"
        {
          "Message": {
            "/": "bafy2bzacedxbkwwotracsiduznvp7de4zxjhhsawjd7rcsppg26ou3v3ri7ck"
          },
          "Receipt": {
            "ExitCode": 17,
            "Return": "",
            "GasUsed": 99,
            "EventsRoot": null
          },
          "ReturnDec": null,
          "TipSet": [
            {
              "/": "bafy2bzacec5tbjbmdzrpbl62l4fe5cswf55bhism5iao5amrpodlrhuacmkku"
            },
            {
              "/": "bafy2bzaceduixv2xvvnzx3ptolmnh4gpnslcuru5wyncmx3eddq773mg3iu6y"
            }
          ],
          "Height": 12
        }"#]],
    );
}

#[test]
fn tipsets() {
    let tipset = Tipset::from_block(header()).unwrap();
    snapshot(
        &HeadChange { r#type: HeadChangeType::Apply, val: tipset },
        expect![[r#"
        {
          "Type": "apply",
          "Val": {
            "Cids": [
              {
                "/": "bafy2bzacedqhqn4eufvzardotxwn7b4bjbfo4ts6ceeldtyaq7jdde257uces"
              }
            ],
            "Blocks": [
              {
                "Miner": "t01000",
                "Ticket": {
                  "VRFProof": "AQ=="
                },
                "ElectionProof": {
                  "WinCount": 1,
                  "VRFProof": "Ag=="
                },
                "BeaconEntries": [
                  {
                    "Round": 5,
                    "Data": "Aw=="
                  }
                ],
                "WinPoStProof": [
                  {
                    "PoStProof": 3,
                    "ProofBytes": "BA=="
                  }
                ],
                "Parents": [
                  {
                    "/": "bafy2bzacedxbkwwotracsiduznvp7de4zxjhhsawjd7rcsppg26ou3v3ri7ck"
                  }
                ],
                "ParentWeight": "3840",
                "Height": 42,
                "ParentStateRoot": {
                  "/": "bafy2bzaceduixv2xvvnzx3ptolmnh4gpnslcuru5wyncmx3eddq773mg3iu6y"
                },
                "ParentMessageReceipts": {
                  "/": "bafy2bzacebscebrrj5juwknnff6yerakl6pscdrqzjoo3ac2lb6kiaw6sjzue"
                },
                "Messages": {
                  "/": "bafy2bzaced5t2y24ps2xhunz5g77jjskwtzfdegstnx5rw4uyyc2egfch6u22"
                },
                "BLSAggregate": {
                  "Type": 2,
                  "Data": "Bg=="
                },
                "Timestamp": 1700000000,
                "BlockSig": null,
                "ForkSignaling": 0,
                "ParentBaseFee": "100"
              }
            ],
            "Height": 42
          }
        }"#]],
    );
    let genesis = BlockHeader { ticket: None, election_proof: None, bls_aggregate: None, ..header() };
    let text = serde_json::to_string(&genesis).unwrap();
    assert_eq!(serde_json::from_str::<BlockHeader>(&text).unwrap(), genesis);
    snapshot(
        &[HeadChangeType::Current, HeadChangeType::Apply, HeadChangeType::Revert],
        expect![[r#"
        [
          "current",
          "apply",
          "revert"
        ]"#]],
    );
    snapshot(
        &TipsetKey(vec![cid(1)]),
        expect![[r#"
        [
          {
            "/": "bafy2bzacedxbkwwotracsiduznvp7de4zxjhhsawjd7rcsppg26ou3v3ri7ck"
          }
        ]"#]],
    );
    expect!["{bafy2bzacedxbkwwotracsiduznvp7de4zxjhhsawjd7rcsppg26ou3v3ri7ck,bafy2bzacec5tbjbmdzrpbl62l4fe5cswf55bhism5iao5amrpodlrhuacmkku}"].assert_eq(&TipsetKey(vec![cid(1), cid(2)]).to_string());
}

#[test]
fn actors() {
    snapshot(
        &actor(),
        expect![[r#"
        {
          "Code": {
            "/": "bafy2bzacedxbkwwotracsiduznvp7de4zxjhhsawjd7rcsppg26ou3v3ri7ck"
          },
          "Head": {
            "/": "bafy2bzacec5tbjbmdzrpbl62l4fe5cswf55bhism5iao5amrpodlrhuacmkku"
          },
          "Nonce": 3,
          "Balance": "4",
          "DelegatedAddress": "t410faucqkbifaucqkbifaucqkbifaucqkbiffv3mbyq"
        }"#]],
    );
    snapshot(
        &ActorState { delegated_address: None, ..actor() },
        expect![[r#"
        {
          "Code": {
            "/": "bafy2bzacedxbkwwotracsiduznvp7de4zxjhhsawjd7rcsppg26ou3v3ri7ck"
          },
          "Head": {
            "/": "bafy2bzacec5tbjbmdzrpbl62l4fe5cswf55bhism5iao5amrpodlrhuacmkku"
          },
          "Nonce": 3,
          "Balance": "4",
          "DelegatedAddress": null
        }"#]],
    );
}
