//! What a service does when it is asked: one table of commands. Pure, except for what the machine has to do first.

use bucket_core::car::Car;
use bucket_core::cid::{CarId, NativeHasher, SHA2_256};
use bucket_core::dag_cbor::Ipld;
use bucket_core::error::Failure;
use bucket_core::task::{Task, kind};
use bucket_core::ucan::Delegation;
use cid::multihash::Multihash;

/// Shards of one upload: each is looked up.
const SHARDS_MAX: usize = 256;

/// What a service has to say, or to do before.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// What came of it; nothing follows.
    Said(Result<Ipld, Failure>),
    /// A blob is to be stored: what came of it is what becomes of the machine's entry.
    Store(Blob),
}

/// A blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Blob {
    /// Its SHA-256, as the id of a CAR.
    pub link: CarId,
    /// Its length in bytes.
    pub size: u64,
}

/// Answers `task`, which came in `car`. `stored` tells whether the bucket's store has a CAR.
pub fn answer(task: &Task, car: &Car, stored: impl Fn(&CarId) -> bool) -> Answer {
    match &task.cmd[..] {
        "/blob/add" => blob(task).map_or_else(|no| Answer::Said(Err(no)), Answer::Store),
        "/upload/add" => Answer::Said(upload(task, stored)),
        "/access/delegate" => Answer::Said(delegation(task, car)),
        "/subscription/add" => Answer::Said(subscription(task)),
        other => Answer::Said(Err(Failure::new(
            "CommandUnknown",
            format!(
                "unknown command {other}: expected one of /blob/add, /upload/add, /access/delegate, /subscription/add"
            ),
        ))),
    }
}

fn field<'a>(task: &'a Task, name: &str) -> Result<&'a Ipld, Failure> {
    task.args.get(name).ok_or_else(|| Failure::args(format!("expected a field “{name}”, got none")))
}

fn link(name: &str, value: &Ipld) -> Result<cid::Cid, Failure> {
    match value {
        Ipld::Link(cid) => Ok(*cid),
        other => Err(Failure::args(format!("expected “{name}” to be a link, got {}", kind(other)))),
    }
}

/// The blob of `/blob/add {blob: {digest, size}}`.
pub fn blob(task: &Task) -> Result<Blob, Failure> {
    let Ipld::Map(blob) = field(task, "blob")? else {
        return Err(Failure::args("expected “blob” to be a map of “digest” and “size”"));
    };
    let digest = match blob.get("digest") {
        Some(Ipld::Bytes(digest)) => digest,
        _ => return Err(Failure::args("expected “digest” to be the bytes of a multihash")),
    };
    let hash = Multihash::<64>::from_bytes(digest)
        .map_err(|why| Failure::args(format!("expected “digest” to be a multihash: {why}")))?;
    let sha2 = (hash.code() == SHA2_256).then(|| hash.digest().try_into().ok()).flatten();
    let sha2: [u8; 32] = sha2.ok_or_else(|| {
        Failure::new("HashUnsupported", format!("expected a sha2-256 multihash, got one of code {:#x}", hash.code()))
    })?;
    let size = match blob.get("size") {
        Some(Ipld::Integer(size)) => u64::try_from(*size).ok().filter(|size| *size > 0),
        _ => None,
    };
    let size = size.ok_or_else(|| Failure::args("expected “size” to be a number of bytes"))?;
    Ok(Blob { link: CarId(sha2), size })
}

/// The shards of `/upload/add {root, shards}`, as far as they can be read.
pub fn shards(task: &Task) -> Vec<CarId> {
    let Some(Ipld::List(shards)) = task.args.get("shards").filter(|_| task.cmd == "/upload/add") else { return vec![] };
    let id = |shard: &Ipld| if let Ipld::Link(cid) = shard { CarId::try_from(cid).ok() } else { None };
    shards.iter().filter_map(id).take(SHARDS_MAX).collect()
}

/// An upload is a root with the shards that hold it; each has to be stored.
fn upload(task: &Task, stored: impl Fn(&CarId) -> bool) -> Result<Ipld, Failure> {
    let root = link("root", field(task, "root")?)?;
    let Ipld::List(shards) = field(task, "shards")? else {
        return Err(Failure::args("expected “shards” to be a list of links to CARs"));
    };
    if shards.len() > SHARDS_MAX {
        return Err(Failure::args(format!("expected at most {SHARDS_MAX} shards, got {}", shards.len())));
    }
    for shard in shards {
        let shard = link("shards", shard)?;
        let id = CarId::try_from(&shard).map_err(|why| Failure::args(format!("shards: {why}")))?;
        if !stored(&id) {
            return Err(Failure::new("ShardUnknown", format!("expected the shard {id} to be stored: add it first")));
        }
    }
    Ok(map([("root", Ipld::Link(root)), ("shards", Ipld::List(shards.clone()))]))
}

/// A delegation that the space's owner keeps for somebody; it comes along, and is what it says.
fn delegation(task: &Task, car: &Car) -> Result<Ipld, Failure> {
    let cid = link("delegation", field(task, "delegation")?)?;
    let block = car.block(&cid).ok_or_else(|| {
        Failure::new("DelegationAbsent", format!("expected the delegation {cid} in the CAR, got none"))
    })?;
    let invalid = |why: bucket_core::ucan::Denied| Failure::new("DelegationInvalid", why.to_string());
    let delegation = Delegation::decode::<NativeHasher>(block).map_err(invalid)?;
    delegation.check_signature::<NativeHasher>().map_err(invalid)?;
    Ok(map([("delegation", Ipld::Link(cid)), ("audience", Ipld::String(delegation.aud.to_string()))]))
}

/// Who pays for the space. The service only writes it down: its capacity is the operator's setting.
fn subscription(task: &Task) -> Result<Ipld, Failure> {
    match field(task, "account")? {
        Ipld::String(account) => {
            let did: bucket_core::did::BucketId =
                account.parse().map_err(|why| Failure::args(format!("account: {why}")))?;
            Ok(map([("account", Ipld::String(did.to_string()))]))
        }
        other => Err(Failure::args(format!("expected “account” to be a DID, got {}", kind(other)))),
    }
}

fn map<const N: usize>(fields: [(&str, Ipld); N]) -> Ipld {
    Ipld::Map(fields.map(|(field, value)| (field.to_owned(), value)).into())
}
