//! `bucket space drop`

use bucket_client::ClientError;
use bucket_client::space::kept::Holds as _;
use bucket_core::did::BucketId;
use serde_json::json;

use super::replica;
use crate::context::Context;
use crate::output::{Answer, table};

/// Drop the edits of an author that wait here, and take no others, without a node
///
/// Other replicas keep theirs, and show them. What they send of this author's isn't taken here until --allow; then the next sync
/// brings it again. What the author pushes counts here as well: to end that, `bucket revoke` the delegation. Own edits that are
/// dropped are gone.
///
/// Example: bucket space drop did:key:zQ3s… --author did:key:z6Mk…
#[derive(Debug, clap::Args)]
pub struct Drop {
    /// The bucket's DID
    bucket: BucketId,

    /// Whose edits go; may be given several times
    #[arg(long, value_name = "DID", required_unless_present = "allow")]
    author: Vec<BucketId>,

    /// Whose edits are taken again; may be given several times
    #[arg(long, value_name = "DID")]
    allow: Vec<BucketId>,
}

impl Drop {
    pub fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        let Self { bucket, author, allow } = self;
        let replica = replica(cx, &bucket)?;
        // There is nothing to drop where no replica is.
        replica.read(|_| Ok(()))?;
        let (dropped, allowed, refused, root) = replica.write(|kept| {
            let mut allowed = 0;
            for author in &allow {
                allowed += usize::from(kept.allow(author)?);
            }
            let mut dropped = 0;
            for author in &author {
                dropped += kept.refuse(author)?;
            }
            Ok((dropped, allowed, kept.refused()?, kept.view()?.root()))
        })?;
        let json = json!({
            "bucket": bucket, "dropped": dropped, "allowed": allowed, "refused": refused, "root": root.to_string(),
        });
        let refused: Vec<_> = refused.iter().map(BucketId::as_str).collect();
        let lines = [
            ("dropped", format!("{dropped} edits")),
            ("refused", if refused.is_empty() { "nobody".to_owned() } else { refused.join(", ") }),
            ("root", root.to_string()),
        ];
        Ok(Answer::text(json, table(&lines)))
    }
}
