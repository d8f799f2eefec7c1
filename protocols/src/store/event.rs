//! What may happen to an entry, as commands write it.

use std::collections::BTreeMap;

use bucket_core::cid::{CarId, Cid, DAG_CBOR, sha2_cid};
use bucket_core::dag_cbor::{self, Ipld, map};
use bucket_core::error::Failure;
use bucket_core::task::Task;

use crate::args::{self, Args};

/// Asks for a CAR to be stored.
pub const ADD: &str = "/store/add";
/// The service has no room.
pub const EXCEED: &str = "/store/exceed";
/// The service waits for the CAR at a URL.
pub const RECEIVE: &str = "/store/receive";
/// Nobody put it in time.
pub const EXPIRE: &str = "/store/expire";
/// The service has it.
pub const PUT: &str = "/store/put";
/// An effect without an event of its own is delivered.
pub const DONE: &str = "/store/done";

/// A CAR that a service takes, in bytes: what S3 takes in one PUT.
pub const CAR_BYTES_MAX: u64 = 5 << 30;

/// A URL: what servers take in a request's line.
pub const URL_BYTES_MAX: usize = 4096;

/// Headers of an upload.
pub const HEADERS_MAX: usize = 16;

/// A header's name.
pub const HEADER_NAME_BYTES_MAX: usize = 128;

/// A header's value.
pub const HEADER_VALUE_BYTES_MAX: usize = 1024;

/// Where and how to put a CAR: an HTTP PUT of its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// The URL.
    pub url: String,
    /// Headers that have to be sent.
    pub headers: BTreeMap<String, String>,
}

/// What happens to an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// See [`ADD`].
    Add {
        /// The CAR's size in bytes.
        size: u64,
    },
    /// See [`EXCEED`].
    Exceed {
        /// The attempt that it is about, here and below.
        attempt: u64,
    },
    /// See [`RECEIVE`].
    Receive {
        /// See above.
        attempt: u64,
        /// Where to.
        upload: Upload,
        /// The block of that.
        block: Cid,
    },
    /// See [`EXPIRE`].
    Expire {
        /// See above.
        attempt: u64,
    },
    /// See [`PUT`].
    Put {
        /// See above.
        attempt: u64,
    },
    /// See [`DONE`].
    Done {
        /// See above.
        attempt: u64,
        /// The effect's number.
        effect: u64,
    },
}

impl Event {
    /// Reads a command; answers the CAR that it is about as well.
    pub fn read(task: &Task, sha2_256: impl Fn(&[u8]) -> [u8; 32]) -> Result<(CarId, Self), Failure> {
        let mut fields = Args::new(&task.args);
        let link = car_id("link", fields.take("link")?)?;
        let event = match task.cmd.as_str() {
            ADD => Self::Add { size: size(fields.take("size")?)? },
            EXCEED => Self::Exceed { attempt: attempt(&mut fields)? },
            RECEIVE => {
                let attempt = attempt(&mut fields)?;
                let upload = Upload::read(fields.take("upload")?)?;
                let block = sha2_cid(DAG_CBOR, &sha2_256(&upload.to_block()));
                Self::Receive { attempt, upload, block }
            }
            EXPIRE => Self::Expire { attempt: attempt(&mut fields)? },
            PUT => Self::Put { attempt: attempt(&mut fields)? },
            DONE => Self::Done { attempt: attempt(&mut fields)?, effect: number("effect", fields.take("effect")?)? },
            other => return Err(Failure::new("InvalidEvent", format!("expected an event of store, got {other}"))),
        };
        fields.end().map(|()| (link, event))
    }

    /// The attempt that it is about; nobody knows one who adds.
    pub fn attempt(&self) -> Option<u64> {
        match self {
            Self::Add { .. } => None,
            Self::Exceed { attempt }
            | Self::Receive { attempt, .. }
            | Self::Expire { attempt }
            | Self::Put { attempt }
            | Self::Done { attempt, .. } => Some(*attempt),
        }
    }
}

impl Upload {
    /// Reads `{url, headers}`.
    pub fn read(value: &Ipld) -> Result<Self, Failure> {
        let mut fields = Args::new(args::map("upload", value)?);
        let url = args::string("url", fields.take("url")?)?;
        let headers = args::map("headers", fields.take("headers")?)?;
        fields.end()?;
        let http = url.starts_with("https://") || url.starts_with("http://");
        if !http || url.len() > URL_BYTES_MAX || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            let got: String = url.chars().take(80).collect();
            let message =
                format!("expected a URL of HTTP of at most {URL_BYTES_MAX} ASCII bytes, got {}: “{got}”", url.len());
            return Err(Failure::args(message));
        }
        if headers.len() > HEADERS_MAX {
            return Err(Failure::args(format!("expected at most {HEADERS_MAX} headers, got {}", headers.len())));
        }
        let mut read = Self { url: url.to_owned(), headers: BTreeMap::new() };
        for (name, value) in headers {
            let (name, value) = header(name, value)?;
            read.headers.insert(name, value);
        }
        Ok(read)
    }

    /// `{url, headers}`.
    pub fn to_ipld(&self) -> Ipld {
        let headers = self.headers.iter().map(|(name, value)| (name.clone(), Ipld::String(value.clone())));
        map([("url", Ipld::String(self.url.clone())), ("headers", map(headers))])
    }

    /// The same as a block. State and receipts name it by its CID, and the index keeps it.
    pub fn to_block(&self) -> Vec<u8> {
        dag_cbor::encode(&self.to_ipld())
    }
}

fn header(name: &str, value: &Ipld) -> Result<(String, String), Failure> {
    let value = args::string("headers", value)?;
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let named = (1..=HEADER_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(token);
    let printable = value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if !named || !printable || value.len() > HEADER_VALUE_BYTES_MAX {
        let name: String = name.chars().take(80).collect();
        let message = format!(
            "expected a header's name of at most {HEADER_NAME_BYTES_MAX} bytes and value of at most {HEADER_VALUE_BYTES_MAX} printable ones, got another “{name}”"
        );
        return Err(Failure::args(message));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// A link to a CAR.
pub(super) fn car_id(field: &str, value: &Ipld) -> Result<CarId, Failure> {
    let Ipld::Link(cid) = value else { return Err(args::wrong(field, "a link to a CAR", value)) };
    CarId::try_from(cid).map_err(|error| Failure::args(format!("{field}: {error}")))
}

/// An integer that isn't negative.
pub(super) fn number(field: &str, value: &Ipld) -> Result<u64, Failure> {
    let Ipld::Integer(n) = value else { return Err(args::wrong(field, "an integer", value)) };
    u64::try_from(*n).map_err(|_| Failure::args(format!("expected “{field}” to be at least 0, got {n}")))
}

fn attempt(fields: &mut Args<'_>) -> Result<u64, Failure> {
    number("attempt", fields.take("attempt")?)
}

fn size(value: &Ipld) -> Result<u64, Failure> {
    match number("size", value)? {
        size @ 1..=CAR_BYTES_MAX => Ok(size),
        size => {
            let message = format!("expected “size” to be of 1 to {CAR_BYTES_MAX} bytes, got {size}");
            Err(Failure::args(message))
        }
    }
}
