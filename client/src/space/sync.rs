//! Two replicas, of which one asks and the other is a server: afterwards both hold the same.

use std::collections::{BTreeMap, BTreeSet};

use bucket_core::cid::{CarId, Cid, DAG_CBOR, RAW};
use reqwest::StatusCode;

use super::evidence::{self, Vouched};
use super::kept::{Evidence, Holds as _};
use super::model::is_later;
use super::remote::{BLOCK_BYTES_MAX, Moved, Remote};
use super::store::{EDITS, Read as _, Replica};
use super::wire::{Answer, BLOCKS_MAX, SENT_BYTES_MAX, TOLD_BYTES_MAX, Told, shown};
use super::{Edit, SpaceError, edit, millis};

/// Requests of one sync: trees are as deep as that, and each level goes in pieces.
const ROUNDS_MAX: usize = 4096;

/// Bytes of the blocks of one request; the state comes on top.
const BLOCKS_BYTES_MAX: usize = SENT_BYTES_MAX / 4;

/// Edits that are fetched, checked and kept at a time.
const EDITS_BATCH: usize = 64;

/// What a sync did.
#[derive(Debug, Clone, PartialEq)]
pub struct Synced {
    /// What came.
    pub received: Moved,
    /// What went.
    pub sent: Moved,
    /// Edits of the other's that were left out here, and why.
    pub refused: BTreeMap<Cid, String>,
    /// Edits that were left out there, and why.
    pub refused_there: BTreeMap<Cid, String>,
    /// Whether both hold the same now. If not, edits were left out, or one of them changed meanwhile.
    pub equal: bool,
    /// How this replica stands.
    pub told: Told,
}

/// Brings a replica and the one at `remote` in step.
pub async fn sync(replica: &Replica, remote: &Remote) -> Result<Synced, SpaceError> {
    let told = ask(replica, remote).await?;
    let mut received = Moved::default();
    if is_later(&told.head, &replica.read(|kept| kept.head())?) {
        received = follow(replica, remote, &told).await?;
    }
    let mut refused = BTreeMap::new();
    received = add(received, edits(replica, remote, &told, &mut refused).await?);
    let sent = send(replica, remote, &told).await?;
    // With a head of another fork, edits may wait again over there.
    received = add(received, edits(replica, remote, &sent.told, &mut refused).await?);
    received = add(received, remote.values(replica).await?);
    let told = replica.read(|kept| Told::of(replica.space(), kept))?;
    let equal = sent.told.agrees(&told);
    Ok(Synced { received, sent: sent.moved, refused, refused_there: sent.refused, equal, told })
}

fn path(replica: &Replica) -> String {
    // A percent sign is the only character of a DID that a URL's path reads otherwise.
    format!("v1/spaces/{}", replica.space().as_str().replace('%', "%25"))
}

/// The body of a good answer, or what the other replica says is wrong.
fn good(remote: &Remote, (status, body): (StatusCode, Vec<u8>)) -> Result<Vec<u8>, SpaceError> {
    if status == StatusCode::OK {
        return Ok(body);
    }
    let json: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
    let said = json.as_ref().and_then(|json| json["error"]["message"].as_str()).unwrap_or_default();
    Err(remote.error(format!("it refuses, with HTTP status {status}: {}", shown(said))))
}

async fn ask(replica: &Replica, remote: &Remote) -> Result<Told, SpaceError> {
    let body = good(remote, remote.get(&path(replica), TOLD_BYTES_MAX).await?)?;
    let told = Told::decode(&body).map_err(|why| remote.error(why))?;
    if told.space != *replica.space() {
        return Err(remote.error(format!("expected a state of {}, got one of {}", replica.space(), told.space)));
    }
    Ok(told)
}

/// Fetches the edits that wait over there and aren't here, and takes in the good ones. Those that it leaves out are `refused`.
async fn edits(
    replica: &Replica,
    remote: &Remote,
    told: &Told,
    refused: &mut BTreeMap<Cid, String>,
) -> Result<Moved, SpaceError> {
    let here: BTreeSet<_> = replica.read(|kept| Ok(kept.state()?.edits().keys().copied().collect()))?;
    let lacking: Vec<_> = told.edits.difference(&here).filter(|cid| !refused.contains_key(cid)).copied().collect();
    let mut moved = Moved::default();
    let mut batches = lacking.chunks(EDITS_BATCH);
    for some in batches.by_ref() {
        let came = remote.blocks(some, edit::EDIT_BYTES_MAX).await?;
        // One that is gone was included meanwhile.
        let came: Vec<_> = came.iter().filter_map(|(cid, bytes)| Some((*cid, bytes.as_deref()?))).collect();
        moved.bytes += came.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        let mut good = Vec::new();
        for (cid, bytes) in &came {
            match Edit::decode(bytes, replica.space()) {
                Ok(edit) => good.push(edit),
                Err(why) => drop(refused.insert(*cid, why.to_string())),
            }
        }
        // Edits that only don't count here are good ones. Whoever has none of those has nothing for us.
        if good.is_empty() && !came.is_empty() {
            break;
        }
        moved.edits += good.len();
        let left = replica.write(|kept| kept.take(good))?;
        moved.edits -= left.len();
        refused.extend(left.into_iter().map(|(cid, why)| (cid, why.to_string())));
    }
    let unasked =
        batches.flatten().map(|cid| (*cid, format!("not asked for: none of the {EDITS_BATCH} before is good")));
    refused.extend(unasked);
    Ok(moved)
}

