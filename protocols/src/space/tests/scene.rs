//! Who is there: a service, a space, its user and a stranger; and what they sign.

use bucket_core::car::Car;
use bucket_core::cid::{CarId, Cid, DAG_CBOR, Hasher, NativeHasher, SHA2_256, block_cid};
use bucket_core::dag_cbor::Ipld;
use bucket_core::task::Task;
use bucket_core::ucan::assertion::ASSERT;
use bucket_core::ucan::{DelegationDraft, Did, InvocationDraft, Policy};
use cid::multihash::Multihash;

use super::{Key, Tx, map, s};
use crate::space::receipt::Draft;
use crate::space::standing::{Recognised, Standing, recognise};

pub const NOW: u64 = 1_700_000_000;

impl Key {
    /// The receipt's CAR, signed by this key.
    pub fn receipt(&self, draft: Draft<'_>) -> Vec<u8> {
        draft.to_car(&self.public(), |message| self.sign(message), Tx::default())
    }

    /// A delegation on `sub`, to be changed.
    pub fn grant(&self, aud: &Key, sub: &Did, change: impl FnOnce(&mut DelegationDraft)) -> Vec<u8> {
        let mut draft = DelegationDraft {
            iss: self.did(),
            aud: aud.did(),
            sub: Some(sub.clone()),
            cmd: ASSERT.into(),
            pol: Policy::default(),
            nonce: vec![1],
            meta: None,
            nbf: None,
            exp: None,
        };
        change(&mut draft);
        draft.seal(&self.public(), |message| self.sign(message))
    }
}

/// The service, a space, its user and a stranger.
pub struct Scene {
    pub service: Key,
    pub user: Key,
    pub stranger: Key,
    pub space: Did,
}

/// Where the service has the blob.
pub fn site() -> Cid {
    block_cid::<NativeHasher>(DAG_CBOR, b"a location commitment")
}

pub fn stored() -> Ipld {
    map([("status", s("ok")), ("site", Ipld::Link(site()))])
}

impl Scene {
    pub fn new() -> Self {
        let [service, user, stranger, space] = [1, 2, 3, 4].map(Key::new);
        Self { service, user, stranger, space: space.did() }
    }

    pub fn add(&self, content: &[u8]) -> Task {
        let digest = Multihash::<64>::wrap(SHA2_256, &NativeHasher::sha2_256(content)).unwrap();
        let blob = map([("digest", Ipld::Bytes(digest.to_bytes())), ("size", Ipld::Integer(content.len() as i128))]);
        let Ipld::Map(args) = map([("blob", blob)]) else { unreachable!() };
        Task { sub: self.space.clone(), cmd: "/blob/add".into(), args, nonce: vec![7] }
    }

    pub fn draft<'a>(&self, service: &'a Did, task: &'a Task) -> Draft<'a> {
        Draft { service, task, out: Ok(stored()), origin: None, proofs: &[] }
    }

    /// What a CAR under `key` is worth.
    pub fn standing(&self, key: &str, car: &[u8]) -> Standing {
        let id = CarId::of::<NativeHasher>(car);
        self.standing_of(key, &Ipld::Link(id.to_cid()), Some(car))
    }

    pub fn standing_of(&self, key: &str, value: &Ipld, car: Option<&[u8]>) -> Standing {
        let cars = |_: &CarId| car.map(<[u8]>::to_vec);
        recognise::<NativeHasher>(key, value, cars, &self.service.did(), &self.space, NOW)
    }

    pub fn recognised(&self, key: &str, car: &[u8]) -> Recognised {
        match self.standing(key, car) {
            Standing::Recognised(recognised) => *recognised,
            other => panic!("{key}: {other:?}"),
        }
    }

    #[track_caller]
    pub fn refused(&self, what: &str, key: &str, car: &[u8], words: &str) {
        match self.standing(key, car) {
            Standing::Unrecognised(why) => assert!(why.to_string().contains(words), "{what}: {why}"),
            other => panic!("{what}: {other:?}"),
        }
    }
}

pub fn blocks(car: &[u8]) -> Vec<Vec<u8>> {
    let car = Car::decode::<NativeHasher>(car.to_vec()).unwrap();
    car.blocks().map(|(_, data)| data.to_vec()).collect()
}

pub fn asked(scene: &Scene, task: &Task) -> InvocationDraft {
    let (iss, aud) = (scene.user.did(), Some(scene.service.did()));
    InvocationDraft { iss, aud, task: task.clone(), prf: vec![], meta: None, exp: None, iat: None, cause: None }
}
