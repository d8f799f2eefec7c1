//! Telling a bucket what came of its effects: signed invocations whose bytes depend on the job alone, so that one that is
//! sent again is one that ran already.

use bucket_core::abi::{CarParams, InvokeReturn, Message, Returned};
use bucket_core::cid::{CarId, NativeHasher};
use bucket_core::dag_cbor::Ipld;
use bucket_core::error::Failure;
use bucket_protocols::store::event::DONE;
use bucket_protocols::store::{self, Entry, Status};

use super::WorkerError;
use super::entry::{Asked, Turn};
use super::ledger::Attempt;
use crate::chain::Sent;
use crate::task::Draft;

/// Times that an event is sent anew after a bucket took it and said no. A trial goes before each, so it takes bad luck.
const REFUSALS_MAX: u8 = 16;

impl Turn<'_> {
    /// Tells the bucket, unless it knows, and waits until it does.
    pub(super) async fn deliver(&self, asked: Asked<'_>) -> Result<Ipld, WorkerError> {
        if self.inner.is_delivered(&asked.key, self.epoch) {
            return Ok(Ipld::Null);
        }
        let mut refused = None;
        for refusals in 0..REFUSALS_MAX {
            let car = self.pack(&asked, refusals)?;
            let id = CarId::of::<NativeHasher>(&car);
            let message = Message::Invoke(CarParams::new(asked.at.bucket.clone(), car));
            // A receipt that is a failure would use the event up, and cost.
            let trial = self.inner.step("chain try", self.inner.client.simulate(&message)).await?;
            let Returned::Invoke(InvokeReturn { ok, reserve, .. }) = trial else {
                unreachable!("a message returns what is its method's");
            };
            match ok {
                Some(true) => return self.send(&asked, id, &message, reserve).await,
                Some(false) => {
                    let why = "expected it to be taken, but a trial's receipt holds an error";
                    return Err(self.refused(&asked, Failure::new("WouldFail", why)));
                }
                // It won't run again. With another nonce it is another one.
                None => match self.answer(&id).await? {
                    Ok(out) if self.came_early(&asked, &out) => {}
                    Ok(out) => return Ok(out),
                    Err(failure) => refused = Some(failure),
                },
            }
        }
        let failure = refused.unwrap_or_else(|| Failure::new("Refused", "expected it to be taken at last"));
        Err(self.refused(&asked, failure))
    }

    /// Whether an event ran before the chain came to what it is about, as it may after a reorganisation. Then it did nothing.
    fn came_early(&self, asked: &Asked<'_>, out: &Ipld) -> bool {
        Entry::read(out).is_ok_and(|entry| {
            let done_early = asked.ready.job.cmd == DONE && entry.status != Status::Expired;
            entry.attempt < asked.at.number || (entry.attempt == asked.at.number && done_early)
        })
    }

    fn refused(&self, asked: &Asked<'_>, failure: Failure) -> WorkerError {
        WorkerError::Refused { cmd: asked.ready.job.cmd.clone(), failure }
    }

    /// The event's CAR, the same however often it is packed.
    fn pack(&self, asked: &Asked<'_>, refusals: u8) -> Result<Vec<u8>, WorkerError> {
        let Attempt { bucket, link, number } = &asked.at;
        let mut nonce = asked.key.to_vec();
        nonce.extend((refusals > 0).then_some(refusals));
        let task = store::event(bucket, *link, *number, &asked.ready.job.cmd, asked.ready.args.clone(), nonce);
        let draft = Draft { bucket: task.sub, cmd: task.cmd, args: task.args, files: vec![], nonce: task.nonce };
        Ok(draft.sign(&self.inner.key, &self.service.held, None, super::entry::seconds())?)
    }

    async fn send(&self, asked: &Asked<'_>, id: CarId, message: &Message, reserve: u64) -> Result<Ipld, WorkerError> {
        let (inner, client) = (self.inner, &self.inner.client);
        // After this point it costs.
        let message = inner.step("chain push", client.push_with(message, reserve)).await?;
        let sent: Sent<InvokeReturn> = inner.step("chain wait", client.wait(message)).await?;
        match sent.value.ok {
            Some(true) => {}
            // It ran meanwhile, or something else was first.
            Some(false) | None => {
                self.answer(&id).await?.map_err(|failure| self.refused(asked, failure))?;
            }
        }
        inner.delivered(asked.key, sent.height);
        self.note(&asked.at, format!("told {} (gas {})", asked.ready.job.cmd, sent.gas_used));
        Ok(Ipld::Null)
    }

    /// What an event's receipt holds.
    async fn answer(&self, id: &CarId) -> Result<Result<Ipld, Failure>, WorkerError> {
        let fetched = self.inner.client.fetch_receipt(&self.service.bucket, id);
        Ok(self.inner.step("index receipt", fetched).await?.receipt.out)
    }
}
