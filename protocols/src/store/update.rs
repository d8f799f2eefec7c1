//! One event on one entry: the checks around the table, and what the table says. Pure, so that it may run many times.

use bucket_core::dag_cbor::Ipld;
use bucket_core::error::{Error, Failure};
use bucket_core::stm::{Key, Update};

use super::effects::{self, ACTIVATION_EPOCHS, DEALLOCATION, Group, UPLOAD_EPOCHS};
use super::event::Event;
use super::state::{Stage, State, Status, status};
use super::table::{self, Kind};

/// When something happens to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The epoch.
    pub epoch: i64,
    /// The provider's term.
    pub term: u64,
}

/// What `event` does `now` to the entry whose cell holds `state`. Answers the state after it.
///
/// # Errors
/// A [`Failure`] `NotExpired`, when a CAR may still be put.
pub fn update(state: Option<&Ipld>, event: &Event, now: Now) -> Result<Update<Option<State>>, Error> {
    let state = state.map(State::from_cell).transpose()?;
    let kind = match event {
        Event::Add { .. } => match state.map(|state| state.stage) {
            Some(Stage::Active { began }) if now.epoch - began > ACTIVATION_EPOCHS => Kind::AddAgain,
            Some(Stage::Ok { term }) if term != now.term => Kind::AddAgain,
            _ => Kind::Add,
        },
        Event::Exceed { .. } => Kind::Exceed,
        Event::Receive { .. } => Kind::Receive,
        Event::Expire { .. } => Kind::Expire,
        Event::Put { .. } => Kind::Put,
        Event::Done { attempt, effect } => {
            // What other effects ask for, their events settle.
            let key = Key { attempt: *attempt, number: *effect };
            let settled = if *effect == DEALLOCATION { vec![key] } else { vec![] };
            return Ok(Update { settled, ..Update::same(state) });
        }
    };
    // What another attempt asked for comes too late.
    if event.attempt().is_some_and(|attempt| state.is_none_or(|state| state.attempt != attempt)) {
        return Ok(Update::same(state));
    }
    if let (Kind::Expire, Some(Stage::Receiving { until, .. })) = (kind, state.map(|state| state.stage))
        && now.epoch < until
    {
        let message = format!("expected epoch {until} or a later one, got {}", now.epoch);
        return Err(Failure::new("NotExpired", message).into());
    }
    let Some((to, groups)) = table::step(kind, status(state.as_ref())) else { return Ok(Update::same(state)) };
    Ok(go(state, event, now, to, groups))
}

fn go(before: Option<State>, event: &Event, now: Now, to: Status, groups: &[Group]) -> Update<Option<State>> {
    let (attempt, size) = before.map_or((0, 0), |state| (state.attempt, state.size));
    let after = match (to, event) {
        (Status::Active, Event::Add { size }) => {
            State { attempt: attempt + 1, size: *size, stage: Stage::Active { began: now.epoch } }
        }
        (Status::Receiving, Event::Receive { block, .. }) => {
            let stage = Stage::Receiving { until: now.epoch + UPLOAD_EPOCHS, upload: *block };
            State { attempt, size, stage }
        }
        (Status::Ok, _) => State { attempt, size, stage: Stage::Ok { term: now.term } },
        (Status::Exceeds, _) => State { attempt, size, stage: Stage::Exceeds },
        (Status::Expired, _) => State { attempt, size, stage: Stage::Expired },
        (to, event) => unreachable!("the table leads to {to:?} by {event:?}"),
    };
    let effects = groups.iter().flat_map(|group| match group {
        Group::Activation | Group::Upload => effects::effects(*group, after.attempt, after.size),
        Group::Deallocation => effects::effects(*group, attempt, size),
    });
    Update {
        state: Some(after.to_cell()),
        effects: effects.collect(),
        settled: effects::settled(attempt),
        out: Some(after),
    }
}
