//! Policies against naive oracles: patterns and selectors.

mod ucan_kit;

use bucket_core::dag_cbor::Ipld;
use bucket_core::ucan::Policy;
use proptest::prelude::*;
use serde_json::json;
use ucan_kit::{ipld, map, met, read_policy, text};

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
        if let Ok(policy) = read_policy(&json!([["==", selector, 1]])) {
            prop_assert!(policy.is_met(&value).is_ok());
            prop_assert_eq!(policy.to_ipld(), ipld(&json!([["==", selector, 1]])));
        }
    }
}
