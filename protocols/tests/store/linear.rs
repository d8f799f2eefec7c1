//! Linearizability: threads change a few entries at once, and each entry's history has to be one that a single thread could
//! have had, with the requirements' state machine as what is right (J. Wing, C. Gong, "Testing and Verifying Concurrent
//! Objects", 1993; entries are independent, so each is looked at alone).
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "several threads are what is tested")]

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};

use bucket_core::cid::Cid;
use bucket_core::error::Error;
use bucket_core::stm::{Cell, Cells, Path, Shared, Swap, transact};
use bucket_protocols::store::{Now, Status, state, update};
use proptest::prelude::*;

use crate::kit::{link, real};
use crate::spec::{Event, Model, NotExpired, Spec};

/// What a caller saw: status, attempt and size, or that it was too early.
type Seen = Result<(Status, u64, u64), NotExpired>;

/// One call, with the moments in which it began and ended.
#[derive(Debug, Clone)]
struct Call {
    from: u64,
    to: u64,
    event: Event,
    now: i64,
    seen: Seen,
}

/// Whether calls of one entry could have come one after the other: an order in which no call comes before one that had ended
/// when it began, and in which each saw what the model answers.
fn linearizable(model: &Model, calls: &[Call]) -> Option<Spec> {
    fn search(
        model: &Model,
        calls: &[Call],
        done: &mut Vec<bool>,
        spec: &Spec,
        known: &mut BTreeSet<(Vec<bool>, Spec)>,
    ) -> Option<Spec> {
        let left = || (0..calls.len()).filter(|at| !done[*at]);
        let Some(end) = left().map(|at| calls[at].to).min() else { return Some(spec.clone()) };
        if !known.insert((done.clone(), spec.clone())) {
            return None;
        }
        let first: Vec<usize> = left().filter(|at| calls[*at].from < end).collect();
        first.into_iter().find_map(|at| {
            let (call, mut after) = (&calls[at], spec.clone());
            let seen =
                model.apply(&mut after, call.event, call.now).map(|()| (after.status, after.attempt, after.size));
            if seen != call.seen {
                return None;
            }
            done[at] = true;
            let found = search(model, calls, done, &after, known);
            done[at] = false;
            found
        })
    }
    search(model, calls, &mut vec![false; calls.len()], &Spec::default(), &mut BTreeSet::new())
}

/// Cells of which somebody else may always come between reading and writing.
struct Slow<'a> {
    cells: &'a Shared,
    /// All threads have read before one writes.
    together: Option<&'a Barrier>,
}

impl Cells for Slow<'_> {
    fn sha2_256(&self, bytes: &[u8]) -> [u8; 32] {
        self.cells.sha2_256(bytes)
    }

    fn load(&self, path: &Path) -> Result<Option<Vec<u8>>, Error> {
        let loaded = self.cells.load(path);
        match self.together {
            Some(barrier) => drop(barrier.wait()),
            None => std::thread::yield_now(),
        }
        loaded
    }

    fn swap(&mut self, path: &Path, seen: Option<Cid>, next: Vec<u8>) -> Result<Swap, Error> {
        // Later tries wait for nobody.
        self.together = None;
        self.cells.swap(path, seen, next)
    }
}

fn path(n: u8) -> Path {
    Path { bucket: "did:key:zLinear".parse().unwrap(), link: link(n) }
}

/// A call, and how many tries it took.
fn call(cells: &mut Slow<'_>, clock: &AtomicU64, n: u8, event: Event, now: i64) -> (Call, u32) {
    let from = clock.fetch_add(1, Ordering::SeqCst);
    let at = Now { epoch: now, term: 1 };
    let done = transact(cells, &path(n), now, |cell| update::update(cell, &real(event), at));
    let to = clock.fetch_add(1, Ordering::SeqCst);
    let (seen, tries) = match done {
        Ok(done) => {
            let (attempt, size) = done.out.map_or((0, 0), |state| (state.attempt, state.size));
            (Ok((state::status(done.out.as_ref()), attempt, size)), done.tries)
        }
        Err(Error::Failure(failure)) if failure.name == "NotExpired" => (Err(NotExpired), 1),
        Err(error) => panic!("{error}"),
    };
    (Call { from, to, event, now, seen }, tries)
}

fn cell(shared: &Shared, n: u8) -> Option<Cell> {
    let bytes = { shared }.load(&path(n)).unwrap();
    bytes.map(|bytes| Cell::decode(&bytes, &path(n)).unwrap())
}

