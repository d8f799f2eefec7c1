//! What keys sign: invocations with their proofs, delegations with the chain before them, revocations, and the proof by which
//! a bucket's key asks for its bucket.

use std::collections::BTreeMap;

use bucket_core::bucket::Mode;
use bucket_core::car::{Car, Transaction};
use bucket_core::cid::{Cid, DAG_CBOR, NativeHasher};
use bucket_core::create;
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::limits::PROOFS_MAX;
use bucket_core::task::Task;
use bucket_core::ucan::{DelegationDraft, Denied, Policy, Request};
use fvm_shared::address::Address;

use super::chain::{self, Held};
use super::container::{self, Base};
use super::file::Token;
use crate::error::ClientError;
use crate::identity::Identity;
use crate::task::nonce;

/// The command that takes a delegation back.
pub const REVOKE: &str = "/ucan/revoke";

/// The proof of `Create`: `key` asks for its bucket, with these controllers and in this mode.
pub fn creation(key: &Identity, controllers: &[Address], mode: Mode) -> Result<Vec<u8>, ClientError> {
    let Ipld::Map(args) = create::args(controllers, mode) else { unreachable!("arguments are a map") };
    let task = Task { sub: key.did(), cmd: create::CREATE.into(), args, nonce: nonce()? };
    Ok(key.invoke(task, &[], None, Transaction::default()))
}

/// What a proof of `Create` asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Creation {
    /// The bucket.
    pub bucket: BucketId,
    /// Its controllers, as they were signed.
    pub controllers: Vec<Address>,
    /// How it runs.
    pub mode: Mode,
}

/// Reads a proof of `Create` that was made elsewhere: the message has to say the same.
pub fn read_creation(car: &[u8]) -> Result<Creation, ClientError> {
    let wrong = |got: String| {
        let cmd = create::CREATE;
        ClientError::Input(format!("expected a CAR of a signed {cmd} with “controllers” and “mode”, got {got}"))
    };
    let car = Car::decode::<NativeHasher>(car.to_vec()).map_err(|error| wrong(error.to_string()))?;
    let request = Request::from_car::<NativeHasher>(&car)?.ok_or_else(|| wrong("an unsigned task".into()))?;
    let Task { sub, cmd, args, .. } = &request.invocation.task;
    if cmd != create::CREATE {
        return Err(wrong(cmd.clone()));
    }
    let Some(Ipld::List(list)) = args.get("controllers") else { return Err(wrong("no controllers".into())) };
    let address = |value: &Ipld| match value {
        Ipld::Bytes(bytes) => Address::from_bytes(bytes).map_err(|error| wrong(error.to_string())),
        other => Err(wrong(format!("{} as a controller", bucket_core::task::kind(other)))),
    };
    let controllers = list.iter().map(address).collect::<Result<_, _>>()?;
    let mode = match args.get("mode") {
        Some(Ipld::String(mode)) => mode.parse().map_err(wrong)?,
        _ => return Err(wrong("no mode".into())),
    };
    Ok(Creation { bucket: sub.clone(), controllers, mode })
}

/// A CAR of a task that `key` signs, after the blocks that `transaction` has. The chain that gives the right is looked for
/// among `held`.
pub fn invocation(
    key: &Identity,
    task: Task,
    transaction: Transaction<NativeHasher>,
    held: &[Held],
    exp: Option<u64>,
    now: u64,
) -> Result<Vec<u8>, ClientError> {
    invocation_at(None, key, task, transaction, held, exp, now)
}

/// The same for an audience: who is to run it, if that isn't the bucket.
pub fn invocation_at(
    aud: Option<BucketId>,
    key: &Identity,
    task: Task,
    transaction: Transaction<NativeHasher>,
    held: &[Held],
    exp: Option<u64>,
    now: u64,
) -> Result<Vec<u8>, ClientError> {
    let args = Ipld::Map(task.args.clone());
    let accept = |way: &[&Held]| {
        chain::check(way, now, Some(&task.cmd))?;
        way.iter().try_for_each(|held| check_policy(held, &args))
    };
    let proofs = chain::find(held, &task.sub, &key.did(), accept)?;
    let proofs: Vec<_> = proofs.into_iter().map(|held| held.token.bytes.clone()).collect();
    Ok(key.invoke_at(aud, task, &proofs, exp, transaction))
}

pub(crate) fn check_policy(held: &Held, args: &Ipld) -> Result<(), Denied> {
    if held.pol.is_met(args)? {
        return Ok(());
    }
    let Ipld::List(statements) = held.pol.to_ipld() else { return Ok(()) };
    let met = |statement: &Ipld| Policy::from_ipld(Ipld::List(vec![statement.clone()]))?.is_met(args);
    for (statement, value) in statements.iter().enumerate() {
        if !met(value)? {
            return Err(Denied::MatchError { token: format!("delegation {}", held.delegation.cid), statement });
        }
    }
    Ok(())
}

