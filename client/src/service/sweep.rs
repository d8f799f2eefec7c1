//! What a service changes in a space, from what it finds there, what it ran before and what became of blobs. Pure: what it
//! says is done elsewhere, and may be done again after a crash.

use std::collections::BTreeMap;

use bucket_core::car::{Car, Transaction};
use bucket_core::cid::{CarId, Cid, NativeHasher};
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::error::Failure;
use bucket_core::limits::CAR_BYTES_MAX;
use bucket_core::task::Task;
use bucket_core::ucan::Request;
use bucket_protocols::space::edit::OPS_MAX;
use bucket_protocols::space::keys::{self, Kind, key_of};
use bucket_protocols::space::receipt::Draft;
use bucket_protocols::space::standing::{Standing, recognise};

use super::answer::{Answer, Blob, answer, blob};
use super::runs::{Keys, Rank, Run, Said, Written};
use crate::identity::Identity;
use crate::ucan::revoked::{Mark, marks};

/// An invocation in the queue that the service has to run.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Its key, `/queue/…`.
    pub key: String,
    /// Its CAR.
    pub car: CarId,
    /// CID of its block.
    pub invocation: Cid,
    /// CID of its task.
    pub ran: Cid,
    /// What is to be done.
    pub task: Task,
    /// The CAR.
    pub content: Car,
    /// What would take its right away: only the chain knows.
    pub marks: Vec<Mark>,
}

/// An invocation that is taken: its receipt has its task, and several of them have to fit an edit.
pub const ASKED_BYTES_MAX: usize = CAR_BYTES_MAX;

/// What an entry of `/queue/` is to a service.
#[derive(Debug, Clone)]
pub enum Found {
    /// An invocation that it has to run.
    Asked(Box<Asked>),
    /// Perhaps later: its block isn't here, or its time hasn't come.
    Later,
    /// None of its business.
    Other,
}

/// Reads an entry of `/queue/`. What the service can't take stays where it is. An invocation of a task that ran is taken also
/// when its time is over.
pub fn asked(
    key: &str,
    value: &Ipld,
    bytes: Option<Vec<u8>>,
    (service, space): (&BucketId, &BucketId),
    ran: impl Fn(&Cid) -> bool,
    now: u64,
) -> Found {
    let Some(bytes) = bytes else { return Found::Later };
    if bytes.len() > ASKED_BYTES_MAX {
        return Found::Other;
    }
    let Ok(content) = Car::decode::<NativeHasher>(bytes.clone()) else { return Found::Other };
    // Before any signature: what is for others may lie here for ever.
    let Ok(Some(request)) = Request::from_car::<NativeHasher>(&content) else { return Found::Other };
    if request.invocation.aud.as_ref() != Some(service) {
        return Found::Other;
    }
    let Standing::Asked(found) = recognise::<NativeHasher>(key, value, |_| Some(bytes), service, space, now) else {
        return Found::Other;
    };
    let (car, names, task) = (found.car, found.names, found.request.invocation.task.clone());
    let good = |at| found.check(service, at).is_ok();
    if !good(now) {
        let Request { invocation, proofs } = &found.request;
        let end = proofs.iter().filter_map(|proof| proof.exp).chain(invocation.exp).min();
        let was_good = || end.is_some_and(|end| end <= now && good(end.saturating_sub(1)));
        let begin = proofs.iter().filter_map(|proof| proof.nbf).max();
        if begin.is_some_and(|begin| begin > now && good(begin)) {
            return Found::Later;
        }
        if !(ran(&names.task) && was_good()) {
            return Found::Other;
        }
    }
    let marks = marks(space, &found.request.proofs).collect();
    let (key, invocation, ran) = (key.to_owned(), names.invocation, names.task);
    Found::Asked(Box::new(Asked { key, car, invocation, ran, task, content, marks }))
}

/// What became of a blob's entry on chain.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// Nothing to tell yet.
    Waiting,
    /// Its bytes are awaited: where to, and with which headers.
    Receiving {
        /// A presigned address.
        url: String,
        /// What has to go along.
        headers: BTreeMap<String, String>,
    },
    /// It is there.
    Stored,
    /// It won't be.
    Refused(Failure),
}

/// What is to be done.
#[derive(Debug, Default)]
pub struct Plan {
    /// Changes of the space.
    pub ops: BTreeMap<String, Option<Ipld>>,
    /// New receipts, by their ids.
    pub cars: BTreeMap<CarId, Vec<u8>>,
    /// Runs to be remembered before the space is changed, and as written after.
    pub runs: BTreeMap<Cid, Run>,
    /// What is said last under the keys of all runs, with that.
    pub said: Keys,
}

/// Who signs, and for which space.
pub struct Sweeper<'a> {
    /// The service's key.
    pub key: &'a Identity,
    /// The space.
    pub space: &'a BucketId,
}

