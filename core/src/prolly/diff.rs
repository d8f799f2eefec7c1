//! Two trees against each other, from their roots down: what hangs under one link on both sides is the same and is left out.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::rc::Rc;

use cid::Cid;

use super::node::Node;
use super::{Blocks, ProllyError, Tree, value};
use crate::cid::Hasher;
use crate::dag_cbor::Ipld;

/// An entry that two trees don't share.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The key.
    pub key: Vec<u8>,
    /// The value before, if it was there.
    pub before: Option<Ipld>,
    /// The value after, if it is there.
    pub after: Option<Ipld>,
}

/// What leads from one tree to another.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Diff {
    /// Entries, in the order of their keys.
    pub changes: Vec<Change>,
    /// Nodes of the second tree that the first one lacks, from the root down: what has to travel.
    pub nodes: Vec<Cid>,
}

/// A subtree that is not read yet: a place in a branch, or a root.
enum Place<'b> {
    Root(Cid),
    Child { branch: Rc<Node<'b>>, at: usize, end: Option<Vec<u8>> },
}

impl Place<'_> {
    fn cid(&self) -> Cid {
        match self {
            Self::Root(cid) => *cid,
            Self::Child { branch, at, .. } => branch.link(*at),
        }
    }
}

/// What is to be compared of one tree on one level.
struct Row<'b> {
    level: u64,
    places: Vec<Place<'b>>,
}

impl<'b, B: Blocks, H: Hasher> Tree<'b, B, H> {
    /// What leads from this tree to the one at `other`. Reads the nodes that only one of them has.
    pub fn diff(&self, other: &Cid) -> Result<Diff, ProllyError> {
        let mut diff = Diff::default();
        let mut rows = (self.row(&self.root)?, self.row(other)?);
        loop {
            let (a, b) = &mut rows;
            if a.level == b.level {
                leave_common(a, b);
            }
            let level = a.level.max(b.level);
            if b.level == level {
                diff.nodes.extend(b.places.iter().map(Place::cid));
            }
            if level == 0 {
                break;
            }
            for row in [a, b].into_iter().filter(|row| row.level == level) {
                *row = below(row, &self.open_all(row)?);
            }
        }
        diff.changes = changes(&self.open_all(&rows.0)?, &self.open_all(&rows.1)?)?;
        Ok(diff)
    }

    /// Nodes that aren't here, of those that can be known: what hangs below them isn't. To pull a tree, get them all at once
    /// and ask again, until none is missing; that takes as many turns as the tree has levels. What `have`, a tree that is
    /// here completely, shares with this one is not looked at.
    pub fn missing(&self, have: Option<&Cid>) -> Result<Vec<Cid>, ProllyError> {
        let mut missing = BTreeSet::new();
        let mut b = match self.row(&self.root) {
            Err(ProllyError::Missing(cid)) => return Ok(vec![cid]),
            row => row?,
        };
        let mut a = match have {
            Some(have) => self.row(have)?,
            None => Row { level: b.level, places: Vec::new() },
        };
        loop {
            if a.level == b.level {
                leave_common(&mut a, &mut b);
            }
            let level = a.level.max(b.level);
            if level == 0 || b.places.is_empty() {
                break;
            }
            if a.level == level {
                a = below(&a, &self.open_all(&a)?);
            }
            if b.level == level {
                let mut nodes = Vec::new();
                let (mut here, places) = (Vec::new(), std::mem::take(&mut b.places));
                for place in places {
                    match self.open(&place) {
                        Err(ProllyError::Missing(cid)) => drop(missing.insert(cid)),
                        node => {
                            nodes.push(node?);
                            here.push(place);
                        }
                    }
                }
                b = below(&Row { level, places: here }, &nodes);
            }
        }
        for cid in b.places.iter().map(Place::cid) {
            if !self.has(&cid)? {
                missing.insert(cid);
            }
        }
        Ok(missing.into_iter().collect())
    }

    fn row(&self, root: &Cid) -> Result<Row<'b>, ProllyError> {
        Ok(Row { level: self.load_root(root)?.level, places: vec![Place::Root(*root)] })
    }

    fn open(&self, place: &Place<'b>) -> Result<Rc<Node<'b>>, ProllyError> {
        match place {
            Place::Root(cid) => self.load_root(cid),
            Place::Child { branch, at, end } => self.load_child(branch, *at, end.as_deref()),
        }
    }

    fn open_all(&self, row: &Row<'b>) -> Result<Vec<Rc<Node<'b>>>, ProllyError> {
        row.places.iter().map(|place| self.open(place)).collect()
    }
}

/// The row below `row`, whose nodes are `nodes`.
fn below<'b>(row: &Row<'b>, nodes: &[Rc<Node<'b>>]) -> Row<'b> {
    let mut places = Vec::new();
    for (place, branch) in row.places.iter().zip(nodes) {
        let last = match place {
            Place::Root(_) => None,
            Place::Child { end, .. } => end.clone(),
        };
        for at in 0..branch.len() {
            let end = if at + 1 < branch.len() { Some(branch.key(at + 1).to_vec()) } else { last.clone() };
            places.push(Place::Child { branch: Rc::clone(branch), at, end });
        }
    }
    Row { level: row.level - 1, places }
}

/// Takes out what both have. A node holds the same entries wherever it hangs.
fn leave_common(a: &mut Row<'_>, b: &mut Row<'_>) {
    let cids = |row: &Row<'_>| row.places.iter().map(Place::cid).collect::<BTreeSet<_>>();
    let (in_a, in_b) = (cids(a), cids(b));
    a.places.retain(|place| !in_b.contains(&place.cid()));
    b.places.retain(|place| !in_a.contains(&place.cid()));
}

fn changes(a: &[Rc<Node<'_>>], b: &[Rc<Node<'_>>]) -> Result<Vec<Change>, ProllyError> {
    fn entries<'n>(nodes: &'n [Rc<Node<'_>>]) -> impl Iterator<Item = (&'n Node<'n>, usize)> {
        nodes.iter().flat_map(|node| (0..node.len()).map(move |at| (&**node, at)))
    }
    let (mut before, mut after) = (entries(a).peekable(), entries(b).peekable());
    let mut changes = Vec::new();
    loop {
        let order = match (before.peek(), after.peek()) {
            (Some((a, at)), Some((b, bt))) => a.key(*at).cmp(b.key(*bt)),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return Ok(changes),
        };
        let old = if order.is_le() { before.next() } else { None };
        let new = if order.is_ge() { after.next() } else { None };
        if matches!((old, new), (Some((a, at)), Some((b, bt))) if a.value(at) == b.value(bt)) {
            continue;
        }
        let (node, at) = old.or(new).expect("one of them came");
        let value = |entry: Option<(&Node<'_>, usize)>| entry.map(|(node, at)| value(node, at)).transpose();
        changes.push(Change { key: node.key(at).to_vec(), before: value(old)?, after: value(new)? });
    }
}
