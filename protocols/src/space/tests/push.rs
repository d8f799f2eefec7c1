//! Pushes against a `BTreeMap`, and all that they are refused for.

use std::collections::BTreeMap;

use bucket_core::abi::{CarParams, Message, RunParams};
use bucket_core::bucket::Mode;
use bucket_core::car::Car;
use bucket_core::cid::{CarId, NativeHasher, RAW, block_cid};
use bucket_core::dag_cbor::Ipld;
use bucket_core::error::Abort;
use bucket_core::prolly::{self, ProllyError};
use bucket_core::task::Task;
use bucket_core::ucan::{DelegationDraft, Policy};
use proptest::prelude::*;

use super::rig::{ALICE, Blocks, Rig, edit, fields, out, root_of, sign};
use super::{Key, Tx, int, map, s};
use crate::kv::charwise;
use crate::space::edit::Edit;
use crate::space::head::{AUTHORS_MAX, Head, NUMBER_MAX};
use crate::space::head_row;
use crate::space::keys;
use crate::space::push::{Prepared, Push};

#[test]
fn the_first_push_edits_the_tree_without_entries() {
    let mut rig = Rig::new(Mode::Atomic);
    let base = prolly::empty::<NativeHasher>().root;
    let prepared = rig.prepare(base, edit(&[("/b", Some(int(2))), ("/a", Some(int(1)))]), None);
    assert_eq!(prepared.witness, Blocks::new(), "everybody knows it");
    let car = rig.task(prepared.push.args()).to_car::<NativeHasher>();
    let ran = rig.invoke(ALICE, car.clone()).unwrap().unwrap();
    let model = [(b"/a".to_vec(), int(1)), (b"/b".to_vec(), int(2))].into();
    let head = Head { root: root_of(&model), seq: 1, clock: BTreeMap::new() };
    assert_eq!(out(&ran), Ok(head.to_ipld()));
    assert_eq!(ran.blocks, prepared.written.nodes);
    assert_eq!(ran.writes, 1);
    let row = |key: Ipld| charwise::encode(&key).unwrap().into_bytes();
    let mut at_head = fields(head.to_ipld());
    at_head.insert("car".into(), Ipld::Link(CarId::of::<NativeHasher>(&car).to_cid()));
    let rows = [(row(keys::row("/a")), int(1)), (row(keys::row("/b")), int(2)), (row(head_row()), Ipld::Map(at_head))];
    assert_eq!(rig.rows, rows.into());
    // Removing all is the tree without entries again, at a later edit.
    assert_eq!(rig.edit(&[("/a", None), ("/b", None)]), Head { root: base, seq: 2, clock: BTreeMap::new() });
    assert_eq!(rig.rows.len(), 1);
}

#[test]
fn a_stale_root_has_to_be_rebased() {
    let mut rig = Rig::new(Mode::Atomic);
    let old = rig.head();
    let first = rig.edit(&[("/a", Some(int(1)))]);
    let stale = rig.prepare(old.root, edit(&[("/b", Some(int(2)))]), None);
    let (state, rows, blocks) = (rig.memory.bucket(&rig.bucket).unwrap().root, rig.rows.clone(), rig.blocks.clone());
    let failure = rig.push(&stale).unwrap_err();
    assert_eq!(failure.name, "RebaseRequired");
    let words = format!("expected the root of edit 1, {}, as base, got {}", first.root, old.root);
    assert_eq!(failure.message, words);
    assert_eq!(rig.memory.bucket(&rig.bucket).unwrap().root, state);
    assert_eq!((&rig.rows, &rig.blocks), (&rows, &blocks));
    // Rebased, it is what both did.
    let rebased = rig.prepare(first.root, stale.push.edit, None);
    let head = rig.push(&rebased).unwrap();
    assert_eq!((head.root, head.seq), (root_of(&[(b"/a".to_vec(), int(1)), (b"/b".to_vec(), int(2))].into()), 2));
}

