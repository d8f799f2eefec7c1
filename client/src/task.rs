//! CARs of tasks: what `invoke` and `schedule` send.

use std::collections::BTreeMap;

use bucket_core::car::{Car, Transaction};
use bucket_core::cid::{NativeHasher, RAW};
use bucket_core::dag_cbor::{self, Ipld};
use bucket_core::did::BucketId;
use bucket_core::error::Abort;
use bucket_core::limits::STAGED_BYTES_MAX;
use bucket_core::task::{Task, kind};
use bucket_core::ucan::Request;

use crate::error::ClientError;
use crate::identity::Identity;
use crate::ucan::{Held, sign};

/// Bytes of a fresh nonce.
const NONCE_BYTES: usize = 12;

/// A task to be packed.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The bucket.
    pub bucket: BucketId,
    /// The command.
    pub cmd: String,
    /// Its arguments.
    pub args: BTreeMap<String, Ipld>,
    /// Files to travel along as `raw` blocks; a link to each stands in the arguments under its name.
    pub files: Vec<(String, Vec<u8>)>,
    /// Tells apart what is otherwise equal.
    pub nonce: Vec<u8>,
}

impl Draft {
    /// A task without files and with a fresh nonce.
    pub fn new(bucket: BucketId, cmd: &str, args: Ipld) -> Result<Self, ClientError> {
        let Ipld::Map(args) = args else {
            let what = kind(&args);
            return Err(ClientError::Input(format!(
                "expected the arguments to be a map like {{\"key\": 1}}, got {what}"
            )));
        };
        Ok(Self { bucket, cmd: cmd.to_owned(), args, files: vec![], nonce: nonce()? })
    }

    /// The CAR: the files in their order, then the task as the root. What the machine would refuse is refused here.
    pub fn pack(self) -> Result<Vec<u8>, ClientError> {
        let (task, transaction) = self.write()?;
        sized(task.to_car_with(transaction))
    }

    /// The same CAR, signed by `key`: the task is an invocation's, and its chain of proofs, which is looked for among
    /// `held`, stands before it. `exp` and `now` are seconds in unix time.
    pub fn sign(self, key: &Identity, held: &[Held], exp: Option<u64>, now: u64) -> Result<Vec<u8>, ClientError> {
        self.sign_at(None, key, held, exp, now)
    }

    /// The same for an audience: who is to run it, if that isn't the bucket.
    pub fn sign_at(
        self,
        aud: Option<BucketId>,
        key: &Identity,
        held: &[Held],
        exp: Option<u64>,
        now: u64,
    ) -> Result<Vec<u8>, ClientError> {
        let (task, transaction) = self.write()?;
        sized(sign::invocation_at(aud, key, task, transaction, held, exp, now)?)
    }

    fn write(self) -> Result<(Task, Transaction<NativeHasher>), ClientError> {
        let Self { bucket, cmd, mut args, files, nonce } = self;
        let mut transaction = Transaction::<NativeHasher>::default();
        for (name, data) in files {
            let link = Ipld::Link(transaction.write_block(RAW, &data));
            if args.insert(name.clone(), link).is_some() {
                return Err(ClientError::Input(format!("“{name}” is both an argument and a file: rename one")));
            }
        }
        let task = Task { sub: bucket, cmd, args, nonce };
        dag_cbor::check(&task.to_ipld()).map_err(ClientError::Input)?;
        let task = Task::from_ipld(task.to_ipld()).map_err(|error| ClientError::Input(error.to_string()))?;
        Ok((task, transaction))
    }
}

fn sized(car: Vec<u8>) -> Result<Vec<u8>, ClientError> {
    if car.len() > STAGED_BYTES_MAX { Err(ClientError::CarTooLarge(car.len())) } else { Ok(car) }
}

/// What a CAR asks for: its root is a task, or an invocation that signs one.
pub fn asked(car: &Car) -> Result<Task, Abort> {
    Ok(match Request::from_car::<NativeHasher>(car)? {
        Some(request) => request.invocation.draft.task,
        None => Task::from_ipld(car.root_value())?,
    })
}

/// Checks a CAR that was packed elsewhere as the machine will.
pub fn check(car: Vec<u8>, bucket: &BucketId) -> Result<(Vec<u8>, Task), ClientError> {
    let car = Car::decode::<NativeHasher>(sized(car)?).map_err(|error| ClientError::from(Abort::Car(error)))?;
    let task = asked(&car)?;
    if task.sub != *bucket {
        return Err(Abort::Subject { sub: task.sub, bucket: bucket.clone() }.into());
    }
    Ok((car.into_bytes(), task))
}

/// A fresh nonce.
pub fn nonce() -> Result<Vec<u8>, ClientError> {
    let mut nonce = vec![0; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(|error| crate::key::KeyError::Random(error.to_string()))?;
    Ok(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(args: &str) -> Result<Draft, ClientError> {
        Draft::new("did:key:z1".parse().unwrap(), "/kv/put", crate::dag_json::read(args)?)
    }

    #[test]
    fn files_travel_along_and_are_linked() {
        let mut draft = draft(r#"{"key": "a"}"#).unwrap();
        draft.files.push(("value".into(), b"some bytes".to_vec()));
        let (car, task) = check(draft.pack().unwrap(), &"did:key:z1".parse().unwrap()).unwrap();
        let Ipld::Link(link) = task.args["value"] else { panic!("{task:?}") };
        let car = Car::decode::<NativeHasher>(car).unwrap();
        assert_eq!(car.block(&link), Some(&b"some bytes"[..]));
        assert_eq!(task.nonce.len(), NONCE_BYTES);
    }

    #[test]
    fn signed_cars_hold_the_same_task() {
        let key = Identity::generate(Default::default()).unwrap();
        let mut draft = Draft::new(key.did(), "/kv/put", crate::dag_json::read(r#"{"key": 1}"#).unwrap()).unwrap();
        draft.files.push(("value".into(), b"some bytes".to_vec()));
        let (_, unsigned) = check(draft.clone().pack().unwrap(), &key.did()).unwrap();
        let signed = draft.sign(&key, &[], None, 0).unwrap();
        let (car, task) = check(signed.clone(), &key.did()).unwrap();
        assert_eq!((task, car), (unsigned, signed));
    }

    #[test]
    fn what_the_machine_would_refuse_is_refused_before() {
        assert!(draft("[1]").unwrap_err().to_string().contains("got a list"));
        let mut large = draft("{}").unwrap();
        large.files.push(("file".into(), vec![0; STAGED_BYTES_MAX]));
        assert_eq!(large.pack().unwrap_err().code(), "car_too_large");
        let mut twice = draft(r#"{"file": 1}"#).unwrap();
        twice.files.push(("file".into(), vec![0]));
        assert!(twice.pack().unwrap_err().to_string().contains("both an argument and a file"));
        let mut command = draft("{}").unwrap();
        command.cmd = "put".into();
        assert!(command.pack().unwrap_err().to_string().contains("expected a command"));
        let car = draft("{}").unwrap().pack().unwrap();
        assert!(check(car, &"did:key:z2".parse().unwrap()).unwrap_err().to_string().contains("wrong subject"));
    }
}
