//! The strict codec against the crate `serde_ipld_dagcbor`, and what strict refuses, case by case.

use bucket_core::cid::{NativeHasher, RAW, block_cid};
use bucket_core::dag_cbor::{Ipld, decode, encode, validate};
use bucket_core::limits::DEPTH_MAX;
use proptest::prelude::*;

pub fn any_value() -> impl Strategy<Value = Ipld> {
    let leaf = prop_oneof![
        Just(Ipld::Null),
        any::<bool>().prop_map(Ipld::Bool),
        any::<i64>().prop_map(|n| Ipld::Integer(n.into())),
        (0u64..300).prop_map(|n| Ipld::Integer(n.into())),
        any::<u64>().prop_map(|n| Ipld::Integer(-1 - i128::from(n))),
        any::<f64>().prop_filter("finite", |x| x.is_finite()).prop_map(Ipld::Float),
        ".{0,12}".prop_map(Ipld::String),
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(Ipld::Bytes),
        any::<[u8; 4]>().prop_map(|data| Ipld::Link(block_cid::<NativeHasher>(RAW, &data))),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Ipld::List),
            proptest::collection::btree_map(".{0,6}", inner, 0..6).prop_map(Ipld::Map),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn encodes_as_the_crate_does_and_decodes_again(value in any_value()) {
        let bytes = encode(&value);
        prop_assert_eq!(&bytes, &serde_ipld_dagcbor::to_vec(&value).unwrap());
        prop_assert_eq!(decode(&bytes), Ok(value));
        prop_assert_eq!(validate(&bytes), Ok(()));
    }

    /// What we accept has exactly one encoding, and the crate accepts it as well.
    #[test]
    fn mutations_are_refused_or_canonical(value in any_value(), edits in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..4)) {
        let mut bytes = encode(&value);
        for (at, byte) in edits {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let decoded = decode(&bytes);
        prop_assert_eq!(decoded.as_ref().map(drop).map_err(Clone::clone), validate(&bytes));
        if let Ok(value) = decoded {
            prop_assert_eq!(encode(&value), bytes.clone());
            prop_assert!(serde_ipld_dagcbor::from_slice::<Ipld>(&bytes).is_ok());
        }
    }

    #[test]
    fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(decode(&bytes).map(drop), validate(&bytes));
    }
}

#[test]
fn what_is_not_strict_is_refused_and_says_why() {
    let cases: &[(&str, &[u8], &str)] = &[
        ("nothing", &[], "expected 1 bytes, got 0"),
        ("a padded integer", &[0x18, 1], "smallest encoding of 1"),
        ("a padded length", &[0x58, 1, 0], "smallest encoding of 1"),
        ("an integer of 8 bytes that needs 4", &[0x1b, 0, 0, 0, 0, 0, 0, 0, 1], "smallest encoding"),
        ("indefinite bytes", &[0x5f, 0xff], "definite length"),
        ("an indefinite list", &[0x9f, 0xff], "definite length"),
        ("a short float", &[0xf9, 0x3c, 0], "64-bit float"),
        ("NaN", &[0xfb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0], "finite"),
        ("infinity", &[0xfb, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0], "finite"),
        ("minus zero", &[0xfb, 0x80, 0, 0, 0, 0, 0, 0, 0], "got -0"),
        ("undefined", &[0xf7], "simple value 23"),
        ("an unassigned simple value", &[0xf8, 32], "simple value 32"),
        ("another tag", &[0xc0, 0x60], "tag 42"),
        ("a link without the 0", &[0xd8, 42, 0x41, 1], "begin with 0"),
        ("a link without a CID", &[0xd8, 42, 0x42, 0, 9], "expected a CID"),
        ("trailing bytes", &[0x01, 0x01], "1 more bytes"),
        ("a key that is no text", &[0xa1, 1, 1], "text as a map's key"),
        ("keys out of order", &[0xa2, 0x61, b'b', 1, 0x61, b'a', 1], "“a” after “b”"),
        ("a longer key first", &[0xa2, 0x62, b'a', b'a', 1, 0x61, b'b', 1], "“b” after “aa”"),
        ("a key twice", &[0xa2, 0x61, b'a', 1, 0x61, b'a', 1], "“a” after “a”"),
        ("no UTF-8", &[0x61, 0xff], "UTF-8"),
        ("a list longer than the input", &[0x9a, 0xff, 0xff, 0xff, 0xff], "4294967295 entries, got 0 bytes"),
        ("bytes longer than the input", &[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "got 0"),
    ];
    for (name, bytes, why) in cases {
        let error = decode(bytes).expect_err(name).to_string();
        assert!(error.contains(why), "{name}: {error}");
        assert_eq!(validate(bytes), decode(bytes).map(drop), "{name}");
    }
}

#[test]
fn depth_is_bounded_without_a_deep_stack() {
    let nested = |depth: usize| [vec![0x81; depth], vec![0xf6]].concat();
    assert!(decode(&nested(DEPTH_MAX)).is_ok());
    for bomb in [nested(DEPTH_MAX + 1), nested(1_000_000)] {
        assert!(decode(&bomb).unwrap_err().to_string().contains("levels of nesting"));
        assert!(validate(&bomb).is_err());
    }
}
