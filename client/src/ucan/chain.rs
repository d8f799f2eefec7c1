//! Delegations in hand, and the chain of them that leads from a bucket to a key.

use std::collections::BTreeSet;

use bucket_core::cid::{Cid, NativeHasher};
use bucket_core::did::BucketId;
use bucket_core::limits::PROOFS_MAX;
use bucket_core::ucan::{Delegation, DelegationDraft, Denied};

use super::file::{File, Kind, Token};
use crate::error::ClientError;

/// Ways that are looked at; whoever has more delegations than that gives fewer.
const WAYS_MAX: usize = 4096;

/// A delegation, as it travels and as it reads.
#[derive(Debug, Clone)]
pub struct Held {
    /// What travels.
    pub token: Token,
    /// What it says.
    pub delegation: Delegation,
}

impl std::ops::Deref for Held {
    type Target = DelegationDraft;

    fn deref(&self) -> &DelegationDraft {
        &self.delegation.draft
    }
}

impl Held {
    /// Reads a delegation.
    pub fn new(token: Token) -> Result<Self, Denied> {
        let delegation = Delegation::decode::<NativeHasher>(&token.bytes)?;
        Ok(Self { token, delegation })
    }

    /// Reads all delegations of a file, each once. Their signatures have to be their issuers'.
    pub fn all(file: &[u8]) -> Result<Vec<Self>, ClientError> {
        let file = File::read(file).map_err(ClientError::Input)?;
        let mut seen = BTreeSet::new();
        let tokens = file.of(Kind::Delegation).filter(|token| seen.insert(token.cid)).cloned();
        let held: Vec<_> = tokens.map(Self::new).collect::<Result<_, _>>()?;
        held.iter().try_for_each(|held| held.delegation.check_signature::<NativeHasher>())?;
        match held.is_empty() {
            true => Err(ClientError::Input("expected a file with UCAN 1.0 delegations, got one without".into())),
            false => Ok(held),
        }
    }

    /// The delegation under the one name by which it can be revoked: a P-256 signature has two forms.
    pub fn canonical(&self) -> Self {
        // A list of two, 64 bytes, what is signed.
        const HEAD: [u8; 3] = [0x82, 0x58, 64];
        let key = bucket_core::ucan::PublicKey::from_did(self.iss.as_str()).ok();
        let parts = self.token.bytes.strip_prefix(&HEAD).and_then(|rest| rest.split_at_checked(64));
        match key.zip(parts).and_then(|(key, (signature, signed))| Some((key.canonical(signature)?, signed))) {
            Some((signature, signed)) => {
                Self { token: Token::new([&HEAD[..], &signature, signed].concat()), ..self.clone() }
            }
            None => self.clone(),
        }
    }

    /// How errors name it.
    pub(crate) fn name(&self) -> String {
        format!("delegation {}", self.delegation.cid)
    }
}

/// The delegations from `subject`'s own to one for `to`, in this order; none when it is the subject itself. Of several chains
/// the first is taken that `accept` takes; if it takes none, its first reason is told.
pub fn find<'a>(
    held: &'a [Held],
    subject: &BucketId,
    to: &BucketId,
    accept: impl Fn(&[&'a Held]) -> Result<(), Denied>,
) -> Result<Vec<&'a Held>, Denied> {
    if subject == to {
        return Ok(vec![]);
    }
    let begins = |held: &&Held| held.iss == *subject && held.sub.as_ref() == Some(subject);
    let mut ways: Vec<Vec<&Held>> = held.iter().rev().filter(begins).map(|held| vec![held]).collect();
    let mut refused = None;
    let mut looked = 0;
    while let Some(way) = ways.pop() {
        looked += 1;
        let Some(last) = way.last().filter(|_| looked <= WAYS_MAX) else { break };
        if last.aud == *to {
            match accept(&way) {
                Ok(()) => return Ok(way),
                Err(denied) => refused = refused.or(Some(denied)),
            }
        }
        if way.len() < PROOFS_MAX {
            let about = |held: &Held| held.sub.as_ref().is_none_or(|sub| sub == subject);
            let known = |held: &Held| way.iter().any(|step| step.token.cid == held.token.cid);
            let next = held.iter().rev().filter(|held| held.iss == last.aud && about(held) && !known(held));
            let next: Vec<_> = next.map(|held| [&way[..], &[held]].concat()).collect();
            ways.extend(next);
        }
    }
    let none = || {
        let got = held.len();
        Denied::InvalidClaim(format!(
            "expected a chain of delegations from {subject} to {to}, got none among {got} delegations"
        ))
    };
    Err(refused.unwrap_or_else(none))
}

/// Whether a chain holds at `now`, and for `cmd` if one is given, by its times and commands; the command that it leaves.
pub fn check<'a>(chain: &[&'a Held], now: u64, cmd: Option<&str>) -> Result<&'a str, Denied> {
    let mut allowed = "/";
    for held in chain {
        check_time(held, now)?;
        if covers(allowed, &held.cmd) {
            allowed = &held.cmd;
        } else if held.sub.is_some() || !covers(&held.cmd, allowed) {
            return Err(widened(held.name(), allowed, &held.cmd));
        }
    }
    match cmd {
        Some(cmd) if !covers(allowed, cmd) => Err(widened("the task".into(), allowed, cmd)),
        _ => Ok(allowed),
    }
}

fn check_time(held: &Held, now: u64) -> Result<(), Denied> {
    if let Some(exp) = held.exp.filter(|exp| now > *exp) {
        return Err(Denied::Expired { token: held.name(), exp, now });
    }
    if let Some(nbf) = held.nbf.filter(|nbf| now < *nbf) {
        return Err(Denied::TooEarly { token: held.name(), nbf, now });
    }
    Ok(())
}

/// As the machine: `/kv` covers `/kv/put`, not `/kvx`.
fn covers(above: &str, cmd: &str) -> bool {
    above == "/" || cmd.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn widened(token: String, expected: &str, got: &str) -> Denied {
    Denied::InvalidCommand { token, expected: expected.to_owned(), got: got.to_owned() }
}

/// CIDs of a chain.
pub fn cids(chain: &[&Held]) -> Vec<Cid> {
    chain.iter().map(|held| held.token.cid).collect()
}
