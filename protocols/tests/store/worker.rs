//! A service's worker over the machine, with everything that goes wrong: it crashes between any two steps, sees old rows, its
//! messages come late, twice, in another order or not at all, others forge them, and epochs pass.

use std::collections::{BTreeMap, BTreeSet};

use bucket_core::bucket::Mode;
use bucket_core::cid::NativeHasher;
use bucket_core::dag_cbor::Ipld;
use bucket_core::effect::{Memo, Outcome, Ready, Step, next};
use bucket_core::error::Failure;
use bucket_core::stm::Item;
use bucket_core::task::Task;
use bucket_protocols::store::effects::{
    ALLOCATE, DEALLOCATE, NO_ROOM, NOT_THERE, SIGN, SLEEP, STAT, UPLOAD, WATCH, is_final,
};
use bucket_protocols::store::event::{EXCEED, EXPIRE, PUT, RECEIVE};
use bucket_protocols::store::{self, Outbox, Row, Status, idempotency_key};

use crate::kit::{ALICE, Bucket, CARRIER, Key, Out, link, upload};
use crate::spec::{Event, Model, Spec};

/// Entries.
pub const CARS: u8 = 3;

/// Room of the service: not enough for all.
pub const CAPACITY: u64 = 5;

/// What the ledger says of an attempt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Record {
    Allocated(u64),
    Refused,
    Released,
}

/// Where the worker loses all that it hasn't written down.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Crash {
    No,
    Before,
    After,
}

