//! The frame around calls.
//!
//! JSON-RPC 2.0, <https://www.jsonrpc.org/specification>, as go-jsonrpc reads it: positional
//! parameters, and no insistence on the `jsonrpc` member.

use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

use super::Outcome;
use crate::method::kind;

/// Codes of failures.
pub mod code {
    /// The body is no JSON.
    pub const PARSE_ERROR: i64 = -32700;
    /// The JSON is no request.
    pub const INVALID_REQUEST: i64 = -32600;
    /// There is no such method.
    pub const METHOD_NOT_FOUND: i64 = -32601;
    /// The method takes other parameters.
    pub const INVALID_PARAMS: i64 = -32602;
    /// The node is at fault.
    pub const INTERNAL_ERROR: i64 = -32603;
    /// Too much at once; EIP-1474's "limit exceeded".
    pub const LIMIT_EXCEEDED: i64 = -32005;
    /// What go-jsonrpc says when nothing more is known.
    pub const OTHER: i64 = 1;
    /// The message ran out of gas (lotus:api/api_errors.go).
    pub const OUT_OF_GAS: i64 = 2;
    /// The message ended with another exit code than 0 (lotus:api/api_errors.go).
    pub const EXECUTION_REVERTED: i64 = 3;
    /// There is no such actor (lotus:api/api_errors.go).
    pub const ACTOR_NOT_FOUND: i64 = 11;
    /// There is no tipset at that epoch (lotus:api/api_errors.go).
    pub const NULL_ROUND: i64 = 12;
}

/// Why a call failed, in a form that the caller may see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{message} (code {code})")]
pub struct Failure {
    /// One of [`code`], or the method's own.
    pub code: i64,
    /// For people.
    pub message: String,
}

impl Failure {
    /// With a code of the caller's choice.
    pub fn with_code(code: i64, message: impl ToString) -> Self {
        Self { code, message: message.to_string() }
    }

    /// With [`code::OTHER`], like any error of Lotus without a code of its own.
    pub fn new(message: impl ToString) -> Self {
        Self::with_code(code::OTHER, message)
    }

    /// With [`code::INVALID_PARAMS`].
    pub fn invalid_params(message: impl ToString) -> Self {
        Self::with_code(code::INVALID_PARAMS, message)
    }

    /// With [`code::INTERNAL_ERROR`].
    pub fn internal(message: impl ToString) -> Self {
        Self::with_code(code::INTERNAL_ERROR, message)
    }

    pub(super) fn method_not_found(message: impl ToString) -> Self {
        Self::with_code(code::METHOD_NOT_FOUND, message)
    }

    pub(super) fn invalid_request(message: impl ToString) -> Self {
        Self::with_code(code::INVALID_REQUEST, message)
    }
}

/// With [`code::OTHER`] and the whole chain of causes.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(format!("{error:#}"))
    }
}

/// What a caller calls a request; echoed as it came.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Id {
    Null,
    Number(Number),
    String(String),
}

/// A call as it came.
#[derive(Debug, PartialEq)]
pub(super) struct Request {
    /// None for a notification, which gets no response.
    pub id: Option<Id>,
    pub method: String,
    pub params: Option<Value>,
}

/// One frame or body: a call, or a batch of them.
#[derive(Debug, PartialEq)]
pub(super) enum Incoming {
    One(Request),
    Batch(Vec<Result<Request, Refused>>),
}

/// Something that is no request; the response is known already.
#[derive(Debug, PartialEq)]
pub(super) struct Refused {
    pub id: Id,
    pub failure: Failure,
}

impl Refused {
    fn anonymous(failure: Failure) -> Self {
        Self { id: Id::Null, failure }
    }
}

impl Incoming {
    pub fn read(bytes: &[u8]) -> Result<Self, Refused> {
        let value: Value = serde_json::from_slice(bytes)
            .map_err(|e| Refused::anonymous(Failure::with_code(code::PARSE_ERROR, format!("expected JSON: {e}"))))?;
        match value {
            Value::Array(calls) if calls.is_empty() => {
                Err(Refused::anonymous(Failure::invalid_request("the batch is empty")))
            }
            Value::Array(calls) if calls.len() > super::BATCH_CALLS_MAX => {
                Err(Refused::anonymous(Failure::invalid_request(format!(
                    "expected at most {} calls in a batch, got {}",
                    super::BATCH_CALLS_MAX,
                    calls.len()
                ))))
            }
            Value::Array(calls) => Ok(Self::Batch(calls.into_iter().map(Request::read).collect())),
            one => Request::read(one).map(Self::One),
        }
    }
}

impl Request {
    fn read(value: Value) -> Result<Self, Refused> {
        let mut members = match value {
            Value::Object(members) => members,
            other => {
                return Err(Refused::anonymous(Failure::invalid_request(format!(
                    "expected a request object, got {}",
                    kind(&other)
                ))));
            }
        };
        let id = read_id(&mut members)?;
        match members.remove("method") {
            Some(Value::String(method)) => Ok(Self { id, method, params: members.remove("params") }),
            other => Err(Refused {
                id: id.unwrap_or(Id::Null),
                failure: Failure::invalid_request(format!(
                    "expected a method's name as a string, got {}",
                    other.as_ref().map_or("none", kind)
                )),
            }),
        }
    }
}

fn read_id(members: &mut Map<String, Value>) -> Result<Option<Id>, Refused> {
    match members.remove("id") {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(Id::Null)),
        Some(Value::Number(number)) => Ok(Some(Id::Number(number))),
        Some(Value::String(string)) => Ok(Some(Id::String(string))),
        Some(other) => Err(Refused::anonymous(Failure::invalid_request(format!(
            "expected an id that is a string, a number or null, got {}",
            kind(&other)
        )))),
    }
}

/// The answer to one request.
#[derive(Debug)]
pub(super) struct Response {
    pub id: Id,
    pub outcome: Outcome,
}

impl From<Refused> for Response {
    fn from(Refused { id, failure }: Refused) -> Self {
        Self { id, outcome: Err(failure) }
    }
}

impl Serialize for Response {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("jsonrpc", "2.0")?;
        map.serialize_entry("id", &self.id)?;
        match &self.outcome {
            Ok(result) => map.serialize_entry("result", result)?,
            Err(failure) => map.serialize_entry("error", failure)?,
        }
        map.end()
    }
}

/// Writes what is made of strings, numbers and raw JSON only, and so can't fail.
pub(super) fn write(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// `xrpc.ch.val`: a value for a channel.
pub(super) fn channel_value(channel: u64, value: &RawValue) -> String {
    write(&Notification { jsonrpc: "2.0", method: "xrpc.ch.val", params: (channel, value) })
}

/// `xrpc.ch.close`: no more values for a channel.
pub(super) fn channel_close(channel: u64) -> String {
    write(&Notification { jsonrpc: "2.0", method: "xrpc.ch.close", params: (channel,) })
}

#[derive(Serialize)]
struct Notification<P> {
    jsonrpc: &'static str,
    method: &'static str,
    params: P,
}
