//! Mines in intervals. (Instant mining is the node's own affair, manual mining the caller's.)

use std::time::Duration;

use tokio::{sync::watch, time::sleep};

use crate::{config::Mining, node::NodeRef};

/// Makes a tipset whenever an interval is over, in the modes that have one. Ends with the node.
pub async fn run(node: NodeRef, mut modes: watch::Receiver<Mining>) {
    loop {
        let mode = *modes.borrow_and_update();
        tokio::select! {
            changed = modes.changed() => if changed.is_err() {
                return;
            },
            () = interval(mode) => if let Err(error) = node.run(|node| node.mine(1)).await {
                tracing::error!("Cannot mine: {error:#}");
            },
        }
    }
}

async fn interval(mode: Mining) {
    match mode {
        Mining::Interval(milliseconds) => sleep(Duration::from_millis(milliseconds)).await,
        Mining::Instant | Mining::Manual => std::future::pending().await,
    }
}
