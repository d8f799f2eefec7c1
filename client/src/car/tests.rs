use std::path::PathBuf;

use bucket_core::car::Transaction;
use bucket_core::cid::NativeHasher;
use bucket_core::dag_cbor::Ipld;
use bucket_core::task::Task;
use multihash_codetable::{Code, MultihashDigest};

use super::*;

/// A CARv1 with these roots and blocks, whatever they are.
fn car(roots: &[Cid], blocks: &[(Cid, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    archive::write_header(&mut out, roots);
    for (cid, data) in blocks {
        archive::write_lead(&mut out, cid, data.len());
        out.extend(*data);
    }
    out
}

fn raw(code: Code, data: &[u8]) -> Cid {
    Cid::new_v1(0x55, code.digest(data))
}

fn task() -> Vec<u8> {
    let sub = "did:key:z1".parse().unwrap();
    let task = Task { sub, cmd: "/echo".into(), args: Default::default(), nonce: vec![1] };
    let mut transaction = Transaction::<NativeHasher>::default();
    transaction.write(&Ipld::Bytes(b"a block".to_vec()));
    task.to_car_with(transaction)
}

#[test]
fn a_task_is_valid_and_accepted() {
    let verdict = verify(&task());
    assert!(verdict.valid && verdict.machine.accepted, "{verdict:?}");
    assert_eq!((verdict.version, verdict.blocks, verdict.roots.len()), (Some(1), 2, 1));
}

#[test]
fn valid_cars_that_the_machine_refuses() {
    let (a, b) = (raw(Code::Sha2_512, b"a"), raw(Code::Blake2b256, b"b"));
    let identity = Cid::new_v1(0x55, cid::multihash::Multihash::wrap(0, b"id").unwrap());
    let v0 = Cid::new_v0(Code::Sha2_256.digest(b"pb")).unwrap();
    let blocks: [(Cid, &[u8]); 4] = [(a, b"a"), (b, b"b"), (identity, b"id"), (v0, b"pb")];
    let cases = [
        (car(&[], &blocks), "expected a CAR with one root, got 0", 35),
        (car(&[a, b], &blocks), "expected a CAR with one root, got 2", 35),
        (car(&[v0], &blocks), "expected CIDs of version 1 with sha2-256", 38),
    ];
    for (bytes, why, code) in cases {
        let verdict = verify(&bytes);
        assert!(verdict.valid, "{verdict:?}");
        assert_eq!(verdict.blocks, 4);
        assert!(verdict.machine.why.as_ref().unwrap().starts_with(why), "{verdict:?}");
        assert_eq!(verdict.machine.exit_code, Some(code));
    }
}

#[test]
fn damage_is_found_and_named() {
    let good = task();
    for end in 1..good.len() {
        let verdict = verify(&good[..end]);
        // A file cut between two blocks is a smaller CAR, whose root is not in it.
        assert!(!verdict.valid || verdict.notes.iter().any(|note| note.contains("not among")), "{end}: {verdict:?}");
        assert!(!verdict.machine.accepted, "{end}");
    }
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        let verdict = verify(&bad);
        assert!(!verdict.valid || !verdict.machine.accepted, "{at}: {verdict:?}");
    }
    let verdict = verify(b"hello");
    assert!(!verdict.valid);
    assert!(verdict.errors[0].contains("not a CAR"), "{verdict:?}");
    assert_eq!(verdict.machine.exit_code, Some(32));
}

#[test]
fn a_hash_that_cannot_be_computed_is_said() {
    let cid = Cid::new_v1(0x55, cid::multihash::Multihash::wrap(0xd5, &[7; 16]).unwrap());
    let verdict = verify(&car(&[cid], &[(cid, b"x")]));
    assert!(!verdict.valid && verdict.errors.is_empty());
    assert_eq!(verdict.unverified[0].hash, "md5");
}

#[test]
fn absent_roots_and_loose_cbor_are_noted() {
    let absent = raw(Code::Sha2_256, b"absent");
    // 0x18 0x01 is the integer 1 in two bytes.
    let loose = Cid::new_v1(0x71, Code::Sha2_256.digest(&[0x18, 0x01]));
    let verdict = verify(&car(&[absent], &[(loose, &[0x18, 0x01])]));
    assert!(verdict.valid, "{verdict:?}");
    assert_eq!(verdict.notes.len(), 2, "{verdict:?}");
}

#[test]
fn packing_links_by_name_and_unpacking_gives_the_same_bytes_back() {
    let parts = vec![
        Part::Raw { name: "photo.png".into(), data: vec![1, 2, 3] },
        Part::Value { name: "root.json".into(), json: r#"{"photo": {"/": "photo.png"}, "n": 1}"#.into() },
    ];
    let (bytes, cids) = pack(parts).unwrap();
    let inspection = inspect(&bytes, true).unwrap();
    assert_eq!(inspection.roots, [cids[1]]);
    assert_eq!(inspection.blocks[1].value.as_ref().unwrap()["photo"]["/"], cids[0].to_string());
    assert_eq!(&bytes[inspection.blocks[0].offset..][..3], [1, 2, 3]);

    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("out");
    let manifest = unpack(&bytes, &dir).unwrap();
    assert_eq!(manifest.blocks[0].file, "0000.raw");
    assert_eq!(repack(&dir).unwrap().0, bytes);
    assert!(unpack(&bytes, &dir).unwrap_err().to_string().contains("empty directory"));
}

#[test]
fn a_manifest_does_not_reach_out_of_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    let block = |file: &str| format!(r#"{{"cid": "", "codec": "raw", "size": 1, "file": "{file}"}}"#);
    for file in ["../secret", "/etc/hostname", "..", ""] {
        let manifest = format!(r#"{{"version": 1, "roots": [], "blocks": [{}]}}"#, block(file));
        std::fs::write(dir.path().join("manifest.json"), manifest).unwrap();
        assert!(repack(dir.path()).unwrap_err().to_string().contains("expected the name of a file"), "{file}");
    }
}

#[test]
fn packing_says_what_is_wrong_with_which_file() {
    let part = |json: &str| vec![Part::Value { name: "root.json".into(), json: json.into() }];
    for bad in ["{", r#"{"/": "photo.png"}"#] {
        let error = pack(part(bad)).unwrap_err().to_string();
        assert!(error.starts_with("root.json: "), "{error}");
    }
    assert!(pack(vec![]).is_err());
}

/// Where `ipld/ipld`'s fixtures are: beside the workspace, or where `BUCKET_VECTORS` says.
fn vectors() -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    let dir = std::env::var_os("BUCKET_VECTORS").map_or_else(beside, PathBuf::from).join("car");
    dir.is_dir().then_some(dir)
}

#[test]
fn foreign_fixtures() {
    let Some(dir) = vectors() else {
        println!("skipped: no fixtures; set BUCKET_VECTORS to a directory with car/*.car and car/*.json");
        return;
    };
    for name in ["carv1-basic", "carv2-basic"] {
        let bytes = std::fs::read(dir.join(format!("{name}.car"))).unwrap();
        let json = std::fs::read(dir.join(format!("{name}.json"))).unwrap();
        let expected: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let verdict = verify(&bytes);
        assert!(verdict.valid, "{name}: {verdict:?}");
        assert_eq!(verdict.version, expected["header"]["version"].as_u64());
        let roots = expected["header"]["roots"].as_array().unwrap();
        let roots: Vec<_> = roots.iter().map(|root| root["/"].as_str().unwrap().to_owned()).collect();
        assert_eq!(verdict.roots.iter().map(Cid::to_string).collect::<Vec<_>>(), roots);

        let read = read(&bytes).unwrap();
        let blocks = expected["blocks"].as_array().unwrap();
        assert_eq!(read.blocks.len(), blocks.len());
        for (block, expected) in read.blocks.iter().zip(blocks) {
            assert_eq!(block.cid.to_string(), expected["cid"]["/"].as_str().unwrap());
            assert_eq!(block.section.start as u64, expected["offset"].as_u64().unwrap());
            assert_eq!(block.section.len() as u64, expected["length"].as_u64().unwrap());
            assert_eq!(block.offset as u64, expected["blockOffset"].as_u64().unwrap());
            assert_eq!(block.data.len() as u64, expected["blockLength"].as_u64().unwrap());
        }
    }
}
