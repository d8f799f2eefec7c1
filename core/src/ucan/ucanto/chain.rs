//! The delegations that an invocation may rest on, and the chain of them that counts.
//!
//! What may prove what is as npm `@ucanto/validator` 10 decides it (`src/lib.js`, `src/capability.js`), with one choice that
//! it leaves to each capability: how caveats narrow. Here every field of a delegation's `nb` must be in the invocation's,
//! deeply equal; what the delegation doesn't name is free. Each delegation of a chain has to cover the invocation itself, so
//! they need not be compared with each other, and whether one is of use doesn't depend on the way to it.
//!
//! Of several chains the one counts that lasts longest, then the shortest, then the first in the order of `prf`: if any
//! chain is not expired, this one isn't. The others are not looked at when this one is not valid yet, is revoked or has a
//! wrong signature.

use std::collections::BTreeMap;

use super::token::{Capability, Token};
use crate::car::Car;
use crate::cid::{Cid, DAG_CBOR, Hasher};
use crate::limits::PROOFS_MAX;
use crate::ucan::Denied;

/// A resource that stands for all that the issuer has or was given (`resolveResource`).
pub(super) const ALL_RESOURCES: &str = "ucan:*";

/// A delegation that covers the invocation.
struct Candidate {
    token: Token,
    /// Which of its capabilities does.
    given: Capability,
    /// Which candidates it may rest on.
    proofs: Vec<usize>,
}

/// A way that was found to a candidate, from the invocation on.
#[derive(Clone, Copy)]
struct Way {
    /// When its first delegation expires.
    until: u64,
    /// The candidate before.
    from: Option<usize>,
}

/// All candidates of a CAR.
struct Search<'a, H> {
    car: &'a Car,
    claimed: &'a Capability,
    candidates: Vec<Candidate>,
    /// What each link that was followed leads to.
    seen: BTreeMap<Cid, Option<usize>>,
    /// Why the first of the others is none.
    refused: Option<Denied>,
    hasher: std::marker::PhantomData<H>,
}

/// The chain that counts for an invocation, from the owner's delegation to the invoker's, with what each gives.
pub(super) fn find<H: Hasher>(
    car: &Car,
    invocation: &Token,
    claimed: &Capability,
) -> Result<Vec<(Token, Capability)>, Denied> {
    let (candidates, seen, refused, hasher) = (vec![], BTreeMap::new(), None, std::marker::PhantomData);
    let mut search = Search::<H> { car, claimed, candidates, seen, refused, hasher };
    let first = search.follow(&invocation.prf, invocation);
    let mut at = 0;
    while let Some(candidate) = search.candidates.get(at) {
        if !search.is_owner(candidate) {
            let token = candidate.token.clone();
            search.candidates[at].proofs = search.follow(&token.prf, &token);
        }
        at += 1;
    }
    match search.longest_lasting(&first) {
        Some(chain) => {
            let mut found: Vec<_> = search.candidates.into_iter().map(Some).collect();
            let taken = |at: usize| found[at].take().map(|candidate| (candidate.token, candidate.given));
            Ok(chain.into_iter().filter_map(taken).collect())
        }
        None => Err(search.none(invocation)),
    }
}

