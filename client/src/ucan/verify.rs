//! Is this signed, and by somebody who may? Judged off chain, by the machine's own checks, whoever wrote it.
//!
//! What only the chain knows isn't asked: whether somebody took a delegation back, and whether the invocation ran.

use std::collections::BTreeMap;

use bucket_core::car::{Car, Transaction};
use bucket_core::cid::{DAG_CBOR, NativeHasher};
use bucket_core::dag_cbor::Ipld;
use bucket_core::ucan::{DelegationDraft, Denied, Did, Invocation, Request, witness};
use serde::Serialize;
use serde_json::Value;

use super::chain::{self, Held};
use super::file::{File, Kind, Token};
use crate::dag_json;

/// What was found out about a file.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// `valid`, `invalid`, or `unreadable`.
    pub verdict: &'static str,
    /// Why not, for programs; names are those of ucan-wg/spec's fixtures where they have one.
    pub name: Option<&'static str>,
    /// Why not, for people.
    pub reason: Option<String>,
    /// `car`, `container` or `envelope`.
    pub form: Option<&'static str>,
    /// `invocation` or `delegation`.
    pub kind: Option<&'static str>,
    /// CID of the token.
    pub cid: Option<String>,
    /// What the token says, and the delegations that it rests on, from the subject's.
    #[serde(flatten)]
    pub says: Says,
    /// The delegations that it rests on, from the subject's on.
    pub proofs: Vec<Says>,
    /// Whether the authority is shown from the subject on. A delegation may be valid without.
    pub complete: bool,
    /// The unix time for which this is so.
    pub at: u64,
    /// The others, when a file holds several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Report>,
}

/// A token in words.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Says {
    /// CID of a proof.
    #[serde(skip_serializing_if = "Option::is_none", rename = "proof")]
    pub cid: Option<String>,
    /// Who signed.
    pub iss: Option<Did>,
    /// For whom; none in an invocation is the subject.
    pub aud: Option<Did>,
    /// On what; none in a delegation is a powerline.
    pub sub: Option<Did>,
    /// The command.
    pub cmd: Option<String>,
    /// An invocation's arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<Value>,
    /// A delegation's conditions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pol: Option<Value>,
    /// First second.
    pub nbf: Option<u64>,
    /// Last second; none for never.
    pub exp: Option<u64>,
}

impl Says {
    fn delegation(draft: &DelegationDraft) -> Self {
        let DelegationDraft { iss, aud, sub, cmd, pol, nbf, exp, .. } = draft;
        Self {
            iss: Some(iss.clone()),
            aud: Some(aud.clone()),
            sub: sub.clone(),
            cmd: Some(cmd.clone()),
            pol: dag_json::write(&pol.to_ipld()).ok(),
            nbf: *nbf,
            exp: *exp,
            ..Self::default()
        }
    }

    fn invocation(invocation: &Invocation) -> Self {
        let task = &invocation.task;
        Self {
            iss: Some(invocation.iss.clone()),
            aud: invocation.aud.clone(),
            sub: Some(task.sub.clone()),
            cmd: Some(task.cmd.clone()),
            args: dag_json::write(&Ipld::Map(task.args.clone())).ok(),
            exp: invocation.exp,
            ..Self::default()
        }
    }

    fn proof(cid: impl ToString, draft: &DelegationDraft) -> Self {
        Self { cid: Some(cid.to_string()), ..Self::delegation(draft) }
    }
}

impl Report {
    /// Whether it is valid.
    pub fn is_valid(&self) -> bool {
        self.verdict == "valid"
    }

    fn unreadable(reason: String) -> Self {
        Self { verdict: "unreadable", name: Some("Unreadable"), reason: Some(reason), ..Self::default() }
    }

    fn judged(mut self, judged: Result<(), Denied>) -> Self {
        match judged {
            Ok(()) => self.verdict = "valid",
            Err(denied) => {
                self.verdict = "invalid";
                self.name = Some(denied.name());
                self.reason = Some(denied.to_string());
            }
        }
        self
    }
}

/// Judges a file of any form at the unix time `at`; an invocation for `audience`, if one is given.
pub fn verify(bytes: &[u8], at: u64, audience: Option<&Did>) -> Report {
    let file = match File::read(bytes) {
        Ok(file) => file,
        Err(reason) => return Report { at, ..Report::unreadable(reason) },
    };
    let mut reports = reports(&file, at, audience);
    // Of several the first that isn't valid speaks for the file.
    let first = reports.iter().position(|report| !report.is_valid()).unwrap_or_default();
    let mut report = match reports.is_empty() {
        true => Report::unreadable("expected a UCAN, got a file without one, or an unsigned task".into()),
        false => reports.remove(first),
    };
    report.others = reports;
    report.at = at;
    report.form = Some(file.form.name());
    report
}

fn reports(file: &File, at: u64, audience: Option<&Did>) -> Vec<Report> {
    let root = file.root.and_then(|root| file.tokens.iter().find(|token| token.cid == root));
    let subjects: Vec<&Token> = match (root, &file.car) {
        (Some(root), _) => vec![root],
        // What w3up signs are no tokens of this form.
        (None, Some(car)) if file.tokens.is_empty() => return invoked(car, at, audience).into_iter().collect(),
        (None, _) => match file.of(Kind::Invocation).next() {
            Some(_) => file.of(Kind::Invocation).collect(),
            None => tips(file),
        },
    };
    let judge = |token: &Token| match token.kind() {
        Some(Kind::Delegation) => delegated(token, file, at),
        _ => match (&file.car, root) {
            (Some(car), Some(_)) => invoked(car, at, audience).unwrap_or_default(),
            _ => packed(token, file, at, audience),
        },
    };
    subjects.into_iter().map(judge).map(|report| Report { at, ..report }).collect()
}