impl Sweeper<'_> {
    /// Begins what is asked for the first time, numbering it behind the space's `count` runs. Blobs have to be added to the
    /// bucket's store before anything comes of them. `stored` tells whether that has a CAR.
    pub fn begin(
        &self,
        asked: &[Asked],
        known: &mut BTreeMap<Cid, Run>,
        (said, mut count): (&mut Keys, u64),
        stored: impl Fn(&CarId) -> bool,
    ) {
        for Asked { ran, task, content, .. } in asked {
            if known.contains_key(ran) {
                continue;
            }
            count += 1;
            let (task, receipt, written) = (task.clone(), None, Written::Final);
            let mut run = Run { ran: *ran, n: count, task, receipt, added: false, last: false, written };
            if let Answer::Said(out) = answer(&run.task, content, &stored) {
                self.say(&mut run, said, out, true);
            }
            known.insert(*ran, run);
        }
    }

    /// Changes, of at most `most` runs: what was asked moves on, and receipts are written. `runs` are those that were asked for
    /// and those with open ends; the rest of them waits.
    pub fn plan(
        &self,
        asked: &[Asked],
        runs: BTreeMap<Cid, Run>,
        mut said: Keys,
        most: usize,
        progress: impl Fn(&Blob) -> Progress,
    ) -> Plan {
        let mut plan = Plan::default();
        for (ran, mut run) in runs {
            let mine: Vec<_> = asked.iter().filter(|asked| asked.ran == ran).collect();
            if plan.runs.len() == most || plan.ops.len() + 2 + 2 * mine.len() > OPS_MAX {
                break;
            }
            self.follow(&mut run, &mut said, &progress);
            if mine.is_empty() && run.written != Written::No {
                continue;
            }
            if let Some(id) = run.id() {
                let link = Some(Ipld::Link(id.to_cid()));
                plan.ops.insert(Kind::Receipt.key(&ran), link.clone());
                let key = key(&run.task).filter(|key| said.get(key).is_some_and(|last| last.ran == ran));
                plan.ops.extend(key.map(|key| (key, link)));
                plan.cars.extend(run.receipt.clone().map(|car| (id, car)));
            }
            for Asked { key, car, invocation, .. } in mine {
                plan.ops.insert(key.clone(), None);
                plan.ops.insert(Kind::Invoked.key(invocation), Some(Ipld::Link(car.to_cid())));
            }
            plan.runs.insert(ran, run);
        }
        plan.said = said;
        plan
    }

    /// The run of a task that came to nothing before it began.
    pub fn refuse(&self, run: &mut Run, said: &mut Keys, failure: Failure) {
        self.say(run, said, Err(failure), true);
    }

    /// Writes a new receipt if there is something new to say of a blob.
    fn follow(&self, run: &mut Run, said: &mut Keys, progress: impl Fn(&Blob) -> Progress) {
        let (true, false, Ok(blob)) = (run.added, run.last, blob(&run.task)) else { return };
        let (out, last) = match progress(&blob) {
            Progress::Waiting => return,
            Progress::Receiving { url, headers } => {
                let headers = headers.into_iter().map(|(name, value)| (name, Ipld::String(value))).collect();
                let upload =
                    Ipld::Map([("url".into(), Ipld::String(url)), ("headers".into(), Ipld::Map(headers))].into());
                (Ok(told(&blob, "receiving", ("upload", upload))), false)
            }
            Progress::Stored => (Ok(told(&blob, "ok", ("site", Ipld::Link(blob.link.to_cid())))), true),
            Progress::Refused(failure) => (Err(failure), true),
        };
        // The address of an upload is told once: a new one comes with a new attempt, and that with a new invocation.
        if last || run.receipt.is_none() {
            self.say(run, said, out, last);
        }
    }

    /// Signs the run's next receipt. It follows the last one under the key, unless that says more: then it is in `/receipt/`
    /// alone.
    fn say(&self, run: &mut Run, said: &mut Keys, out: Result<Ipld, Failure>, last: bool) {
        let rank = match (&out, last) {
            (Err(_), _) => Rank::Refused,
            (Ok(_), false) => Rank::Pending,
            (Ok(_), true) => Rank::Done,
        };
        let key = key(&run.task);
        let before = key.as_ref().and_then(|key| said.get(key)).copied();
        let follows = before.is_none_or(|before| before.ran == run.ran || (before.rank, before.n) < (rank, run.n));
        let origin = before.filter(|_| follows).map(|before| before.id).or(run.id());
        let receipt = self.receipt(&run.task, out, origin);
        let id = CarId::of::<NativeHasher>(&receipt);
        if let (Some(key), true) = (key, follows) {
            said.insert(key, Said { ran: run.ran, n: run.n, id, rank });
        }
        (run.receipt, run.added, run.last, run.written) = (Some(receipt), true, last, Written::No);
    }

    fn receipt(&self, task: &Task, out: Result<Ipld, Failure>, origin: Option<CarId>) -> Vec<u8> {
        let draft = Draft { service: &self.key.did(), task, out, origin, proofs: &[] };
        draft.to_car::<NativeHasher>(&self.key.public(), |message| self.key.sign(message), Transaction::default())
    }
}

/// The key under which a task's receipts count. A task may name one that no space takes.
pub fn key(task: &Task) -> Option<String> {
    key_of(task).filter(|key| keys::check(key).is_ok())
}

/// The words of a receipt about a blob.
fn told(blob: &Blob, status: &str, more: (&str, Ipld)) -> Ipld {
    let Blob { link, size } = blob;
    let fields = [("blob", Ipld::Link(link.to_cid())), ("size", Ipld::Integer((*size).into()))];
    let fields = fields.into_iter().chain([("status", Ipld::String(status.to_owned())), more]);
    Ipld::Map(fields.map(|(field, value)| (field.to_owned(), value)).collect())
}
