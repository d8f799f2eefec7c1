//! What the indexer asks a node. Answers are checked as far as they say something of themselves.

use std::collections::BTreeMap;
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use bucket_core::abi::{self, BucketParams, CreateParams, Message, Wire, method};
use bucket_core::did::BucketId;
use bucket_rpc::json::{ActorState, Message as ChainMessage, Tipset, TipsetKey, network_named};
use bucket_rpc::methods::*;
use bucket_rpc::{Client, Lotus, RpcError};
use cid::Cid;
use fvm_shared::ActorID;
use fvm_shared::address::{Address, Network, Payload};
use fvm_shared::clock::ChainEpoch;

use crate::calls::Call;
use crate::replay::Input;

/// The exit code by which the actor says that it doesn't know a bucket.
const BUCKET_UNKNOWN: u32 = 17;

/// A node, and the actor that is followed there.
#[derive(Debug)]
pub struct Node {
    pub(crate) client: Client,
    /// The actor as it was given: f0, f2 or f4.
    pub actor: Address,
    ids: Mutex<BTreeMap<Address, ActorID>>,
}

/// What a tipset's messages did to the actor.
#[derive(Debug, Clone)]
pub struct Results {
    /// The actor's state afterwards; `None` while there is no actor.
    pub head: Option<Cid>,
    /// Messages to the actor that succeeded, in their order.
    pub inputs: Vec<Input>,
    /// All messages that succeeded and may have called the actor, in their order.
    pub calls: Vec<Call>,
}

/// A tipset's key as it is stored.
pub fn key_text(key: &TipsetKey) -> String {
    let cids: Vec<String> = key.0.iter().map(Cid::to_string).collect();
    cids.join(",")
}

/// Whether a node says that an address has no actor. A node that has lost old state says something else.
fn is_no_actor(error: &RpcError) -> bool {
    let RpcError::Node { message, .. } = error else { return false };
    let message = message.to_lowercase();
    message.contains("actor") && message.contains("not found")
}

