//! What a replica keeps of blocks: all that something needs, and nothing else, whatever happens.

use std::collections::{BTreeMap, BTreeSet};

use bucket_core::cid::{CarId, Hasher as _, RAW};
use bucket_core::prolly::Tree;
use proptest::prelude::*;
use tokio::runtime::Runtime;

use super::world::{Chain, Home};
use super::*;
use crate::space::blocks::Nodes;
use crate::space::kept::Holds as _;
use crate::space::store::{BLOCKS, COMING, EDITS, LINKS, NODES, OWN, Read as _, Table, WANTED};
use crate::space::sync::sync;
use crate::space::tree::{digest, links};

type Digests = BTreeSet<Vec<u8>>;

/// What values link to: a block may be linked to as several things, and may be a node of a tree.
fn block(n: usize) -> Vec<u8> {
    match n {
        0 => Chain::with_entries(30).blocks.into_values().next_back().expect("a node"),
        n => vec![n as u8; 40],
    }
}

fn link(n: usize) -> Ipld {
    let (car, raw) = (CarId::of::<NativeHasher>(&block(n / 2)).to_cid(), block_cid::<NativeHasher>(RAW, &block(n / 2)));
    Ipld::Link(if n.is_multiple_of(2) { raw } else { car })
}

/// The digests at the beginning of a table's keys.
fn digests(home: &Home, table: Table) -> Digests {
    home.replica
        .read(|kept| Ok(kept.below(table, &[])?.into_iter().map(|(key, _)| key[..32].to_vec()).collect()))
        .unwrap()
}

/// Checks all that holds of a replica's blocks; the linked ones that are here.
fn check(home: &Home) -> Digests {
    let empty = Head::empty::<NativeHasher>().root;
    let (counts, nodes) = home
        .replica
        .read(|kept| {
            let (head, nodes) = (kept.head()?, Nodes(kept));
            let tree = Tree::<_, NativeHasher>::new(&nodes, empty).diff(&head.root)?;
            let mut values: Vec<_> = tree.changes.into_iter().filter_map(|change| change.after).collect();
            for (_, bytes) in [kept.below(EDITS, &[])?, kept.below(OWN, &[])?].concat() {
                values.extend(Edit::kept(bytes)?.ops.changes().filter_map(|(_, value)| value.cloned()));
            }
            let mut counts = BTreeMap::<_, u64>::new();
            for link in values.iter().flat_map(links) {
                *counts.entry([&digest(&link).unwrap()[..], &link.to_bytes()].concat()).or_default() += 1;
            }
            let nodes: Digests = tree.nodes.iter().filter_map(digest).map(Vec::from).collect();
            let kept_counts = kept.below(LINKS, &[])?.into_iter();
            let kept_counts = kept_counts.map(|(row, n)| (row, u64::from_be_bytes(n.try_into().unwrap())));
            assert_eq!(kept_counts.collect::<BTreeMap<_, _>>(), counts, "links are counted");
            Ok((counts, nodes))
        })
        .unwrap();
    assert_eq!(digests(home, NODES), nodes, "the head's tree and nothing else");
    assert_eq!(digests(home, COMING), Digests::new(), "nothing is left of what came");
    let (here, linked) = (digests(home, BLOCKS), counts.keys().map(|row| row[..32].to_vec()).collect::<Digests>());
    assert!(here.is_subset(&linked), "nothing is here that nothing links to");
    let wanted: BTreeSet<_> =
        home.replica.read(|kept| kept.below(WANTED, &[])).unwrap().into_iter().map(|(row, _)| row).collect();
    let lacking = counts.into_keys().filter(|row| !here.contains(&row[..32]));
    assert_eq!(wanted, lacking.collect(), "what isn't here is wanted");
    here
}

#[derive(Debug, Clone)]
enum Step {
    /// Puts a link, with its block or without, or removes.
    Edit {
        by: usize,
        key: u8,
        link: Option<usize>,
        block: bool,
    },
    Sync(usize, usize),
    Push(usize),
    Pull(usize),
    /// The chain takes its last push back; one notices.
    Back(usize),
    /// One drops the edits of another, and allows them again.
    Drop(usize, usize),
    /// A pull that gets some nodes of a tree and is broken off.
    Half(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let home = 0..3usize;
    prop_oneof![
        6 => (0..2usize, 0u8..4, proptest::option::weighted(0.8, 0..6usize), any::<bool>())
            .prop_map(|(by, key, link, block)| Step::Edit { by, key, link, block }),
        3 => (home.clone(), home.clone()).prop_map(|(a, b)| Step::Sync(a, b)),
        2 => (0..2usize).prop_map(Step::Push),
        1 => home.clone().prop_map(Step::Pull),
        1 => home.clone().prop_map(Step::Back),
        1 => (home.clone(), 0..2usize).prop_map(|(a, b)| Step::Drop(a, b)),
        1 => home.prop_map(Step::Half),
    ]
}

struct World {
    homes: [Home; 3],
    chain: Chain,
    /// Heads before, with their evidence.
    heads: Vec<(Head, Vec<u8>)>,
}

impl World {
    fn new() -> Self {
        let homes = [Home::new(), Home::new(), Home::new()];
        let chain = Chain::with_entries(30);
        for home in &homes {
            assert!(home.pull(&chain).unwrap());
        }
        Self { homes, chain, heads: vec![] }
    }

