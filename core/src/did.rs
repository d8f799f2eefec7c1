//! The name of a bucket: a DID (W3C DID Core 1.0, section 3.1), so that a bucket can be a UCAN subject.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::limits::DID_BYTES_MAX;

/// A bucket's DID, `did:<method>:<id>`, without path, query or fragment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct BucketId(String);

/// Why a text is not a bucket's DID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a DID like did:key:z6Mk… of at most {DID_BYTES_MAX} bytes, got “{0}”")]
pub struct NotDid(String);

impl BucketId {
    /// The DID as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_did(text: &str) -> bool {
    let mut parts = text.splitn(3, ':');
    let (Some("did"), Some(method), Some(id)) = (parts.next(), parts.next(), parts.next()) else { return false };
    text.len() <= DID_BYTES_MAX
        && !method.is_empty()
        && method.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && !id.is_empty()
        && !id.ends_with(':')
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-:%".contains(&b))
}

impl FromStr for BucketId {
    type Err = NotDid;

    fn from_str(text: &str) -> Result<Self, NotDid> {
        if is_did(text) { Ok(Self(text.to_owned())) } else { Err(NotDid(text.chars().take(80).collect())) }
    }
}

impl fmt::Display for BucketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for BucketId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dids() {
        for good in ["did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK", "did:web:example.com", "did:a:b:c%20"]
        {
            assert_eq!(good.parse::<BucketId>().unwrap().as_str(), good);
        }
        let long = format!("did:key:{}", "z".repeat(DID_BYTES_MAX));
        for bad in
            ["", "did:", "did:key", "did:key:", "did:Key:z", "did:key:z#a", "did:key:z/a", "did:key:a:", "key:z", &long]
        {
            assert!(bad.parse::<BucketId>().is_err(), "{bad}");
        }
    }
}
