//! Why a signed request is refused.

use super::Did;
use crate::limits::{POLICY_WORK_MAX, PROOFS_MAX};

/// Why a signed request is refused. Names are those of the fixtures of ucan-wg/spec where it has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Not a UCAN 1.0 token in its one form.
    #[error("not a UCAN: {0}")]
    Malformed(String),
    /// A kind of key or signature that can't be verified here.
    #[error("unsupported key: {0}")]
    UnsupportedKey(String),
    /// The bytes were not signed by the issuer.
    #[error("{token}: the signature is not one of {iss} over these bytes")]
    InvalidSignature {
        /// Which token.
        token: String,
        /// Who should have signed.
        iss: Did,
    },
    /// A proof doesn't travel along.
    #[error("expected the delegation {0} as a DAG-CBOR block of the same CAR, got none")]
    UnavailableProof(String),
    /// The chain is too long.
    #[error("expected at most {PROOFS_MAX} proofs, got {0}: each costs a signature to verify")]
    TooManyProofs(usize),
    /// The authority doesn't begin at the subject.
    #[error("{0}")]
    InvalidClaim(String),
    /// A token about somebody else.
    #[error("{token}: expected the subject {expected}, got {got}")]
    InvalidSubject {
        /// Which token.
        token: String,
        /// The subject of the chain.
        expected: Did,
        /// The token's.
        got: Did,
    },
    /// A token for somebody else.
    #[error("{token}: expected the audience {expected}, got {got}")]
    InvalidAudience {
        /// Which token.
        token: String,
        /// Who has to be.
        expected: Did,
        /// Who is.
        got: Did,
    },
    /// More than what was delegated.
    #[error("{token}: expected a command under {expected}, got {got}")]
    InvalidCommand {
        /// Which token.
        token: String,
        /// What was delegated.
        expected: String,
        /// What was asked for.
        got: String,
    },
    /// The arguments are not what was delegated.
    #[error("{token}: the arguments don't satisfy statement {statement} of its policy")]
    MatchError {
        /// The delegation whose policy it is.
        token: String,
        /// Which of the statements, counted from 0.
        statement: usize,
    },
    /// Too late.
    #[error("{token}: expired at {exp}, and it is {now}")]
    Expired {
        /// Which token.
        token: String,
        /// Its last second.
        exp: u64,
        /// The time of the check.
        now: u64,
    },
    /// Too early.
    #[error("{token}: valid from {nbf}, and it is {now}")]
    TooEarly {
        /// Which token.
        token: String,
        /// Its first second.
        nbf: u64,
        /// The time of the check.
        now: u64,
    },
    /// Taken back.
    #[error("{token}: revoked by {by}")]
    Revoked {
        /// Which token.
        token: String,
        /// By whom.
        by: Did,
    },
    /// The policies are too much work.
    #[error("expected policies that take at most {POLICY_WORK_MAX} steps on these arguments, got more")]
    TooMuchWork,
}

impl Denied {
    /// What programs match on.
    pub fn name(&self) -> &'static str {
        match self {
            Denied::Malformed(_) => "Malformed",
            Denied::UnsupportedKey(_) => "UnsupportedKey",
            Denied::InvalidSignature { .. } => "InvalidSignature",
            Denied::UnavailableProof(_) => "UnavailableProof",
            Denied::TooManyProofs(_) => "TooManyProofs",
            Denied::InvalidClaim(_) => "InvalidClaim",
            Denied::InvalidSubject { .. } => "InvalidSubject",
            Denied::InvalidAudience { .. } => "InvalidAudience",
            Denied::InvalidCommand { .. } => "InvalidCommand",
            Denied::MatchError { .. } => "MatchError",
            Denied::Expired { .. } => "Expired",
            Denied::TooEarly { .. } => "TooEarly",
            Denied::Revoked { .. } => "Revoked",
            Denied::TooMuchWork => "TooMuchWork",
        }
    }

    /// The exit code of a message that is refused for this. Numbers from 64 on are for UCAN and never reused.
    pub fn code(&self) -> u32 {
        match self {
            Denied::Malformed(_) => 64,
            Denied::UnsupportedKey(_) => 65,
            Denied::InvalidSignature { .. } => 66,
            Denied::UnavailableProof(_) => 67,
            Denied::TooManyProofs(_) => 68,
            Denied::InvalidClaim(_) => 69,
            Denied::InvalidSubject { .. } => 70,
            Denied::InvalidAudience { .. } => 71,
            Denied::InvalidCommand { .. } => 72,
            Denied::MatchError { .. } => 73,
            Denied::Expired { .. } => 74,
            Denied::TooEarly { .. } => 75,
            Denied::Revoked { .. } => 76,
            Denied::TooMuchWork => 77,
        }
    }
}

/// What an exit code from 64 on means, for people who have nothing but the code.
pub fn explain(code: u32) -> Option<&'static str> {
    Some(match code {
        64 => "the CAR's root or a proof is not a UCAN 1.0 token",
        65 => "a UCAN is signed by a kind of key that is not supported: take Ed25519, secp256k1 or P-256",
        66 => "a UCAN's signature is not its issuer's",
        67 => "a UCAN's proof is not in the CAR",
        68 => "too many UCAN proofs",
        69 => "the UCAN's authority does not begin at its subject",
        70 => "a UCAN in the chain is about another subject",
        71 => "a UCAN in the chain is for another audience",
        72 => "the UCAN's command is more than what was delegated",
        73 => "the UCAN's arguments do not satisfy a delegation's policy",
        74 => "a UCAN in the chain is expired",
        75 => "a UCAN in the chain is not valid yet",
        76 => "a UCAN in the chain is revoked",
        77 => "the UCAN's policies are too much work",
        _ => return None,
    })
}
