//! What waits here goes to the chain: an author's own edits become one push, or several where one can't carry them. When
//! somebody else pushed first, they are put on the new root and sent again.

use std::time::{Duration, Instant};

use bucket_core::abi::CarParams;
use bucket_core::car::Transaction;
use bucket_core::cid::{CarId, Cid, NativeHasher};
use bucket_core::did::BucketId;
use bucket_core::limits::{CAR_BLOCKS_MAX, STAGED_BYTES_MAX};
use bucket_core::prolly::Tree;
use bucket_core::task::Task;
use bucket_protocols::space::edit::OPS_MAX;
use bucket_protocols::space::head::Head;
use bucket_protocols::space::push::{PUSH, Prepared, Push};

use super::blocks::Nodes;
use super::edit::{Ops, held};
use super::kept::{self, Author, Evidence, Fate, Holds};
use super::model::{Changes, merge};
use super::store::Replica;
use super::tree::{digest, links};
use super::{Edit, SpaceError, millis, pull};
use crate::actor::ActorClient;
use crate::error::ClientError;
use crate::identity::Identity;
use crate::progress::Step;
use crate::task::nonce;
use crate::ucan::sign;

/// Turns in which somebody else was faster.
const REBASES_MAX: usize = 16;

/// Between two looks at an index that is behind: the first, and the longest.
const POLL: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Failures after which the same is tried on a newer head.
const STALE: [&str; 2] = ["RebaseRequired", "EditKnown"];

/// One push that went through.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    /// Its CAR.
    pub car: CarId,
    /// Its size in bytes.
    pub bytes: usize,
    /// Its receipt.
    pub receipt: CarId,
    /// How many keys it changed.
    pub ops: usize,
    /// How many edits it completed.
    pub edits: usize,
    /// Gas that it took, without the staging of a large one.
    pub gas_used: u64,
}

/// What a push did.
#[derive(Debug, Clone, PartialEq)]
pub struct Pushed {
    /// The pushes that it took.
    pub pushes: Vec<Sent>,
    /// How often somebody else was faster.
    pub rebased: usize,
    /// Edits that had to be made anew, because another device used their numbers.
    pub anew: usize,
    /// The head afterwards.
    pub head: Head,
}

/// A push that is ready to be sent.
pub struct Packed {
    /// The CAR: signed, with the nodes that the machine needs and the blocks that new values link to.
    pub car: Vec<u8>,
    /// What it does.
    pub prepared: Prepared,
    /// The edits that it completes.
    pub edits: Vec<Cid>,
}

/// Pushes what waits of the author's own edits.
pub async fn push(
    replica: &Replica,
    client: &ActorClient,
    key: &Identity,
    author: &Author,
) -> Result<Pushed, ClientError> {
    let mut pushed = Pushed { pushes: vec![], rebased: 0, anew: 0, head: pull::pull(replica, client).await?.head };
    loop {
        pushed.anew += replica.write(|kept| kept.make_anew(replica.space(), key, &author.proofs))?;
        let Some(packed) = replica.read(|kept| pack(kept, replica.space(), key, &author.proofs))? else {
            return Ok(pushed);
        };
        match send(replica, client, packed).await? {
            Some((sent, head)) => {
                pushed.pushes.push(sent);
                pushed.head = head;
            }
            None if pushed.rebased == REBASES_MAX => {
                return Err(ClientError::Input(format!(
                    "expected to push within {REBASES_MAX} turns, somebody else was faster in each: try again"
                )));
            }
            None => {
                pushed.rebased += 1;
                pushed.head = newer(replica, client, &pushed.head).await?;
            }
        }
    }
}

