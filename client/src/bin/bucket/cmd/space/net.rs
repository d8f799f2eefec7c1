//! `bucket space pull`, `push`, `sync` and `serve`: replicas and the chain, replicas among themselves.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bucket_client::space::kept::Holds as _;
use bucket_client::space::push::Sent;
use bucket_client::space::remote::Remote;
use bucket_client::space::{Replica, pull, push, serve, sync};
use bucket_client::{ClientError, dag_json};
use bucket_core::cid::Cid;
use bucket_core::did::BucketId;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::signal;

use super::{By, moved_json, moved_text, replica};
use crate::context::Context;
use crate::output::{Answer, table};

/// Get a space's head from the chain, and what is missing of its tree from the indexer
///
/// The receipt of the push that led to it is verified. What waits here stays, on top of it. Who signs the indexer's receipts is
/// remembered at the first pull: heads that other replicas tell are believed if the same signed them.
///
/// Example: bucket space pull did:key:zQ3s…
#[derive(Debug, clap::Args)]
pub struct Pull {
    /// The bucket's DID
    bucket: BucketId,

    /// Believe heads whose receipts this one signed; may be given several times
    #[arg(long, value_name = "DID")]
    trust: Vec<BucketId>,
}

/// Bring what waits here to the chain, as signed edits of its newest head
///
/// Somebody has to pay for the message: --from. Where somebody else pushed first, the edits are put on the newer head and sent
/// again.
///
/// Example: bucket space push did:key:zQ3s…
#[derive(Debug, clap::Args)]
pub struct Push {
    /// The bucket's DID
    bucket: BucketId,

    #[command(flatten)]
    by: By,
}

/// Bring this replica and another in step, in both directions
///
/// Needs no node. What comes is verified: edits by their authors' signatures and delegations, heads by a receipt that somebody
/// signed whom this replica trusts, blocks by their hashes. An edit that doesn't count is left out, and told; the rest goes on. Exit
/// code 1 if the two aren't equal afterwards, because edits were left out, or one of the two changed meanwhile.
///
/// Example: bucket space sync did:key:zQ3s… http://192.168.0.7:4190
#[derive(Debug, clap::Args)]
pub struct Sync {
    /// The bucket's DID
    bucket: BucketId,

    /// Where the other `bucket space serve` is
    url: String,

    /// Believe heads whose receipts this one signed; may be given several times
    #[arg(long, value_name = "DID")]
    trust: Vec<BucketId>,
}

/// Serve all replicas of this wallet's directory to others, until it is told to stop
///
/// Example: bucket space serve --listen 0.0.0.0:4190
#[derive(Debug, clap::Args)]
pub struct Serve {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4190")]
    listen: SocketAddr,
}

/// Remembers who is trusted. A replica that isn't there is made only if there is somebody.
fn believe(replica: &Replica, signers: &[BucketId]) -> Result<(), ClientError> {
    if !signers.is_empty() {
        replica.write(|kept| signers.iter().try_for_each(|signer| kept.trust(signer)))?;
    }
    Ok(())
}

impl Pull {
    pub async fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        let Self { bucket, trust } = self;
        let replica = replica(cx, &bucket)?;
        let client = cx.client().await?;
        believe(&replica, &trust)?;
        let pulled = pull::pull(&replica, &client).await?;
        if let (true, Some(signer)) = (pulled.stranger, &pulled.signer) {
            cx.note(format!("the indexer signs as {signer}, whom this replica doesn't trust: see --trust"));
        }
        let head = dag_json::write(&pulled.head.to_ipld())?;
        let json = json!({
            "bucket": bucket, "head": head, "car": pulled.car, "advanced": pulled.advanced,
            "takenBack": pulled.taken_back, "signer": pulled.signer, "moved": moved_json(&pulled.moved),
        });
        let what = match (pulled.taken_back, pulled.advanced) {
            (true, _) => " (the chain took back the one that was here)",
            (false, true) => "",
            (false, false) => " (nothing new)",
        };
        let lines = [
            ("head", format!("edit {}{what}", pulled.head.seq)),
            ("root", pulled.head.root.to_string()),
            ("moved", moved_text(&pulled.moved)),
        ];
        Ok(Answer::text(json, table(&lines)))
    }
}

