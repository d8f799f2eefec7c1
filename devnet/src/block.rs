//! Blocks and what they refer to: messages, receipts and events, in the layout of Lotus.
//!
//! Messages and receipts lie in AMTs of the first version, with 8 values a node, because Lotus never moved them;
//! events in one of the third, with 32. lotus:chain/types, lotus:chain/consensus/compute_state.go.

use anyhow::{Context, Result};
use bls_signatures::Serialize as _;
use bucket_rpc::json::{BlockHeader, Message, Signature, SignatureType, SignedMessage, Tipset, TipsetKey};
use cid::Cid;
use fvm::executor::ApplyRet;
use fvm_ipld_amt::{Amt, Amtv0};
use fvm_ipld_blockstore::Blockstore;
use fvm_ipld_encoding::tuple::*;
use fvm_shared::{clock::ChainEpoch, econ::TokenAmount, event::StampedEvent, message as fvm_message, receipt::Receipt};

use crate::store::Store;

/// The width of an events AMT, as the FVM computes it.
const EVENTS_BIT_WIDTH: u32 = 5;

/// A tipset of the devnet: one block, and what executing it gave.
#[derive(Debug, Clone)]
pub struct Block {
    /// The block's CID, and so the tipset's key.
    pub cid: Cid,
    /// The block.
    pub header: BlockHeader,
    /// What its messages led to. A child will carry it as *parent* state and receipts.
    pub outcome: Outcome,
}

/// What executing a tipset gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct Outcome {
    /// The state after its messages.
    pub state_root: Cid,
    /// `AMT[Receipt]`, one for each message, in order of execution.
    pub receipts: Cid,
    /// The base fee of the next tipset.
    pub base_fee: TokenAmount,
    /// The signatures of the BLS messages, which the block itself holds in one aggregate only. A reorg needs them.
    pub bls_signatures: Vec<Signature>,
}

/// Where a block's messages are. lotus:chain/types/blockheader.go `MsgMeta`.
#[derive(Serialize_tuple, Deserialize_tuple)]
struct TxMeta {
    /// `AMT[Cid]` of unsigned messages.
    bls: Cid,
    /// `AMT[Cid]` of signed messages.
    secp: Cid,
}

/// A message in a block.
#[derive(Debug, Clone)]
pub struct Included {
    /// By which the chain knows it.
    pub cid: Cid,
    /// The message itself.
    pub message: Message,
}

impl Block {
    /// The epoch.
    pub fn height(&self) -> ChainEpoch {
        self.header.height
    }

    /// The block of the tipset before; none for genesis.
    pub fn parent(&self) -> Option<Cid> {
        self.header.parents.first().copied()
    }

    /// The tipset's name.
    pub fn key(&self) -> TipsetKey {
        TipsetKey(vec![self.cid])
    }

    /// The tipset as Lotus writes it.
    pub fn tipset(&self) -> Tipset {
        Tipset { cids: vec![self.cid], blocks: vec![self.header.clone()], height: self.header.height }
    }
}

/// Sorts messages into the order of execution: BLS before the others, else as they are.
pub fn execution_order(mut messages: Vec<SignedMessage>) -> Vec<SignedMessage> {
    messages.sort_by_key(|message| !is_bls(message));
    messages
}

fn is_bls(message: &SignedMessage) -> bool {
    message.signature.sig_type == SignatureType::Bls
}

/// Writes messages in execution order and returns the CID for the header's `Messages`.
pub fn put_messages(store: &Store, messages: &[SignedMessage]) -> Result<Cid> {
    let (bls, secp): (Vec<_>, Vec<_>) = messages.iter().partition(|message| is_bls(message));
    let put = |messages: Vec<&SignedMessage>| -> Result<Cid> {
        let cids = messages.into_iter().map(|message| put_message(store, message)).collect::<Result<Vec<_>>>()?;
        Ok(Amtv0::new_from_iter(store, cids)?)
    };
    store.put_object(&TxMeta { bls: put(bls)?, secp: put(secp)? })
}

/// Writes a message, signed and unsigned, so that both of its CIDs can be looked up. Returns the one it is known by.
pub fn put_message(store: &Store, message: &SignedMessage) -> Result<Cid> {
    store.put_keyed(&message.message.cid()?, &message.message.to_cbor()?)?;
    let cid = message.cid()?;
    if !is_bls(message) {
        store.put_keyed(&cid, &message.to_cbor()?)?;
    }
    Ok(cid)
}

