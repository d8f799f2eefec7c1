//! Whose receipts count in a space: the bucket's provider, as the index tells it. Like a head it is believed by a receipt that the chain
//! committed to, here of a CAR that ran `/store/provide`.

use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_protocols::store::PROVIDE;
use bucket_protocols::store::rows::Provider;

use super::kept::Holds as _;
use super::pull::{asked, row};
use super::store::Replica;
use crate::actor::ActorClient;
use crate::error::ClientError;
use crate::progress::Step;

/// Learns who the provider is, and tells it when it is another one.
pub(super) async fn learn(replica: &Replica, client: &ActorClient) -> Result<(), ClientError> {
    let (space, gateway) = (replica.space(), client.gateway()?);
    let wrong = |why: String| ClientError::Indexer { url: gateway.url().to_owned(), why };
    let known = replica.read(|kept| kept.provider())?;
    let row = row(space, gateway, "store", "provider").await?;
    let told = row.as_ref().map(Provider::read).transpose().map_err(|failure| wrong(failure.to_string()))?;
    if told == known {
        return Ok(());
    }
    let is_older = known.as_ref().is_some_and(|known| told.as_ref().is_none_or(|told| told.term < known.term));
    if is_older
        && let Some(known) = &known
        && has(space, client, known).await?
    {
        // The index is behind, or lies.
        return Ok(());
    }
    if let Some(told) = &told {
        verify(space, client, told).await?;
    }
    let name = |provider: &Option<Provider>| provider.as_ref().map(|found| found.provider.clone());
    if name(&told) != name(&known) {
        let text = |provider| name(provider).map_or_else(|| "nobody".to_owned(), |did| did.to_string());
        client.chain().tell(Step::Note(format!("receipts of {} count, before those of {}", text(&told), text(&known))));
    }
    Ok(replica.write(|kept| kept.set_provider(row.as_ref()))?)
}

/// Whether a receipt's `out` makes somebody the provider.
fn says(out: Ipld, provider: &Provider) -> bool {
    let Ipld::Map(mut out) = out else { return false };
    out.insert("car".into(), Ipld::Link(provider.car.to_cid()));
    Provider::read(&Ipld::Map(out)).as_ref() == Ok(provider)
}

/// Whether the chain still has what made somebody the provider.
async fn has(space: &BucketId, client: &ActorClient, provider: &Provider) -> Result<bool, ClientError> {
    let out = client.outcome(space, &provider.car).await?;
    Ok(out.and_then(Result::ok).is_some_and(|out| says(out, provider)))
}

async fn verify(space: &BucketId, client: &ActorClient, told: &Provider) -> Result<(), ClientError> {
    let fetched = client.fetch_receipt(space, &told.car).await?;
    let cmd = asked(client.gateway()?, &told.car).await?.cmd;
    if cmd == PROVIDE && fetched.receipt.out.is_ok_and(|out| says(out, told)) {
        return Ok(());
    }
    let expected = format!("the receipt of a {PROVIDE} of {} in term {}", told.provider, told.term);
    Err(ClientError::Mismatch { expected, got: format!("that of {cmd} by {}", told.car) })
}
