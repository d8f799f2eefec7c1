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
    #[command(subcommand)]
    Key(cmd::key::Key),
    Deploy(cmd::deploy::Deploy),
    Create(cmd::create::Create),
    Invoke(cmd::invoke::Invoke),
    Schedule(cmd::schedule::Schedule),
    Run(cmd::run::Run),
    Pack(cmd::pack::Pack),
    Stage(cmd::stage::Stage),
    Unstage(cmd::unstage::Unstage),
    #[command(subcommand)]
    Store(cmd::store::Store),
    Worker(cmd::worker::Worker),
    Receipt(cmd::receipt::Receipt),
    Delegate(cmd::delegate::Delegate),
    Revoke(cmd::revoke::Revoke),
    Open(cmd::open::Open),
    Close(cmd::close::Close),
    #[command(subcommand)]
    Ucan(cmd::ucan::Ucan),
    Proof(cmd::proof::Proof),
    VerifyProof(cmd::verify_proof::VerifyProof),
    Bucket(cmd::bucket::Bucket),
    Queue(cmd::queue::Queue),
    Status(cmd::status::Status),
    #[command(subcommand)]
    Space(cmd::space::Space),
    #[command(subcommand)]
    Car(cmd::car::Car),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use expect_test::{Expect, expect};

    use super::*;

    const BUCKET: &str = "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme";

    #[test]
    fn the_table_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_command_of_a_new_user_parses() {
        let car = bucket_core::cid::CarId([0; 32]).to_string();
        let lines: &[&[&str]] = &[
            &["wallet", "new", "--json"],
            &["wallet", "import"],
            &["deploy", "--node", "/ip4/127.0.0.1/tcp/1234/http"],
            &["create", "--mode", "mutex", "--controller", "t01000", "--controller", "f01001"],
            &["invoke", BUCKET, "/kv/put", r#"{"key": 1}"#, "--file", "value=a=b.png", "--nonce", "00ff", "--wait"],
            &["invoke", BUCKET, "/echo"],
            &["schedule", BUCKET, "--car", "task.car", "--force"],
            &[
                "schedule", BUCKET, "/echo", "--as", "alice", "--proof", "a.ucan", "--proof", "b.car", "--exp", "1",
                "--wait",
            ],
            &["schedule", BUCKET, "/echo", "--hook", "t01234:OnReceipt"],
            &["pack", BUCKET, "/echo", "--as", "alice", "--save", "task.car"],
            &["key", "new", "--type", "p256", "--name", "alice"],
            &["key", "show", BUCKET],
            &["create", "--did", "alice", "--no-controllers"],
            &["create", "--proof", "proof.car"],
            &["create", "--did", BUCKET, "--save-proof", "proof.car"],
            &["delegate", "--as", "a", "--to", BUCKET, "--bucket", BUCKET, "--cmd", "/", "--for", "7d", "-o", "b.ucan"],
            &["revoke", "b.ucan", "--bucket", BUCKET, "--as", "alice"],
            &["open", BUCKET, "/kv/put", "--to", BUCKET],
            &["close", BUCKET, "/kv/put", "--as", BUCKET],
            &["ucan", "verify", "b.ucan", "--at", "1767225600", "--audience", BUCKET],
            &["stage", "large.car"],
            &["unstage", &car],
            &["receipt", BUCKET, &car, "--follow"],
            &["run", BUCKET, "--max", "3"],
            &["receipt", BUCKET, &car, "--wait", "--out", "f.car"],
            &["proof", BUCKET, &car, "--wait", "--out", "proof.car"],
            &["store", "add", BUCKET, "holiday.mp4", "--as", "alice"],
            &["store", "provide", "name", BUCKET],
            &["store", "ls", BUCKET],
            &["store", "status", BUCKET, &car],
            &[
                "worker",
                "--key",
                "service",
                "--s3",
                "http://127.0.0.1:9000",
                "--s3-bucket",
                "cars",
                "--s3-access-key",
                "a",
                "--s3-secret-key",
                "b",
                "--capacity",
                "1GiB",
                "--bucket",
                BUCKET,
                "--total",
                "1TiB",
                "--confidence",
                "5",
                "--poll",
                "0.5",
                "--once",
            ],
            &["verify-proof", "proof.car", "--actor", "t01000", "--bucket", BUCKET, "--car", &car],
            &["--quiet", "queue", BUCKET],
            &["space", "pull", BUCKET, "--trust", BUCKET],
            &["space", "put", BUCKET, "/a", r#"{"text": 1}"#, "--as", "alice", "--proof", "a.ucan"],
            &["space", "put", BUCKET, "/a", "--file", "photo.png"],
            &["space", "rm", BUCKET, "/a", "/b"],
            &["space", "ls", BUCKET, "/blob/", "--limit", "5", "--after", "/blob/z", "--verify", "--service", BUCKET],
            &["space", "get", BUCKET, "/a", "--out", "photo.png"],
            &["space", "queue", BUCKET, "invocation.car"],
            &["space", "status", BUCKET],
            &["space", "drop", BUCKET, "--author", BUCKET],
            &["space", "drop", BUCKET, "--allow", BUCKET],
            &["space", "push", BUCKET],
            &["space", "sync", BUCKET, "http://127.0.0.1:4190"],
            &["space", "serve", "--listen", "127.0.0.1:0"],
            &["space", "import", "-", "--out", "tree.car"],
            &["car", "pack", "--root", "a.json", "--block", "b", "--block", "c", "-o", "out.car"],
            &["car", "verify", "any.car", "--json"],
        ];
        for line in lines {
            let args = std::iter::once(&"bucket").chain(*line);
            Args::try_parse_from(args).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        }
    }

    fn refused(line: &[&str], expected: Expect) {
        let error = Args::try_parse_from(std::iter::once(&"bucket").chain(line)).unwrap_err().to_string();
        let first: Vec<_> = error.lines().take_while(|line| !line.is_empty()).collect();
        expected.assert_eq(&first.join("\n"));
    }

    #[test]
    fn mistakes_are_told_with_what_was_expected() {
        refused(
            &["create", "--mode", "both"],
            expect!["error: invalid value 'both' for '--mode <MODE>': expected atomic or mutex, got “both”"],
        );
        refused(
            &["run", "did:key"],
            expect![
                "error: invalid value 'did:key' for '<BUCKET>': expected a DID like did:key:z6Mk… of at most 256 bytes, got “did:key”"
            ],
        );
        refused(
            &["run", BUCKET, "--actor", "x01"],
            expect![[
                r#"error: invalid value 'x01' for '--actor <ACTOR>': expected an address such as t01234 or f410f…, got "x01": Unknown address network"#
            ]],
        );
        refused(
            &["invoke", BUCKET, "/echo", "--nonce", "xyz"],
            expect!["error: invalid value 'xyz' for '--nonce <HEX>': expected hex, like 00ff: Odd number of digits"],
        );
        refused(
            &["invoke", BUCKET, "/echo", "--file", "photo.png"],
            expect![
                "error: invalid value 'photo.png' for '--file <NAME=PATH>': expected NAME=PATH, like value=photo.png"
            ],
        );
        refused(
            &["invoke", BUCKET],
            expect![[r#"
            error: the following required arguments were not provided:
              <CMD>"#]],
        );
        refused(
            &["receipt", BUCKET, "bafkqaaa"],
            expect![
                "error: invalid value 'bafkqaaa' for '<CAR>': expected the CID of a CAR (v1, codec 0x202, sha2-256, like bag…), got bafkqaaa"
            ],
        );
    }
}
