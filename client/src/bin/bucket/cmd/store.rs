//! `bucket store …`

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bucket_client::store::upload::{self, Put};
use bucket_client::store::{self, Proven, Source, index};
use bucket_client::{ActorClient, ClientError, task};
use bucket_core::abi::{CarParams, InvokeReturn};
use bucket_core::cid::{CarId, DAG_CBOR, NativeHasher, block_cid};
use bucket_core::did::BucketId;
use bucket_core::error::Failure;
use bucket_protocols::store::{Entry, Status, Upload, add};
use clap::Subcommand;
use serde_json::{Value, json};

use super::sign::Sign;
use super::task::Packed;
use super::{now, sent_json, sent_text};
use crate::context::Context;
use crate::output::{Answer, table};

/// Between two looks at the index.
const POLL: Duration = Duration::from_secs(1);

/// Between two tries of an upload that failed for now.
const RETRY: Duration = Duration::from_secs(5);

/// Tries of an upload, when they fail for now or find something else in the store.
const TRIES: u32 = 12;

/// Store files as CARs with a bucket's service
#[derive(Debug, Subcommand)]
pub enum Store {
    Add(Add),
    Provide(Provide),
    Ls(Ls),
    Status(StatusOf),
}

impl Store {
    pub async fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        match self {
            Self::Add(command) => command.run(cx).await,
            Self::Provide(command) => command.run(cx).await,
            Self::Ls(command) => command.run(cx).await,
            Self::Status(command) => command.run(cx).await,
        }
    }
}

/// Store a file
///
/// A file that is a CAR is stored as it is. Any other is packed into one: its bytes in raw blocks of 1 MiB, and as the root a
/// list (DAG-CBOR) of links to them, in their order; `bucket car unpack` takes it apart. The bucket is asked to store the CAR, the
/// CAR is put where its service says, and the end is waited for: receipts are verified as `bucket receipt` does. The same command
/// again goes on where one that was interrupted ended, and is no error when the CAR is stored already. Exit code 1 when it isn't
/// stored in the end.
///
/// Example: bucket store add did:key:zQ3s… holiday.mp4
#[derive(Debug, clap::Args)]
pub struct Add {
    /// The bucket's DID
    bucket: BucketId,

    /// The file
    file: PathBuf,

    /// End when the service knows of it, without putting the CAR or waiting for others to put it
    #[arg(long)]
    no_upload: bool,

    #[command(flatten)]
    sign: Sign,
}

impl Add {
    async fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        let Self { bucket, file, no_upload, sign } = self;
        let source = tokio::task::spawn_blocking(move || Source::open(&file));
        let source = source.await.map_err(|error| ClientError::Input(error.to_string()))??;
        let Source { id: link, size, .. } = source;
        cx.note(format!("{} is CAR {link} ({size} bytes)", source.path.display()));
        let client = cx.signing_client().await?;
        let proven = match asked_before(cx, &client, &bucket, &link, size).await? {
            // What is stored, or waited for, needs no message.
            Some(proven) => proven,
            None => {
                let task = add(&bucket, link, size, task::nonce()?);
                let (cmd, args, nonce) = (task.cmd, task.args, task.nonce);
                let draft = task::Draft { bucket: task.sub, cmd, args, files: vec![], nonce };
                let packed = Packed::new(cx, bucket.clone(), sign.pack(cx, draft)?);
                let asked = packed.id;
                client.invoke(packed.params()).await?;
                Proven::read(&client.wait_receipt(&bucket, &asked).await?)?
            }
        };
        let adding = Adding { cx, client, bucket, source, no_upload, until: Instant::now() + cx.timeout() };
        let (proven, uploaded) = adding.follow(proven).await?;
        let Proven { entry, receipt } = &proven;
        let mut lines = entry_lines(entry);
        lines.push(("receipt", format!("{receipt} (verified)")));
        let mut json = entry_json(entry);
        json["receipt"] = json!(receipt);
        json["root"] = json!(adding.source.packed.map(|root| root.to_string()));
        json["uploaded"] = json!(uploaded);
        lines.extend(adding.source.packed.map(|root| ("root", root.to_string())));
        let good = entry.status == Status::Ok || (no_upload && entry.status == Status::Receiving);
        match entry.status.error() {
            Some(name) => Err(ClientError::Store(Failure::new(name, why(entry.status)))),
            None => Ok(Answer::text(json, table(&lines)).judged(good)),
        }
    }
}

