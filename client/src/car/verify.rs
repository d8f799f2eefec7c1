//! Is this a CAR, do its blocks hash to their CIDs, and would the machine take it?

use std::collections::BTreeSet;

use bucket_core::car::Car;
use bucket_core::cid::{DAG_CBOR, NativeHasher};
use bucket_core::dag_cbor;
use bucket_core::error::Abort;
use bucket_core::limits::STAGED_BYTES_MAX;
use cid::Cid;
use serde::Serialize;

use crate::task;

use super::{Block, Hashed, check_hash, hash_name, read, text, texts};

/// What was found out about a file.
#[derive(Debug, Serialize)]
pub struct Verdict {
    /// Whether it is a CAR, and every block was hashed again and found right.
    pub valid: bool,
    /// 1 or 2; none when the header can't be read.
    pub version: Option<u64>,
    /// The header's roots.
    #[serde(serialize_with = "texts")]
    pub roots: Vec<Cid>,
    /// How many blocks there are.
    pub blocks: usize,
    /// What is wrong, in the order of the file.
    pub errors: Vec<String>,
    /// Blocks that could not be hashed again.
    pub unverified: Vec<Unverified>,
    /// What is allowed, and may be a surprise.
    pub notes: Vec<String>,
    /// Whether the machine takes it.
    pub machine: Machine,
}

/// A block whose hash can't be computed here.
#[derive(Debug, Serialize)]
pub struct Unverified {
    /// Its CID.
    #[serde(serialize_with = "text")]
    pub cid: Cid,
    /// The hash.
    pub hash: String,
}

/// Whether the CAR could run: carried by a message, or staged.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// Whether it is in the machine's strict form, with a task as its root.
    pub accepted: bool,
    /// Why not, in the machine's words.
    pub why: Option<String>,
    /// The exit code that a message with it would end with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u32>,
}

/// Verifies any file.
pub fn verify(bytes: &[u8]) -> Verdict {
    let mut verdict = Verdict {
        valid: false,
        version: None,
        roots: vec![],
        blocks: 0,
        errors: vec![],
        unverified: vec![],
        notes: vec![],
        machine: machine(bytes),
    };
    match read(bytes) {
        Ok(file) => {
            verdict.version = Some(file.version);
            verdict.blocks = file.blocks.len();
            file.blocks.iter().for_each(|block| verdict.check(block));
            verdict.errors.extend(file.error.map(|error| error.to_string()));
            let present: BTreeSet<_> = file.blocks.iter().map(|block| block.cid).collect();
            verdict.note_roots(&file.roots, &present);
            verdict.roots = file.roots;
        }
        Err(error) => verdict.errors.push(error.to_string()),
    }
    verdict.valid = verdict.errors.is_empty() && verdict.unverified.is_empty();
    verdict
}

impl Verdict {
    fn check(&mut self, block: &Block<'_>) {
        let Block { cid, data, section, .. } = block;
        let at = section.start;
        let hash = hash_name(cid.hash().code());
        match check_hash(cid, data) {
            Hashed::Same => {}
            Hashed::Different => {
                self.errors.push(format!("byte {at}: the block's bytes don't hash to its CID {cid} ({hash})"));
            }
            Hashed::Short => {
                let length = cid.hash().digest().len();
                self.errors.push(format!("byte {at}: the digest of {cid} has {length} bytes, too few to protect it"));
            }
            Hashed::Unknown => self.unverified.push(Unverified { cid: *cid, hash }),
        }
        if cid.codec() == DAG_CBOR
            && let Err(error) = dag_cbor::validate(data)
        {
            self.notes.push(format!("byte {at}: block {cid} is not canonical DAG-CBOR: {error}"));
        }
    }

    fn note_roots(&mut self, roots: &[Cid], present: &BTreeSet<Cid>) {
        if roots.is_empty() {
            self.notes.push("the header has no roots".into());
        }
        for root in roots.iter().filter(|root| !present.contains(root)) {
            self.notes.push(format!("the root {root} is not among the blocks"));
        }
    }
}

fn machine(bytes: &[u8]) -> Machine {
    let accept = || -> Result<(), Abort> {
        if bytes.len() > STAGED_BYTES_MAX {
            return Err(Abort::TooLarge(bytes.len()));
        }
        let car = Car::decode::<NativeHasher>(bytes.to_vec())?;
        task::asked(&car).map(drop)
    };
    match accept() {
        Ok(()) => Machine { accepted: true, why: None, exit_code: None },
        Err(abort) => Machine { accepted: false, why: Some(abort.to_string()), exit_code: Some(abort.code()) },
    }
}
