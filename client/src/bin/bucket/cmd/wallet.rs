//! `bucket wallet`

use bucket_client::key::KeyType;
use bucket_client::{ClientError, Wallet as Keys};
use bucket_rpc::RpcError;
use bucket_rpc::eth::{EthAddress, is_eth_sender};
use bucket_rpc::json::{format_address, parse_address};
use bucket_rpc::methods::{DevnetFund, WalletBalance};
use clap::Subcommand;
use fvm_shared::address::Address;
use fvm_shared::econ::TokenAmount;
use serde_json::json;

use super::secret;
use crate::context::Context;
use crate::output::Answer;

/// Keys: make, list, import, export
///
/// Keys lie in ~/.bucket (or --wallet), one file each that only you can read, in the form that Lotus exports.
#[derive(Debug, Subcommand)]
pub enum Wallet {
    /// Make a key; the first one becomes the default
    New {
        /// secp256k1 (an f1 address) or delegated (an Ethereum-style f410 address)
        #[arg(long = "type", value_name = "TYPE", default_value = "secp256k1")]
        kind: KeyType,
    },
    /// List addresses, and the DIDs of buckets whose keys are here
    List,
    /// Show or set the address that signs unless --from names another
    Default {
        /// The address to sign with from now on
        #[arg(value_parser = parse_address)]
        address: Option<Address>,
    },
    /// Take a key from `lotus wallet export`
    ///
    /// Example: lotus wallet export f1abc… | bucket wallet import
    Import {
        /// A file, the key itself, or nothing (or "-") to read stdin
        #[arg(value_name = "FILE|KEY")]
        key: Option<String>,
    },
    /// Print a key for `lotus wallet import`. Whoever sees it can spend
    Export {
        /// The address
        #[arg(value_parser = parse_address)]
        address: Address,
    },
    /// Show what an address owns
    Balance {
        /// The address. Default: the one that signs
        #[arg(value_parser = parse_address)]
        address: Option<Address>,
    },
    /// Get test money from the devnet's faucet
    Fund {
        /// Who gets it. Default: the one that signs
        #[arg(value_parser = parse_address)]
        address: Option<Address>,
        /// How much, in whole FIL
        #[arg(long, default_value_t = 100)]
        amount: u32,
    },
}

impl Wallet {
    pub async fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        let keys = cx.wallet()?;
        match self {
            Self::New { kind } => {
                let address = keys.generate_type(kind)?;
                cx.glance_at_network().await;
                added(&keys, &address)
            }
            Self::Import { key } => {
                let address = keys.import(&secret(key)?)?;
                cx.glance_at_network().await;
                added(&keys, &address)
            }
            Self::List => {
                cx.glance_at_network().await;
                list(&keys)
            }
            Self::Default { address } => {
                cx.glance_at_network().await;
                if let Some(address) = &address {
                    keys.set_default(address)?;
                }
                let address = format_address(&keys.default()?.ok_or(ClientError::NoKey)?);
                Ok(Answer::text(json!({"address": address}), address))
            }
            Self::Export { address } => {
                let key = keys.export(&address)?;
                Ok(Answer::text(json!({"address": format_address(&address), "key": key}), key))
            }
            Self::Balance { address } => balance(cx, address.map_or_else(|| cx.from(), Ok)?).await,
            Self::Fund { address, amount } => fund(cx, address.map_or_else(|| cx.from(), Ok)?, amount).await,
        }
    }
}

fn added(keys: &Keys, address: &Address) -> Result<Answer, ClientError> {
    let default = keys.default()?.as_ref() == Some(address);
    let text = format_address(address);
    let json = json!({"address": text, "ethereum": ethereum(address), "default": default});
    Ok(Answer::text(json, text))
}

/// The `0x…` form of an f410 address; other addresses have none that anybody would use.
fn ethereum(address: &Address) -> Option<String> {
    EthAddress::of(address).filter(|_| is_eth_sender(address)).map(|ethereum| ethereum.to_string())
}

fn list(keys: &Keys) -> Result<Answer, ClientError> {
    let default = keys.default()?;
    let addresses = keys.list()?;
    let dids = keys.dids()?;
    let mut lines: Vec<_> = addresses
        .iter()
        .map(|address| {
            let mark = if default.as_ref() == Some(address) { " (default)" } else { "" };
            let ethereum = ethereum(address).map_or_else(String::new, |ethereum| format!(" {ethereum}"));
            format!("{}{ethereum}{mark}", format_address(address))
        })
        .collect();
    if lines.is_empty() {
        lines.push(format!("no keys in {}: `bucket wallet new` makes one", keys.dir().display()));
    }
    lines.extend(dids.iter().map(ToString::to_string));
    let texts: Vec<_> = addresses.iter().map(format_address).collect();
    let ethereum: Vec<_> = addresses.iter().map(ethereum).collect();
    let json = json!({"addresses": texts, "ethereum": ethereum, "default": default.as_ref().map(format_address), "dids": dids});
    Ok(Answer::text(json, lines.join("\n")))
}

async fn balance(cx: &Context, address: Address) -> Result<Answer, ClientError> {
    let balance = cx.node().await?.call::<WalletBalance>((address.into(),)).await?.into_inner();
    let json = json!({
        "address": format_address(&address), "attoFil": balance.atto().to_string(), "fil": balance.to_string(),
    });
    Ok(Answer::text(json, format!("{} FIL", balance)))
}

async fn fund(cx: &Context, address: Address, amount: u32) -> Result<Answer, ClientError> {
    const METHOD_NOT_FOUND: i64 = -32601;
    let chain = cx.chain().await?;
    let amount = TokenAmount::from_whole(amount);
    let message = match chain.rpc().call::<DevnetFund>((address.into(), amount.into())).await {
        Ok(message) => message.into_inner(),
        Err(RpcError::Node { code: METHOD_NOT_FOUND, .. }) => {
            let why = "only the project's devnet has this faucet: calibration has web pages, mainnet none";
            return Err(ClientError::Input(why.into()));
        }
        Err(error) => return Err(error.into()),
    };
    chain.wait(message).await?;
    balance(cx, address).await
}
