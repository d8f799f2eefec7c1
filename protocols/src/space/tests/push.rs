//! Pushes against a `BTreeMap`, and all that they are refused for.

use std::collections::BTreeMap;

use bucket_core::abi::{CarParams, CreateParams, Message, RunParams};
use bucket_core::batch::Execution;
use bucket_core::bucket::Mode;
use bucket_core::cid::{CarId, Cid, DAG_CBOR, NativeHasher, RAW, block_cid};
use bucket_core::create;
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::error::{Abort, Failure};
use bucket_core::map::Bytes;
use bucket_core::memory::Memory;
use bucket_core::prolly::{self, ProllyError};
use bucket_core::receipt::Receipt;
use bucket_core::task::Task;
use bucket_core::ucan::{DelegationDraft, InvocationDraft, Policy};
use proptest::prelude::*;

use super::{Key, Tx, int, map, s};
use crate::TABLE;
use crate::kv::charwise;
use crate::space::edit::{Edit, OPS_MAX, VALUE_BYTES_MAX, VALUE_DEPTH_MAX};
use crate::space::head::{AUTHORS_MAX, Head, NUMBER_MAX};
use crate::space::head_row;
use crate::space::keys::{self, KEY_BYTES_MAX};
use crate::space::push::{PUSH, Prepared, Push};

const ALICE: u64 = 100;

/// Every block that a replica has.
type Blocks = BTreeMap<Cid, Vec<u8>>;

/// A bucket, and what a follower of it knows.
struct Rig {
    memory: Memory,
    owner: Key,
    bucket: BucketId,
    blocks: Blocks,
    rows: BTreeMap<Vec<u8>, Ipld>,
    nonce: u64,
}

fn root_of(model: &BTreeMap<Vec<u8>, Ipld>) -> Cid {
    prolly::build::<NativeHasher, _, _>(model).unwrap().root
}

fn edit(changes: &[(&str, Option<Ipld>)]) -> Edit {
    Edit::new(changes.iter().map(|(key, value)| ((*key).to_owned(), value.clone()))).unwrap()
}

impl Rig {
    fn new(mode: Mode) -> Self {
        let (mut memory, owner) = (Memory::new(TABLE), Key::new(1));
        let bucket = owner.did();
        let controllers = vec![fvm_shared::address::Address::new_id(ALICE)];
        let args = create::args(&controllers, mode);
        let proof = Task { sub: bucket.clone(), cmd: create::CREATE.into(), args: fields(args), nonce: vec![] };
        let proof = Some(Bytes(sign(&owner, proof, &[], Tx::default())));
        memory
            .apply(ALICE, Message::Create(CreateParams { bucket: bucket.clone(), controllers, mode, proof }))
            .unwrap();
        let (blocks, rows) = Default::default();
        Self { memory, owner, bucket, blocks, rows, nonce: 0 }
    }

    fn task(&mut self, args: BTreeMap<String, Ipld>) -> Task {
        self.nonce += 1;
        Task { sub: self.bucket.clone(), cmd: PUSH.into(), args, nonce: self.nonce.to_be_bytes().to_vec() }
    }

    /// The head as the index has it.
    fn head(&self) -> Head {
        let row = charwise::encode(&head_row()).unwrap().into_bytes();
        self.rows.get(&row).map_or_else(Head::empty::<NativeHasher>, |row| Head::from_ipld(row).unwrap())
    }

    fn prepare(&self, base: Cid, edit: Edit, upto: Option<u64>) -> Prepared {
        Push { base, edit, upto }.prepare::<NativeHasher>(&self.blocks).unwrap()
    }

    fn invoke(&mut self, caller: u64, car: Vec<u8>) -> Result<Option<Execution>, Abort> {
        let params = CarParams { bucket: self.bucket.clone(), car, force: false, hook: None };
        let mut ran = self.memory.apply(caller, Message::Invoke(params))?.ran;
        if let Some(ran) = ran.first() {
            self.take_in(ran);
        }
        Ok(ran.pop())
    }

    fn take_in(&mut self, ran: &Execution) {
        for op in ran.ops.clone() {
            assert_eq!(op.protocol, "space");
            match op.value {
                Some(value) => drop(self.rows.insert(op.key, value)),
                None => drop(self.rows.remove(&op.key)),
            }
        }
        self.blocks.extend(ran.blocks.clone());
    }