/// Waits for a newer head than `known`: the index may be behind the chain, which said that there is one.
async fn newer(replica: &Replica, client: &ActorClient, known: &Head) -> Result<Head, ClientError> {
    let start = Instant::now();
    let mut pause = POLL.0;
    loop {
        let head = pull::pull(replica, client).await?.head;
        if head != *known {
            client.chain.tell(Step::Note(format!("rebased on edit {}", head.seq)));
            return Ok(head);
        }
        if start.elapsed() > client.chain.timeout() {
            let seconds = client.chain.timeout().as_secs();
            return Err(ClientError::Indexer {
                url: client.gateway()?.url().to_owned(),
                why: format!("expected a later head than edit {}, got none in {seconds} s", known.seq),
            });
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(POLL.1);
    }
}

/// Sends a push and takes over what came of it; `None` when its base is not the root any more.
async fn send(replica: &Replica, client: &ActorClient, packed: Packed) -> Result<Option<(Sent, Head)>, ClientError> {
    let Packed { car, prepared, edits } = packed;
    let (space, id, bytes) = (replica.space(), CarId::of::<NativeHasher>(&car), car.len());
    let (ops, count) = (prepared.push.edit.ops().len(), edits.len());
    let sent = kept::Push::new(prepared.push.base, edits);
    replica.write(|kept| kept.put_push(&id, &sent))?;
    client.chain.tell(Step::Note(format!("push {id}: {ops} keys, {bytes} bytes")));
    let invoked = match client.invoke(CarParams::new(space.clone(), car)).await {
        Ok(invoked) => invoked,
        Err(error) => {
            // Whether these came through is not known yet; the next pull asks.
            let unknown = matches!(&error, ClientError::Rpc(_) | ClientError::WaitTimeout { .. });
            if !unknown {
                replica.write(|kept| kept.del_push(&id))?;
            }
            return Err(error);
        }
    };
    let fetched = client.wait_receipt(space, &id).await?;
    if let Err(failure) = &fetched.receipt.out {
        replica.write(|kept| kept.del_push(&id))?;
        return match STALE.contains(&&failure.name[..]) {
            true => Ok(None),
            false => Err(SpaceError::Failure(failure.clone()).into()),
        };
    }
    let head = pull::head_of(&fetched).filter(|head| head.root == prepared.written.root).ok_or_else(|| {
        ClientError::Mismatch { expected: format!("root {}", prepared.written.root), got: "another".into() }
    })?;
    let signed = pull::signed(space, client.gateway()?, &head, &id).await?;
    let (signed, signer) = signed.unzip();
    let evidence = Evidence { car: Some(id), signed };
    replica.write(|kept| {
        signer.iter().try_for_each(|signer| kept.meet(signer).map(drop))?;
        prepared.written.nodes.iter().try_for_each(|(_, node)| kept.put_coming(node))?;
        kept.advance(&head, &evidence)?;
        kept.put_push(&id, &kept::Push { fate: Fate::Landed(invoked.height), ..sent })
    })?;
    let sent = Sent { car: id, bytes, receipt: fetched.id, ops, edits: count, gas_used: invoked.gas_used };
    Ok(Some((sent, head)))
}

/// The next push of what waits of `key`'s own edits; `None` when nothing does.
///
/// It takes as many edits, from the first on, as fit. Of an edit that doesn't fit alone it takes some operations, and completes
/// none: those that are in the tree already are left out the next time.
pub fn pack<K: Holds>(
    kept: &K,
    space: &BucketId,
    key: &Identity,
    proofs: &[Vec<u8>],
) -> Result<Option<Packed>, SpaceError> {
    let state = kept.state()?;
    let mut own = kept.own()?;
    own.retain(|edit| edit.author == key.did() && state.edits().contains_key(&edit.cid));
    let packing = Packing { kept, space, key, proofs, head: &state.head };
    let mut count = own.len();
    while let Some(last) = own[..count].last() {
        let mut changes = packing.changes(&own[..count])?;
        if changes.len() <= OPS_MAX
            && let Some(packed) = packing.pack(&changes, Some(last.n), &own[..count])?
        {
            return Ok(Some(packed));
        }
        if count > 1 {
            count /= 2;
            continue;
        }
        while changes.len() > 1 {
            let half = changes.keys().nth(changes.len() / 2).cloned().expect("there are two or more");
            drop(changes.split_off(&half));
            if let Some(packed) = packing.pack(&changes, None, &[])? {
                return Ok(Some(packed));
            }
        }
        return Err(SpaceError::TooMany { what: "bytes of one entry with its block", max: STAGED_BYTES_MAX });
    }
    Ok(None)
}

struct Packing<'a, K> {
    kept: &'a K,
    space: &'a BucketId,
    key: &'a Identity,
    proofs: &'a [Vec<u8>],
    head: &'a Head,
}

impl<K: Holds> Packing<'_, K> {
    /// What edits change of the tree. At least one operation is left, since a push without any says nothing.
    fn changes(&self, edits: &[Edit]) -> Result<Changes, SpaceError> {
        let nodes = Nodes(self.kept);
        let tree = Tree::<_, NativeHasher>::new(&nodes, self.head.root);
        let merged = merge(edits.iter().map(|edit| &edit.ops));
        let mut changes = Changes::new();
        for (key, value) in &merged {
            if tree.get(key.as_bytes())? != *value {
                changes.insert(key.clone(), value.clone());
            }
        }
        if changes.is_empty() {
            changes.extend(merged.into_iter().take(1));
        }
        Ok(changes)
    }

    /// The CAR; `None` when it is too large.
    fn pack(&self, changes: &Changes, upto: Option<u64>, edits: &[Edit]) -> Result<Option<Packed>, SpaceError> {
        let edit = Ops::new(changes.iter().map(|(key, value)| (key.clone(), value.clone())))?;
        let push = Push { base: self.head.root, edit, upto };
        let prepared = push.prepare::<NativeHasher>(&Nodes(self.kept))?;
        let blocks = self.blocks(changes)?;
        if prepared.witness.len() + blocks.len() + self.proofs.len() + 1 > CAR_BLOCKS_MAX {
            return Ok(None);
        }
        let car = self.sign(&prepared, prepared.blocks(blocks.iter().map(|block| &block[..])))?;
        let edits = edits.iter().map(|edit| edit.cid).collect();
        Ok((car.len() <= STAGED_BYTES_MAX).then_some(Packed { car, prepared, edits }))
    }

    /// Blocks that new values link to, as far as they are here, each once.
    fn blocks(&self, changes: &Changes) -> Result<Vec<Vec<u8>>, SpaceError> {
        let values = changes.values().flatten();
        let mut links: Vec<_> = values.flat_map(links).collect();
        links.sort_by_key(digest);
        links.dedup_by_key(|link| digest(link));
        let mut blocks = Vec::new();
        for link in &links {
            blocks.extend(self.kept.block(link)?);
        }
        Ok(blocks)
    }

    fn sign(&self, prepared: &Prepared, blocks: Transaction<NativeHasher>) -> Result<Vec<u8>, SpaceError> {
        let nonce = nonce().map_err(|error| SpaceError::Random(error.to_string()))?;
        let task = Task { sub: self.space.clone(), cmd: PUSH.into(), args: prepared.push.args(), nonce };
        let held = held(self.proofs)?;
        sign::invocation(self.key, task, blocks, &held, None, millis() / 1000).map_err(|error| match error {
            ClientError::Denied(denied) => SpaceError::Denied(denied),
            other => SpaceError::Edit(other.to_string()),
        })
    }
}
