//! `store`: CARs that a service stores for a bucket, each entry a state machine.
//!
//! | command | args | by | out |
//! |---|---|---|---|
//! | `/store/provide` | `{provider: DID, proofs?: [link]}` | all rights | `{provider, proofs, term}` |
//! | `/store/add` | `{link, size}` | a right | the entry's state |
//! | `/store/exceed` | `{link, attempt}` | the provider | the entry's state |
//! | `/store/receive` | `{link, attempt, upload: {url, headers}}` | the provider | the entry's state |
//! | `/store/expire` | `{link, attempt}` | the provider | the entry's state |
//! | `/store/put` | `{link, attempt}` | the provider | the entry's state |
//! | `/store/done` | `{link, attempt, effect}` | the provider | the entry's state |
//!
//! [`table`] is the state machine, [`update`] what is checked around it, [`effects`] what the service is asked to do,
//! [`rows`] what the index says, [`ask`] makes tasks. README.md explains it, DIAGRAM.md draws it.

pub mod ask;
pub mod effects;
pub mod event;
pub mod rows;
pub mod state;
pub mod table;
pub mod update;

use bucket_core::cid::{CarId, DAG_CBOR};
use bucket_core::dag_cbor::{self, Ipld};
use bucket_core::did::BucketId;
use bucket_core::error::{Abort, Error, Failure};
use bucket_core::protocol::{Call, Cx, Protocol, Weight};
use bucket_core::stm::{Done, Path, transact};
use bucket_core::task::Task;

pub use ask::{add, event, idempotency_key, provide};
pub use event::{Event, Upload};
pub use rows::{Entry, Outbox, Provider, Row};
pub use state::{Stage, State, Status};
pub use update::Now;

/// Sets the service.
pub const PROVIDE: &str = "/store/provide";

/// Its number in state.
pub const NUMBER: u8 = 4;

const NAME: &str = "store";

/// Where state has the provider: `[term, DID]`. Entries lie under the 32 bytes of their CARs' ids.
const PROVIDER: &[u8] = b"provider";

/// A cell is one key, but longer than keys are reckoned with, and so may be its neighbours in the map, which are written with
/// it: eight entries with effects take 2 KB, as much as two more keys.
const CELL_WRITES: usize = 3;

/// The protocol.
pub struct Store;

impl Protocol for Store {
    fn name(&self) -> &'static str {
        NAME
    }

    fn commands(&self) -> &'static [&'static str] {
        &[PROVIDE, event::ADD, event::EXCEED, event::RECEIVE, event::EXPIRE, event::PUT, event::DONE]
    }

    fn weight(&self, _: &Task) -> Weight {
        Weight { writes: CELL_WRITES, ..Weight::NONE }
    }

    fn execute(&self, cx: &mut Cx<'_>, call: &Call<'_>) -> Result<Ipld, Error> {
        if call.task.cmd == PROVIDE {
            return set_provider(cx, call);
        }
        let (link, event) = Event::read(call.task, |bytes| cx.sha2_256(bytes))?;
        let term = check_issuer(cx, call, &event)?;
        let path = Path { bucket: cx.bucket().clone(), link };
        let now = Now { epoch: cx.epoch(), term };
        let done = transact(cx, &path, now.epoch, |state| update::update(state, &event, now))?;
        put_rows(cx, &link, &event, &done);
        Ok(state::out(&link, done.out.as_ref()))
    }
}

fn set_provider(cx: &mut Cx<'_>, call: &Call<'_>) -> Result<Ipld, Error> {
    let (did, proofs) = rows::read_provider(&call.task.args)?;
    if !call.full {
        let message = "expected somebody with all rights of the bucket to set its provider";
        return Err(Failure::new("Forbidden", message).into());
    }
    if let Some(missing) = proofs.iter().find(|cid| cid.codec() != DAG_CBOR || call.car.block(cid).is_none()) {
        let message = format!("expected the delegation {missing} in the CAR, got none");
        return Err(Failure::new("ProofMissing", message).into());
    }
    let term = match provider(cx)? {
        Some((term, same)) if same == did => term,
        before => before.map_or(0, |(term, _)| term) + 1,
    };
    // After this point it must succeed.
    let state = Ipld::List(vec![Ipld::Integer(term.into()), Ipld::String(did.to_string())]);
    cx.put(PROVIDER, dag_cbor::encode(&state));
    let provider = Provider { provider: did, proofs, term, car: call.id };
    cx.put_op(rows::provider_key(), provider.to_ipld());
    Ok(provider.out())
}

/// The provider and its term, if there is one.
fn provider(cx: &Cx<'_>) -> Result<Option<(u64, BucketId)>, Error> {
    let Some(bytes) = cx.get(PROVIDER)? else { return Ok(None) };
    let read = |bytes: &[u8]| match &dag_cbor::decode(bytes).ok()? {
        Ipld::List(list) => match &list[..] {
            [Ipld::Integer(term), Ipld::String(did)] => Some((u64::try_from(*term).ok()?, did.parse().ok()?)),
            _ => None,
        },
        _ => None,
    };
    read(&bytes).map(Some).ok_or_else(|| Abort::State("expected the provider of store".into()).into())
}

/// Anybody with a right may add, once there is a provider; all else is the provider's word. Answers its term.
fn check_issuer(cx: &Cx<'_>, call: &Call<'_>, event: &Event) -> Result<u64, Error> {
    let Some((term, provider)) = provider(cx)? else {
        let message = "expected a bucket with a provider, got none: /store/provide comes first";
        return Err(Failure::new("NoProvider", message).into());
    };
    if matches!(event, Event::Add { .. }) || call.issuer == Some(&provider) {
        return Ok(term);
    }
    let got = call.issuer.map_or("no signature", |issuer| issuer.as_str());
    let message = format!("expected {} to be signed by the provider {provider}, got {got}", call.task.cmd);
    Err(Failure::new("Forbidden", message).into())
}

/// Tells the index what changed.
fn put_rows(cx: &mut Cx<'_>, link: &CarId, event: &Event, done: &Done<Option<State>>) {
    let (Some(after), Some(state)) = (&done.after, &done.out) else { return };
    let before = done.before.as_ref();
    if before.is_none_or(|before| before.state != after.state) {
        let put = match event {
            Event::Receive { upload, .. } => {
                cx.put_block(DAG_CBOR, upload.to_block());
                Some(upload)
            }
            _ => None,
        };
        cx.put_op(rows::entry_key(link), rows::entry(link, state, put));
    }
    if before.is_none_or(|before| before.outbox != after.outbox) {
        match rows::outbox(state, after) {
            Some(row) => cx.put_op(rows::outbox_key(link), row),
            None => cx.del_op(rows::outbox_key(link)),
        }
    }
}