    /// Alice's push of raw arguments.
    fn ask(&mut self, args: BTreeMap<String, Ipld>, tx: Tx) -> Result<Ipld, Failure> {
        let car = self.task(args).to_car_with(tx);
        out(&self.invoke(ALICE, car).unwrap().unwrap())
    }

    /// Alice's push, with all that it needs.
    fn push(&mut self, prepared: &Prepared) -> Result<Head, Failure> {
        let head = self.ask(prepared.push.args(), prepared.blocks([]))?;
        Ok(Head::from_ipld(&head).unwrap())
    }

    /// The same on the current head.
    fn edit(&mut self, changes: &[(&str, Option<Ipld>)]) -> Head {
        let prepared = self.prepare(self.head().root, edit(changes), None);
        self.push(&prepared).unwrap()
    }

    /// A tree of several levels.
    fn fill(&mut self) {
        for part in 0..8 {
            let put = |n: usize| (format!("/filled/{:05}", part * 200 + n), Some(s(&"v".repeat(80))));
            let edit = Edit::new((0..200).map(put)).unwrap();
            let prepared = self.prepare(self.head().root, edit, None);
            self.push(&prepared).unwrap();
        }
    }
}

fn fields(value: Ipld) -> BTreeMap<String, Ipld> {
    if let Ipld::Map(map) = value { map } else { panic!("{value:?}") }
}

fn out(ran: &Execution) -> Result<Ipld, Failure> {
    Receipt::from_car::<NativeHasher>(ran.receipt_car.clone()).unwrap().out
}

/// A CAR of a task that `key` signs.
fn sign(key: &Key, task: Task, proofs: &[Vec<u8>], mut tx: Tx) -> Vec<u8> {
    let prf = proofs.iter().map(|proof| tx.write_block(DAG_CBOR, proof)).collect();
    let iss = key.did();
    let draft = InvocationDraft { iss, aud: None, task, prf, meta: None, exp: None, iat: None, cause: None };
    tx.write_block(DAG_CBOR, &key.seal(&draft));
    tx.commit().unwrap()
}

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
    let car = bucket_core::car::Car::decode::<NativeHasher>(car).unwrap();
    assert_eq!(car.block(&block_cid::<NativeHasher>(RAW, &inner)), Some(&inner[..]));
}

fn list<const N: usize>(items: [Ipld; N]) -> Ipld {
    Ipld::List(items.into())
}

fn put(key: &str, value: Ipld) -> Ipld {
    list([s(key), value])
}

fn nested(levels: usize) -> Ipld {
    (0..levels).fold(int(1), |value, _| list([value]))
}

