//! One turn of one entry: whatever of its effects can be done now is done, and what came of it is remembered.
//!
//! [`effect::next`] says what is next; a job that can't be answered yet isn't answered, and comes again with the next turn.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use bucket_core::cid::{CarId, Cid, Hasher as _, NativeHasher};
use bucket_core::dag_cbor::{self, Ipld};
use bucket_core::effect::{self, Effect, Job, Memo, Outcome, Ready, Step};
use bucket_core::error::Failure;
use bucket_core::stm::Item;
use bucket_protocols::store::effects::{
    ALLOCATE, DEALLOCATE, NO_ROOM, NOT_THERE, SIGN, SLEEP, STAT, UPLOAD, WATCH, is_final,
};
use bucket_protocols::store::event::EXPIRE;
use bucket_protocols::store::{Outbox, idempotency_key};

use super::ledger::{Allocation, Attempt, Capacity, Claim, Key, Ledger};
use super::{Inner, Service, Settings, WorkerError};

/// A signed URL that is older is made anew before anybody is told of it, in seconds: it was made before a crash or an outage.
const SIGNED_SECONDS_MAX: u64 = 600;

/// An entry, and who acts for it at which epoch.
pub(super) struct Turn<'a> {
    pub inner: &'a Inner,
    pub service: &'a Service,
    pub outbox: &'a Outbox,
    /// The epoch of the newest indexed tipset.
    pub epoch: i64,
}

/// A job that is to be done, and for which attempt.
pub(super) struct Asked<'a> {
    pub at: Attempt,
    pub ready: &'a Ready,
    /// The epoch in which it was asked for.
    pub since: i64,
    pub key: Key,
}

