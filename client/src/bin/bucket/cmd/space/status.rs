//! `bucket space status`

use bucket_client::space::kept::{Fate, Holds as _};
use bucket_client::{ClientError, dag_json};
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::prolly::Change;
use serde_json::{Value, json};

use super::replica;
use crate::context::Context;
use crate::output::{Answer, table};

/// Keys that are shown to people.
const SHOWN: usize = 20;

/// Show how a replica stands: its head, what waits, and what that changes
///
/// Example: bucket space status did:key:zQ3s…
#[derive(Debug, clap::Args)]
pub struct Status {
    /// The bucket's DID
    bucket: BucketId,
}

impl Status {
    pub fn run(self, cx: &Context) -> Result<Answer, ClientError> {
        let Self { bucket } = self;
        let replica = replica(cx, &bucket)?;
        let (state, view, rest) = replica.read(|kept| {
            let view = kept.view()?;
            let rest = (kept.own()?, kept.pushes()?, kept.stranded()?, kept.evidence()?.1, kept.wanted(usize::MAX, 0)?);
            Ok((
                kept.state()?,
                (view.root(), view.changes()?),
                (rest, kept.trusted()?, kept.service()?, kept.refused()?),
            ))
        })?;
        let ((own, pushes, stranded, evidence, wanted), trusted, service, refused) = rest;
        let (root, changes) = view;
        let unconfirmed: Vec<_> =
            pushes.iter().filter(|(_, push)| !matches!(push.fate, Fate::Landed(_))).map(|(car, _)| car).collect();
        let is_own = |cid| own.iter().any(|edit| edit.cid == cid);
        let edits: Vec<_> = state
            .waiting()
            .into_iter()
            .map(|edit| {
                let (cid, ops) = (edit.cid.to_string(), edit.ops.ops().len());
                json!({
                    "cid": cid, "author": edit.author, "n": edit.n, "time": edit.time, "ops": ops, "own": is_own(edit.cid),
                })
            })
            .collect();
        let head = dag_json::write(&state.head.to_ipld())?;
        let differs = changes.iter().map(change_json).collect::<Result<Vec<_>, _>>()?;
        let json = json!({
            "bucket": bucket, "head": head, "signed": evidence.is_some(), "root": root.to_string(),
            "waiting": edits, "stranded": stranded.len(), "unconfirmed": unconfirmed,
            "changes": differs, "wanted": wanted.len(), "trusted": trusted, "service": service,
            "refused": refused,
        });
        let waiting_own = state.edits().keys().filter(|cid| is_own(**cid)).count();
        let mut lines = vec![
            ("head", format!("edit {}, root {}", state.head.seq, state.head.root)),
            ("root", format!("{root}, with {} edits that wait, of which {waiting_own} are own", edits.len())),
        ];
        lines.extend((!stranded.is_empty()).then(|| {
            let why =
                "another device used their numbers, or their delegations ended; `bucket space push` makes them anew";
            ("stranded", format!("{} own edits: {why}", stranded.len()))
        }));
        let unknown = || ("pushes", format!("{} whose receipts aren't known", unconfirmed.len()));
        lines.extend((!unconfirmed.is_empty()).then(unknown));
        lines.extend(
            (!wanted.is_empty()).then(|| ("wanted", format!("{} linked blocks that aren't here", wanted.len()))),
        );
        lines.extend((!refused.is_empty()).then(|| {
            let refused: Vec<_> = refused.iter().map(BucketId::as_str).collect();
            ("refused", format!("edits by {}", refused.join(", ")))
        }));
        let mut text = table(&lines);
        changes.iter().take(SHOWN).for_each(|change| text.push_str(&format!("\n{}", change_text(change))));
        if changes.len() > SHOWN {
            text.push_str(&format!("\n… and {} more", changes.len() - SHOWN));
        }
        Ok(Answer::text(json, text))
    }
}

fn change_json(change: &Change) -> Result<Value, ClientError> {
    let value = |value: &Option<Ipld>| value.as_ref().map(dag_json::write).transpose();
    let key = String::from_utf8_lossy(&change.key);
    Ok(json!({"key": key, "before": value(&change.before)?, "after": value(&change.after)?}))
}

fn change_text(change: &Change) -> String {
    let sign = match (&change.before, &change.after) {
        (None, _) => '+',
        (_, None) => '-',
        _ => '~',
    };
    format!("{sign} {}", String::from_utf8_lossy(&change.key))
}
