//! The command line as a whole: what every subcommand takes, and the table of subcommands.

use std::path::PathBuf;

use bucket_rpc::json::parse_address;
use clap::{Parser, Subcommand};
use fvm_shared::address::Address;

use crate::cmd;

/// Bucket VM: named state machines on Filecoin, fed by CAR files.
///
/// A first session, with a devnet and an indexer running:
///
///   bucket wallet new && bucket wallet fund
///   bucket deploy
///   bucket create
///   bucket invoke did:key:zQ3s… /kv/put '{"key": "greeting", "value": "hello"}' --wait
#[derive(Debug, Parser)]
#[command(name = "bucket", version, verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    pub globals: Globals,
    #[command(subcommand)]
    pub command: Command,
}

/// What every subcommand takes. Flags come before the environment, and that before `config.json` in the wallet's directory.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Globals {
    /// Print one JSON object, for errors as well
    #[arg(long, global = true)]
    pub json: bool,

    /// Print no progress
    #[arg(long, short, global = true)]
    pub quiet: bool,

    /// The node: a URL or a multiaddress, with "TOKEN:" before it if it wants one
    ///
    /// Any Lotus-compatible node will do. Default: http://127.0.0.1:1234/rpc/v1
    #[arg(long, global = true, value_name = "ADDRESS", env = "FULLNODE_API_INFO", hide_env_values = true)]
    pub node: Option<String>,

    /// The bucket actor's address; `bucket deploy` keeps it in config.json
    #[arg(long, global = true, env = "BUCKET_ACTOR", value_parser = parse_address)]
    pub actor: Option<Address>,

    /// The indexer to fetch receipts from. Default: http://127.0.0.1:4180
    #[arg(long, global = true, value_name = "URL", env = "BUCKET_INDEXER")]
    pub indexer: Option<String>,

    /// The directory of keys and settings. Default: ~/.bucket
    #[arg(long, global = true, value_name = "DIR", env = "BUCKET_HOME")]
    pub wallet: Option<PathBuf>,

    /// The address that signs and pays. Default: the wallet's default
    #[arg(long, global = true, value_name = "ADDRESS", env = "BUCKET_FROM", value_parser = parse_address)]
    pub from: Option<Address>,

    /// Wait for so many epochs above a message's result; on a public network 5 is a good choice
    #[arg(long, global = true, value_name = "EPOCHS", default_value_t = 0)]
    pub confidence: u64,

    /// Wait at most so long for a message or a receipt
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 600)]
    pub timeout: u64,
}

/// The table of subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(subcommand)]
    Wallet(cmd::wallet::Wallet),
    Deploy(cmd::deploy::Deploy),
    Create(cmd::create::Create),
    Invoke(cmd::invoke::Invoke),
    Schedule(cmd::schedule::Schedule),
    Run(cmd::run::Run),
    Receipt(cmd::receipt::Receipt),
    Bucket(cmd::bucket::Bucket),
    Status(cmd::status::Status),
    #[command(subcommand)]
    Car(cmd::car::Car),
}
