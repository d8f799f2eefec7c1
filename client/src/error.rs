//! Everything that can go wrong for a user, each with a stable code for programs and a hint for people.

use std::path::PathBuf;

use bucket_core::cid::CarId;
use bucket_core::error::{Abort, Failure, explain};
use bucket_core::limits::{CAR_BYTES_MAX, MESSAGE_BYTES_MAX, STAGED_BYTES_MAX};
use bucket_core::receipt::ReceiptError;
use bucket_core::ucan::Denied;
use bucket_rpc::RpcError;
use bucket_rpc::json::format_address;
use cid::Cid;
use fvm_shared::address::Address;
use fvm_shared::econ::TokenAmount;

use crate::key::KeyError;
use crate::space::SpaceError;
use crate::worker::s3::S3Error;

/// Why the client could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The node can't be reached, or refused.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// The actor refused the message. Nothing changed; if it was found out before sending, nothing was spent either.
    #[error("the actor refused with exit code {code}: {message}")]
    Abort {
        /// The exit code; [`explain`] knows those of the bucket actor.
        code: u32,
        /// The actor's own words when the node has them, else what the code means.
        message: String,
    },
    /// What is signed, or was to be signed, doesn't give the right.
    #[error("{name}: {0}", name = .0.name())]
    Denied(#[from] Denied),
    /// A CAR that can't be sent: not in one message, and, if it is more than [`STAGED_BYTES_MAX`], not in pieces either.
    #[error("expected a CAR of at most {max} bytes, got {0}", max = car_bytes_max(*.0))]
    CarTooLarge(usize),
    /// A message that the network's mempools refuse.
    #[error("expected a signed message of at most {MESSAGE_BYTES_MAX} bytes, got {0}")]
    MessageTooLarge(usize),
    /// The sender can't pay.
    #[error("{} has {balance} FIL and needs up to {needed} FIL for gas", format_address(.address))]
    Funds {
        /// The sender.
        address: Address,
        /// What it has.
        balance: Box<TokenAmount>,
        /// What the message may cost.
        needed: Box<TokenAmount>,
    },
    /// The chain has never seen the sender.
    #[error("{} is not on the chain yet", format_address(.0))]
    SenderMissing(Address),
    /// There is nothing at the actor's address.
    #[error("there is no actor at {}", format_address(.0))]
    ActorMissing(Address),
    /// An answer that the bucket actor doesn't give.
    #[error("expected the return value of {what}, got {} bytes of something else: {why}", .got)]
    Return {
        /// The method.
        what: &'static str,
        /// How many bytes came.
        got: usize,
        /// What the decoder said.
        why: String,
    },
    /// The message did not appear on the chain in time.
    #[error("message {message} is not on the chain after {seconds} s")]
    WaitTimeout {
        /// The message.
        message: Cid,
        /// How long was waited.
        seconds: u64,
    },
    /// The receipt did not appear in time.
    #[error("no receipt of {car} after {seconds} s: {last}")]
    ReceiptTimeout {
        /// The input CAR.
        car: CarId,
        /// How long was waited.
        seconds: u64,
        /// How it stood at the end.
        last: String,
    },
    /// The chain has never seen the CAR.
    #[error("the bucket has never seen the CAR {0}")]
    ReceiptNotFound(CarId),
    /// The CAR is still in the queue.
    #[error("the CAR {car} is pending, with {position} before it")]
    ReceiptPending {
        /// The input CAR.
        car: CarId,
        /// How many tasks run before it.
        position: u64,
    },
    /// A replica of a space can't do it.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// The indexer doesn't answer as one.
    #[error("the indexer at {url}: {why}")]
    Indexer {
        /// Where.
        url: String,
        /// What came instead.
        why: String,
    },
    /// The indexer doesn't have the receipt (yet).
    #[error("the indexer at {url} does not have {id}")]
    NotServed {
        /// Where.
        url: String,
        /// What was asked for.
        id: CarId,
    },
    /// The bytes are not those that the chain committed to.
    #[error("expected bytes that hash to {expected}, got {got}: they are not what the chain committed to")]
    Mismatch {
        /// What the chain says.
        expected: String,
        /// What came.
        got: String,
    },
    /// The bytes are the right ones, and no receipt.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    /// The bucket's store says no.
    #[error("{}: {}", .0.name, .0.message)]
    Store(Failure),
    /// A store for CARs, as a worker sees it, doesn't do what it is asked.
    #[error(transparent)]
    S3(#[from] S3Error),
    /// A CAR can't be put where the service wants it.
    #[error("{url}: {why}")]
    Upload {
        /// Where, without what is signed.
        url: String,
        /// What came instead.
        why: String,
        /// Whether the same may succeed later.
        transient: bool,
    },
    /// No key to sign with.
    #[error("no key to sign with")]
    NoKey,
    /// A key can't be read or used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The network has no way for our code to get there.
    #[error("the network {network} does not take the bucket actor: {why}")]
    Undeployable {
        /// By `StateNetworkName`.
        network: String,
        /// How that is known.
        why: String,
    },
    /// A file can't be read or written.
    #[error("{}: {why}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// What the user wrote can't be understood.
    #[error("{0}")]
    Input(String),
    /// A setting that is missing.
    #[error("{what} is not known")]
    Unset {
        /// What.
        what: &'static str,
        /// How to set it.
        hint: &'static str,
    },
}

impl ClientError {
    pub(crate) fn file(path: impl Into<PathBuf>, why: impl ToString) -> Self {
        Self::File { path: path.into(), why: why.to_string() }
    }

    /// A name for programs; it doesn't change.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Rpc(RpcError::Endpoint { .. }) => "node_address",
            Self::Rpc(error) if error.is_transient() => "node_unreachable",
            Self::Rpc(_) => "node",
            Self::Abort { .. } => "abort",
            Self::Denied(_) => "denied",
            Self::Space(error) => error.code(),
            Self::CarTooLarge(_) => "car_too_large",
            Self::MessageTooLarge(_) => "message_too_large",
            Self::Funds { .. } => "funds",
            Self::SenderMissing(_) => "sender_missing",
            Self::ActorMissing(_) => "actor_missing",
            Self::Return { .. } => "return",
            Self::WaitTimeout { .. } => "wait_timeout",
            Self::ReceiptTimeout { .. } => "receipt_timeout",
            Self::ReceiptNotFound(_) => "receipt_not_found",
            Self::ReceiptPending { .. } => "receipt_pending",
            Self::Indexer { .. } => "indexer",
            Self::NotServed { .. } => "not_served",
            Self::Mismatch { .. } => "mismatch",
            Self::Receipt(_) => "receipt_invalid",
            Self::Store(_) => "store",
            Self::S3(_) => "s3",
            Self::Upload { .. } => "upload",
            Self::NoKey => "no_key",
            Self::Key(_) => "key",
            Self::Undeployable { .. } => "undeployable",
            Self::File { .. } => "file",
            Self::Input(_) => "input",
            Self::Unset { .. } => "unset",
        }
    }

    /// What the user can do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Rpc(error) if error.is_transient() => {
                "Start a node, or name one with --node or FULLNODE_API_INFO.".into()
            }
            Self::Abort { code, .. } => return abort_hint(*code).map(Into::into),
            Self::CarTooLarge(size) if *size <= STAGED_BYTES_MAX => {
                "Nothing was signed or sent. `bucket invoke` and `bucket schedule` send it in pieces.".into()
            }
            Self::CarTooLarge(_) | Self::MessageTooLarge(_) => {
                "Nothing was signed or sent. Split the data over several CARs, or keep it elsewhere and send its hash."
                    .into()
            }
            Self::Funds { address, .. } | Self::SenderMissing(address) => {
                let address = format_address(address);
                format!("Send some FIL to {address} first; on the devnet `bucket wallet fund` does.")
            }
            Self::ActorMissing(_) => "Deploy the actor with `bucket deploy`, or name the right one with --actor; \
                 check that --node is the network that it is on."
                .into(),
            Self::Return { .. } => "Is --actor the address of a bucket actor of this version?".into(),
            Self::WaitTimeout { message, .. } => {
                format!("It may still come: the same command again is safe, since a CAR runs once. Message: {message}")
            }
            Self::ReceiptTimeout { .. } => "Ask again later with `bucket receipt … --wait`.".into(),
            Self::ReceiptNotFound(_) => "Send it with `bucket invoke` or `bucket schedule`.".into(),
            Self::ReceiptPending { .. } => "Run the queue with `bucket run <bucket>`.".into(),
            Self::Indexer { .. } => "Start the indexer, or name it with --indexer or BUCKET_INDEXER.".into(),
            Self::NotServed { .. } => "It may be behind the chain: try again with --wait.".into(),
            Self::Mismatch { .. } => "Don't use these bytes. Ask another indexer with --indexer.".into(),
            Self::Denied(denied) => return denied_hint(denied).map(Into::into),
            Self::Space(error) => return error.hint().map(Into::into),
            Self::Store(failure) => return store_hint(&failure.name).map(Into::into),
            Self::S3(error) if error.transient => "Start the store, or name another with --s3.".into(),
            Self::Upload { .. } => "The same command again goes on where this one ended.".into(),
            Self::NoKey => "Make a key with `bucket wallet new` or take one with `bucket wallet import`.".into(),
            Self::Undeployable { .. } => {
                "Native actors run on the project's devnet, on a Lotus devnet whose Init admits the code, and on IPC \
                 subnets with custom actors; mainnet and calibration admit none. Nothing was spent."
                    .into()
            }
            Self::Unset { hint, .. } => (*hint).into(),
            _ => return None,
        })
    }
}

