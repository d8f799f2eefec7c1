//! One RPC method, one type, both ends.
//!
//! Shape after forest's `trait RpcMethod` (src/rpc/reflect/mod.rs), with two aims of our own: the
//! trait carries no behaviour, so that a caller does not compile a server, and parameters are plain
//! tuples, because Lotus only knows positional ones.

use std::fmt;

use serde::Serialize;
use serde::de::value::UnitDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::Value;

/// A method of the node: its wire name, its positional parameters and its result.
pub trait RpcMethod {
    /// The name on the wire, such as `Filecoin.ChainHead`.
    const NAME: &'static str;
    /// A tuple with one member per parameter, or `()`.
    type Params: Serialize + DeserializeOwned + Send + 'static;
    /// What a successful call gives.
    type Ok: Serialize + DeserializeOwned + Send + 'static;
}

/// A method that answers with the id of a channel and then sends values over it.
///
/// Only a WebSocket can carry one. See `lotus:documentation/en/api-methods-v1-stable.md`, "ChainNotify".
pub trait Subscription: RpcMethod<Ok = u64> {
    /// What each `xrpc.ch.val` carries.
    type Item: Serialize + DeserializeOwned + Send + 'static;
}

/// Writes parameters as the array that Lotus expects.
pub(crate) fn params_to_json<P: Serialize>(params: &P) -> Result<Value, serde_json::Error> {
    let value = serde_json::to_value(params)?;
    // `()` becomes null in serde; Lotus' clients send an empty array.
    Ok(if value.is_null() { Value::Array(Vec::new()) } else { value })
}

/// Reads parameters from the `params` of a request.
///
/// Callers may leave out trailing parameters which may be null, and `params` itself when all may:
/// iso-filecoin and curl users do so. Anything else that is missing or in excess is named by its
/// position.
pub fn params_from_json<P: DeserializeOwned>(params: Option<Value>) -> Result<P, ParamsError> {
    let given = match params {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(values)) => values,
        Some(other) => {
            return Err(ParamsError(format!("expected an array of positional parameters, got {}", kind(&other))));
        }
    };
    P::deserialize(Positional(given))
}

/// Why parameters were refused; the text is meant for the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParamsError(String);

impl serde::de::Error for ParamsError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// What a JSON value is, in a word.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Feeds a tuple with the given values and then with nulls.
///
/// A deserializer of its own, because only the tuple knows how many members it has.
struct Positional(Vec<Value>);

impl<'de> Deserializer<'de> for Positional {
    type Error = ParamsError;

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, ParamsError> {
        if self.0.len() > len {
            return Err(ParamsError(format!("expected at most {len} parameters, got {}", self.0.len())));
        }
        visitor.visit_seq(Padded { given: self.0.into_iter(), position: 0, len })
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ParamsError> {
        match self.0.len() {
            0 => UnitDeserializer::new().deserialize_unit(visitor),
            n => Err(ParamsError(format!("expected no parameters, got {n}"))),
        }
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, ParamsError> {
        Err(ParamsError::custom("parameters must be declared as a tuple"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit_struct newtype_struct seq tuple_struct map struct enum identifier ignored_any
    }
}

struct Padded {
    given: std::vec::IntoIter<Value>,
    position: usize,
    len: usize,
}

impl<'de> SeqAccess<'de> for Padded {
    type Error = ParamsError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ParamsError> {
        if self.position == self.len {
            return Ok(None);
        }
        self.position += 1;
        let (value, missing) = match self.given.next() {
            Some(value) => (value, false),
            None => (Value::Null, true),
        };
        match seed.deserialize(value) {
            Ok(member) => Ok(Some(member)),
            Err(_) if missing => Err(ParamsError(format!("parameter {} of {} is missing", self.position, self.len))),
            Err(error) => Err(ParamsError(format!("parameter {}: {error}", self.position))),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.len - self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    type Params = (u64, String, Option<i64>);

    fn read<P: DeserializeOwned>(params: Value) -> Result<P, String> {
        params_from_json(Some(params)).map_err(|e| e.to_string())
    }

    #[test]
    fn trailing_options_may_be_left_out() {
        assert_eq!(read::<Params>(json!([1, "a"])), Ok((1, "a".into(), None)));
        assert_eq!(read::<Params>(json!([1, "a", null])), Ok((1, "a".into(), None)));
        assert_eq!(read::<Params>(json!([1, "a", 7])), Ok((1, "a".into(), Some(7))));
        assert_eq!(read::<(Option<u8>,)>(Value::Null), Ok((None,)));
        assert_eq!(params_from_json::<(Option<u8>,)>(None), Ok((None,)));
    }

    #[test]
    fn no_parameters_may_be_written_in_three_ways() {
        assert_eq!(read::<()>(json!([])), Ok(()));
        assert_eq!(read::<()>(json!(null)), Ok(()));
        assert_eq!(params_from_json::<()>(None), Ok(()));
        assert_eq!(params_to_json(&()).unwrap(), json!([]));
    }

    #[test]
    fn errors_name_the_position() {
        let error = |params| read::<Params>(params).unwrap_err();
        assert_eq!(error(json!([1])), "parameter 2 of 3 is missing");
        assert_eq!(error(json!([1, 2, 3])), "parameter 2: invalid type: integer `2`, expected a string");
        assert_eq!(error(json!([1, "a", 3, 4])), "expected at most 3 parameters, got 4");
        assert_eq!(error(json!({"a": 1})), "expected an array of positional parameters, got an object");
        assert_eq!(read::<()>(json!([1])), Err("expected no parameters, got 1".into()));
    }
}
