//! `bucket space`

mod edit;
mod import;
mod list;
mod net;
mod refuse;
mod status;

use std::path::PathBuf;

use bucket_client::space::kept::{Author, Holds as _};
use bucket_client::space::{Replica, remote::Moved};
use bucket_client::ucan::chain;
use bucket_client::{ClientError, Identity};
use bucket_core::did::BucketId;
use clap::Subcommand;
use serde_json::{Value, json};

use super::{file, now, read, sign, write};
use crate::context::Context;
use crate::output::Answer;

/// Spaces: replicas of what is under a bucket's keys, edited without a node
///
/// A replica is a file in the wallet's directory. `put`, `rm`, `queue`, `ls`, `get`, `status` and `drop` ask nobody; `pull` and
/// `push` talk to the chain, `sync` and `serve` to other replicas.
///
///   bucket space pull did:key:zQ3s…
///   bucket space put did:key:zQ3s… /notes/1 '{"text": "hello"}' --as alice
///   bucket space push did:key:zQ3s…
#[derive(Debug, Subcommand)]
#[command(verbatim_doc_comment)]
pub enum Space {
    Pull(net::Pull),
    Push(net::Push),
    Put(edit::Put),
    Rm(edit::Rm),
    Queue(edit::Queue),
    Ls(list::Ls),
    Get(list::Get),
    Status(status::Status),
    Drop(refuse::Drop),
    Sync(net::Sync),
    Serve(net::Serve),
    Import(import::Import),
}

impl Space {
    pub async fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        match self {
            Self::Pull(command) => command.run(cx).await,
            Self::Push(command) => command.run(cx).await,
            Self::Put(command) => command.run(cx),
            Self::Rm(command) => command.run(cx),
            Self::Queue(command) => command.run(cx),
            Self::Ls(command) => command.run(cx),
            Self::Get(command) => command.run(cx),
            Self::Status(command) => command.run(cx),
            Self::Drop(command) => command.run(cx),
            Self::Sync(command) => command.run(cx).await,
            Self::Serve(command) => command.run(cx).await,
            Self::Import(command) => command.run(),
        }
    }
}

/// Who edits. It is remembered with the replica.
#[derive(Debug, clap::Args)]
struct By {
    /// Edit with this key (a name or a DID). Default: the key that edited last, or the space's own
    #[arg(long = "as", value_name = "KEY")]
    by: Option<String>,

    /// Delegations of /space/push from the space to the key, in any order; may be given several times
    #[arg(long, value_name = "FILE")]
    proof: Vec<PathBuf>,
}

impl By {
    /// The key, and its right, which is remembered from now on.
    fn author(&self, cx: &Context, replica: &Replica) -> Result<(Identity, Author), ClientError> {
        let wallet = cx.wallet()?;
        let known = if replica.exists() { replica.read(|kept| kept.author())? } else { None };
        let unset = ClientError::Unset {
            what: "who edits",
            hint: "Name a key with --as, and what gives its right with --proof.",
        };
        let key = match (&self.by, &known) {
            (Some(key), _) => wallet.identity(key)?,
            (None, Some(author)) => wallet.identity(author.did.as_str())?,
            (None, None) => wallet.identity_of(replica.space())?.ok_or(unset)?,
        };
        let did = key.did();
        let proofs = match &known {
            Some(author) if author.did == did && self.proof.is_empty() => author.proofs.clone(),
            _ => {
                let held = sign::held(&self.proof)?;
                let accept = |way: &[&_]| chain::check(way, now(), Some("/space/push")).map(drop);
                let way = chain::find(&held, replica.space(), &did, accept)?;
                way.into_iter().map(|held| held.token.bytes.clone()).collect()
            }
        };
        let author = Author { did, proofs };
        if known.as_ref() != Some(&author) {
            replica.write(|kept| kept.set_author(&author))?;
        }
        Ok((key, author))
    }
}

fn replica(cx: &Context, space: &BucketId) -> Result<Replica, ClientError> {
    Ok(Replica::new(&cx.home()?, space.clone()))
}

fn moved_json(moved: &Moved) -> Value {
    json!({
        "blocks": moved.blocks(), "nodes": moved.nodes, "edits": moved.edits, "values": moved.values,
        "bytes": moved.bytes,
    })
}

fn moved_text(moved: &Moved) -> String {
    let Moved { nodes, edits, values, bytes } = moved;
    format!("{} blocks ({nodes} nodes, {edits} edits, {values} linked), {bytes} bytes", moved.blocks())
}
