//! A local Filecoin network with one node: `bucket-devnet --help`.

use std::{fmt::Write as _, fs, io::Write as _, net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use bucket_devnet::{
    Config, Devnet,
    check::{CheckedModule, check_wasm},
    config::{GenesisActor, Mining},
};
use bucket_rpc::eth::EthAddress;
use clap::{Args, Parser, Subcommand};
use fvm_shared::{clock::ChainEpoch, econ::TokenAmount};
use tracing_subscriber::{EnvFilter, fmt};

/// A local Filecoin network that runs real wasm actors on the real FVM and speaks Lotus' JSON-RPC.
///
/// Unlike the real networks it lets anyone install native actors. RUST_LOG sets what is logged.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Load a wasm module into the FVM's engine; print its size and code CID, or why the engine refuses it.
    CheckWasm {
        /// The module.
        file: PathBuf,
    },
}

#[derive(Args)]
struct RunArgs {
    /// Where to serve JSON-RPC, at /rpc/v1, over HTTP and WebSocket. Port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:1234", env = "BUCKET_DEVNET_LISTEN")]
    listen: SocketAddr,
    /// Keep the chain in this directory and continue the one that is there; without it, in memory.
    #[arg(long, value_name = "DIR", env = "BUCKET_DEVNET_STATE")]
    state: Option<PathBuf>,
    /// When to make tipsets: `instant` for every message, `interval:SECS`, or `manual` with Devnet.Mine.
    #[arg(long, default_value = "instant", value_parser = parse_mining)]
    mining: Mining,
    /// How many accounts to fund. Devnet.Accounts gives their keys.
    #[arg(long, value_name = "N", default_value_t = 10)]
    accounts: usize,
    /// How many accounts with an Ethereum key (f410) to fund as well.
    #[arg(long, value_name = "N", default_value_t = 1)]
    eth_accounts: usize,
    /// What each account owns, in FIL.
    #[arg(long, value_name = "FIL", default_value_t = 1_000_000)]
    balance: u64,
    /// What the accounts' keys are derived from.
    #[arg(long, default_value = "bucket-devnet")]
    seed: String,
    /// As Filecoin.StateNetworkName gives it.
    #[arg(long, value_name = "NAME", default_value = "bucket-devnet")]
    network_name: String,
    /// The base fee of genesis in attoFIL; it moves by Filecoin's rule.
    #[arg(long, value_name = "ATTOFIL", default_value_t = 100)]
    base_fee: u64,
    /// How many epochs behind the head count as final.
    #[arg(long, value_name = "EPOCHS", default_value_t = 900)]
    finality: ChainEpoch,
    /// Install this wasm module from the beginning; may be repeated.
    #[arg(long, value_name = "FILE.wasm")]
    install: Vec<PathBuf>,
    /// Take the built-in actors of an official bundle, all but Init.
    #[arg(long, value_name = "FILE.car")]
    bundle: Option<PathBuf>,
    /// Let actors log. It costs gas, so it belongs to the chain and cannot be changed later.
    #[arg(long)]
    actor_debugging: bool,
}

fn main() -> ExitCode {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,wasmtime=warn,cranelift=warn"));
    fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let Cli { command, run } = Cli::parse();
    let result = match command {
        Some(Command::CheckWasm { file }) => check(&file),
        None => serve(run),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn check(file: &PathBuf) -> Result<()> {
    let wasm = read(file)?;
    let CheckedModule { size, code_cid } = check_wasm(&wasm).with_context(|| file.display().to_string())?;
    println!("{size} bytes, code CID {code_cid}");
    Ok(())
}

fn read(file: &PathBuf) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

#[tokio::main(flavor = "current_thread")]
async fn serve(args: RunArgs) -> Result<()> {
    let devnet = Devnet::spawn(config(args)?)?;
    let mut greeting = format!("JSON-RPC at {}\nfunded accounts, whose keys Devnet.Accounts gives:\n", devnet.url());
    for index in 0..devnet.config().accounts {
        writeln!(greeting, "  {}", devnet.account(index)?.address())?;
    }
    for index in 0..devnet.config().eth_accounts {
        let address = devnet.eth_account(index)?.address();
        let ethereum = EthAddress::of(&address).context("an Ethereum account without an Ethereum address")?;
        writeln!(greeting, "  {address} ({ethereum})")?;
    }
    // Nobody has to read it.
    let _ = std::io::stdout().write_all(greeting.as_bytes());
    wait_for_signal().await?;
    tracing::info!("Stopping");
    devnet.stop();
    Ok(())
}

fn config(args: RunArgs) -> Result<Config> {
    let RunArgs {
        listen,
        state,
        mining,
        accounts,
        eth_accounts,
        balance,
        seed,
        network_name,
        base_fee,
        finality,
        install,
        bundle,
        actor_debugging,
    } = args;
    Ok(Config {
        listen,
        state_dir: state,
        mining,
        accounts,
        eth_accounts,
        balance: TokenAmount::from_whole(balance),
        seed,
        network_name,
        base_fee: TokenAmount::from_atto(base_fee),
        finality,
        actors: install.iter().map(genesis_actor).collect::<Result<_>>()?,
        bundle,
        actor_debugging,
        ..Config::default()
    })
}

fn genesis_actor(file: &PathBuf) -> Result<GenesisActor> {
    let wasm = read(file)?;
    check_wasm(&wasm).with_context(|| file.display().to_string())?;
    let name = file.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    Ok(GenesisActor { name, wasm })
}

fn parse_mining(text: &str) -> Result<Mining, String> {
    let expected = || format!("expected `instant`, `interval:SECS` or `manual`, got {text:?}");
    match text {
        "instant" => Ok(Mining::Instant),
        "manual" => Ok(Mining::Manual),
        _ => {
            let seconds = text.strip_prefix("interval:").ok_or_else(expected)?;
            let seconds: f64 = seconds.parse().map_err(|_| expected())?;
            // A millisecond to a month; this refuses NaN as well.
            if !(0.001..=2_592_000.0).contains(&seconds) {
                return Err(format!("{}, with 0.001 to 2592000 seconds", expected()));
            }
            Ok(Mining::Interval((seconds * 1000.0) as u64))
        }
    }
}

/// Ctrl-C, or the signal that service managers send.
async fn wait_for_signal() -> Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result?,
        _ = terminate.recv() => {}
    }
    Ok(())
}
