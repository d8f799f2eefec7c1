//! What a node tells of executions, events and itself.

use expect_test::expect;

use super::*;

#[test]
fn invocations() {
    let call = |to, gas_charges, subcalls| ExecutionTrace {
        msg: MessageTrace {
            from: Address::new_id(100),
            to: Address::new_id(to),
            value: TokenAmount::from_atto(0),
            method: 2,
            params: vec![0x80],
            params_codec: 0x51,
            gas_limit: 10,
            read_only: false,
        },
        msg_rct: ReturnTrace { exit_code: ExitCode::OK, return_data: vec![1], return_codec: 0x51 },
        gas_charges,
        subcalls,
    };
    let charge = GasTrace { name: "OnBlockLink".into(), total_gas: 3, compute_gas: 1, storage_gas: 2, time_taken: 4 };
    let plain = Message::new(Address::new_id(100), Address::new_id(101), 2, vec![0x80]);
    let result = InvocResult {
        msg_cid: cid(1),
        msg: plain,
        msg_rct: Some(receipt()),
        gas_cost: MsgGasCost { message: Some(cid(1)), refund: TokenAmount::from_atto(5), ..Default::default() },
        execution_trace: call(101, vec![charge], vec![call(102, vec![], vec![])]),
        error: "actor said no".into(),
        duration: 1_000,
    };
    snapshot(
        &result,
        expect![[r#"
        {
          "MsgCid": {
            "/": "bafy2bzacedxbkwwotracsiduznvp7de4zxjhhsawjd7rcsppg26ou3v3ri7ck"
          },
          "Msg": {
            "Version": 0,
            "To": "t0101",
            "From": "t0100",
            "Nonce": 0,
            "Value": "0",
            "GasLimit": 0,
            "GasFeeCap": "0",
            "GasPremium": "0",
            "Method": 2,
            "Params": "gA==",
            "CID": {
              "/": "bafy2bzaceaittnsqblmaezejpfti5vvtezebyx47us4k6tkjw4htmnygrpc6e"
            }
          },
          "MsgRct": {
            "ExitCode": 17,
            "Return": "AQID",
            "GasUsed": 99,
            "EventsRoot": {
              "/": "bafy2bzaced24recuc6j7g67657do36ryiew6abpvvskpb4pl7ofvlxza433fi"
            }
          },
          "GasCost": {
            "Message": {
              "/": "bafy2bzacedxbkwwotracsiduznvp7de4zxjhhsawjd7rcsppg26ou3v3ri7ck"
            },
            "GasUsed": "0",
            "BaseFeeBurn": "0",
            "OverEstimationBurn": "0",
            "MinerPenalty": "0",
            "MinerTip": "0",
            "Refund": "5",
            "TotalCost": "0"
          },
          "ExecutionTrace": {
            "Msg": {
              "From": "t0100",
              "To": "t0101",
              "Value": "0",
              "Method": 2,
              "Params": "gA==",
              "ParamsCodec": 81,
              "GasLimit": 10,
              "ReadOnly": false
            },
            "MsgRct": {
              "ExitCode": 0,
              "Return": "AQ==",
              "ReturnCodec": 81
            },
            "GasCharges": [
              {
                "Name": "OnBlockLink",
                "tg": 3,
                "cg": 1,
                "sg": 2,
                "tt": 4
              }
            ],
            "Subcalls": [
              {
                "Msg": {
                  "From": "t0100",
                  "To": "t0102",
                  "Value": "0",
                  "Method": 2,
                  "Params": "gA==",
                  "ParamsCodec": 81,
                  "GasLimit": 10,
                  "ReadOnly": false
                },
                "MsgRct": {
                  "ExitCode": 0,
                  "Return": "AQ==",
                  "ReturnCodec": 81
                },
                "GasCharges": [],
                "Subcalls": []
              }
            ]
          },
          "Error": "actor said no",
          "Duration": 1000
        }"#]],
    );
}

#[test]
fn events() {
    snapshot(
        &Event { emitter: 1000, entries: vec![entry()] },
        expect![[r#"
        {
          "Emitter": 1000,
          "Entries": [
            {
              "Flags": 3,
              "Key": "ran",
              "Codec": 81,
              "Value": "QQc="
            }
          ]
        }"#]],
    );
    let event = ActorEvent {
        entries: vec![entry()],
        emitter: Address::new_id(1000),
        reverted: false,
        height: 9,
        tipset_key: TipsetKey(vec![cid(1)]),
        msg_cid: cid(2),
    };
    snapshot(
        &event,
        expect![[r#"
        {
          "entries": [
            {
              "Flags": 3,
              "Key": "ran",
              "Codec": 81,
              "Value": "QQc="
            }
          ],
          "emitter": "t01000",
          "reverted": false,
          "height": 9,
          "tipsetKey": [
            {
              "/": "bafy2bzacedxbkwwotracsiduznvp7de4zxjhhsawjd7rcsppg26ou3v3ri7ck"
            }
          ],
          "msgCid": {
            "/": "bafy2bzacec5tbjbmdzrpbl62l4fe5cswf55bhism5iao5amrpodlrhuacmkku"
          }
        }"#]],
    );
    let filter = ActorEventFilter {
        addresses: vec![Address::new_id(1000)],
        fields: [("ran".to_owned(), vec![ActorEventBlock { codec: 0x55, value: vec![1] }])].into(),
        from_height: Some(1),
        to_height: Some(2),
        tipset_key: Some(TipsetKey(vec![cid(1)])),
    };
    snapshot(
        &filter,
        expect![[r#"
        {
          "addresses": [
            "t01000"
          ],
          "fields": {
            "ran": [
              {
                "codec": 85,
                "value": "AQ=="
              }
            ]
          },
          "fromHeight": 1,
          "toHeight": 2,
          "tipsetKey": [
            {
              "/": "bafy2bzacedxbkwwotracsiduznvp7de4zxjhhsawjd7rcsppg26ou3v3ri7ck"
            }
          ]
        }"#]],
    );
    snapshot(&ActorEventFilter::default(), expect!["{}"]);
}

#[test]
fn nodes() {
    let version =
        VersionInfo { version: "devnet".into(), api_version: 0x20300, block_delay: 30, agent: "bucket-devnet".into() };
    snapshot(
        &version,
        expect![[r#"
        {
          "Version": "devnet",
          "APIVersion": 131840,
          "BlockDelay": 30,
          "Agent": "bucket-devnet"
        }"#]],
    );
    snapshot(
        &MessageSendSpec::default(),
        expect![[r#"
        {
          "MaxFee": "0",
          "MaximizeFeeCap": false
        }"#]],
    );
    let full = MessageSendSpec {
        max_fee: TokenAmount::from_atto(1),
        msg_uuid: Some("07070707-0707-0707-0707-070707070707".into()),
        maximize_fee_cap: true,
    };
    snapshot(
        &full,
        expect![[r#"
        {
          "MaxFee": "1",
          "MsgUuid": "07070707-0707-0707-0707-070707070707",
          "MaximizeFeeCap": true
        }"#]],
    );
    // What iso-filecoin sends.
    let short: MessageSendSpec = serde_json::from_str(r#"{"MaxFee": "0"}"#).unwrap();
    assert_eq!(short, MessageSendSpec::default());
}

#[test]
fn devnets() {
    let account =
        DevnetAccount { address: Address::new_actor(b"key"), key: "7b7d".into(), balance: TokenAmount::from_whole(1) };
    snapshot(
        &account,
        expect![[r#"
        {
          "Address": "t2yqjsy5qf56faul3hwcm7kjvgvmx32hu5zsbdhui",
          "Key": "7b7d",
          "Balance": "1000000000000000000"
        }"#]],
    );
    let actor = DevnetActor { name: "bucket".into(), code: cid(1), address: None };
    let summary = DevnetSummary {
        network_name: "devnet".into(),
        network_version: 25,
        chain_id: 31_415_926,
        genesis: cid(2),
        height: 3,
        mining: MiningMode::Interval(2_000),
        pending: 0,
        actors: vec![actor],
    };
    snapshot(
        &summary,
        expect![[r#"
        {
          "NetworkName": "devnet",
          "NetworkVersion": 25,
          "ChainId": 31415926,
          "Genesis": {
            "/": "bafy2bzacec5tbjbmdzrpbl62l4fe5cswf55bhism5iao5amrpodlrhuacmkku"
          },
          "Height": 3,
          "Mining": {
            "Interval": 2000
          },
          "Pending": 0,
          "Actors": [
            {
              "Name": "bucket",
              "Code": {
                "/": "bafy2bzacedxbkwwotracsiduznvp7de4zxjhhsawjd7rcsppg26ou3v3ri7ck"
              },
              "Address": null
            }
          ]
        }"#]],
    );
    snapshot(
        &[MiningMode::Instant, MiningMode::Manual],
        expect![[r#"
        [
          "Instant",
          "Manual"
        ]"#]],
    );
}
