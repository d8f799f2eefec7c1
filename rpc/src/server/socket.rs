//! Calls and subscriptions over one WebSocket.
//!
//! go-jsonrpc's protocol (`websocket.go`): a subscription's result is a channel id; then come
//! `xrpc.ch.val [id, value]` and in the end `xrpc.ch.close [id]`. The caller ends any request with
//! `xrpc.cancel [request id]`.
//!
//! One task reads, one writes, and each request has its own. All frames pass through one bounded
//! queue; when that stays full, the reader is too slow and the connection is dropped, since a node
//! can't keep the chain's history for each reader.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::ws::{Message as Frame, Utf8Bytes, WebSocket};
use futures::{SinkExt, StreamExt};
use serde_json::Value;
use serde_json::value::to_raw_value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::envelope::{Failure, Id, Incoming, Request, Response, channel_close, channel_value, code, write};
use super::{Limits, Outcome, SubscribeFn, Table, Values, guarded, http, log_failure};

/// Serves a connection until one side ends it.
pub(super) async fn serve<S: Clone + Send + Sync + 'static>(socket: WebSocket, table: Arc<Table<S>>) {
    let limits = table.limits;
    let (mut sink, mut frames) = socket.split();
    let (queue, mut queued) = mpsc::channel::<Frame>(limits.queue);
    let mut writer = tokio::spawn(async move {
        while let Some(frame) = queued.recv().await {
            if !matches!(timeout(limits.patience, sink.send(frame)).await, Ok(Ok(()))) {
                return;
            }
        }
        // An orderly end; the other side may be gone already.
        let _ = timeout(limits.patience, sink.close()).await;
    });
    let connection =
        Connection { out: Out { queue, limits }, running: Running::default(), channels: Arc::default(), table };
    // Dropped on return, and every request with it.
    let mut tasks = JoinSet::new();
    loop {
        let ended = tokio::select! {
            frame = frames.next() => match frame {
                Some(Ok(Frame::Text(text))) => connection.receive(&mut tasks, text.as_bytes()).await,
                Some(Ok(Frame::Binary(bytes))) => connection.receive(&mut tasks, &bytes).await,
                // axum answers pings by itself.
                Some(Ok(Frame::Ping(_) | Frame::Pong(_))) => Ok(()),
                Some(Ok(Frame::Close(_)) | Err(_)) | None => break,
            },
            Some(done) = tasks.join_next() => done.unwrap_or(Err(Ended::Panicked)),
            // The writer ends first only when it can't write.
            _ = &mut writer => return,
        };
        match ended {
            Ok(()) | Err(Ended::Gone) => {}
            Err(Ended::TooSlow) => {
                tracing::debug!("Dropped a WebSocket whose reader is too slow");
                return writer.abort();
            }
            Err(Ended::Panicked) => {
                tracing::error!("Dropped a WebSocket because a stream panicked");
                return writer.abort();
            }
        }
    }
    drop(tasks);
    drop(connection);
    // Only to be sure that what was said in the end is sent.
    let _ = writer.await;
}

/// Why a frame was not taken, which ends the task that had it.
enum Ended {
    /// The queue was full for too long.
    TooSlow,
    /// The connection is ending.
    Gone,
    /// A stream panicked, and its channel would be silent for ever.
    Panicked,
}

/// The way out for all tasks of a connection.
#[derive(Clone)]
struct Out {
    queue: mpsc::Sender<Frame>,
    limits: Limits,
}

impl Out {
    async fn send(&self, text: String) -> Result<(), Ended> {
        let frame = Frame::Text(Utf8Bytes::from(text));
        match timeout(self.limits.patience, self.queue.send(frame)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Ended::Gone),
            Err(_) => Err(Ended::TooSlow),
        }
    }
}

/// Requests that run, by id, each with the means to cancel it; without, once it is cancelled but not
/// ended.
#[derive(Clone, Default)]
struct Running(Arc<Mutex<HashMap<Id, Option<oneshot::Sender<()>>>>>);

impl Running {
    fn lock(&self) -> MutexGuard<'_, HashMap<Id, Option<oneshot::Sender<()>>>> {
        // The map is whole after each of the single operations that are made under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when the request is cancelled; none when the id is taken.
    fn begin(&self, id: &Id) -> Option<oneshot::Receiver<()>> {
        let (cancel, cancelled) = oneshot::channel();
        let mut running = self.lock();
        if running.contains_key(id) {
            return None;
        }
        running.insert(id.clone(), Some(cancel));
        Some(cancelled)
    }

    fn cancel(&self, id: &Id) {
        if let Some(cancel) = self.lock().get_mut(id).and_then(Option::take) {
            // It may just have ended by itself.
            let _ = cancel.send(());
        }
    }

    fn end(&self, id: &Id) {
        self.lock().remove(id);
    }
}

struct Connection<S> {
    table: Arc<Table<S>>,
    out: Out,
    running: Running,
    channels: Arc<AtomicU64>,
}

