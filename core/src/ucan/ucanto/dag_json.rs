//! DAG-JSON as `@ipld/dag-json` 10 writes it, because ucanto signs text: keys sorted by UTF-16 units, no blanks, links as
//! `{"/": "bafy…"}`, bytes as `{"/": {"bytes": "…"}}` in base64 without padding, floats always with a point or an exponent
//! (npm `cborg` `lib/json/encode.js`).
//!
//! Different values must give different texts, or one signature would hold for both. So what JavaScript's encoder leaves
//! ambiguous is refused: maps with the key `/`, and floats that JavaScript takes for integers.

use cid::multibase::Base;

use crate::dag_cbor::{self, Ipld};

/// Where JavaScript's integers end (`Number.MAX_SAFE_INTEGER`).
pub const SAFE_MAX: i128 = (1 << 53) - 1;

/// Appends a value. The error says what is ambiguous.
pub fn write(out: &mut String, value: &Ipld) -> Result<(), String> {
    match value {
        Ipld::Null => out.push_str("null"),
        Ipld::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Ipld::Integer(n) => out.push_str(&n.to_string()),
        Ipld::Float(x) => out.push_str(&float(*x)?),
        Ipld::String(text) => write_text(out, text),
        Ipld::Bytes(bytes) => {
            out.push_str("{\"/\":{\"bytes\":\"");
            out.push_str(&Base::Base64.encode(bytes));
            out.push_str("\"}}");
        }
        Ipld::Link(cid) => {
            out.push_str("{\"/\":\"");
            out.push_str(&cid.to_string());
            out.push_str("\"}");
        }
        Ipld::List(list) => {
            out.push('[');
            for (i, item) in list.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(out, item)?;
            }
            out.push(']');
        }
        Ipld::Map(map) => {
            let entries = dag_cbor::sorted(map, &|a, b| a.encode_utf16().cmp(b.encode_utf16()));
            out.push('{');
            for (i, (key, item)) in entries.into_iter().enumerate() {
                if key == "/" {
                    return Err("expected no map with the key “/”, which DAG-JSON takes for a link or bytes".into());
                }
                if i > 0 {
                    out.push(',');
                }
                write_text(out, key);
                out.push(':');
                write(out, item)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

/// As `JSON.stringify` does (ECMA-262, `QuoteJSONString`).
fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{9}' => out.push_str("\\t"),
            '\u{a}' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\u{d}' => out.push_str("\\r"),
            '\0'..='\u{1f}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => out.push(c),
        }
    }
    out.push('"');
}

/// Of two shortest spellings that are equally close, Rust takes the upper and JavaScript the even one.
fn even(x: f64, digits: String) -> String {
    // More digits than any double has between its first and a tie.
    let exact = format!("{x:.800e}").replace(['-', '.'], "");
    let (Some(lower), Some(rest)) = (exact.get(..digits.len()), exact.get(digits.len()..)) else { return digits };
    let rest = rest.split('e').next().unwrap_or_default();
    let tie = rest.strip_prefix('5').is_some_and(|rest| rest.bytes().all(|byte| byte == b'0'));
    let is_even = lower.bytes().last().is_some_and(|digit| digit % 2 == 0);
    if tie && is_even { lower.to_owned() } else { digits }
}

/// As `Number.prototype.toString` does (ECMA-262, `Number::toString`), from the shortest digits that the standard library
/// finds with integers alone; nothing is calculated.
fn float(x: f64) -> Result<String, String> {
    let scientific = format!("{x:e}");
    let (sign, rest) = scientific.strip_prefix('-').map_or(("", &scientific[..]), |rest| ("-", rest));
    let (mantissa, exponent) = rest.split_once('e').unwrap_or((rest, "0"));
    let digits = even(x, mantissa.replace('.', ""));
    // The decimal point stands behind so many digits.
    let point = exponent.parse::<i32>().unwrap_or_default() + 1;
    let count = digits.len() as i32;
    let zeros = |n: i32| "0".repeat(usize::try_from(n).unwrap_or_default());
    let text = if count <= point && point <= 21 {
        let integer = format!("{digits}{}", zeros(point - count));
        if integer.parse::<i128>().is_ok_and(|n| n <= SAFE_MAX) {
            return Err(format!("expected {sign}{integer} as an integer, got a float, which JavaScript never writes"));
        }
        format!("{integer}.0")
    } else if 0 < point && point <= 21 {
        let (whole, fraction) = digits.split_at(usize::try_from(point).unwrap_or_default());
        format!("{whole}.{fraction}")
    } else if -6 < point && point <= 0 {
        format!("0.{}{digits}", zeros(-point))
    } else {
        let (first, more) = digits.split_at(1);
        let dot = if more.is_empty() { "" } else { "." };
        format!("{first}{dot}{more}e{:+}", point - 1)
    };
    Ok(format!("{sign}{text}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn text(value: &Ipld) -> Result<String, String> {
        let mut out = String::new();
        write(&mut out, value).map(|()| out)
    }

    #[test]
    fn floats_are_written_as_in_javascript() {
        for (x, expected) in [
            (0.1, "0.1"),
            (-1.5, "-1.5"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (1.25e-7, "1.25e-7"),
            (9007199254740992.0, "9007199254740992.0"),
            (1e20, "100000000000000000000.0"),
            (1e21, "1e+21"),
            (-1.5e300, "-1.5e+300"),
            (5e-324, "5e-324"),
            (123456.789, "123456.789"),
            (f64::from_bits(0x430ff535be069dc2), "1124416931025848.2"),
            (f64::from_bits(0xc30ff535be069dc6), "-1124416931025848.8"),
        ] {
            assert_eq!(text(&Ipld::Float(x)), Ok(expected.into()));
        }
        for x in [0.0, 1.0, -1.0, 9007199254740991.0] {
            assert!(text(&Ipld::Float(x)).unwrap_err().contains("which JavaScript never writes"), "{x}");
        }
    }

    #[test]
    fn keys_are_sorted_by_utf_16_units_and_text_is_escaped() {
        let map = ["\u{ffff}", "\u{10000}", "b", "aa", ""].map(|key| (key.to_owned(), Ipld::Null));
        let written = text(&Ipld::Map(map.into())).unwrap();
        assert_eq!(written, "{\"\":null,\"aa\":null,\"b\":null,\"\u{10000}\":null,\"\u{ffff}\":null}");
        let controls = Ipld::String("\"\\/\u{0}\u{8}\t\n\u{b}\u{c}\r\u{1f}\u{7f}ß\u{2028}".into());
        let expected = "\"\\\"\\\\/\\u0000\\b\\t\\n\\u000b\\f\\r\\u001f\u{7f}ß\u{2028}\"";
        assert_eq!(text(&controls), Ok(expected.into()));
    }

    #[test]
    fn what_looks_like_a_link_is_refused() {
        let map = Ipld::Map(BTreeMap::from([("/".to_owned(), Ipld::String("bafy".into()))]));
        assert!(text(&Ipld::List(vec![map])).unwrap_err().contains("the key “/”"));
        assert_eq!(text(&Ipld::Bytes(vec![0xff, 1])), Ok("{\"/\":{\"bytes\":\"/wE\"}}".into()));
    }
}
