//! What a devnet is started with.
//!
//! Everything down to [`Config::actor_debugging`] is written into genesis or changes what a message costs, so it has
//! to stay the same for as long as a state directory lives. The rest may differ at every start.

use std::{net::SocketAddr, path::PathBuf};

pub use bucket_rpc::json::MiningMode as Mining;
use fvm_shared::{clock::ChainEpoch, econ::TokenAmount};

/// The network version whose price list and rules apply: that of the real networks in 2026.
pub const NETWORK_VERSION: u32 = 28;

/// The EIP-155 id that Filecoin's local networks commonly take.
pub const CHAIN_ID: u64 = 31_415_926;

/// Settings of a devnet. `Config::default()` is a devnet in memory that mines at once.
#[derive(Debug, Clone)]
pub struct Config {
    /// As `Filecoin.StateNetworkName` gives it.
    pub network_name: String,
    /// How many accounts genesis funds.
    pub accounts: usize,
    /// How many f410 accounts, with an Ethereum key, genesis funds beside them.
    pub eth_accounts: usize,
    /// What each of all these accounts owns.
    pub balance: TokenAmount,
    /// What the accounts' keys are derived from. They are public: anyone can have them.
    pub seed: String,
    /// The base fee of genesis. It moves by Filecoin's rule and never falls below 100 attoFIL.
    pub base_fee: TokenAmount,
    /// Code that is installed from the beginning, under a name for people.
    pub actors: Vec<GenesisActor>,
    /// An official bundle of built-in actors (a CAR), to take the place of the devnet's small ones; Init stays ours.
    pub bundle: Option<PathBuf>,
    /// The time of genesis. When set, epoch n is at `genesis_timestamp + n * block_delay` and two devnets with the
    /// same messages have the same CIDs; else tipsets carry the time of the clock.
    pub genesis_timestamp: Option<u64>,
    /// Seconds between epochs, as far as they are computed.
    pub block_delay: u64,
    /// Lets actors log. It costs gas, therefore it is fixed for the whole life of a chain.
    pub actor_debugging: bool,

    /// Where the chain is kept; in memory only when left out.
    pub state_dir: Option<PathBuf>,
    /// When tipsets are made.
    pub mining: Mining,
    /// How many epochs behind the head count as final. The real networks' worst case is 900.
    pub finality: ChainEpoch,
    /// Where JSON-RPC is served. Port 0 takes a free one.
    pub listen: SocketAddr,
}

/// Code that genesis installs.
#[derive(Debug, Clone)]
pub struct GenesisActor {
    /// For people: `Devnet.Info` shows it.
    pub name: String,
    /// The module.
    pub wasm: Vec<u8>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            network_name: "bucket-devnet".into(),
            accounts: 10,
            eth_accounts: 1,
            balance: TokenAmount::from_whole(1_000_000),
            seed: "bucket-devnet".into(),
            base_fee: TokenAmount::from_atto(100),
            actors: Vec::new(),
            bundle: None,
            genesis_timestamp: None,
            block_delay: 30,
            actor_debugging: false,
            state_dir: None,
            mining: Mining::Instant,
            finality: 900,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        }
    }
}