impl Turn<'_> {
    /// Does what can be done. One job's error doesn't keep the others from being done; the first is answered.
    pub async fn take(&self) -> Result<(), WorkerError> {
        let mut first = Ok(());
        // Earlier attempts come first: the bytes that they give back may be wanted by the next.
        for (number, items) in self.outbox.attempts() {
            let settled =
                |item: &&Item| item.since.saturating_add_unsigned(self.inner.settings.confidence) <= self.epoch;
            let items: Vec<_> = items.into_iter().filter(settled).collect();
            first = first.and(self.attempt(number, &items).await);
        }
        first
    }

    async fn attempt(&self, number: u64, items: &[&Item]) -> Result<(), WorkerError> {
        let effects: Vec<Effect> = items.iter().map(|item| item.effect.clone()).collect();
        let (mut memo, mut unanswered, mut first) = (Memo::new(), BTreeSet::<Cid>::new(), Ok(()));
        let mut there = false;
        while let Step::Run(mut jobs) = effect::next::<NativeHasher>(&effects, &memo) {
            jobs.retain(|ready| !unanswered.contains(&ready.id));
            if jobs.is_empty() {
                break;
            }
            // What was put in time doesn't expire because the worker was late.
            jobs.sort_by_key(|ready| ready.job.cmd == EXPIRE);
            for ready in jobs {
                // And what is there doesn't because the bucket couldn't be told yet.
                if there && ready.job.cmd == EXPIRE {
                    unanswered.insert(ready.id);
                    continue;
                }
                match self.job(number, items, &ready).await {
                    // The entry is another now. What is left to do the index will say.
                    Ok(Some(_)) if is_event(&ready.job) => return first,
                    Ok(Some(outcome)) => {
                        there |= outcome.is_ok() && matches!(ready.job.cmd.as_str(), STAT | WATCH);
                        memo.insert(ready.id, outcome);
                    }
                    other => {
                        unanswered.insert(ready.id);
                        first = first.and(other.map(drop));
                    }
                }
            }
        }
        first
    }

    /// Does a job; `None` when it can't be answered yet.
    async fn job(&self, number: u64, items: &[&Item], ready: &Ready) -> Result<Option<Outcome>, WorkerError> {
        let Outbox { link, .. } = *self.outbox;
        let bucket = &self.service.bucket;
        let key = idempotency_key::<NativeHasher>(bucket, link, number, &ready.job);
        let asks = |item: &&&Item| item.effect.jobs().contains(&&ready.job);
        let since = items.iter().filter(asks).map(|item| item.since).max().unwrap_or(self.epoch);
        let asked = Asked { at: Attempt { bucket: bucket.clone(), link, number }, ready, since, key };
        match ready.job.cmd.as_str() {
            // The size is that of the newest attempt; what an earlier one asked for is of no use any more.
            ALLOCATE | STAT | SIGN | WATCH if number != self.outbox.attempt => Ok(None),
            ALLOCATE => self.allocate(asked).await,
            DEALLOCATE => self.deallocate(asked).await,
            WATCH if !self.has_room(&asked).await? => Ok(None),
            STAT | SIGN | WATCH => self.remembered(asked).await,
            SLEEP => Ok(self.is_over(&ready.job, since).then_some(Ok(Ipld::Null))),
            // The uploader's.
            UPLOAD => Ok(None),
            _ if is_event(&ready.job) => self.deliver(asked).await.map(|out| Some(Ok(out))),
            other => Err(WorkerError::Unknown(other.to_owned())),
        }
    }

    async fn allocate(&self, asked: Asked<'_>) -> Result<Option<Outcome>, WorkerError> {
        let (at, claim, capacity) = self.claim(&asked);
        let _own = self.inner.objects.own(&at.link).await;
        let answer = self.inner.ledger("ledger allocate", move |ledger| ledger.allocate(&at, claim, capacity)).await?;
        Ok(match self.told(&asked, answer) {
            Allocation::Allocated(_) => Some(Ok(Ipld::Null)),
            Allocation::Exceeded { used, capacity } => Some(Err(no_room(claim.size, used, capacity))),
            // Late: nobody waits for an answer.
            Allocation::Freed => None,
        })
    }

    /// Whether what is waited for has the room that it was told of. Without it nothing is taken, and the entry expires.
    async fn has_room(&self, asked: &Asked<'_>) -> Result<bool, WorkerError> {
        let (at, claim, capacity) = self.claim(asked);
        let _own = self.inner.objects.own(&at.link).await;
        let answer = self.inner.ledger("ledger keep", move |ledger| ledger.keep(&at, claim, capacity)).await?;
        Ok(matches!(self.told(asked, answer), Allocation::Allocated(_)))
    }

    fn claim(&self, asked: &Asked<'_>) -> (Attempt, Claim, Capacity) {
        let claim = Claim { size: self.outbox.size, since: asked.since };
        let Settings { capacity, total, .. } = self.inner.settings;
        (asked.at.clone(), claim, Capacity { each: capacity, total: total.unwrap_or(u64::MAX) })
    }

    fn told(&self, asked: &Asked<'_>, answer: Allocation) -> Allocation {
        match answer {
            Allocation::Allocated(new @ 1..) => self.note(&asked.at, format!("allocated {new} bytes")),
            Allocation::Exceeded { used, capacity } => {
                self.note(&asked.at, format!("no room: {}", no_room(self.outbox.size, used, capacity).message));
            }
            Allocation::Allocated(0) | Allocation::Freed => {}
        }
        answer
    }

    async fn deallocate(&self, asked: Asked<'_>) -> Result<Option<Outcome>, WorkerError> {
        let at = asked.at.clone();
        let freed = self.inner.ledger("ledger free", move |ledger| ledger.free(&at)).await?;
        if freed > 0 {
            self.note(&asked.at, format!("gave {freed} bytes back"));
        }
        Ok(Some(Ok(Ipld::Null)))
    }

    /// A job that asks or tells the store for CARs: done once, also when the process ends behind it.
    async fn remembered(&self, asked: Asked<'_>) -> Result<Option<Outcome>, WorkerError> {
        let Attempt { bucket, link, .. } = asked.at.clone();
        // After a reorganisation the same attempt may be at another size.
        let size = self.outbox.size.to_be_bytes();
        let (key, now) = (NativeHasher::sha2_256(&[&asked.key[..], &size].concat()), seconds());
        let known = self.inner.ledger.recall(&bucket, &link, &key)?;
        let cmd = asked.ready.job.cmd.as_str();
        if let Some(Memorandum { since, outcome }) = known.and_then(|bytes| Memorandum::decode(&bytes))
            && (cmd != SIGN || now.saturating_sub(since) <= SIGNED_SECONDS_MAX)
        {
            return Ok(Some(outcome));
        }
        let outcome = match cmd {
            SIGN => {
                let upload = self.inner.s3.sign(&asked.at.link, self.outbox.size);
                Some(Ok(upload.to_ipld()))
            }
            WATCH if self.is_there(&asked.at).await? => Some(Ok(Ipld::Null)),
            STAT if self.is_there(&asked.at).await? => Some(Ok(Ipld::Null)),
            STAT => Some(Err(Failure::new(NOT_THERE, "expected the CAR in the store, got none"))),
            _ => None,
        };
        let Some(outcome) = outcome else { return Ok(None) };
        if outcome.as_ref().err().is_none_or(|failure| is_final(cmd, &failure.name)) {
            let Attempt { bucket, link, .. } = asked.at.clone();
            let bytes = Memorandum { since: now, outcome: outcome.clone() }.encode();
            let until = (cmd == SIGN).then(|| self.inner.left_alone(now));
            let keep = move |ledger: &Ledger| match until {
                Some(until) => ledger.remember_url(&bucket, &link, &key, &bytes, until),
                None => ledger.remember(&bucket, &link, &key, &bytes),
            };
            self.inner.ledger("ledger remember", keep).await?;
        }
        Ok(Some(outcome))
    }

    /// Whether the store has the CAR, of the size that the entry says. Something else under its name is deleted: it could only
    /// have come by a store that doesn't compare what is put with what was signed. What is right stays, whatever size is said:
    /// it is the CAR of other buckets, too.
    async fn is_there(&self, at: &Attempt) -> Result<bool, WorkerError> {
        let (inner, link, size) = (self.inner, &at.link, self.outbox.size);
        // What is taken away is what was read.
        let _own = inner.objects.own(link).await;
        let Some(head) = inner.step("s3 head", inner.s3.head(link)).await? else { return Ok(false) };
        if !inner.is_verified(link, &head) {
            let _reading = inner.reading.acquire().await;
            let Some(held) = inner.step("s3 get", inner.s3.hash(link, head.size)).await? else { return Ok(false) };
            if held.digest != link.0 {
                let (got, digest) = (held.size, CarId(held.digest));
                let what =
                    format!("expected the CAR in the store, got {got} bytes that hash to {digest}: deleting them");
                self.note(at, what);
                inner.step("s3 delete", inner.s3.delete(link)).await?;
                return Ok(false);
            }
            inner.verified(*link, head.clone());
            self.note(at, format!("verified {} bytes", head.size));
        }
        Ok(head.size == size)
    }

    /// Whether a sleep is over. It began with its effect.
    fn is_over(&self, job: &Job, since: i64) -> bool {
        let Some(Ipld::Integer(epochs)) = job.args.get("epochs") else { return false };
        i128::from(self.epoch) >= i128::from(since).saturating_add(*epochs)
    }

    pub(super) fn note(&self, at: &Attempt, what: impl std::fmt::Display) {
        let Attempt { bucket, link, number } = at;
        self.inner.note(format!("{bucket}: CAR {link} (attempt {number}): {what}"));
    }
}

