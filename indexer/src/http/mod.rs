//! The index over HTTP. Reads only; everything may be asked from any origin.

mod bucket;
mod error;
mod health;
mod ipfs;
mod kv;
mod negotiate;
mod page;
mod receipt;
mod signed;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bucket_core::did::BucketId;
use cid::Cid;

pub use error::ApiError;

use crate::blocks::Blocks;
use crate::cars::Cars;
use crate::metrics::{Metrics, RequestLabels};
use crate::signer::Signer;
use crate::status::Status;
use crate::store::Store;

/// What all routes read.
#[derive(Clone)]
pub struct App {
    /// The index.
    pub store: Arc<dyn Store>,
    /// The actor's state.
    pub blocks: Blocks,
    /// CARs.
    pub cars: Cars,
    /// How the index stands to the chain.
    pub status: Status,
    /// Who signs receipts.
    pub signer: Arc<Signer>,
    /// Numbers.
    pub metrics: Arc<Metrics>,
    /// Epochs behind the chain from which on the index isn't ready.
    pub lag_max: i64,
    /// Silence of the node from which on the index isn't ready.
    pub silence_max: Duration,
}

/// All routes.
pub fn router(app: App) -> Router {
    let routes = get(ipfs::get);
    Router::new()
        .route("/v1/status", get(health::status))
        .route("/v1/buckets", get(bucket::list))
        .route("/v1/buckets/{id}", get(bucket::one))
        .route("/v1/buckets/{id}/queue", get(bucket::queue))
        .route("/v1/buckets/{id}/receipts", get(receipt::list))
        .route("/v1/buckets/{id}/receipts/{car}", get(receipt::one))
        .route("/v1/buckets/{id}/receipts/{car}/signed", get(signed::by_car))
        .route("/v1/buckets/{id}/kv", get(kv::range))
        .route("/receipt/{cid}", get(signed::by_name))
        .route("/ipfs/{*path}", routes)
        .route("/.well-known/libp2p/protocols", get(health::protocols))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .fallback(async || ApiError::RouteUnknown)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(from_fn_with_state(app.clone(), around))
        .with_state(app)
}

/// Around every request: leave for pages of any origin, and the count.
async fn around(State(app): State<App>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, OPTIONS"));
    headers
        .insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("Accept, Content-Type, If-None-Match, Range"));
    let exposed = HeaderValue::from_static("Content-Disposition, Content-Range, ETag, X-Ipfs-Path, X-Ipfs-Roots");
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    let labels = RequestLabels { route, status: response.status().as_u16() };
    app.metrics.http_requests.get_or_create(&labels).inc();
    response
}

impl App {
    /// A bucket whose index follows the chain.
    fn following(&self, text: &str) -> Result<BucketId, ApiError> {
        let bucket = bucket_id(text)?;
        if self.status.is_halted(bucket.as_str()) {
            return Err(ApiError::BucketHalted(bucket.to_string()));
        }
        Ok(bucket)
    }

    /// Reads the actor's state off the async threads.
    async fn read<T: Send + 'static>(
        &self,
        state: Cid,
        f: impl FnOnce(&Blocks, &Cid) -> anyhow::Result<T> + Send + 'static,
    ) -> Result<T, ApiError> {
        let blocks = self.blocks.clone();
        Ok(tokio::task::spawn_blocking(move || f(&blocks, &state)).await??)
    }
}

fn bucket_id(text: &str) -> Result<BucketId, ApiError> {
    text.parse().map_err(|error| ApiError::BucketInvalid(format!("{error}")))
}
