//! Transactions: over cells that quarrel on purpose, over threads, and over a bucket's entries.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "several threads are what is tested")]

use std::cell::{Cell as Count, RefCell};
use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::Duration;

use bucket_core::abi::{CarParams, CreateParams, Message};
use bucket_core::bucket::Mode;
use bucket_core::cid::{CarId, Cid, DAG_CBOR, Hasher, NativeHasher, block_cid};
use bucket_core::dag_cbor::{self, Ipld};
use bucket_core::did::BucketId;
use bucket_core::effect::{Effect, Job};
use bucket_core::error::{Abort, Error, Failure};
use bucket_core::limits::{CELL_BYTES_MAX, EFFECT_NODES_MAX, OUTBOX_ITEMS_MAX, TRIES_MAX};
use bucket_core::memory::Memory;
use bucket_core::protocol::{Call, Cx, Protocol, Protocols, Weight};
use bucket_core::receipt::Receipt;
use bucket_core::stm::{Cell, Cells, Item, Key, Path, Shared, Swap, Update, transact};
use bucket_core::task::Task;

fn path(number: u8) -> Path {
    Path { bucket: "did:key:zCells".parse().unwrap(), link: CarId([number; 32]) }
}

fn effect(cmd: &str) -> Effect {
    Job::new(cmd, []).into()
}

fn key(attempt: u64, number: u64) -> Key {
    Key { attempt, number }
}

fn count(state: Option<&Ipld>) -> i128 {
    match state {
        Some(Ipld::Integer(n)) => *n,
        None => 0,
        other => panic!("expected a count, got {other:?}"),
    }
}

/// Counts one more, with an effect that says which.
fn one_more(state: Option<&Ipld>) -> Result<Update<i128>, Error> {
    let n = count(state) + 1;
    let effects = vec![(key(n as u64, 0), Job::new("/tell", [("n", Ipld::Integer(n))]).into())];
    // The effect before this one is answered.
    let settled = vec![key(n as u64 - 1, 0)];
    Ok(Update { state: Some(Ipld::Integer(n)), effects, settled, out: n })
}

/// Cells that note what is done with them, let others come first, and fail, all as they are told.
#[derive(Default)]
struct Cellar {
    cells: BTreeMap<Path, Vec<u8>>,
    /// How many swaps somebody else still comes before, and where that one changes something.
    others: (u32, Option<Path>),
    broken: Option<&'static str>,
    loads: Count<u32>,
    swaps: u32,
}

impl Cellar {
    fn broken(&self, place: &'static str) -> Result<(), Error> {
        if self.broken == Some(place) { Err(Abort::State(format!("{place}: disk on fire")).into()) } else { Ok(()) }
    }

    fn cell(&self, path: &Path) -> Cell {
        Cell::decode(&self.cells[path], path).unwrap()
    }
}

impl Cells for Cellar {
    fn sha2_256(&self, bytes: &[u8]) -> [u8; 32] {
        NativeHasher::sha2_256(bytes)
    }

    fn load(&self, path: &Path) -> Result<Option<Vec<u8>>, Error> {
        self.loads.set(self.loads.get() + 1);
        self.broken("load")?;
        Ok(self.cells.get(path).cloned())
    }

    fn swap(&mut self, path: &Path, seen: Option<Cid>, next: Vec<u8>) -> Result<Swap, Error> {
        self.swaps += 1;
        self.broken("swap")?;
        if let (1.., Some(where_)) = &self.others {
            let before = self.cells.get(where_).map(|bytes| Cell::decode(bytes, where_).unwrap());
            let n = count(before.as_ref().map(|cell| &cell.state)) + 100;
            let theirs = Cell { state: Ipld::Integer(n), outbox: vec![] };
            self.cells.insert(where_.clone(), theirs.encode().unwrap());
            self.others.0 -= 1;
        }
        let version = self.cells.get(path).map(|bytes| block_cid::<NativeHasher>(DAG_CBOR, bytes));
        if version != seen {
            return Ok(Swap::Conflict);
        }
        self.cells.insert(path.clone(), next);
        Ok(Swap::Swapped)
    }
}

