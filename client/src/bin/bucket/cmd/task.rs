//! The task of `invoke`, `schedule` and `pack`: packed from the command line, or from a CAR file.

use std::path::PathBuf;

use bucket_client::{ClientError, dag_json, task};
use bucket_core::abi::{CarParams, Hook};
use bucket_core::cid::{CarId, NativeHasher};
use bucket_core::did::BucketId;

use super::sign::Sign;
use super::{read, write};
use crate::context::Context;

/// What to do.
#[derive(Debug, clap::Args)]
pub struct Task {
    /// The bucket's DID
    pub bucket: BucketId,

    /// The command, like /kv/put
    #[arg(required_unless_present = "car", conflicts_with = "car")]
    pub cmd: Option<String>,

    /// The command's arguments as DAG-JSON
    #[arg(value_name = "DAG-JSON", default_value = "{}", conflicts_with = "car")]
    pub args: String,

    /// Send a file along and link to it from the argument NAME; may be given several times
    #[arg(long, value_name = "NAME=PATH", value_parser = named_path, conflicts_with = "car")]
    pub file: Vec<(String, PathBuf)>,

    /// Send this CAR as it is; its root must be a task for the bucket
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "proof", "exp", "audience"])]
    pub car: Option<PathBuf>,

    /// The nonce; the same task with the same nonce runs once. Default: random
    #[arg(long, value_name = "HEX", value_parser = hex_bytes, conflicts_with = "car")]
    pub nonce: Option<Nonce>,

    /// Run it again even if it ran already
    #[arg(long)]
    pub force: bool,

    /// Keep the CAR in a file, to send it again or elsewhere
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,

    #[command(flatten)]
    pub sign: Sign,
}

/// Bytes of a nonce.
#[derive(Debug, Clone)]
pub struct Nonce(Vec<u8>);

/// A CAR that is ready to be sent.
pub struct Packed {
    pub bucket: BucketId,
    pub id: CarId,
    pub car: Vec<u8>,
    pub force: bool,
    pub hook: Option<Hook>,
}

impl Packed {
    /// Tells a CAR's id: the receipt's key.
    pub fn new(cx: &Context, bucket: BucketId, car: Vec<u8>) -> Self {
        let id = CarId::of::<NativeHasher>(&car);
        cx.note(format!("CAR {id} ({} bytes)", car.len()));
        Self { bucket, id, car, force: false, hook: None }
    }

    /// What a message says of it.
    pub fn params(self) -> CarParams {
        let Self { bucket, car, force, hook, .. } = self;
        CarParams { bucket, car, force, hook }
    }
}

impl Task {
    /// Packs the CAR and tells its id: the receipt's key.
    pub fn pack(self, cx: &Context) -> Result<Packed, ClientError> {
        let Self { bucket, cmd, args, file, car, nonce, force, save, sign } = self;
        let car = match (car, cmd) {
            (Some(path), _) => task::check(read(&path)?, &bucket)?.0,
            (None, Some(cmd)) => {
                let mut draft = task::Draft::new(bucket.clone(), &cmd, dag_json::read(&args)?)?;
                for (name, path) in file {
                    draft.files.push((name, read(&path)?));
                }
                if let Some(Nonce(nonce)) = nonce {
                    draft.nonce = nonce;
                }
                sign.pack(cx, draft)?
            }
            (None, None) => return Err(ClientError::Input("expected a command or --car".into())),
        };
        if let Some(path) = save {
            write(&path, &car)?;
        }
        Ok(Packed { force, ..Packed::new(cx, bucket, car) })
    }
}

fn named_path(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => Ok((name.to_owned(), path.into())),
        _ => Err("expected NAME=PATH, like value=photo.png".into()),
    }
}

fn hex_bytes(text: &str) -> Result<Nonce, String> {
    hex::decode(text).map(Nonce).map_err(|error| format!("expected hex, like 00ff: {error}"))
}
