//! The service of spaces: takes what is addressed to it out of a space's `/queue/`, runs each task once, and writes signed
//! receipts.
//!
//! [`sweep`] decides, from the space and from what was run before ([`runs`]); [`answer`] has the commands. A blob is added to the
//! bucket's `store`, whose worker stores it; the receipt in the space follows the entry there.
//!
//! Nothing depends on its staying alive: what was run is on disk before the space says so, what is added on chain is the same
//! CAR however often it is sent, and an edit of the space that came too late, or that a reorganisation took back, is planned
//! anew. What was signed stays signed: a reorganisation gives no other receipt.

pub mod answer;
mod blobs;
mod queue;
pub mod runs;
pub mod sweep;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bucket_core::abi::{CarParams, Message, Returned};
use bucket_core::cid::{CarId, Cid, NativeHasher};
use bucket_core::did::BucketId;
use bucket_core::limits::{CAR_BLOCKS_MAX, CAR_BYTES_MAX, STAGED_BYTES_MAX};
use bucket_core::task::Task;
use bucket_protocols::space::edit::Edit;
use bucket_protocols::space::push::{PUSH, Push};
use futures::{StreamExt as _, future::ready, stream};

use crate::actor::ActorClient;
use crate::chain::FINALITY;
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
use crate::ucan::Held;
use crate::ucan::sign::invocation;
use crate::worker::Observer;

use answer::Blob;
use runs::{Keys, Run, Runs, Written};
use sweep::{Plan, Progress as BlobProgress, Sweeper};

/// Invocations that are taken up at a time.
const ASKED_MAX: usize = 32;

/// Runs that one edit tells of, if they fit.
const RUNS_MAX: usize = 64;

