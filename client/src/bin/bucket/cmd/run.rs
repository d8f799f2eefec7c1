//! `bucket run`

use bucket_client::ClientError;
use bucket_core::did::BucketId;
use bucket_core::limits::RUN_MAX;
use serde_json::json;

use super::{sent_codes, sent_json, sent_text};
use crate::context::Context;
use crate::output::Answer;

/// Run what is pending in a bucket's queue
///
/// Anybody may: the tasks are their senders', only the gas is yours.
///
/// Example: bucket run did:key:zQ3s… --max 10
#[derive(Debug, clap::Args)]
pub struct Run {
    /// The bucket's DID
    bucket: BucketId,

    /// Run at most so many tasks
    #[arg(long, default_value_t = RUN_MAX)]
    max: u64,
}

impl Run {
    pub async fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        let Self { bucket, max } = self;
        let sent = cx.signing_client().await?.run(&bucket, max).await?;
        let value = &sent.value;
        let json = json!({
            "bucket": bucket, "ran": value.ran, "failed": value.failed, "pending": value.pending,
            "root": value.root.to_string(), "taken": value.taken, "stopped": value.stopped, "sent": value.sent,
            "message": sent_json(&sent),
        });
        let pending = match value.stopped {
            true => format!("{}; stopped for lack of gas: run again", value.pending),
            false => value.pending.to_string(),
        };
        let mut lines = vec![
            ("ran", format!("{}, of which {} failed", value.ran, value.failed)),
            ("pending", pending),
            ("root", value.root.to_string()),
            ("message", sent_text(&sent)),
        ];
        lines.extend(sent_codes(&value.sent).map(|codes| ("sent", codes)));
        Ok(Answer::table(json, &lines))
    }
}