/// In a queue all that were made on the same root wait together: one is first.
#[test]
fn of_two_pushes_on_one_root_the_first_counts() {
    for mode in [Mode::Atomic, Mode::Mutex] {
        let mut rig = Rig::new(mode);
        rig.fill();
        let head = rig.head();
        for key in ["/x", "/y"] {
            let prepared = rig.prepare(head.root, edit(&[(key, Some(int(1)))]), None);
            let car = rig.task(prepared.push.args()).to_car_with::<NativeHasher>(prepared.blocks([]));
            let params = CarParams::new(rig.bucket.clone(), car);
            rig.memory.apply(ALICE, Message::Schedule(params)).unwrap();
        }
        let run = Message::Run(RunParams { bucket: rig.bucket.clone(), max: 10 });
        let ran = rig.memory.apply(ALICE, run).unwrap().ran;
        ran.iter().for_each(|ran| rig.take_in(ran));
        assert_eq!(rig.head().seq, head.seq + 1);
        assert_eq!(out(&ran[1]).unwrap_err().name, "RebaseRequired");
        assert!(rig.rows.contains_key(charwise::encode(&keys::row("/x")).unwrap().as_bytes()));
    }
}

#[test]
fn each_node_of_the_witness_is_needed() {
    let mut rig = Rig::new(Mode::Atomic);
    rig.fill();
    let head = rig.head();
    let prepared = rig.prepare(
        head.root,
        edit(&[("/filled/00007", None), ("/filled/00800a", Some(int(1))), ("/z", Some(int(2)))]),
        None,
    );
    assert!(prepared.witness.len() > 4, "{}", prepared.witness.len());
    let state = rig.memory.bucket(&rig.bucket).unwrap().root;
    for left_out in prepared.witness.keys() {
        let mut witness = prepared.witness.clone();
        witness.remove(left_out);
        let lacking = Prepared { witness, ..prepared.clone() };
        let failure = rig.push(&lacking).unwrap_err();
        assert_eq!(failure.name, "BlockMissing");
        assert_eq!(
            failure.message,
            format!("expected the node {left_out} of the tree {} in the CAR, got none", head.root)
        );
        assert_eq!(rig.memory.bucket(&rig.bucket).unwrap().root, state);
        // Nor does a replica that lacks it get so far.
        let node = rig.blocks.remove(left_out).unwrap();
        let error = prepared.push.clone().prepare::<NativeHasher>(&rig.blocks).unwrap_err();
        assert_eq!(error, ProllyError::Missing(*left_out));
        rig.blocks.insert(*left_out, node);
    }
    // The bytes under another codec are another block.
    let mut tx = Tx::default();
    prepared.witness.values().for_each(|node| _ = tx.write_block(RAW, node));
    assert_eq!(rig.ask(prepared.push.args(), tx).unwrap_err().name, "BlockMissing");
    let pushed = rig.push(&prepared).unwrap();
    assert_eq!((pushed.root, pushed.seq), (prepared.written.root, head.seq + 1));
}

#[test]
fn edits_are_numbered_by_their_author() {
    let mut rig = Rig::new(Mode::Atomic);
    let number = |rig: &mut Rig, upto| {
        let prepared = rig.prepare(rig.head().root, edit(&[("/a", Some(int(upto as i128)))]), Some(upto));
        rig.push(&prepared)
    };
    assert_eq!(number(&mut rig, 0).unwrap_err().name, "EditKnown", "they begin with 1");
    assert_eq!(number(&mut rig, 3).unwrap().clock, [("f0100".into(), 3)].into());
    for known in [1, 3] {
        let failure = number(&mut rig, known).unwrap_err();
        assert_eq!(failure.name, "EditKnown");
        let words = format!("expected an edit of f0100 after number 3, which is in already, got {known}");
        assert_eq!(failure.message, words);
    }
    // Even on a stale root that is what there is to say.
    let stale = Push { base: Head::empty::<NativeHasher>().root, edit: edit(&[("/a", None)]), upto: Some(3) };
    assert_eq!(rig.ask(stale.args(), Tx::default()).unwrap_err().name, "EditKnown");
    assert_eq!(number(&mut rig, 4).unwrap().seq, 2);
    assert_eq!(rig.edit(&[("/b", Some(int(1)))]).clock, [("f0100".into(), 4)].into(), "without a number");
    assert_eq!(number(&mut rig, NUMBER_MAX).unwrap().clock, [("f0100".into(), NUMBER_MAX)].into());
}

