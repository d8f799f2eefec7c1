//! Why something is no proof.

use bucket_core::car::CarError;
use bucket_core::error::Abort;
use bucket_rpc::json::format_address;
use cid::Cid;
use fvm_shared::ActorID;
use fvm_shared::address::Address;

use crate::error::ClientError;

/// What was expected of a proof, and what came.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// Not a CAR at all.
    #[error(transparent)]
    Car(#[from] CarError),
    /// The first block doesn't say what is to be proven.
    #[error(
        "expected a claim {{actor, bucket, car, header, proof: 1, receipt, version}} as the root and first block: {0}"
    )]
    Claim(String),
    /// A block is not what its CID says.
    #[error("expected a block with the CID {expected}, got bytes of {got}")]
    Hash {
        /// The CID in the file, or that the node was asked for.
        expected: Cid,
        /// The CID by the bytes: DAG-CBOR, blake2b-256.
        got: Box<Cid>,
    },
    /// A block stands in the file twice.
    #[error("expected each block once, got {0} again")]
    Twice(Cid),
    /// The walk needs a block that isn't there.
    #[error("the block {0} is missing")]
    Missing(Cid),
    /// The walk doesn't need a block that is there.
    #[error("expected only blocks on the way to the entry, got {0}")]
    Extra(Cid),
    /// The blocks are right and the file could have been written otherwise.
    #[error(
        "expected blocks in the order of the walk and lengths in their shortest form, got another file of the same blocks"
    )]
    Form,
    /// A block of the chain that can't be read.
    #[error("expected {what} in block {cid}: {why}")]
    Block {
        /// What should be there.
        what: &'static str,
        /// Where.
        cid: Box<Cid>,
        /// What came instead.
        why: String,
    },
    /// The state has no such actor.
    #[error("there is no actor {} in the state under the header {header}", format_address(&Address::new_id(*.actor)))]
    ActorMissing {
        /// The actor's id.
        actor: ActorID,
        /// The header.
        header: Cid,
    },
    /// The actor's state is not one of a bucket actor.
    #[error("the actor's state is not one of a bucket actor: {0}")]
    State(Abort),
    /// The claim says something else than the blocks.
    #[error("the claim says {what} {claimed}, the blocks say {proven}")]
    Claimed {
        /// Which of its fields.
        what: &'static str,
        /// Its value.
        claimed: String,
        /// The value by the blocks.
        proven: String,
    },
    /// A good proof of something else.
    #[error("expected a proof for the {what} {expected}, got one for {got}")]
    Unexpected {
        /// What is different.
        what: &'static str,
        /// What the reader asked for.
        expected: String,
        /// What is proven.
        got: String,
    },
    /// The prover can't read a block.
    #[error(transparent)]
    Read(Box<ClientError>),
}

impl From<ClientError> for ProofError {
    fn from(error: ClientError) -> Self {
        Self::Read(Box::new(error))
    }
}

impl From<ProofError> for ClientError {
    fn from(error: ProofError) -> Self {
        match error {
            ProofError::Read(error) => *error,
            ProofError::ActorMissing { actor, .. } => Self::ActorMissing(Address::new_id(actor)),
            ProofError::Hash { expected, got } => {
                Self::Mismatch { expected: expected.to_string(), got: got.to_string() }
            }
            other => Self::Input(other.to_string()),
        }
    }
}
