//! For those who run it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::App;

/// It runs.
pub(super) async fn healthz() -> Json<Value> {
    Json(json!({"ok": true}))
}

/// Who signs here, and how the index stands to the chain.
pub(super) async fn status(State(app): State<App>) -> Json<Value> {
    let mut body = standing(&app);
    body["did"] = app.signer.did().as_str().into();
    Json(body)
}

/// It may be asked: it follows the chain closely, and no bucket differs from it.
pub(super) async fn readyz(State(app): State<App>) -> Response {
    let body = standing(&app);
    let code = if body["ready"] == true { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(body)).into_response()
}

fn standing(app: &App) -> Value {
    let status = app.status.get();
    let reasons = status.reasons(app.lag_max, app.silence_max);
    json!({
        "ready": reasons.is_empty(),
        "reasons": reasons,
        "chain": status.chain,
        "indexed": status.indexed,
        "finalized": status.finalized,
        "lag": status.lag,
        "halted": status.halted,
    })
}

pub(super) async fn metrics(State(app): State<App>) -> Response {
    let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, openmetrics)], app.metrics.encode()).into_response()
}

/// Says where the gateway is (specs.ipfs.tech, http-gateways/libp2p-gateway).
pub(super) async fn protocols() -> Json<Value> {
    Json(json!({"protocols": {"/ipfs/gateway": {"path": "/"}}}))
}
