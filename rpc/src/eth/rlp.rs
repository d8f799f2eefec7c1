//! RLP, as far as a transaction is written in it: byte strings, numbers and one list around them.
//!
//! Ethereum's Yellow Paper, appendix B. Nothing here reads it.

/// A byte string of one byte below this is its own encoding; a longer one says its length on top of it.
const STRING: u8 = 0x80;

/// The same for a list.
const LIST: u8 = 0xc0;

/// Lengths up to this go into the first byte.
const SHORT: usize = 55;

/// The content of a list, item by item.
#[derive(Default)]
pub(super) struct List(Vec<u8>);

impl List {
    /// Appends a byte string.
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        match bytes {
            [byte] if *byte < STRING => self.0.push(*byte),
            _ => {
                write_length(&mut self.0, STRING, bytes.len());
                self.0.extend(bytes);
            }
        }
        self
    }

    /// Appends a number that is given in big-endian order; it is written without leading zeros.
    pub fn number(self, big_endian: &[u8]) -> Self {
        let zeros = big_endian.iter().take_while(|byte| **byte == 0).count();
        self.bytes(&big_endian[zeros..])
    }

    /// Appends a list without items.
    pub fn empty_list(mut self) -> Self {
        self.0.push(LIST);
        self
    }

    /// The list after a byte that says the type of the transaction. (EIP-2718; it is no part of RLP.)
    pub fn typed(self, transaction_type: u8) -> Vec<u8> {
        let mut written = vec![transaction_type];
        write_length(&mut written, LIST, self.0.len());
        written.extend(self.0);
        written
    }
}

fn write_length(to: &mut Vec<u8>, kind: u8, length: usize) {
    if length <= SHORT {
        to.push(kind + length as u8);
        return;
    }
    let big_endian = length.to_be_bytes();
    let zeros = big_endian.iter().take_while(|byte| **byte == 0).count();
    let digits = &big_endian[zeros..];
    to.push(kind + SHORT as u8 + digits.len() as u8);
    to.extend(digits);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list of one byte string, without the type.
    fn string(bytes: &[u8]) -> Vec<u8> {
        List::default().bytes(bytes).0
    }

    #[test]
    fn strings_are_written_as_ethereum_does() {
        // ethereum/tests, RLPTests/rlptest.json: emptystring, bytestring00, bytestring7F, shortstring, longstring2.
        assert_eq!(string(b""), [0x80]);
        assert_eq!(string(&[0]), [0]);
        assert_eq!(string(&[0x7f]), [0x7f]);
        assert_eq!(string(&[0x80]), [0x81, 0x80]);
        assert_eq!(string(b"dog"), [&[0x83], &b"dog"[..]].concat());
        assert_eq!(string(&[1; 55])[..2], [0xb7, 1]);
        assert_eq!(string(&[1; 56])[..3], [0xb8, 0x38, 1]);
        assert_eq!(string(&[1; 1024])[..4], [0xb9, 0x04, 0x00, 1]);
    }

    #[test]
    fn numbers_have_no_leading_zeros_and_zero_has_no_bytes() {
        let number = |number: u64| List::default().number(&number.to_be_bytes()).0;
        assert_eq!(number(0), [0x80]);
        assert_eq!(number(1), [1]);
        assert_eq!(number(0x80), [0x81, 0x80]);
        assert_eq!(number(1000), [0x82, 0x03, 0xe8]);
    }

    #[test]
    fn a_list_says_its_length_after_the_type() {
        assert_eq!(List::default().typed(2), [2, 0xc0]);
        assert_eq!(List::default().bytes(b"cat").bytes(b"dog").empty_list().typed(2)[..3], [2, 0xc9, 0x83]);
        assert_eq!(List::default().bytes(&[1; 55]).typed(1)[..4], [1, 0xf8, 56, 0xb7]);
    }
}
