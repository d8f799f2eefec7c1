//! Random messages without rights against a bucket: it stays as it is, and with rightful messages among them it becomes
//! what those alone make of it.

mod cast;
mod loot;

use std::cell::RefCell;
use std::collections::BTreeSet;

use bucket_core::abi::*;
use bucket_core::bucket::Bucket;
use bucket_core::did::BucketId;
use bucket_core::memory::Memory;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use cast::Cast;
use loot::{Loot, Way, loot, way};

const ALICE: u64 = 100;
const BOB: u64 = 101;
const EVE: u64 = 102;

#[derive(Debug, Clone)]
enum Step {
    Attack {
        caller: u64,
        loot: Loot,
        way: Way,
    },
    /// A stranger runs what is in the victim's queue: nothing.
    Run,
    /// One of the rightful, in its order.
    Rightful {
        queued: bool,
        caller: u64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let caller = || prop::sample::select(vec![BOB, EVE]);
    let step = prop_oneof![
        8 => (caller(), loot(), way()).prop_map(|(caller, loot, way)| Step::Attack { caller, loot, way }),
        1 => Just(Step::Run),
        3 => (any::<bool>(), caller()).prop_map(|(queued, caller)| Step::Rightful { queued, caller }),
    ];
    prop::collection::vec(step, 1..30)
}

fn record(memory: &Memory, bucket: &BucketId) -> Bucket {
    memory.bucket(bucket).expect("it exists")
}

/// Applies a rightful CAR.
fn rightful(memory: &mut Memory, cast: &Cast, number: usize, queued: bool, caller: u64) {
    let caller = if number < 12 { caller } else { ALICE };
    let params = CarParams::new(cast.victim.clone(), cast.rightful[number].clone());
    if !queued {
        memory.apply(caller, Message::Invoke(params)).expect("allowed");
        return;
    }
    memory.apply(caller, Message::Schedule(params)).expect("allowed");
    let run = Message::Run(RunParams { bucket: cast.victim.clone(), max: 1 });
    memory.apply(EVE, run).expect("anybody may run");
}

#[test]
fn without_rights_nothing_changes() {
    let cast = Cast::new();
    let codes = RefCell::new(BTreeSet::new());
    let config = Config { failure_persistence: None, ..Config::with_cases(400) };
    let outcome = TestRunner::new(config).run(&steps(), |steps| {
        let (mut attacked, mut quiet) = (cast.begin(), cast.begin());
        let mut sent = 0;
        for step in steps {
            let before = record(&attacked, &cast.victim);
            match step {
                Step::Rightful { .. } if sent == cast.rightful.len() => {}
                Step::Rightful { queued, caller } => {
                    rightful(&mut attacked, &cast, sent, queued, caller);
                    rightful(&mut quiet, &cast, sent, queued, caller);
                    sent += 1;
                    prop_assert_ne!(&record(&attacked, &cast.victim), &before);
                }
                Step::Run => {
                    let run = Message::Run(RunParams { bucket: cast.victim.clone(), max: 10 });
                    prop_assert_eq!(attacked.apply(BOB, run).map(drop).unwrap_err().code(), 46);
                }
                Step::Attack { caller, loot, way } => {
                    let Some(car) = cast.loot(&loot, sent) else { continue };
                    for message in cast.messages(car, way) {
                        let code = attacked.apply(caller, message).map_or_else(|abort| abort.code(), |_| 0);
                        codes.borrow_mut().insert(code);
                        prop_assert_eq!(&record(&attacked, &cast.victim), &before, "{:?} {:?}", loot, way);
                    }
                }
            }
            prop_assert_eq!(record(&attacked, &cast.victim), record(&quiet, &cast.victim));
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    // Each of them was tried and seen: forbidden, created, replayed, malformed, forged, without a proof or a claim, …
    let codes = codes.into_inner();
    for code in [0, 18, 45, 48, 53, 58, 64, 66, 67, 69, 71, 72, 76] {
        assert!(
            codes.contains(&code),
            "nothing was refused with {code}, only with {codes:?}: the generator lost its variety"
        );
    }
}
