//! Telling a bucket what came of its effects: signed invocations whose bytes depend on the job alone, so that one that is
//! sent again is one that ran already.

use bucket_core::abi::{CarParams, InvokeReturn, Message, Returned, Status};
use bucket_core::cid::{CarId, NativeHasher};
use bucket_core::dag_cbor::Ipld;
use bucket_core::error::Failure;
use bucket_protocols::store;

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
            let known = self.inner.client.receipt(&self.service.bucket, &id);
            match self.inner.step("chain receipt", known).await?.status {
                Status::NotFound => return self.send(&asked, id, car).await,
                // Somebody else may have put it there; it runs when its turn comes.
                Status::Pending => {
                    let failure = Failure::new("Pending", "expected it to have run, but it is in the queue");
                    return Err(self.refused(&asked, failure));
                }
                Status::Done => match self.answer(&id).await? {
                    Ok(out) => return Ok(out),
                    // It won't run again. With another nonce it is another one.
                    Err(failure) => refused = Some(failure),
                },
            }
        }
        let failure = refused.unwrap_or_else(|| Failure::new("Refused", "expected it to be taken at last"));
        Err(self.refused(&asked, failure))
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

    async fn send(&self, asked: &Asked<'_>, id: CarId, car: Vec<u8>) -> Result<Ipld, WorkerError> {
        let (inner, client) = (self.inner, &self.inner.client);
        let message = Message::Invoke(CarParams::new(asked.at.bucket.clone(), car));
        // A receipt that is a failure would use the event up, and cost.
        let trial = inner.step("chain try", client.simulate(&message)).await?;
        if matches!(trial, Returned::Invoke(InvokeReturn { ok: Some(false), .. })) {
            let why = "expected it to be taken, but a trial's receipt holds an error";
            return Err(self.refused(asked, Failure::new("WouldFail", why)));
        }
        // After this point it costs.
        let message = inner.step("chain push", client.push(&message)).await?;
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
