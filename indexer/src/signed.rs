//! Receipts in the forms that UCAN clients read and verify, signed by the indexer. The machine's own receipts carry no
//! signature: the chain vouches for their hashes.
//!
//! Both forms are made of the receipt alone, so that the same receipt gives the same bytes.
//!
//! - **UCAN 1.0**: an invocation of `/ucan/assert/receipt {ran, out}` on itself, as Forge's ucantone writes it
//!   (fil-forge/ucantone, `ucan/receipt`). `ran` is the CID of the task `{sub, cmd, args, nonce}` (ucan-wg/invocation,
//!   "Task"). It has no audience and never expires.
//! - **ucanto**: the message in which w3up's services answer, see [`ucanto`]. `ran` is the CID of what was signed, or of
//!   the task where nothing was.
//!
//! Neither has a field for all that ours have, so that goes into `meta`, which is free in both: `receipt` (the CAR that the
//! chain vouches for), `invocation`, `fork`, `cause`, `prior`, `version`.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use bucket_core::car::{Car, Transaction};
use bucket_core::cid::{CarId, DAG_CBOR, NativeHasher};
use bucket_core::dag_cbor::{self, Ipld};
use bucket_core::receipt::Receipt;
use bucket_core::task::Task;
pub use bucket_core::ucan::assertion::{ASSERT as COMMAND, Names};
use bucket_core::ucan::{InvocationDraft, assertion, ucanto};

use crate::signer::Signer;
use crate::view;

/// A run: what was asked, and what came of it.
pub struct Run {
    names: Names,
    task: Task,
    /// The invocation's block.
    invocation: Vec<u8>,
    id: CarId,
    receipt: Receipt,
    /// The receipt's block.
    block: Vec<u8>,
}

fn link(id: CarId) -> Ipld {
    Ipld::Link(id.to_cid())
}

fn map<const N: usize>(entries: [(&str, Ipld); N]) -> BTreeMap<String, Ipld> {
    entries.map(|(key, value)| (key.to_owned(), value)).into()
}

impl Run {
    /// Reads the CARs of a task and its receipt.
    pub fn read(input: Vec<u8>, receipt: Vec<u8>) -> Result<Self> {
        let car = Car::decode::<NativeHasher>(input)?;
        let task = view::task(&car)?;
        let names = Names::new::<NativeHasher>(&car, &task);
        let invocation = car.block(&names.invocation).context("the invocation is not in its CAR")?.to_vec();
        let car = Car::decode::<NativeHasher>(receipt)?;
        let block = car.block(&car.root()).context("a CAR has its root")?.to_vec();
        let id = car.id::<NativeHasher>();
        let receipt = Receipt::from_car::<NativeHasher>(car.into_bytes())?;
        Ok(Self { names, task, invocation, id, receipt, block })
    }

    fn out(&self) -> Result<Ipld, Ipld> {
        self.receipt.out.clone().map_err(assertion::error)
    }

    fn meta(&self) -> BTreeMap<String, Ipld> {
        let fork = self.receipt.fork.iter().copied().map(link).collect();
        let invocation = Ipld::Link(self.names.invocation);
        let mut meta = map([("receipt", link(self.id)), ("invocation", invocation), ("fork", Ipld::List(fork))]);
        meta.extend(self.receipt.cause.map(|cause| ("cause".to_owned(), link(cause))));
        if let Some((prior, version)) = self.receipt.prior {
            meta.extend(map([("prior", link(prior)), ("version", Ipld::Integer(version.into()))]));
        }
        meta
    }

    /// UCAN 1.0: a CAR of the assertion, after the blocks of the invocation, the task and the receipt.
    pub fn ucan(&self, signer: &Signer) -> Vec<u8> {
        // The same receipt gives the same bytes.
        let asserted = assertion::assertion(&signer.did(), self.names.task, self.out(), self.id.0.to_vec());
        let draft = InvocationDraft { meta: Some(self.meta()), ..asserted };
        let mut transaction = Transaction::<NativeHasher>::default();
        transaction.write_block(DAG_CBOR, &self.invocation);
        if self.names.task != self.names.invocation {
            transaction.write(&self.task.to_ipld());
        }
        transaction.write_block(DAG_CBOR, &self.block);
        transaction.write_block(DAG_CBOR, &draft.seal(&signer.public(), |message| signer.sign(message)));
        transaction.commit().expect("blocks were written")
    }

    /// w3up: a CAR of the message, after the receipt's block.
    pub fn ucanto(&self, signer: &Signer) -> Result<Vec<u8>, dag_cbor::DagCborError> {
        let ran = self.names.invocation;
        let sign = |message: &[u8]| signer.sign(message);
        let (_, block) = ucanto::receipt(ran, self.out(), self.meta(), &signer.public(), sign);
        ucanto::message(ran, &block)
    }
}
