//! Giving a bucket into a service's hands: what it may, and the bucket's word that it is the one.

use bucket_core::car::Transaction;
use bucket_core::cid::{Cid, DAG_CBOR, NativeHasher};
use bucket_core::did::BucketId;
use bucket_core::ucan::Policy;
use bucket_protocols::store;

use crate::error::ClientError;
use crate::identity::Identity;
use crate::task::nonce;
use crate::ucan::sign::{self, Grant};
use crate::ucan::{Held, Token};

/// What a service needs to do: events of entries, and edits of the space.
pub const COMMANDS: [&str; 2] = ["/store", "/space"];

/// A CAR of `/store/provide`, signed by `key`, with delegations of [`COMMANDS`] to `service` until `exp`. The key has to have
/// all rights of the bucket: it is the bucket's, or has a chain of delegations of `/` among `held`.
pub fn provide(
    bucket: &BucketId,
    service: &BucketId,
    key: &Identity,
    held: &[Held],
    exp: Option<u64>,
    now: u64,
) -> Result<Vec<u8>, ClientError> {
    let mut proofs: Vec<Token> = Vec::new();
    for cmd in COMMANDS {
        let (to, bucket, cmd) = (service.clone(), bucket.clone(), cmd.to_owned());
        let grant = Grant { to, bucket, cmd, pol: Policy::default(), nbf: None, exp, powerline: false };
        for Held { token, .. } in sign::delegation(key, grant, held, now)? {
            if !proofs.contains(&token) {
                proofs.push(token);
            }
        }
    }
    let mut transaction = Transaction::<NativeHasher>::default();
    let links: Vec<Cid> = proofs.iter().map(|token| transaction.write_block(DAG_CBOR, &token.bytes)).collect();
    let task = store::provide(bucket, service, links, nonce()?);
    sign::invocation(key, task, transaction, held, None, now)
}

#[cfg(test)]
mod tests {
    use bucket_core::car::Car;

    use super::*;
    use crate::task;

    #[test]
    fn a_service_gets_what_it_needs_and_no_more() {
        let [owner, admin, service] = [1, 2, 3].map(|n| Identity::from_secret(Default::default(), &[n; 32]).unwrap());
        let all = Grant {
            to: admin.did(),
            bucket: owner.did(),
            cmd: "/".into(),
            pol: Policy::default(),
            nbf: None,
            exp: None,
            powerline: false,
        };
        let held = sign::delegation(&owner, all, &[], 0).unwrap();
        for (key, held, chain) in [(&owner, &[][..], 1), (&admin, &held[..], 2)] {
            let car = provide(&owner.did(), &service.did(), key, held, Some(99), 0).unwrap();
            let (car, task) = task::check(car, &owner.did()).unwrap();
            let car = Car::decode::<NativeHasher>(car).unwrap();
            let (provider, proofs) = store::rows::read_provider(&task.args).unwrap();
            assert_eq!(provider, service.did());
            let given = proofs.iter().map(|cid| Held::new(Token::new(car.block(cid).unwrap().to_vec())).unwrap());
            let given: Vec<_> = given.collect();
            for cmd in COMMANDS {
                let way = crate::ucan::chain::find(&given, &owner.did(), &service.did(), |way| {
                    crate::ucan::chain::check(way, 50, Some(&format!("{cmd}/put"))).map(drop)
                });
                assert_eq!(way.unwrap().len(), chain);
            }
            let refused = crate::ucan::chain::find(&given, &owner.did(), &service.did(), |way| {
                crate::ucan::chain::check(way, 50, Some("/kv/put")).map(drop)
            });
            assert!(refused.is_err());
        }
    }
}
