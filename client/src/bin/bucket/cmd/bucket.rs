//! `bucket bucket`

use bucket_client::ClientError;
use bucket_core::did::BucketId;
use bucket_rpc::json::format_address;
use fvm_shared::address::Address;
use serde_json::json;

use crate::context::Context;
use crate::output::Answer;

/// Show a bucket's record on the chain
///
/// Example: bucket bucket did:key:zQ3s…
#[derive(Debug, clap::Args)]
pub struct Bucket {
    /// The bucket's DID
    bucket: BucketId,
}

impl Bucket {
    pub async fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        let Self { bucket } = self;
        let record = cx.client().await?.bucket(&bucket).await?;
        let controllers: Vec<_> = record.controllers.iter().map(|id| format_address(&Address::new_id(*id))).collect();
        let json = json!({
            "bucket": bucket, "controllers": controllers, "mode": record.mode.to_string(),
            "root": record.root.to_string(), "pending": record.pending(), "ran": record.ran, "head": record.head,
            "tail": record.tail, "queue": record.queue.map(|queue| queue.to_string()),
            "receipts": record.receipts.to_string(),
        });
        let lines = [
            ("bucket", bucket.to_string()),
            ("controllers", controllers.join(", ")),
            ("mode", record.mode.to_string()),
            ("root", record.root.to_string()),
            ("pending", record.pending().to_string()),
            ("ran", record.ran.to_string()),
        ];
        Ok(Answer::table(json, &lines))
    }
}
