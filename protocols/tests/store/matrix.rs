//! Every status with every event, against the requirements' table: the code's table, the pure update, and the machine.

use std::collections::BTreeSet;

use bucket_core::bucket::Mode;
use bucket_core::cid::NativeHasher;
use bucket_core::effect::{Effect, Memo, Step, next};
use bucket_core::stm::{Key, Path, Shared, transact};
use bucket_protocols::store::effects::{Group, effects};
use bucket_protocols::store::table::{self, Kind, TABLE};
use bucket_protocols::store::{self, Now, Stage, State, Status, update};

use crate::kit::{Bucket, block, link, real, upload};
use crate::spec::{self, ACTIVATION_EPOCHS, Event, Model, NotExpired, Spec, UPLOAD_EPOCHS};

const EVENTS: [(Kind, &str); 5] = [
    (Kind::Add, "store/add"),
    (Kind::Exceed, "store/exceed"),
    (Kind::Receive, "store/receive"),
    (Kind::Expire, "store/expire"),
    (Kind::Put, "store/put"),
];

/// The jobs that effects begin with.
fn first<'a>(effects: impl IntoIterator<Item = &'a Effect>) -> BTreeSet<String> {
    let effects: Vec<_> = effects.into_iter().cloned().collect();
    match next::<NativeHasher>(&effects, &Memo::new()) {
        Step::Run(ready) => ready.into_iter().map(|ready| ready.job.cmd).collect(),
        Step::Done(outcomes) if outcomes.is_empty() => BTreeSet::new(),
        other => panic!("expected jobs, got {other:?}"),
    }
}

#[test]
fn the_table_is_the_requirements() {
    let matrix = spec::matrix();
    assert_eq!(matrix.len(), 30);
    for (kind, event) in EVENTS {
        for status in Status::ALL {
            let step = table::step(kind, status).map(|(to, groups)| {
                let effects: Vec<_> = groups.iter().flat_map(|group| effects(*group, 1, 1)).collect();
                (to, first(effects.iter().map(|(_, effect)| effect)))
            });
            let expected = matrix[&(event, status)].as_ref();
            let expected =
                expected.map(|(to, jobs)| (*to, jobs.iter().map(|cmd| (*cmd).to_owned()).collect::<BTreeSet<_>>()));
            assert_eq!(step, expected, "{event} of {status:?}");
        }
    }
    // Defect k has a row of its own, which is that of an earlier provider's word as well.
    for status in Status::ALL {
        let again = (Status::Active, &[Group::Deallocation, Group::Activation][..]);
        assert_eq!(table::step(Kind::AddAgain, status), matches!(status, Status::Active | Status::Ok).then_some(again));
    }
    // What is looked up by number stands there.
    for (at, (kind, _)) in TABLE.iter().enumerate() {
        assert_eq!(*kind as usize, at);
    }
    for (at, status) in Status::ALL.into_iter().enumerate() {
        assert_eq!(status as usize, at);
    }
}

/// The way to each status, at the second attempt where there is one, so that there is one before and one after.
fn way(status: Status) -> &'static [Event] {
    use Event::{Add, Exceed, Expire, Put, Receive};
    match status {
        Status::NotFound => &[],
        Status::Active => &[Add(10), Exceed(1), Add(20)],
        Status::Receiving => &[Add(10), Exceed(1), Add(20), Receive(2)],
        Status::Ok => &[Add(10), Exceed(1), Add(20), Put(2)],
        Status::Exceeds => &[Add(10), Exceed(1), Add(20), Exceed(2)],
        Status::Expired => &[Add(10), Exceed(1), Add(20), Receive(2), Expire(2)],
    }
}

/// Each event of three attempts and at five times, a deallocation that is done included.
fn events() -> Vec<(Event, i64)> {
    use Event::{Add, Done, Exceed, Expire, Put, Receive};
    let of = |attempt| [Exceed(attempt), Receive(attempt), Expire(attempt), Put(attempt), Done(attempt)];
    let all = [Add(20), Add(30)].into_iter().chain((0..4).flat_map(of));
    let later = [0, UPLOAD_EPOCHS - 1, UPLOAD_EPOCHS, ACTIVATION_EPOCHS, ACTIVATION_EPOCHS + 1];
    all.flat_map(|event| later.map(|later| (event, later))).collect()
}

/// What an entry's outbox should hold.
fn waiting(spec: &Spec) -> BTreeSet<Key> {
    let numbers = match spec.status {
        Status::Active => 0..3,
        Status::Receiving => 3..6,
        _ => 0..0,
    };
    let current = numbers.map(|number| Key { attempt: spec.attempt, number });
    current.chain(spec.owed.iter().map(|attempt| Key { attempt: *attempt, number: 6 })).collect()
}

