//! Reading.

use std::collections::BTreeMap;

use cid::Cid;

use super::{BYTES, DagCborError, Ipld, LIST, MAP, MINUS_ZERO, NEGATIVE, SIMPLE, TAG, TEXT, UNSIGNED};
use crate::limits::DEPTH_MAX;

/// Reads strict DAG-CBOR piece by piece.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// What was not read yet.
    pub fn left(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// The head of a list of exactly `len` items.
    pub fn list(&mut self, len: u64) -> Result<(), DagCborError> {
        match self.head()? {
            (LIST, _, got) if got == len => Ok(()),
            _ => self.error(format!("expected a list of {len} items")),
        }
    }

    /// The head of a list; answers how many items it announces, which are at most as many as there are bytes left.
    pub fn items(&mut self) -> Result<usize, DagCborError> {
        let (LIST, _, len) = self.head()? else { return self.error("expected a list") };
        self.count(len)
    }

    /// An integer that is not negative.
    pub fn unsigned(&mut self) -> Result<u64, DagCborError> {
        let (UNSIGNED, _, n) = self.head()? else { return self.error("expected an integer of 0 or more") };
        Ok(n)
    }

    /// A byte string.
    pub fn bytes(&mut self) -> Result<&'a [u8], DagCborError> {
        let (BYTES, _, len) = self.head()? else { return self.error("expected bytes") };
        self.take(len)
    }

    #[cold]
    #[inline(never)]
    fn error<T>(&self, what: impl Into<String>) -> Result<T, DagCborError> {
        Err(DagCborError { at: self.at, what: what.into() })
    }

    pub fn end(&self) -> Result<(), DagCborError> {
        match self.bytes.len() - self.at {
            0 => Ok(()),
            left => self.error(format!("expected the end, got {left} more bytes")),
        }
    }

    #[inline(always)]
    pub fn take(&mut self, len: u64) -> Result<&'a [u8], DagCborError> {
        let end = usize::try_from(len).ok().and_then(|len| self.at.checked_add(len));
        match end.and_then(|end| self.bytes.get(self.at..end)) {
            Some(taken) => {
                self.at += taken.len();
                Ok(taken)
            }
            None => self.error(format!("expected {len} bytes, got {}", self.left().len())),
        }
    }

    /// Major type and argument of the next head. For [`SIMPLE`] the argument of a float is its bits.
    #[inline(always)]
    fn head(&mut self) -> Result<(u8, u8, u64), DagCborError> {
        let first = self.take(1)?[0];
        let (major, info) = (first >> 5, first & 0x1f);
        if info <= 23 {
            return Ok((major, info, u64::from(info)));
        }
        self.long_head(major, info)
    }

    fn long_head(&mut self, major: u8, info: u8) -> Result<(u8, u8, u64), DagCborError> {
        let argument = match info {
            24 => u64::from(self.take(1)?[0]),
            25 => self.take(2)?.iter().fold(0, |n, b| n << 8 | u64::from(*b)),
            26 => self.take(4)?.iter().fold(0, |n, b| n << 8 | u64::from(*b)),
            27 => self.take(8)?.iter().fold(0, |n, b| n << 8 | u64::from(*b)),
            _ => return self.error(format!("expected a definite length, got additional information {info}")),
        };
        let smallest = match info {
            24 => argument > 23,
            25 => argument > 0xff,
            26 => argument > 0xffff,
            _ => argument > 0xffff_ffff,
        };
        if major != SIMPLE && !smallest {
            return self.error(format!("expected the smallest encoding of {argument}, got a longer one"));
        }
        Ok((major, info, argument))
    }

    fn deeper(&self, depth: usize) -> Result<usize, DagCborError> {
        depth
            .checked_sub(1)
            .map_or_else(|| self.error(format!("expected at most {DEPTH_MAX} levels of nesting, got more")), Ok)
    }

    fn text(&mut self, len: u64) -> Result<&'a str, DagCborError> {
        let bytes = self.take(len)?;
        std::str::from_utf8(bytes).or_else(|_| self.error("expected UTF-8 text"))
    }

    /// Passes over text. Most is short and ASCII, which is quicker to see than that it is UTF-8.
    #[inline(always)]
    fn skip_text(&mut self, len: u64) -> Result<&'a [u8], DagCborError> {
        let bytes = self.take(len)?;
        if bytes.iter().fold(0, |all, byte| all | byte) < 0x80 || std::str::from_utf8(bytes).is_ok() {
            return Ok(bytes);
        }
        self.error("expected UTF-8 text")
    }

    /// A list or map can't have more entries than there are bytes left.
    fn count(&self, len: u64) -> Result<usize, DagCborError> {
        let left = self.bytes.len() - self.at;
        if len > left as u64 {
            self.error(format!("expected {len} entries, got {left} bytes"))
        } else {
            Ok(len as usize)
        }
    }

    /// The next key of a map, which must be greater than `last`: shorter first, then by bytes.
    #[inline(always)]
    fn key(&mut self, last: Option<&[u8]>) -> Result<&'a [u8], DagCborError> {
        let at = self.at;
        let (TEXT, _, len) = self.head()? else { return self.error("expected text as a map's key") };
        let key = self.skip_text(len)?;
        match last {
            Some(last) if (last.len(), last) >= (key.len(), key) => Err(unsorted(at, last, key)),
            _ => Ok(key),
        }
    }

    fn link(&mut self, tag: u64) -> Result<Cid, DagCborError> {
        if tag != 42 {
            return self.error(format!("expected tag 42 (a link), got tag {tag}"));
        }
        let (BYTES, _, len) = self.head()? else { return self.error("expected bytes in a link") };
        let Some((0, cid)) = self.take(len)?.split_first() else {
            return self.error("expected a link's bytes to begin with 0");
        };
        match Cid::try_from(cid) {
            // A CID read by prefix or with padded varints would have two encodings.
            Ok(link) if link.to_bytes() == cid => Ok(link),
            _ => self.error("expected a CID in a link"),
        }
    }

    fn simple(&mut self, info: u8, argument: u64) -> Result<Ipld, DagCborError> {
        match info {
            20 => Ok(Ipld::Bool(false)),
            21 => Ok(Ipld::Bool(true)),
            22 => Ok(Ipld::Null),
            27 if argument == MINUS_ZERO => self.error("expected 0, got -0"),
            27 if f64::from_bits(argument).is_finite() => Ok(Ipld::Float(f64::from_bits(argument))),
            27 => self.error("expected a finite number"),
            25 | 26 => self.error("expected a 64-bit float, got a shorter one"),
            _ => self.error(format!("expected false, true, null or a float, got simple value {argument}")),
        }
    }

    pub fn value(&mut self, depth: usize) -> Result<Ipld, DagCborError> {
        let (major, info, argument) = self.head()?;
        Ok(match major {
            UNSIGNED => Ipld::Integer(i128::from(argument)),
            NEGATIVE => Ipld::Integer(-1 - i128::from(argument)),
            BYTES => Ipld::Bytes(self.take(argument)?.to_vec()),
            TEXT => Ipld::String(self.text(argument)?.to_owned()),
            LIST => {
                let depth = self.deeper(depth)?;
                let len = self.count(argument)?;
                let mut list = Vec::with_capacity(len.min(1024));
                for _ in 0..len {
                    list.push(self.value(depth)?);
                }
                Ipld::List(list)
            }
            MAP => {
                let depth = self.deeper(depth)?;
                let mut map = BTreeMap::new();
                let mut last = None;
                for _ in 0..self.count(argument)? {
                    let key = self.key(last)?;
                    map.insert(String::from_utf8_lossy(key).into_owned(), self.value(depth)?);
                    last = Some(key);
                }
                Ipld::Map(map)
            }
            TAG => Ipld::Link(self.link(argument)?),
            _ => self.simple(info, argument)?,
        })
    }

    /// Passes over one value. Leaves are handled where they stand; only what nests calls itself.
    #[inline(always)]
    pub fn skip(&mut self, depth: usize) -> Result<(), DagCborError> {
        match self.head()? {
            (UNSIGNED | NEGATIVE, ..) => Ok(()),
            (BYTES, _, len) => self.take(len).map(drop),
            (TEXT, _, len) => self.skip_text(len).map(drop),
            (major, info, argument) => self.skip_nested(major, info, argument, depth),
        }
    }

    fn skip_nested(&mut self, major: u8, info: u8, argument: u64, depth: usize) -> Result<(), DagCborError> {
        match major {
            LIST => {
                let depth = self.deeper(depth)?;
                for _ in 0..self.count(argument)? {
                    self.skip(depth)?;
                }
            }
            MAP => {
                let depth = self.deeper(depth)?;
                let mut last = None;
                for _ in 0..self.count(argument)? {
                    last = Some(self.key(last)?);
                    self.skip(depth)?;
                }
            }
            TAG => drop(self.link(argument)?),
            _ => drop(self.simple(info, argument)?),
        }
        Ok(())
    }
}

#[cold]
fn unsorted(at: usize, last: &[u8], key: &[u8]) -> DagCborError {
    let (last, key) = (String::from_utf8_lossy(last), String::from_utf8_lossy(key));
    DagCborError { at, what: format!("expected map keys sorted and each once, got “{key}” after “{last}”") }
}
