//! The service of spaces: takes what is addressed to it out of a space's `/queue/`, runs each task once, and writes signed
//! receipts.
//!
//! [`sweep`] decides, from the space and from what was run before ([`runs`]); [`answer`] has the commands. A blob is added to the
//! bucket's `store`, whose worker stores it; the receipt in the space follows the entry there.
//!
//! Nothing depends on its staying alive: what was run is on disk before the space says so, what is added on chain is the same
//! CAR however often it is sent, and an edit of the space that came too late is planned anew.

pub mod answer;
pub mod runs;
pub mod sweep;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bucket_core::abi::{CarParams, Message, Returned};
use bucket_core::cid::{CarId, Cid, NativeHasher};
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::error::Failure;
use bucket_core::limits::{CAR_BLOCKS_MAX, CAR_BYTES_MAX, STAGED_BYTES_MAX};
use bucket_core::task::Task;
use bucket_protocols::space::edit::{Edit, OPS_MAX};
use bucket_protocols::space::keys::Kind;
use bucket_protocols::space::push::{PUSH, Push};
use bucket_protocols::store::{self, Status};
use futures::{StreamExt as _, future::ready, stream};

use crate::actor::ActorClient;
use crate::error::ClientError;
use crate::identity::Identity;
use crate::progress::{Progress, Step};
use crate::space::blocks::Nodes;
use crate::space::kept::Holds as _;
use crate::space::pull::pull;
use crate::space::store::Replica;
use crate::space::{SpaceError, millis};
use crate::store::index::{self, Listed};
use crate::task::nonce;
use crate::ucan::revoked::Revocations;
use crate::ucan::sign::invocation;
use crate::ucan::{Held, Token};
use crate::worker::Observer;

use answer::{Blob, shards};
use runs::{Run, Runs};
use sweep::{Asked, Plan, Progress as BlobProgress, Sweeper, asked};

/// Invocations that are taken up at a time.
const ASKED_MAX: usize = 32;

/// Runs that one edit tells of, if they fit.
const RUNS_MAX: usize = 64;

/// Spaces that have their turns at the same time.
const SPACES_MAX: usize = 4;

/// What one space may take at a time.
const TURN: Duration = Duration::from_secs(300);

/// The service of all spaces whose buckets name its DID as their provider.
pub struct Service {
    client: ActorClient,
    key: Identity,
    runs: Runs,
    home: PathBuf,
    buckets: Option<BTreeSet<BucketId>>,
    /// Roots of buckets in which nothing was left to do.
    done: Mutex<BTreeMap<BucketId, String>>,
    observer: Arc<dyn Observer>,
    progress: Progress,
}

/// A space, and what gives the right to edit it.
struct Space {
    id: BucketId,
    held: Vec<Held>,
    /// This service's term as the bucket's provider.
    term: u64,
}

impl Service {
    /// A service that acts as `key` and keeps what it knows in `dir`. `client` needs a signer, who pays, and a gateway.
    pub fn open(client: ActorClient, key: Identity, dir: &Path) -> Result<Self, ClientError> {
        let runs = Runs::open(&dir.join("runs.redb"))?;
        let (home, progress, done) = (dir.to_owned(), Progress::default(), Mutex::default());
        Ok(Self { client, key, runs, home, buckets: None, done, observer: Arc::new(()), progress })
    }

    /// Serves these buckets only, of those that name it; `None` for all of them.
    #[must_use]
    pub fn with_buckets(self, buckets: Option<BTreeSet<BucketId>>) -> Self {
        Self { buckets, ..self }
    }

    /// Tells `observer` of each step.
    #[must_use]
    pub fn with_observer(self, observer: impl Observer + 'static) -> Self {
        Self { observer: Arc::new(observer), ..self }
    }

    /// Tells `progress` what happens.
    #[must_use]
    pub fn with_progress(self, progress: Progress) -> Self {
        Self { progress, ..self }
    }

