use super::*;

fn attempt(bucket: u8, link: u8, number: u64) -> Attempt {
    let bucket = format!("did:key:z{bucket}").parse().unwrap();
    Attempt { bucket, link: CarId([link; 32]), number }
}

fn claim(size: u64) -> Claim {
    Claim { size, since: 7 }
}

fn opened() -> (tempfile::TempDir, Ledger) {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    (dir, ledger)
}

#[test]
fn an_attempt_is_allocated_once_and_freed_once() {
    let (_dir, ledger) = opened();
    let at = attempt(1, 1, 1);
    assert_eq!(ledger.allocate(&at, claim(60), Capacity::each(100)).unwrap(), Allocation::Allocated(60));
    assert_eq!(ledger.allocate(&at, claim(60), Capacity::each(100)).unwrap(), Allocation::Allocated(0));
    assert_eq!(ledger.used(&at.bucket).unwrap(), 60);
    assert_eq!(ledger.free(&at).unwrap(), 60);
    assert_eq!(ledger.free(&at).unwrap(), 0);
    assert_eq!(ledger.used(&at.bucket).unwrap(), 0);
    assert_eq!(ledger.allocate(&at, claim(60), Capacity::each(100)).unwrap(), Allocation::Freed);
    // The next attempt is another one.
    assert_eq!(
        ledger.allocate(&Attempt { number: 2, ..at }, claim(60), Capacity::each(100)).unwrap(),
        Allocation::Allocated(60)
    );
}

#[test]
fn what_was_denied_stays_denied() {
    let (_dir, ledger) = opened();
    let (first, second) = (attempt(1, 1, 1), attempt(1, 2, 1));
    ledger.allocate(&first, claim(60), Capacity::each(100)).unwrap();
    let exceeded = |used| Allocation::Exceeded { used, capacity: 100 };
    assert_eq!(ledger.allocate(&second, claim(41), Capacity::each(100)).unwrap(), exceeded(60));
    ledger.free(&first).unwrap();
    // There is room now, but somebody may have been told that there was none.
    assert_eq!(ledger.allocate(&second, claim(41), Capacity::each(100)).unwrap(), exceeded(0));
    assert_eq!(
        ledger.allocate(&attempt(1, 2, 2), claim(100), Capacity::each(100)).unwrap(),
        Allocation::Allocated(100)
    );
    // Another bucket has its own.
    assert_eq!(
        ledger.allocate(&attempt(2, 1, 1), claim(100), Capacity::each(100)).unwrap(),
        Allocation::Allocated(100)
    );
    assert_eq!(
        ledger.allocate(&attempt(2, 2, 1), claim(u64::MAX), Capacity::each(u64::MAX)).unwrap(),
        Allocation::Exceeded { used: 100, capacity: u64::MAX }
    );
}

#[test]
fn all_buckets_share_the_total() {
    let (dir, ledger) = opened();
    let capacity = Capacity { each: 60, total: 100 };
    let exceeded = |used, capacity| Allocation::Exceeded { used, capacity };
    let (first, second) = (attempt(1, 1, 1), attempt(2, 1, 1));
    assert_eq!(ledger.allocate(&first, claim(60), capacity).unwrap(), Allocation::Allocated(60));
    assert_eq!(ledger.allocate(&attempt(1, 2, 1), claim(1), capacity).unwrap(), exceeded(60, 60));
    assert_eq!(ledger.allocate(&second, claim(41), capacity).unwrap(), exceeded(60, 100));
    assert_eq!(ledger.allocate(&attempt(2, 1, 2), claim(40), capacity).unwrap(), Allocation::Allocated(40));
    // What an attempt has already counts once.
    assert_eq!(ledger.keep(&first, claim(59), capacity).unwrap(), Allocation::Allocated(0));
    drop(ledger);
    let ledger = Ledger::open(dir.path()).unwrap();
    assert_eq!(ledger.allocate(&attempt(3, 1, 1), claim(2), capacity).unwrap(), exceeded(99, 100));
    ledger.free(&first).unwrap();
    assert_eq!(ledger.allocate(&attempt(3, 1, 2), claim(60), capacity).unwrap(), Allocation::Allocated(60));
}

