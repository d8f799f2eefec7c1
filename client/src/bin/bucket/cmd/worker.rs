//! `bucket worker`

use std::path::PathBuf;
use std::time::Duration;

use bucket_client::service::Service;
use bucket_client::worker::ledger::Ledger;
use bucket_client::worker::s3::{S3, Settings as S3Settings};
use bucket_client::worker::{self, Settings};
use bucket_client::{ActorClient, ClientError, Progress};
use bucket_core::did::BucketId;
use clap::ArgGroup;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::context::Context;
use crate::output::{Answer, progress_line};

/// Serve buckets: store the CARs that they are asked to store
///
/// Serves buckets whose provider is the key that --key names (`bucket store provide` makes it so), and keeps the CARs in an
/// S3-compatible store. Anybody's bucket may name a key, and --from pays for what is told to it: --bucket says for whom to work, or
/// --all for everybody. It is their spaces' service as well: invocations in a space's queue that are addressed to its key are
/// run once and answered by signed receipts. Does what the buckets' outboxes ask for and tells them what came of it, with messages that --from
/// pays for. It may be ended and started again at any moment: ctrl-c, SIGTERM and SIGKILL lose nothing. Whoever has the URL of
/// an upload may put the CAR that it is for, so uploads go to --s3 as it is written here: others have to reach it too.
///
/// Example: bucket worker --key service --bucket did:key:zQ3s… --s3 https://s3.example.com --s3-bucket cars --capacity 100GiB
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("served").required(true).args(["bucket", "all"]))]
pub struct Worker {
    /// The service's key (a name or a DID): it signs events
    #[arg(long, value_name = "KEY", env = "BUCKET_WORKER_KEY")]
    key: String,

    /// The S3-compatible store
    #[arg(long, value_name = "URL", env = "BUCKET_S3")]
    s3: String,

    /// The S3 bucket, which has to be there, and to be this worker's alone: it deletes what none of its entries accounts for
    #[arg(long, value_name = "NAME", env = "BUCKET_S3_BUCKET")]
    s3_bucket: String,

    /// The name of the store's key
    #[arg(long, value_name = "KEY", env = "AWS_ACCESS_KEY_ID")]
    s3_access_key: String,

    /// Its secret; better in the environment than on the command line
    #[arg(long, value_name = "SECRET", env = "AWS_SECRET_ACCESS_KEY", hide_env_values = true)]
    s3_secret_key: String,

    /// The S3 bucket's name is part of the host
    #[arg(long)]
    s3_virtual_host: bool,

    /// The store's region
    #[arg(long, value_name = "REGION", env = "AWS_REGION", default_value = "us-east-1")]
    region: String,

    /// Serve this bucket and its space, if it names the key as its provider; may be given several times
    #[arg(long, value_name = "DID")]
    bucket: Vec<BucketId>,

    /// Serve every bucket that names the key as its provider, which anybody's may
    #[arg(long)]
    all: bool,

    /// Bytes that each bucket may store, like 1000000, 500MiB or 2TiB
    #[arg(long, value_name = "BYTES", env = "BUCKET_WORKER_CAPACITY", value_parser = bytes)]
    capacity: u64,

    /// Bytes that all buckets together may store. Default: --capacity for each
    #[arg(long, value_name = "BYTES", env = "BUCKET_WORKER_TOTAL", value_parser = bytes)]
    total: Option<u64>,

    /// Where it remembers what it allocated. Never begin with an empty one while buckets are served. Default: worker in the
    /// wallet's directory
    #[arg(long, value_name = "DIR", env = "BUCKET_WORKER_DATA")]
    data: Option<PathBuf>,

    /// Seconds between two looks at the index
    #[arg(long, value_name = "SECONDS", env = "BUCKET_WORKER_POLL", default_value_t = 5.0, value_parser = seconds)]
    poll: f64,

    /// Do what can be done now, and end; exit code 1 if some of it failed
    #[arg(long)]
    once: bool,
}

