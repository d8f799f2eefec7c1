//! Errors as HTTP tells them: a status, and JSON with a code that stays.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tracing::error;

use crate::store::StoreError;

/// Why a request gets no result. The codes are documented in the README and don't change.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// 404: no such bucket on the chain.
    #[error("no bucket {0} on the chain, as far as it is indexed")]
    BucketUnknown(String),
    /// 400: not a DID.
    #[error("{0}")]
    BucketInvalid(String),
    /// 503: index and chain differ.
    #[error("bucket {0} is halted: its replay differs from the chain, see /v1/buckets/{{id}}")]
    BucketHalted(String),
    /// 404: the CAR was never scheduled or run.
    #[error("no receipt of {0}: it is neither done nor pending")]
    ReceiptNotFound(String),
    /// 400: not the CID of a CAR.
    #[error("{0}")]
    CarIdInvalid(String),
    /// 400: a cursor that no page of this list gave.
    #[error("expected a cursor from a page of this list")]
    CursorInvalid,
    /// 409: the page that the cursor is from was reverted.
    #[error("the chain was reorganised since this cursor was given: begin again without it")]
    CursorReverted,
    /// 400: not a charwise key as JSON.
    #[error("{0}")]
    KeyInvalid(String),
    /// 400: parameters that the route doesn't have, or of another kind.
    #[error("{0}")]
    QueryInvalid(String),
    /// 400: not a CID.
    #[error("expected a CID, got {0:?}")]
    CidInvalid(String),
    /// 404: no such block or CAR here.
    #[error("{0} is not here")]
    BlockNotFound(String),
    /// 501: a path behind the CID.
    #[error("paths below a CID are not served: follow the links by their CIDs")]
    PathUnsupported,
    /// 501: a receipt whose values are nested as deeply as may be.
    #[error("receipt {0} is nested too deeply for an envelope around it: get it by its own id")]
    ReceiptTooDeep(String),
    /// 406: neither raw nor car.
    #[error("expected ?format=raw or ?format=car, or one of their types in Accept")]
    FormatUnsupported,
    /// 416: a range outside of the block.
    #[error("the range begins behind the {0} bytes of the block")]
    RangeInvalid(usize),
    /// 503: nothing is indexed yet.
    #[error("the index is empty: the actor hasn't been found on the chain yet")]
    IndexEmpty,
    /// 404: no such route.
    #[error("no such route: see the README for those that are there")]
    RouteUnknown,
    /// 405: only reads are served.
    #[error("only GET and HEAD are served")]
    MethodNotAllowed,
    /// 500: a fault of ours; its text stays here.
    #[error("internal error")]
    Internal(anyhow::Error),
}

impl ApiError {
    fn parts(&self) -> (StatusCode, &'static str) {
        match self {
            Self::BucketUnknown(_) => (StatusCode::NOT_FOUND, "bucket_unknown"),
            Self::BucketInvalid(_) => (StatusCode::BAD_REQUEST, "bucket_invalid"),
            Self::BucketHalted(_) => (StatusCode::SERVICE_UNAVAILABLE, "bucket_halted"),
            Self::ReceiptNotFound(_) => (StatusCode::NOT_FOUND, "receipt_not_found"),
            Self::CarIdInvalid(_) => (StatusCode::BAD_REQUEST, "car_id_invalid"),
            Self::CursorInvalid => (StatusCode::BAD_REQUEST, "cursor_invalid"),
            Self::CursorReverted => (StatusCode::CONFLICT, "cursor_reverted"),
            Self::KeyInvalid(_) => (StatusCode::BAD_REQUEST, "key_invalid"),
            Self::QueryInvalid(_) => (StatusCode::BAD_REQUEST, "query_invalid"),
            Self::CidInvalid(_) => (StatusCode::BAD_REQUEST, "cid_invalid"),
            Self::BlockNotFound(_) => (StatusCode::NOT_FOUND, "block_not_found"),
            Self::PathUnsupported => (StatusCode::NOT_IMPLEMENTED, "path_unsupported"),
            Self::ReceiptTooDeep(_) => (StatusCode::NOT_IMPLEMENTED, "receipt_too_deep"),
            Self::FormatUnsupported => (StatusCode::NOT_ACCEPTABLE, "format_unsupported"),
            Self::RangeInvalid(_) => (StatusCode::RANGE_NOT_SATISFIABLE, "range_invalid"),
            Self::IndexEmpty => (StatusCode::SERVICE_UNAVAILABLE, "index_empty"),
            Self::RouteUnknown => (StatusCode::NOT_FOUND, "route_unknown"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if let Self::Internal(error) = &self {
            error!("A request failed: {error:#}");
        }
        let (status, code) = self.parts();
        (status, Json(json!({"error": {"code": code, "message": self.to_string()}}))).into_response()
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Empty => Self::IndexEmpty,
            other => Self::Internal(other.into()),
        }
    }
}

impl From<anyhow::Error> for ApiError {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<StoreError>() {
            Ok(error) => error.into(),
            Err(error) => Self::Internal(error),
        }
    }
}

impl From<tokio::task::JoinError> for ApiError {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Internal(error.into())
    }
}