#[test]
fn an_attempt_that_comes_with_another_size_has_that_one() {
    let (_dir, ledger) = opened();
    let at = attempt(1, 1, 1);
    ledger.allocate(&at, claim(10), Capacity::each(100)).unwrap();
    assert_eq!(ledger.allocate(&at, claim(70), Capacity::each(100)).unwrap(), Allocation::Allocated(60));
    assert_eq!(ledger.used(&at.bucket).unwrap(), 70);
    assert_eq!(ledger.allocate(&at, claim(30), Capacity::each(100)).unwrap(), Allocation::Allocated(0));
    assert_eq!(ledger.used(&at.bucket).unwrap(), 30);
    assert_eq!(
        ledger.allocate(&at, claim(101), Capacity::each(100)).unwrap(),
        Allocation::Exceeded { used: 0, capacity: 100 }
    );
    assert_eq!(ledger.used(&at.bucket).unwrap(), 0);
    assert_eq!(ledger.free(&at).unwrap(), 0);
    // It was that size for which there was no room.
    assert_eq!(ledger.allocate(&at, claim(100), Capacity::each(100)).unwrap(), Allocation::Allocated(100));
}

#[test]
fn an_attempt_that_begins_in_another_history_is_judged_anew() {
    let (_dir, ledger) = opened();
    let (at, other) = (attempt(1, 1, 1), attempt(1, 2, 1));
    let later = Claim { since: 8, ..claim(60) };
    ledger.allocate(&other, claim(60), Capacity::each(100)).unwrap();
    ledger.allocate(&at, claim(60), Capacity::each(100)).unwrap();
    assert_eq!(
        ledger.allocate(&at, later, Capacity::each(100)).unwrap(),
        Allocation::Exceeded { used: 60, capacity: 100 }
    );
    ledger.free(&other).unwrap();
    // Denied in the one history, and in the other.
    for since in [7, 9] {
        assert_eq!(
            ledger.allocate(&at, Claim { since, ..later }, Capacity::each(100)).unwrap(),
            Allocation::Allocated(60),
            "{since}"
        );
        assert_eq!(ledger.free(&at).unwrap(), 60);
    }
    // Freed, and the chain took back what ended it.
    assert_eq!(ledger.keep(&at, later, Capacity::each(100)).unwrap(), Allocation::Allocated(60));
    assert_eq!(ledger.keep(&at, Claim { since: 99, ..later }, Capacity::each(100)).unwrap(), Allocation::Allocated(0));
    assert_eq!(ledger.used(&at.bucket).unwrap(), 60);
}

#[test]
fn an_attempt_takes_what_earlier_ones_left() {
    let (_dir, ledger) = opened();
    let [first, second, third, fourth] = [1, 2, 3, 4].map(|number| attempt(1, 1, number));
    let (link, bucket) = (attempt(1, 2, 1), attempt(2, 1, 1));
    for other in [&link, &bucket] {
        ledger.allocate(other, claim(40), Capacity::each(100)).unwrap();
    }
    ledger.allocate(&first, claim(60), Capacity::each(100)).unwrap();
    // Another provider's term was between them, in which nobody asked for the first to be freed.
    assert_eq!(ledger.allocate(&third, claim(55), Capacity::each(100)).unwrap(), Allocation::Allocated(55));
    assert_eq!(ledger.standing(&first).unwrap(), Some((Standing::Freed, claim(60))));
    assert_eq!(ledger.used(&first.bucket).unwrap(), 95);
    assert_eq!(ledger.free(&first).unwrap(), 0);
    let denied = ledger.allocate(&fourth, claim(61), Capacity::each(100)).unwrap();
    assert_eq!(denied, Allocation::Exceeded { used: 40, capacity: 100 });
    assert_eq!(ledger.used(&first.bucket).unwrap(), 40);
    // A later one, which a reorganisation took back, is another's matter.
    ledger.keep(&third, claim(55), Capacity::each(100)).unwrap();
    ledger.keep(&second, claim(5), Capacity::each(100)).unwrap();
    assert_eq!(ledger.used(&first.bucket).unwrap(), 100);
    assert_eq!(ledger.used(&bucket.bucket).unwrap(), 40);
}

#[test]
fn an_object_is_left_alone_until_nobody_may_put_it_and_nobody_has_room_for_it() {
    let (_dir, ledger) = opened();
    let (one, other) = (attempt(1, 1, 1), attempt(2, 1, 1));
    let (bucket, link) = (one.bucket.clone(), one.link);
    let url = |until| ledger.remember_url(&bucket, &link, &[9; 32], b"url", until).unwrap();
    let ended = |now| {
        let Ended { unaccounted, others } = ledger.ended(now).unwrap();
        ledger.date(&others, now, now + 50).unwrap();
        assert_eq!(ledger.is_unaccounted(&link, now).unwrap(), !unaccounted.is_empty());
        unaccounted
    };
    assert_eq!(ended(u64::MAX - 50), vec![], "nobody knows of it");
    for at in [&one, &other] {
        ledger.allocate(at, claim(60), Capacity::each(100)).unwrap();
    }
    url(100);
    url(90);
    ledger.free(&one).unwrap();
    ledger.free(&other).unwrap();
    // The last URL counts, and whoever comes back.
    assert_eq!(ended(99), vec![]);
    assert_eq!(ended(100), vec![link]);
    let again = Attempt { number: 2, ..other };
    ledger.allocate(&again, claim(60), Capacity::each(100)).unwrap();
    assert_eq!(ended(101), vec![]);
    assert_eq!(ended(102), vec![]);
    // What is let go without a URL has its time from the next look on.
    ledger.free(&again).unwrap();
    assert_eq!(ended(200), vec![]);
    assert_eq!(ended(249), vec![]);
    assert_eq!(ended(250), vec![link]);
    assert_eq!(ended(251), vec![link], "until it is gone");
    ledger.gone(&link).unwrap();
    assert_eq!(ended(252), vec![]);
}

