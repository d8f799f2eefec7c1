//! One UCAN 0.9.1 in its IPLD form `{v, iss, aud, s, att, prf, exp, fct, nnc, nbf}` (npm `@ipld/dag-ucan` 3.4,
//! `src/codec/cbor.js`), and the text that its signature is over: `header.payload` of a JWT (`src/formatter.js`).
//!
//! Only what `@ipld/dag-ucan` itself would write is taken, so that one signature belongs to one block and one CID: who
//! revokes a delegation by its CID revokes all of it.

use std::collections::BTreeMap;

use cid::multibase::{self, Base};

use super::dag_json::{self, SAFE_MAX};
use crate::cid::{Cid, DAG_CBOR, Hasher, block_cid};
use crate::dag_cbor::{self, Ipld};
use crate::limits::DID_BYTES_MAX;
use crate::task::kind;
use crate::ucan::varsig::Algorithm;
use crate::ucan::{Denied, Did, PublicKey};

/// The version that is understood, in the block and in the header of the signed text.
const VERSION: &str = "0.9.1";

/// Multicodec of a DID that is no key, before its text without `did:` (`src/did.js`, `DID_CORE`).
const DID_CORE: [u8; 2] = [0x9d, 0x1a];

/// Multicodecs of the public keys in a `did:key`, as varints, and how long both are: Ed25519, secp256k1, P-256.
const KEYS: [([u8; 2], usize); 3] = [([0xed, 0x01], 34), ([0xe7, 0x01], 35), ([0x80, 0x24], 35)];

/// Signature algorithms: each with its multicodec as a varint (`src/signature.js`) and its name in a JWT's header.
const ALGORITHMS: [(Algorithm, &[u8], &str); 3] = [
    (Algorithm::Ed25519, &[0xed, 0xa1, 0x03], "EdDSA"),
    (Algorithm::Es256k, &[0xe7, 0xa1, 0x03], "ES256K"),
    (Algorithm::Es256, &[0x80, 0xa4, 0xc0, 0x06], "ES256"),
];

/// All signatures of the three algorithms have this length.
const SIGNATURE_BYTES: u8 = 64;

/// A UCAN whose signature is not verified yet.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    /// Names it, whichever form of its signature travelled.
    pub cid: Cid,
    pub iss: Did,
    pub aud: Did,
    pub att: Vec<Capability>,
    pub prf: Vec<Cid>,
    /// The second since 1970 from which on it is too late; none for never.
    pub exp: Option<u64>,
    /// It is too early up to and including this second.
    pub nbf: Option<u64>,
    pub nonce: Vec<u8>,
    /// The issuer's.
    pub key: PublicKey,
    pub signature: [u8; 64],
    /// What is signed.
    pub signed: String,
}

/// One entry of `att`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Capability {
    /// The resource, a URI.
    pub with: String,
    /// The ability, like `kv/put`, `kv/*` or `*`.
    pub can: String,
    /// The caveats.
    pub nb: BTreeMap<String, Ipld>,
}

/// A signature as it was before varsig was specified: multicodec, length, bytes.
pub(super) fn seal(algorithm: Algorithm, signature: &[u8]) -> Vec<u8> {
    let code = ALGORITHMS.iter().find(|(known, ..)| *known == algorithm).map_or(&[][..], |(_, code, _)| code);
    [code, &[SIGNATURE_BYTES], signature].concat()
}

/// Algorithm, its name in a JWT's header, and the signature.
fn open(bytes: &[u8]) -> Result<(Algorithm, &'static str, [u8; 64]), Denied> {
    let found =
        ALGORITHMS.iter().find_map(|(algorithm, code, name)| Some((algorithm, name, bytes.strip_prefix(*code)?)));
    let Some((algorithm, name, rest)) = found else {
        let start: String = bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        return Err(Denied::UnsupportedKey(format!("expected a signature of EdDSA, ES256K or ES256, got {start}…")));
    };
    let signature = rest.strip_prefix(&[SIGNATURE_BYTES]).and_then(|rest| rest.try_into().ok());
    let wrong = || {
        Denied::Malformed(format!(
            "expected a signature of {SIGNATURE_BYTES} bytes after its length, got {}",
            rest.len()
        ))
    };
    Ok((*algorithm, name, signature.ok_or_else(wrong)?))
}

