//! Objects in the store: none stays that no entry accounts for, and none goes that one does.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bucket_client::worker::{Observer, Settings};
use bucket_core::dag_cbor::Ipld;
use bucket_protocols::store::{Status, event};
use bucket_tests::cars::id;
use bucket_tests::keys::{chain, ed25519};

use super::{CAPACITY, OWNER, Shop, car, served, service, signed};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn what_comes_after_its_time_and_is_nobodys_is_taken_away() {
    let mut shop = Shop::new();
    let other = served(&mut shop.world, 7, &service());
    shop.upload = Duration::from_secs(1);
    shop.start(Settings::new(CAPACITY));
    let (late, shared) = (car("late", 10), car("shared", 20));
    for car in [&shared, &late] {
        shop.add(car).unwrap();
        shop.good_turn();
        shop.stands(car, Status::Receiving);
    }
    shop.pass(200);
    shop.good_turn();
    std::fs::write(shop.object(&shared), &shared).unwrap();
    shop.add_to(&other, id(&shared), 20).unwrap();
    shop.good_turn();
    assert_eq!(shop.entry_of(&other, &id(&shared)).status, Status::Ok);
    for car in [&shared, &late] {
        shop.stands(car, Status::Expired);
    }
    assert_eq!(shop.used(), 0);

    std::fs::write(shop.object(&late), &late).unwrap();
    let until = Instant::now() + PATIENCE;
    while shop.object(&late).exists() {
        assert!(Instant::now() < until, "{:#?}", shop.notes.lock().unwrap());
        std::thread::sleep(Duration::from_millis(50));
        shop.good_turn();
    }
    assert_eq!(std::fs::read(shop.object(&shared)).unwrap(), shared);
    let told = shop.notes.lock().unwrap().join("\n");
    assert!(told.contains("deleted 10 bytes that no entry accounts for"), "{told}");
    // It can be added anew.
    assert_eq!(shop.add(&late).unwrap().attempt, 2);
    shop.good_turn();
    shop.stands(&late, Status::Receiving);
}

/// Two look at one object together: the second has read it when the first took it away, and the right one was put meanwhile.
struct Race {
    object: PathBuf,
    right: Vec<u8>,
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default)]
struct Seen {
    gets: usize,
    deletes: usize,
}

impl Race {
    /// Waits for something that doesn't come where one looks after the other.
    fn wait(&self, at_most: Duration, comes: impl Fn(&Seen) -> bool) {
        tokio::task::block_in_place(|| {
            let seen = self.seen.lock().unwrap();
            drop(self.changed.wait_timeout_while(seen, at_most, |seen| !comes(seen)).unwrap());
        });
    }
}

/// A race that the worker's observer is a part of.
struct Racing(Arc<Race>);

impl Observer for Racing {
    fn before(&self, _: &'static str) {}

    fn after(&self, step: &'static str) {
        let race = &self.0;
        let mut seen = race.seen.lock().unwrap();
        match step {
            "s3 get" => seen.gets += 1,
            "s3 delete" => {
                seen.deletes += 1;
                if seen.deletes == 1 {
                    std::fs::write(&race.object, &race.right).unwrap();
                }
            }
            _ => return,
        }
        let gets = seen.gets;
        drop(seen);
        race.changed.notify_all();
        match (step, gets) {
            ("s3 get", 1) => race.wait(Duration::from_secs(2), |seen| seen.gets > 1),
            ("s3 get", 2) => race.wait(PATIENCE, |seen| seen.deletes > 0),
            _ => {}
        }
    }
}

#[test]
fn what_is_taken_away_is_what_was_read() {
    let mut shop = Shop::open();
    let other = served(&mut shop.world, 7, &service());
    let right = car("right", 64);
    let (object, seen, changed) = (shop.object(&right), Mutex::default(), Condvar::new());
    std::fs::write(&object, car("wrong", 64)).unwrap();
    let race = Arc::new(Race { object: object.clone(), right: right.clone(), seen, changed });
    shop.worker = shop.worker.take().map(|worker| worker.with_observer(Racing(race.clone())));
    shop.add(&right).unwrap();
    shop.add_to(&other, id(&right), 64).unwrap();
    shop.good_turn();
    assert_eq!(race.seen.lock().unwrap().deletes, 1);
    assert_eq!(std::fs::read(&object).unwrap(), right);
    shop.good_turn();
    shop.stands(&right, Status::Ok);
    assert_eq!(shop.entry_of(&other, &id(&right)).status, Status::Ok);
}

#[test]
fn a_provider_that_comes_back_counts_a_car_once() {
    let mut shop = Shop::open();
    let (big, another) = (car("big", 600), ed25519(98));
    std::fs::write(shop.object(&big), &big).unwrap();
    shop.add(&big).unwrap();
    shop.good_turn();
    shop.stands(&big, Status::Ok);
    shop.worker = None;

    // Another gives room back that it never had, and refuses the CAR.
    let bucket = shop.bucket.clone();
    shop.provide(&another);
    assert_eq!(shop.add(&big).unwrap().attempt, 2);
    let proofs = chain(&[&ed25519(OWNER), &another], "/store");
    let done = BTreeMap::from([("effect".to_owned(), Ipld::Integer(6))]);
    for (number, cmd, args) in [(1, event::DONE, done), (2, event::EXCEED, BTreeMap::new())] {
        let task = event(&bucket, id(&big), number, cmd, args, shop.nonce());
        shop.tell(&bucket, &signed(&another, task, &proofs)).unwrap();
    }
    shop.stands(&big, Status::Exceeds);
    shop.nothing_waits();

    shop.provide(&service());
    assert_eq!(shop.add(&big).unwrap().attempt, 3);
    shop.start(Settings::new(CAPACITY));
    shop.good_turn();
    shop.stands(&big, Status::Ok);
    assert_eq!(shop.used(), 600);
}
