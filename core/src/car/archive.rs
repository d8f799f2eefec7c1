//! Any CAR from outside, read without copying: CARv1 with any roots and hashes, CARv2 by its inner CARv1.
//!
//! Lengths are checked before they are used, and a file that ends inside a varint, a CID or a block is an error, not an end.

use std::ops::Range;

use cid::Cid;

use crate::dag_cbor::{self, DagCborError, Ipld};
use crate::limits::CAR_BLOCKS_MAX;

/// What is wrong with a CAR.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CarError {
    /// The first bytes are not a CAR's header.
    #[error("not a CAR: {0}")]
    NotACar(String),
    /// The header is not strict DAG-CBOR.
    #[error("the CAR's header is not canonical: {0}")]
    Header(DagCborError),
    /// The file ends too early.
    #[error("the CAR is truncated: byte {at} begins {expected} bytes, but only {left} are left")]
    Truncated {
        /// Where the cut item's bytes begin.
        at: usize,
        /// How many bytes it needs.
        expected: u64,
        /// How many there are.
        left: usize,
    },
    /// Bytes that are no block, where a block or the end should be.
    #[error("expected a block or the end of the CAR at byte {at}, got {left} trailing bytes ({why})")]
    Trailing {
        /// Where the block should begin.
        at: usize,
        /// How many bytes follow.
        left: usize,
        /// Why they are no block.
        why: String,
    },
    /// A CAR for the machine has exactly one root.
    #[error("expected a CAR with one root, got {0}")]
    Roots(usize),
    /// The root must travel along.
    #[error("the CAR's root {0} is not among its blocks")]
    RootAbsent(String),
    /// A block's bytes don't hash to its CID.
    #[error("wrong hash: the block's bytes don't hash to its CID {0}")]
    Hash(String),
    /// A CID of a kind that the machine doesn't take.
    #[error("expected CIDs of version 1 with sha2-256 and dag-cbor or raw, got {0}")]
    Cid(String),
    /// A block is not strict DAG-CBOR.
    #[error("block {0} is not canonical: {1}")]
    DagCbor(String, DagCborError),
    /// Too many blocks.
    #[error("expected at most {CAR_BLOCKS_MAX} blocks, got more")]
    Blocks,
    /// A CARv2 where a CARv1 is wanted.
    #[error("expected a CARv1, got a CARv2: unpack it with `bucket car unpack` and pack it again")]
    Version2,
}

/// A CARv1 whose header was read.
#[derive(Debug, Clone)]
pub struct Archive<'a> {
    bytes: &'a [u8],
    /// The header's roots.
    pub roots: Vec<Cid>,
    body: usize,
}

/// One block of a CAR: its CID as it stands there (not verified) and where its data lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The block's CID.
    pub cid: Cid,
    /// Where the section (its length) begins.
    pub at: usize,
    /// Where the block's data lies.
    pub data: Range<usize>,
}

/// The pragma that begins a CARv2 (ipld.io, specs/transport/car/carv2, "Pragma").
const PRAGMA: [u8; 11] = [0x0a, 0xa1, 0x67, b'v', b'e', b'r', b's', b'i', b'o', b'n', 0x02];

/// The CARv1 inside a CARv2, or `None` when the bytes are no CARv2.
pub fn inside_v2(bytes: &[u8]) -> Option<Result<&[u8], CarError>> {
    let body = bytes.strip_prefix(&PRAGMA)?;
    let word = |at: usize| body.get(at..at + 8).map(|b| u64::from_le_bytes(b.try_into().expect("8 bytes")));
    let (Some(offset), Some(size)) = (word(16), word(24)) else {
        return Some(Err(CarError::Truncated { at: PRAGMA.len(), expected: 40, left: body.len() }));
    };
    let end = offset.checked_add(size).filter(|end| *end <= bytes.len() as u64);
    Some(match end {
        Some(end) => Ok(&bytes[offset as usize..end as usize]),
        None => {
            let left = bytes.len().saturating_sub(offset.min(bytes.len() as u64) as usize);
            Err(CarError::Truncated { at: offset as usize, expected: size, left })
        }
    })
}

/// Reads a CARv1's header.
pub fn open(bytes: &[u8]) -> Result<Archive<'_>, CarError> {
    if bytes.starts_with(&PRAGMA) {
        return Err(CarError::Version2);
    }
    let header = match varint(bytes, 0) {
        Ok((0, _)) => return Err(CarError::NotACar("expected a header, got one of length 0".into())),
        Ok((len, start)) => span(bytes, start, len).map_err(|error| not_a_car(bytes, error))?,
        Err(error) => return Err(not_a_car(bytes, error)),
    };
    let value = match dag_cbor::decode(&bytes[header.clone()]) {
        Ok(value) => value,
        // Something that begins like {"roots": …} or {"version": …} was meant to be a header.
        Err(error) if bytes.get(header.start) == Some(&0xa2) => return Err(CarError::Header(error)),
        Err(error) => return Err(CarError::NotACar(error.to_string())),
    };
    Ok(Archive { bytes, roots: roots(value)?, body: header.end })
}

