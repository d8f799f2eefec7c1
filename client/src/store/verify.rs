//! What is proven of an entry: the receipt of the event that made it what it is, with an id that the chain committed to.

use bucket_core::car::Car;
use bucket_core::cid::{CarId, NativeHasher};
use bucket_core::did::BucketId;
use bucket_core::error::{Abort, Failure};
use bucket_protocols::store::event::{ADD, EXCEED, EXPIRE, PUT, RECEIVE};
use bucket_protocols::store::{Entry, Status};

use super::index::in_path;
use crate::actor::ActorClient;
use crate::error::ClientError;
use crate::fetch::{Fetched, Gateway};
use crate::task::asked;

/// Receipts that are looked through, newest first.
const RECEIPTS_MAX: usize = 1000;

/// Receipts that are downloaded: those of one command, of other CARs as well.
const FETCHES_MAX: usize = 100;

/// An entry as a receipt tells of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Proven {
    /// What it is.
    pub entry: Entry,
    /// The receipt's id, which the chain committed to.
    pub receipt: CarId,
}

impl Proven {
    /// The entry that a verified receipt of `store` tells of, or the failure that it holds instead.
    pub fn read(fetched: &Fetched) -> Result<Self, ClientError> {
        let out = fetched.receipt.out.as_ref().map_err(|failure| ClientError::Store(failure.clone()))?;
        Ok(Self { entry: Entry::read(out).map_err(ClientError::Store)?, receipt: fetched.id })
    }

    fn is(&self, link: &CarId, like: &Entry) -> bool {
        let of = self.entry.car.is_some_and(|(car, _)| car == *link);
        of && (self.entry.status, self.entry.attempt) == (like.status, like.attempt)
    }
}

/// The event that leads to a status.
fn cause(status: Status) -> &'static str {
    match status {
        Status::NotFound | Status::Active => ADD,
        Status::Receiving => RECEIVE,
        Status::Ok => PUT,
        Status::Exceeds => EXCEED,
        Status::Expired => EXPIRE,
    }
}

impl ActorClient {
    /// Proves what the index says of an entry: finds the receipt that says the same. `None` when it isn't among the newest.
    pub async fn prove_entry(
        &self,
        bucket: &BucketId,
        link: &CarId,
        like: &Entry,
    ) -> Result<Option<Proven>, ClientError> {
        let cmd = cause(like.status);
        for car in ran(self.gateway()?, bucket, cmd).await? {
            match self.prove_by(bucket, &car, cmd).await {
                Ok(proven) if proven.is(link, like) => return Ok(Some(proven)),
                // What a reorganisation took back, or another indexer would have, or no event at all.
                Ok(_)
                | Err(
                    ClientError::ReceiptNotFound(_)
                    | ClientError::ReceiptPending { .. }
                    | ClientError::NotServed { .. }
                    | ClientError::Store(_),
                ) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Receipts of other commands may say anything: the CAR that ran has to be an event.
    async fn prove_by(&self, bucket: &BucketId, car: &CarId, cmd: &str) -> Result<Proven, ClientError> {
        let proven = Proven::read(&self.fetch_receipt(bucket, car).await?)?;
        let bytes = self.gateway()?.fetch(car).await?;
        let asked = Car::decode::<NativeHasher>(bytes).map_err(Abort::Car).and_then(|car| asked(&car));
        match asked {
            Ok(task) if task.cmd == cmd => Ok(proven),
            Ok(task) => {
                Err(ClientError::Store(Failure::args(format!("expected a receipt of {cmd}, got one of {}", task.cmd))))
            }
            Err(abort) => Err(ClientError::Store(Failure::args(abort.to_string()))),
        }
    }
}

/// CARs of a command that ran with success, newest first.
async fn ran(gateway: &Gateway, bucket: &BucketId, cmd: &str) -> Result<Vec<CarId>, ClientError> {
    let path = format!("v1/buckets/{}/receipts?reverse=true&limit={RECEIPTS_MAX}", in_path(bucket));
    let page = gateway.json(&path).await?;
    let items = page["items"].as_array().into_iter().flatten();
    let items = items.filter(|item| item["cmd"] == cmd && item["ok"] == true);
    Ok(items.filter_map(|item| item["ran"].as_str()?.parse().ok()).take(FETCHES_MAX).collect())
}
