//! `bucket car`

use std::path::{Path, PathBuf};

use bucket_client::ClientError;
use bucket_client::car::{Inspection, Part, Verdict, inspect, pack, repack, unpack, verify};
use bucket_core::cid::{CarId, NativeHasher};
use clap::Subcommand;
use serde_json::json;

use super::{file, read, write};
use crate::output::{Answer, to_json};

/// CAR files: pack, unpack, inspect, verify
///
/// `verify`, `inspect` and `unpack` take any CARv1 or CARv2, whoever wrote it. None of them needs a node.
#[derive(Debug, Subcommand)]
pub enum Car {
    /// Pack files into a CAR: raw blocks, then values, then the root
    ///
    /// A value may link to an earlier block by its path as given here: {"photo": {"/": "photo.png"}}
    ///
    /// Example: bucket car pack --block photo.png --root task.json -o task.car
    Pack {
        /// The root block, DAG-JSON
        #[arg(long, value_name = "FILE", required_unless_present = "dir")]
        root: Option<PathBuf>,
        /// A raw block; may be given several times
        #[arg(long, value_name = "FILE")]
        block: Vec<PathBuf>,
        /// A DAG-CBOR block, as DAG-JSON; may be given several times
        #[arg(long, value_name = "FILE")]
        value: Vec<PathBuf>,
        /// Pack what `unpack` wrote, in the same order
        #[arg(long, conflicts_with_all = ["root", "block", "value"])]
        dir: Option<PathBuf>,
        /// Where to write the CAR
        #[arg(long, short)]
        out: PathBuf,
    },
    /// Write each block of a CAR into a file of its own, with a manifest
    ///
    /// Example: bucket car unpack receipt.car -o receipt/
    Unpack {
        /// The CAR
        car: PathBuf,
        /// A new or empty directory
        #[arg(long, short)]
        out: PathBuf,
    },
    /// List a CAR's roots and blocks
    ///
    /// Example: bucket car inspect receipt.car --values
    Inspect {
        /// The CAR
        car: PathBuf,
        /// Show what DAG-CBOR blocks say
        #[arg(long)]
        values: bool,
    },
    /// Hash every block of a CAR again, and tell whether the machine would run it
    ///
    /// Exit code 1 when the file is damaged, or holds a block whose hash can't be computed.
    Verify {
        /// The CAR
        car: PathBuf,
    },
}

impl Car {
    pub fn run(self) -> Result<Answer, ClientError> {
        match self {
            Self::Pack { root, block, value, dir, out } => {
                let (car, cids) = match dir {
                    Some(dir) => repack(&dir)?,
                    None => pack(parts(&block, &value, root.as_deref())?)?,
                };
                write(&out, &car)?;
                let id = CarId::of::<NativeHasher>(&car);
                let cids: Vec<_> = cids.iter().map(ToString::to_string).collect();
                let text = format!("{id} ({} bytes)\n{}", car.len(), cids.join("\n"));
                Ok(Answer::text(json!({"car": id, "size": car.len(), "blocks": cids, "root": cids.last()}), text))
            }
            Self::Unpack { car, out } => {
                let manifest = unpack(&read(&car)?, &out)?;
                let text = format!("{} blocks in {}", manifest.blocks.len(), out.display());
                Ok(Answer::text(to_json(&manifest)?, text))
            }
            Self::Inspect { car, values } => {
                let inspection = inspect(&read(&car)?, values)?;
                let answer = Answer::text(to_json(&inspection)?, list(&inspection));
                Ok(answer.judged(inspection.error.is_none()))
            }
            Self::Verify { car } => {
                let verdict = verify(&read(&car)?);
                Ok(Answer::text(to_json(&verdict)?, judge(&verdict)).judged(verdict.valid))
            }
        }
    }
}

fn parts(blocks: &[PathBuf], values: &[PathBuf], root: Option<&Path>) -> Result<Vec<Part>, ClientError> {
    let name = |path: &Path| path.display().to_string();
    let mut parts = Vec::new();
    for path in blocks {
        parts.push(Part::Raw { name: name(path), data: read(path)? });
    }
    for path in values.iter().map(PathBuf::as_path).chain(root) {
        let json = String::from_utf8(read(path)?).map_err(|_| file(path, "expected DAG-JSON, got no UTF-8"))?;
        parts.push(Part::Value { name: name(path), json });
    }
    Ok(parts)
}

fn list(inspection: &Inspection) -> String {
    let mut lines = vec![format!("CARv{} {}", inspection.version, inspection.car)];
    lines.extend(inspection.roots.iter().map(|root| format!("root   {root}")));
    for block in &inspection.blocks {
        lines.push(format!("block  {}  {}  {} bytes at {}", block.cid, block.codec, block.size, block.offset));
        lines.extend(block.value.iter().map(|value| format!("       {value}")));
    }
    lines.extend(inspection.error.iter().map(|error| format!("error  {error}")));
    lines.join("\n")
}

fn judge(verdict: &Verdict) -> String {
    let word = if verdict.valid { "valid" } else { "not valid" };
    let mut lines = match verdict.version {
        Some(version) => {
            vec![format!("{word}: CARv{version}, roots: {}, blocks: {}", verdict.roots.len(), verdict.blocks)]
        }
        None => vec![word.to_owned()],
    };
    lines.extend(verdict.errors.iter().map(|error| format!("error: {error}")));
    let unverified = verdict.unverified.iter();
    lines.extend(unverified.map(|block| format!("error: can't compute {} for block {}", block.hash, block.cid)));
    lines.extend(verdict.notes.iter().map(|note| format!("note: {note}")));
    lines.push(match &verdict.machine.why {
        None => "it holds a task: `bucket invoke` and `bucket schedule` take it with --car".to_owned(),
        Some(why) => format!("it is nothing to invoke: {why}"),
    });
    lines.join("\n")
}
