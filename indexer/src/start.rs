//! Where an index begins: with the tipset that created the actor.

use anyhow::{Context, Result};
use bucket_rpc::json::{Tipset as ChainTipset, TipsetKey};
use tracing::info;

use crate::node::{Node, key_text};
use crate::replay::empty_state;
use crate::store::{Store, Tipset};

/// A mistake that waiting doesn't mend.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Fatal(pub String);

/// Begins the index. Answers false when the actor isn't on the chain yet.
pub async fn begin(node: &Node, store: &dyn Store, start: Option<i64>) -> Result<bool> {
    let head = node.head().await?;
    let first = match start {
        Some(epoch) if epoch > head.height => None,
        Some(epoch) => Some(node.after_height(epoch.max(0), &head.key()).await?),
        None => find(node, &head).await?,
    };
    let Some(first) = first else { return Ok(false) };
    let (state, blocks) = empty_state()?;
    if let Some(actor) = node.actor_at(&first.key()).await?
        && actor.head != state
    {
        let text = format!(
            "at epoch {} actor {} is not empty any more: begin the index earlier, with --start-epoch",
            first.height, node.actor
        );
        return Err(Fatal(text).into());
    }
    let parents = first.parents();
    let height = if parents.is_head() { -1 } else { node.tipset(&parents).await?.height };
    let base = Tipset { key: key_text(&parents), parent: String::new(), height, nulls: 0, state };
    store.begin(&base, &blocks).await?;
    info!(epoch = first.height, "Beginning the index at epoch {}", first.height);
    Ok(true)
}

/// The tipset whose messages created the actor; genesis, when the actor was there from the beginning.
async fn find(node: &Node, head: &ChainTipset) -> Result<Option<ChainTipset>> {
    const HINT: &str =
        "failed to search for the actor's creation: if the node keeps no state that old, give --start-epoch";
    let key = head.key();
    if node.actor_at(&key).await?.is_none() {
        return Ok(None);
    }
    let exists_at = async |height| -> Result<Option<ChainTipset>> {
        let tipset = node.at_height(height, &key).await?;
        Ok(node.actor_at(&tipset.key()).await?.map(|_| tipset))
    };
    if let Some(genesis) = exists_at(0).await.context(HINT)? {
        return Ok(Some(genesis));
    }
    // The actor isn't there at `without`, and is there at `with`.
    let (mut without, mut with) = (0, head.clone());
    while with.height - without > 1 {
        let middle = without + (with.height - without) / 2;
        match exists_at(middle).await.context(HINT)? {
            Some(tipset) => with = tipset,
            None => without = middle,
        }
    }
    // Its state is there *before* the messages of `with`, so its parent created it.
    let parents: TipsetKey = with.parents();
    Ok(Some(node.tipset(&parents).await?))
}
