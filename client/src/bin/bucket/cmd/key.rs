//! `bucket key`

use bucket_client::keyring::read_identity;
use bucket_client::{ClientError, Identity, IdentityKind, Named, Wallet};
use bucket_core::ucan::PublicKey;
use clap::Subcommand;
use serde_json::{Value, json};

use super::secret;
use crate::context::Context;
use crate::output::{Answer, table};

/// Keys of DIDs, which sign UCANs: make, list, show, import, export
///
/// They lie in ~/.bucket (or --wallet), one file each that only you can read. Wherever a key is asked for, its name or its
/// DID will do. Keys that send messages and pay are those of `bucket wallet`.
#[derive(Debug, Subcommand)]
pub enum Key {
    /// Make a key
    ///
    /// Example: bucket key new --name alice
    New {
        /// ed25519, secp256k1 (the cheapest to verify on chain) or p256
        #[arg(long = "type", value_name = "TYPE", default_value_t)]
        kind: IdentityKind,
        /// What to call it
        #[arg(long)]
        name: Option<String>,
    },
    /// List DIDs, with their kinds and names
    List,
    /// Show one key's DID, kind and names; nothing secret
    Show {
        /// Name or DID
        key: String,
    },
    /// Take a key: a multikey (z…), or what Lotus exports
    Import {
        /// A file, the key itself, or nothing (or "-") to read stdin
        #[arg(value_name = "FILE|KEY")]
        key: Option<String>,
        /// What to call it
        #[arg(long)]
        name: Option<String>,
    },
    /// Print a key as a multikey. Whoever sees it can sign
    Export {
        /// Name or DID
        key: String,
    },
}

impl Key {
    pub fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        let keys = cx.wallet()?;
        match self {
            Self::New { kind, name } => added(&keys, &Identity::generate(kind)?, name.as_deref()),
            Self::Import { key, name } => added(&keys, &read_identity(&secret(key)?)?, name.as_deref()),
            Self::List => list(&keys),
            Self::Show { key } => show(&keys, &key),
            Self::Export { key } => {
                let identity = keys.identity(&key)?;
                let text = identity.to_multikey().to_string();
                Ok(Answer::text(json!({"did": identity.did(), "key": text}), text))
            }
        }
    }
}

fn added(keys: &Wallet, key: &Identity, name: Option<&str>) -> Result<Answer, ClientError> {
    let did = keys.store_identity(key, name)?;
    Ok(Answer::text(json!({"did": did, "type": key.kind().to_string(), "name": name}), did.to_string()))
}

fn kind(named: &Named) -> &'static str {
    match PublicKey::from_did(named.did.as_str()) {
        Ok(PublicKey::Ed25519(_)) => "ed25519",
        Ok(PublicKey::Secp256k1(_)) => "secp256k1",
        Ok(PublicKey::P256(_)) => "p256",
        Err(_) => "unknown",
    }
}

fn to_json(named: &Named) -> Value {
    json!({"did": named.did, "type": kind(named), "names": named.names})
}

fn list(keys: &Wallet) -> Result<Answer, ClientError> {
    let all = keys.identities()?;
    let line =
        |named: &Named| format!("{}  {:9}  {}", named.did, kind(named), named.names.join(", ")).trim_end().to_owned();
    let mut lines: Vec<_> = all.iter().map(line).collect();
    if lines.is_empty() {
        lines.push(format!("no keys of DIDs in {}: `bucket key new` makes one", keys.dir().display()));
    }
    Ok(Answer::text(json!({"keys": all.iter().map(to_json).collect::<Vec<_>>()}), lines.join("\n")))
}

fn show(keys: &Wallet, key: &str) -> Result<Answer, ClientError> {
    let did = keys.identity(key)?.did();
    let all = keys.identities()?;
    let named = all.into_iter().find(|named| named.did == did).unwrap_or(Named { did, names: vec![] });
    let lines = [("did", named.did.to_string()), ("type", kind(&named).into()), ("names", named.names.join(", "))];
    Ok(Answer::text(to_json(&named), table(&lines).trim_end()))
}
