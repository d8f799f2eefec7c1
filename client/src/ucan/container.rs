//! Containers: several tokens as one text or file (ucan-wg/container, "Serialization").
//!
//! One byte says how the rest is packed. Their order doesn't matter; they are written sorted, as ucan-wg's test vectors are.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bucket_core::dag_cbor::{self, Ipld};
use flate2::read::MultiGzDecoder;

/// The only key of the map.
const KEY: &str = "ctn-v1";

/// Unpacked, no container is larger: more is a mistake or an attack.
const BYTES_MAX: u64 = 16 << 20;

/// Both kinds are read with and without padding, because writers differ.
const CONFIG: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
pub(super) const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, CONFIG);
pub(super) const URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, CONFIG.with_encode_padding(false));

/// How the bytes are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// Not at all.
    Raw,
    /// Base64, standard alphabet, with padding.
    Base64,
    /// Base64, URL alphabet, without padding.
    Base64Url,
}

/// Each header with what follows it. The last three are what `ucantone` writes in place of M, O and P.
const HEADERS: [(u8, Base, bool); 9] = [
    (b'@', Base::Raw, false),
    (b'B', Base::Base64, false),
    (b'C', Base::Base64Url, false),
    (b'M', Base::Raw, true),
    (b'O', Base::Base64, true),
    (b'P', Base::Base64Url, true),
    (b'D', Base::Raw, true),
    (b'E', Base::Base64, true),
    (b'F', Base::Base64Url, true),
];

/// Writes tokens, uncompressed.
pub fn write(tokens: &[Vec<u8>], base: Base) -> Vec<u8> {
    let sorted: BTreeSet<_> = tokens.iter().collect();
    let list = sorted.into_iter().map(|token| Ipld::Bytes(token.clone())).collect();
    let bytes = dag_cbor::encode(&Ipld::Map(BTreeMap::from([(KEY.to_owned(), Ipld::List(list))])));
    match base {
        Base::Raw => [b"@", &bytes[..]].concat(),
        Base::Base64 => format!("B{}", STANDARD.encode(bytes)).into_bytes(),
        Base::Base64Url => format!("C{}", URL.encode(bytes)).into_bytes(),
    }
}

/// Reads tokens. `None` when the first byte is no container's.
pub fn read(bytes: &[u8]) -> Option<Result<Vec<Vec<u8>>, String>> {
    let (header, rest) = bytes.split_first()?;
    let (_, base, zipped) = HEADERS.iter().find(|(known, ..)| known == header)?;
    let read = || tokens(&unzip(decode(rest, *base)?, *zipped)?);
    Some(read().map_err(|why| format!("expected a container after its header “{}”: {why}", char::from(*header))))
}

fn decode(bytes: &[u8], base: Base) -> Result<Vec<u8>, String> {
    let text: Vec<u8> = bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    match base {
        Base::Raw => Ok(bytes.to_vec()),
        Base::Base64 => STANDARD.decode(text).map_err(|error| format!("expected base64: {error}")),
        Base::Base64Url => URL.decode(text).map_err(|error| format!("expected base64url: {error}")),
    }
}

fn unzip(bytes: Vec<u8>, zipped: bool) -> Result<Vec<u8>, String> {
    if !zipped {
        return Ok(bytes);
    }
    let mut out = Vec::new();
    let mut reader = MultiGzDecoder::new(&bytes[..]).take(BYTES_MAX + 1);
    reader.read_to_end(&mut out).map_err(|error| format!("expected gzip: {error}"))?;
    match out.len() as u64 > BYTES_MAX {
        true => Err(format!("expected at most {BYTES_MAX} bytes unpacked, got more")),
        false => Ok(out),
    }
}

fn tokens(bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let expected = || format!("expected a map of “{KEY}” to a list of bytes");
    let Ipld::Map(mut map) = dag_cbor::decode(bytes).map_err(|error| error.to_string())? else {
        return Err(expected());
    };
    let Some(Ipld::List(list)) = map.remove(KEY) else { return Err(expected()) };
    if let Some(key) = map.into_keys().next() {
        return Err(format!("{}, got “{}” as well", expected(), key.chars().take(80).collect::<String>()));
    }
    let token = |value| if let Ipld::Bytes(bytes) = value { Ok(bytes) } else { Err(expected()) };
    list.into_iter().map(token).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write as _;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_header_of_both_numberings_is_read() {
        let sorted = vec![vec![0x82, 1], vec![0x82, 2]];
        let raw = write(&[sorted[1].clone(), sorted[0].clone(), sorted[0].clone()], Base::Raw);
        for (header, base, zipped) in HEADERS {
            let body = if zipped { gzip(&raw[1..]) } else { raw[1..].to_vec() };
            let body = match base {
                Base::Raw => body,
                Base::Base64 => STANDARD.encode(body).into_bytes(),
                Base::Base64Url => URL.encode(body).into_bytes(),
            };
            let packed = [&[header][..], &body].concat();
            assert_eq!(read(&packed), Some(Ok(sorted.clone())), "{}", char::from(header));
        }
        for base in [Base::Raw, Base::Base64, Base::Base64Url] {
            assert_eq!(read(&write(&sorted, base)), Some(Ok(sorted.clone())));
        }
    }

    #[test]
    fn what_is_no_container_says_so() {
        assert_eq!(read(b"x"), None);
        assert_eq!(read(b""), None);
        for (bad, why) in [
            (&b"@\xa0"[..], "a map of “ctn-v1”"),
            (b"@\xa1\x66ctn-v1\x81\x01", "to a list of bytes"),
            (b"B!!", "expected base64"),
            (b"Mabc", "expected gzip"),
            (b"@\xa2\x61a\x01\x66ctn-v1\x80", "got “a” as well"),
        ] {
            let error = read(bad).unwrap().unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        // A million times smaller than what comes out of it.
        let bomb = [b"M", &gzip(&vec![0; 17 << 20])[..]].concat();
        assert!(read(&bomb).unwrap().unwrap_err().contains("unpacked"));
    }
}
