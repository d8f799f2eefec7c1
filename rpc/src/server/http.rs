//! Calls in the body of a POST, and the door to the WebSocket.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Request as HttpRequest, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, CONTENT_TYPE,
};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response as HttpResponse};
use axum::routing::post;
use futures::stream::{self, StreamExt};

use super::envelope::{Failure, Id, Incoming, Refused, Request, Response, write};
use super::{REQUEST_BYTES_MAX, Table, socket};

/// Calls of a batch that run at once.
const BATCH_AT_ONCE: usize = 8;

pub(super) fn router<S: Clone + Send + Sync + 'static>(table: Arc<Table<S>>) -> Router {
    let door = post(answer::<S>).get(upgrade::<S>);
    Router::new()
        .route("/rpc/v1", door.clone())
        .route("/rpc/v0", door.clone())
        .route("/", door)
        .layer(from_fn(allow_any_origin))
        .with_state(table)
}

async fn answer<S: Clone + Send + Sync + 'static>(State(table): State<Arc<Table<S>>>, body: Body) -> HttpResponse {
    match to_bytes(body, REQUEST_BYTES_MAX).await {
        Ok(bytes) => match respond(&table, Incoming::read(&bytes)).await {
            Some(text) => json(StatusCode::OK, text),
            None => StatusCode::NO_CONTENT.into_response(),
        },
        Err(_) => {
            let failure = Failure::invalid_request(format!("expected a request of at most {REQUEST_BYTES_MAX} bytes"));
            let response = Response { id: Id::Null, outcome: Err(failure) };
            json(StatusCode::PAYLOAD_TOO_LARGE, write(&response))
        }
    }
}

/// Runs what came and gives the text to send back; none when only notifications came.
///
/// A failed call is a successful exchange: its status is 200, as browsers' clients only read the body
/// of such.
pub(super) async fn respond<S: Clone + Send + Sync + 'static>(
    table: &Table<S>,
    incoming: Result<Incoming, Refused>,
) -> Option<String> {
    match incoming {
        Ok(Incoming::One(request)) => run(table, request).await.map(|r| write(&r)),
        Ok(Incoming::Batch(calls)) => {
            let responses: Vec<Response> = stream::iter(calls)
                .map(|call| async {
                    match call {
                        Ok(request) => run(table, request).await,
                        Err(refused) => Some(refused.into()),
                    }
                })
                .buffered(BATCH_AT_ONCE)
                .filter_map(std::future::ready)
                .collect()
                .await;
            (!responses.is_empty()).then(|| write(&responses))
        }
        Err(refused) => Some(write(&Response::from(refused))),
    }
}

async fn run<S: Clone + Send + Sync + 'static>(table: &Table<S>, request: Request) -> Option<Response> {
    let id = request.id.clone();
    let outcome = table.call(request).await;
    id.map(|id| Response { id, outcome })
}

async fn upgrade<S: Clone + Send + Sync + 'static>(
    State(table): State<Arc<Table<S>>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> HttpResponse {
    match upgrade {
        Ok(upgrade) => upgrade
            .max_message_size(REQUEST_BYTES_MAX)
            .max_frame_size(REQUEST_BYTES_MAX)
            .on_upgrade(move |socket| socket::serve(socket, table)),
        Err(_) => (StatusCode::METHOD_NOT_ALLOWED, "Lotus JSON-RPC: POST a request here, or open a WebSocket.\n")
            .into_response(),
    }
}

fn json(status: StatusCode, text: String) -> HttpResponse {
    (status, [(CONTENT_TYPE, "application/json")], text).into_response()
}

/// Lets wallets in web pages call the node.
///
/// By hand, because it is three headers and a crate would be one more dependency.
async fn allow_any_origin(request: HttpRequest, next: Next) -> HttpResponse {
    let preflight = request.method() == Method::OPTIONS;
    // `*` would not cover Authorization, so what is asked for is granted by name.
    let headers =
        request.headers().get(ACCESS_CONTROL_REQUEST_HEADERS).cloned().unwrap_or(HeaderValue::from_static("*"));
    let mut response = if preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let grants = response.headers_mut();
    grants.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    if preflight {
        grants.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST, GET, OPTIONS"));
        grants.insert(ACCESS_CONTROL_ALLOW_HEADERS, headers);
        grants.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
        // A page of the public web that calls a node on this machine.
        const PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");
        grants.insert(PRIVATE_NETWORK, HeaderValue::from_static("true"));
    }
    response
}
