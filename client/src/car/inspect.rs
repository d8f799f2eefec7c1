//! What is in a CAR.

use bucket_core::cid::{CarId, DAG_CBOR, NativeHasher};
use bucket_core::dag_cbor;
use cid::Cid;
use serde::Serialize;
use serde_json::Value;

use super::{Block, codec_name, read, text, texts};
use crate::dag_json;
use crate::error::ClientError;

/// A CAR at a glance.
#[derive(Debug, Serialize)]
pub struct Inspection {
    /// The file's own id: sha2-256 of all of its bytes, with the codec `car`.
    pub car: CarId,
    /// 1 or 2.
    pub version: u64,
    /// The header's roots.
    #[serde(serialize_with = "texts")]
    pub roots: Vec<Cid>,
    /// The blocks in the order of the file.
    pub blocks: Vec<BlockInfo>,
    /// Why reading ended before the file did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A block at a glance.
#[derive(Debug, Serialize)]
pub struct BlockInfo {
    /// Its CID.
    #[serde(serialize_with = "text")]
    pub cid: Cid,
    /// Its codec.
    pub codec: String,
    /// Bytes of data.
    pub size: usize,
    /// Where the data begins in the file.
    pub offset: usize,
    /// Its value as DAG-JSON, for DAG-CBOR.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
}

/// Lists a CAR's header and blocks; with `values`, what the DAG-CBOR ones say. Hashes are not checked.
pub fn inspect(bytes: &[u8], values: bool) -> Result<Inspection, ClientError> {
    let file = read(bytes).map_err(|error| ClientError::Input(error.to_string()))?;
    Ok(Inspection {
        car: CarId::of::<NativeHasher>(bytes),
        version: file.version,
        roots: file.roots,
        blocks: file.blocks.iter().map(|block| info(block, values)).collect(),
        error: file.error.map(|error| error.to_string()),
    })
}

fn info(block: &Block<'_>, values: bool) -> BlockInfo {
    let Block { cid, data, offset, .. } = block;
    // A block that isn't strict DAG-CBOR has no value here; `verify` says why.
    let value = (values && cid.codec() == DAG_CBOR).then(|| dag_cbor::decode(data).ok()).flatten();
    BlockInfo {
        cid: *cid,
        codec: codec_name(cid.codec()),
        size: data.len(),
        offset: *offset,
        value: value.and_then(|value| dag_json::write(&value).ok()),
    }
}
