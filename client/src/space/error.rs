//! What can go wrong with a replica.

use std::path::PathBuf;

use bucket_core::cid::Cid;
use bucket_core::did::BucketId;
use bucket_core::error::Failure;
use bucket_core::prolly::ProllyError;
use bucket_core::ucan::Denied;

/// Why a replica can't do what it was asked. Nothing in it changed.
#[derive(Debug, thiserror::Error)]
pub enum SpaceError {
    /// Bytes that are no edit of this space, or one that counts for nothing.
    #[error("edit: {0}")]
    Edit(String),
    /// Something else than a replica sends.
    #[error("{0}")]
    Sent(String),
    /// A head that nobody vouches for whom this replica trusts.
    #[error("the head's evidence: {0}")]
    Evidence(String),
    /// The author of an edit has no right to it.
    #[error("edit: {name}: {0}", name = .0.name())]
    Denied(#[from] Denied),
    /// An edit by somebody whom this replica's keeper refuses.
    #[error("edit: {0} is refused here")]
    Refused(BucketId),
    /// What the space itself would refuse.
    #[error("{}: {}", .0.name, .0.message)]
    Failure(Failure),
    /// More edits than a replica takes.
    #[error("expected at most {max} {what} that wait, got more")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// The tree isn't here.
    #[error("node {0} of the tree is not here")]
    Incomplete(Cid),
    /// An answer that is too large.
    #[error("{url}: expected an answer of at most {max} bytes, got more")]
    Oversized {
        /// Whose.
        url: String,
        /// The bound.
        max: usize,
    },
    /// The tree can't be read.
    #[error("the tree: {0}")]
    Tree(ProllyError),
    /// There is no replica of the space here.
    #[error("there is no replica of {0} here")]
    Absent(BucketId),
    /// Another process writes, and doesn't end.
    #[error("{}: another process has had it open for {seconds} s", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
        /// How long was waited.
        seconds: u64,
    },
    /// The file can't be read or written.
    #[error("{}: {why}", path.display())]
    Storage {
        /// The file.
        path: PathBuf,
        /// In the database's words.
        why: String,
    },
    /// The system gives no random numbers.
    #[error("random numbers: {0}")]
    Random(String),
    /// Another replica doesn't answer as one, or says what it can't prove.
    #[error("the replica at {url}: {why}")]
    Peer {
        /// Where.
        url: String,
        /// What came instead.
        why: String,
    },
}

impl SpaceError {
    /// A stable code for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Edit(_) => "edit_invalid",
            Self::Sent(_) => "input",
            Self::Evidence(_) => "evidence",
            Self::Denied(_) => "denied",
            Self::Refused(_) => "refused",
            Self::Failure(_) => "failure",
            Self::TooMany { .. } => "too_many",
            Self::Incomplete(_) => "incomplete",
            Self::Tree(_) => "tree",
            Self::Absent(_) => "replica_absent",
            Self::Busy { .. } => "busy",
            Self::Storage { .. } => "storage",
            Self::Random(_) => "random",
            Self::Peer { .. } | Self::Oversized { .. } => "peer",
        }
    }

    /// What the user can do about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Denied(_) => "Give all delegations from the space to the key with --proof.",
            Self::Refused(_) => "Let the author in again with `bucket space drop --allow`.",
            Self::Failure(failure) if failure.name == "ValueTooLarge" => {
                "Put it in with --file: then it is a block, and the value links to it."
            }
            Self::Evidence(_) => {
                "Nothing was taken over. Name who signs the space's receipts with --trust, or pull from the chain first."
            }
            Self::Incomplete(_) => "Get them with `bucket space pull` or `bucket space sync`.",
            Self::Absent(_) => "Make one with `bucket space pull` or `bucket space put`.",
            Self::TooMany { .. } => "Push what waits first.",
            _ => return None,
        })
    }
}

impl From<Failure> for SpaceError {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<ProllyError> for SpaceError {
    fn from(error: ProllyError) -> Self {
        match error {
            ProllyError::Missing(cid) => Self::Incomplete(cid),
            other => Self::Tree(other),
        }
    }
}

impl From<Box<ProllyError>> for SpaceError {
    fn from(error: Box<ProllyError>) -> Self {
        (*error).into()
    }
}
