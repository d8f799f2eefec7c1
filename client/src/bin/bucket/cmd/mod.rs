//! One file is one subcommand: its arguments, whose comments are its help, and what it does.

pub mod bucket;
pub mod car;
pub mod create;
pub mod deploy;
pub mod invoke;
pub mod proof;
pub mod queue;
pub mod receipt;
pub mod run;
pub mod schedule;
pub mod status;
pub mod verify_proof;
pub mod wallet;

mod pack;

use std::path::{Path, PathBuf};

use bucket_client::{ClientError, Sent};
use serde_json::{Value, json};

/// A file from the command line.
fn read(path: &Path) -> Result<Vec<u8>, ClientError> {
    std::fs::read(path).map_err(|error| file(path, error))
}

/// Writes a file from the command line.
fn write(path: &Path, bytes: &[u8]) -> Result<(), ClientError> {
    std::fs::write(path, bytes).map_err(|error| file(path, error))
}

fn file(path: impl Into<PathBuf>, why: impl ToString) -> ClientError {
    ClientError::File { path: path.into(), why: why.to_string() }
}

/// What is told of every message that was sent.
fn sent_json<T>(sent: &Sent<T>) -> Value {
    json!({"cid": sent.message.to_string(), "height": sent.height, "gasUsed": sent.gas_used})
}

/// What is told of every message that was sent, in a line.
fn sent_text<T>(sent: &Sent<T>) -> String {
    format!("{} (gas {}, epoch {})", sent.message, sent.gas_used, sent.height)
}
