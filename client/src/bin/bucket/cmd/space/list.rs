//! `bucket space ls` and `get`: what a replica says, with all that waits.

use std::path::PathBuf;

use bucket_client::space::SpaceError;
use bucket_client::space::kept::Holds;
use bucket_client::{ClientError, dag_json};
use bucket_core::cid::NativeHasher;
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_protocols::space::standing::{Standing, recognise};
use serde_json::{Value, json};

use super::{now, replica, write};
use crate::context::Context;
use crate::output::Answer;

/// List entries in the order of their keys, without a node
///
/// With --verify each is looked at: whether it is a receipt of the service for its key, or is kept and nothing more.
///
/// Example: bucket space ls did:key:zQ3s… /blob/ --limit 20 --verify
#[derive(Debug, clap::Args)]
pub struct Ls {
    /// The bucket's DID
    bucket: BucketId,

    /// Keys that begin with this
    #[arg(default_value = "/")]
    prefix: String,

    /// At most so many
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,

    /// Behind this key: the cursor that the list before ended with
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,

    /// Tell what each entry is worth
    #[arg(long)]
    verify: bool,

    /// The service whose receipts count. Default: the bucket's provider, as it was at the last pull
    #[arg(long, value_name = "DID", requires = "verify")]
    service: Option<BucketId>,
}

/// Show an entry's value, or what it links to, without a node
///
/// Example: bucket space get did:key:zQ3s… /photos/1 --out photo.png
#[derive(Debug, clap::Args)]
pub struct Get {
    /// The bucket's DID
    bucket: BucketId,

    /// The key
    key: String,

    /// Write the block that the value links to into a file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Ls {
    pub fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        let Self { bucket, prefix, limit, after, verify, service } = self;
        let (page, service, standings) = replica(cx, &bucket)?.read(|kept| {
            let page = kept.view()?.list(&prefix, after.as_deref(), limit as usize)?;
            let service = match service {
                Some(service) => Some(service),
                None => kept.service()?,
            };
            let judge = |(key, value): &(String, Ipld)| match (&service, verify) {
                (Some(service), true) => standing(kept, &bucket, service, key, value).map(Some),
                _ => Ok(None),
            };
            let standings = page.entries.iter().map(judge).collect::<Result<Vec<_>, _>>()?;
            Ok((page, service, standings))
        })?;
        if verify && service.is_none() {
            return Err(ClientError::Unset {
                what: "whose receipts count",
                hint: "Name the service with --service, or pull from the chain first.",
            });
        }
        let mut entries = Vec::new();
        let mut text = String::new();
        for ((key, value), standing) in page.entries.iter().zip(standings) {
            let value = dag_json::write(value)?;
            let mut entry = json!({"key": key, "value": value});
            text.push_str(&format!("{key}  {value}"));
            if let Some((recognised, what)) = standing {
                entry["recognised"] = recognised.into();
                entry["standing"] = what.clone().into();
                text.push_str(&format!("  {what}"));
            }
            text.push('\n');
            entries.push(entry);
        }
        match &page.next {
            Some(next) => text.push_str(&format!("more: --after {next}")),
            None => text.push_str(&format!("{} entries, no more", entries.len())),
        }
        let mut json = json!({"bucket": bucket, "entries": entries, "cursor": page.next});
        if verify {
            json["service"] = json!(service);
        }
        Ok(Answer::text(json, text))
    }
}

/// What an entry is worth: whether it counts, and why.
fn standing(
    kept: &impl Holds,
    space: &BucketId,
    service: &BucketId,
    key: &str,
    value: &Ipld,
) -> Result<(bool, String), SpaceError> {
    let block = match value {
        Ipld::Link(cid) => kept.block(cid)?,
        _ => None,
    };
    Ok(match recognise::<NativeHasher>(key, value, |_| block, service, space, now()) {
        Standing::Recognised(receipt) => {
            let yes = if receipt.is_ok() { "ok" } else { "error" };
            (true, format!("recognised: {yes}, {} says {}", receipt.receipt.by, receipt.receipt.task.cmd))
        }
        Standing::Asked(asked) => (false, format!("asks for {}", asked.request.invocation.task.cmd)),
        Standing::Unrecognised(why) => (false, format!("unrecognised: {why}")),
    })
}

impl Get {
    pub fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        let Self { bucket, key, out } = self;
        let (value, block) = replica(cx, &bucket)?.read(|kept| {
            let value = kept.view()?.get(&key)?;
            let block = match &value {
                Some(Ipld::Link(cid)) => kept.block(cid)?,
                _ => None,
            };
            Ok((value, block))
        })?;
        let Some(value) = value else {
            return Ok(Answer::text(json!({"bucket": bucket, "key": key, "value": null}), "nothing").judged(false));
        };
        let shown = dag_json::write(&value)?;
        let size = block.as_ref().map(Vec::len);
        if let Some(out) = out {
            let bytes = block.ok_or_else(|| {
                ClientError::Input(format!("expected a value that links to a block that is here, got {shown}"))
            })?;
            write(&out, &bytes)?;
            cx.note(format!("wrote {} bytes to {}", bytes.len(), out.display()));
        }
        let text = Value::to_string(&shown);
        Ok(Answer::text(json!({"bucket": bucket, "key": key, "value": shown, "block": size}), text))
    }
}
