//! An S3 server over a folder, for demonstrations and laptops: `bucket-s3 --dir DIR --access-key KEY --secret-key SECRET`.
//!
//! Prints its URL when it is ready, and serves until it is told to end (ctrl-c or SIGTERM).

use std::net::SocketAddr;
use std::path::PathBuf;

use bucket_tests::s3::S3;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// An S3 server over a folder
#[derive(Debug, Parser)]
struct Args {
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,

    /// The folder: each folder in it is a bucket, each file an object
    #[arg(long)]
    dir: PathBuf,

    /// Make this bucket, if it isn't there
    #[arg(long, value_name = "NAME")]
    bucket: Option<String>,

    /// The name of the one key that may
    #[arg(long, value_name = "KEY", env = "AWS_ACCESS_KEY_ID")]
    access_key: String,

    /// Its secret
    #[arg(long, value_name = "SECRET", env = "AWS_SECRET_ACCESS_KEY", hide_env_values = true)]
    secret_key: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Args { listen, dir, bucket, access_key, secret_key } = Args::parse();
    let mut term = signal(SignalKind::terminate())?;
    let server = S3::start(listen, &dir, &access_key, &secret_key).await?;
    if let Some(bucket) = bucket {
        server.create_bucket(&bucket)?;
    }
    println!("{}", server.url());
    tokio::select! {
        ended = tokio::signal::ctrl_c() => ended?,
        _ = term.recv() => {}
    }
    Ok(())
}
