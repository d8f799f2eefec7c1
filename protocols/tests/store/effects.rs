//! What an activation asks for, for all that can come of it.

use std::collections::{BTreeMap, BTreeSet};

use bucket_core::cid::NativeHasher;
use bucket_core::dag_cbor::Ipld;
use bucket_core::effect::{Effect, Job, Memo, Outcome, Step, next};
use bucket_core::error::Failure;
use bucket_core::stm::Key;
use bucket_protocols::store::effects::{
    ALLOCATE, DEALLOCATE, Group, NO_ROOM, NOT_THERE, SIGN, SLEEP, STAT, UPLOAD, WATCH, effects, is_final,
};
use bucket_protocols::store::event::{DONE, EXCEED, EXPIRE, PUT, RECEIVE};
use bucket_protocols::store::idempotency_key;

use crate::kit::{link, upload};

fn of(group: Group) -> Vec<Effect> {
    effects(group, 1, 10).into_iter().map(|(_, effect)| effect).collect()
}

fn no(name: &str) -> Outcome {
    Err(Failure::new(name, "expected yes, got no"))
}

/// Runs effects with these outcomes; what isn't there stays pending. Answers the jobs that were begun, with their arguments.
fn run(effects: &[Effect], outcomes: &BTreeMap<&str, Outcome>) -> BTreeMap<String, BTreeMap<String, Ipld>> {
    let (mut memo, mut begun) = (Memo::new(), BTreeMap::new());
    loop {
        let ready = match next::<NativeHasher>(effects, &memo) {
            Step::Run(ready) => ready,
            Step::Done(outcomes) => {
                assert!(outcomes.iter().all(Result::is_ok), "a branch that isn't taken is no failure: {outcomes:?}");
                return begun;
            }
            Step::Stuck(awaited) => panic!("nobody does {awaited:?}"),
        };
        let mut quiet = true;
        for ready in ready {
            if let Some(outcome) = outcomes.get(ready.job.cmd.as_str()) {
                assert!(memo.insert(ready.id, outcome.clone()).is_none());
                quiet = false;
            }
            begun.insert(ready.job.cmd, ready.args);
        }
        if quiet {
            return begun;
        }
    }
}

/// Each of allocate, stat and sign pending, failed or done: never two of exceed, put and receive, and none before what it waits
/// for.
#[test]
fn one_of_three_branches_is_taken() {
    let good = || Some(Ok(Ipld::Null));
    let allocates = [None, Some(no(NO_ROOM)), good()];
    let stats = [None, Some(no(NOT_THERE)), good()];
    let signs = [None, Some(Ok(upload(1).to_ipld()))];
    let mut taken = BTreeSet::new();
    for allocate in &allocates {
        for stat in &stats {
            for sign in &signs {
                for answered in [false, true] {
                    let known = [(ALLOCATE, allocate), (STAT, stat), (SIGN, sign)];
                    let known = known.into_iter().filter_map(|(cmd, outcome)| Some((cmd, outcome.clone()?)));
                    let events =
                        [EXCEED, PUT, RECEIVE].into_iter().filter(|_| answered).map(|cmd| (cmd, Ok(Ipld::Null)));
                    let begun = run(&of(Group::Activation), &known.chain(events).collect());
                    let sent: Vec<_> =
                        begun.keys().filter(|cmd| cmd.starts_with("/store/")).map(String::as_str).collect();
                    let expected: &[&str] = match (allocate, stat, sign) {
                        (Some(Err(_)), ..) => &[EXCEED],
                        (Some(Ok(_)), Some(Ok(_)), _) => &[PUT],
                        (Some(Ok(_)), Some(Err(_)), Some(_)) => &[RECEIVE],
                        _ => &[],
                    };
                    assert_eq!(sent, expected, "{allocate:?} {stat:?} {sign:?}");
                    if let Some(args) = begun.get(RECEIVE) {
                        assert_eq!(*args, BTreeMap::from([("upload".to_owned(), upload(1).to_ipld())]));
                    }
                    let stats = matches!(allocate, Some(Ok(_)));
                    assert_eq!(begun.contains_key(STAT), stats, "nothing is looked for without room");
                    assert_eq!(begun.contains_key(SIGN), stats && matches!(stat, Some(Err(_))));
                    taken.extend(expected.iter().copied());
                }
            }
        }
    }
    assert_eq!(taken, [EXCEED, PUT, RECEIVE].into());
}

#[test]
fn an_upload_ends_by_being_seen_or_by_time() {
    let ok = || Ok(Ipld::Null);
    let begun = |outcomes: &[&str]| {
        let outcomes = outcomes.iter().map(|cmd| (*cmd, ok())).collect();
        run(&of(Group::Upload), &outcomes).into_keys().collect::<Vec<_>>()
    };
    assert_eq!(begun(&[]), [UPLOAD, WATCH, SLEEP]);
    assert_eq!(begun(&[WATCH]), [UPLOAD, WATCH, PUT, SLEEP]);
    assert_eq!(begun(&[SLEEP]), [UPLOAD, WATCH, EXPIRE, SLEEP]);
    let args = run(&of(Group::Upload), &BTreeMap::new());
    assert_eq!(args[SLEEP], BTreeMap::from([("epochs".to_owned(), Ipld::Integer(200))]));
}

#[test]
fn a_deallocation_says_what_and_is_reported() {
    let begun = run(&of(Group::Deallocation), &BTreeMap::new());
    assert_eq!(
        begun,
        BTreeMap::from([(DEALLOCATE.to_owned(), BTreeMap::from([("size".to_owned(), Ipld::Integer(10))]))])
    );
    let begun = run(&of(Group::Deallocation), &[(DEALLOCATE, Ok(Ipld::Null))].into());
    assert_eq!(begun[DONE], BTreeMap::from([("effect".to_owned(), Ipld::Integer(6))]));
    assert_eq!(effects(Group::Deallocation, 3, 10)[0].0, Key { attempt: 3, number: 6 });
}

/// Defect j: an attempt is refused for want of room, and for nothing else.
#[test]
fn few_failures_decide() {
    for (cmd, failure, decides) in [
        (ALLOCATE, "ExceedsLimit", true),
        (ALLOCATE, "NotFound", false),
        (ALLOCATE, "Timeout", false),
        (STAT, "NotFound", true),
        (STAT, "ExceedsLimit", false),
        (SIGN, "NotFound", false),
        (EXPIRE, "NotExpired", false),
    ] {
        assert_eq!(is_final(cmd, failure), decides, "{cmd} {failure}");
    }
}

#[test]
fn a_key_is_one_job_s_of_one_attempt() {
    let bucket = |name: &str| format!("did:key:z{name}").parse().unwrap();
    let (a, b) = (Job::new(ALLOCATE, []), Job::new(DEALLOCATE, [("size", Ipld::Integer(1))]));
    let key = |bucket, n, attempt, job| idempotency_key::<NativeHasher>(&bucket, link(n), attempt, job);
    let keys = [
        key(bucket("A"), 1, 1, &a),
        key(bucket("B"), 1, 1, &a),
        key(bucket("A"), 2, 1, &a),
        key(bucket("A"), 1, 2, &a),
        key(bucket("A"), 1, 1, &b),
    ];
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
    assert_eq!(keys[0], key(bucket("A"), 1, 1, &a));
}
