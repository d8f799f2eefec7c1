//! Answers JSON-RPC over HTTP and WebSocket.
//!
//! ```no_run
//! use bucket_rpc::methods::{ChainNotify, EthChainId};
//! use bucket_rpc::{Failure, Server};
//!
//! # async fn run() -> std::io::Result<()> {
//! let router = Server::new(31_415_926u64)
//!     .method::<EthChainId, _, _>(|chain_id, ()| async move { Ok(format!("{chain_id:#x}")) })
//!     .subscription::<ChainNotify, _, _, _>(|_, ()| async { Ok(futures::stream::empty()) })
//!     .into_router();
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! axum::serve(listener, router).await
//! # }
//! ```

mod envelope;
mod http;
mod socket;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{BoxStream, Stream, StreamExt};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

pub use envelope::{Failure, code};

use crate::method::{RpcMethod, Subscription, params_from_json};
use envelope::Request;

/// The most bytes of a request.
///
/// A signed message has at most 64 KiB, which base64 makes 88 KiB: this leaves room for a batch of
/// some dozens, and a hundred such requests at once still fit into memory.
pub const REQUEST_BYTES_MAX: usize = 4 << 20;

/// The most calls in a batch, so that one request can't occupy the node for long.
pub const BATCH_CALLS_MAX: usize = 64;

/// A table of methods and the state that they share.
///
/// `S` is cloned for every call: an `Arc`, or something made of them.
pub struct Server<S> {
    table: Table<S>,
}

type Outcome = Result<Box<RawValue>, Failure>;
type Values = BoxStream<'static, Outcome>;
type CallFn<S> = dyn Fn(S, Option<Value>) -> BoxFuture<'static, Outcome> + Send + Sync;
type SubscribeFn<S> = dyn Fn(S, Option<Value>) -> BoxFuture<'static, Result<Values, Failure>> + Send + Sync;

enum Handler<S> {
    Call(Arc<CallFn<S>>),
    Subscribe(Arc<SubscribeFn<S>>),
}

struct Table<S> {
    state: S,
    handlers: BTreeMap<&'static str, Handler<S>>,
    limits: Limits,
}

/// What a connection may use; constants, except in tests.
#[derive(Clone, Copy)]
struct Limits {
    /// Frames that wait for a WebSocket to take them.
    queue: usize,
    /// How long they may all wait before the reader counts as too slow.
    patience: Duration,
    /// Calls and subscriptions that run at once on one WebSocket.
    in_flight: usize,
}

const LIMITS: Limits = Limits { queue: 64, patience: Duration::from_secs(10), in_flight: 256 };

impl<S: Clone + Send + Sync + 'static> Server<S> {
    /// A server without methods.
    pub fn new(state: S) -> Self {
        Self { table: Table { state, handlers: BTreeMap::new(), limits: LIMITS } }
    }

    /// Answers calls of `M`.
    ///
    /// Panics when `M` is there already, which is a mistake of the program.
    #[must_use]
    pub fn method<M, F, Fut>(self, handler: F) -> Self
    where
        M: RpcMethod,
        F: Fn(S, M::Params) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<M::Ok, Failure>> + Send + 'static,
    {
        let call = move |state: S, params: Option<Value>| {
            let answer = params_from_json(params).map(|params| handler(state, params));
            async move { raw(&answer.map_err(Failure::invalid_params)?.await?) }.boxed()
        };
        self.with(M::NAME, Handler::Call(Arc::new(call)))
    }

    /// Answers `M` with a channel that carries the stream which `handler` gives.
    ///
    /// Over WebSocket only. The channel closes when the stream ends, and the stream is dropped when
    /// the caller cancels, leaves, or doesn't take values for too long.
    ///
    /// Panics when `M` is there already, which is a mistake of the program.
    #[must_use]
    pub fn subscription<M, F, Fut, St>(self, handler: F) -> Self
    where
        M: Subscription,
        F: Fn(S, M::Params) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<St, Failure>> + Send + 'static,
        St: Stream<Item = M::Item> + Send + 'static,
    {
        let subscribe = move |state: S, params: Option<Value>| {
            let answer = params_from_json(params).map(|params| handler(state, params));
            async move {
                let values = answer.map_err(Failure::invalid_params)?.await?;
                Ok(values.map(|value| raw(&value)).boxed())
            }
            .boxed()
        };
        self.with(M::NAME, Handler::Subscribe(Arc::new(subscribe)))
    }

    /// The names of all methods, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.table.handlers.keys().copied()
    }

    /// Serves POST and WebSocket at `/rpc/v1`, `/rpc/v0` and `/`, for pages of any origin.
    ///
    /// v0 and v1 differ in Lotus by a few signatures; here both are v1, for tools that never moved.
    pub fn into_router(self) -> axum::Router {
        http::router(Arc::new(self.table))
    }

    fn with(mut self, name: &'static str, handler: Handler<S>) -> Self {
        let before = self.table.handlers.insert(name, handler);
        assert!(before.is_none(), "{name} is answered twice");
        self
    }

    #[cfg(test)]
    fn with_limits(mut self, limits: Limits) -> Self {
        self.table.limits = limits;
        self
    }
}

fn raw<T: Serialize>(value: &T) -> Outcome {
    to_raw_value(value).map_err(|e| Failure::internal(format!("the result can't be written: {e}")))
}

impl<S: Clone + Send + Sync + 'static> Table<S> {
    fn find(&self, method: &str) -> Result<&Handler<S>, Failure> {
        self.handlers.get(method).ok_or_else(|| Failure::method_not_found(format!("method '{method}' not found")))
    }

    /// Runs an ordinary call to its end.
    async fn call(&self, request: Request) -> Outcome {
        let Request { method, params, .. } = request;
        let outcome = match self.find(&method) {
            Ok(Handler::Call(call)) => guarded(&method, || call(self.state.clone(), params)).await.and_then(|o| o),
            Ok(Handler::Subscribe(_)) => Err(Failure::method_not_found(format!(
                "method '{method}' sends values over time: call it over a WebSocket, not in a batch"
            ))),
            Err(failure) => Err(failure),
        };
        log_failure(&method, outcome.as_ref().err());
        outcome
    }

    /// Starts a subscription; none when `method` is no such method.
    fn subscription(&self, method: &str) -> Option<(S, Arc<SubscribeFn<S>>)> {
        match self.handlers.get(method) {
            Some(Handler::Subscribe(f)) => Some((self.state.clone(), f.clone())),
            Some(Handler::Call(_)) | None => None,
        }
    }
}

/// Turns a panic into an answer: the caller should not wait for its timeout to learn of it.
async fn guarded<T>(method: &str, start: impl FnOnce() -> BoxFuture<'static, T>) -> Result<T, Failure> {
    // Handlers own what they use; only their shared state outlives the panic, as it would in a task.
    AssertUnwindSafe(async move { start().await }).catch_unwind().await.map_err(|_| {
        tracing::error!(rpc.method = method, "Handler of {method} panicked");
        Failure::internal("the handler panicked")
    })
}

fn log_failure(method: &str, failure: Option<&Failure>) {
    if let Some(Failure { code, message }) = failure {
        tracing::debug!(rpc.method = method, rpc.code = code, "{method} failed: {message}");
    }
}

#[cfg(test)]
mod tests;
