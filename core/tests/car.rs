//! CARs in the machine's form: written as `car-transaction` writes, and every other file refused with its own error.

use bucket_core::car::{Car, CarError, Transaction, archive};
use bucket_core::cid::{CarId, DAG_CBOR, NativeHasher, RAW, block_cid};
use bucket_core::dag_cbor::{Ipld, encode};
use proptest::prelude::*;

type Tx = Transaction<NativeHasher>;

fn decode(bytes: &[u8]) -> Result<Car, CarError> {
    Car::decode::<NativeHasher>(bytes.to_vec())
}

fn text(text: &str) -> Ipld {
    Ipld::String(text.into())
}

fn sample() -> Vec<u8> {
    let mut tx = Tx::default();
    let link = tx.write(&Ipld::Bytes(vec![1, 2, 3]));
    tx.write(&Ipld::Map([("hello".to_owned(), text("world")), ("link".to_owned(), Ipld::Link(link))].into()));
    tx.commit().unwrap()
}

/// A CAR with the given header value and sections.
fn car(header: &Ipld, sections: &[(Vec<u8>, &[u8])]) -> Vec<u8> {
    let header = encode(header);
    let mut out = vec![header.len() as u8];
    out.extend(header);
    for (cid, data) in sections {
        out.push((cid.len() + data.len()) as u8);
        out.extend(cid);
        out.extend(*data);
    }
    out
}

fn header(roots: Vec<Ipld>, version: i128) -> Ipld {
    Ipld::Map([("roots".to_owned(), Ipld::List(roots)), ("version".to_owned(), Ipld::Integer(version))].into())
}

#[test]
fn a_transaction_reads_back() {
    let bytes = sample();
    let car = decode(&bytes).unwrap();
    assert_eq!(car.bytes(), bytes);
    assert_eq!(car.blocks().count(), 2);
    let Ipld::Map(root) = car.root_value() else { panic!("a map") };
    let Ipld::Link(link) = root["link"] else { panic!("a link") };
    assert_eq!(car.value(&link), Some(Ipld::Bytes(vec![1, 2, 3])));
    assert_eq!(car.block(&block_cid::<NativeHasher>(RAW, b"absent")), None);
    assert_eq!(car.id::<NativeHasher>(), CarId::of::<NativeHasher>(&bytes));
    assert!(Tx::default().commit().is_err());
}

#[test]
fn the_root_may_be_anywhere_and_a_block_may_stand_twice() {
    let (a, b) = (encode(&text("a")), encode(&text("b")));
    let cid = |data: &[u8]| block_cid::<NativeHasher>(DAG_CBOR, data);
    let root = header(vec![Ipld::Link(cid(&a))], 1);
    let (a_cid, b_cid) = (cid(&a).to_bytes(), cid(&b).to_bytes());
    let bytes = car(&root, &[(a_cid.clone(), &a[..]), (b_cid, &b), (a_cid, &a)]);
    let car = decode(&bytes).unwrap();
    assert_eq!((car.root_value(), car.blocks().count()), (text("a"), 3));
}

#[test]
fn each_defect_has_its_own_error() {
    let good = sample();
    let block = encode(&text("a"));
    let cid = block_cid::<NativeHasher>(DAG_CBOR, &block);
    let root = Ipld::Link(cid);
    let named = cid.to_bytes();
    let section = [(named.clone(), &block[..])];
    let padded = [0x78, 1, b'a'];
    let padded_cid = block_cid::<NativeHasher>(DAG_CBOR, &padded);
    let identity = [&[1, 0x55, 0, 1][..], b"x"].concat();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let mut bomb = vec![0x81; 100];
    bomb.push(0xf6);
    let bomb_cid = block_cid::<NativeHasher>(DAG_CBOR, &bomb);
    let v2 = [&[0x0a, 0xa1, 0x67][..], b"version\x02", &[0; 40]].concat();
    let is = |error: CarError, name: &str| format!("{error:?}").starts_with(name);

    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("no bytes", vec![], "NotACar"),
        ("text", b"hello, this is no CAR at all".to_vec(), "NotACar"),
        ("a PNG", vec![0x89, b'P', b'N', b'G', 13, 10, 26, 10], "NotACar"),
        ("a header of length 0", vec![0, 1, 2], "NotACar"),
        ("version 3", car(&header(vec![root.clone()], 3), &section), "NotACar"),
        ("a list as the header", car(&Ipld::List(vec![]), &[]), "NotACar"),
        ("version 2", v2, "Version2"),
        ("no roots", car(&header(vec![], 1), &section), "Roots(0)"),
        ("two roots", car(&header(vec![root.clone(), root.clone()], 1), &section), "Roots(2)"),
        ("root absent", car(&header(vec![root.clone()], 1), &[]), "RootAbsent"),
        ("wrong hash", flipped, "Hash"),
        ("identity CID", car(&header(vec![root.clone()], 1), &[(identity, &[])]), "Cid"),
        ("trailing zero", [&good[..], &[0]].concat(), "Trailing"),
        ("trailing junk", [&good[..], &[3, 9, 9, 9]].concat(), "Trailing"),
        ("a padded section length", [&good[..], &[0x80, 0]].concat(), "Trailing"),
        (
            "a padded block",
            car(&header(vec![Ipld::Link(padded_cid)], 1), &[(padded_cid.to_bytes(), &padded)]),
            "DagCbor",
        ),
        (
            "a depth bomb",
            car(&header(vec![Ipld::Link(bomb_cid)], 1), &[])
                .into_iter()
                .chain([137, 1])
                .chain(bomb_cid.to_bytes())
                .chain(bomb)
                .collect(),
            "DagCbor",
        ),
        ("a padded header", [&[18, 0xa2, 0x65][..], b"roots\x80\x67version\x18\x01"].concat(), "Header"),
    ];
    for (name, bytes, expected) in cases {
        match decode(&bytes) {
            Ok(_) => panic!("{name} was accepted"),
            Err(error) => assert!(is(error.clone(), expected), "{name}: {error:?}"),
        }
    }
    // A cut anywhere is never taken for the end, except where a block ends: then the root is missing.
    for len in 1..good.len() {
        let error = decode(&good[..len]).unwrap_err();
        let name = format!("{error:?}");
        let expected = ["Truncated", "RootAbsent", "NotACar"].iter().any(|kind| name.starts_with(kind));
        assert!(expected, "cut at {len}: {error}");
    }
    assert!(is(decode(&good[..good.len() - 1]).unwrap_err(), "Truncated"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn noise_and_mutations_never_panic(
        noise in proptest::collection::vec(any::<u8>(), 0..300),
        edits in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..5),
    ) {
        let _ = decode(&noise);
        let _ = archive::inside_v2(&noise);
        let good = sample();
        let mut bytes = good.clone();
        for (at, byte) in edits {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        // Every byte of the form is checked: nothing else than the CAR itself passes.
        prop_assert!(bytes == good || decode(&bytes).is_err());
    }
}
