//! `bucket deploy`

use std::path::PathBuf;

use bucket_client::ClientError;
use bucket_client::deploy::deploy;
use bucket_rpc::json::format_address;
use serde_json::json;

use super::read;
use crate::context::Context;
use crate::output::Answer;

/// Bring the bucket actor to a network
///
/// Works on networks that admit native actors: the project's devnet, a Lotus devnet whose Init admits the code, an IPC
/// subnet with custom actors. Mainnet and calibration admit none; that is found out before anything is signed.
///
/// Example: bucket deploy --node http://127.0.0.1:1234
#[derive(Debug, clap::Args)]
pub struct Deploy {
    /// The actor's wasm module. Default: the one that this program was built with
    #[arg(long, value_name = "FILE")]
    wasm: Option<PathBuf>,
}

impl Deploy {
    pub async fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        let Self { wasm } = self;
        let wasm = wasm.map_or_else(|| Ok(bucket_actor_wasm::WASM.to_vec()), |path| read(&path))?;
        let deployed = deploy(&cx.signing_chain().await?, &wasm).await?;
        let (id, robust) = (format_address(&deployed.id), format_address(&deployed.robust));

        let mut config = cx.config()?;
        if let Some(other) = config.actor.filter(|other| *other != robust) {
            cx.note(format!("config.json named the actor {other} before; --actor reaches it"));
        }
        config.actor = Some(robust.clone());
        // Commands after this one should find the same actor, so also the same node and indexer.
        config.node = cx.named_node().cloned().or(config.node);
        config.indexer = cx.named_indexer().cloned().or(config.indexer);
        cx.save(&config)?;

        let messages: Vec<_> = deployed.messages.iter().map(ToString::to_string).collect();
        let json = json!({
            "network": deployed.network, "actor": robust, "id": id, "code": deployed.code.to_string(),
            "installed": deployed.installed, "gasUsed": deployed.gas_used, "messages": messages,
        });
        let lines = [
            ("network", deployed.network),
            ("actor", format!("{robust} ({id}), kept in config.json")),
            ("code", deployed.code.to_string()),
            ("gas", deployed.gas_used.to_string()),
        ];
        Ok(Answer::table(json, &lines))
    }
}