/// The entry, if it is where another message wouldn't change it.
async fn asked_before(
    cx: &Context,
    client: &ActorClient,
    bucket: &BucketId,
    link: &CarId,
    size: u64,
) -> Result<Option<Proven>, ClientError> {
    let gateway = cx.gateway()?;
    let (_, Some(entry)) = index::entry(&gateway, bucket, link).await? else { return Ok(None) };
    let stays = match entry.status {
        Status::Ok => index::provider(&gateway, bucket).await?.is_some_and(|provider| entry.is_stored(provider.term)),
        status => status == Status::Receiving,
    };
    if stays && entry.car == Some((*link, size)) { client.prove_entry(bucket, link, &entry).await } else { Ok(None) }
}

fn why(status: Status) -> &'static str {
    match status {
        Status::Exceeds => "expected the service to have room for the CAR, but it has none",
        Status::Expired => "expected the CAR to be put in time, but it was not",
        _ => "expected an entry of the CAR, got none",
    }
}

/// An entry that was asked for, on its way.
struct Adding<'a> {
    cx: &'a Context,
    client: ActorClient,
    bucket: BucketId,
    source: Source,
    no_upload: bool,
    until: Instant,
}

impl Adding<'_> {
    /// Puts the CAR when it is wanted, and waits for the end of the attempt; answers what proves it, and whether it was put.
    async fn follow(&self, first: Proven) -> Result<(Proven, bool), ClientError> {
        let Self { cx, client, bucket, source, .. } = self;
        let (mut now, mut put, mut again, mut tries) = (first, None, Instant::now(), 0);
        self.tell(&now.entry);
        loop {
            match now.entry.status {
                Status::Active => {}
                Status::Receiving if self.no_upload => return Ok((now, false)),
                // What is there and wasn't taken by now is something else, which the service takes away.
                Status::Receiving if put != Some(Put::Done) && Instant::now() >= again => {
                    tries += 1;
                    match self.put(&now).await {
                        Ok(done) => put = done.or(put),
                        // A store that has something of this name may break a PUT off before it says so.
                        Err(error @ ClientError::Upload { transient: true, .. }) if tries < TRIES => {
                            cx.note(format!("{error}; trying again"));
                        }
                        Err(error) => return Err(error),
                    }
                    again = Instant::now() + RETRY;
                }
                Status::Receiving => {}
                _ => return Ok((now, put == Some(Put::Done))),
            }
            if Instant::now() > self.until {
                return Err(self.timeout(now.entry.status));
            }
            tokio::time::sleep(POLL).await;
            let (_, found) = index::entry(&cx.gateway()?, bucket, &source.id).await?;
            let Some(found) = found.filter(|found| later(found, &now.entry)) else { continue };
            // What the indexer says counts when a receipt says the same.
            if let Some(proven) = client.prove_entry(bucket, &source.id, &found).await? {
                now = proven;
                self.tell(&now.entry);
            }
        }
    }

    fn tell(&self, entry: &Entry) {
        match entry.status {
            Status::Active => self.cx.note("the service looks for room"),
            Status::Receiving if !self.no_upload => self.cx.note("the service waits for the CAR"),
            _ => {}
        }
    }

    /// Puts the CAR; `None` when the index doesn't say where, because it is behind, or the entry went on meanwhile.
    async fn put(&self, now: &Proven) -> Result<Option<Put>, ClientError> {
        let Self { cx, bucket, source, .. } = self;
        let (_, entry) = index::entry(&cx.gateway()?, bucket, &source.id).await?;
        let proven =
            |upload: &Upload| now.entry.upload == Some(block_cid::<NativeHasher>(DAG_CBOR, &upload.to_block()));
        let Some(upload) = entry.and_then(|entry| entry.put).filter(proven) else { return Ok(None) };
        let size = source.size.max(1);
        let tell = |moved: u64| cx.note(format!("put {moved} of {size} bytes ({} %)", moved * 100 / size));
        upload::put(source, &upload, tell).await.map(Some)
    }

    fn timeout(&self, last: Status) -> ClientError {
        let why = format!("still {} after {} s", last.name(), self.cx.timeout().as_secs());
        ClientError::Store(Failure::new("StoreTimeout", why))
    }
}

/// Whether an entry went on from another.
fn later(found: &Entry, now: &Entry) -> bool {
    found.attempt > now.attempt || (found.attempt == now.attempt && found.status != now.status)
}

/// Let a service store a bucket's CARs
///
/// Names the service as the bucket's provider, and gives it delegations of /store and /space, signed by the bucket's key (or by
/// --as, which needs all rights, given with --proof). --from pays. The service runs `bucket worker` with that key.
///
/// Example: bucket store provide did:key:zQ3s… did:key:z6Mk…
#[derive(Debug, clap::Args)]
pub struct Provide {
    /// The bucket (a DID, or the name of its key)
    #[arg(value_name = "DID|NAME")]
    bucket: String,

    /// The service (a DID, or the name of a key)
    #[arg(value_name = "DID|NAME")]
    service: String,

    #[command(flatten)]
    sign: Sign,
}

