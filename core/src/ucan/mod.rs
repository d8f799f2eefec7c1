//! UCAN 1.0: who may ask for a task, proved by signatures and a chain of delegations.
//!
//! Sources: ucan-wg/spec, ucan-wg/delegation, ucan-wg/invocation, ucan-wg/revocation (their READMEs), and the fixtures
//! `1.0.0` of ucan-wg/spec, which the tests read.
//!
//! Reading order: [`key`] and [`varsig`] (who signs, and how), [`envelope`] (what is signed), [`payload`] (what it says),
//! [`policy`] (conditions on arguments), [`request`] (the whole of a CAR), [`mod@witness`] (what a revocation has to prove),
//! [`ucanto`] (what w3up signs), [`assertion`] (receipts that are signed).
//!
//! What the documents leave open, or contradict each other in, is decided like this.
//! - **Order of proofs**: from the subject to the invoker, as in the fixtures.
//! - **Times**: valid from `nbf` to `exp`, both included; 0 to 2⁵³−1.
//! - **Commands**: a delegation about a subject may not widen the command that it builds on. A powerline (`sub: null`)
//!   was written without knowing what it would carry, so it may; what it carries does not become more by that.
//! - **Fields that nobody described are refused**: they might be meant as restrictions. `meta` takes anything.
//! - **A statement whose selector finds nothing is false**, `!=` as well; `not` inverts whatever is inside of it.

pub mod assertion;
pub mod denied;
pub mod envelope;
pub mod key;
pub mod payload;
pub mod policy;
pub mod request;
pub mod ucanto;
pub mod varsig;
pub mod witness;

pub use denied::{Denied, explain};
pub use envelope::{DELEGATION, INVOCATION, seal};
pub use key::{Crypto, PublicKey};
pub use payload::{Delegation, DelegationDraft, Invocation, InvocationDraft};
pub use policy::Policy;
pub use request::Request;
pub use witness::witness;

/// A principal's name.
pub type Did = crate::did::BucketId;
