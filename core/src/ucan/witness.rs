//! What a revocation has to prove: that the revoker stands in a chain with the delegation (ucan-wg/revocation, "Path
//! Witness"). Without it, anybody could fill the state with revocations that mean nothing.

use super::request::{check_chain, delegations};
use super::{Crypto, Delegation, Denied, Did};
use crate::car::Car;
use crate::cid::Cid;

/// The chain from the bucket's own delegation to the revoked one, which is the last of the answer, with all signatures
/// verified. `path` names its delegations in order; naming the revoked one there as well is allowed, and what follows it
/// is not looked at. Times don't matter. Each issuer of the answer may revoke. What is revoked is the last one's
/// [`Delegation::cid`], which `revoked` may be another form of, see [`super::PublicKey::canonical`].
pub fn witness<C: Crypto>(car: &Car, bucket: &Did, path: &[Cid], revoked: &Cid) -> Result<Vec<Delegation>, Denied> {
    let mut cids: Vec<Cid> = path.iter().take_while(|cid| *cid != revoked).copied().collect();
    cids.push(*revoked);
    let chain = delegations::<C>(car, &cids)?;
    check_chain(&chain, bucket)?;
    chain.iter().try_for_each(Delegation::check_signature::<C>)?;
    Ok(chain)
}