/// How long a space is left alone in which something is left that may be taken later.
const LATER: Duration = Duration::from_secs(60);

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
    /// Roots of buckets in which nothing was left to do, and until when that holds.
    done: Mutex<BTreeMap<BucketId, (String, Option<Instant>)>>,
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
        let (epoch, buckets) = index::buckets(self.client.gateway()?).await?;
        let turns = buckets.into_iter().filter(|bucket| served(&bucket.id)).map(|bucket| self.turn(bucket, epoch));
        let changed = stream::iter(turns).buffer_unordered(SPACES_MAX).filter(|changed| ready(*changed));
        Ok(changed.count().await)
    }

    /// One space's turn; whether it changed.
    async fn turn(&self, bucket: Listed, epoch: i64) -> bool {
        match tokio::time::timeout(TURN, self.serve(&bucket, epoch)).await {
            Ok(Ok(changed)) => return changed,
            Ok(Err(error)) => self.note(format!("{}: {error}; will try again", bucket.id)),
            Err(_) => self.note(format!("{}: its turn is over, the rest comes with the next", bucket.id)),
        }
        false
    }

    async fn serve(&self, bucket: &Listed, epoch: i64) -> Result<bool, ClientError> {
        let (id, gateway) = (&bucket.id, self.client.gateway()?);
        if self.is_done(bucket) {
            return Ok(false);
        }
        let provider = index::provider(gateway, id).await?.filter(|provider| provider.provider == self.key.did());
        let Some(provider) = provider else { return Ok(self.done(bucket, None)) };
        let replica = Replica::new(&self.home, id.clone());
        let pushed = pull(&replica, &self.client).await?.car.is_some();
        let (asked, later) = if pushed { self.queue(&replica).await? } else { Default::default() };
        let mut known = self.recheck(id, epoch).await?;
        if asked.is_empty() && known.is_empty() {
            return Ok(self.done(bucket, later.then(|| Instant::now() + LATER)));
        }
        let held = index::held(gateway, &provider.proofs).await?;
        let space = Space { id: id.clone(), held, term: provider.term };
        let said = self.begin(&space, &asked, &mut known).await?;
        let progress = self.progress_of(&space, &mut known).await?;
        let progress = |blob: &Blob| progress.get(blob).cloned().unwrap_or(BlobProgress::Waiting);
        let sweeper = Sweeper { key: &self.key, space: id };
        let mut most = RUNS_MAX;
        loop {
            let plan = sweeper.plan(&asked, known.clone(), said.clone(), most, progress);
            // What will be said is known before it is said.
            self.step("runs put", async { self.runs.put_all(id, plan.runs.values(), &plan.said) }).await?;
            match self.push(&space, &replica, plan, epoch).await {
                // The nodes that an edit touches have to fit its CAR, and how many these are only the tree knows.
                Err(ClientError::CarTooLarge(_)) if most > 1 => most /= 2,
                done => return done,
            }
        }
    }

    /// Whether a space is as it was when nothing was left to do.
    fn is_done(&self, bucket: &Listed) -> bool {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = |until: &Option<Instant>| until.is_none_or(|until| Instant::now() < until);
        done.get(&bucket.id).is_some_and(|(root, until)| *root == bucket.root && holds(until))
    }

    /// Leaves a space alone, as long as it is as it is, and at most `until` then. Nothing was changed.
    fn done(&self, bucket: &Listed, until: Option<Instant>) -> bool {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.insert(bucket.id.clone(), (bucket.root.clone(), until));
        false
    }

    /// Runs that aren't over. The newest push that wrote a receipt is looked for: if a reorganisation took it back, so is the one
    /// before, and what they wrote is to be written again. The newest that is there was made on top of all before it.
    async fn recheck(&self, space: &BucketId, epoch: i64) -> Result<BTreeMap<Cid, Run>, ClientError> {
        let mut runs = self.runs.open_ends(space)?;
        let push = |run: &Run| if let Written::By(push, height) = run.written { Some((height, push)) } else { None };
        let mut pushes: BTreeSet<_> = runs.values().filter_map(push).collect();
        let mut gone = BTreeSet::new();
        while let Some((_, push)) = pushes.pop_last() {
            if matches!(self.client.outcome(space, &push).await?, Some(Ok(_))) {
                break;
            }
            self.note(format!("{space}: {push} was taken back"));
            gone.insert(push);
        }
        let mut changed = Vec::new();
        for run in runs.values_mut() {
            match run.written {
                Written::By(push, _) if gone.contains(&push) => run.written = Written::No,
                Written::By(_, height) if height.saturating_add(FINALITY) <= epoch => run.written = Written::Final,
                _ => continue,
            }
            changed.push(run.clone());
        }
        self.step("runs checked", async { self.runs.put_all(space, &changed, &Keys::new()) }).await?;
        runs.retain(|_, run| !run.last || run.written == Written::No);
        Ok(runs)
    }

    /// Changes the space. An edit that came too late is planned anew, with the next look.
    async fn push(&self, space: &Space, replica: &Replica, plan: Plan, epoch: i64) -> Result<bool, ClientError> {
        let Plan { ops, cars, runs, .. } = plan;
        if runs.is_empty() {
            return Ok(false);
        }
        // What the space says already, the push says that led to it.
        let mut done = replica.read(|kept| Ok(kept.evidence()?.0))?.map(|push| (push, epoch));
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
        let Some((push, height)) = done else { return Ok(false) };
        let written = |run: Run| Run { written: Written::By(push, height), ..run };
        let runs: Vec<_> = runs.into_values().filter(|run| run.written == Written::No).map(written).collect();
        self.step("runs written", async { self.runs.put_all(&space.id, &runs, &Keys::new()) }).await?;
        Ok(true)
    }

    /// Sends an edit and tells, if it was taken, which push that is, and at which height.
    async fn send(&self, space: &Space, car: Vec<u8>) -> Result<Option<(CarId, i64)>, ClientError> {
        let params = CarParams::new(space.id.clone(), car);
        if params.car.len() <= CAR_BYTES_MAX {
            // A receipt that is a failure would cost as much as one that isn't.
            let trial = self.client.simulate(&Message::Invoke(params.clone())).await?;
            if matches!(trial, Returned::Invoke(told) if told.ok == Some(false)) {
                self.note(format!("{}: the space has changed meanwhile", space.id));
                return Ok(None);
            }
        }
        let id = CarId::of::<NativeHasher>(&params.car);
        let sent = self.step("chain edit", self.client.invoke(params)).await?;
        let taken = sent.value.ok == Some(true);
        let what = if taken { "wrote receipts" } else { "came too late with receipts" };
        self.note(format!("{}: {what} (gas {})", space.id, sent.gas_used));
        self.step("index edit", self.client.wait_receipt(&space.id, &id)).await?;
        Ok(taken.then_some((id, sent.height)))
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