fn entry(attempt: u64, status: Status, size: u64) -> Option<Entry> {
    let car = Some((CarId([1; 32]), size));
    Some(Entry { status, attempt, car, began: None, until: None, upload: None, put: None, term: None })
}

#[test]
fn what_the_chain_let_go_is_freed() {
    use Standing::{Allocated, Freed};
    let at = attempt(1, 1, 2);
    let early = claim(60).since + FINALITY - 1;
    // The entry, the epoch, how the attempt stands, its size, and whether that is certain.
    let cases = [
        (entry(2, Status::Ok, 60), early, Allocated, 60, true),
        (entry(2, Status::Ok, 61), early, Allocated, 61, true),
        (entry(2, Status::Active, 60), early + 1, Allocated, 60, false),
        (entry(2, Status::Receiving, 60), early + 1, Allocated, 60, false),
        (entry(2, Status::Exceeds, 60), early, Freed, 60, true),
        (entry(2, Status::Expired, 60), early, Freed, 60, true),
        (entry(3, Status::Active, 60), early, Freed, 60, true),
        (entry(1, Status::Ok, 60), early, Allocated, 60, false),
        (entry(1, Status::Ok, 60), early + 1, Freed, 60, true),
        (None, early, Allocated, 60, false),
        (None, early + 1, Freed, 60, true),
    ];
    for (entry, epoch, standing, size, certain) in cases {
        let (_dir, ledger) = opened();
        ledger.allocate(&at, claim(60), Capacity::each(100)).unwrap();
        let other = Attempt { link: CarId([2; 32]), ..at.clone() };
        ledger.allocate(&other, claim(5), Capacity::each(100)).unwrap();
        let entries = BTreeMap::from([(at.link, entry.clone())]);
        let Settled { freed, unsettled } = ledger.settle(&at.bucket, &entries, epoch).unwrap();
        assert_eq!(unsettled.is_empty(), certain, "{entry:?} at {epoch}");
        assert_eq!(ledger.standing(&at).unwrap(), Some((standing, claim(size))), "{entry:?} at {epoch}");
        let left = if standing == Allocated { size } else { 0 };
        assert_eq!(ledger.used(&at.bucket).unwrap(), 5 + left);
        assert_eq!(freed, if standing == Freed { vec![(at.clone(), 60)] } else { vec![] });
        assert_eq!(ledger.settle(&at.bucket, &entries, epoch).unwrap().freed, vec![]);
    }
}

#[test]
fn one_process_has_it() {
    let (dir, ledger) = opened();
    let refused = Ledger::open(dir.path()).err().expect("refused");
    assert!(refused.to_string().contains("another worker has it"), "{refused}");
    drop(ledger);
    Ledger::open(dir.path()).unwrap();
}

#[test]
fn tasks_are_remembered_until_their_entry_is_done() {
    let (_dir, ledger) = opened();
    let [a, b] = [1, 2].map(|bucket| attempt(bucket, 0, 1).bucket);
    for bucket in [&a, &b] {
        for link in [1, 2] {
            ledger.remember(bucket, &CarId([link; 32]), &[9; 32], &[link]).unwrap();
        }
    }
    ledger.remember(&a, &CarId([2; 32]), &[9; 32], b"again").unwrap();
    ledger.forget(&a, &BTreeSet::from([CarId([2; 32])])).unwrap();
    assert_eq!(ledger.recall(&a, &CarId([1; 32]), &[9; 32]).unwrap(), None);
    assert_eq!(ledger.recall(&a, &CarId([2; 32]), &[9; 32]).unwrap(), Some(b"again".to_vec()));
    assert_eq!(ledger.recall(&a, &CarId([2; 32]), &[8; 32]).unwrap(), None);
    assert_eq!(ledger.recall(&b, &CarId([1; 32]), &[9; 32]).unwrap(), Some(vec![1]));
}