/// The bound that a size is over.
fn car_bytes_max(size: usize) -> usize {
    if size > STAGED_BYTES_MAX { STAGED_BYTES_MAX } else { CAR_BYTES_MAX }
}

fn abort_hint(code: u32) -> Option<&'static str> {
    Some(match code {
        7 => "The state changed meanwhile and needs more gas: send it again.",
        17 => "Create it with `bucket create --did <bucket>`.",
        18 => {
            "Send as one of its controllers with --from (`bucket bucket <did>` lists them), or sign it with --as, with \
             the delegations to that key as --proof."
        }
        22 => "Is --actor the address of a bucket actor?",
        42 => "Split the data over several CARs.",
        47 | 56 => "Run the queue with `bucket run <bucket>`.",
        53 => "A signed invocation counts once. To do the same again sign it anew, with another nonce.",
        54 => "Create it with its key in the wallet (`bucket key import`), or with --proof.",
        55 => "Controllers and mode have to be those that were signed.",
        57 => "A hook is ADDRESS:METHOD, where the method is from 16777216 on, or a name.",
        59 => "Send it with `bucket stage <file>` first.",
        60 => "`bucket unstage <car>` drops what is incomplete; then stage it anew.",
        61 => "Schedule or invoke what is staged, or drop it with `bucket unstage <car>`.",
        67 => "Give all delegations from the bucket to the key with --proof.",
        74 => "Sign it anew, with a later --exp, or ask for a new delegation.",
        _ => return None,
    })
}

