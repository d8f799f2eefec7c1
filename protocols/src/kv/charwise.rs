//! charwise: values as strings whose byte order is the values' order (npm `charwise` 3.0.1).
//!
//! Order: null, false, true, numbers, strings, arrays. The encoding is upstream's to the byte. Upstream gives some
//! different values one encoding (strings with U+0000 or U+0001; within arrays, strings that look escaped, like `?%`); a key
//! that does not come back from upstream's own decoder is refused here, so that no key can silently be another's.
//! Numbers are written by their shortest decimal form, by the standard library's integer algorithm; nothing is calculated.

use bucket_core::dag_cbor::Ipld;
use bucket_core::task::kind;

/// Why a value can't be a key, or a text is no encoded one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CharwiseError {
    /// Charwise orders no such values.
    #[error("expected null, a boolean, a number, a string or a list of them as a key, got {0}")]
    Kind(&'static str),
    /// JavaScript's numbers end there.
    #[error("expected an integer of at most 2^53 either way in a key, got {0}")]
    Integer(i128),
    /// Charwise would give it the encoding of another value.
    #[error("expected a key that charwise can decode again, got one that it takes for another: “{0}”")]
    Ambiguous(String),
    /// Not made by [`encode`].
    #[error("expected a charwise encoding, got “{0}”")]
    Encoding(String),
}

/// Encodes a key.
pub fn encode(key: &Ipld) -> Result<String, CharwiseError> {
    let encoded = item(key)?;
    match cut(&encoded, &|scalar| Ok(Ipld::String(scalar.into()))) {
        Ok(back) if back == shape(key)? => Ok(encoded),
        _ => Err(CharwiseError::Ambiguous(encoded)),
    }
}

/// A key with the encoding in place of each scalar: what has to come back. Two scalars have one encoding only where that of a text
/// was escaped, which decoding doesn't take back.
fn shape(key: &Ipld) -> Result<Ipld, CharwiseError> {
    Ok(match key {
        Ipld::List(items) => Ipld::List(items.iter().map(shape).collect::<Result<_, _>>()?),
        Ipld::String(text) => Ipld::String(format!("J{text}")),
        scalar => Ipld::String(item(scalar)?),
    })
}

/// How long the encoding of a key is at least, without making it: an integer of one byte becomes 28, so that a small CAR
/// could ask for megabytes.
pub fn least_len(key: &Ipld) -> usize {
    match key {
        Ipld::String(text) => 1 + text.len(),
        Ipld::List(items) => 1 + items.iter().map(|item| 1 + least_len(item)).sum::<usize>().max(1),
        _ => 1,
    }
}

fn item(key: &Ipld) -> Result<String, CharwiseError> {
    Ok(match key {
        Ipld::Null => "A".into(),
        Ipld::Bool(false) => "B".into(),
        Ipld::Bool(true) => "C".into(),
        Ipld::Integer(n) if n.unsigned_abs() > 1 << 53 => return Err(CharwiseError::Integer(*n)),
        Ipld::Integer(0) => ZERO.into(),
        Ipld::Integer(n) => number(*n < 0, &n.unsigned_abs().to_string(), 0),
        Ipld::Float(x) => float(*x),
        // Upstream leaves U+0000 and U+0001 ambiguous; either way they don't come back.
        Ipld::String(text) => format!("J{text}").replace('\u{1}', "\u{1}\u{1}").replace('\u{0}', "\u{1}"),
        Ipld::List(items) => {
            let items: Result<Vec<_>, _> = items.iter().map(nested).collect();
            format!("K{}!", items?.join("\""))
        }
        other => return Err(CharwiseError::Kind(kind(other))),
    })
}

/// Lists nest as they are, everything else is escaped. As upstream, `?` is escaped only beside `!` or `"`.
fn nested(key: &Ipld) -> Result<String, CharwiseError> {
    let text = item(key)?;
    if matches!(key, Ipld::List(_)) || !text.contains(['!', '"']) {
        return Ok(text);
    }
    Ok(text
        .chars()
        .map(|c| match c {
            '?' => "?@".into(),
            '!' => "??".into(),
            '"' => "?%".into(),
            c => c.to_string(),
        })
        .collect())
}

const ZERO: &str = "FE  0M0";

