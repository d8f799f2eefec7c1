//! CARs: what is accepted is exactly what its parts give when they are put together again.
#![no_main]

use bucket_core::car::{Car, Transaction, archive};
use bucket_core::cid::{Cid, DAG_CBOR, Hasher, NativeHasher, RAW};
use bucket_core::dag_cbor::{self, Ipld};
use libfuzzer_sys::fuzz_target;

/// A hash that mutations can hit: with SHA-256 no new block would ever be accepted.
enum Weak {}

impl Hasher for Weak {
    fn sha2_256(data: &[u8]) -> [u8; 32] {
        let mut digest = [0; 32];
        digest[0] = data.iter().fold(0, |sum, byte| sum ^ byte);
        digest
    }
}

fuzz_target!(|bytes: &[u8]| {
    machine::<Weak>(bytes);
    machine::<NativeHasher>(bytes);
    foreign(bytes);
});

/// The machine's form.
fn machine<H: Hasher>(bytes: &[u8]) {
    let Ok(car) = Car::decode::<H>(bytes.to_vec()) else { return };
    assert_eq!(car.bytes(), bytes);
    assert_eq!(framed(car.root(), car.blocks()), bytes, "header and blocks are the whole file");

    let mut transaction = Transaction::<H>::default();
    let mut last = None;
    for (cid, data) in car.blocks() {
        match cid.codec() {
            DAG_CBOR => {
                let value = dag_cbor::decode(data).expect("an accepted block");
                assert_eq!(dag_cbor::encode(&value), data, "one value, one encoding");
                // `write` makes a raw block of bytes; as DAG-CBOR they can only be written encoded.
                let written = match value {
                    Ipld::Bytes(_) => transaction.write_block(DAG_CBOR, data),
                    value => transaction.write(&value),
                };
                assert_eq!(written, cid);
            }
            RAW => assert_eq!(transaction.write(&Ipld::Bytes(data.to_vec())), cid),
            codec => panic!("accepted a block of codec {codec}"),
        }
        assert!(car.block(&cid).is_some() && car.value(&cid).is_some());
        last = Some(cid);
    }
    assert!(car.block(&car.root()).is_some());
    let written = transaction.commit().expect("an accepted CAR has a block");
    if last == Some(car.root()) {
        assert_eq!(written, bytes, "the same writes give the same bytes");
    }
    assert_eq!(car.into_bytes(), bytes);
}

/// Any CAR: sections follow each other without gaps, from the header to the end or the first error.
fn foreign(bytes: &[u8]) {
    let bytes = match archive::inside_v2(bytes) {
        Some(Ok(inner)) => inner,
        Some(Err(_)) => return,
        None => bytes,
    };
    let Ok(archive) = archive::open(bytes) else { return };
    let mut end = None;
    let mut sections = archive.sections();
    for section in sections.by_ref() {
        let Ok(section) = section else {
            end = None;
            break;
        };
        assert!(end.is_none_or(|end| end == section.at), "a gap before byte {}", section.at);
        assert!(section.at < section.data.start && section.data.start <= section.data.end);
        end = Some(section.data.end);
    }
    assert!(end.is_none_or(|end| end == bytes.len()), "bytes after the last section");
    assert!(sections.next().is_none(), "a section after the end or after an error");
}

/// A CARv1 written here, independently of the crate's writer.
fn framed<'a>(root: Cid, blocks: impl Iterator<Item = (Cid, &'a [u8])>) -> Vec<u8> {
    let root = root.to_bytes();
    let mut header = vec![0xa2, 0x65];
    header.extend(b"roots");
    header.extend([0x81, 0xd8, 42, 0x58, root.len() as u8 + 1, 0]);
    header.extend(root);
    header.push(0x67);
    header.extend(b"version");
    header.push(1);
    let mut out = Vec::new();
    section(&mut out, &[&header]);
    for (cid, data) in blocks {
        section(&mut out, &[&cid.to_bytes(), data]);
    }
    out
}

fn section(out: &mut Vec<u8>, parts: &[&[u8]]) {
    let mut len: usize = parts.iter().map(|part| part.len()).sum();
    while len > 0x7f {
        out.push(0x80 | (len & 0x7f) as u8);
        len >>= 7;
    }
    out.push(len as u8);
    parts.iter().for_each(|part| out.extend(*part));
}
