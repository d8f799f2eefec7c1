//! `bucket-indexer`: follow and serve, or validate.

use std::process::ExitCode;

use anyhow::Result;
use bucket_indexer::validate::validate;
use bucket_indexer::{Config, Indexer};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;
use tracing_subscriber::EnvFilter;

/// Follows a bucket actor, re-executes its messages, and serves buckets, receipts and blocks over HTTP.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    config: Config,
}

#[derive(Subcommand)]
enum Command {
    /// Compare the index with the chain, print the verdict, and exit with 1 when something is wrong.
    Validate,
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let Cli { command, config } = Cli::parse();
    let ended = match command {
        Some(Command::Validate) => verdict(config).await,
        None => run(config).await.map(|()| ExitCode::SUCCESS),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

async fn run(config: Config) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => info!("Stopping: SIGTERM"),
            _ = tokio::signal::ctrl_c() => info!("Stopping: interrupt"),
        }
    };
    Indexer::build(config).await?.run(stop).await
}

async fn verdict(config: Config) -> Result<ExitCode> {
    let verdict = validate(&config).await?;
    println!("{verdict}");
    Ok(if verdict.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
