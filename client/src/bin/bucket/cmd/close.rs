//! `bucket close`

use bucket_client::ClientError;

use super::open::Opening;
use crate::context::Context;
use crate::output::Answer;

/// Take back what `bucket open` opened, with the same CMD and --to
///
/// Example: bucket close did:key:zQ3s… /kv/put --to did:key:z6Mk…
#[derive(Debug, clap::Args)]
pub struct Close {
    #[command(flatten)]
    opening: Opening,
}

impl Close {
    pub async fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        self.opening.run(cx, "/bucket/close").await
    }
}
