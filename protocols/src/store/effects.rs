//! What the service is asked to do, as effects. Arguments leave out what the cell says by its path and state, because bytes in
//! state are what a message pays for: the CAR, its size, the attempt.

use bucket_core::cid::{Cid, DAG_CBOR, sha2_cid};
use bucket_core::dag_cbor::Ipld;
use bucket_core::effect::{Effect, Job, promise};
use bucket_core::stm::Key;

use super::event::{DONE, EXCEED, EXPIRE, PUT, RECEIVE};

/// Sets room aside for the CAR, once for each attempt. Its failure is [`NO_ROOM`].
pub const ALLOCATE: &str = "/storage/allocate";
/// Gives the room of an attempt back, once; an attempt that had none gets none after it.
pub const DEALLOCATE: &str = "/storage/deallocate";
/// Whether the service has the CAR, with the right hash and size. Its failure is [`NOT_THERE`].
pub const STAT: &str = "/storage/stat";
/// Makes a URL to put the CAR to; answers `{url, headers}`.
pub const SIGN: &str = "/storage/sign";
/// Waits until somebody put the CAR, with the right hash and size.
pub const WATCH: &str = "/storage/watch";
/// Waits for a number of epochs from the one in which the effect was asked for.
pub const SLEEP: &str = "/task/sleep";
/// For whoever added the CAR, to put it to the entry's URL with the entry's headers.
pub const UPLOAD: &str = "/s3/put";

/// The failure of [`ALLOCATE`] that decides: there is no room.
pub const NO_ROOM: &str = "ExceedsLimit";
/// The failure of [`STAT`] that decides: the CAR isn't there, or something else is.
pub const NOT_THERE: &str = "NotFound";

/// Epochs in which a CAR has to be put, about 100 minutes (near/NEPs, NEP-519, has the same number of blocks).
pub const UPLOAD_EPOCHS: i64 = 200;

/// An attempt that is active for more epochs than this (a day) may be given up for another.
pub const ACTIVATION_EPOCHS: i64 = 2880;

/// Whether a job's failure is what came of it. After any other it is to be tried again.
pub fn is_final(cmd: &str, failure: &str) -> bool {
    matches!((cmd, failure), (ALLOCATE, NO_ROOM) | (STAT, NOT_THERE))
}

/// Effects that begin together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Room, and then the CAR itself or a URL for it.
    Activation,
    /// The upload and its end.
    Upload,
    /// The room of an attempt that failed.
    Deallocation,
}

/// Numbers of an attempt's effects.
pub const ACTIVATION: u64 = 0;
const UPLOADING: u64 = 3;
/// See [`ACTIVATION`]; the only one that no event of its own settles.
pub const DEALLOCATION: u64 = 6;

/// SHA-256 of the job [`SIGN`] as DAG-CBOR: it is awaited by its CID, and hashing it each time would be gas.
const SIGN_DIGEST: [u8; 32] = [
    0x1c, 0x3e, 0xfa, 0x30, 0xe0, 0x81, 0x31, 0xcf, 0xa7, 0xd9, 0x61, 0xc3, 0xb8, 0xa5, 0x1b, 0x80, 0x22, 0x58, 0xa9,
    0x5b, 0xca, 0xd7, 0x01, 0x83, 0x29, 0xe0, 0x12, 0xec, 0xeb, 0xaf, 0x62, 0xee,
];

/// The CID of the job [`SIGN`].
fn sign() -> Cid {
    sha2_cid(DAG_CBOR, &SIGN_DIGEST)
}

fn job(cmd: &str) -> Effect {
    Job::new(cmd, []).into()
}

/// The effects of a group, for an attempt at a CAR of `size` bytes.
pub fn effects(group: Group, attempt: u64, size: u64) -> Vec<(Key, Effect)> {
    let (first, effects) = match group {
        Group::Activation => (ACTIVATION, activation().into()),
        Group::Upload => (UPLOADING, upload().into()),
        Group::Deallocation => (DEALLOCATION, vec![deallocation(size)]),
    };
    (first..).map(|number| Key { attempt, number }).zip(effects).collect()
}

/// The keys of what an event that is not [`DONE`] settles: all that the attempt still waits for.
pub fn settled(attempt: u64) -> Vec<Key> {
    (ACTIVATION..DEALLOCATION).map(|number| Key { attempt, number }).collect()
}

fn activation() -> [Effect; 3] {
    let alloc = || job(ALLOCATE);
    let exceed = alloc().catch().and(job(EXCEED));
    let info = || alloc().and(job(STAT));
    let put = info().and(job(PUT));
    let receive = Job::new(RECEIVE, [("upload", promise(sign()))]);
    let receive = alloc().and(info().catch()).and(job(SIGN)).and(receive);
    [exceed.try_(), put.try_(), receive.try_()]
}

fn upload() -> [Effect; 3] {
    let put = job(WATCH).and(job(PUT));
    let sleep = Job::new(SLEEP, [("epochs", Ipld::Integer(UPLOAD_EPOCHS.into()))]);
    let expire = Effect::from(sleep).and(job(EXPIRE));
    [job(UPLOAD), put.try_(), expire.try_()]
}

fn deallocation(size: u64) -> Effect {
    let free = Job::new(DEALLOCATE, [("size", Ipld::Integer(size.into()))]);
    let done = Job::new(DONE, [("effect", Ipld::Integer(DEALLOCATION.into()))]);
    Effect::from(free).and(done)
}
