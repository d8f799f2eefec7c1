//! What becomes of a file or a large value: a block, to which the entry's value links.

use bucket_core::car::Car;
use bucket_core::cid::{CarId, Cid, DAG_CBOR, NativeHasher, RAW, block_cid};
use bucket_core::dag_cbor::{self, Ipld};
use bucket_core::did::BucketId;
use bucket_core::limits::STAGED_BYTES_MAX;
use bucket_core::ucan::assertion::Names;
use bucket_protocols::space::edit::VALUE_BYTES_MAX;
use bucket_protocols::space::keys::Kind;
use bucket_protocols::space::standing::{Standing, recognise};

use super::millis;
use crate::error::ClientError;
use crate::task;

/// A file: it has to fit into a push's CAR, beside the nodes and proofs of one entry.
pub const FILE_BYTES_MAX: usize = STAGED_BYTES_MAX - 96 * 1024;

/// A value that fits an entry, and the block that it links to, if it is that.
#[derive(Debug, Clone, PartialEq)]
pub struct Content {
    /// The entry's value.
    pub value: Ipld,
    /// The block.
    pub block: Option<Vec<u8>>,
}

fn linked(cid: Cid, block: Vec<u8>) -> Result<Content, ClientError> {
    if block.len() > FILE_BYTES_MAX {
        return Err(ClientError::Input(format!(
            "expected at most {FILE_BYTES_MAX} bytes, got {}: give it to a store with `bucket store add`, and put a link to it",
            block.len()
        )));
    }
    Ok(Content { value: Ipld::Link(cid), block: Some(block) })
}

impl Content {
    /// A value; one that is too large for an entry becomes a block.
    pub fn of_value(value: Ipld) -> Result<Self, ClientError> {
        let bytes = dag_cbor::encode(&value);
        if bytes.len() <= VALUE_BYTES_MAX {
            return Ok(Self { value, block: None });
        }
        linked(block_cid::<NativeHasher>(DAG_CBOR, &bytes), bytes)
    }

    /// A file: a CAR by its id, anything else as a raw block.
    pub fn of_file(bytes: Vec<u8>) -> Result<Self, ClientError> {
        let cid = match crate::car::read(&bytes) {
            Ok(_) => CarId::of::<NativeHasher>(&bytes).to_cid(),
            Err(_) => block_cid::<NativeHasher>(RAW, &bytes),
        };
        linked(cid, bytes)
    }
}

/// The key and value under which a signed invocation is queued in `space`, for the service that it names as its audience.
pub fn queued(space: &BucketId, car: Vec<u8>) -> Result<(String, Content), ClientError> {
    let wrong = |why: String| ClientError::Input(format!("expected a CAR of a signed invocation on {space}: {why}"));
    let decoded = Car::decode::<NativeHasher>(car.clone()).map_err(|error| wrong(error.to_string()))?;
    let names = Names::new::<NativeHasher>(&decoded, &task::asked(&decoded)?);
    let key = Kind::Queue.key(&names.invocation);
    let content = linked(decoded.id::<NativeHasher>().to_cid(), car)?;
    let block = content.block.clone();
    // Queues don't ask who the service is.
    match recognise::<NativeHasher>(&key, &content.value, |_| block, space, space, millis() / 1000) {
        Standing::Asked(_) => Ok((key, content)),
        Standing::Unrecognised(why) => Err(wrong(why.to_string())),
        Standing::Recognised(_) => Err(wrong("got a receipt".into())),
    }
}