    async fn step(&mut self, step: Step) {
        let chain = &mut self.chain;
        match step {
            Step::Edit { by, key, link: n, block: with } => {
                let home = &self.homes[by];
                let op = (format!("/{key}"), n.map(link));
                home.edit(by as u8 + 2, Ops::new([op]).unwrap());
                n.filter(|_| with).into_iter().for_each(|n| home.put_block(&block(n / 2)));
            }
            Step::Sync(a, b) if a != b => {
                let synced = sync(&self.homes[a].replica, &self.homes[b].serve().await).await.unwrap();
                // One who refuses an author isn't equal to one who doesn't.
                assert!(synced.equal || !(synced.refused.is_empty() && synced.refused_there.is_empty()));
            }
            Step::Sync(..) => {}
            Step::Push(by) => {
                self.homes[by].pull(chain).unwrap();
                if !self.homes[by].waiting(by as u8 + 2).is_empty() {
                    self.heads.push((chain.head.clone(), chain.signed.clone()));
                    self.homes[by].push(by as u8 + 2, chain);
                }
            }
            Step::Pull(at) => {
                self.homes[at].pull(chain).unwrap();
            }
            Step::Back(at) => {
                let Some((head, signed)) = self.heads.pop() else { return };
                // The chain goes on with something else, so that nobody meets the old head again.
                chain.head = Head { seq: chain.head.seq, ..head };
                chain.signed = signed;
                chain.push(&[("/fork".into(), Some(Ipld::Integer(chain.head.seq.into())))].into(), 9, chain.head.seq);
                self.homes[at].go(chain);
            }
            Step::Drop(at, author) => {
                let author = key(author as u8 + 2).did();
                self.homes[at].replica.write(|kept| kept.refuse(&author)).unwrap();
                check(&self.homes[at]);
                self.homes[at].replica.write(|kept| kept.allow(&author)).unwrap();
            }
            Step::Half(at) => {
                let mut other = Chain::with_entries(60);
                other.head.seq = chain.head.seq;
                let some = |kept: &crate::space::store::Change| {
                    other.blocks.values().take(2).try_for_each(|node| kept.put_coming(node))
                };
                self.homes[at].replica.write(some).unwrap();
                // The next head sweeps it out.
                let seq = chain.head.seq;
                self.heads.push((chain.head.clone(), chain.signed.clone()));
                chain.push(&[("/swept".into(), Some(Ipld::Integer(seq.into())))].into(), 9, seq + 1);
                self.homes[at].pull(chain).unwrap();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_replica_keeps_what_it_needs_and_nothing_else(steps in proptest::collection::vec(step(), 1..24)) {
        let runtime = Runtime::new().unwrap();
        let mut world = World::new();
        let mut here: Vec<_> = world.homes.iter().map(check).collect();
        for step in steps {
            runtime.block_on(world.step(step));
            for (home, before) in world.homes.iter().zip(&mut here) {
                let now = check(home);
                let linked = digests(home, LINKS);
                let lost: Vec<_> = before.iter().filter(|digest| linked.contains(*digest) && !now.contains(*digest)).collect();
                prop_assert!(lost.is_empty(), "what is linked to stays");
                *before = now;
            }
        }
    }
}

#[test]
fn a_block_that_is_a_node_as_well_outlives_the_tree() {
    let home = Home::new();
    let mut chain = Chain::with_entries(30);
    home.pull(&chain).unwrap();
    let node = chain.blocks[&chain.head.root].clone();
    home.edit(2, Ops::new([("/node".to_owned(), Some(Ipld::Link(chain.head.root)))]).unwrap());
    home.put_block(&node);
    let root = chain.head.root;
    home.push(2, &mut chain);
    assert!(!digests(&home, NODES).contains(&NativeHasher::sha2_256(&node)[..]));
    assert_eq!(home.replica.read(|kept| kept.block(&root)).unwrap(), Some(node));
    // So does one that was the evidence of a head.
    let signed = chain.signed.clone();
    let id = CarId::of::<NativeHasher>(&signed).to_cid();
    home.edit(2, Ops::new([("/signed".to_owned(), Some(Ipld::Link(id)))]).unwrap());
    home.put_block(&signed);
    home.push(2, &mut chain);
    assert_ne!(chain.signed, signed);
    assert_eq!(home.replica.read(|kept| kept.block(&id)).unwrap(), Some(signed));
    check(&home);
}

#[test]
fn a_link_that_moves_to_another_key_keeps_its_block() {
    let home = Home::new();
    let mut chain = Chain::new();
    let mut pull = |changes: [(&str, Option<Ipld>); 2]| {
        chain.push(&changes.map(|(key, value)| (key.to_owned(), value)).into(), 9, 1);
        home.pull(&chain).unwrap();
    };
    pull([("/a", Some(link(2))), ("/b", None)]);
    home.put_block(&block(1));
    pull([("/a", None), ("/b", Some(link(2)))]);
    assert_eq!(check(&home).len(), 1);
    pull([("/a", None), ("/b", None)]);
    assert_eq!(check(&home), Digests::new());
}

#[test]
fn a_stranded_edit_keeps_its_blocks() {
    let (here, there) = (Home::new(), Home::new());
    let mut chain = Chain::new();
    here.edit(2, Ops::new([("/file".to_owned(), Some(link(2)))]).unwrap());
    here.put_block(&block(1));
    there.edit(2, ops([("/x", Some(1))]));
    there.push(2, &mut chain);
    here.pull(&chain).unwrap();
    let linked = |home: &Home| home.replica.read(|kept| kept.block(&links(&link(2))[0])).unwrap();
    assert!(here.told().edits.is_empty() && linked(&here) == Some(block(1)));
    let proofs = [delegation(&SPACE, &key(2).did(), "/space", None)];
    assert_eq!(here.replica.write(|kept| kept.make_anew(&space(), &key(2), &proofs)).unwrap(), 1);
    assert_eq!(linked(&here), Some(block(1)));
    check(&here);
    here.push(2, &mut chain);
    check(&here);
    // When nothing has the link any more, the block goes.
    here.edit(2, ops([("/file", None)]));
    assert_eq!(linked(&here), Some(block(1)), "the head has it");
    here.push(2, &mut chain);
    assert_eq!(linked(&here), Some(block(1)), "the chain may take it back");
    here.finish();
    assert_eq!((linked(&here), check(&here)), (None, Digests::new()));
}

/// A file as it was before blocks were counted: all of them in one table, links that are wanted by their CIDs alone.
#[test]
fn a_file_of_the_first_layout_is_brought_up_to_date() {
    let home = Home::new();
    let mut chain = Chain::with_entries(30);
    home.edit(2, Ops::new([("/file".to_owned(), Some(link(2))), ("/absent".to_owned(), Some(link(5)))]).unwrap());
    home.put_block(&block(1));
    home.push(2, &mut chain);
    home.edit(2, Ops::new([("/other".to_owned(), Some(link(8)))]).unwrap());
    home.put_block(&block(4));
    let (told, root, evidence) = (home.told(), home.root(), home.replica.read(|kept| kept.evidence()).unwrap());
    home.replica
        .write(|kept| {
            for table in [NODES, BLOCKS] {
                for (digest, block) in kept.below(table, &[])? {
                    kept.put(BLOCKS, &digest, &block)?;
                }
            }
            kept.put(BLOCKS, &evidence.1.unwrap().0, &chain.signed)?;
            kept.put(BLOCKS, &NativeHasher::sha2_256(b"left over"), b"left over")?;
            for table in [NODES, LINKS, WANTED] {
                kept.clear(table, &[])?;
            }
            kept.put(WANTED, &links(&link(5))[0].to_bytes(), &[])?;
            kept.del(crate::space::store::META, b"signed")?;
            kept.del(crate::space::store::META, b"layout")
        })
        .unwrap();
    // Reading is enough.
    assert_eq!((home.told(), home.root()), (told, root));
    let here: Digests = [block(1), block(4)].iter().map(|block| NativeHasher::sha2_256(block).to_vec()).collect();
    assert_eq!(check(&home), here);
    assert_eq!(home.replica.read(|kept| kept.wanted(0, 0)).unwrap(), links(&link(5)));
    let signed = home.replica.read(|kept| kept.block(&evidence.1.unwrap().to_cid())).unwrap();
    assert_eq!(signed, Some(chain.signed.clone()));
}
