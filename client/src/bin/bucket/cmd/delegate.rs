//! `bucket delegate`

use std::path::{Path, PathBuf};

use bucket_client::ucan::container::Base;
use bucket_client::ucan::sign::{self, Grant};
use bucket_client::{ClientError, dag_json};
use bucket_core::did::BucketId;
use bucket_core::ucan::Policy;
use serde_json::json;

use super::sign::held;
use super::{now, write};
use crate::context::Context;
use crate::output::{Answer, table};

/// Let another key act on a bucket: a UCAN 1.0 delegation
///
/// The file holds the whole chain from the bucket to the new delegation: whoever has the key that it is for gives it to
/// --proof. A file `….car` is a CAR, `….txt` a container in base64, any other a container (ucan-wg/container). No node is asked.
///
/// Example: bucket delegate --as alice --to did:key:z6Mk… --bucket did:key:zQ3s… --cmd /kv --for 7d --out bob.ucan
#[derive(Debug, clap::Args)]
pub struct Delegate {
    /// The key that gives: the bucket's, or one that was given as much (a name or a DID)
    #[arg(long = "as", value_name = "KEY")]
    key: String,

    /// Who gets it (a DID, or the name of a key)
    #[arg(long, value_name = "DID|NAME")]
    to: String,

    /// The bucket (a DID, or the name of its key)
    #[arg(long, value_name = "DID|NAME")]
    bucket: String,

    /// Which command, with all below it; / is all
    #[arg(long, value_name = "CMD")]
    cmd: String,

    /// Under which conditions on the arguments: a policy as DAG-JSON, like [["==", ".key", "a"]]
    #[arg(long, value_name = "DAG-JSON", default_value = "[]")]
    pol: String,

    /// From this second on, in unix time
    #[arg(long, value_name = "SECONDS")]
    nbf: Option<u64>,

    /// Until this second, in unix time. Default: for ever
    #[arg(long, value_name = "SECONDS", conflicts_with = "duration")]
    exp: Option<u64>,

    /// For so long from now on: 90s, 15m, 12h, 7d
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    duration: Option<u64>,

    /// Give on whatever the key gets, of any bucket
    #[arg(long)]
    powerline: bool,

    /// Delegations from the bucket to the key, in any order; may be given several times
    #[arg(long, value_name = "FILE")]
    proof: Vec<PathBuf>,

    /// Where to write the chain. Default: as text to stdout
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Delegate {
    pub fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        let Self { key, to, bucket, cmd, pol, nbf, exp, duration, powerline, proof, out } = self;
        let wallet = cx.wallet()?;
        let key = wallet.identity(&key)?;
        let to: BucketId = wallet.resolve(&to)?;
        let bucket = wallet.resolve(&bucket)?;
        let pol = Policy::from_ipld(dag_json::read(&pol)?)?;
        let exp = exp.or(duration.map(|duration| now() + duration));
        let grant = Grant { to: to.clone(), bucket: bucket.clone(), cmd: cmd.clone(), pol, nbf, exp, powerline };
        let chain = sign::delegation(&key, grant, &held(&proof)?, now())?;
        let text = String::from_utf8_lossy(&sign::to_container(&chain, Base::Base64Url)).into_owned();
        let cid = chain.last().map(|held| held.token.cid.to_string()).unwrap_or_default();
        let json = json!({
            "cid": cid, "iss": key.did(), "aud": to, "sub": (!powerline).then_some(&bucket), "cmd": cmd, "nbf": nbf,
            "exp": exp, "chain": chain.len(), "container": text,
        });
        let Some(out) = out else { return Ok(Answer::text(json, text)) };
        let bytes = match extension(&out) {
            "car" => sign::to_car(&chain)?,
            "txt" => sign::to_container(&chain, Base::Base64),
            _ => sign::to_container(&chain, Base::Raw),
        };
        write(&out, &bytes)?;
        let until = exp.map_or("for ever".to_owned(), |exp| format!("until {exp}"));
        let lines = [
            ("delegation", cid),
            ("for", to.to_string()),
            (
                "may",
                format!("{cmd} on {}, {until}", if powerline { "all that it gets".into() } else { bucket.to_string() }),
            ),
            ("file", format!("{} ({} delegations, {} bytes)", out.display(), chain.len(), bytes.len())),
        ];
        Ok(Answer::text(json, table(&lines)))
    }
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

/// Seconds of a number with a unit.
fn duration(text: &str) -> Result<u64, String> {
    let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400), ('w', 7 * 86_400)];
    let found =
        units.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(*unit)?.parse::<u64>().ok()?, seconds)));
    found
        .and_then(|(count, seconds)| count.checked_mul(*seconds))
        .ok_or_else(|| format!("expected a duration like 90s, 15m, 12h, 7d or 2w, got “{text}”"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("90s"), Ok(90));
        assert_eq!(duration("7d"), Ok(604_800));
        for bad in ["", "7", "d", "-1d", "1.5h", "99999999999999999999w", "9999999999999999999w"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