fn denied_hint(denied: &Denied) -> Option<&'static str> {
    Some(match denied {
        Denied::InvalidClaim(_) => "Give all delegations from the bucket to the key with --proof.",
        Denied::Expired { .. } => "Ask who gave it for a new delegation.",
        _ => return None,
    })
}

fn store_hint(failure: &str) -> Option<&'static str> {
    Some(match failure {
        "NoProvider" => "Name a service with `bucket store provide` first.",
        "ExceedsLimit" => "The service has no room for it in this bucket. The same command tries once more.",
        "Expired" => "Nobody put the CAR in time. The same command tries once more.",
        "StoreTimeout" => "Does the service's worker run? The same command again goes on where this one ended.",
        _ => return None,
    })
}

/// The FVM's own exit codes (ref-fvm `shared/src/error`), which no actor gives.
fn explain_system(code: u32) -> Option<&'static str> {
    Some(match code {
        1 => "the sender's state is not valid",
        2 => "the sender is no account",
        4 => "the actor trapped",
        5 => "there is no actor at the receiver's address",
        6 => "the sender can't pay what it sends",
        7 => "out of gas",
        10 => "the actor exited in a way that it must not",
        11 => "an internal assertion failed",
        12 => "the actor returned something that is not there",
        _ => return None,
    })
}

/// An exit code in words.
pub fn explain_exit(code: u32) -> &'static str {
    explain(code).or_else(|| explain_system(code)).unwrap_or("an exit code that this version doesn't know")
}

impl From<Abort> for ClientError {
    fn from(abort: Abort) -> Self {
        match abort {
            Abort::TooLarge(size) => Self::CarTooLarge(size),
            abort => Self::Abort { code: abort.code(), message: abort.to_string() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_to_do() {
        let error = ClientError::CarTooLarge(70_000);
        assert_eq!(error.code(), "car_too_large");
        assert_eq!(error.to_string(), "expected a CAR of at most 61440 bytes, got 70000");
        assert!(error.hint().unwrap().contains("Nothing was signed"));
        let error = ClientError::Abort { code: 17, message: "unknown bucket".into() };
        assert!(error.hint().unwrap().contains("bucket create"));
        let error = ClientError::CarTooLarge(2 << 20);
        assert_eq!(error.to_string(), "expected a CAR of at most 1048576 bytes, got 2097152");
        let error = ClientError::from(Denied::TooManyProofs(9));
        assert_eq!(
            error.to_string(),
            "TooManyProofs: expected at most 8 proofs, got 9: each costs a signature to verify"
        );
    }

    #[test]
    fn exit_codes_of_actor_and_system_have_words() {
        assert_eq!(explain_exit(46), "the queue is empty: schedule a CAR first");
        assert_eq!(explain_exit(7), "out of gas");
        for code in 53..=77 {
            assert!(code == 63 || !explain_exit(code).contains("doesn't know"), "{code}");
        }
        assert!(explain_exit(9999).contains("doesn't know"));
    }
}
