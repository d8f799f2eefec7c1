//! Keys as `charwise` encodes them.

use std::cell::RefCell;

use bucket_core::dag_cbor::Ipld;
use bucket_protocols::kv::charwise::{self, CharwiseError};
use bucket_tests::cars::map;
use proptest::prelude::*;
use serde_json::json;

use super::{Program, SAFE_MAX, any_text, runner, tagged};

fn any_key() -> impl Strategy<Value = Ipld> {
    let float = prop_oneof![any::<f64>(), (-20..20i32).prop_map(f64::from), (-1e25..1e25f64)];
    let leaf = prop_oneof![
        Just(Ipld::Null),
        any::<bool>().prop_map(Ipld::Bool),
        (-1100i128..1100).prop_map(Ipld::Integer),
        (-(1i128 << 53)..=1 << 53).prop_map(Ipld::Integer),
        float.prop_filter("finite", |x| x.is_finite()).prop_map(Ipld::Float),
        any_text().prop_map(Ipld::String),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| prop::collection::vec(inner, 0..4).prop_map(Ipld::List))
}

/// One form for what is one value in JavaScript: 42 and 42.0, 0 and −0.
fn one_number(key: &Ipld) -> Ipld {
    match key {
        Ipld::List(items) => Ipld::List(items.iter().map(one_number).collect()),
        Ipld::Float(x) if x.fract() == 0.0 && x.abs() <= (SAFE_MAX + 1) as f64 => Ipld::Integer(*x as i128),
        other => other.clone(),
    }
}

#[test]
fn keys_are_encoded_as_charwise_does() {
    let node = RefCell::new(Program::start("charwise.mjs"));
    let refused = RefCell::new(0);
    let property = |key: Ipld| {
        let theirs = node.borrow_mut().ask(&json!({"encode": tagged(&key)}));
        let encoded = theirs["encoded"].as_str().expect("text");
        let comes_back = theirs["back"].as_bool().expect("a boolean");
        match charwise::encode(&key) {
            Ok(ours) => {
                prop_assert_eq!(&*ours, encoded);
                prop_assert!(comes_back, "accepted, although charwise takes {encoded:?} for another key");
                let back = charwise::decode(encoded).map_err(|error| TestCaseError::fail(error.to_string()))?;
                prop_assert_eq!(one_number(&back), one_number(&key));
            }
            Err(CharwiseError::Ambiguous(ours)) => {
                prop_assert_eq!(&*ours, encoded);
                prop_assert!(!comes_back, "refused, although charwise gives {encoded:?} back");
                *refused.borrow_mut() += 1;
            }
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        }
        Ok(())
    };
    if let Err(failure) = runner(3000).run(&any_key(), property) {
        panic!("{failure}");
    }
    assert!(*refused.borrow() > 0, "no key was ambiguous: the generator is too tame");
}

#[test]
fn what_is_no_key_is_refused() {
    for n in [(1 << 53) + 1, -(1 << 53) - 1, i128::from(u64::MAX)] {
        assert_eq!(charwise::encode(&Ipld::Integer(n)), Err(CharwiseError::Integer(n)));
    }
    for (value, kind) in [(Ipld::Bytes(vec![1]), "bytes"), (map([]), "a map"), (Ipld::List(vec![map([])]), "a map")] {
        assert_eq!(charwise::encode(&value), Err(CharwiseError::Kind(kind)));
    }
}

#[test]
fn encoded_keys_sort_as_in_a_level_database() {
    let node = RefCell::new(Program::start("charwise.mjs"));
    // JavaScript compares halves of U+10000 and finds them less than U+FFFF; databases compare bytes.
    let astral = "[a\u{ffff}\u{10000}]{1,2}".prop_map(Ipld::String);
    let listed = prop::collection::vec(astral.clone(), 1..3).prop_map(Ipld::List);
    let keys = prop_oneof![any_key(), astral, listed].prop_filter("encodes", |key| charwise::encode(key).is_ok());
    let property = |keys: Vec<Ipld>| {
        let mut ours: Vec<_> = keys.iter().map(|key| charwise::encode(key).expect("filtered")).enumerate().collect();
        ours.sort_by(|(i, a), (j, b)| (a, i).cmp(&(b, j)));
        let ours: Vec<_> = ours.into_iter().map(|(place, _)| place).collect();
        let theirs = node.borrow_mut().ask(&json!({"sort": keys.iter().map(tagged).collect::<Vec<_>>()}));
        prop_assert_eq!(&theirs["order"], &json!(ours));
        Ok(())
    };
    if let Err(failure) = runner(200).run(&prop::collection::vec(keys, 2..40), property) {
        panic!("{failure}");
    }
}