/// A delegation to be given.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Who gets it.
    pub to: BucketId,
    /// The bucket.
    pub bucket: BucketId,
    /// Which command, with all below it.
    pub cmd: String,
    /// Under which conditions.
    pub pol: Policy,
    /// First second, in unix time.
    pub nbf: Option<u64>,
    /// Last second, in unix time.
    pub exp: Option<u64>,
    /// For everything that the key gets, of whatever subject: a powerline.
    pub powerline: bool,
}

/// Signs a delegation, and answers the chain from the bucket's own to it, which is the last. The ones before are looked for
/// among `held`; a powerline can do without.
pub fn delegation(key: &Identity, grant: Grant, held: &[Held], now: u64) -> Result<Vec<Held>, ClientError> {
    let Grant { to, bucket, cmd, pol, nbf, exp, powerline } = grant;
    let covering = |way: &[&Held]| chain::check(way, now, Some(&cmd)).map(drop);
    let mut way: Vec<Held> = match chain::find(held, &bucket, &key.did(), covering) {
        Ok(before) => before.into_iter().cloned().collect(),
        Err(_) if powerline && held.is_empty() => vec![],
        Err(denied) => return Err(denied.into()),
    };
    // Nobody could use it.
    if way.len() >= PROOFS_MAX {
        return Err(Denied::TooManyProofs(way.len() + 1).into());
    }
    let sub = (!powerline).then_some(bucket);
    let draft = DelegationDraft { iss: key.did(), aud: to, sub, cmd, pol, nonce: nonce()?, meta: None, nbf, exp };
    way.push(Held::new(Token::new(key.delegate(&draft)))?);
    Ok(way)
}

/// A chain as a CAR whose root is its last delegation.
pub fn to_car(chain: &[Held]) -> Result<Vec<u8>, ClientError> {
    let mut transaction = Transaction::<NativeHasher>::default();
    for held in chain {
        transaction.write_block(DAG_CBOR, &held.token.bytes);
    }
    transaction.commit().map_err(|error| ClientError::Input(error.to_string()))
}

/// A chain as a container.
pub fn to_container(chain: &[Held], base: Base) -> Vec<u8> {
    let tokens: Vec<_> = chain.iter().map(|held| held.token.bytes.clone()).collect();
    container::write(&tokens, base)
}

fn revoke(bucket: &BucketId, revoked: Cid, path: Option<Vec<Cid>>) -> Result<Task, ClientError> {
    let mut args = BTreeMap::from([("ucan".to_owned(), Ipld::Link(revoked))]);
    if let Some(path) = path {
        args.insert("path".to_owned(), Ipld::List(path.into_iter().map(Ipld::Link).collect()));
    }
    Ok(Task { sub: bucket.clone(), cmd: REVOKE.into(), args, nonce: nonce()? })
}

/// A CAR that takes a delegation back.
///
/// Without a key it is a controller's. The bucket's key, and one that was given [`REVOKE`], say so themselves. Everybody else
/// has to have issued it, or a delegation before it: then the whole chain has to be among `held`.
pub fn revocation(
    bucket: &BucketId,
    revoked: Cid,
    key: Option<&Identity>,
    held: &[Held],
    exp: Option<u64>,
    now: u64,
) -> Result<Vec<u8>, ClientError> {
    let canonical: Vec<_> = held.iter().map(Held::canonical).collect();
    let found = held.iter().zip(&canonical).find(|(held, _)| held.token.cid == revoked);
    let revoked = found.map_or(revoked, |(_, canonical)| canonical.token.cid);
    let Some(key) = key else { return Ok(revoke(bucket, revoked, None)?.to_car::<NativeHasher>()) };
    if key.did() != *bucket
        && let Some(target) = canonical.iter().find(|held| held.token.cid == revoked)
        && let Some(path) = path(bucket, target, &canonical)
        && path.iter().any(|held| held.iss == key.did())
    {
        let task = revoke(bucket, revoked, Some(chain::cids(&path)))?;
        let mut transaction = Transaction::default();
        for held in &path {
            transaction.write_block(DAG_CBOR, &held.token.bytes);
        }
        return Ok(key.invoke(task, &[], exp, transaction));
    }
    invocation(key, revoke(bucket, revoked, None)?, Transaction::default(), held, exp, now)
}

/// The chain whose last delegation is `target`.
fn path<'a>(bucket: &BucketId, target: &'a Held, held: &'a [Held]) -> Option<Vec<&'a Held>> {
    let about = target.sub.as_ref().is_none_or(|sub| sub == bucket);
    // Times don't matter: what is expired may be revoked as well.
    let mut path = chain::find(held, bucket, &target.iss, |_| Ok(())).ok().filter(|_| about)?;
    path.push(target);
    Some(path)
}
