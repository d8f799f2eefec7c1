//! CARs that are too large for one message: staged in pieces, then run by their id.
//!
//! A piece that is there already isn't sent again, so staging that was interrupted goes on where it ended.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use bucket_core::abi::{CarParams, ChunkParams, DropParams, Message, Returned, StageParams, StageReturn};
use bucket_core::car::Car;
use bucket_core::cid::{CarId, Hasher, NativeHasher};
use bucket_core::error::Abort;
use bucket_core::limits::{CAR_BYTES_MAX, CHUNK_BYTES_MAX, STAGED_BYTES_MAX};
use bucket_core::map::Bytes;
use bucket_core::task::Task;
use bucket_core::ucan::Request;
use bucket_rpc::json::TipsetKey;
use bucket_rpc::methods::StateLookupID;
use fvm_shared::ActorID;
use fvm_shared::clock::ChainEpoch;

use crate::actor::ActorClient;
use crate::chain::Sent;
use crate::error::ClientError;
use crate::progress::Step;
use crate::task;

/// A CAR whose pieces are all on the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// Its id, by which it can be scheduled and invoked.
    pub car: CarId,
    /// After this epoch anybody may drop it.
    pub expires: ChainEpoch,
    /// How many pieces it has.
    pub pieces: usize,
    /// How many of them were sent now.
    pub sent: usize,
    /// Gas that this took.
    pub gas_used: u64,
}

impl ActorClient {
    /// Stages a CAR: those of its pieces that are missing.
    pub async fn stage(&self, car: &[u8]) -> Result<Staged, ClientError> {
        if car.len() > STAGED_BYTES_MAX {
            return Err(ClientError::CarTooLarge(car.len()));
        }
        let id = CarId::of::<NativeHasher>(car);
        let pieces: Vec<_> = car.chunks(CHUNK_BYTES_MAX).collect();
        let chunks = pieces.iter().map(|piece| Bytes(NativeHasher::sha2_256(piece).to_vec())).collect();
        let begin = StageParams { car: id, size: car.len() as u64, chunks };
        let begun = self.apply(&Message::Stage(begin)).await?;
        let mut staged = Staged { car: id, expires: 0, pieces: pieces.len(), sent: 0, gas_used: begun.gas_used };
        let StageReturn { missing, expires, .. } = told(begun.value)?;
        staged.expires = expires;
        // The last piece is where the whole is hashed: only after the others can its gas be estimated.
        let Some((last, others)) = missing.split_last() else { return Ok(staged) };
        for indices in [others, &[*last]] {
            let mut waiting = Vec::new();
            for index in indices {
                let message = Message::Chunk(self.piece(id, *index, &pieces)?);
                waiting.push(self.push(&message).await?);
                staged.sent += 1;
                let (sent, of) = (staged.sent, missing.len());
                self.chain.tell(Step::Note(format!("piece {sent} of {of} of CAR {id}")));
            }
            for message in waiting {
                let sent: Sent<StageReturn> = self.wait(message).await?;
                staged.gas_used += sent.gas_used;
            }
        }
        Ok(staged)
    }

    fn piece(&self, car: CarId, index: u64, pieces: &[&[u8]]) -> Result<ChunkParams, ClientError> {
        let data = usize::try_from(index).ok().and_then(|index| pieces.get(index));
        let other = || {
            let count = pieces.len();
            ClientError::Input(format!(
                "CAR {car} is staged in other pieces than these {count}: drop it and begin anew"
            ))
        };
        Ok(ChunkParams { car, index, data: data.ok_or_else(other)?.to_vec() })
    }

    /// Drops a CAR that `owner` staged, the sender unless another is named: what is incomplete at any time, what is complete
    /// after it expired.
    pub async fn unstage(&self, car: &CarId, owner: Option<ActorID>) -> Result<Sent<StageReturn>, ClientError> {
        let owner = match owner {
            Some(owner) => owner,
            None => self.sender_id().await?,
        };
        self.apply(&Message::Drop(DropParams { car: *car, owner })).await?.try_map(told)
    }

    /// The actor id of who signs.
    async fn sender_id(&self) -> Result<ActorID, ClientError> {
        let address = self.chain.signer()?.address();
        let id = self.chain.rpc().call::<StateLookupID>((address.into(), TipsetKey::HEAD)).await?;
        id.into_inner().id().map_err(|error| ClientError::Input(error.to_string()))
    }

    /// The same parameters for a message: a CAR that is too large for it is staged, and named.
    pub(crate) async fn fitting(&self, params: CarParams) -> Result<CarParams, ClientError> {
        if params.car.len() <= CAR_BYTES_MAX {
            return Ok(params);
        }
        self.check_right(&params).await?;
        let Staged { car, .. } = self.stage(&params.car).await?;
        Ok(CarParams { car: car.to_bytes(), ..params })
    }

    /// Staging costs, so what would be refused anyway is refused before. A message with the CAR can't be tried; but one with
    /// the same command can, and what is signed can be checked here.
    async fn check_right(&self, params: &CarParams) -> Result<(), ClientError> {
        let (car, task) = task::check(params.car.clone(), &params.bucket)?;
        let car = Car::decode::<NativeHasher>(car).map_err(Abort::Car)?;
        if let Some(request) = Request::from_car::<NativeHasher>(&car)? {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            // Who revokes what they issued needs no proofs, and no large CAR.
            request.check(now, Some(&params.bucket))?;
            return Ok(request.check_signatures::<NativeHasher>()?);
        }
        let probe = Task { args: BTreeMap::new(), ..task }.to_car::<NativeHasher>();
        self.simulate(&Message::Invoke(CarParams::new(params.bucket.clone(), probe))).await.map(drop)
    }
}

fn told(returned: Returned) -> Result<StageReturn, ClientError> {
    match returned {
        Returned::Stage(told) | Returned::Chunk(told) | Returned::Drop(told) => Ok(told),
        other => Err(ClientError::Input(format!("expected what staging returns, got {other:?}"))),
    }
}
