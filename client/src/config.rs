//! Settings that outlive a command: where the actor, the node and the indexer are.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::ClientError;
use crate::wallet::{read_text, write_private};

/// A node on this machine, where Lotus and the devnet listen.
pub const NODE: &str = "http://127.0.0.1:1234/rpc/v1";
/// An indexer on this machine.
pub const INDEXER: &str = "http://127.0.0.1:4180";

/// `$BUCKET_HOME/config.json`. Its owner alone can read it, since a node's address may hold a token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The bucket actor's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The node, in the form of `FULLNODE_API_INFO`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The indexer's URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub indexer: Option<String>,
}

impl Config {
    /// The settings kept in `home`; none when there is no file.
    pub fn load(home: &Path) -> Result<Self, ClientError> {
        let path = file(home);
        let Some(text) = read_text(&path)? else { return Ok(Self::default()) };
        serde_json::from_str(&text).map_err(|error| ClientError::file(path, error))
    }

    /// Keeps the settings in `home`.
    pub fn save(&self, home: &Path) -> Result<(), ClientError> {
        let text = serde_json::to_string_pretty(self).expect("three strings have a JSON form");
        write_private(&file(home), &text)
    }
}

fn file(home: &Path) -> PathBuf {
    home.join("config.json")
}

/// `$BUCKET_HOME`, else `~/.bucket`.
pub fn home() -> Result<PathBuf, ClientError> {
    let from = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    from("BUCKET_HOME").or_else(|| from("HOME").map(|home| home.join(".bucket"))).ok_or(ClientError::Unset {
        what: "where keys and settings are kept",
        hint: "Name a directory with --wallet or BUCKET_HOME.",
    })
}