/// Defects a and b of the slides: success ends it, and the effects are in the bytes that are swapped in.
#[test]
fn a_change_and_its_effects_are_one_write() {
    let mut cells = Cellar::default();
    let done = transact(&mut cells, &path(1), 7, one_more).unwrap();
    assert_eq!((done.out, done.tries, done.before, cells.swaps), (1, 1, None, 1));
    let outbox = vec![Item { key: key(1, 0), since: 7, effect: Job::new("/tell", [("n", Ipld::Integer(1))]).into() }];
    let cell = Cell { state: Ipld::Integer(1), outbox };
    assert_eq!(done.after.as_ref(), Some(&cell));
    assert_eq!(cells.cell(&path(1)), cell);
    let json = serde_json::to_string(&dag_cbor::decode(&cells.cells[&path(1)]).unwrap()).unwrap();
    assert_eq!(json, r#"[1,[[1,0,7,{"/tell":{"n":1}}]]]"#);

    let done = transact(&mut cells, &path(1), 9, one_more).unwrap();
    assert_eq!((done.out, done.before), (2, Some(cell)), "what is settled is out, what is new is in");
    let keys: Vec<_> = cells.cell(&path(1)).outbox.iter().map(|item| (item.key, item.since)).collect();
    assert_eq!(keys, [(key(2, 0), 9)]);
}

#[test]
fn a_conflict_means_once_more_from_the_start() {
    for others in [0, 1, 7, TRIES_MAX - 1] {
        let mut cells = Cellar { others: (others, Some(path(1))), ..Cellar::default() };
        let seen = RefCell::new(vec![]);
        let update = |state: Option<&Ipld>| {
            seen.borrow_mut().push(count(state));
            one_more(state)
        };
        let done = transact(&mut cells, &path(1), 0, update).unwrap();
        let n = i128::from(others) * 100;
        assert_eq!((done.out, done.tries), (n + 1, others + 1));
        assert_eq!(*seen.borrow(), (0..=i128::from(others)).map(|k| k * 100).collect::<Vec<_>>());
        let keys: Vec<_> = cells.cell(&path(1)).outbox.iter().map(|item| item.key).collect();
        assert_eq!(keys, [key(n as u64 + 1, 0)], "effects of tries that lost are nowhere");
    }
}

#[test]
fn it_ends_when_others_are_always_quicker() {
    let mut cells = Cellar { others: (u32::MAX, Some(path(1))), ..Cellar::default() };
    let runs = Count::new(0);
    let update = |state: Option<&Ipld>| {
        runs.set(runs.get() + 1);
        one_more(state)
    };
    let Err(Error::Failure(failure)) = transact(&mut cells, &path(1), 0, update) else { panic!("a failure") };
    assert_eq!((failure.name.as_str(), runs.get(), cells.swaps), ("Contended", TRIES_MAX, TRIES_MAX));
    assert!(cells.cell(&path(1)).outbox.is_empty());
}

/// Defect a: every other error ends it at once.
#[test]
fn other_errors_are_told_at_once() {
    for (place, loads, swaps) in [("load", 1, 0), ("swap", 1, 1)] {
        let mut cells = Cellar { broken: Some(place), ..Cellar::default() };
        let error = transact(&mut cells, &path(1), 0, one_more).unwrap_err();
        assert_eq!(error, Abort::State(format!("{place}: disk on fire")).into());
        assert_eq!((cells.loads.get(), cells.swaps), (loads, swaps));
    }
    let mut cells = Cellar { others: (1, Some(path(1))), ..Cellar::default() };
    let no = || Failure::new("No", "expected yes, got no");
    let second = |state: Option<&Ipld>| if count(state) > 0 { Err(no().into()) } else { one_more(state) };
    assert_eq!(transact(&mut cells, &path(1), 0, second).unwrap_err(), no().into(), "also of a later try");
    assert_eq!((cells.loads.get(), cells.swaps), (2, 1));
}

#[test]
fn other_paths_are_no_conflict() {
    let mut cells = Cellar { others: (1, Some(path(2))), ..Cellar::default() };
    assert_eq!(transact(&mut cells, &path(1), 0, one_more).unwrap().tries, 1);
    assert_eq!(cells.cells.len(), 2);
    let elsewhere = Path { bucket: "did:key:zOther".parse().unwrap(), ..path(1) };
    let mut cells = Cellar { others: (1, Some(elsewhere)), ..Cellar::default() };
    assert_eq!(transact(&mut cells, &path(1), 0, one_more).unwrap().tries, 1);
}

#[test]
fn what_changes_nothing_is_not_written() {
    let mut cells = Cellar::default();
    let same = |state: Option<&Ipld>| Ok(Update::same(count(state)));
    assert_eq!(transact(&mut cells, &path(1), 0, same).unwrap().after, None);
    transact(&mut cells, &path(1), 0, one_more).unwrap();
    let swaps = cells.swaps;
    assert_eq!(transact(&mut cells, &path(1), 0, same).unwrap().out, 1);
    let put = |state: Option<&Ipld>| Ok(Update { state: state.cloned(), ..Update::same(()) });
    transact(&mut cells, &path(1), 0, put).unwrap();
    let settled = |_: Option<&Ipld>| Ok(Update { settled: vec![key(9, 9)], ..Update::same(()) });
    transact(&mut cells, &path(1), 0, settled).unwrap();
    assert_eq!(cells.swaps, swaps);
}

#[test]
fn an_entry_and_its_effects_are_bounded() {
    let with = |state: Ipld, effects: Vec<(Key, Effect)>| {
        move |_: Option<&Ipld>| {
            Ok(Update { state: Some(state.clone()), effects: effects.clone(), settled: vec![], out: () })
        }
    };
    let many = |count: usize| (0..count as u64).map(|number| (key(1, number), effect("/a"))).collect::<Vec<_>>();
    let mut cells = Cellar::default();
    let mut failure = |update| match transact(&mut cells, &path(1), 0, update) {
        Ok(_) => "none".to_owned(),
        Err(Error::Failure(failure)) => failure.name,
        Err(Error::Abort(abort)) => abort.to_string(),
    };
    assert_eq!(failure(with(Ipld::Null, many(OUTBOX_ITEMS_MAX + 1))), "OutboxFull");
    let large = Ipld::Bytes(vec![0; CELL_BYTES_MAX]);
    assert_eq!(failure(with(large, vec![])), "CellTooLarge");
    let wide = (0..EFFECT_NODES_MAX / 2).fold(effect("/a"), |wide, _| wide.and(effect("/b")));
    assert_eq!(failure(with(Ipld::Null, vec![(key(1, 0), wide)])), "EffectInvalid");
    assert_eq!(failure(with(Ipld::Null, many(OUTBOX_ITEMS_MAX))), "none");
    assert_eq!(failure(with(Ipld::Null, many(1))), "broken state: effect 1/0 is in the outbox already");
    let nothing = |_: Option<&Ipld>| Ok(Update { effects: vec![(key(1, 0), effect("/a"))], ..Update::same(()) });
    let error = transact(&mut cells, &path(2), 0, nothing).unwrap_err();
    assert_eq!(error.to_string(), "broken state: effects of an entry that has no state");
    assert_eq!(cells.swaps, 1, "nothing of it was written");
}

#[test]
fn a_broken_cell_is_named() {
    let cases = [
        ("80", "expected a list of 2, got one of 0"),
        ("8200", "expected 2 entries, got 1 bytes"),
        ("820000", "expected an outbox, got an integer"),
        ("82008181f6", "expected a list of 4, got one of 1"),
        ("82008184f60000622f61", "expected an integer, got null"),
        ("8200818420000000", "expected an integer of 64 bits, got -1"),
        ("82008184000000f6", "not an effect: expected a job or a combination, got null"),
        ("82008000", "expected the end, got 1 more bytes"),
    ];
    for (bytes, why) in cases {
        let mut cells = Cellar::default();
        cells.cells.insert(path(1), hex::decode(bytes).unwrap());
        let error = transact(&mut cells, &path(1), 0, one_more).unwrap_err().to_string();
        assert!(error.starts_with(&format!("broken state: cell of {} in did:key:zCells: ", path(1).link)), "{error}");
        assert!(error.ends_with(why), "{bytes}: {error}");
    }
}

#[test]
fn threads_lose_nothing() {
    const THREADS: usize = 4;
    const EACH: usize = 300;
    let shared = Shared::default();
    // More tries than a transaction has, in case one thread is unlucky for long.
    let count_up = |path: &Path| {
        loop {
            match transact(&mut &shared, path, 0, one_more) {
                Err(Error::Failure(failure)) if failure.name == "Contended" => std::thread::yield_now(),
                done => return done.unwrap().out,
            }
        }
    };
    let outs: Vec<Vec<(u8, i128)>> = std::thread::scope(|scope| {
        let count_up = &count_up;
        let one = move |number: u8| (number, count_up(&path(number)));
        let run = move |thread: usize| (0..EACH).map(|at| one(((at + thread) % 3) as u8)).collect();
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || run(thread))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for number in 0..3 {
        let mut counts: Vec<_> = outs.iter().flatten().filter(|(at, _)| *at == number).map(|(_, n)| *n).collect();
        counts.sort_unstable();
        assert_eq!(counts, (1..=(THREADS * EACH / 3) as i128).collect::<Vec<_>>(), "each number was given once");
        let cell = Cell::decode(&(&shared).load(&path(number)).unwrap().unwrap(), &path(number)).unwrap();
        assert_eq!((count(Some(&cell.state)), cell.outbox.len()), ((THREADS * EACH / 3) as i128, 1));
    }
}

/// An update that takes its time holds nobody up, on its own path or another.
#[test]
fn the_lock_is_not_held_while_an_update_runs() {
    let shared = Shared::default();
    let (begun, wait) = mpsc::channel();
    let (other, done) = mpsc::channel();
    let shared = &shared;
    std::thread::scope(|scope| {
        let slow = scope.spawn(move || {
            let first = Count::new(true);
            let update = |state: Option<&Ipld>| {
                if first.replace(false) {
                    begun.send(()).unwrap();
                    // Without end, if the lock were held.
                    done.recv_timeout(Duration::from_secs(60)).expect("the others are done meanwhile");
                }
                one_more(state)
            };
            transact(&mut &*shared, &path(1), 0, update).unwrap()
        });
        wait.recv().unwrap();
        let quick = [2, 1].map(|number| transact(&mut &*shared, &path(number), 0, one_more));
        assert_eq!(quick.map(|done| done.unwrap().tries), [1, 1]);
        other.send(()).unwrap();
        let slow = slow.join().unwrap();
        assert_eq!((slow.tries, slow.out), (2, 2), "somebody was quicker on its path");
    });
}

/// A protocol that counts, in cells on chain.
struct Counter;

impl Protocol for Counter {
    fn name(&self) -> &'static str {
        "count"
    }

    fn commands(&self) -> &'static [&'static str] {
        &["/count", "/count/fail", "/count/stale", "/count/elsewhere"]
    }

    fn weight(&self, _: &Task) -> Weight {
        Weight { writes: 1, ..Weight::NONE }
    }

    fn execute(&self, cx: &mut Cx<'_>, call: &Call<'_>) -> Result<Ipld, Error> {
        let here = Path { bucket: cx.bucket().clone(), ..path(1) };
        let now = cx.epoch();
        if call.task.cmd == "/count/elsewhere" {
            return transact(cx, &path(1), now, one_more).map(|done| Ipld::Integer(done.out));
        }
        let done = transact(cx, &here, now, one_more)?;
        assert_eq!(done.tries, 1, "nobody else writes within a message");
        match call.task.cmd.as_str() {
            "/count/fail" => Err(Failure::new("Asked", "expected to fail, did").into()),
            "/count/stale" => {
                let before = done.before.map(|cell| block_cid::<NativeHasher>(DAG_CBOR, &cell.encode().unwrap()));
                let swap = cx.swap(&here, before, vec![])?;
                Ok(Ipld::Bool(swap == Swap::Conflict))
            }
            _ => Ok(Ipld::Integer(done.out)),
        }
    }
}

