//! Changes of a tree. Level by level, nodes are done again from the one that a change falls into, until one ends where one
//! ended before; what is behind that stays as it is, because where nodes end depends on nothing before their beginning.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;

use cid::Cid;

use super::chunk::{Chunker, Piece, raise};
use super::cursor::Cursor;
use super::node::{Node, link};
use super::{Blocks, Op, ProllyError, Tree, Written, empty, encoded};
use crate::cid::Hasher;
use crate::dag_cbor::collected;

/// A key and its new value's encoding, or none where it goes.
type Edit = (Vec<u8>, Option<Vec<u8>>);

/// What one level tells the next: its nodes by their first keys, those that came and, with none, those that went.
type Moved = BTreeMap<Vec<u8>, Option<Cid>>;

impl<B: Blocks, H: Hasher> Tree<'_, B, H> {
    /// The tree after `ops`, which are sorted by key and have each key once, and those of its nodes that are new. Reads the
    /// nodes that operations fall into, the branches above, and neighbours up to where nodes end as before.
    pub fn apply(&self, ops: &[Op]) -> Result<Written, ProllyError> {
        let root = self.load_root(&self.root)?;
        let mut edits = encode(ops)?;
        let mut moved = Moved::new();
        let mut levels = Vec::new();
        for level in 0..=root.level {
            let pieces;
            (moved, pieces) = self.splice(level, &edits)?;
            if moved.is_empty() {
                return Ok(Written { root: self.root, nodes: Vec::new() });
            }
            edits = moved.iter().map(|(first, cid)| (first.clone(), cid.as_ref().map(link))).collect();
            levels.push(pieces);
        }
        let mut row = BTreeMap::new();
        if root.len() > 0 {
            row.insert(root.key(0).to_vec(), root.cid);
        }
        for (first, cid) in moved {
            match cid {
                Some(cid) => row.insert(first, cid),
                None => row.remove(&first),
            };
        }
        self.top(row, levels)
    }

    /// One level with `edits`: what moved, and the nodes that are new.
    fn splice(&self, level: u64, mut edits: &[Edit]) -> Result<(Moved, Vec<Piece>), ProllyError> {
        let mut chunker = Chunker::<H>::new(level);
        let mut old = BTreeMap::new();
        while let Some((key, _)) = edits.first() {
            let mut cursor = Cursor::seek(self, level, key)?;
            loop {
                let node = cursor.node();
                let end = cursor.end();
                let mine;
                (mine, edits) = edits.split_at(edits.partition_point(|(key, _)| end.is_none_or(|end| &key[..] < end)));
                merge(node, mine, &mut chunker);
                if node.len() > 0 {
                    old.insert(node.key(0).to_vec(), node.cid);
                }
                if chunker.is_between() {
                    break;
                }
                if !cursor.advance()? {
                    chunker.end();
                    break;
                }
            }
        }
        let mut pieces = chunker.pieces;
        pieces.retain(|piece| {
            let stays = old.get(&piece.first) == Some(&piece.cid);
            if stays {
                old.remove(&piece.first);
            }
            !stays
        });
        let mut moved = collected(old.into_keys().map(|first| (first, None)));
        moved.extend(pieces.iter().map(|piece| (piece.first.clone(), Some(piece.cid))));
        Ok((moved, pieces))
    }

    /// The root over what is left of the level that the old root was on.
    fn top(&self, row: BTreeMap<Vec<u8>, Cid>, mut levels: Vec<Vec<Piece>>) -> Result<Written, ProllyError> {
        let mut raised = Vec::new();
        let root = match row.len() {
            0 => return Ok(empty::<H>()),
            1 => {
                let (first, cid) = row.into_iter().next().expect("one");
                self.sink(&first, cid, &mut levels)?
            }
            _ => raise::<H>(levels.len() as u64 - 1, row.into_iter().collect(), &mut raised),
        };
        let nodes = levels.into_iter().flatten().map(|piece| (piece.cid, piece.bytes));
        Ok(Written { root, nodes: nodes.chain(raised).collect() })
    }

    /// The root is the lowest node that is alone on its level: below branches of one child, which go.
    fn sink(&self, first: &[u8], mut root: Cid, levels: &mut Vec<Vec<Piece>>) -> Result<Cid, ProllyError> {
        while let [.., _, pieces] = &levels[..] {
            let node = match pieces.iter().find(|piece| piece.cid == root) {
                Some(new) => Node::decode(root, Cow::Borrowed(&new.bytes)).map(Rc::new),
                None => Ok(self.load(&root)?),
            };
            let checked = node.and_then(|node| node.check_child(levels.len() as u64, first, None).map(|()| node));
            let node = checked.map_err(|why| ProllyError::node(root, why))?;
            if node.len() > 1 {
                break;
            }
            root = node.link(0);
            levels.pop();
        }
        Ok(root)
    }
}

/// A node's entries with those edits that fall among them.
fn merge<H: Hasher>(node: &Node<'_>, edits: &[Edit], chunker: &mut Chunker<H>) {
    let mut at = 0;
    for (key, value) in edits {
        let found = node.lower_bound(key);
        (at..found).for_each(|at| chunker.push(node.key(at), node.value(at)));
        at = found + usize::from(found < node.len() && node.key(found) == key);
        if let Some(value) = value {
            chunker.push(key, value);
        }
    }
    (at..node.len()).for_each(|at| chunker.push(node.key(at), node.value(at)));
}

fn encode(ops: &[Op]) -> Result<Vec<Edit>, ProllyError> {
    if let Some(pair) = ops.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
        let last = pair[0].0.escape_ascii();
        let why = format!("expected operations sorted by key and one for each, got this after “{last}”");
        return Err(ProllyError::entry(&pair[1].0, why));
    }
    ops.iter().map(|(key, value)| Ok((key.clone(), encoded(key, value.as_ref())?))).collect()
}
