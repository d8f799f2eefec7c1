//! One look at the index, and a turn for each entry that waits.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use bucket_core::cid::{CarId, Cid};
use bucket_core::did::BucketId;
use bucket_protocols::store::{Entry, Outbox};
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::task::{Id, JoinError, JoinSet};

use super::entry::Turn;
use super::ledger::{Attempt, Ledger, Settled};
use super::retry::Retries;
use super::{Inner, Service, Worker, WorkerError};
use crate::error::ClientError;
use crate::store::index::{self, Listed};

/// Buckets that are looked at together.
const LOOKS_AT_ONCE: usize = 16;

/// Entries that are asked for one by one; all of a bucket's are asked for where it would be more.
const ENTRIES_MAX: usize = 64;

/// An entry; or a bucket, of which nothing can be said.
type Place = (BucketId, Option<CarId>);

/// What is known of a bucket as long as its root is the same.
struct Known {
    root: String,
    /// `None` when another serves it, or nobody.
    service: Option<Arc<Service>>,
    outboxes: Vec<Arc<Outbox>>,
    /// CARs whose effects are gone, while bytes may be allocated for them.
    unsettled: BTreeSet<CarId>,
}

/// What lasts from one pass to the next.
struct Round {
    known: BTreeMap<BucketId, Arc<Known>>,
    retries: Retries<Place>,
    sweeps: Retries<()>,
    turns: JoinSet<Result<(), WorkerError>>,
    places: HashMap<Id, Place>,
    busy: BTreeSet<Place>,
    failures: usize,
}

impl Worker {
    /// Serves its buckets until `stop` is ready. What is under way then is left, and taken up by the next worker.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        let mut round = Round::new(&self.0);
        loop {
            tokio::select! {
                () = &mut stop => return,
                () = self.pass(&mut round) => {}
            }
            let mut pause = std::pin::pin!(tokio::time::sleep(self.0.settings.poll));
            loop {
                tokio::select! {
                    () = &mut stop => return,
                    () = &mut pause => break,
                    Some(ended) = round.turns.join_next_with_id() => round.ended(&self.0, ended),
                }
            }
        }
    }

    /// Looks at all its buckets once, does what can be done now, and answers how many entries and buckets failed.
    pub async fn once(&self) -> Result<usize, ClientError> {
        let mut round = Round::new(&self.0);
        self.look(&mut round).await?;
        while let Some(ended) = round.turns.join_next_with_id().await {
            round.ended(&self.0, ended);
        }
        Ok(round.failures)
    }

    async fn pass(&self, round: &mut Round) {
        if let Err(error) = self.look(round).await {
            self.0.note(format!("can't look at the index, will again: {error}"));
        }
    }

    async fn look(&self, round: &mut Round) -> Result<(), ClientError> {
        let (epoch, listed) = index::buckets(self.0.client.gateway()?).await?;
        let now = Instant::now();
        let served = |id: &BucketId| self.0.settings.buckets.as_ref().is_none_or(|buckets| buckets.contains(id));
        let looks = listed.into_iter().filter(|bucket| served(&bucket.id));
        let looks = looks.filter(|bucket| round.retries.may(&(bucket.id.clone(), None), now));
        let looks = looks.map(|bucket| {
            let before = round.known.get(&bucket.id).cloned();
            let busy = round.busy.range((bucket.id.clone(), None)..).take_while(|(of, _)| *of == bucket.id);
            let busy = busy.filter_map(|(_, link)| *link).collect();
            async move {
                let found = match before {
                    Some(known) if known.root == bucket.root && known.unsettled.is_empty() => Ok(known),
                    before => self.0.know(&bucket, before, &busy).await.map(Arc::new),
                };
                (bucket.id, found)
            }
        });
        let looks: Vec<_> = looks.collect();
        let mut looks = futures::stream::iter(looks).buffer_unordered(LOOKS_AT_ONCE);
        let mut known = BTreeMap::new();
        while let Some((bucket, found)) = looks.next().await {
            match found {
                Ok(found) => {
                    round.retries.went_well(&(bucket.clone(), None));
                    self.begin(round, &found, epoch);
                    known.insert(bucket, found);
                }
                Err(error) => round.failed(&self.0, (bucket, None), &error),
            }
        }
        round.known = known;
        self.sweep(round).await;
        Ok(())
    }

    async fn sweep(&self, round: &mut Round) {
        let now = Instant::now();
        if !round.sweeps.may(&(), now) {
            return;
        }
        match self.0.sweep().await {
            Ok(()) => round.sweeps.went_well(&()),
            Err(error) => {
                round.failures += 1;
                let pause = round.sweeps.failed((), now).as_secs_f32();
                self.0.note(format!("can't take away what no entry accounts for: {error}; trying again in {pause} s"));
            }
        }
    }

    /// Gives each entry of a bucket its turn, but for those that have it still, or failed a moment ago.
    fn begin(&self, round: &mut Round, known: &Known, epoch: i64) {
        let Some(service) = &known.service else { return };
        let now = Instant::now();
        for outbox in &known.outboxes {
            let place = (service.bucket.clone(), Some(outbox.link));
            if !round.retries.may(&place, now) || !round.busy.insert(place.clone()) {
                continue;
            }
            let (worker, service, outbox) = (self.clone(), service.clone(), outbox.clone());
            let turn = round.turns.spawn(async move {
                let inner = &*worker.0;
                let _turn = inner.turns.acquire().await;
                Turn { inner, service: &service, outbox: &outbox, epoch }.take().await
            });
            round.places.insert(turn.id(), place);
        }
    }
}

