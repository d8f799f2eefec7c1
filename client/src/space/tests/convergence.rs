//! Random histories of several replicas, of which one only carries, and of the chain: whoever syncs with whom, and in what
//! order, all come to the same.

use std::collections::BTreeSet;

use bucket_core::prolly::{self, Tree};
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::space::State;
use crate::space::model::{is_later, merge};
use crate::space::tree::{View, sorted};

/// Authors' keys; the replica behind them has none.
const AUTHORS: [u8; 3] = [2, 3, 4];
const REPLICAS: usize = 5;
const THIRD: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    /// A replica with a key puts or removes.
    Edit { replica: usize, key: u8, value: Option<u8>, clock: u64 },
    /// Two replicas sync.
    Sync(usize, usize),
    /// One gets the head from the chain.
    Pull(usize),
    /// An author pushes its first edits that wait, so many of them.
    Push { replica: usize, count: Index },
}

fn step() -> impl Strategy<Value = Step> {
    let author = 0..AUTHORS.len();
    prop_oneof![
        4 => (author.clone(), 0u8..6, proptest::option::weighted(0.7, 0u8..9), 0u64..50)
            .prop_map(|(replica, key, value, clock)| Step::Edit { replica, key, value, clock }),
        4 => (0..REPLICAS, 0..REPLICAS).prop_map(|(a, b)| Step::Sync(a, b)),
        1 => (0..REPLICAS).prop_map(Step::Pull),
        2 => (author, any::<Index>()).prop_map(|(replica, count)| Step::Push { replica, count }),
    ]
}

/// The chain, and its replicas.
struct World {
    replicas: Vec<State>,
    chain: Head,
    blocks: Blocks,
    /// Edits that the chain includes, in its order.
    included: Vec<Cid>,
    made: BTreeSet<Cid>,
}

impl World {
    fn new() -> Self {
        let chain = Head::empty::<NativeHasher>();
        let replicas = vec![State::new(chain.clone()); REPLICAS];
        let blocks = prolly::empty::<NativeHasher>().nodes.into_iter().collect();
        Self { replicas, chain, blocks, included: vec![], made: BTreeSet::new() }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Edit { replica, key, value, clock } => {
                let author = AUTHORS[replica];
                let (n, time) = self.replicas[replica].next(super::key(author).did().as_str(), clock);
                let ops = ops([(&format!("/{key}")[..], value.map(i128::from))]);
                let made = edit(author, n, time, ops);
                assert!(self.made.insert(made.cid));
                self.replicas[replica].insert(made);
            }
            Step::Sync(a, b) => self.sync(a, b),
            Step::Pull(replica) => self.replicas[replica].advance(&self.chain),
            Step::Push { replica, count } => self.push(replica, count),
        }
    }

    fn sync(&mut self, a: usize, b: usize) {
        let before = [a, b].map(|at| self.replicas[at].clone());
        let (left, right) = (before[0].clone(), before[1].clone());
        self.replicas[a].join(&right);
        self.replicas[b].join(&left);
        assert_eq!(self.replicas[a], self.replicas[b], "both sides end equal");
        for before in before {
            let after = &self.replicas[a];
            assert!(!is_later(&before.head, &after.head), "a head only goes on");
            // What is no longer there is in the head.
            let gone = before.edits().keys().filter(|cid| !after.edits().contains_key(cid));
            assert!({ gone }.all(|cid| self.included.contains(cid)));
        }
    }

    /// As the service does it: from the newest root, an author's edits from the first on.
    fn push(&mut self, replica: usize, count: Index) {
        let state = &mut self.replicas[replica];
        state.advance(&self.chain);
        let author = key(AUTHORS[replica]).did();
        let mut own: Vec<_> = state.edits().values().filter(|edit| edit.author == author).cloned().collect();
        own.sort_by_key(|edit| edit.n);
        let Some(last) = (!own.is_empty()).then(|| count.index(own.len())) else { return };
        own.truncate(last + 1);
        let changes = merge(own.iter().map(|edit| &edit.ops));
        let tree = Tree::<_, NativeHasher>::new(&self.blocks, self.chain.root);
        let written = tree.apply(&sorted(&changes)).unwrap();
        self.blocks.extend(written.nodes);
        self.chain.root = written.root;
        self.chain.seq += 1;
        self.chain.clock.insert(author.to_string(), own[last].n);
        self.included.extend(own.iter().map(|edit| edit.cid));
        self.replicas[replica].advance(&self.chain);
        let waiting = self.replicas[replica].edits();
        assert!(own.iter().all(|edit| !waiting.contains_key(&edit.cid)));
    }

    fn view(&self, replica: usize) -> Cid {
        View::new(&self.replicas[replica], &self.blocks).unwrap().root()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn whoever_syncs_with_whom_all_come_to_the_same(
        steps in proptest::collection::vec(step(), 1..60),
        last in proptest::collection::vec((0..REPLICAS, 0..REPLICAS), 0..8),
        hub in 0..REPLICAS,
        pulled in 0..REPLICAS,
    ) {
        let mut world = World::new();
        steps.into_iter().for_each(|step| world.step(step));
        // One of them hears of the chain's head; then all meet, in some order, twice with the same.
        world.step(Step::Pull(pulled));
        last.into_iter().for_each(|(a, b)| world.sync(a, b));
        for _ in 0..2 {
            (0..REPLICAS).for_each(|other| world.sync(hub, other));
        }
        for replica in 0..REPLICAS {
            prop_assert_eq!(&world.replicas[replica], &world.replicas[0]);
            prop_assert_eq!(world.view(replica), world.view(0));
        }
        let end = &world.replicas[THIRD];
        prop_assert_eq!(&end.head, &world.chain);
        // Each edit is in the head, once, or waits everywhere.
        let included: BTreeSet<_> = world.included.iter().copied().collect();
        prop_assert_eq!(included.len(), world.included.len());
        let waiting: BTreeSet<_> = end.edits().keys().copied().collect();
        prop_assert!(included.is_disjoint(&waiting));
        prop_assert_eq!(&included | &waiting, world.made.clone());
    }

    /// Of any three states that one chain made, also ones that never met.
    #[test]
    fn a_join_is_commutative_associative_and_idempotent(steps in proptest::collection::vec(step(), 1..40), at in any::<[Index; 3]>()) {
        let mut world = World::new();
        let mut seen = world.replicas.clone();
        for step in steps {
            world.step(step);
            seen.extend(world.replicas.iter().cloned());
        }
        let [a, b, c] = at.map(|at| at.get(&seen).clone());
        let join = |a: &State, b: &State| { let mut a = a.clone(); a.join(b); a };
        prop_assert_eq!(join(&a, &b), join(&b, &a));
        prop_assert_eq!(join(&join(&a, &b), &c), join(&a, &join(&b, &c)));
        prop_assert_eq!(join(&a, &a), a.clone());
        prop_assert_eq!(join(&join(&a, &b), &a), join(&a, &b));
    }
}
