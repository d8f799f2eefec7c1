//! `bucket stage`

use std::path::PathBuf;

use bucket_client::ClientError;
use serde_json::json;

use super::read;
use crate::context::Context;
use crate::output::Answer;

/// Bring a large CAR to the chain in pieces, to be run by its id
///
/// `bucket invoke` and `bucket schedule` do it by themselves. Anybody may stage: what is staged is nobody's before it runs.
/// What was interrupted goes on where it ended.
///
/// Example: bucket stage large.car
#[derive(Debug, clap::Args)]
pub struct Stage {
    /// A CAR of up to 1 MiB
    car: PathBuf,
}

impl Stage {
    pub async fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        let Self { car } = self;
        let staged = cx.signing_client().await?.stage(&read(&car)?).await?;
        let json = json!({
            "car": staged.car, "pieces": staged.pieces, "sent": staged.sent, "expires": staged.expires,
            "gasUsed": staged.gas_used,
        });
        let lines = [
            ("car", staged.car.to_string()),
            ("pieces", format!("{}, of which {} were sent now (gas {})", staged.pieces, staged.sent, staged.gas_used)),
            ("stays", format!("until it runs, or somebody drops it after epoch {}", staged.expires)),
        ];
        Ok(Answer::table(json, &lines))
    }
}
