//! Blocks that move when two replicas of a space differ a little, over HTTP on loopback.

use std::collections::BTreeMap;

use anyhow::Result;
use axum::serve;
use bucket_client::space::kept::{Evidence, Holds as _};
use bucket_client::space::remote::Remote;
use bucket_client::space::{Replica, serve::router};
use bucket_core::cid::{Cid, NativeHasher};
use bucket_core::dag_cbor::Ipld;
use bucket_core::prolly::{self, Tree, Written};
use bucket_protocols::space::head::Head;
use bucket_tests::cars::did;
use bucket_tests::space::blob;

use crate::{Report, Row};

const ENTRIES: usize = 100_000;
const DIFFERENCES: usize = 10;

pub fn run(report: &Report) -> Result<()> {
    report.progress("building a tree of 100,000 entries");
    let bytes = |(key, value): (String, Option<Ipld>)| (key.into_bytes(), value.expect("it puts"));
    let mut entries: BTreeMap<Vec<u8>, Ipld> = (0..ENTRIES).map(|number| bytes(blob(number, ""))).collect();
    let old = prolly::build::<NativeHasher, _, _>(&entries)?;
    let all: BTreeMap<Cid, Vec<u8>> = old.nodes.iter().cloned().collect();
    // New keys at even distances: no two fall into the same node.
    let ops: Vec<_> = (0..DIFFERENCES).map(|n| bytes(blob(n * (ENTRIES / DIFFERENCES) + 77, "new"))).collect();
    entries.extend(ops.clone());
    let ops: Vec<_> = ops.into_iter().map(|(key, value)| (key, Some(value))).collect();
    let new = Tree::<_, NativeHasher>::new(&all, old.root).apply(&ops)?;
    anyhow::ensure!(new.root == prolly::build::<NativeHasher, _, _>(&entries)?.root, "both ways give one root");

    let (homes, space) = ([tempfile::tempdir()?, tempfile::tempdir()?], did("Sync"));
    let [ahead, behind] = [0, 1].map(|at: usize| Replica::new(homes[at].path(), space.clone()));
    let head = |root, seq| Head { root, seq, clock: BTreeMap::new() };
    for replica in [&ahead, &behind] {
        replica.write(|kept| {
            old.nodes.iter().try_for_each(|(_, node)| kept.put_coming(node))?;
            kept.go(&head(old.root, 1), &Evidence::default())
        })?;
    }
    ahead.write(|kept| {
        new.nodes.iter().try_for_each(|(_, node)| kept.put_coming(node))?;
        kept.go(&head(new.root, 2), &Evidence::default())
    })?;
    report.progress("syncing");
    let runtime = tokio::runtime::Runtime::new()?;
    let moved = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let replicas = router(homes[0].path().to_owned());
        let server = tokio::spawn(async move { serve(listener, replicas).await });
        let moved = Remote::new(&url)?.complete(&behind, &new.root).await?;
        server.abort();
        anyhow::Ok(moved)
    })?;
    behind.write(|kept| kept.go(&head(new.root, 2), &Evidence::default()))?;
    anyhow::ensure!(behind.read(|kept| Ok(kept.view()?.root()))? == new.root, "both have the same root");
    rows(report, &old, &new, moved.nodes, moved.bytes);
    Ok(())
}

fn rows(report: &Report, old: &Written, new: &Written, nodes: usize, bytes: usize) {
    let row = |name: &str, value: usize, unit, against: &str, against_value: usize| Row {
        bench: format!("sync/100000/10/{name}"),
        value: value as f64,
        unit,
        against: against.into(),
        against_value: against_value as f64,
    };
    let size = |nodes: &[(Cid, Vec<u8>)]| nodes.iter().map(|(_, node)| node.len()).sum::<usize>();
    report.row(row("blocks", nodes, "blocks", "all blocks of the tree", old.nodes.len()));
    report.row(row("bytes", bytes, "bytes", "all bytes of the tree", size(&old.nodes)));
    // No sync by nodes could move less than what is new.
    report.row(row("floor", nodes, "blocks", "blocks that are new", new.nodes.len()));
}
