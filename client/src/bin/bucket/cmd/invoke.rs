//! `bucket invoke`

use bucket_client::{ActorClient, ClientError, Sent};
use bucket_core::abi::{Hook, InvokeReturn, Message, Returned};
use bucket_core::cid::CarId;
use bucket_core::did::BucketId;
use serde_json::{Value, json};

use super::task::{Packed, Task};
use super::{receipt, sent_codes, sent_json, sent_text};
use crate::context::Context;
use crate::output::{Answer, table};

/// Run a task at once
///
/// Packs the task into a CAR, signs it if --as names a key, prints the CAR's id (the receipt's key), tries the message on the node, and only then signs
/// and sends it. A CAR of more than 60 KiB goes in pieces, up to 1 MiB. A task that ran already isn't sent again: its receipt is told instead. Exit code 0 says that there is a
/// receipt; whether it holds an error is told ("ok": false).
///
/// Example: bucket invoke did:key:zQ3s… /kv/put '{"key": "photo"}' --file value=photo.png --wait
#[derive(Debug, clap::Args)]
pub struct Invoke {
    #[command(flatten)]
    task: Task,

    /// Call this actor's method with the receipt: ADDRESS:METHOD, the method as a number or a name (FRC-0042)
    #[arg(long, value_name = "HOOK", value_parser = bucket_client::hook::parse)]
    hook: Option<Hook>,

    /// Tell what would happen, and send nothing
    #[arg(long)]
    dry_run: bool,

    /// Then fetch the receipt from the indexer, verify it and show what came out
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
}

impl Invoke {
    pub async fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        let Self { task, hook, dry_run, wait } = self;
        let packed = Packed { hook, ..task.pack(cx)? };
        if dry_run { simulate(cx, packed).await } else { send(cx, packed, wait).await }
    }
}

/// Runs a CAR at once, and shows its receipt if `wait` says so.
pub async fn send(cx: &Context, packed: Packed, wait: bool) -> Result<Answer, ClientError> {
    let client = cx.signing_client().await?;
    let (bucket, id) = (packed.bucket.clone(), packed.id);
    let (mut json, mut lines) = match known(&client, &bucket, &id, packed.force).await? {
        // What ran before needs no message.
        Some(receipt) => already(&bucket, &id, receipt),
        None => ran(&bucket, &id, &client.invoke(packed.params()).await?),
    };
    if !wait {
        return Ok(Answer::table(json, &lines));
    }
    let shown = receipt::show(&client.wait_receipt(&bucket, &id).await?)?;
    merge(&mut json, &shown.json);
    // The receipt's own lines say it better.
    lines.retain(|(name, _)| *name != "receipt");
    Ok(Answer::text(json, format!("{}\n{}", table(&lines), shown.text)))
}

type Told = (Value, Vec<(&'static str, String)>);

/// The receipt that the CAR has already, unless it is to run again.
async fn known(client: &ActorClient, bucket: &BucketId, id: &CarId, force: bool) -> Result<Option<CarId>, ClientError> {
    if force { Ok(None) } else { Ok(client.receipt(bucket, id).await?.receipt) }
}

fn already(bucket: &BucketId, id: &CarId, receipt: CarId) -> Told {
    let json = json!({"bucket": bucket, "car": id, "receipt": receipt, "ran": false, "ok": null, "message": null});
    (json, vec![("receipt", receipt.to_string()), ("result", result(false, None).into())])
}

fn ran(bucket: &BucketId, id: &CarId, sent: &Sent<InvokeReturn>) -> Told {
    let value = &sent.value;
    let json = json!({
        "bucket": bucket, "car": id, "receipt": value.receipt, "ran": value.ran, "ok": value.ok,
        "root": value.root.to_string(), "sent": value.sent, "message": sent_json(sent),
    });
    let mut lines = vec![
        ("receipt", value.receipt.to_string()),
        ("result", result(value.ran, value.ok).into()),
        ("root", value.root.to_string()),
        ("message", sent_text(sent)),
    ];
    lines.extend(sent_codes(&value.sent).map(|codes| ("sent", codes)));
    (json, lines)
}

async fn simulate(cx: &Context, packed: Packed) -> Result<Answer, ClientError> {
    // Who sends matters: a key isn't needed, and without one the answer is that for a stranger.
    let client = match cx.from() {
        Ok(_) => cx.signing_client().await?,
        Err(_) => cx.client().await?,
    };
    let (bucket, id) = (packed.bucket.clone(), packed.id);
    let message = Message::Invoke(packed.params());
    let Returned::Invoke(value) = client.simulate(&message).await? else {
        return Err(ClientError::Input("expected what Invoke returns".into()));
    };
    let json = json!({
        "bucket": bucket, "car": id, "receipt": value.receipt, "ran": value.ran, "ok": value.ok,
        "root": value.root.to_string(), "dryRun": true,
    });
    let lines = [
        ("receipt", value.receipt.to_string()),
        ("result", format!("would be: {}", result(value.ran, value.ok))),
        ("root", value.root.to_string()),
    ];
    Ok(Answer::table(json, &lines))
}

fn result(ran: bool, ok: Option<bool>) -> &'static str {
    match (ran, ok) {
        (false, _) => "it ran before; --force runs it again",
        (true, Some(false)) => "it ran, and the receipt holds an error",
        (true, _) => "it ran, ok",
    }
}

pub fn merge(into: &mut Value, from: &Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
}
