//! Selectors: where in the arguments to look (ucan-wg/delegation, "Selectors").
//!
//! `.`, then any number of `.name`, `["name"]`, `[7]`, `[-1]`, `[1:3]` and `[]`, each with `?` or not. A missing key of a
//! map is null; anything else that isn't there is not found, and with `?` null. Slices end where the list does, and `[]`
//! of a map are its values in the order of DAG-CBOR.

use std::collections::BTreeMap;

use super::compare::{Number, equal, equal_bytes, equal_lists};
use super::{Work, malformed, shorten};
use crate::dag_cbor::{self, Ipld};
use crate::limits::SELECTOR_BYTES_MAX;
use crate::task::kind;
use crate::ucan::Denied;

/// A selector.
#[derive(Debug, Clone, PartialEq)]
pub struct Selector {
    source: String,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq)]
struct Step {
    way: Way,
    optional: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Way {
    Key(String),
    Index(i64),
    Slice(Option<i64>, Option<i64>),
    Values,
}

/// What a selector found, without copying the arguments.
#[derive(Debug, Clone)]
pub enum View<'a> {
    /// A part of the arguments.
    Value(&'a Ipld),
    /// A part of a list, or the values of a map.
    List(Vec<&'a Ipld>),
    /// A part of bytes.
    Bytes(&'a [u8]),
    /// One of bytes.
    Byte(u8),
    /// What `?` makes of nothing.
    Null,
}

impl Selector {
    /// Reads a selector.
    pub fn from_ipld(value: Ipld) -> Result<Self, Denied> {
        let Ipld::String(source) = value else {
            return malformed(format!("expected a selector, got {}", kind(&value)));
        };
        if source.len() > SELECTOR_BYTES_MAX {
            return malformed(format!(
                "expected a selector of at most {SELECTOR_BYTES_MAX} bytes, got {}",
                source.len()
            ));
        }
        match parse(&source) {
            Some(steps) => Ok(Self { source, steps }),
            None => malformed(format!("expected a selector like .a[\"b\"][0]?, got “{}”", shorten(&source))),
        }
    }

    /// The selector as it was written.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// What is there.
    pub fn select<'a>(&self, args: &'a Ipld, work: &mut Work) -> Result<Option<View<'a>>, Denied> {
        let mut at = View::Value(args);
        for step in &self.steps {
            work.spend(1)?;
            at = match at.step(&step.way, work)? {
                Some(next) => next,
                None if step.optional => View::Null,
                None => return Ok(None),
            };
        }
        Ok(Some(at))
    }
}

fn parse(source: &str) -> Option<Vec<Step>> {
    let mut left = source.strip_prefix('.')?;
    let mut steps = Vec::new();
    // A name may follow the first dot directly; after that each step brings its own dot or bracket.
    if !left.is_empty() && !left.starts_with(['[', '?']) {
        left = source;
    }
    // The identity can't fail, so that `?` changes nothing.
    left = left.trim_start_matches('?');
    while !left.is_empty() {
        let (way, after) = way(left)?;
        left = after.trim_start_matches('?');
        steps.push(Step { way, optional: left.len() < after.len() });
    }
    Some(steps)
}

fn way(text: &str) -> Option<(Way, &str)> {
    if let Some(name) = text.strip_prefix('.').filter(|name| !name.starts_with('[')) {
        let len = name.bytes().take_while(|b| b.is_ascii_alphanumeric() || b"_-$".contains(b)).count();
        return (len > 0).then(|| (Way::Key(name[..len].to_owned()), &name[len..]));
    }
    let text = text.strip_prefix('.').unwrap_or(text).strip_prefix('[')?;
    if let Some(quoted) = text.strip_prefix('"') {
        let (key, after) = unquote(quoted)?;
        return Some((Way::Key(key), after.strip_prefix(']')?));
    }
    let (inside, after) = text.split_once(']')?;
    let way = match inside.split_once(':') {
        None if inside.is_empty() => Way::Values,
        None => Way::Index(number(inside)?),
        Some(("", "")) => return None,
        Some((from, to)) => Way::Slice(bound(from)?, bound(to)?),
    };
    Some((way, after))
}

/// Text up to the next quote; `\"` and `\\` stand for a quote and a backslash.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut key = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            '"' => return Some((key, chars.as_str())),
            '\\' => key.push(chars.next().filter(|c| ['"', '\\'].contains(c))?),
            c => key.push(c),
        }
    }
}

