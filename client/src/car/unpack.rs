//! CARs to directories and back, byte for byte.

use std::fs;
use std::path::Path;

use bucket_core::car::Transaction;
use bucket_core::cid::NativeHasher;
use cid::Cid;
use serde::{Deserialize, Serialize};

use super::{Hashed, check_hash, codec_name, read};
use crate::error::ClientError;

/// What stands in `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// 1 or 2.
    pub version: u64,
    /// The header's roots.
    pub roots: Vec<String>,
    /// The blocks in the order of the CAR.
    pub blocks: Vec<ManifestBlock>,
}

/// A block and its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestBlock {
    /// Its CID.
    pub cid: String,
    /// Its codec.
    pub codec: String,
    /// Bytes of data.
    pub size: usize,
    /// The file in the same directory.
    pub file: String,
}

/// Writes each block into a file of its own, and a manifest. Refuses blocks with wrong hashes before it writes anything.
pub fn unpack(bytes: &[u8], dir: &Path) -> Result<Manifest, ClientError> {
    let file = read(bytes).map_err(|error| ClientError::Input(error.to_string()))?;
    if let Some(error) = file.error {
        return Err(ClientError::Input(error.to_string()));
    }
    if let Some(wrong) = file.blocks.iter().find(|block| check_hash(&block.cid, block.data) == Hashed::Different) {
        return Err(ClientError::Input(format!("the bytes of block {} don't hash to its CID", wrong.cid)));
    }
    empty_dir(dir)?;
    let mut manifest = Manifest { version: file.version, roots: texts(&file.roots), blocks: vec![] };
    for (i, block) in file.blocks.iter().enumerate() {
        let codec = codec_name(block.cid.codec());
        // Named by number: a CID can be longer than a file's name may be.
        let name = format!("{i:04}.{codec}");
        write(&dir.join(&name), block.data)?;
        let cid = block.cid.to_string();
        manifest.blocks.push(ManifestBlock { cid, codec, size: block.data.len(), file: name });
    }
    let json = serde_json::to_vec_pretty(&manifest).map_err(|error| ClientError::Input(error.to_string()))?;
    write(&dir.join("manifest.json"), &json)?;
    Ok(manifest)
}

/// Packs a directory that [`unpack`] wrote. Blocks may have been changed; their CIDs are computed again.
pub fn repack(dir: &Path) -> Result<(Vec<u8>, Vec<Cid>), ClientError> {
    let path = dir.join("manifest.json");
    let json = fs::read(&path).map_err(|error| ClientError::file(&path, error))?;
    let manifest: Manifest = serde_json::from_slice(&json).map_err(|error| ClientError::file(&path, error))?;
    let mut transaction = Transaction::<NativeHasher>::default();
    let mut cids = Vec::new();
    for block in &manifest.blocks {
        let codec = match block.codec.as_str() {
            "raw" => bucket_core::cid::RAW,
            "dag-cbor" => bucket_core::cid::DAG_CBOR,
            other => {
                let why = format!("expected blocks of raw or dag-cbor, got {other} for {}", block.file);
                return Err(ClientError::file(&path, why));
            }
        };
        let data = inside(dir, &block.file)?;
        cids.push(transaction.write_block(codec, &data));
    }
    let car = transaction.commit().map_err(|error| ClientError::file(&path, error))?;
    Ok((car, cids))
}

/// Reads a file of the directory; a manifest from elsewhere must not reach out of it.
fn inside(dir: &Path, name: &str) -> Result<Vec<u8>, ClientError> {
    let plain = Path::new(name).file_name().is_some_and(|file| file == name);
    if !plain {
        return Err(ClientError::Input(format!("expected the name of a file in {}, got “{name}”", dir.display())));
    }
    let path = dir.join(name);
    fs::read(&path).map_err(|error| ClientError::file(&path, error))
}

fn empty_dir(dir: &Path) -> Result<(), ClientError> {
    fs::create_dir_all(dir).map_err(|error| ClientError::file(dir, error))?;
    let mut entries = fs::read_dir(dir).map_err(|error| ClientError::file(dir, error))?;
    if entries.next().is_some() {
        return Err(ClientError::file(dir, "expected a new or empty directory"));
    }
    Ok(())
}

fn write(path: &Path, data: &[u8]) -> Result<(), ClientError> {
    fs::write(path, data).map_err(|error| ClientError::file(path, error))
}

fn texts(cids: &[Cid]) -> Vec<String> {
    cids.iter().map(Cid::to_string).collect()
}
