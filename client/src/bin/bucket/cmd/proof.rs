//! `bucket proof`

use std::path::PathBuf;

use bucket_client::proof::{Proof as Proven, Query};
use bucket_client::{ActorClient, ClientError};
use bucket_core::abi::{ReceiptReturn, Status};
use bucket_core::cid::{CarId, Cid};
use bucket_core::did::BucketId;
use bucket_rpc::json::format_address;
use fvm_shared::address::Address;
use serde_json::json;

use super::receipt::status;
use super::write;
use crate::context::Context;
use crate::output::Answer;

/// Prove to others what the chain knows of a CAR
///
/// The proof is a CAR of the blocks from a block header down to the receipt's id. Who has it needs no node to check it,
/// only the header's CID: see `bucket verify-proof`. Without a receipt it proves that there is none. Exit code 1 then.
///
/// A header commits to the state before its own messages, so a receipt is in the next tipset's: --wait waits for it.
///
/// Example: bucket proof did:key:zQ3s… bagbaiera… --wait --out proof.car
#[derive(Debug, clap::Args)]
pub struct Proof {
    /// The bucket's DID
    bucket: BucketId,

    /// The id of the CAR that ran, as `invoke` and `schedule` print it
    car: CarId,

    /// Wait until the head's header commits to a receipt
    #[arg(long)]
    wait: bool,

    /// Prove it under this block header. Default: the first one of the head
    #[arg(long, value_name = "CID", conflicts_with = "wait")]
    header: Option<Cid>,

    /// Keep the proof in a CAR file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Proof {
    pub async fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        let Self { bucket, car, wait, header, out } = self;
        let client = cx.client().await?;
        let proof = match wait {
            true => client.wait_proof(&bucket, &car).await?,
            false => client.prove(&bucket, &car, header).await?,
        };
        let bytes = proof.to_car();
        if let Some(path) = &out {
            write(path, &bytes)?;
            cx.note(format!("wrote {} bytes to {}", bytes.len(), path.display()));
        }
        let mut answer = show(&proof);
        answer = answer.judged(proof.found.status == Status::Done);
        if header.is_none() && answer.exit != 0 && came_since(&client, &proof).await {
            answer.json["behind"] = json!(true);
            answer.text.push_str("\nThe node has more since, which no header commits to yet: try again with --wait.");
        }
        Ok(answer)
    }
}

/// Whether the node knows more of the CAR than the head's header commits to.
async fn came_since(client: &ActorClient, proof: &Proven) -> bool {
    let Query { bucket, car, .. } = &proof.query;
    client.receipt(bucket, car).await.is_ok_and(|now| now.status != proof.found.status)
}

/// What a proof proves.
pub fn show(proof: &Proven) -> Answer {
    let Query { header, actor, bucket, car } = &proof.query;
    let ReceiptReturn { status: known, receipt, version, position } = &proof.found;
    let actor_address = format_address(&Address::new_id(*actor));
    let ours = proof.code == bucket_actor_wasm::code_cid();
    let blocks = proof.blocks().count() + 1;
    let size = proof.to_car().len();
    let json = json!({
        "status": status(*known), "receipt": receipt, "version": version, "position": position, "car": car,
        "bucket": bucket, "bucketExists": proof.bucket_exists, "actor": actor_address, "code": proof.code.to_string(),
        "codeKnown": ours, "header": header.to_string(), "height": proof.height, "root": proof.root().to_string(),
        "blocks": blocks, "size": size,
    });
    let told = match (known, position) {
        (Status::NotFound, _) if !proof.bucket_exists => "not found: the actor has no such bucket".to_owned(),
        (Status::NotFound, _) => "not found: the bucket has never seen this CAR".to_owned(),
        (Status::Pending, Some(position)) => format!("pending, with {position} before it"),
        (Status::Done, Some(position)) => format!("done, and pending again with {position} before it"),
        (known, None) => status(*known).to_owned(),
    };
    let code = if ours { "the bucket actor of this version" } else { "not the bucket actor of this version" };
    let mut lines = vec![("status", told)];
    if let Some(receipt) = receipt {
        lines.extend([("receipt", receipt.to_string()), ("version", version.to_string())]);
    }
    lines.extend([
        ("car", car.to_string()),
        ("bucket", bucket.to_string()),
        ("actor", actor_address),
        ("code", format!("{} ({code})", proof.code)),
        ("header", header.to_string()),
        ("height", proof.height.to_string()),
        ("blocks", format!("{blocks} ({size} bytes)")),
    ]);
    Answer::table(json, &lines)
}