type Tasks = JoinSet<Result<(), Ended>>;

impl<S: Clone + Send + Sync + 'static> Connection<S> {
    /// Starts what a frame asks for, without waiting for it: the next frame may cancel it.
    async fn receive(&self, tasks: &mut Tasks, frame: &[u8]) -> Result<(), Ended> {
        let out = self.out.clone();
        let (id, request) = match Incoming::read(frame) {
            Ok(Incoming::One(request)) if request.method == "xrpc.cancel" => {
                self.cancel(request.params);
                return Ok(());
            }
            Ok(Incoming::One(Request { id: Some(id), method, params })) if id != Id::Null => {
                (id.clone(), Request { id: Some(id), method, params })
            }
            // Without an id of their own, these can't be cancelled.
            other if tasks.len() < self.out.limits.in_flight => {
                let table = self.table.clone();
                tasks.spawn(async move {
                    match http::respond(&table, other).await {
                        Some(text) => out.send(text).await,
                        None => Ok(()),
                    }
                });
                return Ok(());
            }
            _ => return self.refuse(Id::Null, busy(self.out.limits)).await,
        };
        if tasks.len() >= self.out.limits.in_flight {
            return self.refuse(id, busy(self.out.limits)).await;
        }
        let Some(cancelled) = self.running.begin(&id) else {
            let failure = Failure::invalid_request("a request with this id is still running");
            return self.refuse(id, failure).await;
        };
        let running = self.running.clone();
        match self.table.subscription(&request.method) {
            Some((state, subscribe)) => {
                let channels = self.channels.clone();
                let subscriber = Subscriber { id, out, running, channels };
                tasks.spawn(subscriber.run(state, subscribe, request, cancelled));
            }
            None => {
                let table = self.table.clone();
                tasks.spawn(async move {
                    let outcome = tokio::select! {
                        outcome = table.call(request) => outcome,
                        _ = cancelled => Err(Failure::new("request cancelled")),
                    };
                    // Before the response, after which the caller may use the id again.
                    running.end(&id);
                    out.send(write(&Response { id, outcome })).await
                });
            }
        }
        Ok(())
    }

    /// Answers at once. Not in a task of its own, or a flood of requests would be a flood of tasks; so
    /// nothing more is read until there is room for the answer.
    async fn refuse(&self, id: Id, failure: Failure) -> Result<(), Ended> {
        self.out.send(write(&Response { id, outcome: Err(failure) })).await
    }

    /// `xrpc.cancel [id]`; anything else under that name is ignored, as it can't be answered.
    fn cancel(&self, params: Option<Value>) {
        let id = params.as_ref().and_then(|params| params.get(0));
        let id = id.and_then(|id| serde_json::from_value::<Id>(id.clone()).ok());
        if let Some(id) = id {
            self.running.cancel(&id);
        }
    }
}

fn busy(limits: Limits) -> Failure {
    Failure::with_code(
        code::LIMIT_EXCEEDED,
        format!("expected at most {} requests at once on a connection", limits.in_flight),
    )
}

/// One subscription of one connection.
struct Subscriber {
    id: Id,
    out: Out,
    running: Running,
    channels: Arc<AtomicU64>,
}

impl Subscriber {
    async fn run<S: Clone + Send + Sync + 'static>(
        self,
        state: S,
        subscribe: Arc<SubscribeFn<S>>,
        request: Request,
        mut cancelled: oneshot::Receiver<()>,
    ) -> Result<(), Ended> {
        let Request { method, params, .. } = request;
        let started = tokio::select! {
            started = guarded(&method, || subscribe(state, params)) => started.and_then(|s| s),
            _ = &mut cancelled => Err(Failure::new("request cancelled")),
        };
        log_failure(&method, started.as_ref().err());
        match started {
            Ok(values) => self.forward(values, cancelled).await,
            Err(failure) => self.finish(Err(failure)).await,
        }
    }

    async fn forward(self, mut values: Values, mut cancelled: oneshot::Receiver<()>) -> Result<(), Ended> {
        // From 1, like go-jsonrpc: clients may take 0 for "none".
        let channel = 1 + self.channels.fetch_add(1, Ordering::Relaxed);
        let outcome = to_raw_value(&channel).map_err(Failure::internal);
        self.out.send(write(&Response { id: self.id.clone(), outcome })).await?;
        loop {
            let value = tokio::select! {
                value = values.next() => value,
                _ = &mut cancelled => None,
            };
            match value {
                Some(Ok(value)) => self.out.send(channel_value(channel, &value)).await?,
                Some(Err(failure)) => {
                    tracing::error!("A channel's value can't be written: {failure}");
                    break;
                }
                None => break,
            }
        }
        self.running.end(&self.id);
        self.out.send(channel_close(channel)).await
    }

    async fn finish(self, outcome: Outcome) -> Result<(), Ended> {
        self.running.end(&self.id);
        self.out.send(write(&Response { id: self.id, outcome })).await
    }
}
