//! Settings, from flags and the environment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bucket_rpc::json::parse_address;
use clap::Args;
use fvm_shared::address::Address;

/// What to follow, where to keep it, where to serve it.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// The node: a URL like http://127.0.0.1:1234/rpc/v1, or TOKEN:ADDRESS as Lotus writes it.
    #[arg(long, env = "FULLNODE_API_INFO", global = true, default_value = "http://127.0.0.1:1234/rpc/v1")]
    #[arg(hide_env_values = true)]
    pub node: String,

    /// The bucket actor: f0…, f2… or f4….
    #[arg(long, env = "BUCKET_ACTOR", global = true, value_parser = address)]
    pub actor: Option<Address>,

    /// The folder of the index; it is made when it isn't there.
    #[arg(long, env = "BUCKET_INDEXER_DATA", global = true, default_value = "bucket-indexer-data")]
    pub data: PathBuf,

    /// The key that signs receipts: a file with an Ed25519 private key as a multikey. Without one, DATA/key is used, and made
    /// when it isn't there.
    #[arg(long, env = "BUCKET_INDEXER_KEY")]
    pub key: Option<PathBuf>,

    /// Where to serve HTTP; port 0 takes a free one.
    #[arg(long, env = "BUCKET_INDEXER_LISTEN", default_value = "127.0.0.1:4180")]
    pub listen: SocketAddr,

    /// How long to wait between looks at the chain, like 500ms or 5s.
    #[arg(long, env = "BUCKET_INDEXER_POLL_INTERVAL", default_value = "5s", value_parser = duration)]
    pub poll_interval: Duration,

    /// The epoch to begin with; without it, the actor's creation is searched for.
    #[arg(long, env = "BUCKET_INDEXER_START_EPOCH")]
    pub start_epoch: Option<i64>,

    /// Epochs behind the chain from which on /readyz says no.
    #[arg(long, env = "BUCKET_INDEXER_MAX_LAG", default_value_t = 10)]
    pub max_lag: i64,
}

impl Config {
    /// A configuration with the defaults of the flags.
    pub fn new(node: impl Into<String>, actor: Address, data: impl Into<PathBuf>) -> Self {
        Self {
            node: node.into(),
            actor: Some(actor),
            data: data.into(),
            key: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 4180)),
            poll_interval: Duration::from_secs(5),
            start_epoch: None,
            max_lag: 10,
        }
    }

    /// How long the node may be silent before /readyz says no.
    pub fn silence_max(&self) -> Duration {
        (self.poll_interval * 4).max(Duration::from_secs(60))
    }
}

fn address(text: &str) -> Result<Address, String> {
    parse_address(text).map_err(|error| error.to_string())
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("expected a time like 500ms or 5s, got “{text}”");
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (text.strip_suffix('s').ok_or_else(wrong)?, 1000),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let millis = number.checked_mul(unit).filter(|millis| (1..=3_600_000).contains(millis)).ok_or_else(wrong)?;
    Ok(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("5s"), Ok(Duration::from_secs(5)));
        for bad in ["", "5", "0s", "s", "-1s", "1.5s", "2h", "99999999999999999999s", "9999s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
