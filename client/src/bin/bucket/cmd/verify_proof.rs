//! `bucket verify-proof`

use std::path::PathBuf;

use bucket_client::ClientError;
use bucket_client::proof::{Expected, Proof, ProofError, verify};
use bucket_core::cid::{CarId, Cid};
use bucket_core::did::BucketId;
use bucket_rpc::json::{format_address, parse_address};
use fvm_shared::address::{Address, Protocol};
use serde_json::json;

use super::proof::show;
use super::read;
use crate::output::Answer;

/// Check a proof that `bucket proof` made, without a node
///
/// Hashes every block again and follows the links from the block header to the receipt's id, through the file's blocks
/// only. A good file proves as much as its header is trusted: anybody can make up a header. So take the header's CID from
/// a node of your own, and name it with --header. Exit code 1 when the file proves nothing, or something else.
///
/// Example: bucket verify-proof proof.car --header bafy2bzace… --actor t01000
#[derive(Debug, clap::Args)]
pub struct VerifyProof {
    /// The proof
    file: PathBuf,

    /// The block header that it must be under
    #[arg(long, value_name = "CID")]
    header: Option<Cid>,

    /// The bucket that it must be about
    #[arg(long, value_name = "DID")]
    bucket: Option<BucketId>,

    /// The input CAR that it must be about
    #[arg(long, value_name = "ID")]
    car: Option<CarId>,

    /// The receipt that it must prove
    #[arg(long, value_name = "ID")]
    receipt: Option<CarId>,

    // Takes the place of the global option, whose value any command gets.
    /// The actor that it must be about, by its ID address
    #[arg(long, env = "BUCKET_ACTOR", value_parser = parse_address)]
    actor: Option<Address>,
}

impl VerifyProof {
    pub fn run(self) -> Result<Answer, ClientError> {
        let Self { file, header, bucket, car, receipt, actor } = self;
        if let Some(actor) = actor.filter(|actor| actor.protocol() != Protocol::ID) {
            return Err(ClientError::Input(format!(
                "expected the actor's ID address, like t01000, in --actor or BUCKET_ACTOR, got {}: only the id is in a proof",
                format_address(&actor)
            )));
        }
        let expected = Expected { header, actor, bucket, car, receipt };
        let proof = verify(&read(&file)?);
        Ok(match proof.and_then(|proof| proof.check(&expected).map(|()| proof)) {
            Ok(proof) => good(&proof, &expected),
            Err(error) => bad(&error),
        })
    }
}

fn good(proof: &Proof, expected: &Expected) -> Answer {
    let mut answer = show(proof);
    answer.json["valid"] = json!(true);
    answer.json["headerExpected"] = json!(expected.header.is_some());
    let worth = match expected.header {
        Some(_) => "valid: the blocks lead from the header that you named to this",
        None => "valid if the header is: compare its CID with a node that you trust, or name it with --header",
    };
    answer.text = format!("{worth}\n{}", answer.text);
    answer
}

fn bad(error: &ProofError) -> Answer {
    let json = json!({"valid": false, "error": error.to_string()});
    Answer::text(json, format!("not valid: {error}")).judged(false)
}
