//! One file is one subcommand: its arguments, whose comments are its help, and what it does.

pub mod bucket;
pub mod car;
pub mod close;
pub mod create;
pub mod delegate;
pub mod deploy;
pub mod invoke;
pub mod key;
pub mod open;
pub mod pack;
pub mod proof;
pub mod queue;
pub mod receipt;
pub mod revoke;
pub mod run;
pub mod schedule;
pub mod space;
pub mod stage;
pub mod status;
pub mod store;
pub mod ucan;
pub mod unstage;
pub mod verify_proof;
pub mod wallet;
pub mod worker;

mod sign;
mod task;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use bucket_client::error::explain_exit;
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

/// The time, in seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A key of somebody's: from stdin, from a file, or as it stands.
fn secret(key: Option<String>) -> Result<String, ClientError> {
    /// No key is shorter, so what is was meant as a file.
    const KEY_CHARS_MIN: usize = 40;
    match key {
        Some(key) if key != "-" => match std::fs::read_to_string(&key) {
            Ok(text) => Ok(text),
            Err(_) if key.len() > KEY_CHARS_MIN && !key.contains('/') => Ok(key),
            Err(error) => Err(file(key, error)),
        },
        _ => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(|error| file("stdin", error))?;
            Ok(text)
        }
    }
}

/// What came of continuations for other instances of the actor; nothing where there were none.
fn sent_codes(codes: &[u32]) -> Option<String> {
    let failed: Vec<_> = codes.iter().filter(|code| **code != 0).collect();
    let explain = |code: &&u32| format!("exit code {code}: {}", explain_exit(**code));
    let why = failed.first().map(explain).map(|why| format!(", of which {} failed ({why})", failed.len()));
    (!codes.is_empty()).then(|| format!("{} to other instances{}", codes.len(), why.unwrap_or_default()))
}
