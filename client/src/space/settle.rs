//! What became of pushes. The chain may take back one that went through for [`FINALITY`] epochs; as long its edits are kept.

use std::cmp::Reverse;

use bucket_core::cid::CarId;
use bucket_protocols::space::head::Head;
use bucket_rpc::methods::ChainHead;

use super::kept::{Fate, Holds as _, Push};
use super::store::Replica;
use crate::actor::ActorClient;
use crate::chain::FINALITY;
use crate::error::ClientError;

/// What is to be noted of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// How it stands.
    Is(Fate),
    /// It failed, or never comes.
    Failed,
    /// The chain has it for good.
    Final,
}

/// Asks the chain what became of pushes.
pub(super) async fn settle(replica: &Replica, client: &ActorClient) -> Result<(), ClientError> {
    let (head, pushes) = replica.read(|kept| Ok((kept.head()?, kept.pushes()?)))?;
    if pushes.is_empty() {
        return Ok(());
    }
    let epoch = client.chain().rpc().call::<ChainHead>(()).await?.height;
    let mut pushes: Vec<_> = pushes.into_iter().collect();
    pushes.sort_by_key(|(_, push)| Reverse(if let Fate::Landed(at) = push.fate { Some(at) } else { None }));
    let mut stands = false;
    for (car, push) in pushes {
        // The newest that stands was made on top of those before it; they are asked for once more in the end.
        if stands && matches!(push.fate, Fate::Landed(at) if at.saturating_add(FINALITY) > epoch) {
            continue;
        }
        let out = match client.outcome(replica.space(), &car).await {
            // The index is behind the chain.
            Err(ClientError::NotServed { .. }) => continue,
            out => out?,
        };
        let done = out.map(|out| out.is_ok());
        stands |= done == Some(true);
        note(replica, &car, &push, news(&push, done, &head, epoch))?;
    }
    Ok(())
}

pub(super) fn news(push: &Push, done: Option<bool>, head: &Head, epoch: i64) -> News {
    match (done, push.fate) {
        (Some(true), Fate::Landed(at)) if at.saturating_add(FINALITY) <= epoch => News::Final,
        (Some(true), Fate::Landed(at)) => News::Is(Fate::Landed(at)),
        (Some(true), _) => News::Is(Fate::Landed(epoch)),
        (Some(false), _) => News::Failed,
        (None, Fate::Landed(at)) => News::Is(Fate::TakenBack(at)),
        (None, Fate::TakenBack(at)) if at.saturating_add(FINALITY) > epoch => News::Is(push.fate),
        // It may still come. When its base isn't the root any more, that is too late.
        (None, Fate::Unknown) if push.base == head.root => News::Is(push.fate),
        (None, _) => News::Failed,
    }
}

/// Notes it, unless somebody else knew meanwhile.
fn note(replica: &Replica, car: &CarId, push: &Push, news: News) -> Result<(), ClientError> {
    if news == News::Is(push.fate) {
        return Ok(());
    }
    Ok(replica.write(|kept| match news {
        _ if kept.pushes()?.get(car) != Some(push) => Ok(()),
        News::Is(fate) => kept.put_push(car, &Push { fate, ..push.clone() }),
        News::Failed => kept.del_push(car),
        News::Final => kept.finish_push(car),
    })?)
}