fn not_a_car(bytes: &[u8], error: CarError) -> CarError {
    match bytes {
        [] => CarError::NotACar("expected a header, got no bytes".into()),
        // A header of less than 256 bytes that begins as it should was cut.
        [_, 0xa2, b'e', b'r' | b'o', ..] => error,
        _ => CarError::NotACar(format!("expected a header, got {} bytes of something else", bytes.len())),
    }
}

fn roots(header: Ipld) -> Result<Vec<Cid>, CarError> {
    let not = |what: &str| CarError::NotACar(format!("expected a header {{roots, version: 1}}, got {what}"));
    let Ipld::Map(mut header) = header else { return Err(not("something else")) };
    match header.remove("version") {
        Some(Ipld::Integer(1)) => {}
        Some(other) => return Err(not(&format!("version {other:?}"))),
        None => return Err(not("no version")),
    }
    let Some(Ipld::List(list)) = header.remove("roots") else { return Err(not("no list of roots")) };
    if let Some(key) = header.keys().next() {
        return Err(not(&format!("a key “{key}”")));
    }
    let link = |root| if let Ipld::Link(cid) = root { Ok(cid) } else { Err(not("a root that is no link")) };
    list.into_iter().map(link).collect()
}

impl<'a> Archive<'a> {
    /// The blocks in the order of the file; ends after the first error.
    pub fn sections(&self) -> Sections<'a> {
        Sections { bytes: self.bytes, at: self.body }
    }
}

/// Iterator over a CAR's blocks.
#[derive(Debug, Clone)]
pub struct Sections<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Sections<'_> {
    fn section(&self) -> Result<Section, CarError> {
        let at = self.at;
        let trailing = |why: &str| CarError::Trailing { at, left: self.bytes.len() - at, why: why.into() };
        let (len, start) = varint(self.bytes, at)?;
        if len == 0 {
            return Err(trailing("a block of length 0"));
        }
        let mut rest = &self.bytes[start..];
        let before = rest.len();
        let cid = match Cid::read_bytes(&mut rest) {
            Ok(cid) => cid,
            Err(_) => return Err(span(self.bytes, start, len).map_or_else(|cut| cut, |_| trailing("no CID"))),
        };
        let whole = span(self.bytes, start, len)?;
        let data = start + (before - rest.len());
        if data > whole.end {
            return Err(trailing("a block shorter than its CID"));
        }
        Ok(Section { cid, at, data: data..whole.end })
    }
}

impl Iterator for Sections<'_> {
    type Item = Result<Section, CarError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let section = self.section();
        self.at = section.as_ref().map_or(self.bytes.len(), |section| section.data.end);
        Some(section)
    }
}

/// `len` bytes from `start`, or what is missing.
fn span(bytes: &[u8], start: usize, len: u64) -> Result<Range<usize>, CarError> {
    let left = bytes.len() - start;
    if len > left as u64 {
        return Err(CarError::Truncated { at: start, expected: len, left });
    }
    Ok(start..start + len as usize)
}

/// An unsigned varint (multiformats/unsigned-varint): at most 9 bytes, no padding. Value and the offset after it.
fn varint(bytes: &[u8], at: usize) -> Result<(u64, usize), CarError> {
    let mut value = 0u64;
    for (i, byte) in bytes[at..].iter().take(9).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            if *byte == 0 && i > 0 {
                let why = "a padded length".into();
                return Err(CarError::Trailing { at, left: bytes.len() - at, why });
            }
            return Ok((value, at + i + 1));
        }
    }
    match bytes.len() - at {
        left @ 0..9 => Err(CarError::Truncated { at, expected: left as u64 + 1, left }),
        left => Err(CarError::Trailing { at, left, why: "a length of more than 9 bytes".into() }),
    }
}

/// Appends the header of a CAR with these roots, behind its length.
pub fn write_header(out: &mut Vec<u8>, roots: &[Cid]) {
    let roots = Ipld::List(roots.iter().copied().map(Ipld::Link).collect());
    let header = dag_cbor::map([("roots", roots), ("version", Ipld::Integer(1))]);
    let header = dag_cbor::encode(&header);
    write_varint(out, header.len() as u64);
    out.extend(header);
}

/// Appends what stands before a block of `size` bytes: their length together, and its CID.
pub fn write_lead(out: &mut Vec<u8>, cid: &Cid, size: usize) {
    let cid = cid.to_bytes();
    write_varint(out, (cid.len() + size) as u64);
    out.extend(cid);
}

/// Appends an unsigned varint.
fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