impl Worker {
    pub async fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        let Self { key, bucket, all, capacity, total, data, poll, once, .. } = &self;
        let key = cx.wallet()?.identity(key)?;
        let did = key.did();
        let s3 = S3::new(&self.s3())?;
        s3.check().await?;
        let data = data.clone().map_or_else(|| cx.home().map(|home| home.join("worker")), Ok)?;
        let ledger = Ledger::open(&data).map_err(|error| ClientError::File { path: error.path, why: error.why })?;
        let confidence = cx.confidence();
        // What --confidence asks for is asked of the effects: an event that is taken back is sent again.
        let chain = cx.signing_chain().await?.with_confidence(0).with_progress(Progress::default());
        let client = ActorClient::on(chain, cx.actor()?).with_gateway(cx.gateway()?);
        let buckets = (!all).then(|| bucket.iter().cloned().collect());
        let (total, poll) = (*total, Duration::from_secs_f64(*poll));
        let settings = Settings { total, confidence, buckets, poll, ..Settings::new(*capacity) };
        // What it wrote isn't looked at again.
        let waiting = ActorClient::on(client.chain().clone().with_confidence(confidence), client.address());
        let mut service = Service::open(waiting.with_gateway(cx.gateway()?), key.clone(), &data)?
            .with_buckets(settings.buckets.clone());
        let mut worker = worker::Worker::new(client, key, s3, ledger, settings);
        if !cx.is_quiet() {
            worker = worker.with_progress(Progress::new(progress_line));
            service = service.with_progress(Progress::new(progress_line));
        }
        cx.note(format!("{did} works, with its ledger in {}", data.display()));
        let failed = match once {
            true => {
                let failed = worker.once().await?;
                service.once().await?;
                failed
            }
            false => {
                let mut term = signal(SignalKind::terminate()).map_err(|error| super::file("SIGTERM", error))?;
                let stop = async {
                    tokio::select! {
                        _ = tokio::signal::ctrl_c() => {}
                        _ = term.recv() => {}
                    }
                };
                let never = std::future::pending;
                // Whatever is under way then is taken up by the next worker.
                tokio::select! {
                    () = stop => {}
                    () = worker.run(never()) => {}
                    () = service.run(poll, never()) => {}
                }
                0
            }
        };
        let text = match failed {
            0 => "done".to_owned(),
            failed => format!("{failed} entries or buckets failed for now: run it again"),
        };
        Ok(Answer::text(json!({"service": did, "failed": failed}), text).judged(failed == 0))
    }

    fn s3(&self) -> S3Settings {
        let settings =
            S3Settings::new(&self.s3, &self.s3_bucket, &self.region, &self.s3_access_key, &self.s3_secret_key);
        S3Settings { virtual_host: self.s3_virtual_host, ..settings }
    }
}

/// A number of bytes, with a unit or without.
fn bytes(text: &str) -> Result<u64, String> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40), ("PiB", 50)];
    let (number, shift) =
        units.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift))).unwrap_or((text, 0));
    let found = number.trim_end().parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    found.ok_or_else(|| format!("expected bytes like 1000000, 500MiB or 2TiB, got “{text}”"))
}

fn seconds(text: &str) -> Result<f64, String> {
    let found = text.parse().ok().filter(|seconds| (0.01..=86_400.0).contains(seconds));
    found.ok_or_else(|| format!("expected seconds, like 5 or 0.5, got “{text}”"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use clap::error::ErrorKind;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        worker: Worker,
    }

    fn line(rest: &str) -> Result<Worker, clap::Error> {
        let given = "worker --key k --s3 http://s --s3-bucket b --s3-access-key k --s3-secret-key s --capacity 1GiB";
        Line::try_parse_from(given.split(' ').chain(rest.split_whitespace())).map(|line| line.worker)
    }

    #[test]
    fn it_has_to_be_told_for_whom() {
        let refused = line("").unwrap_err();
        assert!(refused.to_string().contains("<--bucket <DID>|--all>"), "{refused}");
        assert_eq!(line("--all --bucket did:key:za").unwrap_err().kind(), ErrorKind::ArgumentConflict);
        let some = line("--bucket did:key:za --bucket did:key:zb --total 2GiB").unwrap();
        assert_eq!((some.bucket.len(), some.all, some.total), (2, false, Some(2 << 30)));
        let all = line("--all").unwrap();
        assert_eq!((all.bucket.len(), all.all, all.total), (0, true, None));
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes("1000"), Ok(1000));
        assert_eq!(bytes("3KiB"), Ok(3072));
        assert_eq!(bytes("5 GiB"), Ok(5 << 30));
        for bad in ["", "GiB", "1.5GiB", "-1", "1GB", "99999999PiB"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn pauses_are_seconds() {
        assert_eq!(seconds("0.5"), Ok(0.5));
        for bad in ["0", "-1", "NaN", "1e9", "x"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
