//! Events. Lotus keeps them only when told to (`Events.EnableActorEventsAPI`), so correctness must not
//! depend on them.

use cid::Cid;

use super::methods;
use crate::Lotus;
use crate::json::{ActorEvent, ActorEventFilter, Event};

methods! {
    /// `[eventsRoot]`: the events under a receipt's `EventsRoot`.
    ChainGetEvents = "Filecoin.ChainGetEvents", (Lotus<Cid>,) => Vec<Event>;

    /// `[filter]`: events with their place on the chain.
    GetActorEventsRaw = "Filecoin.GetActorEventsRaw",
        (Option<ActorEventFilter>,) => Vec<ActorEvent>;
}
