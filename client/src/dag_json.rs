//! DAG-JSON (ipld.io, specs/codecs/dag-json): how people write and read IPLD values.

use bucket_core::dag_cbor::{self, Ipld};
use serde_json::Value;

use crate::error::ClientError;

/// Reads a value that has a strict DAG-CBOR form.
pub fn read(text: &str) -> Result<Ipld, ClientError> {
    // Checked as JSON first: its errors name line and column.
    let json: Value = serde_json::from_str(text).map_err(|error| input(text, error))?;
    from_json(&json)
}

/// Reads a value out of JSON.
pub fn from_json(json: &Value) -> Result<Ipld, ClientError> {
    let text = json.to_string();
    let value: Ipld = serde_ipld_dagjson::from_slice(text.as_bytes()).map_err(|error| input(&text, error))?;
    dag_cbor::check(&value).map_err(|error| input(&text, error))?;
    Ok(value)
}

/// Writes a value as JSON.
pub fn write(value: &Ipld) -> Result<Value, ClientError> {
    let bytes = serde_ipld_dagjson::to_vec(value).map_err(|error| ClientError::Input(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| ClientError::Input(error.to_string()))
}

fn input(text: &str, why: impl ToString) -> ClientError {
    let shown: String = text.chars().take(60).collect();
    let why = why.to_string();
    ClientError::Input(format!(
        "expected DAG-JSON (bytes as {{\"/\": {{\"bytes\": \"<base64>\"}}}}, links as {{\"/\": \"<cid>\"}}), got {shown}: {why}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_links_and_numbers_round_trip() {
        let text = r#"{"bytes":{"/":{"bytes":"AQID"}},"link":{"/":"bafkreifw7plhl6mofk6sfvhnfh64qmkq73oeqwl6sloru6rehaoujituke"},"n":-7}"#;
        let value = read(text).unwrap();
        let Ipld::Map(map) = &value else { panic!("{value:?}") };
        assert_eq!(map["bytes"], Ipld::Bytes(vec![1, 2, 3]));
        assert!(matches!(map["link"], Ipld::Link(_)));
        assert_eq!(write(&value).unwrap().to_string(), text);
    }

    #[test]
    fn errors_show_what_came() {
        for bad in ["{", "{\"a\":}", "{\"/\": \"nothing\"}", "1e400"] {
            let error = read(bad).unwrap_err();
            assert!(error.to_string().starts_with("expected DAG-JSON"), "{error}");
        }
    }
}
