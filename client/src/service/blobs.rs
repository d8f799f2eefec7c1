//! Blobs of a space, and the entries of the bucket's store that they become.

use std::collections::{BTreeMap, BTreeSet};

use bucket_core::abi::CarParams;
use bucket_core::cid::{CarId, Cid, NativeHasher};
use bucket_core::dag_cbor::Ipld;
use bucket_core::error::Failure;
use bucket_protocols::store::{self, Entry, Status, Upload};
use futures::{StreamExt as _, TryStreamExt as _, future::ready, stream};

use super::answer::{self, Blob};
use super::runs::Run;
use super::sweep::Progress;
use super::{Service, Space};
use crate::error::ClientError;
use crate::space::millis;
use crate::store::index;
use crate::ucan::sign::invocation;

/// Entries that are asked for together.
const LOOKS_AT_ONCE: usize = 16;

impl Service {
    /// Those of some shards that the bucket's store has.
    pub(super) async fn stored(&self, space: &Space, shards: BTreeSet<CarId>) -> Result<BTreeSet<CarId>, ClientError> {
        let entry = |link: CarId| async move {
            let (_, entry) = index::entry(self.client.gateway()?, &space.id, &link).await?;
            Ok::<_, ClientError>(entry.is_some_and(|entry| entry.is_stored(space.term)).then_some(link))
        };
        let entries = stream::iter(shards).map(entry).buffer_unordered(LOOKS_AT_ONCE);
        entries.try_filter_map(|stored| ready(Ok(stored))).try_collect().await
    }

    /// Adds a blob to the bucket's store, in the same CAR however often this is called, and waits until the index knows.
    pub(super) async fn add(
        &self,
        space: &Space,
        ran: &Cid,
        blob: &Blob,
    ) -> Result<Result<Ipld, Failure>, ClientError> {
        let task = store::add(&space.id, blob.link, blob.size, ran.hash().digest().to_vec());
        let car = invocation(&self.key, task, Default::default(), &space.held, None, millis() / 1000)?;
        let id = CarId::of::<NativeHasher>(&car);
        let sent = self.step("chain add", self.client.invoke(CarParams::new(space.id.clone(), car))).await?;
        self.note(format!("{}: added {} to its store (gas {})", space.id, blob.link, sent.gas_used));
        Ok(self.step("index add", self.client.wait_receipt(&space.id, &id)).await?.receipt.out)
    }

    /// What became of the blobs of runs that aren't over.
    pub(super) async fn progress_of(
        &self,
        space: &Space,
        runs: &mut BTreeMap<Cid, Run>,
    ) -> Result<BTreeMap<Blob, Progress>, ClientError> {
        let mut progress = BTreeMap::new();
        for run in runs.values_mut().filter(|run| run.added && !run.last) {
            let Ok(blob) = answer::blob(&run.task) else { continue };
            let (_, entry) = index::entry(self.client.gateway()?, &space.id, &blob.link).await?;
            let Some(entry) = entry else {
                // The index knew of it when it was added: a reorganisation took it back. The next look adds it anew.
                run.added = false;
                self.step("runs gone", async { self.runs.put(&space.id, run) }).await?;
                continue;
            };
            progress.insert(blob, became(entry, &blob, space.term));
        }
        Ok(progress)
    }
}

/// What an entry says of a blob, when the service is the provider in a term.
fn became(entry: Entry, blob: &Blob, term: u64) -> Progress {
    let refused = |name: &str, why: &str| Progress::Refused(Failure::new(name, why));
    match entry.status {
        // Whoever was there first said how long it is.
        _ if entry.car.is_none_or(|(_, size)| size != blob.size) => {
            let why = format!("expected {} bytes, the store has an entry of other ones", blob.size);
            refused("SizeMismatch", &why)
        }
        Status::Receiving => match entry.put {
            Some(Upload { url, headers }) => Progress::Receiving { url, headers },
            None => Progress::Waiting,
        },
        Status::Ok if entry.is_stored(term) => Progress::Stored,
        // Whoever was the provider may have said so of bytes that nobody has.
        Status::Ok => refused("ProviderChanged", "expected this service to have stored the blob, got another's word"),
        Status::Exceeds => refused("ExceedsLimit", "expected room for the blob, got none"),
        Status::Expired => refused("Expired", "expected the blob to be put in time, got none"),
        Status::Active | Status::NotFound => Progress::Waiting,
    }
}
