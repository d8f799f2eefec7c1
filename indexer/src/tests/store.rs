//! The store on a real file: transactions, reversals, ranges.

use bucket_core::dag_cbor::Ipld;

use super::rig::*;
use crate::store::{Counts, Halt, Place, Range, Sqlite, Store, StoreError, Tipset};

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tipset_only_follows_its_parent() {
    let mut rig = Rig::new().await;
    rig.tipset("a", 1, &[create("b")]).await;
    let (mut batch, _) = rig.batch("c", 3, &[]).await;
    batch.tipset.parent = "base".into();
    let error = rig.store.commit(&batch).await.unwrap_err();
    assert!(matches!(&error, StoreError::Gap { head, parent } if head == "a" && parent == "base"), "{error}");
    batch.tipset.parent = "a".into();
    rig.store.commit(&batch).await.unwrap();
    let head = rig.store.head().await.unwrap().unwrap();
    assert_eq!((head.key.as_str(), head.height, head.nulls), ("c", 3, 1), "epoch 2 is a null round");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_fails_half_way_leaves_nothing() {
    let mut rig = Rig::new().await;
    rig.tipset("a", 1, &[create("b"), put("b", s("k"), s("1"))]).await;
    let (mut batch, _) = rig.batch("c", 2, &[put("b", s("k"), s("2")), create("d")]).await;
    // The second execution has the place of a first run that is there already.
    let mut double = batch.executed[0].clone();
    double.ops.clear();
    batch.executed.push(double);
    let error = rig.store.commit(&batch).await.unwrap_err();
    assert!(error.to_string().contains("UNIQUE"), "{error}");
    assert_eq!(rig.store.head().await.unwrap().unwrap().key, "a");
    assert_eq!(rig.rows("b").await, pairs([("Jk", "1")]));
    assert_eq!(rig.store.created(&did("d")).await.unwrap(), None);
    assert_eq!(rig.store.block(&batch.tipset.state).await.unwrap(), None, "not even a block");
    batch.executed.pop();
    rig.store.commit(&batch).await.unwrap();
    assert_eq!(rig.rows("b").await, pairs([("Jk", "2")]));
}

/// What a killed process leaves: the transaction was never committed, the file is opened again.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_commit_leaves_nothing_and_the_file_opens_again() {
    let mut rig = Rig::new().await;
    rig.tipset("a", 1, &[create("b")]).await;
    let puts: Vec<_> = (0..200).map(|n| put("b", Ipld::Integer(n), s("x"))).collect();
    let (batch, _) = rig.batch("c", 2, &puts).await;
    let mut cut = 0;
    for micros in [0, 200, 500, 1000, 2000, 4000] {
        let (store, batch) = (rig.store.clone(), batch.clone());
        let task = tokio::spawn(async move { store.commit(&batch).await });
        tokio::time::sleep(std::time::Duration::from_micros(micros)).await;
        task.abort();
        cut += u32::from(task.await.is_err());
        let store = Sqlite::open(&rig.dir.path().join("index.sqlite")).await.unwrap();
        match store.head().await.unwrap().unwrap().key.as_str() {
            "a" => assert_eq!(store.execution_count(&did("b")).await.unwrap(), 0),
            "c" => assert_eq!(store.execution_count(&did("b")).await.unwrap(), 200),
            other => panic!("{other}"),
        }
        store.close().await;
    }
    assert!(cut > 0, "at least one commit was cut");
    if rig.store.head().await.unwrap().unwrap().key == "a" {
        rig.store.commit(&batch).await.unwrap();
    }
    assert_eq!(rig.store.execution_count(&did("b")).await.unwrap(), 200);
    let counts = rig.store.counts().await.unwrap();
    assert_eq!(counts, Counts { gaps: 0, stale_rows: 0, tipsets: 3, executions: 200 });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reversal_brings_back_every_older_row() {
    let mut rig = Rig::new().await;
    let (a, b, c) = (s("a"), s("b"), s("c"));
    rig.tipset("1", 1, &[create("x"), put("x", a.clone(), s("1")), put("x", b.clone(), s("1"))]).await;
    rig.tipset("2", 2, &[put("x", a.clone(), s("2")), put("x", a.clone(), s("2!")), del("x", b.clone())]).await;
    assert_eq!(rig.rows("x").await, pairs([("Ja", "2!")]));
    rig.tipset("3", 3, &[put("x", a.clone(), s("3")), put("x", b.clone(), s("3")), put("x", c, s("3")), create("y")])
        .await;
    assert_eq!(rig.rows("x").await, pairs([("Ja", "3"), ("Jb", "3"), ("Jc", "3")]));

    assert_eq!(rig.store.revert(2).await.unwrap(), 1);
    assert_eq!(rig.rows("x").await, pairs([("Ja", "2!")]));
    assert_eq!(rig.store.created(&did("y")).await.unwrap(), None);
    assert_eq!(rig.store.counts().await.unwrap().stale_rows, 0);

    assert_eq!(rig.store.revert(1).await.unwrap(), 1);
    assert_eq!(rig.rows("x").await, pairs([("Ja", "1"), ("Jb", "1")]));
    assert_eq!(rig.store.counts().await.unwrap(), Counts { gaps: 0, stale_rows: 0, tipsets: 2, executions: 2 });

    // Another chain, then back to the first: a tipset that returns has its rows once.
    rig.tipset("2b", 2, &[del("x", a.clone())]).await;
    assert_eq!(rig.rows("x").await, pairs([("Jb", "1")]));
    rig.store.revert(1).await.unwrap();
    rig.tipset("2", 2, &[put("x", a.clone(), s("2")), put("x", a, s("2!")), del("x", b)]).await;
    assert_eq!(rig.rows("x").await, pairs([("Ja", "2!")]));
    assert_eq!(rig.store.counts().await.unwrap(), Counts { gaps: 0, stale_rows: 0, tipsets: 3, executions: 5 });
}

#[tokio::test(flavor = "multi_thread")]
async fn all_can_be_reverted_and_begun_again() {
    let mut rig = Rig::new().await;
    let state = rig.chain.root;
    rig.tipset("1", 1, &[create("x"), put("x", s("a"), s("1"))]).await;
    assert_eq!(rig.store.revert(i64::MIN).await.unwrap(), 2);
    assert_eq!(rig.store.head().await.unwrap(), None);
    assert!(matches!(rig.store.buckets(None, 10).await, Err(StoreError::Empty)));
    let base = Tipset { key: "other".into(), parent: String::new(), height: 5, nulls: 0, state };
    rig.store.begin(&base, &[]).await.unwrap();
    rig.tipset("6", 6, &[create("x"), put("x", s("b"), s("2"))]).await;
    assert_eq!(rig.rows("x").await, pairs([("Jb", "2")]));
    assert!(matches!(rig.store.begin(&base, &[]).await, Err(StoreError::Gap { .. })), "an index begins once");
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_go_both_ways_and_in_pages() {
    let mut rig = Rig::new().await;
    let keys = ["a", "b", "c", "d", "e"];
    let mut messages = vec![create("x"), create("w"), put("w", s("c"), s("not mine"))];
    messages.extend(keys.map(|key| put("x", s(key), s(key))));
    rig.tipset("1", 1, &messages).await;
    let read = async |range: Range| {
        let page = rig.store.rows(&did("x"), &range).await.unwrap().unwrap();
        (page.rows.iter().map(|row| shown(row).1).collect::<String>(), page.more, page.rows.last().cloned())
    };
    let (from, to) = (b"Jb".to_vec(), Some(b"Je".to_vec()));
    let open = Range { from: b"Jc".to_vec(), limit: 100, bytes: usize::MAX, ..Range::default() };
    let all = Range { from: b"J".to_vec(), to: Some(b"K".to_vec()), ..open.clone() };
    let some = Range { from, to, ..all.clone() };
    // Lists come after strings: the rows of the five receipts.
    assert!(read(open.clone()).await.0.starts_with("cdebag"));
    let (down, more, _) = read(Range { reverse: true, limit: 8, ..open.clone() }).await;
    assert!(down.ends_with("edc") && !more, "{down}");
    assert_eq!(read(all.clone()).await.0, "abcde");
    assert_eq!(read(Range { reverse: true, ..all.clone() }).await.0, "edcba");
    assert_eq!(read(some.clone()).await.0, "bcd");
    assert_eq!(read(Range { reverse: true, ..some.clone() }).await.0, "dcb");
    assert!(!read(Range { limit: 3, ..some.clone() }).await.1, "exactly all of them");
    for reverse in [false, true] {
        let (mut pages, mut after) = (Vec::new(), None);
        loop {
            let (page, more, last) = read(Range { limit: 2, reverse, after, ..all.clone() }).await;
            pages.push(page);
            after = last.map(|row| (row.key, row.protocol));
            if !more {
                break;
            }
        }
        assert_eq!(pages, if reverse { ["ed", "cb", "a"] } else { ["ab", "cd", "e"] });
    }
    let (page, more, _) = read(Range { bytes: 1, ..all }).await;
    assert_eq!((page.as_str(), more), ("a", true), "a page of at least one row, but no more than fits");
    assert_eq!(rig.store.rows(&did("nobody"), &some).await.unwrap().map(|page| page.rows), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn executions_in_order_with_versions() {
    let mut rig = Rig::new().await;
    rig.tipset("1", 1, &[create("x"), put("x", s("a"), s("1"))]).await;
    rig.tipset("2", 2, &[schedule("x", s("b"), s("1")), schedule("x", s("c"), s("1"))]).await;
    rig.tipset("4", 4, &[run("x", 10), force("x", s("a"), s("1"))]).await;
    let page = rig.store.executions(&did("x"), None, 10, false).await.unwrap().unwrap();
    let places: Vec<_> = page.rows.iter().map(|row| (row.place.height, row.place.at, row.executed.version)).collect();
    assert_eq!(places, [(1, 0, 1), (4, 0, 1), (4, 1, 1), (4, 2, 2)]);
    let after = Some(Place { height: 4, at: 1 });
    let page = rig.store.executions(&did("x"), after, 10, false).await.unwrap().unwrap();
    assert_eq!(page.rows.len(), 1);
    let page = rig.store.executions(&did("x"), after, 1, true).await.unwrap().unwrap();
    assert_eq!((page.rows[0].place, page.more), (Place { height: 4, at: 0 }, true));
    let ran = id(&put_car("x", s("a"), s("1")));
    assert_eq!(rig.store.execution(&did("x"), &ran).await.unwrap().unwrap().executed.version, 2);
    rig.store.revert(3).await.unwrap();
    assert_eq!(rig.store.execution(&did("x"), &ran).await.unwrap().unwrap().executed.version, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn halts_are_reverted_with_their_tipset() {
    let mut rig = Rig::new().await;
    let halt =
        Halt { bucket: did("x").to_string(), height: 0, reason: "r".into(), ours: "1".into(), chain: "2".into() };
    rig.tipset_with("1", 1, &[create("x")], vec![halt.clone()]).await;
    assert_eq!(rig.store.halts().await.unwrap(), [Halt { height: 1, ..halt }]);
    rig.store.revert(0).await.unwrap();
    assert_eq!(rig.store.halts().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_bound_to_its_chain() {
    let rig = Rig::new().await;
    rig.store.bind("genesis", "one").await.unwrap();
    rig.store.bind("genesis", "one").await.unwrap();
    let error = rig.store.bind("genesis", "two").await.unwrap_err();
    assert_eq!(error.to_string(), "the data directory is an index of genesis one, not of two: choose another one");
}

/// The hot path must be a search in the index over live rows, not a scan.
#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_read_in_index_order() {
    let rig = Rig::new().await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(rig.dir.path().join("index.sqlite"));
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    for reverse in [false, true] {
        for to in [None, Some(vec![9])] {
            let sql = crate::store::sqlite::rows_sql(&Range { to, reverse, ..Range::default() });
            let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
            let plan = sqlx::query(explain).fetch_all(&pool).await.unwrap();
            let plan: Vec<String> = plan.iter().map(|row| sqlx::Row::get(row, "detail")).collect();
            assert_eq!(plan.len(), 1, "no sorting step: {plan:?}");
            assert!(plan[0].contains("USING INDEX ops_live (bucket=? AND key>?"), "{plan:?}");
        }
    }
}