impl Provide {
    async fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        let Self { bucket, service, sign } = self;
        let wallet = cx.wallet()?;
        let (bucket, service) = (wallet.resolve(&bucket)?, wallet.resolve(&service)?);
        let key = match sign.identity(cx)? {
            Some(key) => key,
            None => wallet.identity(bucket.as_str())?,
        };
        let car = store::provide(&bucket, &service, &key, &sign.held()?, sign.exp, now())?;
        let client = cx.signing_client().await?;
        let packed = Packed::new(cx, bucket.clone(), car);
        let asked = packed.id;
        let sent = client.invoke(CarParams::new(packed.bucket, packed.car)).await?;
        if let InvokeReturn { ok: Some(false), .. } = sent.value {
            let failure = client.wait_receipt(&bucket, &asked).await?.receipt.out.err();
            return Err(ClientError::Store(failure.unwrap_or_else(|| Failure::new("Refused", "expected an ok"))));
        }
        let json = json!({
            "bucket": bucket, "provider": service, "car": asked, "receipt": sent.value.receipt,
            "message": sent_json(&sent),
        });
        let until = sign.exp.map_or("for ever".to_owned(), |exp| format!("until {exp}"));
        let lines = [
            ("bucket", bucket.to_string()),
            ("provider", service.to_string()),
            ("may", format!("{}, {until}", store::provide::COMMANDS.join(" and "))),
            ("message", sent_text(&sent)),
        ];
        Ok(Answer::table(json, &lines))
    }
}

/// List a bucket's CARs, as the indexer knows them
///
/// Example: bucket store ls did:key:zQ3s…
#[derive(Debug, clap::Args)]
pub struct Ls {
    /// The bucket's DID
    bucket: BucketId,
}

impl Ls {
    async fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        let gateway = cx.gateway()?;
        let provider = index::provider(&gateway, &self.bucket).await?.map(|provider| provider.provider);
        let entries = index::entries(&gateway, &self.bucket).await?;
        let items: Vec<Value> = entries.iter().map(entry_json).collect();
        let served = provider.as_ref().map_or("nobody".to_owned(), ToString::to_string);
        let mut text = format!("{} CARs, stored by {served}", entries.len());
        for entry in &entries {
            let Some((link, size)) = entry.car else { continue };
            text.push_str(&format!("\n{link}  {size:>12}  {}", status_text(entry)));
        }
        Ok(Answer::text(json!({"bucket": self.bucket, "provider": provider, "items": items}), text))
    }
}

/// Show how a CAR stands, and verify it
///
/// Exit code 1 when it isn't stored.
///
/// Example: bucket store status did:key:zQ3s… bagbaiera…
#[derive(Debug, clap::Args)]
pub struct StatusOf {
    /// The bucket's DID
    bucket: BucketId,

    /// The CAR's id, as `bucket store add` prints it
    link: CarId,
}

impl StatusOf {
    async fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        let Self { bucket, link } = self;
        let client = cx.client().await?;
        let (_, Some(entry)) = index::entry(&cx.gateway()?, &bucket, &link).await? else {
            let json = json!({"link": link, "status": "not_found", "verified": false});
            return Ok(Answer::text(json, "not found: nobody asked for it").judged(false));
        };
        let proven = client.prove_entry(&bucket, &link, &entry).await?;
        let (mut json, mut lines) = (entry_json(&entry), entry_lines(&entry));
        json["verified"] = json!(proven.is_some());
        json["receipt"] = json!(proven.as_ref().map(|proven| proven.receipt));
        lines.push(match proven {
            Some(proven) => ("receipt", format!("{} (verified)", proven.receipt)),
            None => ("verified", "no: its receipt is not among the newest".into()),
        });
        Ok(Answer::table(json, &lines).judged(entry.status == Status::Ok))
    }
}

fn status_text(entry: &Entry) -> String {
    match (entry.status, entry.until) {
        (Status::Receiving, Some(until)) => format!("receiving (until epoch {until})"),
        (status, _) => status.error().map_or(status.name().to_owned(), |name| format!("error: {name}")),
    }
}

fn entry_json(entry: &Entry) -> Value {
    let put = entry.put.as_ref().map(|put| json!({"url": put.url, "headers": put.headers}));
    json!({
        "link": entry.car.map(|(link, _)| link), "size": entry.car.map(|(_, size)| size),
        "status": entry.status.name(), "error": entry.status.error(), "attempt": entry.attempt, "until": entry.until,
        "put": put,
    })
}

fn entry_lines(entry: &Entry) -> Vec<(&'static str, String)> {
    let car = entry.car.map(|(link, size)| [("car", link.to_string()), ("size", size.to_string())]);
    let mut lines: Vec<_> = car.into_iter().flatten().collect();
    lines.extend([("status", status_text(entry)), ("attempt", entry.attempt.to_string())]);
    lines
}
