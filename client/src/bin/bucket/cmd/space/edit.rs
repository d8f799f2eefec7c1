//! `bucket space put`, `rm` and `queue`: edits, made here and kept until they are pushed.

use std::path::PathBuf;

use bucket_client::space::content::{Content, queued};
use bucket_client::space::edit::Ops;
use bucket_client::space::kept::Holds as _;
use bucket_client::{ClientError, dag_json};
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use serde_json::json;

use super::{By, read, replica};
use crate::context::Context;
use crate::output::{Answer, table};

/// Put a value under a key, without a node
///
/// A file, and a value of more than 256 bytes, becomes a block that the entry links to, and travels along. The same value again
/// changes nothing.
///
/// Example: bucket space put did:key:zQ3s… /photos/1 --file photo.png --as alice --proof alice.ucan
#[derive(Debug, clap::Args)]
pub struct Put {
    /// The bucket's DID
    bucket: BucketId,

    /// The key, like /notes/1
    key: String,

    /// The value as DAG-JSON
    #[arg(value_name = "DAG-JSON", required_unless_present = "file", conflicts_with = "file")]
    value: Option<String>,

    /// Put a link to this file's bytes, of up to 928 KiB; a CAR is linked to by its own id
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,

    #[command(flatten)]
    by: By,
}

/// Remove keys, without a node
///
/// Example: bucket space rm did:key:zQ3s… /notes/1 /notes/2
#[derive(Debug, clap::Args)]
pub struct Rm {
    /// The bucket's DID
    bucket: BucketId,

    /// The keys
    #[arg(required = true)]
    keys: Vec<String>,

    #[command(flatten)]
    by: By,
}

/// Queue a signed invocation for the space's service, without a node
///
/// It goes under /queue/ by its own name. When the service whom it names as its audience sees it, it moves it to /invoked/, runs
/// it once and puts a receipt beside it.
///
/// Example: bucket space queue did:key:zQ3s… blob-add.car
#[derive(Debug, clap::Args)]
pub struct Queue {
    /// The bucket's DID
    bucket: BucketId,

    /// A CAR whose root is a signed invocation, with its proofs
    car: PathBuf,

    #[command(flatten)]
    by: By,
}

impl Put {
    pub fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        let Self { bucket, key, value, file, by } = self;
        let content = match (value, file) {
            (Some(json), _) => Content::of_value(dag_json::read(&json)?)?,
            (None, Some(path)) => Content::of_file(read(&path)?)?,
            (None, None) => return Err(ClientError::Input("expected a value or --file".into())),
        };
        edit(cx, &bucket, &by, vec![(key, Some(content.value))], content.block)
    }
}

impl Rm {
    pub fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        let Self { bucket, keys, by } = self;
        edit(cx, &bucket, &by, keys.into_iter().map(|key| (key, None)).collect(), None)
    }
}

impl Queue {
    pub fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        let Self { bucket, car, by } = self;
        let (key, Content { value, block }) = queued(&bucket, read(&car)?)?;
        edit(cx, &bucket, &by, vec![(key, Some(value))], block)
    }
}

fn edit(
    cx: &Context,
    space: &BucketId,
    by: &By,
    changes: Vec<(String, Option<Ipld>)>,
    block: Option<Vec<u8>>,
) -> Result<Answer, ClientError> {
    let replica = replica(cx, space)?;
    let ops = Ops::new(changes).map_err(bucket_client::space::SpaceError::from)?;
    let (key, author) = by.author(cx, &replica)?;
    let keys: Vec<_> = ops.changes().map(|(key, _)| key.to_owned()).collect();
    let (made, root) = replica.write(|kept| {
        let view = kept.view()?;
        let mut news = Vec::new();
        for (key, value) in ops.changes() {
            if view.get(key)?.as_ref() != value {
                news.push((key.to_owned(), value.cloned()));
            }
        }
        let made = match news.is_empty() {
            true => None,
            false => Some(kept.make(space, &key, &author.proofs, Ops::new(news)?)?),
        };
        // The value that links to it has to be here before; it may have been without the block until now.
        block.iter().try_for_each(|block| kept.put_block(block))?;
        Ok((made, kept.view()?.root()))
    })?;
    let cid = made.as_ref().map(|edit| edit.cid.to_string());
    let json = json!({
        "bucket": space, "keys": keys, "edit": cid, "n": made.as_ref().map(|edit| edit.n), "author": author.did,
        "root": root.to_string(),
    });
    let edit =
        made.map_or("none: the space says so already".to_owned(), |edit| format!("{} (number {})", edit.cid, edit.n));
    let lines = [("keys", keys.join(", ")), ("edit", edit), ("root", root.to_string())];
    Ok(Answer::text(json, table(&lines)))
}
