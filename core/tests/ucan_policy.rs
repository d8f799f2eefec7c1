//! Policies: each operator and selector, and both against naive oracles.

mod ucan_kit;

use bucket_core::dag_cbor::Ipld;
use bucket_core::limits::{POLICY_DEPTH_MAX, POLICY_STATEMENTS_MAX, SELECTOR_BYTES_MAX};
use bucket_core::ucan::{Denied, Policy};
use proptest::prelude::*;
use serde_json::{Value, json};
use ucan_kit::{ipld, map, text};

fn read(policy: &Value) -> Result<Policy, Denied> {
    Policy::from_ipld(ipld(policy))
}

fn met(statement: Value, args: &Ipld) -> bool {
    read(&json!([statement])).unwrap().is_met(args).unwrap()
}

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

/// Tries everything.
fn naive_like(pattern: &[char], text: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['\\', '*', rest @ ..] => text.first() == Some(&'*') && naive_like(rest, &text[1..]),
        ['*', rest @ ..] => (0..=text.len()).any(|skip| naive_like(rest, &text[skip..])),
        [c, rest @ ..] => text.first() == Some(c) && naive_like(rest, &text[1..]),
    }
}

#[derive(Debug, Clone)]
enum Step {
    Key(String),
    Quoted(String),
    Index(i64),
    Slice(Option<i64>, Option<i64>),
    Values,
}

impl Step {
    fn text(&self) -> String {
        let bound = |bound: &Option<i64>| bound.map(|n| n.to_string()).unwrap_or_default();
        match self {
            Step::Key(key) => format!(".{key}"),
            Step::Quoted(key) => format!("[{}]", serde_json::to_string(key).unwrap()),
            Step::Index(index) => format!("[{index}]"),
            Step::Slice(from, to) => format!("[{}:{}]", bound(from), bound(to)),
            Step::Values => "[]".to_owned(),
        }
    }

    /// What the step finds, copied, one element at a time.
    fn take(&self, value: &Ipld) -> Option<Ipld> {
        match (self, value) {
            (Step::Key(key) | Step::Quoted(key), Ipld::Map(map)) => Some(map.get(key).cloned().unwrap_or(Ipld::Null)),
            (Step::Index(index), Ipld::List(list)) => {
                let len = list.len() as i64;
                (0..len).find(|at| at == index || at - len == *index).map(|at| list[at as usize].clone())
            }
            (Step::Index(index), Ipld::Bytes(bytes)) => {
                let list = bytes.iter().map(|byte| Ipld::Integer((*byte).into())).collect();
                Step::Index(*index).take(&Ipld::List(list))
            }
            (Step::Slice(from, to), Ipld::List(list)) => {
                let len = list.len() as i64;
                let from_start = |n: i64| if n < 0 { n + len } else { n };
                let (from, to) = (from.map_or(0, from_start), to.map_or(len, from_start));
                let inside = (0..len).filter(|at| (from..to).contains(at));
                Some(Ipld::List(inside.map(|at| list[at as usize].clone()).collect()))
            }
            (Step::Slice(from, to), Ipld::Bytes(bytes)) => {
                let list = bytes.iter().map(|byte| Ipld::Integer((*byte).into())).collect();
                let Some(Ipld::List(part)) = Step::Slice(*from, *to).take(&Ipld::List(list)) else { unreachable!() };
                let byte = |value| if let Ipld::Integer(n) = value { n as u8 } else { unreachable!() };
                Some(Ipld::Bytes(part.into_iter().map(byte).collect()))
            }
            (Step::Values, Ipld::List(list)) => Some(Ipld::List(list.clone())),
            (Step::Values, Ipld::Map(map)) => {
                let mut keys: Vec<_> = map.keys().collect();
                keys.sort_by_key(|key| (key.len(), key.as_bytes().to_vec()));
                Some(Ipld::List(keys.into_iter().map(|key| map[key].clone()).collect()))
            }
            _ => None,
        }
    }
}

fn step() -> impl Strategy<Value = (Step, bool)> {
    let bound = || proptest::option::of(-4i64..4);
    let step = prop_oneof![
        "[ab]{1,2}".prop_map(Step::Key),
        "[ab\"\\\\*.]{0,2}".prop_map(Step::Quoted),
        (-4i64..4).prop_map(Step::Index),
        (bound(), bound()).prop_filter("a bound", |(a, b)| a.or(*b).is_some()).prop_map(|(a, b)| Step::Slice(a, b)),
        Just(Step::Values),
    ];
    (step, any::<bool>())
}

fn value() -> impl Strategy<Value = Ipld> {
    let leaf = prop_oneof![
        Just(Ipld::Null),
        (0i128..9).prop_map(Ipld::Integer),
        proptest::collection::vec(any::<u8>(), 0..4).prop_map(Ipld::Bytes),
        "[ab]{0,2}".prop_map(Ipld::String),
    ];
    leaf.prop_recursive(4, 60, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Ipld::List),
            proptest::collection::btree_map("[ab\"\\\\*.]{0,2}", inner, 0..4).prop_map(Ipld::Map),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4000) })]

    #[test]
    fn like_as_the_oracle(pattern in "[ab*\\\\é]{0,8}", subject in "[ab*\\\\é]{0,8}") {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        let expected = naive_like(&chars(&pattern), &chars(&subject));
        let args = Ipld::Map(map(&[("t", text(&subject))]));
        prop_assert_eq!(met(json!(["like", ".t", pattern]), &args), expected);
    }

    #[test]
    fn selectors_as_the_oracle(value in value(), steps in proptest::collection::vec(step(), 0..4)) {
        let mut selector = ".v".to_owned();
        let mut expected = Some(value.clone());
        for (step, optional) in &steps {
            selector += &step.text();
            selector += if *optional { "?" } else { "" };
            expected = expected.and_then(|value| step.take(&value).or(optional.then_some(Ipld::Null)));
        }
        let args = Ipld::Map(map(&[("v", value)]));
        let holds = |operator: &str, value: &Ipld| {
            let statement = Ipld::List(vec![text(operator), text(&selector), value.clone()]);
            Policy::from_ipld(Ipld::List(vec![statement])).unwrap().is_met(&args).unwrap()
        };
        let other = text("other");
        match &expected {
            Some(found) => prop_assert!(holds("==", found) && holds("!=", &other), "{selector} {found:?}"),
            None => prop_assert!(!holds("==", &Ipld::Null) && !holds("!=", &other), "{selector}"),
        }
    }

    #[test]
    fn any_text_as_a_selector(selector in "[.\\[\\]?ab\"\\\\0-9:-]{0,12}", value in value()) {
        if let Ok(policy) = read(&json!([["==", selector, 1]])) {
            prop_assert!(policy.is_met(&value).is_ok());
            prop_assert_eq!(policy.to_ipld(), ipld(&json!([["==", selector, 1]])));
        }
    }
}