fn no_room(size: u64, used: u64, capacity: u64) -> Failure {
    Failure::new(NO_ROOM, format!("expected room for {size} bytes, got {used} of {capacity} taken"))
}

fn is_event(job: &Job) -> bool {
    job.cmd.starts_with("/store/")
}

/// What became of a job, and when.
struct Memorandum {
    /// Seconds since 1970.
    since: u64,
    outcome: Outcome,
}

impl Memorandum {
    fn encode(&self) -> Vec<u8> {
        let outcome = match &self.outcome {
            Ok(value) => vec![value.clone()],
            Err(Failure { name, message }) => vec![Ipld::String(name.clone()), Ipld::String(message.clone())],
        };
        dag_cbor::encode(&Ipld::List(vec![Ipld::Integer(self.since.into()), Ipld::List(outcome)]))
    }

    /// Nothing of what an older version wrote counts.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let Ok(Ipld::List(parts)) = dag_cbor::decode(bytes) else { return None };
        let [Ipld::Integer(since), Ipld::List(outcome)] = &parts[..] else { return None };
        let outcome = match &outcome[..] {
            [value] => Ok(value.clone()),
            [Ipld::String(name), Ipld::String(message)] => Err(Failure::new(name, message)),
            _ => return None,
        };
        Some(Self { since: u64::try_from(*since).ok()?, outcome })
    }
}

pub(super) fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