impl Token {
    /// Whether a value is meant to be a UCAN of this kind: a map that says so.
    pub fn is_one(value: &Ipld) -> bool {
        matches!(value, Ipld::Map(map) if matches!(map.get("v"), Some(Ipld::String(_))) && map.contains_key("att"))
    }

    /// Reads a block's value.
    pub fn decode<H: Hasher>(cid: Cid, value: Ipld) -> Result<Self, Denied> {
        let Ipld::Map(mut map) = value else { return Err(malformed(format!("a UCAN’s map, got {}", kind(&value)))) };
        let whole = map.clone();
        match map.remove("v") {
            Some(Ipld::String(version)) if version == VERSION => {}
            other => return Err(wrong("v", "“0.9.1”", other)),
        }
        let (algorithm, name, signature) = match map.remove("s") {
            Some(Ipld::Bytes(bytes)) => open(&bytes)?,
            other => return Err(wrong("s", "a signature's bytes", other)),
        };
        let payload = Payload::take(&mut map)?;
        if let Some(field) = map.into_keys().next() {
            return Err(malformed(format!("no other fields than those of UCAN {VERSION}, got “{field}”")));
        }
        let signed = format!("{}.{}", base64(header(name))?, base64(payload.to_jwt())?);
        let key = PublicKey::from_did(payload.iss.as_str())?;
        if key.algorithm() != algorithm {
            return Err(Denied::UnsupportedKey(format!(
                "expected a signature with the key of {}, got {name}",
                payload.iss
            )));
        }
        let cid = key.canonical(&signature).map_or(cid, |canonical| {
            let mut whole = whole;
            whole.insert("s".to_owned(), Ipld::Bytes(seal(algorithm, &canonical)));
            block_cid::<H>(DAG_CBOR, &dag_cbor::encode(&Ipld::Map(whole)))
        });
        let Payload { iss, aud, att, prf, exp, nbf, nnc, .. } = payload;
        let nonce = nnc.unwrap_or_default().into_bytes();
        Ok(Self { cid, iss, aud, att: capabilities(att)?, prf, exp, nbf, nonce, key, signature, signed })
    }
}

/// What is signed.
struct Payload {
    iss: Did,
    aud: Did,
    att: Ipld,
    prf: Vec<Cid>,
    exp: Option<u64>,
    nbf: Option<u64>,
    nnc: Option<String>,
    fct: Option<Ipld>,
}

impl Payload {
    fn take(map: &mut BTreeMap<String, Ipld>) -> Result<Self, Denied> {
        Ok(Self {
            iss: principal("iss", map.remove("iss"))?,
            aud: principal("aud", map.remove("aud"))?,
            att: map.remove("att").ok_or_else(|| wrong("att", "a list of capabilities", None))?,
            prf: match map.remove("prf") {
                Some(Ipld::List(links)) => links.into_iter().map(link).collect::<Result<_, _>>()?,
                other => return Err(wrong("prf", "a list of links", other)),
            },
            exp: match map.remove("exp") {
                Some(Ipld::Null) => None,
                other => Some(time("exp", 0, other)?),
            },
            // What would be signed like nothing is never written.
            nbf: map.remove("nbf").map(|value| time("nbf", 1, Some(value))).transpose()?,
            nnc: match map.remove("nnc") {
                None => None,
                Some(Ipld::String(nonce)) if !nonce.is_empty() => Some(nonce),
                other => return Err(wrong("nnc", "text that isn't empty, or none", other)),
            },
            fct: match map.remove("fct") {
                None => None,
                Some(Ipld::List(facts)) if !facts.is_empty() => Some(Ipld::List(facts)),
                other => return Err(wrong("fct", "a list that isn't empty, or none", other)),
            },
        })
    }

    fn to_jwt(&self) -> Ipld {
        let text = |text: &str| Ipld::String(text.to_owned());
        let time = |time: u64| Ipld::Integer(time.into());
        let fields = [
            ("iss", Some(text(self.iss.as_str()))),
            ("aud", Some(text(self.aud.as_str()))),
            ("att", Some(self.att.clone())),
            ("prf", Some(Ipld::List(self.prf.iter().map(|cid| text(&cid.to_string())).collect()))),
            ("exp", Some(self.exp.map_or(Ipld::Null, time))),
            ("nbf", self.nbf.map(time)),
            ("nnc", self.nnc.as_deref().map(text)),
            ("fct", self.fct.clone()),
        ];
        dag_cbor::map(fields.into_iter().filter_map(|(field, value)| Some((field, value?))))
    }
}

