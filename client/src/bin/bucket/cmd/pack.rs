//! `bucket pack`

use bucket_client::ClientError;
use serde_json::json;

use super::task::{Packed, Task};
use crate::context::Context;
use crate::output::Answer;

/// Pack a task into a CAR file, signed with --as, and send nothing
///
/// Needs no node. Whoever gets the file can send it with `bucket invoke BUCKET --car FILE`; what is signed counts whoever
/// sends it.
///
/// Example: bucket pack did:key:zQ3s… /kv/put '{"key": "a", "value": 1}' --as alice --proof alice.ucan --save task.car
#[derive(Debug, clap::Args)]
#[command(mut_arg("save", |arg| arg.required(true)))]
pub struct Pack {
    #[command(flatten)]
    task: Task,
}

impl Pack {
    pub fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        let Self { task } = self;
        let Packed { bucket, id, car, .. } = task.pack(cx)?;
        let json = json!({"bucket": bucket, "car": id, "size": car.len()});
        Ok(Answer::text(json, format!("{id} ({} bytes)", car.len())))
    }
}