#[test]
fn what_does_not_fit_is_refused_each_in_its_own_words() {
    let mut rig = Rig::new(Mode::Atomic);
    let base = Ipld::Link(rig.head().root);
    let puts = |count: usize| Ipld::List((0..count).map(|n| put(&format!("/{n:03}"), int(1))).collect());
    let long = format!("/{}", "k".repeat(KEY_BYTES_MAX));
    // Two bytes of each are the head.
    let large = Ipld::Bytes(vec![0; VALUE_BYTES_MAX - 1]);
    let ops = |ops: Ipld| map([("base", base.clone()), ("ops", ops)]);
    let cases = [
        (map([("ops", puts(1))]), "ArgsInvalid", "expected a field “base”, got none"),
        (map([("base", s("bafy")), ("ops", puts(1))]), "ArgsInvalid", "expected “base” to be a link, got a string"),
        (map([("base", base.clone())]), "ArgsInvalid", "expected a field “ops”, got none"),
        (ops(int(1)), "ArgsInvalid", "expected “ops” to be a list, got an integer"),
        (ops(list([int(1)])), "ArgsInvalid", "expected “ops” to be a list, got an integer"),
        (ops(list([list([])])), "ArgsInvalid", "expected an op [key, value] or [key], got a list of 0"),
        (ops(list([list([s("/a"), int(1), int(2)])])), "ArgsInvalid", "got a list of 3"),
        (ops(list([list([int(1)])])), "ArgsInvalid", "expected “key” to be a string, got an integer"),
        (ops(list([])), "EditTooLarge", "expected 1 to 256 ops in an edit, got 0"),
        (ops(puts(OPS_MAX + 1)), "EditTooLarge", "got 257"),
        (ops(list([put("a", int(1))])), "KeyInvalid", "expected a key that begins with “/”, got “a”"),
        (ops(list([put("", int(1))])), "KeyInvalid", "begins with “/”"),
        (ops(list([put("/?@", int(1))])), "KeyInvalid", "decode again within a list"),
        (ops(list([put(&long, int(1))])), "KeyTooLong", "expected a key of at most 256 bytes, got 257"),
        (ops(list([put("/b", int(1)), put("/a", int(1))])), "OpsUnsorted", "got /a after /b"),
        (ops(list([put("/a", int(1)), list([s("/a")])])), "OpsUnsorted", "got /a after /a"),
        (
            ops(list([put("/a", large)])),
            "ValueTooLarge",
            "expected a value of at most 256 bytes at /a, got 257: link to it",
        ),
        (ops(list([put("/a", nested(VALUE_DEPTH_MAX + 1))])), "ValueTooDeep", "at most 32 levels"),
        (
            map([("base", base.clone()), ("ops", puts(1)), ("upto", s("1"))]),
            "ArgsInvalid",
            "upto: expected a number, got a string",
        ),
        (
            map([("base", base.clone()), ("ops", puts(1)), ("upto", int(-1))]),
            "ArgsInvalid",
            "upto: expected a number of 0 to 2^53-1, got -1",
        ),
        (
            map([("base", base.clone()), ("ops", puts(1)), ("upto", int(1 << 53))]),
            "ArgsInvalid",
            "got 9007199254740992",
        ),
        (map([("base", base.clone()), ("ops", puts(1)), ("more", int(1))]), "ArgsInvalid", "expected no field “more”"),
    ];
    let state = rig.memory.bucket(&rig.bucket).unwrap().root;
    for (args, name, words) in cases {
        let failure = rig.ask(fields(args), Tx::default()).unwrap_err();
        assert!(failure.name == name && failure.message.contains(words), "{name}, {words}: {failure:?}");
        assert_eq!(rig.memory.bucket(&rig.bucket).unwrap().root, state);
    }
    let most = list([
        put(&long[..KEY_BYTES_MAX], Ipld::Bytes(vec![0; VALUE_BYTES_MAX - 2])),
        put("/~", nested(VALUE_DEPTH_MAX)),
    ]);
    assert!(rig.ask(fields(ops(most)), Tx::default()).is_ok());
    assert_eq!(rig.rows.len(), 3);
}

#[test]
fn an_edit_is_put_in_order_or_refused() {
    let one = Edit::new([("/b".into(), Some(int(1))), ("/a".into(), None), ("/b".into(), Some(int(2)))]).unwrap();
    assert_eq!(one.to_ipld(), list([list([s("/a")]), put("/b", int(2))]));
    assert_eq!(Edit::from_ipld(&one.to_ipld()), Ok(one));
    let name = |key: &str, value: Ipld| Edit::new([(key.to_owned(), Some(value))]).unwrap_err().name;
    assert_eq!(Edit::new([]).unwrap_err().name, "EditTooLarge");
    assert_eq!(name("a", int(1)), "KeyInvalid");
    assert_eq!(name("/a", Ipld::Bytes(vec![0; VALUE_BYTES_MAX])), "ValueTooLarge");
    assert_eq!(name("/a", nested(VALUE_DEPTH_MAX + 1)), "ValueTooDeep");
    assert_eq!(name("/a", nested(1000)), "ArgsInvalid");
    assert_eq!(name("/a", Ipld::Float(f64::NAN)), "ArgsInvalid");
    assert_eq!(name("/a", int(1 << 100)), "ArgsInvalid");
}

#[test]
fn a_head_is_read_as_it_was_written() {
    let head = Head { clock: [("f0100".to_owned(), 3)].into(), seq: 9, ..Head::empty::<NativeHasher>() };
    assert_eq!(Head::from_ipld(&head.to_ipld()), Ok(head.clone()));
    assert_eq!(Head::from_state(&head.to_state()), Ok(head.clone()));
    let broken = |field: &str, value: Option<Ipld>| {
        let mut fields = fields(head.to_ipld());
        fields.remove(field);
        fields.extend(value.map(|value| (field.to_owned(), value)));
        Head::from_ipld(&Ipld::Map(fields)).unwrap_err()
    };
    for field in ["root", "seq", "clock"] {
        assert!(broken(field, None).contains(field));
        broken(field, Some(Ipld::Null));
    }
    broken("root", Some(Ipld::Link(block_cid::<NativeHasher>(RAW, b"x"))));
    broken("seq", Some(int(-1)));
    broken("clock", Some(map([("f0100", s("1"))])));
    broken("more", Some(Ipld::Null));
    Head::from_ipld(&Ipld::Null).unwrap_err();
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
