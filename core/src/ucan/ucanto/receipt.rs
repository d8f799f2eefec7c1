//! Receipts that npm `@ucanto/core` 10 reads and verifies (`src/receipt.js`): `{ocm: {ran, out, fx, meta, iss, prf}, sig}`,
//! and the message in which a service answers with one (`src/message.js`).

use std::collections::BTreeMap;

use super::{MESSAGE, token};
use crate::car::Transaction;
use crate::cid::{Cid, DAG_CBOR, NativeHasher, block_cid};
use crate::dag_cbor::{self, Ipld, map};
use crate::ucan::PublicKey;

/// A receipt as a DAG-CBOR block, with its CID. `ran` is the CID of the UCAN that was invoked, not of the CAR or the archive
/// around it. `sign` gets the message and answers the 64 bytes of a signature of `key`.
///
/// # Panics
/// As [`dag_cbor::encode`].
pub fn receipt(
    ran: Cid,
    out: Result<Ipld, Ipld>,
    meta: BTreeMap<String, Ipld>,
    key: &PublicKey,
    sign: impl FnOnce(&[u8]) -> Vec<u8>,
) -> (Cid, Vec<u8>) {
    let out = match out {
        Ok(value) => map([("ok", value)]),
        Err(value) => map([("error", value)]),
    };
    let outcome = map([
        ("ran", Ipld::Link(ran)),
        ("out", out),
        ("fx", map([("fork", Ipld::List(vec![]))])),
        ("meta", Ipld::Map(meta)),
        // Text here, although a UCAN has bytes.
        ("iss", Ipld::String(key.to_did().to_string())),
        ("prf", Ipld::List(vec![])),
    ]);
    let signature = token::seal(key.algorithm(), &sign(&dag_cbor::encode(&outcome)));
    let block = dag_cbor::encode(&map([("ocm", outcome), ("sig", Ipld::Bytes(signature))]));
    (block_cid::<NativeHasher>(DAG_CBOR, &block), block)
}

/// The CAR of a message that answers the invocation `ran` with a receipt's block.
pub fn message(ran: Cid, receipt: &[u8]) -> Result<Vec<u8>, dag_cbor::DagCborError> {
    let mut transaction = Transaction::<NativeHasher>::default();
    let link = transaction.write(&dag_cbor::decode(receipt)?);
    transaction.write(&map([(MESSAGE, map([("report", map([(ran.to_string(), Ipld::Link(link))]))]))]));
    Ok(transaction.commit().expect("blocks were written"))
}