fn found<T>(answer: Result<T, RpcError>) -> Result<Option<T>> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_no_actor(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn checked(tipset: Tipset) -> Result<Tipset> {
    tipset.check().context("the node gave a tipset that isn't one")?;
    Ok(tipset)
}

impl Node {
    /// The node behind `client`.
    pub fn new(client: Client, actor: Address) -> Self {
        Self { client, actor, ids: Mutex::default() }
    }

    /// The heaviest tipset.
    pub async fn head(&self) -> Result<Tipset> {
        checked(self.client.call::<ChainHead>(()).await?)
    }

    /// The network, by which letter it writes addresses with.
    pub async fn network(&self) -> Result<Network> {
        Ok(network_named(&self.client.call::<StateNetworkName>(()).await?))
    }

    /// The CIDs of the chain's first tipset: the chain's identity.
    pub async fn genesis(&self) -> Result<String> {
        let genesis = checked(self.client.call::<ChainGetGenesis>(()).await?)?;
        Ok(key_text(&genesis.key()))
    }

    /// A tipset by its key.
    pub async fn tipset(&self, key: &TipsetKey) -> Result<Tipset> {
        let tipset = checked(self.client.call::<ChainGetTipSet>((key.clone(),)).await?)?;
        ensure!(tipset.key() == *key, "the node gave tipset {} for {key}", tipset.key());
        Ok(tipset)
    }

    /// The ancestor of `key` at `height`, or the nearest before.
    pub async fn at_height(&self, height: ChainEpoch, key: &TipsetKey) -> Result<Tipset> {
        checked(self.client.call::<ChainGetTipSetByHeight>((height, key.clone())).await?)
    }

    /// The ancestor of `key` at `height`, or the nearest after.
    pub async fn after_height(&self, height: ChainEpoch, key: &TipsetKey) -> Result<Tipset> {
        checked(self.client.call::<ChainGetTipSetAfterHeight>((height, key.clone())).await?)
    }

    /// The epoch of the last tipset that stays; where a node can't tell, 900 epochs below the head.
    pub async fn finalized(&self, head: ChainEpoch) -> ChainEpoch {
        match self.client.call::<ChainGetFinalizedTipSet>(()).await {
            Ok(tipset) => tipset.height,
            Err(_) => (head - 900).max(0),
        }
    }

    /// The actor in the state from which the messages of `key` start.
    pub async fn actor_at(&self, key: &TipsetKey) -> Result<Option<ActorState>> {
        found(self.client.call::<StateGetActor>((self.actor.into(), key.clone())).await)
    }

    /// The record of a bucket, as its DAG-CBOR, in the state from which the messages of `key` start.
    pub async fn bucket_at(&self, bucket: &BucketId, key: &TipsetKey) -> Result<Option<Vec<u8>>> {
        let params = abi::encode(&BucketParams { bucket: bucket.clone() });
        // Lotus lets the system actor call when nobody in particular asks (eth_call does the same).
        let from = Address::new_id(0);
        let message = ChainMessage::new(from, self.actor, method::BUCKET, params.to_vec());
        let result = self.client.call::<StateCall>((message, key.clone())).await?;
        let receipt = result.msg_rct.with_context(|| format!("the node can't call Bucket: {}", result.error))?;
        match receipt.exit_code.value() {
            0 => Ok(Some(receipt.return_data)),
            BUCKET_UNKNOWN => Ok(None),
            code => anyhow::bail!("Bucket ends with exit code {code}: {}", result.error),
        }
    }

    /// Forgets which address has which actor id: a reorganisation may have dealt them anew.
    pub fn forget_ids(&self) {
        self.ids().clear();
    }

    /// What the messages of `child`'s parent did to the actor.
    pub async fn results(&self, child: &Tipset) -> Result<Results> {
        let block = child.cids.first().context("a tipset without blocks")?;
        let key = child.key();
        let (messages, receipts, actor) = futures::try_join!(
            async { anyhow::Ok(self.client.call::<ChainGetParentMessages>((Lotus(*block),)).await?) },
            async { anyhow::Ok(self.client.call::<ChainGetParentReceipts>((Lotus(*block),)).await?) },
            self.actor_at(&key),
        )?;
        let (sent, ended) = (messages.len(), receipts.len());
        ensure!(sent == ended, "the node gave {sent} messages and {ended} receipts before {key}");
        let Some(actor) = actor else { return Ok(Results { head: None, inputs: vec![], calls: vec![] }) };
        let ended = messages.into_iter().zip(receipts);
        let calls: Vec<Call> = ended.filter_map(|(message, receipt)| Call::of_message(message, receipt)).collect();
        let mut inputs = Vec::new();
        for call in &calls {
            inputs.extend(self.input(call, &key).await?);
        }
        Ok(Results { head: Some(actor.head), inputs, calls })
    }

    /// The call as the machine takes it; `None` when it isn't one to the actor that may change its state.
    pub(crate) async fn input(&self, call: &Call, at: &TipsetKey) -> Result<Option<Input>> {
        let (message, wire) = match Message::decode(call.method, &call.params) {
            None => return Ok(None),
            Some(Ok((message, wire))) => (Ok(message), wire),
            Some(Err(abort)) => (Err(abort), Wire::Native),
        };
        let ours = self.id(self.actor, at).await?;
        let Some(this) = self.id(call.to, at).await?.filter(|to| Some(*to) == ours) else { return Ok(None) };
        let caller = self.sender(call.from, at).await?;
        let origin = self.sender(call.origin, at).await?;
        let mut addresses = BTreeMap::new();
        if let Ok(Message::Create(CreateParams { controllers, .. })) = &message {
            for address in controllers {
                addresses.extend(self.id(*address, at).await?.map(|id| (*address, id)));
            }
        }
        let (cid, value, returned) = (call.cid, call.value, call.returned.clone());
        Ok(Some(Input { cid, this, caller, origin, value, message, wire, addresses, returned }))
    }

    async fn sender(&self, address: Address, at: &TipsetKey) -> Result<ActorID> {
        self.id(address, at).await?.with_context(|| format!("the node doesn't know {address}, which sent"))
    }

    /// The actor id of an address. On a chain that only grows it never changes.
    async fn id(&self, address: Address, at: &TipsetKey) -> Result<Option<ActorID>> {
        if let Payload::ID(id) = address.payload() {
            return Ok(Some(*id));
        }
        if let Some(id) = self.ids().get(&address) {
            return Ok(Some(*id));
        }
        let Some(Lotus(answer)) = found(self.client.call::<StateLookupID>((address.into(), at.clone())).await)? else {
            return Ok(None);
        };
        let id = answer.id().with_context(|| format!("the node gave {answer} as the id of {address}"))?;
        self.ids().insert(address, id);
        Ok(Some(id))
    }

    fn ids(&self) -> std::sync::MutexGuard<'_, BTreeMap<Address, ActorID>> {
        self.ids.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
