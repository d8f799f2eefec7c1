//! `bucket queue`

use bucket_client::ClientError;
use bucket_core::did::BucketId;
use serde_json::{Value, json};

use crate::context::Context;
use crate::output::Answer;

/// List what is pending in a bucket, as the indexer knows it
///
/// Example: bucket queue did:key:zQ3s…
#[derive(Debug, clap::Args)]
pub struct Queue {
    /// The bucket's DID
    bucket: BucketId,
}

impl Queue {
    pub async fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        let Self { bucket } = self;
        let gateway = cx.gateway()?;
        // A percent sign is the only character of a DID that a URL's path reads otherwise.
        let path = format!("v1/buckets/{}/queue", bucket.as_str().replace('%', "%25"));
        let mut items = Vec::new();
        let mut cursor = None;
        loop {
            let query = cursor.map(|cursor: String| format!("?cursor={cursor}")).unwrap_or_default();
            let mut page = gateway.json(&format!("{path}{query}")).await?;
            if let Value::Array(some) = page["items"].take() {
                items.extend(some);
            }
            match page["cursor"].take() {
                Value::String(next) => cursor = Some(next),
                _ => break,
            }
        }
        let text = if items.is_empty() { "nothing is pending".to_owned() } else { list(&items) };
        Ok(Answer::text(json!({"bucket": bucket, "items": items}), text))
    }
}

fn list(items: &[Value]) -> String {
    let field = |item: &Value, name: &str| match &item[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let line = |item| format!("{:>4}  {}  {}", field(item, "position"), field(item, "car"), field(item, "cmd"));
    items.iter().map(line).collect::<Vec<_>>().join("\n")
}
