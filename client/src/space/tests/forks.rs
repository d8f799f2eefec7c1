//! The chain takes heads back: whatever a fork leaves out waits again where it was made, and nothing is lost.

use std::collections::BTreeSet;

use bucket_core::cid::CarId;
use proptest::prelude::*;
use proptest::sample::Index;
use tokio::runtime::Runtime;

use super::world::{Chain, Home};
use super::*;
use crate::space::kept::{Fate, Holds as _, Push};
use crate::space::model::is_later;
use crate::space::settle::{News, news};
use crate::space::sync::sync;

const AUTHORS: usize = 2;

#[derive(Debug, Clone)]
enum Step {
    Edit {
        by: usize,
        key: u8,
        value: Option<u8>,
    },
    Sync(usize, usize),
    Push(usize),
    Pull(usize),
    /// The chain takes some of its newest pushes back; so many by somebody else come instead.
    Fork {
        depth: Index,
        others: u8,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let (home, author) = (0..AUTHORS + 1, 0..AUTHORS);
    prop_oneof![
        5 => (author.clone(), 0u8..4, proptest::option::weighted(0.7, 0u8..9))
            .prop_map(|(by, key, value)| Step::Edit { by, key, value }),
        2 => (home.clone(), home.clone()).prop_map(|(a, b)| Step::Sync(a, b)),
        3 => author.prop_map(Step::Push),
        2 => home.prop_map(Step::Pull),
        2 => (any::<Index>(), 1u8..4).prop_map(|(depth, others)| Step::Fork { depth, others }),
    ]
}

/// A moment of the chain.
#[derive(Clone)]
struct Moment {
    head: Head,
    signed: Vec<u8>,
    included: BTreeSet<Cid>,
    ran: BTreeSet<CarId>,
}

struct World {
    homes: [Home; AUTHORS + 1],
    chain: Chain,
    /// From the first on; the last is now.
    moments: Vec<Moment>,
    made: BTreeSet<Cid>,
    forks: u64,
}

impl World {
    fn new() -> Self {
        let chain = Chain::with_entries(30);
        let first =
            Moment { head: chain.head.clone(), signed: chain.signed.clone(), included: [].into(), ran: [].into() };
        let homes = [Home::new(), Home::new(), Home::new()];
        Self { homes, chain, moments: vec![first], made: [].into(), forks: 0 }
    }

    fn now(&self) -> &Moment {
        self.moments.last().expect("the first one stays")
    }

    /// As `pull` does it: to the chain's head, then what became of pushes.
    fn pull(&self, at: usize) {
        let home = &self.homes[at];
        match is_later(&home.told().head, &self.chain.head) {
            true => home.go(&self.chain),
            false => drop(home.pull(&self.chain).unwrap()),
        }
        for (car, push) in home.replica.read(|kept| kept.pushes()).unwrap() {
            let done = self.now().ran.contains(&car).then_some(true);
            home.replica
                .write(|kept| match news(&push, done, &self.chain.head, 1) {
                    News::Is(fate) => kept.put_push(&car, &Push { fate, ..push }),
                    News::Failed => kept.del_push(&car),
                    News::Final => kept.finish_push(&car),
                })
                .unwrap();
        }
    }

    fn push(&mut self, by: usize) {
        self.pull(by);
        let author = by as u8 + 2;
        let waiting = self.homes[by].waiting(author);
        if waiting.is_empty() {
            return;
        }
        let car = self.homes[by].push(author, &mut self.chain);
        let mut moment = self.now().clone();
        moment.included.extend(waiting.iter().map(|edit| edit.cid));
        moment.ran.insert(car);
        self.note(moment);
    }

    fn note(&mut self, moment: Moment) {
        self.moments.push(Moment { head: self.chain.head.clone(), signed: self.chain.signed.clone(), ..moment });
    }

