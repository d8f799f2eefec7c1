//! Calls over HTTP.

use std::error::Error as _;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::deep;
use crate::endpoint::Endpoint;
use crate::error::RpcError;
use crate::method::{RpcMethod, params_to_json};

/// How long a call may take unless the caller says otherwise.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long finding and reaching the node may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Above the largest answers that are asked for, all messages or receipts of a full tipset; a node
/// that sends more would only fill our memory.
const ANSWER_BYTES_MAX: usize = 128 << 20;

/// How much of an unexpected answer an error shows.
const SHOWN_CHARS_MAX: usize = 300;

/// Calls the methods of one node.
///
/// A clone is cheap and shares connections. Nothing is repeated on failure: see
/// [`RpcError::is_transient`].
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    url: Url,
    timeout: Duration,
    next_id: Arc<AtomicU64>,
}

impl Client {
    /// For the node at `url`, where `/rpc/v1` is meant when there is no path.
    pub fn new(url: &str, token: Option<String>) -> Result<Self, RpcError> {
        Self::from_endpoint(Endpoint::from_url(url, token)?)
    }

    /// For the node that `FULLNODE_API_INFO` names; see [`Endpoint::from_api_info`].
    pub fn from_api_info(info: &str) -> Result<Self, RpcError> {
        Self::from_endpoint(Endpoint::from_api_info(info)?)
    }

    /// For the node at `endpoint`.
    pub fn from_endpoint(endpoint: Endpoint) -> Result<Self, RpcError> {
        let Endpoint { url, token } = endpoint;
        let fail = |reason: String| RpcError::Endpoint { given: url.to_string(), reason };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(token) = token {
            let mut bearer = HeaderValue::try_from(format!("Bearer {token}"))
                .map_err(|_| fail("expected a token of printable characters".into()))?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        let mut builder = reqwest::Client::builder().default_headers(headers).connect_timeout(CONNECT_TIMEOUT);
        if is_loopback(&url) {
            // A proxy from the environment would look for the node on its own machine.
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|e| fail(innermost(&e)))?;
        Ok(Self { http, url, timeout: CALL_TIMEOUT, next_id: Arc::default() })
    }

    /// The same client with another limit for [`Client::call`].
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Where the node is.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Calls `M` and waits for its result, at most [`CALL_TIMEOUT`].
    pub async fn call<M: RpcMethod>(&self, params: M::Params) -> Result<M::Ok, RpcError> {
        self.call_with_timeout::<M>(params, self.timeout).await
    }

    /// Calls `M` and waits for its result, at most `timeout`.
    ///
    /// For `Filecoin.StateWaitMsg`, which answers when the message is on the chain.
    pub async fn call_with_timeout<M: RpcMethod>(
        &self,
        params: M::Params,
        timeout: Duration,
    ) -> Result<M::Ok, RpcError> {
        let body = self.request::<M>(&params)?;
        let exchange = async {
            let request = self.http.post(self.url.clone()).body(body);
            let response = request.send().await.map_err(|e| self.send_error::<M>(&e))?;
            let status = response.status();
            Ok((status, self.read::<M>(response).await?))
        };
        // Around both steps: a node that sends a byte a minute is late as well.
        let (status, answer) = tokio::time::timeout(timeout, exchange).await.map_err(|_| RpcError::Timeout {
            method: M::NAME,
            url: self.url.to_string(),
            after: timeout,
        })??;
        self.understand::<M>(status, &answer)
    }

    fn request<M: RpcMethod>(&self, params: &M::Params) -> Result<String, RpcError> {
        let params = params_to_json(params).map_err(|e| RpcError::Params { method: M::NAME, reason: e.to_string() })?;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        Ok(json!({"jsonrpc": "2.0", "id": id, "method": M::NAME, "params": params}).to_string())
    }

    fn send_error<M: RpcMethod>(&self, error: &reqwest::Error) -> RpcError {
        let (url, reason) = (self.url.to_string(), innermost(error));
        if error.is_connect() {
            RpcError::Unreachable { url, reason }
        } else {
            RpcError::Broken { method: M::NAME, url, reason }
        }
    }

    async fn read<M: RpcMethod>(&self, mut response: Response) -> Result<Vec<u8>, RpcError> {
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.send_error::<M>(&e))? {
            if answer.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(RpcError::Shape {
                    method: M::NAME,
                    expected: format!("at most {ANSWER_BYTES_MAX} bytes"),
                    got: shown(&answer),
                    reason: "there was more".into(),
                });
            }
            answer.extend_from_slice(&chunk);
        }
        Ok(answer)
    }

    fn understand<M: RpcMethod>(&self, status: StatusCode, answer: &[u8]) -> Result<M::Ok, RpcError> {
        let envelope = serde_json::from_slice::<Envelope>(answer);
        // Lotus says 500 with a proper JSON-RPC error inside, so the status comes second.
        if let Ok(Envelope { error: Some(ErrorObject { code, message }), .. }) = envelope {
            return Err(RpcError::Node { method: M::NAME, code, message });
        }
        if !status.is_success() {
            return Err(RpcError::Http {
                method: M::NAME,
                url: self.url.to_string(),
                status: status.as_u16(),
                body: shown(answer),
            });
        }
        let shape = |expected: &str, got: &[u8], error: serde_json::Error| RpcError::Shape {
            method: M::NAME,
            expected: expected.into(),
            got: shown(got),
            reason: error.to_string(),
        };
        let envelope = envelope.map_err(|e| shape("a JSON-RPC answer", answer, e))?;
        // A missing result is null: Go leaves out nil.
        let result = envelope.result.map_or("null", RawValue::get);
        deep::from_str(result).map_err(|e| shape(short_name::<M::Ok>().as_str(), result.as_bytes(), e))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("url", &self.url.as_str())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "jsonrpc")]
    _jsonrpc: String,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<ErrorObject>,
}

