//! A node and an indexer that say what a test wants.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bucket_client::{ActorClient, Gateway, Key};
use bucket_rpc::json::*;
use bucket_rpc::methods::*;
use bucket_rpc::{Client, Failure, Lotus, Server};
use cid::Cid;
use fvm_shared::address::Address;
use fvm_shared::bigint::BigInt;
use fvm_shared::econ::TokenAmount;
use fvm_shared::error::ExitCode;
use num_traits::Zero;

/// What the node says, and what it was told.
pub struct Node {
    pub network: &'static str,
    pub balance: TokenAmount,
    /// Answers to `StateCall` by method number: exit code, return value, error.
    pub calls: BTreeMap<u64, (u32, Vec<u8>, String)>,
    /// What a message ends with on the chain.
    pub result: (u32, Vec<u8>),
    pub replay: String,
    pub known: bool,
    pub asked: Vec<&'static str>,
    pub pushed: Vec<SignedMessage>,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            network: "devnet",
            balance: TokenAmount::from_whole(1),
            calls: BTreeMap::new(),
            result: (0, vec![]),
            replay: String::new(),
            known: true,
            asked: vec![],
            pushed: vec![],
        }
    }
}

pub type Shared = Arc<Mutex<Node>>;

fn ask<T>(node: &Shared, name: &'static str, f: impl FnOnce(&mut Node) -> T) -> T {
    let mut node = node.lock().unwrap();
    node.asked.push(name);
    f(&mut node)
}

fn any_cid() -> Cid {
    blake2b_cid(b"anything")
}

fn result(msg: Message, exit: (u32, Vec<u8>, String)) -> InvocResult {
    let (code, return_data, error) = exit;
    let exit_code = ExitCode::new(code);
    let trace = MessageTrace {
        from: msg.from,
        to: msg.to,
        value: TokenAmount::zero(),
        method: msg.method,
        params: vec![],
        params_codec: 0,
        gas_limit: 0,
        read_only: false,
    };
    InvocResult {
        msg_cid: any_cid(),
        msg,
        msg_rct: Some(MessageReceipt { exit_code, return_data, gas_used: 1, events_root: None }),
        gas_cost: MsgGasCost { gas_used: BigInt::zero(), ..MsgGasCost::default() },
        execution_trace: ExecutionTrace {
            msg: trace,
            msg_rct: ReturnTrace { exit_code, return_data: vec![], return_codec: 0 },
            gas_charges: vec![],
            subcalls: vec![],
        },
        error,
        duration: 0,
    }
}

fn lookup(node: &Node, message: Cid) -> MsgLookup {
    let (code, return_data) = node.result.clone();
    MsgLookup {
        message,
        receipt: MessageReceipt { exit_code: ExitCode::new(code), return_data, gas_used: 42, events_root: None },
        return_dec: serde_json::Value::Null,
        tipset: TipsetKey::HEAD,
        height: 7,
    }
}

/// Starts the node.
pub async fn node(node: Node) -> (Client, Shared) {
    let shared: Shared = Arc::new(Mutex::new(node));
    let server = Server::new(shared.clone())
        .method::<StateNetworkName, _, _>(|node, ()| async move {
            Ok(ask(&node, "StateNetworkName", |node| node.network.to_owned()))
        })
        .method::<GasEstimateMessageGas, _, _>(|node, (mut message, _, _)| async move {
            ask(&node, "GasEstimateMessageGas", |node| match node.calls.get(&message.method) {
                Some((code, ..)) if *code != 0 => Err(Failure::new(format!("estimation failed: exit {code}"))),
                _ if !node.known => Err(Failure::new("actor not found")),
                _ => {
                    message.gas_limit = 1_000_000;
                    message.gas_fee_cap = TokenAmount::from_atto(1_000_000);
                    Ok(message)
                }
            })
        })
        .method::<StateCall, _, _>(|node, (message, _)| async move {
            ask(&node, "StateCall", |node| {
                if !node.known {
                    return Err(Failure::new("actor not found"));
                }
                let exit = node.calls.get(&message.method).cloned().unwrap_or_default();
                Ok(result(message, exit))
            })
        })
        .method::<StateGetActor, _, _>(|node, _| async move {
            ask(&node, "StateGetActor", |node| match node.known {
                false => Err(Failure::new("actor not found")),
                true => Ok(ActorState {
                    code: any_cid(),
                    head: any_cid(),
                    nonce: 0,
                    balance: TokenAmount::zero(),
                    delegated_address: None,
                }),
            })
        })
        .method::<WalletBalance, _, _>(|node, _| async move {
            Ok(Lotus(ask(&node, "WalletBalance", |node| node.balance.clone())))
        })
        .method::<MpoolGetNonce, _, _>(|node, _| async move {
            let nonce = ask(&node, "MpoolGetNonce", |node| node.pushed.len() as u64);
            // Others get their turn, so that a client without order would give one nonce twice.
            tokio::task::yield_now().await;
            Ok(nonce)
        })
        .method::<MpoolPush, _, _>(|node, (message,)| async move {
            let cid = message.cid().unwrap();
            ask(&node, "MpoolPush", |node| node.pushed.push(message));
            Ok(Lotus(cid))
        })
        .method::<StateWaitMsg, _, _>(|node, (message, ..)| async move {
            Ok(ask(&node, "StateWaitMsg", |node| lookup(node, message.into_inner())))
        })
        .method::<StateReplay, _, _>(|node, _| async move {
            let message = Message::new(Address::new_id(1), Address::new_id(2), 0, vec![]);
            Ok(ask(&node, "StateReplay", |node| result(message, (1, vec![], node.replay.clone()))))
        });
    let url = serve(server.into_router()).await;
    (Client::new(&url, None).unwrap(), shared)
}

/// An indexer that serves these bytes at these paths, and 404 elsewhere.
pub async fn gateway(files: BTreeMap<String, Vec<u8>>) -> Gateway {
    let files = Arc::new(files);
    let router = axum::Router::new().fallback(move |uri: axum::http::Uri| {
        let found = files.get(uri.path()).cloned();
        async move { found.ok_or(axum::http::StatusCode::NOT_FOUND) }
    });
    Gateway::new(&serve(router).await).unwrap()
}

async fn serve(router: axum::Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

pub fn key() -> Key {
    Key::from_secret(&[7; 32]).unwrap()
}

pub async fn client(with: Node) -> (ActorClient, Shared) {
    let (rpc, shared) = node(with).await;
    (ActorClient::new(rpc, Address::new_id(1000)).with_signer(key()), shared)
}