/// Reads a message by either CID.
pub fn message(store: &Store, cid: &Cid) -> Result<Option<Message>> {
    let Some(bytes) = store.get(cid)? else { return Ok(None) };
    if let Ok(message) = fvm_ipld_encoding::from_slice::<fvm_message::Message>(&bytes) {
        return Ok(Some(message.into()));
    }
    let (message, _): (fvm_message::Message, Signature) =
        fvm_ipld_encoding::from_slice(&bytes).with_context(|| format!("{cid} is no message"))?;
    Ok(Some(message.into()))
}

/// The block's own messages, in order of execution.
pub fn messages(store: &Store, header: &BlockHeader) -> Result<Vec<Included>> {
    let meta: TxMeta = store.object(&header.messages, "the list of messages")?;
    let mut included = Vec::new();
    for root in [meta.bls, meta.secp] {
        Amtv0::<Cid, _>::load(&root, store)?.for_each(|_, cid| {
            let message = message(store, cid)?.with_context(|| format!("the message {cid} is not in the store"))?;
            included.push(Included { cid: *cid, message });
            Ok(())
        })?;
    }
    Ok(included)
}

/// The block's own messages with their signatures, as the message pool had them.
pub fn signed_messages(store: &Store, block: &Block) -> Result<Vec<SignedMessage>> {
    let mut bls = block.outcome.bls_signatures.iter();
    let included = messages(store, &block.header)?;
    let signed = included.into_iter().map(|Included { cid, message }| {
        if message.cid()? == cid {
            let signature = bls.next().with_context(|| format!("the signature of {cid} is lost"))?.clone();
            return Ok(SignedMessage { message, signature });
        }
        let (_, signature): (fvm_message::Message, Signature) = store.object(&cid, "the signed message")?;
        Ok(SignedMessage { message, signature })
    });
    signed.collect()
}

/// Writes receipts, and under them the events. Returns the CID for a child's `ParentMessageReceipts`.
pub fn put_receipts(store: &Store, applied: &[ApplyRet]) -> Result<Cid> {
    for result in applied.iter().filter(|result| !result.events.is_empty()) {
        // The FVM has computed the root without keeping the nodes.
        Amt::new_from_iter_with_bit_width(store, EVENTS_BIT_WIDTH, result.events.iter())?;
    }
    Ok(Amtv0::new_from_iter(store, applied.iter().map(|result| &result.msg_receipt))?)
}

/// The receipts under a root that [`put_receipts`] gave.
pub fn receipts(store: &Store, root: &Cid) -> Result<Vec<Receipt>> {
    let mut receipts = Vec::new();
    Amtv0::<Receipt, _>::load(root, store)?.for_each(|_, receipt| {
        receipts.push(receipt.clone());
        Ok(())
    })?;
    Ok(receipts)
}

/// The events under a receipt's `events_root`.
pub fn events(store: &Store, root: &Cid) -> Result<Vec<StampedEvent>> {
    let mut events = Vec::new();
    Amt::<StampedEvent, _>::load(root, store)?.for_each(|_, event| {
        events.push(event.clone());
        Ok(())
    })?;
    Ok(events)
}

/// One signature for all BLS messages. With none it is the point at infinity, as in Lotus.
pub fn bls_aggregate(messages: &[SignedMessage]) -> Result<Signature> {
    let signatures = messages
        .iter()
        .filter(|message| is_bls(message))
        .map(|message| bls_signatures::Signature::from_bytes(&message.signature.data))
        .collect::<Result<Vec<_>, _>>()
        .context("a BLS signature is no point of the curve")?;
    if signatures.is_empty() {
        let mut infinity = vec![0; 96];
        infinity[0] = 0xc0;
        return Ok(Signature::bls(infinity));
    }
    Ok(Signature::bls(bls_signatures::aggregate(&signatures).context("cannot aggregate BLS signatures")?.as_bytes()))
}

/// The signatures of the BLS messages, in order.
pub fn bls_signatures_of(messages: &[SignedMessage]) -> Vec<Signature> {
    messages.iter().filter(|message| is_bls(message)).map(|message| message.signature.clone()).collect()
}