#[derive(Deserialize)]
struct ErrorObject {
    code: i64,
    #[serde(default)]
    message: String,
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let ip: Option<std::net::IpAddr> = host.parse().ok();
    host == "localhost" || ip.is_some_and(|ip| ip.is_loopback())
}

/// What went wrong at the bottom; the layers above only repeat the URL.
fn innermost(error: &reqwest::Error) -> String {
    let mut source = error.source();
    let mut text = error.to_string();
    while let Some(error) = source {
        text = error.to_string();
        source = error.source();
    }
    text
}

fn shown(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "nothing".into();
    }
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * SHOWN_CHARS_MAX)]);
    let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    if shown.len() < bytes.len() {
        shown.push('…');
    }
    shown
}

/// A type's name without its modules: `Vec<ApiMessage>`.
fn short_name<T>() -> String {
    let mut short = String::new();
    let mut word = String::new();
    for c in std::any::type_name::<T>().chars() {
        match c {
            ':' => word.clear(),
            c if c.is_alphanumeric() || c == '_' => word.push(c),
            c => {
                short.push_str(&word);
                word.clear();
                short.push(c);
            }
        }
    }
    short + &word
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::ApiMessage;

    #[test]
    fn names_of_types_are_short() {
        assert_eq!(short_name::<Vec<ApiMessage>>(), "Vec<ApiMessage>");
        assert_eq!(short_name::<crate::Lotus<cid::Cid>>(), "Lotus<Cid<64>>");
        assert_eq!(short_name::<()>(), "()");
    }

    #[test]
    fn long_answers_are_cut_between_characters() {
        assert_eq!(shown(b""), "nothing");
        assert_eq!(shown("é".as_bytes()), "é");
        assert_eq!(shown("é".repeat(1000).as_bytes()), "é".repeat(SHOWN_CHARS_MAX) + "…");
    }

    #[test]
    fn debug_shows_no_token() {
        let client = Client::new("http://127.0.0.1:1", Some("secret".into())).unwrap();
        assert!(!format!("{client:?}").contains("secret"));
        let error = Client::new("http://127.0.0.1:1", Some("sec\nret".into())).unwrap_err();
        assert!(!error.to_string().contains("sec\nret"), "{error}");
    }
}