impl<H: Hasher> Search<'_, H> {
    fn is_owner(&self, candidate: &Candidate) -> bool {
        candidate.token.iss.as_str() == self.claimed.with
    }

    /// The candidates among the proofs of a token.
    fn follow(&mut self, proofs: &[Cid], token: &Token) -> Vec<usize> {
        let mut found = Vec::new();
        for cid in proofs {
            let at = match self.seen.get(cid) {
                Some(at) => *at,
                None => self.look(cid),
            };
            let Some(at) = at else { continue };
            let (got, expected) = (&self.candidates[at].token.aud, &token.iss);
            if got == expected {
                found.push(at);
            } else {
                let (expected, got) = (expected.clone(), got.clone());
                self.refuse(Denied::InvalidAudience { token: name(cid), expected, got });
            }
        }
        found
    }

    fn look(&mut self, cid: &Cid) -> Option<usize> {
        let at = match self.delegation(cid) {
            Ok((token, given)) => {
                self.candidates.push(Candidate { token, given, proofs: vec![] });
                Some(self.candidates.len() - 1)
            }
            Err(denied) => {
                self.refuse(denied);
                None
            }
        };
        self.seen.insert(*cid, at);
        at
    }

    /// The delegation that a link names, if it covers what is claimed.
    fn delegation(&self, cid: &Cid) -> Result<(Token, Capability), Denied> {
        let value = self.car.value(cid).filter(|_| cid.codec() == DAG_CBOR);
        let value = value.ok_or_else(|| Denied::UnavailableProof(cid.to_string()))?;
        let mut token = Token::decode::<H>(*cid, value)?;
        let covering = token.att.iter().position(|given| covers(given, self.claimed));
        let Some(at) = covering else {
            let Capability { with, can, .. } = self.claimed;
            return Err(Denied::InvalidClaim(format!(
                "{}: nothing in it covers {can} on {with} with these nb",
                name(cid)
            )));
        };
        let given = token.att.swap_remove(at);
        Ok((token, given))
    }

    fn refuse(&mut self, why: Denied) {
        self.refused.get_or_insert(why);
    }

    /// The places of the best chain's delegations, the owner's first. Ways of one more delegation each, so that the work
    /// is the number of links times [`PROOFS_MAX`], however many chains there are.
    fn longest_lasting(&self, first: &[usize]) -> Option<Vec<usize>> {
        let mut layers: Vec<BTreeMap<usize, Way>> = Vec::new();
        // When it ends, in which layer, and where.
        let mut best: Option<(u64, usize, usize)> = None;
        let mut layer = BTreeMap::new();
        self.reach(&mut layer, first, u64::MAX, None);
        while !layer.is_empty() && layers.len() < PROOFS_MAX {
            let mut next = BTreeMap::new();
            for (at, way) in &layer {
                let candidate = &self.candidates[*at];
                if !self.is_owner(candidate) {
                    self.reach(&mut next, &candidate.proofs, way.until, Some(*at));
                } else if best.is_none_or(|(until, ..)| way.until > until) {
                    best = Some((way.until, layers.len(), *at));
                }
            }
            layers.push(std::mem::replace(&mut layer, next));
        }
        let (_, steps, mut at) = best?;
        let mut chain = vec![at];
        for layer in layers[1..=steps].iter().rev() {
            at = layer.get(&at)?.from?;
            chain.push(at);
        }
        Some(chain)
    }

    fn reach(&self, layer: &mut BTreeMap<usize, Way>, proofs: &[usize], until: u64, from: Option<usize>) {
        for at in proofs {
            let until = self.candidates[*at].token.exp.map_or(until, |exp| exp.min(until));
            let way = Way { until, from };
            let kept = layer.entry(*at).or_insert(way);
            if way.until > kept.until {
                *kept = way;
            }
        }
    }

    fn none(self, invocation: &Token) -> Denied {
        let (iss, owner) = (&invocation.iss, &self.claimed.with);
        let chain = format!("expected a chain of at most {PROOFS_MAX} delegations from {owner} to {iss}, got no chain");
        match self.refused {
            // Its name says more.
            Some(denied @ (Denied::UnavailableProof(_) | Denied::UnsupportedKey(_))) => denied,
            Some(why) => Denied::InvalidClaim(format!("{chain}: {why}")),
            None => Denied::InvalidClaim(chain),
        }
    }
}

fn name(cid: &Cid) -> String {
    format!("delegation {cid}")
}

/// Whether a delegated capability allows an invoked one.
fn covers(given: &Capability, claimed: &Capability) -> bool {
    let can = match given.can.strip_suffix('*') {
        Some("") => true,
        Some(prefix) if prefix.ends_with('/') => claimed.can.starts_with(prefix),
        _ => given.can == claimed.can,
    };
    let with = given.with == claimed.with || given.with == ALL_RESOURCES;
    can && with && given.nb.iter().all(|(name, value)| claimed.nb.get(name) == Some(value))
}
