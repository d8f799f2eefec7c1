//! Policies: each operator and selector. Against naive oracles they are tried in `ucan_policy_oracle`.

mod ucan_kit;

use bucket_core::dag_cbor::Ipld;
use bucket_core::limits::{POLICY_DEPTH_MAX, POLICY_STATEMENTS_MAX, SELECTOR_BYTES_MAX};
use bucket_core::ucan::{Denied, Policy};
use serde_json::{Value, json};
use ucan_kit::{ipld, map, met, read_policy as read, text};

fn args() -> Ipld {
    let Ipld::Map(mut args) = ipld(&json!({
        "n": 35, "x": 1.5, "null": null, "text": "Katie", "list": [1, 2, 3], "empty": [],
        "map": {"bb": 2, "a": 1}, "deep": [{"b": 1}, {"b": 2}, {"z": [7]}], "_under0": 1, "odd key": 4, "q\"\\": 5,
    })) else {
        unreachable!()
    };
    args.insert("bytes".into(), Ipld::Bytes(vec![0xd6, 0xa9, 0xc1]));
    Ipld::Map(args)
}

#[test]
fn selectors() {
    for (selector, found) in [
        (".n", json!(35)),
        (".n?", json!(35)),
        (".n???", json!(35)),
        (".absent", json!(null)),
        (".absent?", json!(null)),
        (".null", json!(null)),
        ("._under0", json!(1)),
        (".[\"odd key\"]", json!(4)),
        (".[\"q\\\"\\\\\"]", json!(5)),
        (".map.a", json!(1)),
        (".map[\"a\"]", json!(1)),
        (".map.[\"a\"]", json!(1)),
        (".list[0]", json!(1)),
        (".list[-1]", json!(3)),
        (".list.[-3]", json!(1)),
        (".list[3]?", json!(null)),
        (".list[1:]", json!([2, 3])),
        (".list[:-1]", json!([1, 2])),
        (".list[1:2]", json!([2])),
        (".list[2:1]", json!([])),
        (".list[-99:99]", json!([1, 2, 3])),
        (".list[1:][0]", json!(2)),
        (".list[1:][1:]", json!([3])),
        (".list[]", json!([1, 2, 3])),
        (".map[]", json!([1, 2])),
        (".map[][1]", json!(2)),
        (".map[][1:][0]", json!(2)),
        (".bytes[1]", json!(0xa9)),
        (".bytes[-1]", json!(0xc1)),
        (".bytes[1:][0]", json!(0xa9)),
        (".n.b?", json!(null)),
        (".n[0]?", json!(null)),
        (".text[0]?", json!(null)),
    ] {
        assert!(met(json!(["==", selector, found]), &args()), "{selector} {found}");
        assert!(!met(json!(["==", selector, "other"]), &args()), "{selector}");
        assert!(met(json!(["!=", selector, "other"]), &args()), "{selector}");
    }
    for nothing in [
        ".absent.b",
        ".absent[0]",
        ".n.b",
        ".n[0]",
        ".n[]",
        ".list[3]",
        ".list[-4]",
        ".list.a",
        ".list[1:].a",
        ".map[0]",
        ".map[0:1]",
        ".text[0]",
        ".text[0:1]",
        ".bytes.a",
        ".bytes[]",
        ".bytes[3]",
        ".bytes[1][0]",
        ".absent?.b",
        ".n.b?.c",
        ".absent.b.c?",
    ] {
        for operator in ["==", "!="] {
            assert!(!met(json!([operator, nothing, null]), &args()), "{operator} {nothing}");
        }
        assert!(met(json!(["not", ["==", nothing, null]]), &args()), "{nothing}");
    }
    assert!(met(json!(["==", ".", {"a": 1}]), &ipld(&json!({"a": 1}))));
    assert!(met(json!(["==", ".?", {"a": 1}]), &ipld(&json!({"a": 1}))));
    assert!(
        Policy::from_ipld(Ipld::List(vec![Ipld::List(vec![
            text("=="),
            text(".bytes[1:]"),
            Ipld::Bytes(vec![0xa9, 0xc1]),
        ])]))
        .unwrap()
        .is_met(&args())
        .unwrap()
    );
}

