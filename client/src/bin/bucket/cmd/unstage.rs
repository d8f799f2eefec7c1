//! `bucket unstage`

use bucket_client::ClientError;
use bucket_core::cid::CarId;
use serde_json::json;

use super::{sent_json, sent_text};
use crate::context::Context;
use crate::output::Answer;

/// Drop a CAR that was staged
///
/// One that is incomplete is dropped by who staged it, at any time; every one by anybody, once it is old.
///
/// Example: bucket unstage bagbaiera…
#[derive(Debug, clap::Args)]
pub struct Unstage {
    /// The CAR's id
    car: CarId,

    /// The actor id of who staged it. Default: the sender
    #[arg(long, value_name = "ID")]
    owner: Option<u64>,
}

impl Unstage {
    pub async fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        let Self { car, owner } = self;
        let sent = cx.signing_client().await?.unstage(&car, owner).await?;
        let json = json!({"car": car, "message": sent_json(&sent)});
        Ok(Answer::table(json, &[("dropped", car.to_string()), ("message", sent_text(&sent))]))
    }
}
