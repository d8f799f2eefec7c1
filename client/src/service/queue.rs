//! What waits for the service in a space, and how its runs begin.

use std::collections::BTreeMap;

use bucket_core::cid::Cid;
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::error::Failure;
use bucket_protocols::space::edit::OPS_MAX;
use bucket_protocols::space::keys::Kind;

use super::answer::{self, shards};
use super::runs::{Keys, Run};
use super::sweep::{self, Asked, Found, Sweeper, asked};
use super::{ASKED_MAX, Service, Space};
use crate::error::ClientError;
use crate::space::kept::Holds as _;
use crate::space::store::Replica;
use crate::space::{SpaceError, millis};
use crate::ucan::revoked::Revocations;

impl Service {
    /// What waits in the queue for this service and has a right to it. Whatever else lies there is passed over, and stays.
    /// Tells whether something may be taken later.
    pub(super) async fn queue(&self, replica: &Replica) -> Result<(Vec<Asked>, bool), ClientError> {
        let (mut asked, mut later, mut after, mut revocations) = (Vec::new(), false, None, None);
        loop {
            let (some, next) = self.page(replica, after.as_deref())?;
            for found in some {
                match found {
                    Found::Asked(found) if !self.is_revoked(replica.space(), &found, &mut revocations).await? => {
                        asked.push(*found);
                    }
                    Found::Later => later = true,
                    _ => {}
                }
                if asked.len() == ASKED_MAX {
                    return Ok((asked, true));
                }
            }
            after = next;
            if after.is_none() {
                return Ok((asked, later));
            }
        }
    }

    /// Those of the next keys of the queue that are for this service, as far as they tell themselves, and where to go on.
    fn page(&self, replica: &Replica, after: Option<&str>) -> Result<(Vec<Found>, Option<String>), SpaceError> {
        let (service, space, now) = (self.key.did(), replica.space(), millis() / 1000);
        let ran = |ran: &Cid| matches!(self.runs.get(space, ran), Ok(Some(_)));
        replica.read(|kept| {
            let page = kept.view()?.list(Kind::Queue.prefix(), after, OPS_MAX)?;
            let mut found = Vec::new();
            for (key, value) in page.entries {
                let car = if let Ipld::Link(cid) = &value { kept.block(cid)? } else { None };
                found.push(asked(&key, &value, car, (&service, space), ran, now));
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

    /// Begins what is asked for the first time, and adds blobs to the bucket's store. Answers what was said under the keys of all.
    pub(super) async fn begin(
        &self,
        space: &Space,
        asked: &[Asked],
        known: &mut BTreeMap<Cid, Run>,
    ) -> Result<Keys, ClientError> {
        for Asked { ran, .. } in asked {
            if let Some(run) = self.runs.get(&space.id, ran)? {
                known.insert(*ran, run);
            }
        }
        let fresh = asked.iter().filter(|asked| !known.contains_key(&asked.ran));
        let stored = self.stored(space, fresh.clone().flat_map(|asked| shards(&asked.task)).collect()).await?;
        let tasks = known.values().map(|run| &run.task).chain(fresh.map(|asked| &asked.task));
        let mut said = self.runs.said(&space.id, tasks.filter_map(sweep::key))?;
        let sweeper = Sweeper { key: &self.key, space: &space.id };
        let count = self.runs.count(&space.id)?;
        sweeper.begin(asked, known, (&mut said, count), |link| stored.contains(link));
        // From here on the runs are remembered, whatever becomes of the queue.
        self.step("runs begin", async { self.runs.put_all(&space.id, known.values(), &said) }).await?;
        for run in known.values_mut().filter(|run| !run.added) {
            let Ok(blob) = answer::blob(&run.task) else { continue };
            match self.add(space, &run.ran, &blob).await {
                Ok(Ok(_)) => run.added = true,
                Ok(Err(failure)) => sweeper.refuse(run, &mut said, failure),
                // The bucket's delegations don't cover this one.
                Err(ClientError::Denied(denied)) => {
                    sweeper.refuse(run, &mut said, Failure::new("Denied", denied.to_string()));
                }
                Err(error) => self.note(format!("{}: blob {}: {error}; will try again", space.id, blob.link)),
            }
            self.step("runs added", async { self.runs.put_all(&space.id, [&*run], &said) }).await?;
        }
        Ok(said)
    }
}