impl Inner {
    /// Asks the index about a bucket, whose `busy` entries have a turn.
    async fn know(
        &self,
        listed: &Listed,
        before: Option<Arc<Known>>,
        busy: &BTreeSet<CarId>,
    ) -> Result<Known, WorkerError> {
        let Listed { id, root } = listed.clone();
        let gateway = self.client.gateway()?;
        let provider = index::provider(gateway, &id).await?.filter(|provider| provider.provider == self.key.did());
        let Some(provider) = provider else {
            return Ok(Known { root, service: None, outboxes: vec![], unsettled: BTreeSet::new() });
        };
        let before = before.as_ref().and_then(|known| Some((known, known.service.clone()?)));
        let same = |service: &Arc<Service>| service.held.iter().map(|held| held.token.cid).eq(provider.proofs.clone());
        let service = match before.as_ref().map(|(_, service)| service.clone()).filter(same) {
            Some(service) => service,
            None => Arc::new(self.serve(&id, &provider.proofs).await?),
        };
        let (rows, outboxes) = index::outboxes(gateway, &id).await?;
        for why in rows.unreadable {
            self.note(format!("leaving out an entry: {why}"));
        }
        let links: BTreeSet<CarId> = outboxes.iter().map(|outbox| outbox.link).collect();
        let mut unsettled = match before {
            Some((known, _)) => {
                known.unsettled.iter().copied().chain(known.outboxes.iter().map(|outbox| outbox.link)).collect()
            }
            // It may have been told of anything, and the chain may have gone anywhere since.
            None => self.ledger.allocated(&id)?,
        };
        unsettled.retain(|link| !links.contains(link));
        let unsettled = match self.settle(&id, unsettled.clone(), busy, rows.epoch).await {
            Ok(unsettled) => unsettled,
            Err(error) => {
                self.note(format!("{id}: can't compare the ledger with the chain, will again: {error}"));
                unsettled
            }
        };
        let bucket = id.clone();
        self.ledger("ledger forget", move |ledger| ledger.forget(&bucket, &links)).await?;
        Ok(Known { root, service: Some(service), outboxes: outboxes.into_iter().map(Arc::new).collect(), unsettled })
    }

    /// What gives the right to serve a bucket.
    async fn serve(&self, bucket: &BucketId, proofs: &[Cid]) -> Result<Service, WorkerError> {
        let held = index::held(self.client.gateway()?, proofs).await?;
        self.note(format!("{bucket}: serving it"));
        Ok(Service { bucket: bucket.clone(), held })
    }

    /// Sees to it that what is allocated for these CARs, of which no effects wait, is what their entries stand for. Answers
    /// those that are to be looked at again.
    async fn settle(
        &self,
        bucket: &BucketId,
        links: BTreeSet<CarId>,
        busy: &BTreeSet<CarId>,
        epoch: i64,
    ) -> Result<BTreeSet<CarId>, WorkerError> {
        let (busy, idle): (BTreeSet<_>, BTreeSet<_>) = links.into_iter().partition(|link| busy.contains(link));
        if idle.is_empty() {
            return Ok(busy);
        }
        let entries = self.entries(bucket, idle).await?;
        let id = bucket.clone();
        let settle = move |ledger: &Ledger| ledger.settle(&id, &entries, epoch);
        let Settled { freed, unsettled } = self.ledger("ledger settle", settle).await?;
        for (Attempt { bucket, link, number }, size) in freed {
            self.note(format!(
                "{bucket}: CAR {link} (attempt {number}): gave {size} bytes back: the chain took it back"
            ));
        }
        Ok(&busy | &unsettled)
    }

    /// The entries of these CARs.
    async fn entries(
        &self,
        bucket: &BucketId,
        links: BTreeSet<CarId>,
    ) -> Result<BTreeMap<CarId, Option<Entry>>, WorkerError> {
        let gateway = self.client.gateway()?;
        if links.len() > ENTRIES_MAX {
            let all = index::entries(gateway, bucket).await?;
            let mut all: BTreeMap<_, _> = all.into_iter().filter_map(|entry| Some((entry.car?.0, entry))).collect();
            return Ok(links.into_iter().map(|link| (link, all.remove(&link))).collect());
        }
        let entries = futures::stream::iter(links)
            .map(|link| async move { Ok::<_, ClientError>((link, index::entry(gateway, bucket, &link).await?.1)) });
        Ok(entries.buffer_unordered(LOOKS_AT_ONCE).try_collect().await?)
    }
}

impl Round {
    fn new(inner: &Inner) -> Self {
        Self {
            known: BTreeMap::new(),
            retries: Retries::new(inner.settings.pauses),
            sweeps: Retries::new(inner.settings.pauses),
            turns: JoinSet::new(),
            places: HashMap::new(),
            busy: BTreeSet::new(),
            failures: 0,
        }
    }

    fn ended(&mut self, inner: &Inner, ended: Result<(Id, Result<(), WorkerError>), JoinError>) {
        let (id, result) = match ended {
            Ok(ended) => ended,
            Err(error) => (error.id(), Err(WorkerError::Broken(error.to_string()))),
        };
        let Some(place) = self.places.remove(&id) else { return };
        self.busy.remove(&place);
        match result {
            Ok(()) => self.retries.went_well(&place),
            Err(error) => self.failed(inner, place, &error),
        }
    }

    fn failed(&mut self, inner: &Inner, place: Place, error: &WorkerError) {
        self.failures += 1;
        let pause = self.retries.failed(place.clone(), Instant::now());
        let (bucket, link) = place;
        let link = link.map(|link| format!(": CAR {link}")).unwrap_or_default();
        inner.note(format!("{bucket}{link}: {error}; trying again in {} s", pause.as_secs_f32()));
    }
}
