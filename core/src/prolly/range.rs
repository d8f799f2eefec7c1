//! Entries in order, a page at a time.

use std::ops::Bound;

use super::cursor::Cursor;
use super::{Blocks, Entry, ProllyError, Tree, value};
use crate::cid::Hasher;

/// Entries between two keys. As `Range` of keys it is written `(Bound<&[u8]>, Bound<&[u8]>)`: to go on behind a page, begin
/// with `Bound::Excluded` of its last key.
pub type Bounds<'k> = (Bound<&'k [u8]>, Bound<&'k [u8]>);

/// A page of entries.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Page {
    /// In the order of their keys.
    pub entries: Vec<Entry>,
    /// Whether more entries follow within the bounds.
    pub more: bool,
}

/// All keys that begin with `prefix`.
pub fn prefix(prefix: &[u8]) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let end = prefix.iter().rposition(|byte| *byte < 0xff).map(|last| {
        let mut end = prefix[..=last].to_vec();
        end[last] += 1;
        end
    });
    (Bound::Included(prefix.to_vec()), end.map_or(Bound::Unbounded, Bound::Excluded))
}

fn is_below(key: &[u8], to: Bound<&[u8]>) -> bool {
    match to {
        Bound::Included(to) => key <= to,
        Bound::Excluded(to) => key < to,
        Bound::Unbounded => true,
    }
}

impl<B: Blocks, H: Hasher> Tree<'_, B, H> {
    /// At most `limit` entries from the beginning of the bounds. Reads only leaves that have some of them, and the branches
    /// above.
    pub fn range(&self, (from, to): Bounds<'_>, limit: usize) -> Result<Page, ProllyError> {
        let start = match from {
            Bound::Included(key) | Bound::Excluded(key) => key,
            Bound::Unbounded => &[],
        };
        let mut cursor = Cursor::seek(self, 0, start)?;
        let mut at = cursor.node().lower_bound(start);
        if matches!(from, Bound::Excluded(key) if at < cursor.node().len() && cursor.node().key(at) == key) {
            at += 1;
        }
        let mut page = Page::default();
        loop {
            let node = cursor.node();
            while at < node.len() {
                let key = node.key(at);
                if !is_below(key, to) {
                    return Ok(page);
                }
                if page.entries.len() == limit {
                    page.more = true;
                    return Ok(page);
                }
                page.entries.push((key.to_vec(), value(node, at)?));
                at += 1;
            }
            match cursor.end() {
                Some(end) if is_below(end, to) => {}
                _ => return Ok(page),
            }
            if page.entries.len() == limit {
                page.more = true;
                return Ok(page);
            }
            cursor.advance()?;
            at = 0;
        }
    }
}
