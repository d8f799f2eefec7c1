//! Making a proof with the blocks of a node.

use std::future::Future;
use std::time::{Duration, Instant};

use bucket_core::abi::Status;
use bucket_core::cid::CarId;
use bucket_core::did::BucketId;
use bucket_rpc::json::TipsetKey;
use bucket_rpc::methods::{ChainHead, ChainReadObj, StateLookupID};
use bucket_rpc::{Client, Lotus};
use cid::Cid;
use fvm_shared::ActorID;
use fvm_shared::address::Payload;

use super::walk::Blocks;
use super::{Proof, ProofError, Query};
use crate::actor::ActorClient;
use crate::error::ClientError;
use crate::progress::Step;

/// Between two looks at the chain's head: the first, and the longest.
const POLL: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Where the prover gets blocks. They need no trust: each is hashed.
pub trait ReadBlock {
    /// The bytes of a block.
    fn read_block(&self, cid: &Cid) -> impl Future<Output = Result<Vec<u8>, ClientError>> + Send;
}

impl ReadBlock for Client {
    async fn read_block(&self, cid: &Cid) -> Result<Vec<u8>, ClientError> {
        Ok(self.call::<ChainReadObj>((Lotus(*cid),)).await?.into_inner())
    }
}

/// Fetches the blocks on the way to the entry, and no others.
pub async fn prove(source: &impl ReadBlock, query: &Query) -> Result<Proof, ProofError> {
    let mut blocks = Blocks::default();
    // The walk is taken again with each block. It ends: what a link leads to is deeper, and HAMTs are not deeper than hashes.
    loop {
        match blocks.walk(query) {
            Err(ProofError::Missing(cid)) => blocks.add(cid, source.read_block(&cid).await?)?,
            done => return done,
        }
    }
}

impl ActorClient {
    /// Proves what the chain knows of a CAR: under `header`, else under the first block of the head.
    ///
    /// The state under the head's header is the one before the head's own messages. A receipt that the node tells of already
    /// may so be missing in it until the next tipset; [`ActorClient::wait_proof`] waits for that.
    pub async fn prove(&self, bucket: &BucketId, car: &CarId, header: Option<Cid>) -> Result<Proof, ClientError> {
        let header = match header {
            Some(header) => header,
            None => self.head().await?,
        };
        self.prove_under(header, self.actor_id().await?, bucket, car).await
    }

    /// Waits until the head's header commits to a receipt of the CAR, and proves it.
    pub async fn wait_proof(&self, bucket: &BucketId, car: &CarId) -> Result<Proof, ClientError> {
        let (start, mut pause) = (Instant::now(), POLL.0);
        let (mut last, mut waiting) = (None, String::new());
        loop {
            match self.prove_anew(&mut last, bucket, car).await {
                Ok(Some(proof)) if proof.found.status == Status::Done => return Ok(proof),
                Ok(Some(proof)) => waiting = format!("there is none yet under the header of epoch {}", proof.height),
                Ok(None) => {}
                Err(ClientError::Rpc(error)) if error.is_transient() => waiting = error.to_string(),
                Err(error) => return Err(error),
            }
            let timeout = self.chain.timeout();
            if start.elapsed() + pause > timeout {
                return Err(ClientError::ReceiptTimeout { car: *car, seconds: timeout.as_secs(), last: waiting });
            }
            if start.elapsed() > Duration::from_secs(1) {
                self.chain.tell(Step::Receipt(*car, waiting.clone(), start.elapsed()));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(POLL.1);
        }
    }

    /// A proof, unless the head is still the `last` one.
    async fn prove_anew(
        &self,
        last: &mut Option<Cid>,
        bucket: &BucketId,
        car: &CarId,
    ) -> Result<Option<Proof>, ClientError> {
        let head = self.head().await?;
        if *last == Some(head) {
            return Ok(None);
        }
        let proof = self.prove_under(head, self.actor_id().await?, bucket, car).await?;
        *last = Some(head);
        Ok(Some(proof))
    }

    async fn prove_under(
        &self,
        header: Cid,
        actor: ActorID,
        bucket: &BucketId,
        car: &CarId,
    ) -> Result<Proof, ClientError> {
        let query = Query { header, actor, bucket: bucket.clone(), car: *car };
        Ok(prove(self.chain.rpc(), &query).await?)
    }

    /// All headers of a tipset carry the same parent state; the first stands for them.
    async fn head(&self) -> Result<Cid, ClientError> {
        let head = self.chain.rpc().call::<ChainHead>(()).await?;
        let none = || ClientError::Input("expected a head with at least one block, got none from the node".into());
        head.cids.first().copied().ok_or_else(none)
    }

    async fn actor_id(&self) -> Result<ActorID, ClientError> {
        let id = match self.address().payload() {
            Payload::ID(id) => return Ok(*id),
            _ => self.chain.rpc().call::<StateLookupID>((self.address().into(), TipsetKey::HEAD)).await?.into_inner(),
        };
        let wrong = || ClientError::Input(format!("expected an ID address from the node, got {id}"));
        id.id().map_err(|_| wrong())
    }
}
