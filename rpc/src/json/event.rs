//! Events of actors, in the two shapes that Lotus gives them.

use std::collections::BTreeMap;

use cid::Cid;
use fvm_shared::ActorID;
use fvm_shared::address::Address;
use fvm_shared::clock::ChainEpoch;
use fvm_shared::event as fvm;
use serde::{Deserialize, Serialize};

use super::lotus::{self, null_as_default};
use super::tipset::TipsetKey;

/// One key with its value; the same in both shapes, and always in Pascal case.
///
/// lotus:chain/types/event.go `EventEntry`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Entry {
    /// 1 for an indexed key, 2 for an indexed value.
    pub flags: u64,
    /// At most 31 bytes.
    pub key: String,
    /// 0x55 for raw bytes, 0x51 for CBOR.
    pub codec: u64,
    /// The value in that codec.
    #[serde(with = "lotus")]
    pub value: Vec<u8>,
}

impl From<fvm::Entry> for Entry {
    fn from(entry: fvm::Entry) -> Self {
        let fvm::Entry { flags, key, codec, value } = entry;
        Self { flags: flags.bits(), key, codec, value }
    }
}

impl From<Entry> for fvm::Entry {
    fn from(entry: Entry) -> Self {
        let Entry { flags, key, codec, value } = entry;
        Self { flags: fvm::Flags::from_bits_retain(flags), key, codec, value }
    }
}

/// An event as the receipt's AMT holds it, from `Filecoin.ChainGetEvents`.
///
/// lotus:chain/types/event.go `Event`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Event {
    /// The actor that emitted it.
    pub emitter: ActorID,
    /// Its entries, in the order in which they were emitted.
    #[serde(deserialize_with = "null_as_default")]
    pub entries: Vec<Entry>,
}

impl From<fvm::StampedEvent> for Event {
    fn from(event: fvm::StampedEvent) -> Self {
        let fvm::StampedEvent { emitter, event } = event;
        Self { emitter, entries: event.entries.into_iter().map(Entry::from).collect() }
    }
}

impl From<Event> for fvm::StampedEvent {
    fn from(event: Event) -> Self {
        let Event { emitter, entries } = event;
        let entries: Vec<_> = entries.into_iter().map(fvm::Entry::from).collect();
        Self::new(emitter, entries.into())
    }
}

/// An event with its place on the chain, from `Filecoin.GetActorEventsRaw`.
///
/// Camel case outside, Pascal case in the entries: so it is in Lotus.
///
/// lotus:chain/types/actor_event.go `ActorEvent`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActorEvent {
    /// Its entries, in the order in which they were emitted.
    #[serde(deserialize_with = "null_as_default")]
    pub entries: Vec<Entry>,
    /// The actor's f4 address when it has one, else its ID address.
    #[serde(with = "lotus")]
    pub emitter: Address,
    /// Whether a reorganisation has undone it.
    pub reverted: bool,
    /// The epoch of `tipset_key`.
    pub height: ChainEpoch,
    /// The tipset with the message, not its child with the receipt.
    #[serde(rename = "tipsetKey")]
    pub tipset_key: TipsetKey,
    /// The message that made the actor emit it.
    #[serde(with = "lotus")]
    pub msg_cid: Cid,
}

/// Which events to give; all of them when empty.
///
/// lotus:chain/types/actor_event.go `ActorEventFilter`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ActorEventFilter {
    /// Of one of these actors, or of any.
    #[serde(with = "lotus", skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Address>,
    /// With, for each key, one of these values; with any value where the list is empty.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Vec<ActorEventBlock>>,
    /// The first epoch; Lotus begins at the last final tipset when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_height: Option<ChainEpoch>,
    /// The last epoch; the head when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_height: Option<ChainEpoch>,
    /// Of this tipset only; excludes both heights.
    #[serde(rename = "tipsetKey", skip_serializing_if = "Option::is_none")]
    pub tipset_key: Option<TipsetKey>,
}

/// A value to look for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActorEventBlock {
    /// The codec of the value.
    pub codec: u64,
    /// The value in that codec.
    #[serde(with = "lotus")]
    pub value: Vec<u8>,
}
