//! A CAR whose root is an invocation: the invocation with its proofs, and whether they give the authority.

use super::envelope::is_envelope;
use super::policy::Work;
use super::{Crypto, Delegation, Denied, Did, Invocation, ucanto};
use crate::car::Car;
use crate::cid::{Cid, DAG_CBOR, Hasher};
use crate::dag_cbor::Ipld;
use crate::limits::PROOFS_MAX;

/// A signed request. It holds when both [`Request::check`] and [`Request::check_signatures`] say so, and nobody in
/// [`Request::revocable`] has revoked.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What is asked for.
    pub invocation: Invocation,
    /// Why it may be: from the subject's delegation to the one for the invoker.
    pub proofs: Vec<Delegation>,
}

impl Request {
    /// Reads a CAR. `None` when its root is not a UCAN at all: then it is an unsigned task, or an error of its own.
    pub fn from_car<C: Crypto>(car: &Car) -> Result<Option<Self>, Denied> {
        let root = car.root();
        let block = car.block(&root).expect("the root is among the blocks");
        if root.codec() != DAG_CBOR || !is_envelope(block) {
            return ucanto::request::<C>(car);
        }
        let invocation = Invocation::decode(block)?;
        let proofs = delegations::<C>(car, &invocation.prf)?;
        Ok(Some(Self { invocation, proofs }))
    }

    /// Verifies the signatures of the invocation and of all proofs. This is most of the cost: check the rest before.
    pub fn check_signatures<C: Crypto>(&self) -> Result<(), Denied> {
        self.invocation.check_signature::<C>()?;
        self.proofs.iter().try_for_each(Delegation::check_signature::<C>)
    }

    /// Checks everything but signatures and revocations: times at `now` (unix seconds), the chain from the subject to
    /// the invoker, commands and policies. The audience has to be absent, the subject or `executor`; without an
    /// `executor` it is not checked.
    pub fn check(&self, now: u64, executor: Option<&Did>) -> Result<(), Denied> {
        self.check_audience(executor)?;
        self.check_times(now)?;
        let invocation = &self.invocation;
        if self.proofs.is_empty() && invocation.iss != invocation.task.sub {
            return Err(Denied::InvalidClaim(format!(
                "expected proofs that {} may act on {}, got none",
                invocation.iss, invocation.task.sub
            )));
        }
        check_chain(&self.proofs, &invocation.task.sub)?;
        if let Some(last) = self.proofs.last() {
            check_audience(last, &invocation.iss)?;
        }
        self.check_commands()?;
        self.check_policies()
    }

    fn check_audience(&self, executor: Option<&Did>) -> Result<(), Denied> {
        let (Some(aud), Some(executor)) = (&self.invocation.aud, executor) else { return Ok(()) };
        if *aud == self.invocation.task.sub || aud == executor {
            return Ok(());
        }
        let token = self.invocation.name();
        Err(Denied::InvalidAudience { token, expected: executor.clone(), got: aud.clone() })
    }

    fn check_times(&self, now: u64) -> Result<(), Denied> {
        check_time(|| self.invocation.name(), self.invocation.nbf, self.invocation.exp, now)?;
        self.proofs.iter().try_for_each(|proof| check_time(|| proof.name(), proof.nbf, proof.exp, now))
    }

    fn check_commands(&self) -> Result<(), Denied> {
        let mut allowed = "/";
        for proof in &self.proofs {
            if covers(allowed, &proof.cmd) {
                allowed = &proof.cmd;
            } else if proof.sub.is_some() || !covers(&proof.cmd, allowed) {
                return Err(widened(proof.name(), allowed, &proof.cmd));
            }
        }
        let cmd = &self.invocation.task.cmd;
        if covers(allowed, cmd) { Ok(()) } else { Err(widened(self.invocation.name(), allowed, cmd)) }
    }

    fn check_policies(&self) -> Result<(), Denied> {
        if self.proofs.iter().all(|proof| proof.pol.is_empty()) {
            return Ok(());
        }
        let args = Ipld::Map(self.invocation.task.args.clone());
        let mut work = Work::default();
        for proof in &self.proofs {
            if let Some(statement) = proof.pol.first_unmet(&args, &mut work)? {
                return Err(Denied::MatchError { token: proof.name(), statement });
            }
        }
        Ok(())
    }

    /// SHA-256 of the invocation's signed bytes: the same however the signature or the CAR around it is varied. The key
    /// of replay protection.
    pub fn id<H: Hasher>(&self) -> [u8; 32] {
        self.invocation.id::<H>()
    }

    /// For each proof its CID and who may have revoked it: its issuer and those of the proofs before it.
    pub fn revocable(&self) -> impl Iterator<Item = (Cid, impl Iterator<Item = &Did>)> {
        let issuers = |last: usize| self.proofs[..=last].iter().map(|proof| &proof.iss);
        self.proofs.iter().enumerate().map(move |(at, proof)| (proof.cid, issuers(at)))
    }
}

/// The delegations with these names. A link of another codec would be another name for the same delegation, and
/// revocations go by name.
pub(super) fn delegations<C: Crypto>(car: &Car, cids: &[Cid]) -> Result<Vec<Delegation>, Denied> {
    if cids.len() > PROOFS_MAX {
        return Err(Denied::TooManyProofs(cids.len()));
    }
    let find = |cid: &Cid| car.block(cid).filter(|_| cid.codec() == DAG_CBOR);
    cids.iter()
        .map(|cid| find(cid).ok_or_else(|| Denied::UnavailableProof(cid.to_string())).and_then(Delegation::decode::<C>))
        .collect()
}

/// Subject and principals of a chain that has to begin at `subject`.
pub(super) fn check_chain(proofs: &[Delegation], subject: &Did) -> Result<(), Denied> {
    let Some(root) = proofs.first() else { return Ok(()) };
    for proof in proofs {
        if let Some(sub) = proof.sub.as_ref().filter(|sub| *sub != subject) {
            let token = proof.name();
            return Err(Denied::InvalidSubject { token, expected: subject.clone(), got: sub.clone() });
        }
    }
    if root.sub.is_none() || root.iss != *subject {
        let got = if root.sub.is_none() { "one without a subject".to_owned() } else { format!("one by {}", root.iss) };
        return Err(Denied::InvalidClaim(format!(
            "expected the first proof to be a delegation by {subject}, got {got}"
        )));
    }
    proofs.windows(2).try_for_each(|pair| check_audience(&pair[0], &pair[1].iss))
}

fn check_audience(proof: &Delegation, next: &Did) -> Result<(), Denied> {
    if proof.aud == *next {
        return Ok(());
    }
    Err(Denied::InvalidAudience { token: proof.name(), expected: next.clone(), got: proof.aud.clone() })
}

fn check_time(token: impl Fn() -> String, nbf: Option<u64>, exp: Option<u64>, now: u64) -> Result<(), Denied> {
    if let Some(exp) = exp.filter(|exp| now > *exp) {
        return Err(Denied::Expired { token: token(), exp, now });
    }
    if let Some(nbf) = nbf.filter(|nbf| now < *nbf) {
        return Err(Denied::TooEarly { token: token(), nbf, now });
    }
    Ok(())
}

/// Whether `cmd` is `above` or below it: `/kv` covers `/kv/put`, not `/kvx`.
pub(super) fn covers(above: &str, cmd: &str) -> bool {
    above == "/" || cmd.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn widened(token: String, expected: &str, got: &str) -> Denied {
    Denied::InvalidCommand { token, expected: expected.to_owned(), got: got.to_owned() }
}
