//! `bucket space import`

use std::fs::File;
use std::io::{BufReader, stdin};
use std::path::PathBuf;

use bucket_client::ClientError;
use bucket_client::space::import::import;
use serde_json::json;

use super::{file, write};
use crate::output::{Answer, table};

/// Build a tree from lines of keys and values, and print its root, without a node
///
/// Each line is {"key": text, "value": DAG-JSON}. Whatever their order, the same entries give the same root.
///
/// Example: bucket space import entries.ndjson --out tree.car
#[derive(Debug, clap::Args)]
pub struct Import {
    /// The lines; - is stdin
    file: PathBuf,

    /// Write all nodes to a CAR, whose root is the tree's
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Import {
    pub fn run(self) -> Result<Answer, ClientError> {
        let Self { file: path, out } = self;
        let imported = match path.as_os_str() == "-" {
            true => import(stdin().lock())?,
            false => import(BufReader::new(File::open(&path).map_err(|error| file(&path, error))?))?,
        };
        let bytes: usize = imported.nodes.iter().map(|(_, node)| node.len()).sum();
        if let Some(out) = &out {
            write(out, &imported.to_car())?;
        }
        let nodes = imported.nodes.len();
        let json =
            json!({"root": imported.root.to_string(), "entries": imported.entries, "nodes": nodes, "bytes": bytes});
        let lines = [
            ("root", imported.root.to_string()),
            ("entries", imported.entries.to_string()),
            ("nodes", format!("{nodes}, {bytes} bytes")),
        ];
        Ok(Answer::text(json, table(&lines)))
    }
}