#[test]
fn what_is_no_selector() {
    for bad in [
        "",
        "a",
        "..",
        ".a.",
        ".a..b",
        "...",
        "[0]",
        "[\"a\"]",
        ".[",
        ".[0",
        ".[a]",
        ".[-]",
        ".[+1]",
        ".[ 1]",
        ".[1.5]",
        ".[\"a]",
        ".[\"a\"",
        ".[\"a\\n\"]",
        ".['a']",
        ".[:]",
        ".[1:2:3]",
        ".[1:a]",
        ".[99999999999999999999]",
        ".a b",
        ".a|.b",
        ".?a",
        ".ä",
        "?",
        " .a",
        ".a ",
        ".a[0]b",
        ".[]a",
        ".*",
    ] {
        assert_eq!(read(&json!([["==", bad, 1]])).map_err(|denied| denied.name()), Err("Malformed"), "{bad}");
    }
    let long = format!(".{}", "a".repeat(SELECTOR_BYTES_MAX));
    assert!(read(&json!([["==", long, 1]])).is_err());
    assert!(read(&json!([["==", long[1..].replacen('a', ".", 1), 1]])).is_ok());
}

#[test]
fn comparisons() {
    for (statement, expected) in [
        (json!(["==", ".n", 35.0]), true),
        (json!(["==", ".x", 1.5]), true),
        (json!(["==", ".x", 1]), false),
        (json!(["==", ".list", [1.0, 2, 3.0]]), true),
        (json!(["==", ".list", [1, 2]]), false),
        (json!(["==", ".list", [1, 2, 4]]), false),
        (json!(["==", ".map", {"a": 1, "bb": 2}]), true),
        (json!(["==", ".map", {"a": 1, "bc": 2}]), false),
        (json!(["==", ".map", {"a": 1}]), false),
        (json!(["==", ".n", "35"]), false),
        (json!(["==", ".null", false]), false),
        (json!(["<", ".n", 36]), true),
        (json!(["<", ".n", 35]), false),
        (json!(["<", ".n", 35.5]), true),
        (json!(["<=", ".n", 35]), true),
        (json!(["<=", ".n", 34.9]), false),
        (json!([">", ".n", 34.9]), true),
        (json!([">", ".n", 35]), false),
        (json!([">=", ".n", 35.0]), true),
        (json!([">=", ".x", 2]), false),
        (json!([">", ".text", 0]), false),
        (json!(["<=", ".null", 0]), false),
        (json!([">", ".bytes[0]", 0xd5]), true),
        (json!(["like", ".text", "K*"]), true),
        (json!(["like", ".text", "k*"]), false),
        (json!(["like", ".n", "*"]), false),
        (json!(["like", ".null", "*"]), false),
    ] {
        assert_eq!(met(statement.clone(), &args()), expected, "{statement}");
    }
}

#[test]
fn connectives_and_quantifiers() {
    let (yes, no) = (json!(["==", ".n", 35]), json!(["==", ".n", 36]));
    for (statement, expected) in [
        (json!(["and", []]), true),
        (json!(["and", [yes, yes]]), true),
        (json!(["and", [yes, no]]), false),
        (json!(["or", []]), true),
        (json!(["or", [no, yes]]), true),
        (json!(["or", [no, no]]), false),
        (json!(["not", no]), true),
        (json!(["not", ["not", no]]), false),
        (json!(["all", ".list", [">", ".", 0]]), true),
        (json!(["all", ".list", [">", ".", 1]]), false),
        (json!(["all", ".empty", no]), true),
        (json!(["any", ".empty", yes]), false),
        (json!(["any", ".list", ["==", ".", 3]]), true),
        (json!(["any", ".list", ["==", ".", 4]]), false),
        (json!(["all", ".map", [">", ".", 0]]), true),
        (json!(["any", ".map", ["==", ".", 2]]), true),
        (json!(["all", ".map[]", [">", ".", 0]]), true),
        (json!(["all", ".n", yes]), false),
        (json!(["any", ".n", yes]), false),
        (json!(["all", ".absent", yes]), false),
        (json!(["any", ".bytes", [">", ".", 0]]), false),
        (json!(["any", ".deep", ["any", ".z", ["==", ".", 7]]]), true),
        (json!(["all", ".deep", [">", ".b", 0]]), false),
        (json!(["all", ".deep[0:2]", [">", ".b", 0]]), true),
    ] {
        assert_eq!(met(statement.clone(), &args()), expected, "{statement}");
        assert_eq!(met(json!(["not", statement]), &args()), !expected, "{statement}");
    }
}

