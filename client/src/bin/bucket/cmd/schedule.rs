//! `bucket schedule`

use bucket_client::ClientError;
use bucket_core::abi::{CarParams, Status};
use serde_json::json;

use super::pack::{Packed, Task};
use super::{receipt, sent_json, sent_text};
use crate::context::Context;
use crate::output::Answer;

/// Put a task into the bucket's queue
///
/// It runs, after those before it, when somebody sends `bucket run`.
///
/// Example: bucket schedule did:key:zQ3s… /kv/put '{"key": "a", "value": 1}'
#[derive(Debug, clap::Args)]
pub struct Schedule {
    #[command(flatten)]
    task: Task,
}

impl Schedule {
    pub async fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        let Self { task } = self;
        let Packed { bucket, id, car, force } = task.pack(cx)?;
        let client = cx.signing_client().await?;
        let sent = client.schedule(CarParams { force, ..CarParams::new(bucket.clone(), car) }).await?;
        let value = &sent.value;
        let json = json!({
            "bucket": bucket, "car": value.car, "status": receipt::status(value.status), "position": value.position,
            "receipt": value.receipt, "message": sent_json(&sent),
        });
        let status = match (value.status, value.position) {
            (Status::Done, _) => "done already; --force runs it again".to_owned(),
            (_, Some(position)) => format!("pending, with {position} before it"),
            (_, None) => "pending".to_owned(),
        };
        Ok(Answer::table(json, &[("car", id.to_string()), ("status", status), ("message", sent_text(&sent))]))
    }
}
