//! `bucket open`

use std::collections::BTreeMap;

use bucket_client::{ClientError, task};
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;

use super::invoke;
use super::sign::Sign;
use super::task::Packed;
use crate::context::Context;
use crate::output::Answer;

/// Open a command to everybody, or to the continuations of one bucket
///
/// What is open needs no controller and no signature, and so do the commands under it. `bucket close` takes it back.
///
/// Example: bucket open did:key:zQ3s… /kv/put --to did:key:z6Mk…
#[derive(Debug, clap::Args)]
pub struct Open {
    #[command(flatten)]
    opening: Opening,
}

/// What `open` and `close` take.
#[derive(Debug, clap::Args)]
pub struct Opening {
    /// The bucket's DID
    bucket: BucketId,

    /// The command, like /kv/put
    cmd: String,

    /// The bucket whose continuations may. Default: everybody
    #[arg(long, value_name = "DID")]
    to: Option<BucketId>,

    /// Then fetch the receipt from the indexer, verify it and show what came out
    #[arg(long)]
    wait: bool,

    #[command(flatten)]
    sign: Sign,
}

impl Open {
    pub async fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        self.opening.run(cx, "/bucket/open").await
    }
}

impl Opening {
    /// Sends the task, at once.
    pub async fn run(self, cx: &Context, task: &str) -> Result<Answer, ClientError> {
        let Self { bucket, cmd, to, wait, sign } = self;
        let mut args = BTreeMap::from([("cmd".to_owned(), Ipld::String(cmd))]);
        args.extend(to.map(|to| ("to".to_owned(), Ipld::String(to.to_string()))));
        let car = sign.pack(cx, task::Draft::new(bucket.clone(), task, Ipld::Map(args))?)?;
        invoke::send(cx, Packed::new(cx, bucket, car), wait).await
    }
}
