//! `bucket create`

use bucket_client::{ClientError, Key, task};
use bucket_core::abi::CreateParams;
use bucket_core::bucket::Mode;
use bucket_core::car::Transaction;
use bucket_core::create;
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::map::Bytes;
use bucket_core::task::Task;
use bucket_rpc::json::{format_address, parse_address};
use fvm_shared::address::Address;
use serde_json::json;

use super::{sent_json, sent_text};
use crate::context::Context;
use crate::output::Answer;

/// Create a bucket
///
/// A bucket is named by a DID. Without --did a new did:key is made, and its key is kept in the wallet's directory.
///
/// Example: bucket create --mode mutex --controller t1abc… --controller t1def…
#[derive(Debug, clap::Args)]
pub struct Create {
    /// The bucket's DID. Default: a new did:key
    #[arg(long)]
    did: Option<BucketId>,

    /// How it runs what is pending: each task on its own (atomic), or all in one call (mutex)
    #[arg(long, default_value_t = Mode::Atomic)]
    mode: Mode,

    /// Who may schedule and invoke; may be given several times. Default: the sender alone
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    controller: Vec<Address>,
}

impl Create {
    pub async fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        let Self { did, mode, controller } = self;
        let client = cx.signing_client().await?;
        let bucket = match did {
            Some(did) => did,
            // Kept before the bucket exists: a bucket whose key is lost is worse than a key without a bucket.
            None => cx.wallet()?.store_did(&Key::generate()?)?,
        };
        cx.note(format!("bucket {bucket}"));
        // A proof has to name them: with one, no controllers means none.
        let controller = if controller.is_empty() { vec![cx.from()?] } else { controller };
        let proof = proof(cx, &bucket, &controller, mode)?;
        let sent = client.create(CreateParams { bucket: bucket.clone(), controllers: controller, mode, proof }).await?;
        let controllers: Vec<_> =
            sent.value.controllers.iter().map(|id| format_address(&Address::new_id(*id))).collect();
        let json = json!({
            "bucket": bucket, "mode": mode.to_string(), "controllers": controllers,
            "root": sent.value.root.to_string(), "message": sent_json(&sent),
        });
        let lines = [
            ("bucket", bucket.to_string()),
            ("mode", mode.to_string()),
            ("controllers", controllers.join(", ")),
            ("root", sent.value.root.to_string()),
            ("message", sent_text(&sent)),
        ];
        Ok(Answer::table(json, &lines))
    }
}

/// The invocation by which a key asks for its bucket; `None` where the DID is no key.
fn proof(cx: &Context, bucket: &BucketId, controllers: &[Address], mode: Mode) -> Result<Option<Bytes>, ClientError> {
    if !create::needs_proof(bucket) {
        return Ok(None);
    }
    let unknown = || ClientError::Input(format!("{bucket} is a key that the wallet doesn't have: only it can create its bucket"));
    let key = cx.wallet()?.did_key(bucket)?.ok_or_else(unknown)?;
    let Ipld::Map(args) = create::args(controllers, mode) else { unreachable!("arguments are a map") };
    let task = Task { sub: bucket.clone(), cmd: create::CREATE.into(), args, nonce: task::nonce()? };
    Ok(Some(Bytes(key.identity().invoke(task, &[], None, Transaction::default()))))
}