const COUNTER: Protocols = Protocols(&[(9, &Counter)]);

#[test]
fn a_bucket_s_entries_are_cells() {
    for mode in [Mode::Atomic, Mode::Mutex] {
        let bucket: BucketId = "did:key:zBucket".parse().unwrap();
        let mut memory = Memory::new(COUNTER);
        let create = CreateParams { bucket: bucket.clone(), controllers: vec![], mode, proof: None };
        memory.apply(100, Message::Create(create)).unwrap();
        let params = |cmd: &str, nonce: u8| {
            let task = Task { sub: bucket.clone(), cmd: cmd.into(), args: BTreeMap::new(), nonce: vec![nonce] };
            CarParams { bucket: bucket.clone(), car: task.to_car::<NativeHasher>(), force: false, hook: None }
        };
        let cmds = ["/count", "/count/fail", "/count", "/count/stale", "/count"];
        for (at, cmd) in cmds.iter().enumerate() {
            memory.apply(100, Message::Schedule(params(cmd, at as u8))).unwrap();
        }
        let run = bucket_core::abi::RunParams { bucket: bucket.clone(), max: 10 };
        let ran = memory.apply(100, Message::Run(run)).unwrap().ran;
        let outs = ran.into_iter().map(|ran| Receipt::from_car::<NativeHasher>(ran.receipt_car).unwrap().out);
        let outs: Vec<_> = outs.map(|out| out.map_err(|failure| failure.name)).collect();
        // The third finds the first's count and not the second's, which failed; the fourth's stale swap changes nothing.
        let expected = [
            Ok(Ipld::Integer(1)),
            Err("Asked".to_owned()),
            Ok(Ipld::Integer(2)),
            Ok(Ipld::Bool(true)),
            Ok(Ipld::Integer(4)),
        ];
        assert_eq!(outs, expected);

        let error = memory.apply(100, Message::Invoke(params("/count/elsewhere", 9))).unwrap_err();
        let expected = "broken state: a cell of did:key:zCells was asked for in did:key:zBucket";
        assert_eq!(error.to_string(), expected);
    }
}
