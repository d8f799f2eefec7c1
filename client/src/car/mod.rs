//! Tools for CAR files, of any kind and from anywhere.
//!
//! The machine takes one strict form; these tools take every CARv1 and CARv2 that the specifications allow, and say what is
//! wrong with the others. [`Read`] is what they have in common: the blocks of a file and where they lie.

mod hash;
mod inspect;
mod pack;
mod unpack;
mod verify;

use std::ops::Range;

use bucket_core::car::CarError;
use bucket_core::car::archive;
use cid::Cid;
use serde::{Serialize, Serializer};

pub use hash::{Hashed, check_hash, hash_name};
pub use inspect::{Inspection, inspect};
pub use pack::{Part, pack};
pub use unpack::{Manifest, ManifestBlock, repack, unpack};
pub use verify::{Machine, Unverified, Verdict, verify};

/// A CAR's header and blocks, as far as they can be read.
#[derive(Debug)]
pub struct Read<'a> {
    /// 1 or 2.
    pub version: u64,
    /// Roots of the header; of the inner one in a CARv2.
    pub roots: Vec<Cid>,
    /// Blocks in the order of the file.
    pub blocks: Vec<Block<'a>>,
    /// Why reading ended before the file did.
    pub error: Option<CarError>,
}

/// One block.
#[derive(Debug)]
pub struct Block<'a> {
    /// Its CID, as it stands in the file.
    pub cid: Cid,
    /// Its data.
    pub data: &'a [u8],
    /// Where its section (length, CID, data) lies in the file.
    pub section: Range<usize>,
    /// Where its data begins in the file.
    pub offset: usize,
}

/// Reads a CAR without checking hashes. Fails when not even the header can be read.
pub fn read(bytes: &[u8]) -> Result<Read<'_>, CarError> {
    let (version, inner) = match archive::inside_v2(bytes) {
        Some(inner) => (2, inner?),
        None => (1, bytes),
    };
    // `inner` is a part of `bytes`.
    let base = inner.as_ptr().addr() - bytes.as_ptr().addr();
    let archive = archive::open(inner)?;
    let mut read = Read { version, roots: archive.roots.clone(), blocks: vec![], error: None };
    for section in archive.sections() {
        match section {
            Ok(section) => read.blocks.push(Block {
                cid: section.cid,
                data: &inner[section.data.clone()],
                section: base + section.at..base + section.data.end,
                offset: base + section.data.start,
            }),
            Err(error) => read.error = Some(error),
        }
    }
    Ok(read)
}

/// The name of a codec in the multicodec table, or its number.
pub fn codec_name(codec: u64) -> String {
    match codec {
        0x51 => "cbor".into(),
        0x55 => "raw".into(),
        0x70 => "dag-pb".into(),
        0x71 => "dag-cbor".into(),
        0x72 => "libp2p-key".into(),
        0x78 => "git-raw".into(),
        0x85 => "dag-jose".into(),
        0x0129 => "dag-json".into(),
        0x0200 => "json".into(),
        0x0202 => "car".into(),
        other => format!("0x{other:x}"),
    }
}

/// CIDs as text, since the answers are JSON and not DAG-JSON.
fn text<S: Serializer>(cid: &Cid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(cid)
}

fn texts<S: Serializer>(cids: &[Cid], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Text<'a>(#[serde(serialize_with = "text")] &'a Cid);
    serializer.collect_seq(cids.iter().map(Text))
}

#[cfg(test)]
mod tests;
