//! What a subcommand works with, made of flags, environment and settings.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bucket_client::config::{Config, INDEXER, NODE, home};
use bucket_client::{ActorClient, Chain, ClientError, Gateway, Progress, Wallet};
use bucket_rpc::Client;
use bucket_rpc::json::{network_named, parse_address, set_network};
use bucket_rpc::methods::StateNetworkName;
use fvm_shared::address::Address;

use crate::args::Globals;
use crate::output::progress_line;

/// How long a command that needs no node asks one for the letter of its addresses.
const GLANCE: Duration = Duration::from_millis(800);

/// See the module.
pub struct Context {
    globals: Globals,
}

impl Context {
    pub fn new(globals: Globals) -> Self {
        Self { globals }
    }

    pub fn home(&self) -> Result<PathBuf, ClientError> {
        self.globals.wallet.clone().map_or_else(home, Ok)
    }

    pub fn wallet(&self) -> Result<Wallet, ClientError> {
        self.home().map(Wallet::open)
    }

    pub fn config(&self) -> Result<Config, ClientError> {
        Config::load(&self.home()?)
    }

    pub fn save(&self, config: &Config) -> Result<(), ClientError> {
        config.save(&self.home()?)
    }

    /// The node as it was named on the command line or in the environment.
    pub fn named_node(&self) -> Option<&String> {
        self.globals.node.as_ref()
    }

    /// The indexer as it was named on the command line or in the environment.
    pub fn named_indexer(&self) -> Option<&String> {
        self.globals.indexer.as_ref()
    }

    fn rpc(&self) -> Result<Client, ClientError> {
        let node = self.globals.node.clone().or(self.config()?.node);
        Ok(Client::from_api_info(node.as_deref().unwrap_or(NODE))?)
    }

    /// The node, which is there: its network's letter is used from now on.
    pub async fn node(&self) -> Result<Client, ClientError> {
        let rpc = self.rpc()?;
        set_network(network_named(&rpc.call::<StateNetworkName>(()).await?));
        Ok(rpc)
    }

    /// Uses the letter of the node's network if there is a node, for commands that can do without.
    pub async fn glance_at_network(&self) {
        if let Ok(rpc) = self.rpc()
            && let Ok(name) = rpc.call_with_timeout::<StateNetworkName>((), GLANCE).await
        {
            set_network(network_named(&name));
        }
    }

    /// The node, for reading.
    pub async fn chain(&self) -> Result<Chain, ClientError> {
        let Globals { quiet, confidence, timeout, .. } = self.globals;
        let chain =
            Chain::new(self.node().await?).with_confidence(confidence).with_timeout(Duration::from_secs(timeout));
        Ok(if quiet { chain } else { chain.with_progress(Progress::new(progress_line)) })
    }

    /// The node, with the key that signs.
    pub async fn signing_chain(&self) -> Result<Chain, ClientError> {
        // A missing key is told before a missing node.
        let key = self.wallet()?.key(&self.from()?)?;
        Ok(self.chain().await?.with_signer(Arc::new(key)))
    }

    /// Who signs and pays.
    pub fn from(&self) -> Result<Address, ClientError> {
        match self.globals.from {
            Some(address) => Ok(address),
            None => self.wallet()?.default()?.ok_or(ClientError::NoKey),
        }
    }

    /// The bucket actor, for reading.
    pub async fn client(&self) -> Result<ActorClient, ClientError> {
        let actor = self.actor()?;
        self.on(self.chain().await?, actor)
    }

    /// The bucket actor, with the key that signs.
    pub async fn signing_client(&self) -> Result<ActorClient, ClientError> {
        let actor = self.actor()?;
        self.on(self.signing_chain().await?, actor)
    }

    fn on(&self, chain: Chain, actor: Address) -> Result<ActorClient, ClientError> {
        Ok(ActorClient::on(chain, actor).with_gateway(self.gateway()?))
    }

    /// The bucket actor's address.
    pub fn actor(&self) -> Result<Address, ClientError> {
        if let Some(actor) = self.globals.actor {
            return Ok(actor);
        }
        let unset = ClientError::Unset {
            what: "the bucket actor's address",
            hint: "Deploy one with `bucket deploy`, or name one with --actor or BUCKET_ACTOR.",
        };
        let actor = self.config()?.actor.ok_or(unset)?;
        parse_address(&actor).map_err(|error| ClientError::Input(format!("config.json, actor: {error}")))
    }

    /// The indexer.
    pub fn gateway(&self) -> Result<Gateway, ClientError> {
        let indexer = self.globals.indexer.clone().or(self.config()?.indexer);
        Gateway::new(indexer.as_deref().unwrap_or(INDEXER))
    }

    /// How many epochs are waited for above a message's result.
    pub fn confidence(&self) -> u64 {
        self.globals.confidence
    }

    /// How long a message, a receipt or a service is waited for.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.globals.timeout)
    }

    /// Whether progress is to be told.
    pub fn is_quiet(&self) -> bool {
        self.globals.quiet
    }

    /// Tells a line of progress.
    pub fn note(&self, text: impl Into<String>) {
        if !self.globals.quiet {
            progress_line(&bucket_client::Step::Note(text.into()));
        }
    }
}