#[derive(Debug, Clone)]
pub enum Action {
    /// Somebody adds a CAR.
    Add { n: u8, size: u64 },
    /// Somebody puts a CAR to S3, in time or not.
    Upload { n: u8 },
    /// The worker reads the rows, as they are or as they were some looks ago: another index may be behind.
    Look { back: usize },
    /// The worker does one of the jobs that it knows of.
    Work { pick: u32, crash: Crash },
    /// A message of the worker comes, and perhaps once more later.
    Deliver { pick: u32, keep: bool },
    /// A message of the worker is lost.
    Lose { pick: u32 },
    /// Epochs pass.
    Wait { epochs: i64 },
    /// Somebody else than the service says what only it may say.
    Forge { n: u8, cmd: &'static str, who: u8 },
    /// The service says something about another attempt than the entry's.
    Stray { n: u8, cmd: &'static str, attempt: u64 },
    /// The service is too quick.
    Early { n: u8 },
}

/// A message on its way.
#[derive(Clone)]
pub struct Sent {
    n: u8,
    event: Event,
    key: [u8; 32],
    car: Vec<u8>,
}

pub struct World {
    pub bucket: Bucket,
    stranger: (Key, Vec<u8>),
    pub model: Model,
    pub specs: Vec<Spec>,
    /// What the worker has on disk.
    pub ledger: BTreeMap<(u8, u64), Record>,
    refusals: BTreeMap<[u8; 32], u8>,
    /// What it has in memory.
    memos: BTreeMap<(u8, u64), Memo>,
    view: Vec<Outbox>,
    /// All that it ever saw.
    views: Vec<Vec<Outbox>>,
    /// How often room was really set aside and given back.
    allocated: BTreeMap<(u8, u64), u32>,
    pub deallocated: BTreeMap<(u8, u64), u32>,
    /// CARs in S3.
    pub stored: BTreeSet<u8>,
    pub flying: Vec<Sent>,
}

impl World {
    pub fn new() -> Self {
        let bucket = Bucket::new(Mode::Atomic);
        let stranger = Key::new(3);
        let proof = bucket.key.delegate(&stranger, &bucket.did(), "/store");
        Self {
            bucket,
            stranger: (stranger, proof),
            model: Model::new(),
            specs: vec![Spec::default(); CARS.into()],
            ledger: BTreeMap::new(),
            refusals: BTreeMap::new(),
            memos: BTreeMap::new(),
            view: vec![],
            views: vec![],
            allocated: BTreeMap::new(),
            deallocated: BTreeMap::new(),
            stored: BTreeSet::new(),
            flying: vec![],
        }
    }

    pub fn act(&mut self, action: Action) {
        match action {
            Action::Add { n, size } => {
                let out = self.bucket.add(n, size);
                self.expect(n, Event::Add(size), out);
            }
            Action::Upload { n } => drop(self.stored.insert(n)),
            Action::Look { back } => {
                self.look();
                if let Some(old) = self.views.len().checked_sub(1 + back) {
                    self.view = self.views[old].clone();
                }
            }
            Action::Work { pick, crash } => {
                let ready = self.ready();
                if !ready.is_empty() {
                    let (n, item, size, job) = ready[pick as usize % ready.len()].clone();
                    self.work(n, &item, size, job, crash);
                }
            }
            Action::Deliver { pick, keep } if !self.flying.is_empty() => {
                let at = pick as usize % self.flying.len();
                let sent = if keep { self.flying[at].clone() } else { self.flying.remove(at) };
                self.deliver(sent);
            }
            Action::Lose { pick } if !self.flying.is_empty() => {
                self.flying.remove(pick as usize % self.flying.len());
            }
            Action::Deliver { .. } | Action::Lose { .. } => {}
            Action::Wait { epochs } => self.bucket.memory.epoch += epochs,
            Action::Forge { n, cmd, who } => self.forge(n, cmd, who),
            Action::Stray { n, cmd, attempt } => {
                if attempt != self.specs[n as usize].attempt {
                    let out = self.bucket.event(n, attempt, cmd, args(cmd));
                    self.expect(n, event(cmd, attempt), out);
                }
            }
            Action::Early { n } => {
                let Spec { status, attempt, until, .. } = self.specs[n as usize];
                if status == Status::Receiving && self.bucket.memory.epoch < until {
                    let out = self.bucket.event(n, attempt, EXPIRE, BTreeMap::new());
                    self.expect(n, Event::Expire(attempt), out);
                }
            }
        }
    }

    /// The machine answers what the model says, and the rows say the same.
    pub fn expect(&mut self, n: u8, event: Event, out: Out) {
        let spec = &mut self.specs[n as usize];
        match self.model.apply(spec, event, self.bucket.memory.epoch) {
            Ok(()) => {
                let entry = store::Entry::read(&out.unwrap()).unwrap();
                assert_eq!((entry.status, entry.attempt), (spec.status, spec.attempt), "{event:?}");
            }
            Err(_) => assert_eq!(out.unwrap_err().name, "NotExpired"),
        }
        let row = self.bucket.entry(n).map(|entry| (entry.status, entry.attempt, entry.car.unwrap().1));
        assert_eq!(row, (spec.attempt > 0).then_some((spec.status, spec.attempt, spec.size)));
    }

    pub fn look(&mut self) {
        let rows = self.bucket.read_rows().into_iter();
        self.view = rows.filter_map(|row| if let Row::Outbox(outbox) = row { Some(outbox) } else { None }).collect();
        self.views.push(self.view.clone());
    }

    /// The jobs that the worker knows of: the entry, an item of the same attempt that tells since when, the size.
    pub fn ready(&self) -> Vec<(u8, Item, u64, Ready)> {
        let mut all = vec![];
        for outbox in &self.view {
            let n = (0..CARS).find(|n| link(*n) == outbox.link).unwrap();
            for (attempt, items) in outbox.attempts() {
                let effects: Vec<_> = items.iter().map(|item| item.effect.clone()).collect();
                let memo = self.memos.get(&(n, attempt)).cloned().unwrap_or_default();
                let Step::Run(ready) = next::<NativeHasher>(&effects, &memo) else { continue };
                all.extend(ready.into_iter().map(|ready| (n, items[0].clone(), outbox.size, ready)));
            }
        }
        all.retain(|(_, _, _, ready)| ready.job.cmd != UPLOAD);
        all
    }

    pub fn work(&mut self, n: u8, item: &Item, size: u64, ready: Ready, crash: Crash) {
        if crash == Crash::Before {
            return self.crash();
        }
        let attempt = item.key.attempt;
        let cmd = ready.job.cmd.as_str();
        let outcome = if cmd.starts_with("/store/") {
            self.send(n, attempt, &ready);
            None
        } else {
            self.perform((n, attempt), cmd, size, item.since)
        };
        if crash == Crash::After {
            return self.crash();
        }
        if let Some(outcome) = outcome {
            if let Err(failure) = &outcome {
                assert!(is_final(cmd, &failure.name));
            }
            self.memos.entry((n, attempt)).or_default().insert(ready.id, outcome);
        }
    }

    pub fn crash(&mut self) {
        self.memos.clear();
        self.view.clear();
    }

    /// `None`: not yet.
    fn perform(&mut self, at: (u8, u64), cmd: &str, size: u64, since: i64) -> Option<Outcome> {
        let no = |name: &str| Some(Err(Failure::new(name, "expected yes, got no")));
        match cmd {
            ALLOCATE => {
                let used = self.used();
                let record = *self.ledger.entry(at).or_insert_with(|| {
                    if used + size > CAPACITY {
                        return Record::Refused;
                    }
                    *self.allocated.entry(at).or_default() += 1;
                    Record::Allocated(size)
                });
                match record {
                    Record::Allocated(_) => Some(Ok(Ipld::Null)),
                    Record::Refused => no(NO_ROOM),
                    Record::Released => None,
                }
            }
            DEALLOCATE => {
                if let Some(Record::Allocated(_)) = self.ledger.get(&at) {
                    *self.deallocated.entry(at).or_default() += 1;
                }
                if self.ledger.get(&at) != Some(&Record::Refused) {
                    self.ledger.insert(at, Record::Released);
                }
                Some(Ok(Ipld::Null))
            }
            STAT if self.stored.contains(&at.0) => Some(Ok(Ipld::Null)),
            STAT => no(NOT_THERE),
            // Signed URLs name the time.
            SIGN => Some(Ok(upload(self.bucket.memory.epoch as u64).to_ipld())),
            WATCH => self.stored.contains(&at.0).then_some(Ok(Ipld::Null)),
            SLEEP => (self.bucket.memory.epoch >= since + 200).then_some(Ok(Ipld::Null)),
            other => panic!("unknown job {other}"),
        }
    }

    fn send(&mut self, n: u8, attempt: u64, ready: &Ready) {
        let did = self.bucket.did();
        let key = idempotency_key::<NativeHasher>(&did, link(n), attempt, &ready.job);
        // What failed once and may succeed later has to be another CAR.
        let nonce = [&key[..], &[self.refusals.get(&key).copied().unwrap_or_default()]].concat();
        let task = store::event(&did, link(n), attempt, &ready.job.cmd, ready.args.clone(), nonce);
        let car = self.bucket.service.sign(task, std::slice::from_ref(&self.bucket.proof));
        self.flying.push(Sent { n, event: event(&ready.job.cmd, attempt), key, car });
    }

    pub fn deliver(&mut self, Sent { n, event, key, car }: Sent) {
        let Some(out) = self.bucket.invoke(CARRIER, car).unwrap() else { return };
        if out.is_err() {
            *self.refusals.entry(key).or_default() += 1;
        }
        self.expect(n, event, out);
    }

    fn forge(&mut self, n: u8, cmd: &'static str, who: u8) {
        let attempt = self.specs[n as usize].attempt;
        let nonce = self.bucket.nonce();
        let task = store::event(&self.bucket.did(), link(n), attempt, cmd, args(cmd), nonce);
        let before = self.bucket.rows.clone();
        let out = match who {
            0 => self.bucket.invoke(ALICE, Task::to_car::<NativeHasher>(&task)),
            1 => {
                let car = self.stranger.0.sign(task, std::slice::from_ref(&self.stranger.1));
                self.bucket.invoke(CARRIER, car)
            }
            _ => {
                let car = self.bucket.key.sign(task, &[]);
                self.bucket.invoke(CARRIER, car)
            }
        };
        assert_eq!(out.unwrap().unwrap().unwrap_err().name, "Forbidden");
        assert_eq!(self.bucket.rows, before);
    }

    pub fn used(&self) -> u64 {
        let size = |record: &Record| if let Record::Allocated(size) = record { *size } else { 0 };
        self.ledger.values().map(size).sum()
    }

    /// What is set aside is what entries stand for, or what is about to be given back.
    pub fn check(&self) {
        let mut stands = 0;
        for (n, spec) in (0..).zip(&self.specs) {
            let room = |attempt: &u64| match self.ledger.get(&(n, *attempt)) {
                Some(Record::Allocated(size)) => *size,
                _ => 0,
            };
            let current = matches!(spec.status, Status::Active | Status::Receiving | Status::Ok);
            stands += if current { room(&spec.attempt) } else { 0 };
            let outbox = self.bucket.outbox(n).map(|outbox| outbox.items).unwrap_or_default();
            let owed: BTreeSet<_> =
                outbox.iter().filter(|item| item.key.number == 6).map(|item| item.key.attempt).collect();
            assert_eq!(owed, spec.owed);
            stands += owed.iter().map(room).sum::<u64>();
            if matches!(spec.status, Status::Receiving | Status::Ok) {
                assert_eq!(room(&spec.attempt), spec.size, "an entry without room: {spec:?}");
            }
        }
        assert_eq!(self.used(), stands, "{:?} {:?}", self.ledger, self.specs);
        assert!(self.used() <= CAPACITY);
        assert!(self.allocated.values().chain(self.deallocated.values()).all(|times| *times == 1));
    }

    /// Does what is ready for an entry and is one of `cmds`, by what the worker sees.
    pub fn only(&mut self, n: u8, cmds: &[&str]) {
        for (at, item, size, ready) in self.ready() {
            if at == n && cmds.contains(&&*ready.job.cmd) {
                self.work(n, &item, size, ready, Crash::No);
                self.check();
            }
        }
    }

    pub fn deliver_all(&mut self) {
        for sent in std::mem::take(&mut self.flying) {
            self.deliver(sent);
            self.check();
        }
    }

    /// The worker goes on until nothing waits.
    pub fn finish(&mut self) {
        for _ in 0..100 {
            self.look();
            if self.view.is_empty() && self.flying.is_empty() {
                return;
            }
            for (n, item, size, ready) in self.ready() {
                self.work(n, &item, size, ready, Crash::No);
                self.check();
            }
            self.deliver_all();
            self.bucket.memory.epoch += 20;
        }
        panic!("the worker doesn't come to an end: {:?}", self.view);
    }
}

fn event(cmd: &str, attempt: u64) -> Event {
    match cmd {
        EXCEED => Event::Exceed(attempt),
        RECEIVE => Event::Receive(attempt),
        EXPIRE => Event::Expire(attempt),
        PUT => Event::Put(attempt),
        _ => Event::Done(attempt),
    }
}

pub fn args(cmd: &str) -> BTreeMap<String, Ipld> {
    let upload = (cmd == RECEIVE).then(|| ("upload".to_owned(), upload(7).to_ipld()));
    upload.into_iter().collect()
}
