//! Writing.

use super::{BYTES, Ipld, LIST, MAP, MINUS_ZERO, NEGATIVE, TEXT, UNSIGNED, shortest_first};

/// Encodes a value in its one strict form.
///
/// # Panics
/// On what DAG-CBOR has no form for: an integer outside −2⁶⁴ … 2⁶⁴−1, or a float that is not finite. [`super::decode`] makes
/// neither; values from elsewhere pass [`super::check`] first.
pub fn encode(value: &Ipld) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    write(&mut out, value);
    out
}

fn head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let major = major << 5;
    match argument {
        0..=23 => out.push(major | argument as u8),
        24..=0xff => out.extend([major | 24, argument as u8]),
        0x100..=0xffff => {
            out.push(major | 25);
            out.extend((argument as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(major | 26);
            out.extend((argument as u32).to_be_bytes());
        }
        _ => {
            out.push(major | 27);
            out.extend(argument.to_be_bytes());
        }
    }
}

/// Appends the head of a list.
pub(crate) fn write_list(out: &mut Vec<u8>, len: usize) {
    head(out, LIST, len as u64);
}

/// Appends an integer.
pub(crate) fn write_unsigned(out: &mut Vec<u8>, n: u64) {
    head(out, UNSIGNED, n);
}

/// Appends a byte string.
pub(crate) fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    head(out, BYTES, bytes.len() as u64);
    out.extend(bytes);
}

fn write(out: &mut Vec<u8>, value: &Ipld) {
    match value {
        Ipld::Null => out.push(0xf6),
        Ipld::Bool(b) => out.push(0xf4 | u8::from(*b)),
        Ipld::Integer(n) => match u64::try_from(*n) {
            Ok(n) => head(out, UNSIGNED, n),
            Err(_) => head(out, NEGATIVE, u64::try_from(-1 - *n).expect("an integer of 64 bits")),
        },
        Ipld::Float(x) => {
            assert!(x.is_finite(), "a finite float");
            out.push(0xfb);
            let bits = x.to_bits();
            out.extend(if bits == MINUS_ZERO { 0 } else { bits }.to_be_bytes());
        }
        Ipld::String(text) => {
            head(out, TEXT, text.len() as u64);
            out.extend(text.as_bytes());
        }
        Ipld::Bytes(bytes) => write_bytes(out, bytes),
        Ipld::List(list) => {
            head(out, LIST, list.len() as u64);
            list.iter().for_each(|value| write(out, value));
        }
        Ipld::Map(map) => {
            head(out, MAP, map.len() as u64);
            for (key, value) in shortest_first(map) {
                head(out, TEXT, key.len() as u64);
                out.extend(key.as_bytes());
                write(out, value);
            }
        }
        Ipld::Link(cid) => {
            let cid = cid.to_bytes();
            out.extend([0xd8, 42]);
            head(out, BYTES, cid.len() as u64 + 1);
            out.push(0);
            out.extend(cid);
        }
    }
}
