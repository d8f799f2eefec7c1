//! Who signs a task: what all commands that send one take.

use std::path::PathBuf;

use bucket_client::ucan::Held;
use bucket_client::{ClientError, Identity, task};
use bucket_core::did::BucketId;

use super::{now, read};
use crate::context::Context;

/// A signature as a UCAN 1.0 invocation, and what gives its right.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Signed")]
pub struct Sign {
    /// Sign the task with this key (a name or a DID); --from still pays. Without it the sender must be a controller
    #[arg(long = "as", value_name = "KEY")]
    pub key: Option<String>,

    /// Delegations from the bucket to the key, in any order: a CAR, a container or a UCAN; may be given several times
    #[arg(long, value_name = "FILE")]
    pub proof: Vec<PathBuf>,

    /// The last second at which the signature counts, in unix time. Default: none
    #[arg(long, value_name = "SECONDS")]
    pub exp: Option<u64>,

    /// Who is to run it, such as the service of a space. Default: the bucket itself, which refuses what is for others
    #[arg(long, value_name = "DID")]
    pub audience: Option<BucketId>,
}

impl Sign {
    /// The key that signs, if any.
    pub fn identity(&self, cx: &Context) -> Result<Option<Identity>, ClientError> {
        let wallet = cx.wallet()?;
        self.key.as_deref().map(|key| wallet.identity(key)).transpose()
    }

    /// The delegations of all files.
    pub fn held(&self) -> Result<Vec<Held>, ClientError> {
        held(&self.proof)
    }

    /// Packs a task, signed if there is somebody to sign.
    pub fn pack(&self, cx: &Context, draft: task::Draft) -> Result<Vec<u8>, ClientError> {
        match self.identity(cx)? {
            Some(key) => draft.sign_at(self.audience.clone(), &key, &self.held()?, self.exp, now()),
            None if !self.proof.is_empty() || self.exp.is_some() || self.audience.is_some() => Err(ClientError::Input(
                "expected --as with --proof, --exp and --audience: they are for what is signed".into(),
            )),
            None => draft.pack(),
        }
    }
}

/// The delegations of files.
pub fn held(files: &[PathBuf]) -> Result<Vec<Held>, ClientError> {
    let mut all: Vec<Held> = Vec::new();
    for path in files {
        let named = |error: ClientError| match error {
            ClientError::Input(why) => super::file(path, why),
            error => error,
        };
        for held in Held::all(&read(path)?).map_err(named)? {
            if all.iter().all(|known| known.token.cid != held.token.cid) {
                all.push(held);
            }
        }
    }
    Ok(all)
}
