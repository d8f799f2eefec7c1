//! Each type on the wire, and back; this file has what the others write.

mod chain;
mod node;

use std::fmt::Debug;

use cid::Cid;
use expect_test::Expect;
use fvm_shared::address::Address;
use fvm_shared::bigint::BigInt;
use fvm_shared::econ::TokenAmount;
use fvm_shared::error::ExitCode;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::json::*;

/// The form on the wire is the expected one, and reading it gives the value again.
fn snapshot<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, expected: Expect) {
    let text = serde_json::to_string_pretty(value).unwrap();
    expected.assert_eq(&text);
    assert_eq!(&serde_json::from_str::<T>(&text).unwrap(), value);
}

fn cid(n: u8) -> Cid {
    blake2b_cid(&[n])
}

pub fn message() -> Message {
    Message {
        nonce: 7,
        value: TokenAmount::from_whole(1),
        gas_limit: 1_000_000,
        gas_fee_cap: TokenAmount::from_atto(100),
        gas_premium: TokenAmount::from_atto(1),
        ..Message::new(Address::new_actor(b"from"), Address::new_id(1234), 2, vec![0x80])
    }
}

pub fn receipt() -> MessageReceipt {
    MessageReceipt {
        exit_code: ExitCode::USR_NOT_FOUND,
        return_data: vec![1, 2, 3],
        gas_used: 99,
        events_root: Some(cid(9)),
    }
}

pub fn header() -> BlockHeader {
    BlockHeader {
        miner: Address::new_id(1000),
        ticket: Some(Ticket { vrf_proof: vec![1] }),
        election_proof: Some(ElectionProof { win_count: 1, vrf_proof: vec![2] }),
        beacon_entries: vec![BeaconEntry { round: 5, data: vec![3] }],
        win_post_proof: vec![PoStProof { post_proof: 3, proof_bytes: vec![4] }],
        parents: vec![cid(1)],
        parent_weight: BigInt::from(3840),
        height: 42,
        parent_state_root: cid(3),
        parent_message_receipts: cid(4),
        messages: cid(5),
        bls_aggregate: Some(Signature::bls([6])),
        timestamp: 1_700_000_000,
        block_sig: None,
        fork_signaling: 0,
        parent_base_fee: TokenAmount::from_atto(100),
    }
}

pub fn actor() -> ActorState {
    ActorState {
        code: cid(1),
        head: cid(2),
        nonce: 3,
        balance: TokenAmount::from_atto(4),
        delegated_address: Address::new_delegated(10, &[5; 20]).ok(),
    }
}

pub fn entry() -> Entry {
    Entry { flags: 3, key: "ran".into(), codec: 0x51, value: vec![0x41, 7] }
}
