//! The one event: a task ran. Ids only, because an event's values cost gas and are 8 KiB at most.

use bucket_core::batch::Execution;
use bucket_core::error::Abort;
use fvm_sdk as sdk;
use fvm_shared::IPLD_RAW;
use fvm_shared::event::{ActorEvent, Entry, Flags};

/// Emits `bucket` (the DID), `ran` and `receipt` (the bytes of their CIDs).
pub fn emit(execution: &Execution) -> Result<(), Abort> {
    let entry = |flags, key: &str, value: Vec<u8>| Entry { flags, key: key.into(), codec: IPLD_RAW, value };
    let event = ActorEvent::from(vec![
        entry(Flags::FLAG_INDEXED_ALL, "bucket", execution.bucket.as_str().as_bytes().to_vec()),
        entry(Flags::FLAG_INDEXED_ALL, "ran", execution.ran.to_bytes()),
        entry(Flags::FLAG_INDEXED_KEY, "receipt", execution.receipt.to_bytes()),
    ]);
    sdk::event::emit_event(&event).map_err(|error| Abort::State(format!("failed to emit an event: {error}")))
}
