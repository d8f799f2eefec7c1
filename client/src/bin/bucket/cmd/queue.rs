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
        let mut epoch;
        loop {
            let query = cursor.map(|cursor: String| format!("?cursor={cursor}")).unwrap_or_default();
            let mut page = gateway.json(&format!("{path}{query}")).await?;
            epoch = page["head"]["epoch"].take();
            if let Value::Array(some) = page["items"].take() {
                items.extend(some);
            }
            match page["cursor"].take() {
                Value::String(next) => cursor = Some(next),
                _ => break,
            }
        }
        let mut text = format!("{} pending at epoch {epoch}", items.len());
        items.iter().for_each(|item| text.extend(["\n", &line(item)]));
        Ok(Answer::text(json!({"bucket": bucket, "epoch": epoch, "items": items}), text))
    }
}

fn line(item: &Value) -> String {
    let field = |name: &str| match &item[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    format!("{:>4}  {}  {}", field("position"), field("car"), field("cmd"))
}
