//! `bucket revoke`

use std::path::Path;

use bucket_client::ClientError;
use bucket_client::ucan::{Held, sign as ucan};
use bucket_core::cid::Cid;
use bucket_core::did::BucketId;

use super::sign::Sign;
use super::task::Packed;
use super::{file, invoke, now, read};
use crate::context::Context;
use crate::output::Answer;

/// Take a delegation back, for ever
///
/// As a controller of the bucket, without --as; with the bucket's key; or with the key that gave it or something before it in
/// its chain: then the whole chain has to be in FILE or in --proof.
///
/// Example: bucket revoke bob.ucan --bucket did:key:zQ3s… --as alice
#[derive(Debug, clap::Args)]
pub struct Revoke {
    /// The delegation: its CID, or a file whose chain ends with it
    #[arg(value_name = "FILE|CID")]
    ucan: String,

    /// The bucket's DID
    #[arg(long)]
    bucket: BucketId,

    /// Then fetch the receipt from the indexer, verify it and show what came out
    #[arg(long)]
    wait: bool,

    #[command(flatten)]
    sign: Sign,
}

impl Revoke {
    pub async fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        let Self { ucan, bucket, wait, sign } = self;
        let mut held = sign.held()?;
        let revoked = match ucan.parse::<Cid>() {
            Ok(cid) => cid,
            Err(_) => {
                let more = Held::all(&read(Path::new(&ucan))?)?;
                let last = last(&ucan, &more)?;
                held.extend(more);
                last
            }
        };
        let key = sign.identity(cx)?;
        let car = ucan::revocation(&bucket, revoked, key.as_ref(), &held, sign.exp, now())?;
        cx.note(format!("revoking delegation {revoked}"));
        invoke::send(cx, Packed::new(cx, bucket, car), wait).await
    }
}

/// The delegation that no other one of a file goes on from.
fn last(path: &str, held: &[Held]) -> Result<Cid, ClientError> {
    let ends = |one: &&Held| !held.iter().any(|other| other.token.cid != one.token.cid && other.iss == one.aud);
    let ends: Vec<_> = held.iter().filter(ends).map(|held| held.token.cid).collect();
    match ends[..] {
        [one] => Ok(one),
        _ => {
            let all: Vec<_> = held.iter().map(|held| held.token.cid.to_string()).collect();
            let expected =
                "expected one chain of delegations; name the one to revoke by its CID, with the file as --proof";
            Err(file(path, format!("{expected}: {}", all.join(", "))))
        }
    }
}
