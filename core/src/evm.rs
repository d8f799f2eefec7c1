//! Calls of senders that can only call contracts: Ethereum-style accounts (f410) reach an actor by the method `InvokeEVM`
//! alone, with a contract's call data as a CBOR byte string (FIP-0054, FRC-0042).
//!
//! The call data is that of `handle_filecoin_method(uint64 method, uint64 codec, bytes params)`, the form in which the FEVM
//! itself hands native calls to contracts (builtin-actors `actors/evm/src/lib.rs`, `NATIVE_METHOD_SELECTOR`); what comes back
//! is its `(uint32 exit_code, uint64 codec, bytes return_value)`. Any Ethereum library can write the one and read the other.

use fvm_ipld_encoding::{BytesDe, BytesSer, CBOR};

/// The first four bytes of Keccak-256 of `handle_filecoin_method(uint64,uint64,bytes)`.
pub const SELECTOR: [u8; 4] = [0x86, 0x8e, 0x10, 0xc7];

const WORD: usize = 32;
/// Two words of numbers and one that says where the bytes begin.
const HEAD: usize = 3 * WORD;

fn word(number: u64) -> [u8; WORD] {
    let mut word = [0; WORD];
    word[WORD - 8..].copy_from_slice(&number.to_be_bytes());
    word
}

/// Two numbers and a byte string in the Solidity ABI.
fn tuple(first: u64, second: u64, bytes: &[u8]) -> Vec<u8> {
    let mut out = [word(first), word(second), word(HEAD as u64), word(bytes.len() as u64)].concat();
    out.extend_from_slice(bytes);
    out.resize(HEAD + WORD + bytes.len().next_multiple_of(WORD), 0);
    out
}

fn number(data: &[u8], at: usize) -> Result<u64, String> {
    let end = at * WORD + WORD;
    let word = data.get(end - WORD..end).ok_or_else(|| format!("expected at least {end} bytes, got {}", data.len()))?;
    let (high, low) = word.split_at(WORD - 8);
    match low.try_into() {
        Ok(low) if high.iter().all(|byte| *byte == 0) => Ok(u64::from_be_bytes(low)),
        _ => Err(format!("expected word {at} to be a number of 64 bits, got a larger one")),
    }
}

/// The one way to write a tuple, or none.
fn untuple(data: &[u8]) -> Result<(u64, u64, Vec<u8>), String> {
    let (first, second, len) = (number(data, 0)?, number(data, 1)?, number(data, 3)?);
    let bytes = usize::try_from(len).ok().and_then(|len| data.get(HEAD + WORD..)?.get(..len));
    let bytes = bytes.ok_or_else(|| format!("expected {len} bytes, got fewer"))?;
    if data != tuple(first, second, bytes) {
        return Err("expected bytes at the end, padded with zeros to whole words".into());
    }
    Ok((first, second, bytes.to_vec()))
}

fn cbor(data: &[u8]) -> Vec<u8> {
    fvm_ipld_encoding::to_vec(&BytesSer(data)).expect("bytes encode")
}

fn uncbor(data: &[u8]) -> Result<Vec<u8>, String> {
    let BytesDe(bytes) =
        fvm_ipld_encoding::from_slice(data).map_err(|error| format!("expected CBOR bytes: {error}"))?;
    Ok(bytes)
}

fn codec(bytes: &[u8]) -> u64 {
    if bytes.is_empty() { 0 } else { CBOR }
}

/// Parameters of `InvokeEVM` for a call of `method` with `params`.
pub fn wrap_call(method: u64, params: &[u8]) -> Vec<u8> {
    cbor(&[&SELECTOR[..], &tuple(method, codec(params), params)].concat())
}

/// Method and parameters that `InvokeEVM` was called with.
pub fn unwrap_call(params: &[u8]) -> Result<(u64, Vec<u8>), String> {
    let data = uncbor(params)?;
    let Some(rest) = data.strip_prefix(&SELECTOR) else {
        return Err("expected the call data of handle_filecoin_method(uint64,uint64,bytes), 0x868e10c7…".into());
    };
    let (method, given, params) = untuple(rest)?;
    match given == codec(&params) {
        true => Ok((method, params)),
        false => Err(format!("expected codec 0x51 for parameters, or 0 for none, got {given:#x}")),
    }
}

/// A return value as `InvokeEVM` gives it.
pub fn wrap_return(returned: &[u8]) -> Vec<u8> {
    cbor(&tuple(0, codec(returned), returned))
}

/// The return value in what `InvokeEVM` gave.
pub fn unwrap_return(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let (code, _, returned) = untuple(&uncbor(bytes)?)?;
    if code == 0 { Ok(returned) } else { Err(format!("expected exit code 0, got {code}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_returns_round_trip() {
        for bytes in [&b""[..], b"a", &[7; 32], &[7; 33]] {
            assert_eq!(unwrap_call(&wrap_call(9, bytes)), Ok((9, bytes.to_vec())));
            assert_eq!(unwrap_return(&wrap_return(bytes)), Ok(bytes.to_vec()));
        }
    }

    /// Solidity ABI specification: head of static words and offsets, tail of length and padded bytes.
    #[test]
    fn known_call_data() {
        let expected = concat!(
            "58a4868e10c7",
            "0000000000000000000000000000000000000000000000000000000000000005",
            "0000000000000000000000000000000000000000000000000000000000000051",
            "0000000000000000000000000000000000000000000000000000000000000060",
            "0000000000000000000000000000000000000000000000000000000000000002",
            "8101000000000000000000000000000000000000000000000000000000000000",
        );
        assert_eq!(hex::encode(wrap_call(5, &[0x81, 1])), expected);
    }

    #[test]
    fn other_call_data_is_refused() {
        let good = wrap_call(5, &[0x81, 1]);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x80;
            // The method and the parameters themselves are free, within 64 bits.
            let free = (6 + 24..6 + 32).contains(&at) || (6 + 128..6 + 130).contains(&at);
            assert_eq!(unwrap_call(&bad).is_ok(), free, "byte {at}");
        }
        assert!(unwrap_call(&good[..good.len() - 1]).is_err());
    }
}
