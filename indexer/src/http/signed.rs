//! Receipts that the indexer signs: by the CAR, and by what was signed, as clients of w3up ask for them.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, ETAG, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bucket_core::car::Car;
use bucket_core::cid::{CarId, Cid, NativeHasher};
use serde::Deserialize;

use super::App;
use super::error::ApiError;
use super::negotiate::{CAR_TYPE, is_known};
use super::page::Asked;
use crate::signed::Run;
use crate::store::Executed;

/// The form of a signed receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Form {
    /// UCAN 1.0.
    Ucan,
    /// A message of w3up's.
    Ucanto,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignedQuery {
    format: Option<Form>,
}

pub(super) async fn by_car(
    State(app): State<App>,
    Path((id, car)): Path<(String, String)>,
    Asked(query): Asked<SignedQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let bucket = app.following(&id)?;
    let car: CarId = car.parse().map_err(|error| ApiError::CarIdInvalid(format!("{error}")))?;
    let placed = app.store.execution(&bucket, &car).await?;
    let placed = placed.ok_or_else(|| ApiError::ReceiptNotFound(car.to_string()))?;
    app.signed(placed.executed, query.format.unwrap_or(Form::Ucan), &headers).await
}

pub(super) async fn by_name(
    State(app): State<App>,
    Path(text): Path<String>,
    Asked(query): Asked<SignedQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let name: Cid = text.parse().map_err(|_| ApiError::CidInvalid(text.chars().take(100).collect()))?;
    let placed = app.store.execution_named(&name).await?;
    let placed = placed.ok_or_else(|| ApiError::ReceiptNotFound(name.to_string()))?;
    app.following(placed.executed.bucket.as_str())?;
    app.signed(placed.executed, query.format.unwrap_or(Form::Ucanto), &headers).await
}

impl App {
    async fn signed(&self, executed: Executed, form: Form, headers: &HeaderMap) -> Result<Response, ApiError> {
        let Executed { ran, receipt, .. } = executed;
        let run = Run::read(self.car(&ran).await?.to_vec(), self.car(&receipt).await?.to_vec())?;
        // In a signature's envelope a value lies deeper than in the receipt, and readers like ours refuse what is too deep.
        let deep = || ApiError::ReceiptTooDeep(receipt.to_string());
        let bytes = match form {
            Form::Ucan => run.ucan(&self.signer),
            Form::Ucanto => run.ucanto(&self.signer).map_err(|_| deep())?,
        };
        let car = Car::decode::<NativeHasher>(bytes).map_err(|_| deep())?;
        let id = car.id::<NativeHasher>();
        let etag = format!("\"{id}\"");
        let (status, body) = match is_known(headers, &etag) {
            true => (StatusCode::NOT_MODIFIED, Body::empty()),
            false => (StatusCode::OK, Body::from(car.into_bytes())),
        };
        let headers = [
            (CONTENT_TYPE, format!("{CAR_TYPE}; version=1")),
            (CONTENT_DISPOSITION, format!("attachment; filename=\"{receipt}.signed.car\"")),
            (ETAG, etag),
            // A forced run has another receipt, and before its epoch is final the chain may take one back.
            (CACHE_CONTROL, "no-cache".to_owned()),
            (X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        ];
        Ok((status, headers, body).into_response())
    }
}