    /// Serves its spaces until `stop` is ready.
    pub async fn run(&self, poll: Duration, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => return,
                served = self.once() => {
                    if let Err(error) = served {
                        self.note(format!("can't look at the index, will again: {error}"));
                    }
                }
            }
            tokio::select! {
                () = &mut stop => return,
                () = tokio::time::sleep(poll) => {}
            }
        }
    }

    /// Looks at all its spaces once, several at a time, and answers how many it changed. One space's trouble is no other's.
    pub async fn once(&self) -> Result<usize, ClientError> {
        let served = |id: &BucketId| self.buckets.as_ref().is_none_or(|buckets| buckets.contains(id));
        let (_, buckets) = index::buckets(self.client.gateway()?).await?;
        let turns = buckets.into_iter().filter(|bucket| served(&bucket.id)).map(|bucket| self.turn(bucket));
        let changed = stream::iter(turns).buffer_unordered(SPACES_MAX).filter(|changed| ready(*changed));
        Ok(changed.count().await)
    }

    /// One space's turn; whether it changed.
    async fn turn(&self, bucket: Listed) -> bool {
        match tokio::time::timeout(TURN, self.serve(&bucket)).await {
            Ok(Ok(changed)) => return changed,
            Ok(Err(error)) => self.note(format!("{}: {error}; will try again", bucket.id)),
            Err(_) => self.note(format!("{}: its turn is over, the rest comes with the next", bucket.id)),
        }
        false
    }

    async fn serve(&self, bucket: &Listed) -> Result<bool, ClientError> {
        let (id, gateway) = (&bucket.id, self.client.gateway()?);
        if self.done().get(id) == Some(&bucket.root) {
            return Ok(false);
        }
        let provider = index::provider(gateway, id).await?.filter(|provider| provider.provider == self.key.did());
        let Some(provider) = provider else {
            self.done().insert(id.clone(), bucket.root.clone());
            return Ok(false);
        };
        let replica = Replica::new(&self.home, id.clone());
        let pushed = pull(&replica, &self.client).await?.car.is_some();
        let asked = if pushed { self.queue(&replica).await? } else { vec![] };
        let mut known = self.runs.open_ends(id)?;
        if asked.is_empty() && known.is_empty() {
            self.done().insert(id.clone(), bucket.root.clone());
            return Ok(false);
        }
        let mut held = Vec::new();
        for proof in &provider.proofs {
            held.push(Held::new(Token::new(index::block(gateway, proof).await?))?);
        }
        let space = Space { id: id.clone(), held, term: provider.term };
        self.begin(&space, &asked, &mut known).await?;
        let progress = self.progress_of(&space, &known).await?;
        let progress = |blob: &Blob| progress.get(blob).cloned().unwrap_or(BlobProgress::Waiting);
        let sweeper = Sweeper { key: &self.key, space: id };
        let mut most = RUNS_MAX;
        loop {
            let plan = sweeper.plan(&asked, known.clone(), most, progress);
            // What will be said is known before it is said.
            self.step("runs put", async { self.runs.put_all(id, plan.runs.values()) }).await?;
            match self.push(&space, &replica, plan).await {
                // The nodes that an edit touches have to fit its CAR, and how many these are only the tree knows.
                Err(ClientError::CarTooLarge(_)) if most > 1 => most /= 2,
                done => return done,
            }
        }
    }

    fn done(&self) -> MutexGuard<'_, BTreeMap<BucketId, String>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What waits in the queue for this service and has a right to it. Whatever else lies there is passed over, and stays.
    async fn queue(&self, replica: &Replica) -> Result<Vec<Asked>, ClientError> {
        let (mut found, mut after, mut revocations) = (Vec::new(), None, None);
        loop {
            let (some, next) = self.page(replica, after.as_deref())?;
            for asked in some {
                if !self.is_revoked(replica.space(), &asked, &mut revocations).await? {
                    found.push(asked);
                }
                if found.len() == ASKED_MAX {
                    return Ok(found);
                }
            }
            after = next;
            if after.is_none() {
                return Ok(found);
            }
        }
    }

    /// Those of the next keys of the queue that are for this service, as far as they tell themselves, and where to go on.
    fn page(&self, replica: &Replica, after: Option<&str>) -> Result<(Vec<Asked>, Option<String>), SpaceError> {
        let (service, space, now) = (self.key.did(), replica.space(), millis() / 1000);
        replica.read(|kept| {
            let page = kept.view()?.list(Kind::Queue.prefix(), after, OPS_MAX)?;
            let mut found = Vec::new();
            for (key, value) in page.entries {
                let car = if let Ipld::Link(cid) = &value { kept.block(cid)? } else { None };
                found.extend(asked(&key, &value, car, &service, space, now));
            }
            Ok((found, page.next))
        })
    }

    /// Whether the chain says that a delegation behind an invocation was taken back.
    async fn is_revoked(
        &self,
        space: &BucketId,
        asked: &Asked,
        known: &mut Option<Revocations>,
    ) -> Result<bool, ClientError> {
        if asked.marks.is_empty() {
            return Ok(false);
        }
        let revocations = match known {
            Some(revocations) => revocations,
            None => known.insert(self.client.revocations(space).await?),
        };
        let Some((delegation, by)) = revocations.first(asked.marks.iter().cloned()).await? else { return Ok(false) };
        self.note(format!("{space}: {} isn't run: {by} took back delegation {delegation}", asked.invocation));
        Ok(true)
    }

    /// Begins what is asked for the first time, and adds blobs to the bucket's store.
    async fn begin(&self, space: &Space, asked: &[Asked], known: &mut BTreeMap<Cid, Run>) -> Result<(), ClientError> {
        for Asked { ran, .. } in asked {
            if let Some(run) = self.runs.get(&space.id, ran)? {
                known.insert(*ran, run);
            }
        }
        let stored = self.stored(space, asked).await?;
        let sweeper = Sweeper { key: &self.key, space: &space.id };
        sweeper.begin(asked, known, |link| stored.contains(link));
        // From here on the runs are remembered, whatever becomes of the queue.
        self.step("runs begin", async { self.runs.put_all(&space.id, known.values()) }).await?;
        for run in known.values_mut().filter(|run| !run.added) {
            let Ok(blob) = answer::blob(&run.task) else { continue };
            match self.add(space, &run.ran, &blob).await {
                Ok(Ok(_)) => run.added = true,
                Ok(Err(failure)) => sweeper.refuse(run, failure),
                // The bucket's delegations don't cover this one.
                Err(ClientError::Denied(denied)) => {
                    sweeper.refuse(run, Failure::new("Denied", denied.to_string()));
                }
                Err(error) => self.note(format!("{}: blob {}: {error}; will try again", space.id, blob.link)),
            }
            self.step("runs added", async { self.runs.put(&space.id, run) }).await?;
        }
        Ok(())
    }

    /// Those of the shards that are asked about that the bucket's store has.
    async fn stored(&self, space: &Space, asked: &[Asked]) -> Result<BTreeSet<CarId>, ClientError> {
        let mut stored = BTreeSet::new();
        for link in asked.iter().flat_map(|asked| shards(&asked.task)) {
            let (_, entry) = index::entry(self.client.gateway()?, &space.id, &link).await?;
            if entry.is_some_and(|entry| entry.is_stored(space.term)) {
                stored.insert(link);
            }
        }
        Ok(stored)
    }

    /// Adds a blob to the bucket's store, in the same CAR however often this is called, and waits until the index knows.
    async fn add(&self, space: &Space, ran: &Cid, blob: &Blob) -> Result<Result<Ipld, Failure>, ClientError> {
        let task = store::add(&space.id, blob.link, blob.size, ran.hash().digest().to_vec());
        let car = invocation(&self.key, task, Default::default(), &space.held, None, millis() / 1000)?;
        let id = CarId::of::<NativeHasher>(&car);
        let sent = self.step("chain add", self.client.invoke(CarParams::new(space.id.clone(), car))).await?;
        self.note(format!("{}: added {} to its store (gas {})", space.id, blob.link, sent.gas_used));
        Ok(self.step("index add", self.client.wait_receipt(&space.id, &id)).await?.receipt.out)
    }

    /// What became of the blobs of runs that aren't over.
    async fn progress_of(
        &self,
        space: &Space,
        runs: &BTreeMap<Cid, Run>,
    ) -> Result<BTreeMap<Blob, BlobProgress>, ClientError> {
        let mut progress = BTreeMap::new();
        for blob in runs.values().filter(|run| !run.last).filter_map(|run| answer::blob(&run.task).ok()) {
            let (_, entry) = index::entry(self.client.gateway()?, &space.id, &blob.link).await?;
            let refused = |name: &str, why: &str| BlobProgress::Refused(Failure::new(name, why));
            let stored = entry.as_ref().is_some_and(|entry| entry.is_stored(space.term));
            let size = entry.as_ref().and_then(|entry| entry.car).map(|(_, size)| size);
            let found = match entry.map(|entry| (entry.status, entry.put)) {
                // Whoever was there first said how long it is.
                Some(_) if size != Some(blob.size) => refused(
                    "SizeMismatch",
                    &format!("expected {} bytes, the store has an entry of other ones", blob.size),
                ),
                Some((Status::Receiving, Some(put))) => BlobProgress::Receiving { url: put.url, headers: put.headers },
                Some((Status::Ok, _)) if stored => BlobProgress::Stored,
                Some((Status::Ok, _)) => refused(
                    "ProviderChanged",
                    "expected the blob to be stored by this service, got another's word: add it again",
                ),
                Some((Status::Exceeds, _)) => refused("ExceedsLimit", "expected room for the blob, got none"),
                Some((Status::Expired, _)) => refused("Expired", "expected the blob to be put in time, got none"),
                _ => BlobProgress::Waiting,
            };
            progress.insert(blob, found);
        }
        Ok(progress)
    }

    /// Changes the space. An edit that came too late is planned anew, with the next look.
    async fn push(&self, space: &Space, replica: &Replica, plan: Plan) -> Result<bool, ClientError> {
        let Plan { ops, cars, runs } = plan;
        let mut done = true;
        if !ops.is_empty() {
            let edit = Edit::new(ops).map_err(SpaceError::from)?;
            let prepared = replica.read(|kept| {
                let push = Push { base: kept.head()?.root, edit, upto: None };
                push.prepare::<NativeHasher>(&Nodes(kept)).map_err(SpaceError::Tree)
            })?;
            if prepared.written.root != prepared.push.base {
                let transaction = prepared.blocks(cars.values().map(Vec::as_slice));
                let args = prepared.push.args();
                let task = Task { sub: space.id.clone(), cmd: PUSH.into(), args, nonce: nonce()? };
                let blocks = prepared.witness.len() + cars.len() + space.held.len() + 1;
                let car = invocation(&self.key, task, transaction, &space.held, None, millis() / 1000)?;
                if car.len() > STAGED_BYTES_MAX || blocks > CAR_BLOCKS_MAX {
                    return Err(ClientError::CarTooLarge(car.len()));
                }
                done = self.send(space, car).await?;
            }
        }
        if done {
            let written = |run: Run| Run { written: true, ..run };
            let runs: Vec<_> = runs.into_values().filter(|run| !run.written).map(written).collect();
            self.step("runs written", async { self.runs.put_all(&space.id, &runs) }).await?;
        }
        Ok(done)
    }

    /// Sends an edit and tells whether it was taken.
    async fn send(&self, space: &Space, car: Vec<u8>) -> Result<bool, ClientError> {
        let params = CarParams::new(space.id.clone(), car);
        if params.car.len() <= CAR_BYTES_MAX {
            // A receipt that is a failure would cost as much as one that isn't.
            let trial = self.client.simulate(&Message::Invoke(params.clone())).await?;
            if matches!(trial, Returned::Invoke(told) if told.ok == Some(false)) {
                self.note(format!("{}: the space has changed meanwhile", space.id));
                return Ok(false);
            }
        }
        let id = CarId::of::<NativeHasher>(&params.car);
        let sent = self.step("chain edit", self.client.invoke(params)).await?;
        let taken = sent.value.ok == Some(true);
        let what = if taken { "wrote receipts" } else { "came too late with receipts" };
        self.note(format!("{}: {what} (gas {})", space.id, sent.gas_used));
        self.step("index edit", self.client.wait_receipt(&space.id, &id)).await?;
        Ok(taken)
    }

    async fn step<T>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        self.observer.before(name);
        let done = work.await;
        self.observer.after(name);
        done
    }

    fn note(&self, text: String) {
        self.progress.tell(Step::Note(text));
    }
}
