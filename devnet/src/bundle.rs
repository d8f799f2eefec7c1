//! Reads an official bundle of built-in actors: a CARv1 file whose root is the manifest.
//!
//! filecoin-project/builtin-actors:output/builtin-actors.car, and its `bundler` crate for the manifest's form.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use cid::Cid;
use fvm_ipld_blockstore::Blockstore;
use multihash_codetable::{Code, MultihashDigest};
use serde::Deserialize;

use crate::store::Store;

/// The only version of the manifest there has been.
const MANIFEST_VERSION: u32 = 1;

#[derive(Deserialize)]
struct Header {
    roots: Vec<Cid>,
    version: u64,
}

/// Puts the bundle's blocks into the store and returns the code CID of each actor by its name.
pub fn load(store: &Store, file: &Path) -> Result<BTreeMap<String, Cid>> {
    let bytes = fs::read(file).with_context(|| format!("cannot read the bundle {}", file.display()))?;
    let root = import(store, &bytes).with_context(|| format!("{} is no bundle of actors", file.display()))?;
    let (version, actors): (u32, Cid) = store.object(&root, "the manifest")?;
    ensure!(version == MANIFEST_VERSION, "expected a manifest of version {MANIFEST_VERSION}, got {version}");
    let actors: Vec<(String, Cid)> = store.object(&actors, "the manifest's list of actors")?;
    Ok(actors.into_iter().collect())
}

/// Checks and stores every block; returns the only root.
fn import(store: &Store, mut car: &[u8]) -> Result<Cid> {
    let header: Header = fvm_ipld_encoding::from_slice(section(&mut car)?).context("the CAR's header")?;
    ensure!(header.version == 1, "expected a CAR of version 1, got {}", header.version);
    let [root] = header.roots[..] else { bail!("expected a CAR with one root, got {}", header.roots.len()) };
    while !car.is_empty() {
        let mut block = section(&mut car)?;
        let cid = Cid::read_bytes(&mut block)?;
        let digest = Code::try_from(cid.hash().code()).map(|code| code.digest(block));
        ensure!(digest.is_ok_and(|digest| digest == *cid.hash()), "block {cid} has other bytes than its CID says");
        store.put_keyed(&cid, block)?;
    }
    Ok(root)
}

/// Cuts off one section: a LEB128 length and as many bytes.
fn section<'a>(car: &mut &'a [u8]) -> Result<&'a [u8]> {
    let mut length = 0u64;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = car.split_first().context("the CAR ends within a length")?;
        *car = rest;
        length |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let length = usize::try_from(length)?;
            let (section, rest) = car.split_at_checked(length).context("the CAR ends within a section")?;
            *car = rest;
            return Ok(section);
        }
    }
    bail!("the CAR has a length of more than nine bytes")
}

#[cfg(test)]
mod tests {
    use devnet_actors_wasm::{ACCOUNT, IDLE, NOOP};
    use fvm_ipld_blockstore::Block;
    use fvm_shared::IPLD_RAW;

    use super::*;
    use crate::{Chain, Config};

    fn framed(bytes: &[u8]) -> Vec<u8> {
        let (mut framed, mut length) = (Vec::new(), bytes.len());
        while length >= 0x80 {
            framed.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        framed.push(length as u8);
        framed.extend(bytes);
        framed
    }

    #[derive(serde::Serialize)]
    struct Header {
        roots: Vec<Cid>,
        version: u64,
    }

    /// A bundle with these actors, as the official bundler lays it out.
    fn bundle(actors: &[(String, Cid)], source: &Store) -> Vec<u8> {
        let list = source.put_object(&actors).unwrap();
        let manifest = source.put_object(&(1u32, list)).unwrap();
        let header = Header { roots: vec![manifest], version: 1 };
        let mut car = framed(&fvm_ipld_encoding::to_vec(&header).unwrap());
        for cid in actors.iter().map(|(_, code)| *code).chain([list, manifest]) {
            car.extend(framed(&[cid.to_bytes(), source.get(&cid).unwrap().unwrap()].concat()));
        }
        car
    }

    #[test]
    fn a_devnet_takes_all_actors_of_a_bundle_but_init() {
        let source = Store::in_memory();
        let names = ["system", "init", "cron", "account", "reward", "placeholder", "eam", "ethaccount", "multisig"];
        let actors = names.map(|name| {
            let mut wasm = if name == "account" { ACCOUNT.to_vec() } else { NOOP.to_vec() };
            // A custom section with the name makes another CID of it.
            wasm.push(0);
            wasm.extend(framed(&framed(format!("bundled {name}").as_bytes())));
            (name.to_owned(), source.put(Code::Blake2b256, &Block::new(IPLD_RAW, wasm)).unwrap())
        });
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("bundle.car");
        fs::write(&file, bundle(&actors, &source)).unwrap();

        let mut chain = Chain::open(&Config { bundle: Some(file), ..Config::default() }).unwrap();
        let alice = chain.account(0).unwrap();
        assert_eq!(chain.state().unwrap().actor(&alice.address()).unwrap().1.code, actors[3].1);
        let (_, init) = chain.state().unwrap().actor(&crate::drive::INIT).unwrap();
        assert_ne!(init.code, actors[1].1);
        chain.deploy(&alice, IDLE, &[]).unwrap();
    }

    #[test]
    fn reads_a_manifest_and_refuses_wrong_bytes() {
        let source = Store::in_memory();
        let code = source.put_object(&"code").unwrap();
        let mut car = bundle(&[("system".into(), code)], &source);
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("bundle.car");
        fs::write(&file, &car).unwrap();
        assert_eq!(load(&Store::in_memory(), &file).unwrap(), BTreeMap::from([("system".into(), code)]));

        *car.last_mut().unwrap() ^= 1;
        fs::write(&file, &car).unwrap();
        let error = format!("{:#}", load(&Store::in_memory(), &file).unwrap_err());
        assert!(error.contains("other bytes than its CID says"), "{error}");
        car.pop();
        fs::write(&file, &car).unwrap();
        let error = format!("{:#}", load(&Store::in_memory(), &file).unwrap_err());
        assert!(error.ends_with("the CAR ends within a section"), "{error}");
    }
}
