//! Why a call gave no result.

use std::time::Duration;

/// Why a call gave no result. Each text says what to do, where that is known.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// The address of the node can't be understood.
    #[error("{given:?} is no address of a node: {reason}")]
    Endpoint {
        /// What was given, without its token.
        given: String,
        /// What was expected.
        reason: String,
    },
    /// Nothing answers there.
    #[error("can't reach the node at {url}: {reason}; is it running, and is this its address?")]
    Unreachable {
        /// Where it was sought.
        url: String,
        /// The innermost cause.
        reason: String,
    },
    /// The node took too long.
    #[error("{method}: no answer from {url} within {}", seconds(.after))]
    Timeout {
        /// What was called.
        method: &'static str,
        /// Where.
        url: String,
        /// The time that was allowed.
        after: Duration,
    },
    /// The connection broke in the middle of an answer.
    #[error("{method}: the answer of {url} broke off: {reason}")]
    Broken {
        /// What was called.
        method: &'static str,
        /// Where.
        url: String,
        /// The innermost cause.
        reason: String,
    },
    /// Something that is no JSON-RPC answer came, with a status other than 200.
    #[error("{method}: {url} answered with HTTP status {status}{}: {body}", advice(*.status))]
    Http {
        /// What was called.
        method: &'static str,
        /// Where.
        url: String,
        /// The status code.
        status: u16,
        /// The beginning of the body.
        body: String,
    },
    /// The node understood and refused.
    #[error("{method}: {message} (code {code})")]
    Node {
        /// What was called.
        method: &'static str,
        /// JSON-RPC's own below -32000; Lotus uses 1 for most others.
        code: i64,
        /// The node's words.
        message: String,
    },
    /// The answer is not what the method gives.
    #[error("{method}: expected {expected}, got {got}: {reason}")]
    Shape {
        /// What was called.
        method: &'static str,
        /// What the answer should have been.
        expected: String,
        /// The beginning of what came.
        got: String,
        /// Where they differ.
        reason: String,
    },
    /// The parameters have no JSON form.
    #[error("{method}: the parameters can't be written: {reason}")]
    Params {
        /// What was called.
        method: &'static str,
        /// What is wrong with them.
        reason: String,
    },
}

impl RpcError {
    /// The node's error code, when the node answered with one.
    pub fn code(&self) -> Option<i64> {
        match self {
            Self::Node { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the same call may succeed later without any change: the node is away or busy.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::Broken { .. } => true,
            Self::Http { status, .. } => matches!(status, 408 | 429 | 500 | 502 | 503 | 504),
            Self::Endpoint { .. } | Self::Node { .. } | Self::Shape { .. } | Self::Params { .. } => false,
        }
    }
}

fn seconds(duration: &Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

fn advice(status: u16) -> &'static str {
    match status {
        401 | 403 => " (the token is missing, wrong, or lacks the permission)",
        404 => " (is the path right? Lotus answers at /rpc/v1)",
        413 => " (the request is too large)",
        429 => " (too many requests)",
        _ => "",
    }
}