    fn step(&mut self, runtime: &Runtime, step: Step) {
        match step {
            Step::Edit { by, key, value } => {
                let ops = ops([(&format!("/{key}")[..], value.map(i128::from))]);
                self.made.insert(self.homes[by].edit(by as u8 + 2, ops).cid);
            }
            Step::Sync(a, b) if a != b => runtime.block_on(async {
                let synced = sync(&self.homes[a].replica, &self.homes[b].serve().await).await.unwrap();
                assert!(synced.equal && self.homes[a].root() == self.homes[b].root());
            }),
            Step::Sync(..) => {}
            Step::Push(by) => self.push(by),
            Step::Pull(at) => self.pull(at),
            Step::Fork { depth, others } => {
                self.moments.truncate(1 + depth.index(self.moments.len()));
                (self.chain.head, self.chain.signed) = (self.now().head.clone(), self.now().signed.clone());
                for _ in 0..others {
                    self.forks += 1;
                    let change = [("/fork".to_owned(), Some(Ipld::Integer(self.forks.into())))];
                    self.chain.push(&change.into(), 9, self.forks + 1);
                    self.note(self.now().clone());
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_chain_takes_back_all_edits_come_to_it(steps in proptest::collection::vec(step(), 1..24)) {
        let runtime = Runtime::new().unwrap();
        let mut world = World::new();
        for step in steps {
            world.step(&runtime, step);
            for (home, author) in world.homes.iter().zip([2, 3]) {
                // Each own edit waits or is in the head here, and nothing is made anew.
                let (head, own) = home.replica.read(|kept| Ok((kept.head()?, kept.own()?))).unwrap();
                let here = own.iter().filter(|edit| crate::space::model::includes(&head, edit)).count();
                prop_assert_eq!(here + home.waiting(author).len(), own.len());
                prop_assert_eq!(home.replica.read(|kept| kept.stranded()).unwrap(), []);
            }
        }
        (0..AUTHORS).for_each(|by| world.push(by));
        (0..AUTHORS + 1).for_each(|at| world.pull(at));
        prop_assert_eq!(&world.now().included, &world.made);
        for home in &world.homes {
            let told = home.told();
            prop_assert_eq!((&told.head, told.edits.len(), home.root()), (&world.chain.head, 0, world.chain.head.root));
        }
    }
}

#[test]
fn an_edit_that_a_fork_leaves_out_waits_again_with_its_block() {
    let home = Home::new();
    let mut chain = Chain::with_entries(30);
    home.pull(&chain).unwrap();
    let (before, signed) = (chain.head.clone(), chain.signed.clone());
    let block = b"a file".to_vec();
    let link = Ipld::Link(block_cid::<NativeHasher>(bucket_core::cid::RAW, &block));
    let made = home.edit(2, Ops::new([("/file".to_owned(), Some(link))]).unwrap());
    home.put_block(&block);
    let car = home.push(2, &mut chain);
    let push = |home: &Home| home.replica.read(|kept| Ok(kept.pushes()?[&car].clone())).unwrap();
    assert_eq!((home.told().edits, push(&home).fate), ([].into(), Fate::Landed(1)));
    // A later head, so that nobody sees that another was taken back.
    (chain.head, chain.signed) = (before, signed);
    (2..4).for_each(|n| chain.push(&[("/x".to_owned(), Some(Ipld::Integer(n.into())))].into(), 9, n));
    assert!(home.pull(&chain).unwrap());
    assert_eq!((home.told().edits, push(&home).fate), ([made.cid].into(), Fate::TakenBack(1)));
    let view = home.replica.read(|kept| kept.view()?.get("/x")).unwrap();
    assert_eq!(view, Some(Ipld::Integer(3)));
    // Numbers and times go on.
    assert_eq!(home.edit(2, ops([("/more", Some(1))])).n, 2);
    home.push(2, &mut chain);
    let kept =
        |home: &Home| home.replica.read(|kept| kept.block(&block_cid::<NativeHasher>(bucket_core::cid::RAW, &block)));
    assert_eq!((home.told().edits.len(), kept(&home).unwrap()), (0, Some(block.clone())));
}

#[test]
fn what_becomes_of_a_push() {
    let at = |seq| head(seq, []);
    let push = |fate| Push { fate, ..Push::new(at(1).root, vec![]) };
    let news = |fate, done, seq, epoch| news(&push(fate), done, &at(seq), epoch);
    let (landed, back) = (Fate::Landed(5), Fate::TakenBack(5));
    // It may come as long as its base is the root.
    assert_eq!(news(Fate::Unknown, None, 1, 7), News::Is(Fate::Unknown));
    assert_eq!(news(Fate::Unknown, None, 2, 7), News::Failed);
    assert_eq!(news(Fate::Unknown, Some(true), 2, 7), News::Is(Fate::Landed(7)));
    for fate in [Fate::Unknown, landed, back] {
        assert_eq!(news(fate, Some(false), 1, 7), News::Failed);
    }
    // It is final 900 epochs later, if it still is there.
    assert_eq!(news(landed, Some(true), 2, 904), News::Is(landed));
    assert_eq!(news(landed, Some(true), 2, 905), News::Final);
    assert_eq!(news(landed, None, 2, 905), News::Is(back));
    // One that was taken back may come again, after others.
    assert_eq!(news(back, None, 2, 904), News::Is(back));
    assert_eq!(news(back, None, 2, 905), News::Failed);
    assert_eq!(news(back, Some(true), 2, 905), News::Is(Fate::Landed(905)));
}
