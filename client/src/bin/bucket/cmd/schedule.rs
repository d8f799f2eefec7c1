//! `bucket schedule`

use bucket_client::{ActorClient, ClientError};
use bucket_core::abi::{Hook, ReceiptReturn, ScheduleReturn, Status};
use bucket_core::limits::CAR_BYTES_MAX;
use serde_json::{Value, json};

use super::invoke::merge;
use super::task::{Packed, Task};
use super::{receipt, sent_json, sent_text};
use crate::context::Context;
use crate::output::{Answer, table};

/// Put a task into the bucket's queue
///
/// It runs, after those before it, when somebody sends `bucket run`. A CAR of more than 60 KiB goes in pieces, up to 1 MiB;
/// what was interrupted goes on where it ended.
///
/// Example: bucket schedule did:key:zQ3s… /kv/put '{"key": "a", "value": 1}' --as alice --proof alice.ucan --wait
#[derive(Debug, clap::Args)]
pub struct Schedule {
    #[command(flatten)]
    task: Task,

    /// Call this actor's method with the receipt: ADDRESS:METHOD, the method as a number or a name (FRC-0042)
    #[arg(long, value_name = "HOOK", value_parser = bucket_client::hook::parse)]
    hook: Option<Hook>,

    /// Then follow it until it ran, and show what came out
    #[arg(long)]
    wait: bool,
}

impl Schedule {
    pub async fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        let Self { task, hook, wait } = self;
        let packed = Packed { hook, ..task.pack(cx)? };
        let client = cx.signing_client().await?;
        let (bucket, id) = (packed.bucket.clone(), packed.id);
        let (told, message, sent) = match known(&client, &packed).await? {
            Some(told) => (told, Value::Null, "none: nothing had to be sent".to_owned()),
            None => {
                let sent = client.schedule(packed.params()).await?;
                let (json, text) = (sent_json(&sent), sent_text(&sent));
                (sent.value, json, text)
            }
        };
        let mut json = json!({
            "bucket": bucket, "car": told.car, "status": receipt::status(told.status), "position": told.position,
            "receipt": told.receipt, "message": message,
        });
        let text = table(&[("car", id.to_string()), ("status", status(&told)), ("message", sent)]);
        if !wait {
            return Ok(Answer::text(json, text));
        }
        let shown = receipt::show(&client.follow_receipt(&bucket, &id).await?)?;
        merge(&mut json, &shown.json);
        json["status"] = json!(receipt::status(Status::Done));
        Ok(Answer::text(json, format!("{text}\n{}", shown.text)))
    }
}

/// A large CAR that is known already isn't sent in pieces again.
async fn known(client: &ActorClient, packed: &Packed) -> Result<Option<ScheduleReturn>, ClientError> {
    if packed.force || packed.car.len() <= CAR_BYTES_MAX {
        return Ok(None);
    }
    let ReceiptReturn { status, receipt, position, .. } = client.receipt(&packed.bucket, &packed.id).await?;
    let told = ScheduleReturn { car: packed.id, status, position, receipt };
    Ok(Some(told).filter(|told| told.status != Status::NotFound))
}

fn status(told: &ScheduleReturn) -> String {
    match (told.status, told.position) {
        (Status::Done, _) => "done already; --force runs it again".to_owned(),
        (_, Some(position)) => format!("pending, with {position} before it"),
        (_, None) => "pending".to_owned(),
    }
}