fn state(spec: &Spec) -> Option<State> {
    let stage = match spec.status {
        Status::NotFound => return None,
        Status::Active => Stage::Active { began: spec.began },
        Status::Receiving => {
            let upload = block(&upload(spec.attempt).to_block());
            Stage::Receiving { until: spec.until, upload }
        }
        Status::Ok => Stage::Ok { term: spec.stored },
        Status::Exceeds => Stage::Exceeds,
        Status::Expired => Stage::Expired,
    };
    Some(State { attempt: spec.attempt, size: spec.size, stage })
}

#[test]
fn every_status_with_every_event_attempt_and_time() {
    let model = Model::new();
    let path = Path { bucket: "did:key:zMatrix".parse().unwrap(), link: link(1) };
    for (status, term) in Status::ALL.into_iter().flat_map(|status| [(status, 1), (status, 2)]) {
        for (event, later) in events() {
            let shared = Shared::default();
            let (mut spec, mut now) = (Spec::default(), 1000);
            let mut both = |event: Event, now: i64, term: u64| {
                spec.term = term;
                let before = spec.clone();
                let expected = model.apply(&mut spec, event, now);
                let at = Now { epoch: now, term: before.term };
                let done = transact(&mut &shared, &path, now, |state| update::update(state, &real(event), at));
                match (done, expected) {
                    (Ok(done), Ok(())) => {
                        assert_eq!(done.out, state(&spec), "{event:?} of {before:?} at {now}");
                        let outbox = done.after.map(|cell| cell.outbox).unwrap_or_default();
                        let keys: BTreeSet<_> = outbox.iter().map(|item| item.key).collect();
                        assert_eq!(keys, waiting(&spec), "{event:?} of {before:?} at {now}");
                        assert_eq!(keys.len(), outbox.len());
                    }
                    (Err(error), Err(NotExpired)) => assert!(error.to_string().starts_with("NotExpired: "), "{error}"),
                    (done, expected) => panic!("{event:?} of {before:?} at {now}: {done:?}, expected {expected:?}"),
                }
                spec.status
            };
            for event in way(status) {
                now += if matches!(event, Event::Expire(_)) { UPLOAD_EPOCHS } else { 1 };
                both(*event, now, 1);
            }
            assert_eq!(both(Event::Put(99), now, 1), status, "the way leads there");
            both(event, now + later, term);
        }
    }
}

/// The same over the machine: commands, signatures, receipts, rows.
#[test]
fn the_machine_does_what_the_table_says() {
    let model = Model::new();
    for status in Status::ALL {
        let mut bucket = Bucket::new(Mode::Atomic);
        for (at, (_, event)) in EVENTS.iter().enumerate() {
            let n = at as u8;
            let mut spec = Spec::default();
            let attempt = |spec: &Spec| spec.attempt;
            let mut both = |bucket: &mut Bucket, event: Event| {
                model.apply(&mut spec, event, bucket.memory.epoch).unwrap();
                let out = bucket.send(n, event);
                let entry = store::Entry::read(&out.unwrap()).unwrap();
                assert_eq!((entry.status, entry.attempt), (spec.status, spec.attempt), "{event:?}");
                assert_eq!(entry.car, (spec.attempt > 0).then_some((link(n), spec.size)));
                let waits = bucket.outbox(n).map(|outbox| outbox.items).unwrap_or_default();
                assert_eq!(waits.iter().map(|item| item.key).collect::<BTreeSet<_>>(), waiting(&spec));
                attempt(&spec)
            };
            for event in way(status) {
                bucket.memory.epoch += if matches!(event, Event::Expire(_)) { UPLOAD_EPOCHS } else { 1 };
                both(&mut bucket, *event);
            }
            bucket.memory.epoch += UPLOAD_EPOCHS;
            let now = both(&mut bucket, Event::Exceed(99));
            let event = match *event {
                "store/add" => Event::Add(30),
                "store/exceed" => Event::Exceed(now),
                "store/receive" => Event::Receive(now),
                "store/expire" => Event::Expire(now),
                _ => Event::Put(now),
            };
            both(&mut bucket, event);
        }
    }
}

#[test]
fn what_is_no_event_is_refused() {
    let none = std::collections::BTreeMap::new();
    let task = store::event(&"did:key:zA".parse().unwrap(), link(1), 1, "/store/vanish", none, vec![]);
    let failure = store::Event::read(&task, |_| [0; 32]).unwrap_err();
    assert_eq!(failure.to_string(), "InvalidEvent: expected an event of store, got /store/vanish");
}
