use bucket_core::bucket::Mode;
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_tests::World;
use bucket_tests::cars::{Tx, car, map, put, task, text};

use super::{bucket, int, invoke};

fn list<const N: usize>(items: [Ipld; N]) -> Ipld {
    Ipld::List(items.into())
}

fn failure(world: &mut dyn World, b: &BucketId, cmd: &str, args: Ipld, nonce: u64) -> (String, String) {
    let before = world.bucket(b).unwrap().root;
    let failure = invoke(world, b, &car(b, cmd, args, nonce)).out.expect_err("a failure");
    assert_eq!(world.bucket(b).unwrap().root, before);
    (failure.name, failure.message)
}

pub fn rows_follow_charwise_order(world: &mut dyn World) {
    let b = bucket(world, "Order", Mode::Atomic);
    let ascending = [
        Ipld::Null,
        Ipld::Bool(false),
        Ipld::Bool(true),
        int(-10),
        int(-9),
        Ipld::Float(-0.5),
        int(0),
        Ipld::Float(0.25),
        int(9),
        int(10),
        text(""),
        text("a"),
        text("a!b"),
        text("ü"),
        list([]),
        list([text("a"), int(1)]),
        list([text("a"), int(2)]),
        list([text("a"), list([text("b")])]),
    ];
    // Put in an order of its own.
    for n in 0..ascending.len() {
        let at = n * 7 % ascending.len();
        assert!(invoke(world, &b, &put(&b, ascending[at].clone(), int(at as i128), 0)).out.is_ok());
    }
    let expected: Vec<_> = ascending.iter().cloned().zip((0..).map(int)).collect();
    assert_eq!(world.rows(&b), expected);
}

pub fn a_batch_is_all_or_nothing(world: &mut dyn World) {
    let b = bucket(world, "Batch", Mode::Atomic);
    let op_put = |key: &str, value| map([("type", text("put")), ("key", text(key)), ("value", value)]);
    let op_del = |key: &str| map([("type", text("del")), ("key", text(key))]);
    let ops = list([op_put("a", int(1)), op_put("b", int(2)), op_del("a"), op_put("c", text(&"long ".repeat(100)))]);
    let receipt = invoke(world, &b, &car(&b, "/kv/batch", map([("ops", ops)]), 0));
    assert_eq!(receipt.out, Ok(map([("put", int(3)), ("del", int(1))])));
    let rows = [(text("b"), int(2)), (text("c"), text(&"long ".repeat(100)))];
    assert_eq!(world.rows(&b), rows);

    let bad = list([op_put("d", int(1)), map([("type", text("get")), ("key", text("b"))])]);
    let (name, message) = failure(world, &b, "/kv/batch", map([("ops", bad)]), 1);
    assert_eq!((name.as_str(), message.as_str()), ("ArgsInvalid", "expected an op of type put or del, got “get”"));
    assert_eq!(world.rows(&b), rows);

    assert!(invoke(world, &b, &car(&b, "/kv/del", map([("key", text("c"))]), 0)).out.is_ok());
    assert_eq!(world.rows(&b), rows[..1]);
}

pub fn keys_for_receipts_are_refused(world: &mut dyn World) {
    let b = bucket(world, "Reserved", Mode::Atomic);
    for (nonce, key) in [list([Ipld::Null]), list([Ipld::Null, text("bag"), Ipld::Null])].into_iter().enumerate() {
        let args = map([("key", key), ("value", int(1))]);
        assert_eq!(failure(world, &b, "/kv/put", args, nonce as u64).0, "KeyReserved");
    }
    assert!(invoke(world, &b, &put(&b, list([text("a"), Ipld::Null]), int(1), 0)).out.is_ok());
}

pub fn wrong_arguments_are_failures(world: &mut dyn World) {
    let b = bucket(world, "Args", Mode::Atomic);
    let value = ("value", int(1));
    let cases = [
        ("/kv/put", map([value.clone()]), "ArgsInvalid", "expected a field “key”, got none"),
        ("/kv/put", map([("key", text("a"))]), "ArgsInvalid", "expected a field “value”, got none"),
        ("/kv/put", map([("key", text("a")), value.clone(), ("more", int(1))]), "ArgsInvalid", "no field “more”"),
        ("/kv/put", map([("key", Ipld::Bytes(vec![1])), value.clone()]), "KeyInvalid", "got bytes"),
        ("/kv/put", map([("key", map([])), value.clone()]), "KeyInvalid", "got a map"),
        ("/kv/put", map([("key", int(1 << 60)), value.clone()]), "KeyInvalid", "2^53"),
        ("/kv/put", map([("key", text("\u{0}")), value.clone()]), "KeyInvalid", "decode again"),
        ("/kv/put", map([("key", text(&"k".repeat(256))), value]), "KeyTooLong", "got 257"),
        ("/kv/del", map([]), "ArgsInvalid", "“key”"),
        ("/kv/batch", map([("ops", int(1))]), "ArgsInvalid", "expected “ops” to be a list, got an integer"),
        ("/kv/batch", map([("ops", list([int(1)]))]), "ArgsInvalid", "expected “ops” to be a map"),
    ];
    for (nonce, (cmd, args, name, message)) in cases.into_iter().enumerate() {
        let failure = failure(world, &b, cmd, args, nonce as u64);
        assert!(failure.0 == name && failure.1.contains(message), "{cmd}: {failure:?}");
    }
    assert_eq!(world.rows(&b), []);
}

pub fn values_may_link_into_the_car(world: &mut dyn World) {
    let b = bucket(world, "Link", Mode::Atomic);
    let mut tx = Tx::default();
    let link = Ipld::Link(tx.write(&Ipld::Bytes(b"a file".to_vec())));
    let task = task(&b, "/kv/put", map([("key", text("file")), ("value", link.clone())]), 0);
    assert!(invoke(world, &b, &task.to_car_with(tx)).out.is_ok());
    assert_eq!(world.rows(&b), [(text("file"), link)]);
}