/// Whoever carries a signed push, its author is who signed.
#[test]
fn two_authors_edit_one_space() {
    const CARRIER: u64 = 7;
    let mut rig = Rig::new(Mode::Atomic);
    let delegate = Key::new(2);
    let proof = DelegationDraft {
        iss: rig.owner.did(),
        aud: delegate.did(),
        sub: Some(rig.bucket.clone()),
        cmd: "/space".into(),
        pol: Policy::default(),
        nonce: vec![],
        meta: None,
        nbf: None,
        exp: None,
    };
    let proof = [proof.seal(&rig.owner.public(), |message| rig.owner.sign(message))];
    for round in 1..4 {
        for by_owner in [true, false] {
            let key = if by_owner { "/owner" } else { "/delegate" };
            let prepared = rig.prepare(rig.head().root, edit(&[(key, Some(int(round)))]), Some(round as u64));
            let task = rig.task(prepared.push.args());
            let (author, proofs) = if by_owner { (&rig.owner, &[][..]) } else { (&delegate, &proof[..]) };
            let (did, car) = (author.did(), sign(author, task, proofs, prepared.blocks([])));
            let ran = rig.invoke(CARRIER, car).unwrap().unwrap();
            assert!(ran.ok, "{:?}", out(&ran));
            assert_eq!(rig.head().clock[did.as_str()], round as u64);
        }
    }
    let head = rig.head();
    assert_eq!((head.seq, head.clock.len()), (6, 2));
    assert_eq!(head.root, root_of(&[(b"/owner".to_vec(), int(3)), (b"/delegate".to_vec(), int(3))].into()));
}

#[test]
fn a_push_that_comes_again_is_done_once() {
    let mut rig = Rig::new(Mode::Atomic);
    let prepared = rig.prepare(rig.head().root, edit(&[("/a", Some(int(1)))]), Some(1));
    let task = rig.task(prepared.push.args());
    let signed = sign(&rig.owner, task, &[], prepared.blocks([]));
    assert!(rig.invoke(7, signed.clone()).unwrap().unwrap().ok);
    let head = rig.head();
    assert_eq!(rig.invoke(8, signed).unwrap().map(|ran| ran.ok), None, "the same CAR");
    // What is signed comes in another CAR.
    let task = Task { nonce: rig.nonce.to_be_bytes().to_vec(), ..rig.task(prepared.push.args()) };
    let mut tx = prepared.blocks([]);
    tx.write(&s("something else"));
    let other = sign(&rig.owner, task, &[], tx);
    assert!(matches!(rig.invoke(8, other).unwrap_err(), Abort::Replayed(_)));
    // And what it says, signed anew, is known.
    let task = rig.task(prepared.push.args());
    let anew = sign(&rig.owner, task, &[], prepared.blocks([]));
    assert_eq!(out(&rig.invoke(8, anew).unwrap().unwrap()).unwrap_err().name, "EditKnown");
    assert_eq!(rig.head(), head);
}

#[test]
fn so_many_authors_are_numbered() {
    let mut rig = Rig::new(Mode::Atomic);
    let open = Task {
        sub: rig.bucket.clone(),
        cmd: "/bucket/open".into(),
        args: fields(map([("cmd", s("/space"))])),
        nonce: vec![],
    };
    rig.invoke(ALICE, open.to_car::<NativeHasher>()).unwrap();
    let push = |rig: &mut Rig, caller, upto| {
        let prepared = rig.prepare(rig.head().root, edit(&[("/a", Some(int(i128::from(caller))))]), upto);
        let car = rig.task(prepared.push.args()).to_car_with::<NativeHasher>(prepared.blocks([]));
        out(&rig.invoke(caller, car).unwrap().unwrap())
    };
    for caller in 0..AUTHORS_MAX as u64 {
        assert!(push(&mut rig, caller, Some(1)).is_ok());
    }
    let failure = push(&mut rig, 99, Some(1)).unwrap_err();
    assert_eq!(failure.name, "AuthorsMany");
    assert_eq!(failure.message, "expected one of the 64 authors whose edits are numbered, got f099");
    assert!(push(&mut rig, 99, None).is_ok(), "without a number");
    assert!(push(&mut rig, 63, Some(2)).is_ok());
    assert_eq!(rig.head().clock.len(), AUTHORS_MAX);
    assert!(push(&mut rig, ALICE, Some(1)).is_ok(), "a controller");
    assert_eq!(rig.head().clock.len(), AUTHORS_MAX + 1);
}

