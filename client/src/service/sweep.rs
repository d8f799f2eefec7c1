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
use super::runs::Run;
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

/// Reads an entry of `/queue/`. `None` when it isn't for this service, gives it no right, or is too large: then it stays where
/// it is.
pub fn asked(
    key: &str,
    value: &Ipld,
    bytes: Option<Vec<u8>>,
    service: &BucketId,
    space: &BucketId,
    now: u64,
) -> Option<Asked> {
    let bytes = bytes.filter(|bytes| bytes.len() <= ASKED_BYTES_MAX)?;
    let content = Car::decode::<NativeHasher>(bytes.clone()).ok()?;
    // Before any signature: what is for others may lie here for ever.
    let request = Request::from_car::<NativeHasher>(&content).ok()??;
    if request.invocation.aud.as_ref() != Some(service) {
        return None;
    }
    let Standing::Asked(found) = recognise::<NativeHasher>(key, value, |_| Some(bytes), service, space, now) else {
        return None;
    };
    found.check(service, now).ok()?;
    let (car, names, task) = (found.car, found.names, found.request.invocation.task.clone());
    let marks = marks(space, &found.request.proofs).collect();
    Some(Asked { key: key.to_owned(), car, invocation: names.invocation, ran: names.task, task, content, marks })
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
}

/// Who signs, and for which space.
pub struct Sweeper<'a> {
    /// The service's key.
    pub key: &'a Identity,
    /// The space.
    pub space: &'a BucketId,
}

impl Sweeper<'_> {
    /// Begins what is asked for the first time. Blobs have to be added to the bucket's store before anything comes of them.
    /// `stored` tells whether that has a CAR.
    pub fn begin(&self, asked: &[Asked], known: &mut BTreeMap<Cid, Run>, stored: impl Fn(&CarId) -> bool) {
        for Asked { ran, task, content, .. } in asked {
            if known.contains_key(ran) {
                continue;
            }
            let receipt = match answer(task, content, &stored) {
                Answer::Said(out) => Some(self.receipt(task, out, None)),
                Answer::Store(_) => None,
            };
            let said = receipt.is_some();
            let run = Run { ran: *ran, task: task.clone(), receipt, added: said, last: said, written: !said };
            known.insert(*ran, run);
        }
    }

    /// Changes, of at most `most` runs: what was asked moves on, and receipts are written. `runs` are those that were asked for
    /// and those with open ends; the rest of them waits.
    pub fn plan(
        &self,
        asked: &[Asked],
        runs: BTreeMap<Cid, Run>,
        most: usize,
        progress: impl Fn(&Blob) -> Progress,
    ) -> Plan {
        let mut plan = Plan::default();
        for (ran, mut run) in runs {
            let mine: Vec<_> = asked.iter().filter(|asked| asked.ran == ran).collect();
            let news = self.follow(&mut run, &progress);
            let told = news || !mine.is_empty() || !run.written;
            if !told {
                continue;
            }
            if plan.runs.len() == most || plan.ops.len() + 2 + 2 * mine.len() > OPS_MAX {
                break;
            }
            if let Some(id) = run.id() {
                let link = Some(Ipld::Link(id.to_cid()));
                plan.ops.insert(Kind::Receipt.key(&ran), link.clone());
                // A task may name a key that no space takes.
                let key = key_of(&run.task).filter(|key| keys::check(key).is_ok());
                plan.ops.extend(key.map(|key| (key, link)));
                plan.cars.extend(run.receipt.clone().map(|car| (id, car)));
            }
            for Asked { key, car, invocation, .. } in mine {
                plan.ops.insert(key.clone(), None);
                plan.ops.insert(Kind::Invoked.key(invocation), Some(Ipld::Link(car.to_cid())));
            }
            plan.runs.insert(ran, run);
        }
        plan
    }

    /// The run of a task that came to nothing before it began.
    pub fn refuse(&self, run: &mut Run, failure: Failure) {
        run.receipt = Some(self.receipt(&run.task, Err(failure), run.id()));
        (run.added, run.last, run.written) = (true, true, false);
    }

    /// Writes a new receipt if there is something new to say of a blob.
    fn follow(&self, run: &mut Run, progress: impl Fn(&Blob) -> Progress) -> bool {
        let (true, false, Ok(blob)) = (run.added, run.last, blob(&run.task)) else { return false };
        let (out, last) = match progress(&blob) {
            Progress::Waiting => return false,
            Progress::Receiving { url, headers } => {
                let headers = headers.into_iter().map(|(name, value)| (name, Ipld::String(value))).collect();
                let upload =
                    Ipld::Map([("url".into(), Ipld::String(url)), ("headers".into(), Ipld::Map(headers))].into());
                (Ok(told(&blob, "receiving", ("upload", upload))), false)
            }
            Progress::Stored => (Ok(told(&blob, "ok", ("site", Ipld::Link(blob.link.to_cid())))), true),
            Progress::Refused(failure) => (Err(failure), true),
        };
        let before = run.id();
        if before.is_some() && !last {
            // The address of an upload is told once: a new one comes with a new attempt, and that with a new invocation.
            return false;
        }
        let receipt = self.receipt(&run.task, out, before);
        (run.receipt, run.last, run.written) = (Some(receipt), last, false);
        true
    }

    fn receipt(&self, task: &Task, out: Result<Ipld, Failure>, origin: Option<CarId>) -> Vec<u8> {
        let draft = Draft { service: &self.key.did(), task, out, origin, proofs: &[] };
        draft.to_car::<NativeHasher>(&self.key.public(), |message| self.key.sign(message), Transaction::default())
    }
}

/// The words of a receipt about a blob.
fn told(blob: &Blob, status: &str, more: (&str, Ipld)) -> Ipld {
    let Blob { link, size } = blob;
    let fields = [("blob", Ipld::Link(link.to_cid())), ("size", Ipld::Integer((*size).into()))];
    let fields = fields.into_iter().chain([("status", Ipld::String(status.to_owned())), more]);
    Ipld::Map(fields.map(|(field, value)| (field.to_owned(), value)).collect())
}