/// A finite float by its shortest form, like `1.5e-7`.
fn float(x: f64) -> String {
    let text = format!("{x:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (negative, mantissa) = mantissa.strip_prefix('-').map_or((false, mantissa), |rest| (true, rest));
    let digits = mantissa.replace('.', "");
    if digits == "0" {
        return ZERO.into();
    }
    // The mantissa has one digit before the point.
    let exponent = exponent.parse::<i32>().unwrap_or_default() - (digits.len() as i32 - 1);
    number(negative, &digits, exponent)
}

/// `digits` · 10^`exponent`, not zero.
fn number(negative: bool, digits: &str, exponent: i32) -> String {
    let exponent = exponent + digits.len() as i32 - 1;
    let digits = digits.trim_end_matches('0');
    let (first, rest) = digits.split_at(1);
    let text = format!("E{:>3}M{first}.{rest}{}", exponent + 500, "0".repeat(20));
    if negative { format!("D{}", flip(&text)) } else { format!("F{text}") }
}

/// Nines' complement of the digits, so that greater magnitudes sort lower.
fn flip(text: &str) -> String {
    text.chars().map(|c| c.to_digit(10).map_or(c, |digit| char::from(b'9' - digit as u8))).collect()
}

/// Decodes a key, as upstream does.
pub fn decode(text: &str) -> Result<Ipld, CharwiseError> {
    cut(text, &scalar)
}

/// A scalar's encoding to what it stands for.
type Leaf<'a> = &'a dyn Fn(&str) -> Result<Ipld, CharwiseError>;

fn cut(text: &str, leaf: Leaf<'_>) -> Result<Ipld, CharwiseError> {
    match text.as_bytes().first() {
        Some(b'K') => list(text, leaf),
        _ => leaf(text),
    }
}

fn scalar(text: &str) -> Result<Ipld, CharwiseError> {
    let bad = || CharwiseError::Encoding(text.into());
    match text.split_at_checked(1).ok_or_else(bad)? {
        ("A", "") => Ok(Ipld::Null),
        ("B", "") => Ok(Ipld::Bool(false)),
        ("C", "") => Ok(Ipld::Bool(true)),
        ("J", rest) => Ok(Ipld::String(rest.into())),
        ("F", _) if text == ZERO => Ok(Ipld::Integer(0)),
        ("F", rest) => parse(false, rest).ok_or_else(bad),
        ("D", rest) => parse(true, &flip(rest)).ok_or_else(bad),
        _ => Err(bad()),
    }
}

/// `E<exponent + 500>M<mantissa>` to an integer where it is one that JavaScript holds exactly, else to a float.
fn parse(negative: bool, text: &str) -> Option<Ipld> {
    let (exponent, mantissa) = text.strip_prefix('E')?.split_once('M')?;
    let exponent = exponent.parse::<i32>().ok().filter(|exponent| (0..1000).contains(exponent))? - 500;
    let (first, rest) = mantissa.split_once('.')?;
    if first.len() != 1 || !(first.bytes().chain(rest.bytes())).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let rest = rest.trim_end_matches('0');
    let sign = if negative { "-" } else { "" };
    let zeros = exponent - rest.len() as i32;
    if (0..=16).contains(&zeros) && exponent <= 15 {
        let digits = format!("{sign}{first}{rest}{}", "0".repeat(zeros as usize));
        let n: i128 = digits.parse().ok()?;
        if n.unsigned_abs() <= 1 << 53 {
            return Some(Ipld::Integer(n));
        }
    }
    let x: f64 = format!("{sign}{first}.{rest}0e{exponent}").parse().ok()?;
    x.is_finite().then_some(Ipld::Float(x))
}

/// Upstream's way: cut at every `"`, then count the brackets of each piece.
fn list(text: &str, leaf: Leaf<'_>) -> Result<Ipld, CharwiseError> {
    let bad = || CharwiseError::Encoding(text.into());
    let mut open: Vec<Vec<Ipld>> = vec![vec![]];
    for piece in text.split('"') {
        let inner = piece.trim_start_matches('K');
        (0..piece.len() - inner.len()).for_each(|_| open.push(vec![]));
        let content = inner.trim_end_matches('!');
        if !content.is_empty() {
            let value = leaf(&unescape(content))?;
            open.last_mut().ok_or_else(bad)?.push(value);
        }
        for _ in 0..inner.len() - content.len() {
            let list = open.pop().ok_or_else(bad)?;
            open.last_mut().ok_or_else(bad)?.push(Ipld::List(list));
        }
    }
    match (open.pop().and_then(|mut outer| outer.pop()), open.is_empty()) {
        (Some(list), true) => Ok(list),
        _ => Err(bad()),
    }
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let plain = match (c, chars.peek()) {
            ('?', Some('@')) => '?',
            ('?', Some('?')) => '!',
            ('?', Some('%')) => '"',
            _ => {
                out.push(c);
                continue;
            }
        };
        chars.next();
        out.push(plain);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 42 and 42.0 are one number in JavaScript, and so are 0 and −0.
    fn same(a: &Ipld, b: &Ipld) -> bool {
        match (a, b) {
            (Ipld::List(a), Ipld::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
            (Ipld::Float(_), _) => item(a) == item(b),
            _ => a == b,
        }
    }

    fn s(text: &str) -> Ipld {
        Ipld::String(text.into())
    }

    /// Measured with npm charwise 3.0.1.
    #[test]
    fn golden() {
        let zeros = "0".repeat(20);
        let cases = [
            (Ipld::Null, "A".to_owned()),
            (Ipld::Bool(false), "B".into()),
            (Ipld::Bool(true), "C".into()),
            (Ipld::Integer(0), "FE  0M0".into()),
            (Ipld::Float(-0.0), "FE  0M0".into()),
            (Ipld::Integer(1), format!("FE500M1.{zeros}")),
            (Ipld::Float(1.0), format!("FE500M1.{zeros}")),
            (Ipld::Integer(-1), format!("DE499M8.{}", "9".repeat(20))),
            (Ipld::Integer(42), format!("FE501M4.2{zeros}")),
            (Ipld::Integer(100), format!("FE502M1.{zeros}")),
            (Ipld::Float(1.5e-7), format!("FE493M1.5{zeros}")),
            (Ipld::Float(5e-324), format!("FE176M5.{zeros}")),
            (s("a"), "Ja".into()),
            (s("a!\"?"), "Ja!\"?".into()),
            (Ipld::List(vec![]), "K!".into()),
            (Ipld::List(vec![Ipld::Null, s("bag"), Ipld::Null]), "KA\"Jbag\"A!".into()),
            (Ipld::List(vec![s("a!\"?"), s("b?")]), "KJa???%?@\"Jb?!".into()),
        ];
        for (value, encoded) in cases {
            assert_eq!(encode(&value).as_deref(), Ok(&*encoded), "{value:?}");
            assert!(same(&value, &decode(&encoded).unwrap()), "{value:?}");
            assert!(least_len(&value) <= encoded.len(), "{value:?}");
        }
        let nested = Ipld::List(vec![s("a"), Ipld::List(vec![s("b"), Ipld::List(vec![s("c")])])]);
        assert_eq!(encode(&nested).unwrap(), "KJa\"KJb\"KJc!!!");
        assert_eq!(decode("KJa\"KJb\"KJc!!!").unwrap(), nested);
    }

    #[test]
    fn what_charwise_confuses_is_refused() {
        for text in ["\u{0}", "\u{1}", "a\u{0}\u{1}"] {
            assert!(matches!(encode(&s(text)), Err(CharwiseError::Ambiguous(_))), "{text:?}");
        }
        for text in ["a?%", "??", "?@"] {
            assert!(encode(&s(text)).is_ok(), "{text:?} alone is not escaped");
            assert!(
                matches!(encode(&Ipld::List(vec![s(text)])), Err(CharwiseError::Ambiguous(_))),
                "{text:?} in a list"
            );
        }
        assert!(matches!(encode(&Ipld::Integer((1 << 53) + 1)), Err(CharwiseError::Integer(_))));
        assert_eq!(encode(&Ipld::Bytes(vec![])), Err(CharwiseError::Kind("bytes")));
    }

    #[test]
    fn order_is_by_kind_then_value() {
        let ascending = [
            Ipld::Null,
            Ipld::Bool(false),
            Ipld::Bool(true),
            Ipld::Float(-1e300),
            Ipld::Integer(-10),
            Ipld::Integer(-9),
            Ipld::Float(-0.5),
            Ipld::Integer(0),
            Ipld::Float(5e-324),
            Ipld::Float(0.1),
            Ipld::Integer(9),
            Ipld::Integer(10),
            Ipld::Float(1e300),
            s(""),
            s("a"),
            s("aa"),
            s("b"),
        ];
        let encoded: Vec<_> = ascending.iter().map(|key| encode(key).unwrap()).collect();
        assert!(encoded.is_sorted_by(|a, b| a < b), "{encoded:?}");
    }

    #[test]
    fn texts_that_are_no_encoding_are_refused() {
        for text in
            ["", "X", "K", "KJa", "KJa!!", "FE5", "FExxxM1.0", "FE500M", "FE500M11.0", "FE-2147483648M1.0", "Jok!\u{0}"]
        {
            let decoded = decode(text);
            assert!(decoded.is_err() || text.starts_with('J'), "{text:?} gave {decoded:?}");
        }
    }
}
