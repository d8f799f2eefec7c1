//! What an edit and a head may be.

use bucket_core::bucket::Mode;
use bucket_core::cid::{NativeHasher, RAW, block_cid};
use bucket_core::dag_cbor::Ipld;

use super::rig::{Rig, fields};
use super::{Tx, int, map, s};
use crate::space::edit::{Edit, OPS_MAX, VALUE_BYTES_MAX, VALUE_DEPTH_MAX};
use crate::space::head::Head;
use crate::space::keys::KEY_BYTES_MAX;

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