fn events() -> impl Strategy<Value = (u8, Event, i64)> {
    let attempt = || 1u64..4;
    let event = prop_oneof![
        4 => (1u64..4).prop_map(Event::Add),
        2 => attempt().prop_map(Event::Exceed),
        3 => attempt().prop_map(Event::Receive),
        3 => attempt().prop_map(Event::Expire),
        2 => attempt().prop_map(Event::Put),
        1 => attempt().prop_map(Event::Done),
    ];
    let now = proptest::sample::select(vec![0i64, 1, 200, 250, 3000, 6000]);
    (0u8..3, event, now)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn threads_see_what_one_could_see(
        scripts in proptest::collection::vec(proptest::collection::vec(events(), 40), 4),
    ) {
        let (shared, clock, model) = (Shared::default(), AtomicU64::new(0), Model::new());
        let calls: Vec<(u8, Call)> = std::thread::scope(|scope| {
            let (shared, clock) = (&shared, &clock);
            let run = |script: Vec<(u8, Event, i64)>| move || {
                let mut cells = Slow { cells: shared, together: None };
                let each = script.into_iter().map(|(n, event, now)| (n, call(&mut cells, clock, n, event, now).0));
                each.collect::<Vec<_>>()
            };
            let threads: Vec<_> = scripts.into_iter().map(|script| scope.spawn(run(script))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        for n in 0..3 {
            let mut calls: Vec<_> = calls.iter().filter(|(at, _)| *at == n).map(|(_, call)| call.clone()).collect();
            // A last look, when all is over: what is kept is what the calls led to.
            calls.push(call(&mut Slow { cells: &shared, together: None }, &clock, n, Event::Done(0), 0).0);
            let spec = linearizable(&model, &calls);
            prop_assert!(spec.is_some(), "no order explains {:#?}", calls);
            let kept = cell(&shared, n);
            let waits = kept.map(|cell| cell.outbox.iter().filter(|item| item.key.number < 6).count());
            let expected = match spec.unwrap().status {
                Status::NotFound => None,
                Status::Active | Status::Receiving => Some(3),
                _ => Some(0),
            };
            prop_assert_eq!(waits, expected);
        }
    }
}

#[test]
fn many_adds_at_once_activate_once() {
    const THREADS: u64 = 8;
    let (shared, clock, barrier) = (Shared::default(), AtomicU64::new(0), Barrier::new(THREADS as usize));
    let calls: Vec<(Call, u32)> = std::thread::scope(|scope| {
        let (shared, clock, barrier) = (&shared, &clock, &barrier);
        let add =
            |size| move || call(&mut Slow { cells: shared, together: Some(barrier) }, clock, 0, Event::Add(size), 5);
        let threads: Vec<_> = (1..=THREADS).map(|size| scope.spawn(add(size))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    // All read that there was nothing; one was first, and the others had to try again.
    let once = calls.iter().filter(|(_, tries)| *tries == 1).count();
    assert_eq!((once, calls.iter().map(|(_, tries)| tries).max()), (1, Some(&2)));
    let winner = calls.iter().find(|(_, tries)| *tries == 1).unwrap().0.clone();
    assert!(calls.iter().all(|(call, _)| call.seen == winner.seen), "all see the winner's entry");
    let keys: Vec<_> =
        cell(&shared, 0).unwrap().outbox.iter().map(|item| (item.key.attempt, item.key.number)).collect();
    assert_eq!(keys, [(1, 0), (1, 1), (1, 2)], "one activation's effects");
    let calls: Vec<_> = calls.into_iter().map(|(call, _)| call).collect();
    assert_eq!(linearizable(&Model::new(), &calls).unwrap().attempt, 1);
}

/// The check can say no.
#[test]
fn impossible_histories_are_seen() {
    let call = |from, to, event, seen| Call { from, to, event, now: 0, seen: Ok(seen) };
    let (active, stored) = ((Status::Active, 1, 10), (Status::Ok, 1, 10));
    let model = Model::new();
    let possible = |calls: &[Call]| linearizable(&model, calls).is_some();

    let in_turn = [call(0, 1, Event::Add(10), active), call(2, 3, Event::Put(1), stored)];
    assert!(possible(&in_turn));
    // The same the wrong way round in time.
    let early = [call(2, 3, Event::Add(10), active), call(0, 1, Event::Put(1), stored)];
    assert!(!possible(&early));
    // At the same time it could have been.
    let at_once = [call(0, 3, Event::Add(10), active), call(1, 2, Event::Put(1), stored)];
    assert!(possible(&at_once));
    // A lost update: stored, and then active again.
    let lost = [in_turn[0].clone(), in_turn[1].clone(), call(4, 5, Event::Add(10), active)];
    assert!(!possible(&lost));
    // Two activations of which each takes itself for the first.
    let twice = [call(0, 3, Event::Add(10), active), call(1, 2, Event::Add(20), (Status::Active, 1, 20))];
    assert!(!possible(&twice));
}
