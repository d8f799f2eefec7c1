//! UCANs in whatever form they come: a CAR, a container (ucan-wg/container), or a token alone; each as bytes or as text.

use base64::Engine as _;
use bucket_core::car::Car;
use bucket_core::car::archive;
use bucket_core::cid::{Cid, DAG_CBOR, NativeHasher, block_cid};
use bucket_core::dag_cbor::{self, Ipld};

use super::container::{self, STANDARD, URL};
use crate::dag_json;

/// How tokens came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The blocks of a CAR.
    Car,
    /// A container.
    Container,
    /// One token and nothing else.
    Envelope,
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It gives a right.
    Delegation,
    /// It asks for something.
    Invocation,
}

/// A token as it travels: `[signature, {h, "ucan/…": payload}]` in DAG-CBOR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// CID of the bytes.
    pub cid: Cid,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// What a file holds.
#[derive(Debug, Clone)]
pub struct File {
    /// How it came.
    pub form: Form,
    /// UCAN 1.0 tokens, in the file's order.
    pub tokens: Vec<Token>,
    /// A CAR's first root.
    pub root: Option<Cid>,
    /// The CAR, if it has the machine's form.
    pub car: Option<Car>,
}

impl Form {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Car => "car",
            Self::Container => "container",
            Self::Envelope => "envelope",
        }
    }
}

impl Token {
    /// A token by its bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { cid: block_cid::<NativeHasher>(DAG_CBOR, &bytes), bytes }
    }

    /// What it says that it is; `None` when it can't be read so far.
    pub fn kind(&self) -> Option<Kind> {
        let has = |tag: &[u8]| self.bytes.windows(tag.len()).any(|window| window == tag);
        let Ok(value) = dag_cbor::decode(&self.bytes) else {
            // Something that isn't canonical is still meant to be something.
            return match (has(b"ucan/inv@"), has(b"ucan/dlg@")) {
                (true, _) => Some(Kind::Invocation),
                (false, true) => Some(Kind::Delegation),
                _ => None,
            };
        };
        let Ipld::List(list) = value else { return None };
        let Some(Ipld::Map(map)) = list.get(1) else { return None };
        map.keys().find_map(|key| match key {
            key if key.starts_with("ucan/inv@") => Some(Kind::Invocation),
            key if key.starts_with("ucan/dlg@") => Some(Kind::Delegation),
            _ => None,
        })
    }
}

/// Whether a block looks like a token: a list of two items that begins with bytes.
fn is_envelope(block: &[u8]) -> bool {
    matches!(block, [0x82, 0x40..=0x5f, ..])
}

impl File {
    /// Reads a file of any form. The error says what was expected.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let first = match binary(bytes) {
            Some(Ok(file)) => return Ok(file),
            other => other,
        };
        if let Some(Ok(file)) = text(bytes).and_then(|bytes| binary(&bytes)) {
            return Ok(file);
        }
        let nothing = "expected a CAR, a UCAN container or a UCAN (DAG-CBOR, or base64 of it), got something else";
        Err(match first {
            Some(Err(why)) => why,
            _ => nothing.into(),
        })
    }

    /// The delegations and invocations of a kind, in the file's order.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Token> {
        self.tokens.iter().filter(move |token| token.kind() == Some(kind))
    }
}

fn binary(bytes: &[u8]) -> Option<Result<File, String>> {
    if is_envelope(bytes) {
        let tokens = vec![Token::new(bytes.to_vec())];
        return Some(Ok(File { form: Form::Envelope, tokens, root: None, car: None }));
    }
    if archive::open(bytes).is_ok() || archive::inside_v2(bytes).is_some() {
        return Some(car(bytes));
    }
    let file = |tokens: Vec<Vec<u8>>| {
        let tokens = tokens.into_iter().map(Token::new).collect();
        File { form: Form::Container, tokens, root: None, car: None }
    };
    Some(container::read(bytes)?.map(file))
}

/// Text around bytes: DAG-JSON's bytes, or base64 of either kind. A container in base64 with a blank before it as well.
fn text(bytes: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(bytes).ok()?.trim();
    if container::read(text.as_bytes()).is_some_and(|read| read.is_ok()) {
        return Some(text.as_bytes().to_vec());
    }
    if text.starts_with('{') {
        let Ok(Ipld::Bytes(bytes)) = dag_json::read(text) else { return None };
        return Some(bytes);
    }
    let text: String = text.split_ascii_whitespace().collect();
    STANDARD.decode(&text).or_else(|_| URL.decode(&text)).ok()
}

fn car(bytes: &[u8]) -> Result<File, String> {
    let foreign = crate::car::read(bytes).map_err(|error| error.to_string())?;
    if let Some(error) = foreign.error {
        return Err(error.to_string());
    }
    let blocks = foreign.blocks.iter().filter(|block| block.cid.codec() == DAG_CBOR && is_envelope(block.data));
    let tokens = blocks.map(|block| Token::new(block.data.to_vec())).collect();
    let car = Car::decode::<NativeHasher>(bytes.to_vec()).ok();
    Ok(File { form: Form::Car, tokens, root: foreign.roots.first().copied(), car })
}
