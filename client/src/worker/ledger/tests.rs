use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn attempt(bucket: u8, link: u8, number: u64) -> Attempt {
    let bucket = format!("did:key:z{bucket}").parse().unwrap();
    Attempt { bucket, link: CarId([link; 32]), number }
}

fn opened() -> (tempfile::TempDir, Ledger) {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    (dir, ledger)
}

#[test]
fn an_attempt_that_comes_with_another_size_has_that_one() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, at) = (Ledger::open(dir.path()).unwrap(), attempt(1, 1, 1));
    ledger.allocate(&at, 10, 100).unwrap();
    assert_eq!(ledger.allocate(&at, 70, 100).unwrap(), Allocation::Allocated(60));
    assert_eq!(ledger.used(&at.bucket).unwrap(), 70);
    assert_eq!(ledger.allocate(&at, 30, 100).unwrap(), Allocation::Allocated(0));
    assert_eq!(ledger.used(&at.bucket).unwrap(), 30);
    assert_eq!(ledger.allocate(&at, 101, 100).unwrap(), Allocation::Exceeded { used: 0, capacity: 100 });
    assert_eq!(ledger.used(&at.bucket).unwrap(), 0);
    assert_eq!(ledger.free(&at).unwrap(), 0);
}

#[test]
fn an_attempt_is_allocated_once_and_freed_once() {
    let (_dir, ledger) = opened();
    let at = attempt(1, 1, 1);
    assert_eq!(ledger.allocate(&at, 60, 100).unwrap(), Allocation::Allocated(60));
    assert_eq!(ledger.allocate(&at, 60, 100).unwrap(), Allocation::Allocated(0));
    assert_eq!(ledger.used(&at.bucket).unwrap(), 60);
    assert_eq!(ledger.free(&at).unwrap(), 60);
    assert_eq!(ledger.free(&at).unwrap(), 0);
    assert_eq!(ledger.used(&at.bucket).unwrap(), 0);
    assert_eq!(ledger.allocate(&at, 60, 100).unwrap(), Allocation::Freed);
    // The next attempt is another one.
    assert_eq!(ledger.allocate(&Attempt { number: 2, ..at }, 60, 100).unwrap(), Allocation::Allocated(60));
}

#[test]
fn what_was_denied_stays_denied() {
    let (_dir, ledger) = opened();
    let (first, second) = (attempt(1, 1, 1), attempt(1, 2, 1));
    ledger.allocate(&first, 60, 100).unwrap();
    let exceeded = Allocation::Exceeded { used: 60, capacity: 100 };
    assert_eq!(ledger.allocate(&second, 41, 100).unwrap(), exceeded);
    ledger.free(&first).unwrap();
    // There is room now, but somebody may have been told that there was none.
    assert_eq!(ledger.allocate(&second, 41, 100).unwrap(), Allocation::Exceeded { used: 0, capacity: 100 });
    assert_eq!(ledger.allocate(&attempt(1, 2, 2), 100, 100).unwrap(), Allocation::Allocated(100));
    // Another bucket has its own.
    assert_eq!(ledger.allocate(&attempt(2, 1, 1), 100, 100).unwrap(), Allocation::Allocated(100));
    assert_eq!(
        ledger.allocate(&attempt(2, 2, 1), u64::MAX, u64::MAX).unwrap(),
        Allocation::Exceeded { used: 100, capacity: u64::MAX }
    );
}

#[test]
fn who_allocates_after_freeing_is_late() {
    let (_dir, ledger) = opened();
    let at = attempt(1, 1, 1);
    assert_eq!(ledger.free(&at).unwrap(), 0);
    assert_eq!(ledger.allocate(&at, 1, 100).unwrap(), Allocation::Freed);
    assert_eq!(ledger.used(&at.bucket).unwrap(), 0);
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

/// What is done to a ledger.
#[derive(Debug, Clone)]
enum Step {
    Allocate(Attempt, u64),
    Free(Attempt),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let at = || (0..2u8, 0..3u8, 1..4u64).prop_map(|(bucket, link, number)| attempt(bucket, link, number));
    prop_oneof![
        4 => (at(), 1..60u64).prop_map(|(at, size)| Step::Allocate(at, size)),
        3 => at().prop_map(Step::Free),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    /// Against a model that is nothing but the rules: bytes are neither made nor lost, whenever the process ended.
    #[test]
    fn bytes_are_conserved(steps in prop::collection::vec(step(), 1..60)) {
        const CAPACITY: u64 = 100;
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(dir.path()).unwrap();
        let mut model: BTreeMap<Attempt, Standing> = BTreeMap::new();
        let (mut given, mut taken) = (0, 0);
        let used = |model: &BTreeMap<Attempt, Standing>, bucket: &BucketId| -> u64 {
            let own = model.iter().filter(|(at, _)| at.bucket == *bucket);
            own.map(|(_, standing)| if let Standing::Allocated(size) = standing { *size } else { 0 }).sum()
        };
        for step in steps {
            match step {
                Step::Reopen => {
                    drop(ledger);
                    ledger = Ledger::open(dir.path()).unwrap();
                }
                Step::Allocate(at, size) => {
                    let before = used(&model, &at.bucket);
                    let expected = match model.get(&at) {
                        Some(Standing::Allocated(had)) if before - had + size > CAPACITY => {
                            let used = before - had;
                            taken += had;
                            model.insert(at.clone(), Standing::Denied);
                            Allocation::Exceeded { used, capacity: CAPACITY }
                        }
                        Some(Standing::Allocated(had)) => {
                            let more = size.saturating_sub(*had);
                            taken += had.saturating_sub(size);
                            model.insert(at.clone(), Standing::Allocated(size));
                            Allocation::Allocated(more)
                        }
                        Some(Standing::Freed) => Allocation::Freed,
                        Some(Standing::Denied) => Allocation::Exceeded { used: before, capacity: CAPACITY },
                        None if before + size > CAPACITY => {
                            model.insert(at.clone(), Standing::Denied);
                            Allocation::Exceeded { used: before, capacity: CAPACITY }
                        }
                        None => {
                            model.insert(at.clone(), Standing::Allocated(size));
                            Allocation::Allocated(size)
                        }
                    };
                    let got = ledger.allocate(&at, size, CAPACITY).unwrap();
                    prop_assert_eq!(got, expected);
                    given += if let Allocation::Allocated(new) = got { new } else { 0 };
                }
                Step::Free(at) => {
                    let expected = match model.get(&at) {
                        Some(Standing::Allocated(size)) => *size,
                        _ => 0,
                    };
                    if model.get(&at) != Some(&Standing::Denied) {
                        model.insert(at.clone(), Standing::Freed);
                    }
                    let got = ledger.free(&at).unwrap();
                    prop_assert_eq!(got, expected);
                    taken += got;
                }
            }
            let buckets = [0, 1].map(|bucket| attempt(bucket, 0, 1).bucket);
            let mut sum = 0;
            for bucket in &buckets {
                let now = ledger.used(bucket).unwrap();
                prop_assert_eq!(now, used(&model, bucket));
                prop_assert!(now <= CAPACITY);
                sum += now;
            }
            prop_assert_eq!(given - taken, sum);
            prop_assert_eq!(ledger.attempts().unwrap(), model.clone().into_iter().collect::<Vec<_>>());
        }
    }
}
