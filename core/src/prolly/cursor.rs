//! A place on one level of a tree, and the way to it.

use std::rc::Rc;

use super::node::Node;
use super::{Blocks, ProllyError, Tree};
use crate::cid::Hasher;

/// A node of one level, and the branches above it, each with the child that was taken.
pub(super) struct Cursor<'t, 'b, B, H> {
    tree: &'t Tree<'b, B, H>,
    path: Vec<(Rc<Node<'b>>, usize)>,
    node: Rc<Node<'b>>,
}

impl<'t, 'b, B: Blocks, H: Hasher> Cursor<'t, 'b, B, H> {
    /// The node of `level` that has `key`, if one has it.
    pub fn seek(tree: &'t Tree<'b, B, H>, level: u64, key: &[u8]) -> Result<Self, ProllyError> {
        let mut cursor = Self { tree, path: Vec::new(), node: tree.load_root(&tree.root)? };
        while cursor.node.level > level {
            let child = cursor.node.child(key);
            cursor.down(child)?;
        }
        Ok(cursor)
    }

    pub fn node(&self) -> &Node<'b> {
        &self.node
    }

    /// The first key behind this node, which is known without reading what is there.
    pub fn end(&self) -> Option<&[u8]> {
        self.path.iter().rev().find(|(branch, at)| at + 1 < branch.len()).map(|(branch, at)| branch.key(at + 1))
    }

    /// On to the next node of the level; false if there is none.
    pub fn advance(&mut self) -> Result<bool, ProllyError> {
        let Some(fork) = self.path.iter().rposition(|(branch, at)| at + 1 < branch.len()) else { return Ok(false) };
        let below = self.path.len() - fork - 1;
        self.path.truncate(fork + 1);
        let (branch, at) = self.path.pop().expect("a position in it");
        self.node = branch;
        self.down(at + 1)?;
        for _ in 0..below {
            self.down(0)?;
        }
        Ok(true)
    }

    fn down(&mut self, at: usize) -> Result<(), ProllyError> {
        self.path.push((Rc::clone(&self.node), at));
        let branch = &self.path[self.path.len() - 1].0;
        self.node = self.tree.load_child(branch, at, self.end())?;
        Ok(())
    }
}
