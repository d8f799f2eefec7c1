//! `bucket create`

use bucket_client::{ClientError, Key};
use bucket_core::bucket::Mode;
use bucket_core::did::BucketId;
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
        let sent = client.create(&bucket, mode, controller).await?;
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
