//! `bucket ucan`

use std::path::{Path, PathBuf};

use bucket_client::ucan::{File, Report, verify};
use bucket_client::{ClientError, dag_json};
use bucket_core::dag_cbor;
use bucket_core::did::BucketId;
use clap::Subcommand;
use serde_json::{Value, json};

use super::{file, now, read};
use crate::output::{Answer, table, to_json};

/// UCANs: verify, show
///
/// Both take a CAR, a container (ucan-wg/container) or a token alone, as bytes or as text, whoever wrote it; w3up's CARs as
/// well. None of them needs a node.
#[derive(Debug, Subcommand)]
pub enum Ucan {
    /// Tell whether an invocation or a delegation is signed by who may
    ///
    /// Prints JSON. Exit code 0: valid, 1: not valid, 2: nothing that can be read. Whether somebody took a delegation back
    /// is on the chain only.
    ///
    /// Example: bucket ucan verify task.car --at 1767225600
    Verify {
        /// The file
        file: PathBuf,
        /// The time for which to judge, in unix seconds. Default: now
        #[arg(long, value_name = "SECONDS")]
        at: Option<u64>,
        /// For whom an invocation has to be, unless it is for its subject
        #[arg(long, value_name = "DID")]
        audience: Option<BucketId>,
    },
    /// Show what the tokens of a file say
    ///
    /// Example: bucket ucan show bob.ucan
    Show {
        /// The file
        file: PathBuf,
    },
}

impl Ucan {
    pub fn run(self) -> Result<Answer, ClientError> {
        match self {
            Self::Verify { file, at, audience } => {
                let report = verify(&read(&file)?, at.unwrap_or_else(now), audience.as_ref());
                judge(&report)
            }
            Self::Show { file } => show(&file),
        }
    }
}

fn judge(report: &Report) -> Result<Answer, ClientError> {
    const UNREADABLE: u8 = 2;
    let json = to_json(report)?;
    let text = format!("{json:#}");
    let exit = match report.verdict {
        "valid" => 0,
        "unreadable" => UNREADABLE,
        _ => 1,
    };
    Ok(Answer { exit, ..Answer::text(json, text) })
}

fn show(path: &Path) -> Result<Answer, ClientError> {
    let found = File::read(&read(path)?).map_err(|why| file(path, why))?;
    let value = |bytes: &[u8]| dag_cbor::decode(bytes).ok().and_then(|value| dag_json::write(&value).ok());
    let tokens: Vec<(String, Value)> =
        found.tokens.iter().map(|token| (token.cid.to_string(), value(&token.bytes).unwrap_or_default())).collect();
    let lines: Vec<_> = tokens.iter().map(|(cid, value)| table(&[(cid, format!("\n{value:#}"))])).collect();
    let tokens: Vec<_> = tokens.into_iter().map(|(cid, value)| json!({"cid": cid, "token": value})).collect();
    let root = found.root.map(|root| root.to_string());
    let json = json!({"form": found.form.name(), "root": root, "tokens": tokens});
    Ok(Answer::text(json, lines.join("\n")))
}
