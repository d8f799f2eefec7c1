//! `bucket create`

use std::path::{Path, PathBuf};

use bucket_client::ucan::sign;
use bucket_client::{ActorClient, ClientError, Identity, IdentityKind};
use bucket_core::abi::CreateParams;
use bucket_core::bucket::Mode;
use bucket_core::create;
use bucket_core::did::BucketId;
use bucket_core::map::Bytes;
use bucket_rpc::json::{format_address, parse_address};
use fvm_shared::address::Address;
use serde_json::json;

use super::{read, sent_json, sent_text, write};
use crate::context::Context;
use crate::output::Answer;

/// Create a bucket
///
/// A bucket is named by a DID. Where that is a key, the key has to sign: one in the wallet does, or somebody else's signature
/// comes with --proof. Without --did a new key is made and kept in the wallet's directory.
///
/// Example: bucket create --mode mutex --controller t1abc… --controller t1def…
#[derive(Debug, clap::Args)]
pub struct Create {
    /// The bucket's DID, or the name of its key. Default: a new did:key
    #[arg(long, value_name = "DID|NAME")]
    did: Option<String>,

    /// The kind of a new key: ed25519, secp256k1 (the cheapest to verify on chain) or p256
    #[arg(long = "type", value_name = "TYPE", default_value = "secp256k1", conflicts_with_all = ["did", "proof"])]
    kind: IdentityKind,

    /// How it runs what is pending: each task on its own (atomic), or all in one call (mutex)
    #[arg(long, default_value_t = Mode::Atomic, conflicts_with = "proof")]
    mode: Mode,

    /// Who may schedule and invoke without a signature; may be given several times. Default: the sender alone
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address, conflicts_with = "proof")]
    controller: Vec<Address>,

    /// Nobody may without a signature
    #[arg(long, conflicts_with_all = ["controller", "proof"])]
    no_controllers: bool,

    /// The signature of the bucket's key, made elsewhere: it says DID, mode and controllers
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,

    /// Write such a signature to a file, and send nothing
    #[arg(long, value_name = "FILE", conflicts_with = "proof")]
    save_proof: Option<PathBuf>,
}

impl Create {
    pub async fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        let save = self.save_proof.clone();
        // What would fail anyway makes no key.
        let client = if save.is_some() { None } else { Some(cx.signing_client().await?) };
        let params = match self.proof.clone() {
            Some(path) => self.proven(cx, read(&path)?)?,
            None => self.sign(cx)?,
        };
        cx.note(format!("bucket {}", params.bucket));
        match (client, save) {
            (Some(client), _) => send(&client, params).await,
            (None, path) => write_proof(params, &path.unwrap_or_default()),
        }
    }

    /// What somebody else signed.
    fn proven(self, cx: &Context, proof: Vec<u8>) -> Result<CreateParams, ClientError> {
        let sign::Creation { bucket, controllers, mode } = sign::read_creation(&proof)?;
        match self.did.map(|did| cx.wallet()?.resolve(&did)).transpose()? {
            Some(did) if did != bucket => {
                Err(ClientError::Input(format!("expected a proof of {did}, got one of {bucket}")))
            }
            _ => Ok(CreateParams { bucket, controllers, mode, proof: Some(Bytes(proof)) }),
        }
    }

    /// What a key of the wallet signs, or nobody.
    fn sign(self, cx: &Context) -> Result<CreateParams, ClientError> {
        let Self { did, kind, mode, controller, no_controllers, .. } = self;
        // A proof has to name them: with one, no controllers means none.
        let controllers = match (controller.is_empty(), no_controllers) {
            (true, false) => vec![cx.from()?],
            _ => controller,
        };
        let wallet = cx.wallet()?;
        let bucket = match did {
            Some(did) => wallet.resolve(&did)?,
            // Kept before the bucket exists: a bucket whose key is lost is worse than a key without a bucket.
            None => wallet.store_identity(&Identity::generate(kind)?, None)?,
        };
        let proof = match wallet.identity_of(&bucket)? {
            Some(key) => Some(Bytes(sign::creation(&key, &controllers, mode)?)),
            None if create::needs_proof(&bucket) => {
                let why = "is a key that the wallet doesn't have: import it with `bucket key import`, or take --proof";
                return Err(ClientError::Input(format!("{bucket} {why}")));
            }
            None if controllers.is_empty() => return Err(unsigned(&bucket)),
            None => None,
        };
        Ok(CreateParams { bucket, controllers, mode, proof })
    }
}

fn unsigned(bucket: &BucketId) -> ClientError {
    ClientError::Input(format!("expected the DID of a key that signs, got {bucket}, which is none"))
}

fn write_proof(params: CreateParams, path: &Path) -> Result<Answer, ClientError> {
    let CreateParams { bucket, mode, proof, .. } = params;
    write(path, &proof.ok_or_else(|| unsigned(&bucket))?.0)?;
    let json = json!({"bucket": bucket, "mode": mode.to_string(), "proof": path});
    Ok(Answer::text(json, format!("{bucket} signed {}", path.display())))
}

async fn send(client: &ActorClient, params: CreateParams) -> Result<Answer, ClientError> {
    let CreateParams { bucket, mode, .. } = params.clone();
    let sent = client.create(params).await?;
    let controllers: Vec<_> = sent.value.controllers.iter().map(|id| format_address(&Address::new_id(*id))).collect();
    let json = json!({
        "bucket": bucket, "mode": mode.to_string(), "controllers": controllers,
        "root": sent.value.root.to_string(), "message": sent_json(&sent),
    });
    let shown = if controllers.is_empty() { "none: only what is signed counts".into() } else { controllers.join(", ") };
    let lines = [
        ("bucket", bucket.to_string()),
        ("mode", mode.to_string()),
        ("controllers", shown),
        ("root", sent.value.root.to_string()),
        ("message", sent_text(&sent)),
    ];
    Ok(Answer::table(json, &lines))
}