/// Goes on to the head over there, if somebody vouches for it whom this replica trusts.
async fn follow(replica: &Replica, remote: &Remote, told: &Told) -> Result<Moved, SpaceError> {
    let trusted = replica.read(|kept| kept.trusted())?;
    let signed = match told.evidence {
        Some(id) => remote.block(&id.to_cid(), BLOCK_BYTES_MAX).await?,
        None => None,
    };
    let now = millis() / 1000;
    let Vouched { car, .. } = evidence::check(&told.head, signed.as_deref(), replica.space(), &trusted, now)?;
    let (values, bytes) = (1, signed.as_ref().map_or(0, Vec::len));
    let moved = add(Moved { values, bytes, ..Moved::default() }, remote.complete(replica, &told.head.root).await?);
    let evidence = Evidence { car, signed };
    replica.write(|kept| kept.advance(&told.head, &evidence))?;
    Ok(moved)
}

/// What became of what was sent.
struct Sending {
    moved: Moved,
    refused: BTreeMap<Cid, String>,
    told: Told,
}

/// Sends what the other lacks: the evidence of a later head, or edits; then what it asks for, as far as it is here.
async fn send(replica: &Replica, remote: &Remote, before: &Told) -> Result<Sending, SpaceError> {
    let own = replica.read(|kept| Told::of(replica.space(), kept))?;
    let missing = match is_later(&own.head, &before.head) {
        true => own.evidence.map(CarId::to_cid).into_iter().collect(),
        false => own.edits.difference(&before.edits).copied().collect(),
    };
    let mut asked = Answer { told: before.clone(), missing, wanted: vec![], refused: vec![] };
    let mut done = BTreeSet::new();
    let (mut moved, mut refused) = (Moved::default(), BTreeMap::new());
    for round in 0..ROUNDS_MAX {
        let load = Load::new(replica, &asked, &refused, &mut done)?;
        if load.is_empty() && round > 0 {
            return Ok(Sending { moved, refused, told: asked.told });
        }
        let answer = good(remote, remote.post(&path(replica), load.body, TOLD_BYTES_MAX).await?)?;
        asked = Answer::decode(&answer).map_err(|why| remote.error(why))?;
        refused.extend(std::mem::take(&mut asked.refused));
        moved = add(moved, load.moved);
    }
    Err(remote.error(format!("expected it to be content after {ROUNDS_MAX} requests, it still isn't")))
}

/// What one request carries.
struct Load {
    body: Vec<u8>,
    moved: Moved,
    absent: usize,
}

impl Load {
    /// As much as fits of what is asked for and wasn't answered yet. What doesn't fit is asked for again, and edits that were left
    /// out aren't mentioned again.
    fn new(
        replica: &Replica,
        asked: &Answer,
        refused: &BTreeMap<Cid, String>,
        done: &mut BTreeSet<Cid>,
    ) -> Result<Self, SpaceError> {
        let (mut moved, mut blocks) = (Moved::default(), Vec::new());
        let missing = asked.missing.iter().map(|cid| (cid, false));
        let asked = missing.chain(asked.wanted.iter().map(|cid| (cid, true)));
        replica.read(|kept| {
            let mut told = Told::of(replica.space(), kept)?;
            told.edits.retain(|cid| !refused.contains_key(cid));
            for (cid, wanted) in asked {
                if blocks.len() == BLOCKS_MAX || moved.bytes > BLOCKS_BYTES_MAX {
                    break;
                }
                if done.contains(cid) {
                    continue;
                }
                done.insert(*cid);
                let edit = if wanted { None } else { kept.get(EDITS, &cid.to_bytes())? };
                let (count, codec, bytes) = match (edit, kept.block(cid)?) {
                    (Some(edit), _) => (&mut moved.edits, DAG_CBOR, edit),
                    (None, Some(block)) if wanted || cid.codec() != DAG_CBOR => (&mut moved.values, RAW, block),
                    (None, Some(node)) => (&mut moved.nodes, DAG_CBOR, node),
                    (None, None) => {
                        told.absent.extend(wanted.then_some(*cid));
                        continue;
                    }
                };
                *count += 1;
                moved.bytes += bytes.len();
                blocks.push((codec, bytes));
            }
            let absent = told.absent.len();
            let body = told.with(blocks.iter().map(|(codec, bytes)| (*codec, &bytes[..])));
            Ok(Self { body, moved, absent })
        })
    }

    /// Whether it says nothing that the other doesn't know.
    fn is_empty(&self) -> bool {
        self.moved.blocks() == 0 && self.absent == 0
    }
}

fn add(a: Moved, b: Moved) -> Moved {
    Moved { nodes: a.nodes + b.nodes, edits: a.edits + b.edits, values: a.values + b.values, bytes: a.bytes + b.bytes }
}