fn number(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty() && digits.len() <= 15 && digits.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

fn bound(text: &str) -> Option<Option<i64>> {
    if text.is_empty() { Some(None) } else { number(text).map(Some) }
}

impl<'a> View<'a> {
    fn step(self, way: &Way, work: &mut Work) -> Result<Option<View<'a>>, Denied> {
        Ok(match (way, self) {
            (Way::Key(key), View::Value(Ipld::Map(map))) => Some(map.get(key).map_or(View::Null, View::Value)),
            (Way::Index(index), View::Value(Ipld::List(list))) => pick(list, *index).map(View::Value),
            (Way::Index(index), View::List(list)) => pick(&list, *index).map(|value| View::Value(value)),
            (Way::Index(index), View::Value(Ipld::Bytes(bytes))) => pick(bytes, *index).map(|byte| View::Byte(*byte)),
            (Way::Index(index), View::Bytes(bytes)) => pick(bytes, *index).map(|byte| View::Byte(*byte)),
            (Way::Slice(from, to), View::Value(Ipld::List(list))) => {
                let part = slice(list, *from, *to);
                work.spend(part.len())?;
                Some(View::List(part.iter().collect()))
            }
            (Way::Slice(from, to), View::List(list)) => {
                let part = slice(&list, *from, *to);
                work.spend(part.len())?;
                Some(View::List(part.to_vec()))
            }
            (Way::Slice(from, to), View::Value(Ipld::Bytes(bytes))) => Some(View::Bytes(slice(bytes, *from, *to))),
            (Way::Slice(from, to), View::Bytes(bytes)) => Some(View::Bytes(slice(bytes, *from, *to))),
            (Way::Values, view) => view.items(work)?.map(View::List),
            _ => None,
        })
    }

    /// What a quantifier asks, one after the other.
    pub fn items(&self, work: &mut Work) -> Result<Option<Vec<&'a Ipld>>, Denied> {
        let items = match self {
            View::Value(Ipld::List(list)) => list.iter().collect(),
            View::Value(Ipld::Map(map)) => values(map),
            View::List(list) => list.clone(),
            _ => return Ok(None),
        };
        work.spend(items.len()).map(|()| Some(items))
    }

    /// The text that it is.
    pub fn text(&self) -> Option<&'a str> {
        match self {
            View::Value(Ipld::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The number that it is.
    pub fn number(&self) -> Option<Number> {
        match self {
            View::Value(value) => Number::of(value),
            View::Byte(byte) => Some(Number::Integer(i128::from(*byte))),
            _ => None,
        }
    }

    /// Deep equality.
    pub fn equals(&self, value: &Ipld, work: &mut Work) -> Result<bool, Denied> {
        match (self, value) {
            (View::Value(found), value) => equal(found, value, work),
            (View::List(found), Ipld::List(list)) => equal_lists(found.iter().copied(), list.iter(), work),
            (View::Bytes(found), Ipld::Bytes(bytes)) => equal_bytes(found, bytes, work),
            (View::Byte(byte), value) => equal(&Ipld::Integer(i128::from(*byte)), value, work),
            (View::Null, value) => Ok(*value == Ipld::Null),
            _ => Ok(false),
        }
    }
}

/// A map's values in the order of DAG-CBOR: those of shorter keys first.
fn values(map: &BTreeMap<String, Ipld>) -> Vec<&Ipld> {
    dag_cbor::shortest_first(map).into_iter().map(|(_, value)| value).collect()
}

fn pick<T>(list: &[T], index: i64) -> Option<&T> {
    let from_end = list.len().checked_sub(usize::try_from(index.unsigned_abs()).ok()?);
    if index < 0 { list.get(from_end?) } else { list.get(usize::try_from(index).ok()?) }
}

fn slice<T>(list: &[T], from: Option<i64>, to: Option<i64>) -> &[T] {
    let at = |bound: i64| {
        let distance = usize::try_from(bound.unsigned_abs()).unwrap_or(usize::MAX);
        if bound < 0 { list.len().saturating_sub(distance) } else { distance.min(list.len()) }
    };
    list.get(from.map_or(0, at)..to.map_or(list.len(), at)).unwrap_or(&[])
}