#[test]
fn what_is_no_policy() {
    for bad in [
        json!({}),
        json!("=="),
        json!(["=="]),
        json!([[]]),
        json!([[1, ".", 1]]),
        json!([["==", "."]]),
        json!([["==", ".", 1, 1]]),
        json!([["=", ".", 1]]),
        json!([["<", ".", "1"]]),
        json!([["<", ".", null]]),
        json!([["like", ".", 1]]),
        json!([["not"]]),
        json!([["not", []]]),
        json!([["not", ["==", ".", 1], 1]]),
        json!([["and", ["==", ".", 1]]]),
        json!([["and", [], []]]),
        json!([["or", {}]]),
        json!([["any", "."]]),
        json!([["any", ["==", ".", 1]]]),
        json!([["any", ".", [["==", ".", 1]]]]),
        json!([["==", 1, 1]]),
        json!([["xor", []]]),
    ] {
        assert_eq!(read(&bad).map_err(|denied| denied.name()), Err("Malformed"), "{bad}");
    }
}

#[test]
fn bounds() {
    let many = |n: usize| Value::Array(vec![json!(["==", ".", 1]); n]);
    assert!(read(&many(POLICY_STATEMENTS_MAX)).is_ok());
    assert!(read(&many(POLICY_STATEMENTS_MAX + 1)).is_err());
    assert!(read(&json!([["and", many(POLICY_STATEMENTS_MAX)]])).is_err());
    let deep = |n: usize| (1..n).fold(json!(["==", ".", 1]), |inner, _| json!(["not", inner]));
    assert!(read(&json!([deep(POLICY_DEPTH_MAX)])).is_ok());
    assert!(read(&json!([deep(POLICY_DEPTH_MAX + 1)])).is_err());
}

#[test]
fn work_is_bounded() {
    let list = Ipld::Map(map(&[("a", Ipld::List(vec![Ipld::Integer(1); 30_000]))]));
    let one = json!(["all", ".a", ["==", ".", 1]]);
    assert_eq!(read(&json!([one])).unwrap().is_met(&list), Ok(true));
    let many = read(&Value::Array(vec![one; POLICY_STATEMENTS_MAX / 2])).unwrap();
    assert_eq!(many.is_met(&list), Err(Denied::TooMuchWork));
    // A list of long texts, each looked through.
    let texts = Ipld::Map(map(&[("a", Ipld::List(vec![text(&"a".repeat(60_000)); 200]))]));
    let policy = read(&json!([["all", ".a", ["like", ".", "*b"]], ["any", ".a", ["like", ".", "*b"]]])).unwrap();
    assert_eq!(policy.is_met(&texts), Ok(false));
    let policy = read(&json!([["any", ".a", ["like", ".", "*b"]]])).unwrap();
    assert_eq!(policy.is_met(&texts), Err(Denied::TooMuchWork));
}

#[test]
#[allow(clippy::disallowed_types, reason = "the test is about time")]
fn stars_take_time_in_proportion() {
    let begun = std::time::Instant::now();
    let args = Ipld::Map(map(&[("t", text(&"a".repeat(100_000)))]));
    assert!(!met(json!(["like", ".t", format!("{}b", "*a".repeat(20_000))]), &args));
    assert!(!met(json!(["like", ".t", format!("*{}b*", "a".repeat(50_000))]), &args));
    assert!(met(json!(["like", ".t", "*a".repeat(20_000)]), &args));
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
}
