//! `bucket status`

use bucket_client::{ClientError, Gateway};
use bucket_rpc::Client;
use bucket_rpc::json::{TipsetKey, format_address};
use bucket_rpc::methods::{ChainHead, StateGetActor, StateNetworkName, WalletBalance};
use fvm_shared::address::Address;
use serde_json::{Value, json};

use crate::context::Context;
use crate::output::Answer;

/// Show node, actor, wallet and indexer, and what is missing
///
/// Example: bucket status
#[derive(Debug, clap::Args)]
pub struct Status {}

impl Status {
    pub async fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        let Self {} = self;
        let rpc = cx.node().await?;
        let network = rpc.call::<StateNetworkName>(()).await?;
        let height = rpc.call::<ChainHead>(()).await?.height;
        let (actor, actor_good) = actor(cx, &rpc).await?;
        let (wallet, wallet_good) = wallet(cx, &rpc).await?;
        let gateway = cx.gateway()?;
        let (indexer, indexer_good) = indexer(&gateway).await;
        let json = json!({
            "network": network, "height": height, "node": rpc.url(),
            "actor": {"ok": actor_good, "text": actor}, "wallet": {"ok": wallet_good, "text": wallet},
            "indexer": {"ok": indexer_good, "url": gateway.url(), "text": indexer},
        });
        let lines = [
            ("node", format!("{} ({network}, epoch {height})", rpc.url())),
            ("actor", actor),
            ("wallet", wallet),
            ("indexer", format!("{}: {indexer}", gateway.url())),
        ];
        Ok(Answer::table(json, &lines).judged(actor_good && wallet_good && indexer_good))
    }
}

async fn actor(cx: &Context, rpc: &Client) -> Result<(String, bool), ClientError> {
    let address = match cx.actor() {
        Ok(address) => address,
        Err(ClientError::Unset { .. }) => return Ok(("none yet: `bucket deploy` makes one".into(), false)),
        Err(error) => return Err(error),
    };
    let shown = format_address(&address);
    match rpc.call::<StateGetActor>((address.into(), TipsetKey::HEAD)).await {
        Ok(state) if state.code == bucket_actor_wasm::code_cid() => Ok((shown, true)),
        Ok(state) => Ok((format!("{shown}, whose code {} is not this version's", state.code), false)),
        Err(error) if error.is_transient() => Err(error.into()),
        Err(_) => Ok((format!("{shown}, which is not on this network"), false)),
    }
}

async fn wallet(cx: &Context, rpc: &Client) -> Result<(String, bool), ClientError> {
    let address: Address = match cx.from() {
        Ok(address) => address,
        Err(ClientError::NoKey) => return Ok(("no key yet: `bucket wallet new` makes one".into(), false)),
        Err(error) => return Err(error),
    };
    let balance = rpc.call::<WalletBalance>((address.into(),)).await?.into_inner();
    Ok((format!("{} with {balance} FIL", format_address(&address)), !balance.atto().eq(&0.into())))
}

async fn indexer(gateway: &Gateway) -> (String, bool) {
    let ready = match gateway.get("readyz", "application/json").await {
        Ok((_, body)) => serde_json::from_slice::<Value>(&body).unwrap_or_default(),
        Err(_) => return ("does not answer".into(), false),
    };
    match (&ready["ready"], &ready["reasons"]) {
        (Value::Bool(true), _) => ("ready".into(), true),
        (Value::Bool(false), Value::Array(reasons)) => {
            let reasons: Vec<_> = reasons.iter().map(|reason| reason.as_str().unwrap_or("?")).collect();
            (format!("not ready: {}", reasons.join("; ")), false)
        }
        _ => ("answers, and is no indexer".into(), false),
    }
}