fn header(algorithm: &str) -> Ipld {
    let fields = [("alg", algorithm), ("typ", "JWT"), ("ucv", VERSION)];
    dag_cbor::map(fields.map(|(field, text)| (field, Ipld::String(text.to_owned()))))
}

/// A part of a JWT.
fn base64(value: Ipld) -> Result<String, Denied> {
    let mut text = String::new();
    dag_json::write(&mut text, &value).map_err(Denied::Malformed)?;
    Ok(Base::Base64Url.encode(text))
}

fn malformed(expected: String) -> Denied {
    Denied::Malformed(format!("expected {expected}"))
}

#[cold]
fn wrong(field: &str, expected: &str, got: Option<Ipld>) -> Denied {
    let got = match &got {
        None => "none",
        Some(Ipld::String(text)) if text.len() < 40 => &format!("“{text}”"),
        Some(Ipld::Integer(n)) => &n.to_string(),
        Some(value) => kind(value),
    };
    malformed(format!("“{field}” to be {expected}, got {got}"))
}

fn time(field: &str, least: i128, value: Option<Ipld>) -> Result<u64, Denied> {
    match value {
        Some(Ipld::Integer(time)) if (least..=SAFE_MAX).contains(&time) => Ok(time as u64),
        other => Err(wrong(field, &format!("seconds since 1970, {least} to 2^53-1"), other)),
    }
}

/// A principal's bytes as a DID (`src/did.js`).
fn principal(field: &str, value: Option<Ipld>) -> Result<Did, Denied> {
    let bytes = match value {
        Some(Ipld::Bytes(bytes)) if bytes.len() <= DID_BYTES_MAX => bytes,
        other => return Err(wrong(field, "a DID's bytes", other)),
    };
    let text = match bytes.strip_prefix(&DID_CORE) {
        // It would read as a key's DID, which has its own form.
        Some(id) if id.starts_with(b"key:") => {
            return Err(malformed(format!("“{field}” to be a key's bytes, got text")));
        }
        Some(id) => format!("did:{}", String::from_utf8_lossy(id)),
        None if KEYS.iter().any(|(code, len)| bytes.starts_with(code) && bytes.len() == *len) => {
            format!("did:key:{}", multibase::encode(Base::Base58Btc, &bytes))
        }
        None => {
            let start: String = bytes.iter().take(2).map(|byte| format!("{byte:02x}")).collect();
            let expected =
                format!("“{field}” to be a key of Ed25519, secp256k1 or P-256, or another DID, got {start}…");
            return Err(Denied::UnsupportedKey(expected));
        }
    };
    text.parse().map_err(|error| Denied::Malformed(format!("{field}: {error}")))
}

fn link(value: Ipld) -> Result<Cid, Denied> {
    if let Ipld::Link(cid) = value { Ok(cid) } else { Err(wrong("prf", "a list of links", Some(value))) }
}

fn capabilities(att: Ipld) -> Result<Vec<Capability>, Denied> {
    let Ipld::List(list) = att else { return Err(wrong("att", "a list of capabilities", Some(att))) };
    list.into_iter().map(capability).collect()
}

fn capability(value: Ipld) -> Result<Capability, Denied> {
    let Ipld::Map(mut map) = value else { return Err(wrong("att", "a list of maps {with, can, nb}", Some(value))) };
    let mut text = |field| match map.remove(field) {
        Some(Ipld::String(text)) => Ok(text),
        other => Err(wrong(field, "text", other)),
    };
    let (with, can) = (text("with")?, text("can")?);
    let nb = match map.remove("nb") {
        None => BTreeMap::new(),
        Some(Ipld::Map(nb)) => nb,
        other => return Err(wrong("nb", "a map, or none", other)),
    };
    match map.into_keys().next() {
        Some(field) => Err(malformed(format!("a capability {{with, can, nb}}, got one with a field “{field}”"))),
        None => Ok(Capability { with, can, nb }),
    }
}