/// CARs that values link to travel as raw blocks, because a CAR's codec is none of a block's.
#[test]
fn values_bring_their_cars() {
    let mut rig = Rig::new(Mode::Atomic);
    let value = s("a receipt, say");
    let mut tx = Tx::default();
    tx.write(&value);
    let inner = tx.commit().unwrap();
    let id = CarId::of::<NativeHasher>(&inner);
    let prepared = rig.prepare(rig.head().root, edit(&[("/receipt/x", Some(Ipld::Link(id.to_cid())))]), None);
    let car = rig.task(prepared.push.args()).to_car_with::<NativeHasher>(prepared.blocks([&inner[..]]));
    let ran = rig.invoke(ALICE, car.clone()).unwrap().unwrap();
    assert!(ran.ok);
    let car = Car::decode::<NativeHasher>(car).unwrap();
    assert_eq!(car.block(&block_cid::<NativeHasher>(RAW, &inner)), Some(&inner[..]));
}

/// Few keys, so that they meet; some between those of a large tree.
fn changes() -> impl Strategy<Value = Vec<(String, Option<Ipld>)>> {
    let key = prop_oneof!["/[ab]/[a-z]{0,2}", (0..1600u32).prop_map(|n| format!("/filled/{n:05}"))];
    let value = prop_oneof![
        any::<i64>().prop_map(|n| Ipld::Integer(n.into())),
        proptest::collection::vec(any::<u8>(), 0..200).prop_map(Ipld::Bytes),
    ];
    proptest::collection::vec((key, proptest::option::weighted(0.6, value)), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    /// The machine, that sees a witness only, comes to the tree of all entries; its blocks are all that a replica needs; and
    /// the rows are the entries.
    #[test]
    fn a_space_is_a_map(filled: bool, edits in proptest::collection::vec((changes(), any::<bool>()), 1..12)) {
        let mut rig = Rig::new(Mode::Atomic);
        let mut model = BTreeMap::new();
        if filled {
            rig.fill();
            model.extend((0..1600).map(|n| (format!("/filled/{n:05}").into_bytes(), s(&"v".repeat(80)))));
        }
        prop_assert_eq!(rig.head().root, root_of(&model));
        for (changes, stale) in edits {
            let before = rig.head();
            let prepared = rig.prepare(before.root, Edit::new(changes.clone()).unwrap(), None);
            let head = rig.push(&prepared).unwrap();
            for (key, value) in changes {
                match value {
                    Some(value) => drop(model.insert(key.into_bytes(), value)),
                    None => drop(model.remove(key.as_bytes())),
                }
            }
            prop_assert_eq!(head.root, root_of(&model));
            prop_assert_eq!((head.root, head.seq), (prepared.written.root, before.seq + 1));
            prop_assert_eq!(&head, &rig.head());
            if stale && head.root != before.root {
                prop_assert_eq!(rig.push(&prepared).unwrap_err().name, "RebaseRequired");
            }
        }
        let head_row = charwise::encode(&head_row()).unwrap().into_bytes();
        rig.rows.remove(&head_row);
        let row = |key: &[u8]| charwise::encode(&keys::row(std::str::from_utf8(key).unwrap())).unwrap().into_bytes();
        let expected: BTreeMap<_, _> = model.iter().map(|(key, value)| (row(key), value.clone())).collect();
        prop_assert_eq!(&rig.rows, &expected);
    }
}