/// Delegations that no other one of the file builds on, and what can't be told apart.
fn tips(file: &File) -> Vec<&Token> {
    let held: BTreeMap<_, _> =
        file.tokens.iter().filter_map(|token| Some((token.cid, Held::new(token.clone()).ok()?))).collect();
    let goes_on = |one: &Held| {
        let about = |other: &Held| other.sub.is_none() || one.sub.is_none() || other.sub == one.sub;
        held.values().any(|other| other.token.cid != one.token.cid && other.iss == one.aud && about(other))
    };
    let tips: Vec<_> =
        file.tokens.iter().filter(|token| held.get(&token.cid).is_none_or(|held| !goes_on(held))).collect();
    // Delegations in a circle have no end.
    if tips.is_empty() { file.tokens.iter().collect() } else { tips }
}

/// The invocation of a CAR.
fn invoked(car: &Car, at: u64, audience: Option<&Did>) -> Option<Report> {
    let report = Report { kind: Some("invocation"), cid: Some(car.root().to_string()), ..Report::default() };
    let request = match Request::from_car::<NativeHasher>(car) {
        Ok(request) => request?,
        Err(denied) => {
            let invocation = car.block(&car.root()).and_then(|block| Invocation::decode(block).ok());
            let says = invocation.as_ref().map(Says::invocation).unwrap_or_default();
            return Some(Report { says, ..report }.judged(Err(denied)));
        }
    };
    let proofs = request.proofs.iter().map(|proof| Says::proof(proof.cid, proof)).collect();
    // On chain signatures come last, because they cost most; whoever is told one reason here is told the first.
    let judged = request.check_signatures::<NativeHasher>().and_then(|()| request.check(at, audience));
    let (says, complete) = (Says::invocation(&request.invocation), judged.is_ok());
    Some(Report { says, proofs, complete, ..report }.judged(judged))
}

/// An invocation that didn't come as a CAR of the machine's form.
fn packed(token: &Token, file: &File, at: u64, audience: Option<&Did>) -> Report {
    let mut transaction = Transaction::<NativeHasher>::default();
    for proof in file.of(Kind::Delegation) {
        transaction.write_block(DAG_CBOR, &proof.bytes);
    }
    transaction.write_block(DAG_CBOR, &token.bytes);
    let car = transaction.commit().map_err(|error| error.to_string());
    match car.and_then(|car| Car::decode::<NativeHasher>(car).map_err(|error| error.to_string())) {
        Ok(car) => invoked(&car, at, audience).unwrap_or_default(),
        Err(reason) => Report { kind: Some("invocation"), cid: Some(token.cid.to_string()), ..Report::default() }
            .judged(Err(Denied::Malformed(reason))),
    }
}

/// A delegation, with those that lead to it as far as the file has them.
fn delegated(token: &Token, file: &File, at: u64) -> Report {
    let report = Report { kind: Some("delegation"), cid: Some(token.cid.to_string()), ..Report::default() };
    let target = match Held::new(token.clone()) {
        Ok(target) => target,
        Err(denied) => return report.judged(Err(denied)),
    };
    let report = Report { says: Says::delegation(&target), ..report };
    let held: Vec<_> = file.of(Kind::Delegation).filter_map(|token| Held::new(token.clone()).ok()).collect();
    match path(&target, &held) {
        Some((subject, path)) => {
            let before = path.iter().take(path.len() - 1);
            let proofs = before.map(|held| Says::proof(held.delegation.cid, held)).collect();
            let judged = check_path(&subject, &path, at);
            Report { proofs, complete: judged.is_ok(), ..report }.judged(judged)
        }
        None => {
            let signature = target.delegation.check_signature::<NativeHasher>();
            let judged = signature.and_then(|()| chain::check(&[&target], at, None).map(drop));
            let about = target.sub.as_ref().map_or("whom it is about".to_owned(), ToString::to_string);
            let missing = format!("the delegations from {about} to {} are not in the file", target.iss);
            Report { reason: judged.is_ok().then_some(missing), ..report }.judged(judged)
        }
    }
}

/// The chain to a delegation from the subject's own, and the subject. A powerline takes that of what it builds on.
fn path<'a>(target: &'a Held, held: &'a [Held]) -> Option<(Did, Vec<&'a Held>)> {
    let subjects: Vec<&Did> = match &target.sub {
        Some(sub) => vec![sub],
        None => held.iter().filter_map(|held| held.sub.as_ref().filter(|sub| held.iss == **sub)).collect(),
    };
    let mut paths = subjects.into_iter().filter_map(|subject| {
        // A powerline of the subject itself is no beginning.
        let powerline = target.sub.is_none() && target.iss == *subject;
        let mut path = chain::find(held, subject, &target.iss, |_| Ok(())).ok().filter(|_| !powerline)?;
        path.push(target);
        Some((subject.clone(), path))
    });
    paths.next()
}

fn check_path(subject: &Did, path: &[&Held], at: u64) -> Result<(), Denied> {
    let mut transaction = Transaction::<NativeHasher>::default();
    for held in path {
        transaction.write_block(DAG_CBOR, &held.token.bytes);
    }
    let malformed = |error: String| Denied::Malformed(error);
    let car = transaction.commit().map_err(|error| malformed(error.to_string()))?;
    let car = Car::decode::<NativeHasher>(car).map_err(|error| malformed(error.to_string()))?;
    let cids = chain::cids(path);
    let Some(last) = cids.last() else { return Ok(()) };
    witness::<NativeHasher>(&car, subject, &cids, last)?;
    chain::check(path, at, None).map(drop)
}
