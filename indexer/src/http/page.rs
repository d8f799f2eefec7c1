//! What lists have in common: limits, cursors, the head that they are as of, and how IPLD is written.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bucket_core::dag_cbor::Ipld;
use bucket_rpc::json::format_address;
use fvm_shared::ActorID;
use fvm_shared::address::Address;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::ApiError;
use crate::store::Tipset;

/// Items of a page, when nothing is asked for.
const LIMIT_DEFAULT: usize = 100;

/// The most items of a page.
const LIMIT_MAX: usize = 1000;

/// Parameters behind the `?`; a wrong one is told in our own form of errors.
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = Query::<T>::try_from_uri(&parts.uri).map_err(|error| ApiError::QueryInvalid(error.body_text()))?;
        Ok(Self(query.0))
    }
}

/// The limit that holds: asked for, or the default.
pub fn limit(asked: Option<usize>) -> Result<usize, ApiError> {
    match asked {
        None => Ok(LIMIT_DEFAULT),
        Some(limit @ 1..=LIMIT_MAX) => Ok(limit),
        Some(other) => Err(ApiError::QueryInvalid(format!("expected a limit of 1 to {LIMIT_MAX}, got {other}"))),
    }
}

/// A tipset as answers name it.
#[derive(Debug, Serialize)]
pub struct At {
    /// Its epoch.
    pub epoch: i64,
    /// CIDs of its blocks.
    pub tipset: Vec<String>,
}

impl At {
    /// The tipset with this key.
    pub fn new(epoch: i64, key: &str) -> Self {
        Self { epoch, tipset: key.split(',').filter(|cid| !cid.is_empty()).map(str::to_owned).collect() }
    }
}

impl From<&Tipset> for At {
    fn from(tipset: &Tipset) -> Self {
        Self::new(tipset.height, &tipset.key)
    }
}

/// A part of a list.
#[derive(Debug, Serialize)]
pub struct List<T> {
    /// The newest tipset of the index.
    pub head: At,
    /// The items.
    pub items: Vec<T>,
    /// Asks for the next part; null at the end.
    pub cursor: Option<String>,
}

/// Writes a cursor. What is in it is nobody's business.
pub fn cursor<T: Serialize>(place: &T) -> Result<String, ApiError> {
    let json = serde_json::to_vec(place).map_err(|error| ApiError::Internal(error.into()))?;
    Ok(URL_SAFE_NO_PAD.encode(json))
}

/// Reads a cursor that [`cursor`] wrote.
pub fn read_cursor<T: for<'de> Deserialize<'de>>(text: Option<&str>) -> Result<Option<T>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    let json = URL_SAFE_NO_PAD.decode(text).map_err(|_| ApiError::CursorInvalid)?;
    serde_json::from_slice(&json).map(Some).map_err(|_| ApiError::CursorInvalid)
}

/// An actor's id address, with the letter of its network.
pub fn actor_id(id: ActorID) -> String {
    format_address(&Address::new_id(id))
}

/// A value as DAG-JSON. As text, because a `serde_json::Value` would lose large integers.
pub fn dag_json(value: &Ipld) -> Result<Box<RawValue>, ApiError> {
    let json = serde_ipld_dagjson::to_vec(value).map_err(|error| ApiError::Internal(anyhow::anyhow!("{error}")))?;
    let text = String::from_utf8(json).map_err(|error| ApiError::Internal(error.into()))?;
    RawValue::from_string(text).map_err(|error| ApiError::Internal(error.into()))
}
