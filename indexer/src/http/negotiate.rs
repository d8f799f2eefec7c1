//! Which form of a block is wanted: `?format=` decides, else `Accept` (specs.ipfs.tech, http-gateways/trustless-gateway). And
//! whether it is wanted at all.

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, IF_NONE_MATCH};
use serde::Deserialize;

/// Media type of a block.
pub(super) const RAW_TYPE: &str = "application/vnd.ipld.raw";
/// Media type of a CAR.
pub(super) const CAR_TYPE: &str = "application/vnd.ipld.car";

/// Parameters of `/ipfs`. Others are ignored, as gateways do.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct IpfsQuery {
    pub format: Option<String>,
    pub filename: Option<String>,
    dag_scope: Option<String>,
    entity_bytes: Option<String>,
    car_version: Option<String>,
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The block's bytes.
    Raw,
    /// A CAR of the block and what it links to.
    CarAll,
    /// A CAR of the block alone.
    CarBlock,
}

/// The form that is asked for; `None` when it is none of ours.
pub(super) fn form(query: &IpfsQuery, headers: &HeaderMap) -> Option<Form> {
    let car = match &query.format {
        Some(format) => match format.as_str() {
            "raw" => false,
            "car" => true,
            _ => return None,
        },
        None => accepted(headers)?,
    };
    if !car {
        return Some(Form::Raw);
    }
    if query.car_version.as_deref().is_some_and(|version| version != "1") {
        return None;
    }
    // An entity of DAG-CBOR or raw data, whatever its range, is one block: only UnixFS has larger ones.
    let entity = query.entity_bytes.is_some() && query.dag_scope.is_none();
    match query.dag_scope.as_deref() {
        _ if entity => Some(Form::CarBlock),
        None | Some("all") => Some(Form::CarAll),
        Some("entity" | "block") => Some(Form::CarBlock),
        Some(_) => None,
    }
}

/// Whether the client has an answer with this tag already.
pub(super) fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let known = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    known.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
}

/// Whether `Accept` prefers a CAR (true) or a block (false).
fn accepted(headers: &HeaderMap) -> Option<bool> {
    let ranges =
        headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let mut best: Option<(f32, bool)> = None;
    for range in ranges {
        let mut parts = range.split(';').map(str::trim);
        let car = match parts.next().map(str::to_ascii_lowercase).as_deref() {
            Some(RAW_TYPE) => false,
            Some(CAR_TYPE) => true,
            _ => continue,
        };
        let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
        let value =
            |name: &str| parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| *value);
        let version_1 = value("version").is_none_or(|version| version == "1");
        let quality: f32 = value("q").map_or(1.0, |q| q.parse().unwrap_or(0.0));
        if version_1 && quality > best.map_or(0.0, |(quality, _)| quality) {
            best = Some((quality, car));
        }
    }
    best.map(|(_, car)| car)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(format: Option<&str>, accept: &str) -> Option<Form> {
        let query = IpfsQuery { format: format.map(str::to_owned), ..IpfsQuery::default() };
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        form(&query, &headers)
    }

    #[test]
    fn the_format_parameter_wins_and_accept_is_weighed() {
        assert_eq!(ask(Some("raw"), CAR_TYPE), Some(Form::Raw));
        assert_eq!(ask(Some("car"), RAW_TYPE), Some(Form::CarAll));
        assert_eq!(ask(Some("tar"), RAW_TYPE), None);
        assert_eq!(ask(None, "text/html, application/vnd.ipld.car; version=1; order=dfs; dups=y"), Some(Form::CarAll));
        assert_eq!(ask(None, "application/vnd.ipld.car;q=0.5, application/vnd.ipld.raw;q=0.9"), Some(Form::Raw));
        assert_eq!(ask(None, "application/vnd.ipld.car;version=2"), None);
        assert_eq!(ask(None, "application/vnd.ipld.raw;q=0"), None);
        assert_eq!(ask(None, "*/*"), None);
    }

    #[test]
    fn scopes() {
        let scope = |text: &str| {
            let query = IpfsQuery { format: Some("car".into()), dag_scope: Some(text.into()), ..IpfsQuery::default() };
            form(&query, &HeaderMap::new())
        };
        assert_eq!(scope("all"), Some(Form::CarAll));
        assert_eq!(scope("entity"), Some(Form::CarBlock));
        assert_eq!(scope("block"), Some(Form::CarBlock));
        assert_eq!(scope("some"), None);
    }
}
