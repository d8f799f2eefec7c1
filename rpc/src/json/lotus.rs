//! The five scalar forms of Lotus' JSON, and the wrapper that carries them.
//!
//! | Rust | JSON | source |
//! |---|---|---|
//! | [`Cid`] | `{"/": "bafy…"}` | go-cid `MarshalJSON` |
//! | [`Address`] | `"t01234"` | go-address `MarshalJSON` |
//! | [`BigInt`], [`TokenAmount`] | `"1000"` | go-state-types `big/int.go` |
//! | `Vec<u8>` | `"AQID"` (base64) | Go's `encoding/json` |
//! | `Vec<T>` | array, or null when empty | a Go nil slice is null |
//!
//! `fvm_shared` gives these types another serde form, the one of CBOR, hence the wrapper.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cid::Cid;
use fvm_shared::address::Address;
use fvm_shared::bigint::BigInt;
use fvm_shared::econ::TokenAmount;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::address::{format_address, parse_address};

/// A value in the form that Lotus gives it in JSON; used for bare parameters and results.
///
/// `client.call::<ChainGetBlock>((cid.into(),))` is all that a caller sees of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lotus<T>(pub T);

impl<T> Lotus<T> {
    /// The value itself.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> From<T> for Lotus<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T: LotusJson> Serialize for Lotus<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: LotusJson> Deserialize<'de> for Lotus<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self)
    }
}

/// [`Lotus`] without ownership, to write with.
pub(crate) struct Ref<'a, T>(pub &'a T);

impl<T: LotusJson> Serialize for Ref<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// For `#[serde(with = "lotus")]` on a field.
pub(crate) fn serialize<T: LotusJson, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    value.serialize(serializer)
}

/// For `#[serde(with = "lotus")]` on a field.
pub(crate) fn deserialize<'de, T: LotusJson, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    T::deserialize(deserializer)
}

/// A type that Lotus writes in a form other than its serde one.
pub trait LotusJson: Sized {
    /// Writes the Lotus form.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;
    /// Reads the Lotus form; fails with what was expected.
    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}

#[derive(Serialize, Deserialize)]
struct Link {
    #[serde(rename = "/")]
    cid: String,
}

impl LotusJson for Cid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Link { cid: self.to_string() }.serialize(serializer)
    }

    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Link { cid } = <Link as Deserialize>::deserialize(deserializer)?;
        cid.parse().map_err(|e| D::Error::custom(format!("expected a CID, got {cid:?}: {e}")))
    }
}

impl LotusJson for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_address(self))
    }

    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_address(&text).map_err(D::Error::custom)
    }
}

/// More digits than fit the 128 bytes which the FVM allows to a big integer, and few enough that
/// parsing, which is quadratic, stays cheap.
const BIG_INT_CHARS_MAX: usize = 310;

impl LotusJson for BigInt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }

    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.strip_prefix('-').unwrap_or(&text);
        // num-bigint alone would also take `+1` and `1_000`, which Go refuses.
        let decimal = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if text.len() > BIG_INT_CHARS_MAX || !decimal {
            let shown: String = text.chars().take(40).collect();
            return Err(D::Error::custom(format!("expected a decimal integer, got {shown:?}")));
        }
        text.parse().map_err(D::Error::custom)
    }
}

impl LotusJson for TokenAmount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        LotusJson::serialize(self.atto(), serializer)
    }

    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <BigInt as LotusJson>::deserialize(deserializer).map(TokenAmount::from_atto)
    }
}

impl LotusJson for Vec<u8> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(self))
    }

    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        STANDARD.decode(text).map_err(|e| D::Error::custom(format!("expected base64: {e}")))
    }
}

impl<T: LotusJson> LotusJson for Option<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Some(value) => value.serialize(serializer),
            None => serializer.serialize_none(),
        }
    }

    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = <Option<Lotus<T>> as Deserialize>::deserialize(deserializer)?;
        Ok(value.map(Lotus::into_inner))
    }
}

impl<T: LotusJson> LotusJson for Vec<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(Ref))
    }

    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let values = <Option<Vec<Lotus<T>>> as Deserialize>::deserialize(deserializer)?;
        Ok(values.unwrap_or_default().into_iter().map(Lotus::into_inner).collect())
    }
}

/// For `#[serde(deserialize_with = "null_as_default")]`: Go writes nil slices as null.
pub(crate) fn null_as_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Default,
    D: Deserializer<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
