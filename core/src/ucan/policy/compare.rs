//! Equality and order of values. Numbers count by what they are worth, 1 and 1.0 alike (ucan-wg/delegation,
//! "Comparisons"). Nothing is computed with floats: they are compared, or taken apart into integers.

use std::cmp::Ordering;

use super::Work;
use crate::dag_cbor::Ipld;
use crate::ucan::Denied;

/// An exact number.
#[derive(Debug, Clone, Copy)]
pub enum Number {
    /// One of 65 bits, as DAG-CBOR has them.
    Integer(i128),
    /// A finite one.
    Float(f64),
}

impl Number {
    /// The number that a value is.
    pub fn of(value: &Ipld) -> Option<Self> {
        match value {
            Ipld::Integer(n) => Some(Self::Integer(*n)),
            Ipld::Float(x) if x.is_finite() => Some(Self::Float(*x)),
            _ => None,
        }
    }

    /// Which is greater.
    pub fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => a.cmp(&b),
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(&b).expect("finite floats have an order"),
            (Self::Integer(n), Self::Float(x)) => compare_exactly(n, x),
            (Self::Float(x), Self::Integer(n)) => compare_exactly(n, x).reverse(),
        }
    }
}

fn compare_exactly(n: i128, x: f64) -> Ordering {
    let (whole, rest) = floor(x);
    n.cmp(&whole).then(if rest { Ordering::Less } else { Ordering::Equal })
}

/// A float rounded down, and whether that changed it. What is beyond 2¹²² is as good as infinite.
fn floor(x: f64) -> (i128, bool) {
    let bits = x.to_bits();
    let biased = (bits >> 52 & 0x7ff) as i32;
    let mantissa = bits & ((1 << 52) - 1) | u64::from(biased > 0) << 52;
    let (whole, rest) = match biased.max(1) - 1075 {
        exponent @ 0..=69 => (i128::from(mantissa) << exponent, false),
        exponent @ -63..0 => {
            let shift = exponent.unsigned_abs();
            (i128::from(mantissa >> shift), mantissa & ((1 << shift) - 1) != 0)
        }
        exponent if exponent < 0 => (0, mantissa != 0),
        _ => (i128::MAX, false),
    };
    match x.is_sign_negative() {
        true => (-whole - i128::from(rest), rest),
        false => (whole, rest),
    }
}

/// Deep equality.
pub fn equal(a: &Ipld, b: &Ipld, work: &mut Work) -> Result<bool, Denied> {
    work.spend(1)?;
    match (a, b) {
        (Ipld::String(a), Ipld::String(b)) => equal_bytes(a.as_bytes(), b.as_bytes(), work),
        (Ipld::Bytes(a), Ipld::Bytes(b)) => equal_bytes(a, b, work),
        (Ipld::List(a), Ipld::List(b)) => equal_lists(a.iter(), b.iter(), work),
        (Ipld::Map(a), Ipld::Map(b)) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            for ((key_a, a), (key_b, b)) in a.iter().zip(b) {
                if !equal_bytes(key_a.as_bytes(), key_b.as_bytes(), work)? || !equal(a, b, work)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (a, b) => match Number::of(a).zip(Number::of(b)) {
            Some((a, b)) => Ok(a.compare(b).is_eq()),
            None => Ok(a == b),
        },
    }
}

/// Equality of bytes.
pub fn equal_bytes(a: &[u8], b: &[u8], work: &mut Work) -> Result<bool, Denied> {
    if a.len() != b.len() {
        return Ok(false);
    }
    work.spend_bytes(a.len()).map(|()| a == b)
}

/// Deep equality of lists.
pub fn equal_lists<'a, 'b>(
    a: impl ExactSizeIterator<Item = &'a Ipld>,
    b: impl ExactSizeIterator<Item = &'b Ipld>,
    work: &mut Work,
) -> Result<bool, Denied> {
    if a.len() != b.len() {
        return Ok(false);
    }
    for (a, b) in a.zip(b) {
        if !equal(a, b, work)? {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_and_floats_in_one_order() {
        let two_64 = 18_446_744_073_709_551_616.0;
        for (n, x, expected) in [
            (1, 1.0, Ordering::Equal),
            (0, -0.0, Ordering::Equal),
            (1, 1.5, Ordering::Less),
            (2, 1.5, Ordering::Greater),
            (-1, -1.5, Ordering::Greater),
            (-2, -1.5, Ordering::Less),
            (0, 5e-324, Ordering::Less),
            (0, -5e-324, Ordering::Greater),
            (-1, -5e-324, Ordering::Less),
            (i128::from(u64::MAX), two_64, Ordering::Less),
            (1 << 64, two_64, Ordering::Equal),
            (-(1 << 64), -two_64, Ordering::Equal),
            ((1 << 53) + 1, 9_007_199_254_740_992.0, Ordering::Greater),
            (i128::from(u64::MAX), f64::MAX, Ordering::Less),
            (-(1 << 64), f64::MIN, Ordering::Greater),
        ] {
            assert_eq!(Number::Integer(n).compare(Number::Float(x)), expected, "{n} {x}");
            assert_eq!(Number::Float(x).compare(Number::Integer(n)), expected.reverse(), "{x} {n}");
        }
    }
}
