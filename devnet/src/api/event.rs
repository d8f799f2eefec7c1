//! Events of actors. They are always kept, and always complete: the devnet executes before it shows a tipset.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use bucket_rpc::{
    Lotus, Server,
    json::{ActorEvent, ActorEventFilter, Entry, Event},
    methods::{ChainGetEvents, GetActorEventsRaw},
};
use cid::Cid;
use fvm_shared::{ActorID, address::Address, clock::ChainEpoch, event::StampedEvent};

use super::Table;
use crate::{
    block::{self, Block},
    node::{Node, NodeRef},
    state::State,
};

/// The most epochs of one question.
const EPOCHS_MAX: ChainEpoch = 20_000;

pub(super) fn add(server: Server<NodeRef>) -> Server<NodeRef> {
    server
        .node::<ChainGetEvents>(events)
        .node::<GetActorEventsRaw>(|node, (filter,)| find(node, &filter.unwrap_or_default()))
}

fn events(node: &mut Node, (root,): (Lotus<Cid>,)) -> Result<Vec<Event>> {
    Ok(block::events(node.chain.store(), &root.0)?.into_iter().map(Event::from).collect())
}

/// lotus:node/impl/full/actor_events.go `GetActorEventsRaw`. Only what is on the chain is found, never reverted events.
fn find(node: &Node, filter: &ActorEventFilter) -> Result<Vec<ActorEvent>> {
    let chain = &node.chain;
    let state = chain.state()?;
    let mut emitters = BTreeSet::new();
    for address in &filter.addresses {
        emitters.extend(state.id(address)?);
    }
    // Addresses that nobody has are addresses without events, not the wish for all events.
    if emitters.is_empty() && !filter.addresses.is_empty() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    let (first, last) = range(node, filter)?;
    let mut next = chain.at_or_after(first).cloned();
    while let Some(block) = next.filter(|block| block.height() <= last) {
        next = chain.at_or_after(block.height() + 1).cloned();
        // Without a child, a tipset's results are not on the chain yet.
        if next.is_some() {
            collect(node, &state, &block, filter, &emitters, &mut found)?;
        }
    }
    Ok(found)
}

/// The epochs to look at, both included.
fn range(node: &Node, filter: &ActorEventFilter) -> Result<(ChainEpoch, ChainEpoch)> {
    let chain = &node.chain;
    if let Some(key) = &filter.tipset_key {
        ensure!(
            filter.from_height.is_none() && filter.to_height.is_none(),
            "cannot specify both TipSetKey and FromHeight/ToHeight"
        );
        let block = chain.tipset(key)?;
        ensure!(chain.is_canonical(&block), "tipset {key} is not on the chain any more");
        return Ok((block.height(), block.height()));
    }
    let first = filter.from_height.unwrap_or_else(|| chain.finalized().height());
    let last = filter.to_height.unwrap_or_else(|| chain.head().height());
    ensure!(first <= last, "invalid epoch range: {first} is after {last}");
    ensure!(
        last - first <= EPOCHS_MAX,
        "invalid epoch range: expected at most {EPOCHS_MAX} epochs, got {}",
        last - first
    );
    Ok((first, last))
}

fn collect(
    node: &Node,
    state: &State,
    block: &Block,
    filter: &ActorEventFilter,
    emitters: &BTreeSet<ActorID>,
    found: &mut Vec<ActorEvent>,
) -> Result<()> {
    let store = node.chain.store();
    let messages = block::messages(store, &block.header)?;
    let receipts = block::receipts(store, &block.outcome.receipts)?;
    for (message, receipt) in messages.into_iter().zip(receipts) {
        let Some(root) = receipt.events_root else { continue };
        for StampedEvent { emitter, event } in block::events(store, &root)? {
            let entries: Vec<Entry> = event.entries.into_iter().map(Entry::from).collect();
            if (emitters.is_empty() || emitters.contains(&emitter)) && matches(filter, &entries) {
                found.push(ActorEvent {
                    entries,
                    emitter: name(state, emitter)?,
                    reverted: false,
                    height: block.height(),
                    tipset_key: block.key(),
                    msg_cid: message.cid,
                });
            }
        }
    }
    Ok(())
}

/// Every key that is asked for is there, with one of the values asked for, if any.
fn matches(filter: &ActorEventFilter, entries: &[Entry]) -> bool {
    filter.fields.iter().all(|(key, values)| {
        entries.iter().filter(|entry| entry.key == *key).any(|entry| {
            values.is_empty() || values.iter().any(|one| one.codec == entry.codec && one.value == entry.value)
        })
    })
}

/// The emitter's f4 address if it has one, else its id.
fn name(state: &State, emitter: ActorID) -> Result<Address> {
    let id = Address::new_id(emitter);
    let (_, actor) = state.find(&id)?.with_context(|| format!("the emitter {id} is gone"))?;
    Ok(actor.delegated_address.unwrap_or(id))
}
