//! The JSON-RPC methods, a file per family. Each is a function of the node and the method's parameters; the tables at
//! the head of each file say which.

mod chain;
mod devnet;
mod event;
mod gas;
mod mpool;
mod state;

use anyhow::Result;
use bucket_rpc::{Failure, RpcMethod, Server};

use crate::node::{Node, NodeRef};

/// All methods, served at `/rpc/v1`.
pub fn router(node: NodeRef) -> axum::Router {
    let tables = [chain::add, state::add, mpool::add, gas::add, event::add, devnet::add];
    tables.into_iter().fold(Server::new(node), |server, add| server.with(add)).into_router()
}

/// Short forms for tables of methods.
trait Table: Sized {
    fn with(self, add: fn(Self) -> Self) -> Self {
        add(self)
    }

    /// Answers `M` with what `answer` makes of the node.
    fn node<M: RpcMethod>(self, answer: fn(&mut Node, M::Params) -> Result<M::Ok>) -> Self;
}

impl Table for Server<NodeRef> {
    fn node<M: RpcMethod>(self, answer: fn(&mut Node, M::Params) -> Result<M::Ok>) -> Self {
        self.method::<M, _, _>(move |node: NodeRef, params| async move {
            node.run(move |node| answer(node, params)).await.map_err(failure)
        })
    }
}

/// Errors that have a code of their own keep it.
fn failure(error: anyhow::Error) -> Failure {
    match error.downcast_ref::<Failure>() {
        Some(Failure { code, .. }) => {
            let words: Vec<String> = error
                .chain()
                .map(|cause| match cause.downcast_ref::<Failure>() {
                    Some(failure) => failure.message.clone(),
                    None => cause.to_string(),
                })
                .collect();
            Failure::with_code(*code, words.join(": "))
        }
        None => Failure::from(error),
    }
}
