//! `bucket`: Bucket VM from the command line.
//!
//! One file is one subcommand. Each gives an [`Answer`](output::Answer) or an error, and printing is done here, once:
//! answers and, with `--json`, errors go to stdout; progress and errors for people go to stderr.

mod args;
mod cmd;
mod context;
mod output;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use args::{Args, Command};
use context::Context;
use output::{Answer, print_answer, print_error, print_usage};

#[tokio::main]
async fn main() -> ExitCode {
    let Args { globals, command } = match Args::try_parse() {
        Ok(args) => args,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => error.exit(),
        Err(error) => return print_usage(&error),
    };
    let json = globals.json;
    match run(command, &Context::new(globals)).await {
        Ok(answer) => print_answer(&answer, json),
        Err(error) => print_error(&error, json),
    }
}

async fn run(command: Command, cx: &Context) -> Result<Answer, bucket_client::ClientError> {
    match command {
        Command::Wallet(command) => command.run(cx).await,
        Command::Key(command) => command.run(cx),
        Command::Deploy(command) => command.run(cx).await,
        Command::Create(command) => command.run(cx).await,
        Command::Schedule(command) => command.run(cx).await,
        Command::Run(command) => command.run(cx).await,
        Command::Invoke(command) => command.run(cx).await,
        Command::Pack(command) => command.run(cx),
        Command::Stage(command) => command.run(cx).await,
        Command::Unstage(command) => command.run(cx).await,
        Command::Delegate(command) => command.run(cx),
        Command::Revoke(command) => command.run(cx).await,
        Command::Open(command) => command.run(cx).await,
        Command::Close(command) => command.run(cx).await,
        Command::Ucan(command) => command.run(),
        Command::Store(command) => command.run(cx).await,
        Command::Worker(command) => command.run(cx).await,
        Command::Receipt(command) => command.run(cx).await,
        Command::Proof(command) => command.run(cx).await,
        Command::VerifyProof(command) => command.run(),
        Command::Bucket(command) => command.run(cx).await,
        Command::Queue(command) => command.run(cx).await,
        Command::Status(command) => command.run(cx).await,
        Command::Space(command) => command.run(cx).await,
        Command::Car(command) => command.run(),
    }
}
