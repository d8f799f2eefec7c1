//! `bucket receipt`

use std::path::PathBuf;

use bucket_client::{ActorClient, ClientError, Fetched, dag_json};
use bucket_core::abi::{ReceiptReturn, Status};
use bucket_core::cid::CarId;
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use serde_json::{Value, json};

use super::write;
use crate::context::Context;
use crate::output::{Answer, table};

/// Show what came out of a CAR
///
/// The receipt's id is read from the chain, its bytes come from the indexer, and they are hashed and compared. Exit code 1
/// while there is no receipt.
///
/// Example: bucket receipt did:key:zQ3s… bagbaiera… --wait --out receipt.car
#[derive(Debug, clap::Args)]
pub struct Receipt {
    /// The bucket's DID
    bucket: BucketId,

    /// The id of the CAR that ran, as `invoke` and `schedule` print it
    car: CarId,

    /// Wait until the receipt is there
    #[arg(long, conflicts_with = "chain_only")]
    wait: bool,

    /// As --wait, and tell how it stands meanwhile, from pending to done
    #[arg(long, conflicts_with = "chain_only")]
    follow: bool,

    /// Keep the receipt in a CAR file
    #[arg(long, value_name = "FILE", conflicts_with = "chain_only")]
    out: Option<PathBuf>,

    /// Show the receipts before forced runs as well
    #[arg(long, conflicts_with = "chain_only")]
    history: bool,

    /// Tell only what the chain knows: the status and the receipt's id
    #[arg(long)]
    chain_only: bool,
}

impl Receipt {
    pub async fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        let Self { bucket, car, wait, follow, out, history, chain_only } = self;
        let client = cx.client().await?;
        let mut known = None;
        let fetched = if follow {
            client.follow_receipt(&bucket, &car).await?
        } else if wait {
            client.wait_receipt(&bucket, &car).await?
        } else {
            let found = client.receipt(&bucket, &car).await?;
            if chain_only || found.receipt.is_none() {
                return Ok(chain_answer(&bucket, &car, &found));
            }
            known = found.position;
            client.fetch_receipt(&bucket, &car).await?
        };
        if let Some(path) = &out {
            write(path, &fetched.bytes)?;
            cx.note(format!("wrote {} bytes to {}", fetched.bytes.len(), path.display()));
        }
        let mut answer = show(&fetched)?;
        answer.json["bucket"] = json!(bucket);
        answer.json["status"] = json!(status(Status::Done));
        if let Some(position) = known {
            answer.json["position"] = json!(position);
            answer.text = format!("{}\nIt is pending again, with {position} before it.", answer.text);
        }
        if history {
            add_history(&client, &fetched, &mut answer).await?;
        }
        Ok(answer)
    }
}

/// A status in a word.
pub fn status(status: Status) -> &'static str {
    match status {
        Status::NotFound => "not_found",
        Status::Pending => "pending",
        Status::Done => "done",
    }
}

fn chain_answer(bucket: &BucketId, car: &CarId, found: &ReceiptReturn) -> Answer {
    let ReceiptReturn { status: known, receipt, version, position } = found;
    let json = json!({
        "bucket": bucket, "car": car, "status": status(*known), "receipt": receipt, "version": version,
        "position": position,
    });
    let text = match (known, receipt, position) {
        (Status::Done, Some(receipt), _) => table(&[
            ("status", "done".into()),
            ("receipt", receipt.to_string()),
            ("version", version.to_string()),
            ("verified", "no: its bytes were not asked for".into()),
        ]),
        (Status::Pending, _, Some(position)) => {
            format!("pending, with {position} before it: `bucket run {bucket}` runs the queue")
        }
        (Status::NotFound, ..) => "not found: the bucket has never seen this CAR".to_owned(),
        _ => status(*known).to_owned(),
    };
    Answer::text(json, text).judged(*known == Status::Done)
}

/// A verified receipt.
pub fn show(fetched: &Fetched) -> Result<Answer, ClientError> {
    let receipt = &fetched.receipt;
    let out = out(fetched)?;
    let fork: Vec<_> = receipt.fork.iter().map(ToString::to_string).collect();
    let mut lines = vec![
        ("receipt", fetched.id.to_string()),
        ("verified", "yes: the bytes hash to the id on the chain".into()),
        ("version", fetched.version().to_string()),
    ];
    match &receipt.out {
        Ok(_) => lines.push(("ok", out["ok"].to_string())),
        Err(failure) => lines.push(("error", failure.to_string())),
    }
    if !fork.is_empty() {
        lines.push(("follow-ups", fork.join(", ")));
    }
    lines.extend(receipt.cause.map(|cause| ("cause", cause.to_string())));
    lines.extend(receipt.prior.map(|(prior, _)| ("prior", prior.to_string())));
    let json = json!({
        "car": receipt.ran, "receipt": fetched.id, "version": fetched.version(), "verified": true, "out": out,
        "fork": fork, "cause": receipt.cause, "prior": receipt.prior.map(|(prior, _)| prior),
    });
    Ok(Answer::table(json, &lines))
}

fn out(fetched: &Fetched) -> Result<Value, ClientError> {
    match fetched.receipt.to_ipld() {
        Ipld::Map(mut fields) => dag_json::write(&fields.remove("out").unwrap_or(Ipld::Null)),
        _ => Ok(Value::Null),
    }
}

async fn add_history(client: &ActorClient, newest: &Fetched, answer: &mut Answer) -> Result<(), ClientError> {
    let mut all = Vec::new();
    let mut prior = client.fetch_prior(newest).await?;
    while let Some(fetched) = prior {
        let shown = show(&fetched)?;
        answer.text = format!("{}\n\n{}", answer.text, shown.text);
        all.push(shown.json);
        prior = client.fetch_prior(&fetched).await?;
    }
    answer.json["history"] = Value::Array(all);
    Ok(())
}