impl Push {
    pub async fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        let Self { bucket, by } = self;
        let replica = replica(cx, &bucket)?;
        let (key, author) = by.author(cx, &replica)?;
        let client = cx.signing_client().await?;
        let pushed = push::push(&replica, &client, &key, &author).await?;
        let pushes: Vec<_> = pushed.pushes.iter().map(sent).collect();
        let json = json!({
            "bucket": bucket, "author": author.did, "head": dag_json::write(&pushed.head.to_ipld())?, "pushes": pushes,
            "rebased": pushed.rebased, "anew": pushed.anew,
        });
        let mut lines = vec![
            ("head", format!("edit {}", pushed.head.seq)),
            ("root", pushed.head.root.to_string()),
            ("rebased", format!("{} times", pushed.rebased)),
        ];
        let text =
            |sent: &Sent| format!("{}, {} keys, {} bytes (gas {})", sent.car, sent.ops, sent.bytes, sent.gas_used);
        lines.extend(pushed.pushes.iter().map(|sent| ("push", text(sent))));
        if pushed.pushes.is_empty() {
            lines.push(("push", "none: nothing waits".into()));
        }
        Ok(Answer::text(json, table(&lines)))
    }
}

fn sent(sent: &Sent) -> Value {
    json!({
        "car": sent.car, "bytes": sent.bytes, "receipt": sent.receipt, "ops": sent.ops, "edits": sent.edits,
        "gasUsed": sent.gas_used,
    })
}

impl Sync {
    pub async fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        let Self { bucket, url, trust } = self;
        let replica = replica(cx, &bucket)?;
        let remote = Remote::new(&url)?;
        believe(&replica, &trust)?;
        let synced = sync::sync(&replica, &remote).await?;
        let root = replica.read(|kept| Ok(kept.view()?.root()))?;
        let json = json!({
            "bucket": bucket, "url": remote.url(), "head": dag_json::write(&synced.told.head.to_ipld())?,
            "root": root.to_string(), "equal": synced.equal, "received": moved_json(&synced.received),
            "sent": moved_json(&synced.sent), "waiting": synced.told.edits.len(),
            "refused": refused_json(&synced.refused), "refusedThere": refused_json(&synced.refused_there),
        });
        for (there, refused) in [("here", &synced.refused), ("there", &synced.refused_there)] {
            refused.iter().for_each(|(edit, why)| cx.note(format!("edit {edit} was left out {there}: {why}")));
        }
        let refused = synced.refused.len() + synced.refused_there.len();
        let equal = match (synced.equal, refused) {
            (true, _) => "yes".to_owned(),
            (false, 0) => "no: one of them changed meanwhile, sync again".to_owned(),
            (false, refused) => format!("no: {refused} edits were left out"),
        };
        let lines = [
            ("head", format!("edit {}", synced.told.head.seq)),
            ("root", format!("{root}, with {} edits that wait", synced.told.edits.len())),
            ("received", moved_text(&synced.received)),
            ("sent", moved_text(&synced.sent)),
            ("equal", equal),
        ];
        Ok(Answer::text(json, table(&lines)).judged(synced.equal))
    }
}

fn refused_json(refused: &BTreeMap<Cid, String>) -> Value {
    refused.iter().map(|(edit, why)| json!({"edit": edit.to_string(), "why": why})).collect()
}

impl Serve {
    pub async fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        let Self { listen } = self;
        let failed = |why: std::io::Error| ClientError::Input(format!("expected to listen on {listen}: {why}"));
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        cx.note(format!("serving replicas at http://{address}"));
        let served = axum::serve(listener, serve::router(cx.home()?)).with_graceful_shutdown(stopped()).await;
        served.map_err(failed)?;
        Ok(Answer::text(json!({"listen": address.to_string()}), "stopped"))
    }
}

async fn stopped() {
    #[cfg(unix)]
    let terminated = async {
        match signal::unix::signal(signal::unix::SignalKind::terminate()) {
            Ok(mut terminated) => drop(terminated.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminated = std::future::pending::<()>();
    tokio::select! {
        _ = signal::ctrl_c() => {}
        () = terminated => {}
    }
}
