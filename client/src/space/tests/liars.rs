//! Replicas that lie: they are refused, and who asked them has lost nothing.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::routing::get;
use bucket_core::cid::{CarId, DAG_CBOR, RAW};
use bucket_core::prolly;
use bucket_protocols::space::push::PUSH;

use super::world::{Chain, Home, serve_at, service, vouch};
use super::*;
use crate::space::SpaceError;
use crate::space::edit::EDIT_BYTES_MAX;
use crate::space::judge::AUTHOR_EDITS_MAX;
use crate::space::kept::Holds as _;
use crate::space::remote::Remote;
use crate::space::sync::sync;
use crate::space::wire::{Answer, TOLD_BYTES_MAX, Told};

/// Somebody who tells this state, has these blocks under these names, and is content with everything.
async fn liar(told: Vec<u8>, blocks: Blocks) -> Remote {
    let (told, blocks) = (Bytes::from(told), Arc::new(blocks));
    let answer = told.clone();
    let content = move || async move {
        let told = Told::decode(&answer).expect("a state");
        Answer { told, missing: vec![], wanted: vec![], refused: vec![] }.encode()
    };
    let serve = move |Path(cid): Path<String>| {
        let blocks = Arc::clone(&blocks);
        async move {
            let cid: Cid = cid.parse().expect("a CID");
            blocks.get(&cid).cloned().ok_or(axum::http::StatusCode::NOT_FOUND)
        }
    };
    let router = Router::new()
        .route("/v1/spaces/{did}", get(move || async move { told }).post(content))
        .route("/ipfs/{cid}", get(serve));
    serve_at(router).await
}

/// A replica with a head and an edit, as one has it who asks a liar.
fn victim() -> Home {
    let home = Home::new();
    home.pull(&Chain::with_entries(300)).unwrap();
    home.edit(2, ops([("/mine", Some(1))]));
    home
}

/// Asks; nothing may have changed but blocks that are beside it.
async fn refused(home: &Home, remote: &Remote) -> String {
    let (before, root) = (home.told(), home.root());
    let error = sync(&home.replica, remote).await.unwrap_err();
    assert_eq!((home.told(), home.root()), (before, root), "{error}");
    error.to_string()
}

fn told_of(head: Head, evidence: Option<&[u8]>, edits: &[Cid]) -> Told {
    let evidence = evidence.map(CarId::of::<NativeHasher>);
    Told { space: space(), head, evidence, edits: edits.iter().copied().collect(), absent: vec![] }
}

/// Blocks, and evidence beside them.
fn evident(mut blocks: Blocks, evidence: &[u8]) -> Blocks {
    blocks.insert(CarId::of::<NativeHasher>(evidence).to_cid(), evidence.to_vec());
    blocks
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Runtime::new().unwrap().block_on(test);
}

#[test]
fn bad_edits_are_left_out_and_good_ones_taken() {
    run(async {
        let good = edit(3, 1, 5, ops([("/a", Some(1))]));
        let with = async |home: &Home, cid: Cid, bytes: Vec<u8>| {
            let told = told_of(home.told().head, None, &[cid, good.cid]);
            liar(told.encode(), [(cid, bytes), (good.cid, good.bytes.clone())].into()).await
        };
        let named = |bytes: &[u8]| block_cid::<NativeHasher>(DAG_CBOR, bytes);
        let left = async |bytes: Vec<u8>| {
            let (home, cid) = (victim(), named(&bytes));
            let synced = sync(&home.replica, &with(&home, cid, bytes).await).await.unwrap();
            let edits = home.told().edits;
            assert!(edits.contains(&good.cid) && !edits.contains(&cid) && edits.len() == 2);
            let (left, why) = synced.refused.into_iter().next().expect("it is told");
            assert_eq!((left, synced.received.edits, synced.equal), (cid, 1, false));
            why
        };
        // A signature of somebody else's.
        let mut forged = good.bytes.clone();
        forged[10] ^= 1;
        assert!(left(forged).await.contains("expected a signature"));
        // A good signature without a right.
        assert!(left(dag_cbor_edit(&key(50), 1, 5)).await.contains("InvalidClaim"));
        // From the future.
        let future = edit(3, 2, crate::space::millis() + (25 * 60 * 60 * 1000), ops([("/a", Some(1))]));
        assert!(left(future.bytes.clone()).await.contains("a day later"));
        // One whose delegation ended.
        assert!(left(until(4, 1, 9).bytes.clone()).await.contains("Expired"));
        // Something else than an edit.
        assert!(left(b"\xa0".to_vec()).await.contains("edit"));
        // Who serves other bytes than those that are asked for is no replica.
        let home = victim();
        assert!(
            refused(&home, &with(&home, home.told().head.root, good.bytes.clone()).await)
                .await
                .contains("something else")
        );
        let large = vec![0; EDIT_BYTES_MAX + 1];
        assert!(
            refused(&home, &with(&home, named(&large), large.clone()).await)
                .await
                .contains("expected an answer of at most")
        );
    });
}

#[test]
fn who_has_nothing_good_is_not_asked_for_all_of_it() {
    run(async {
        let home = victim();
        let junk: Blocks = (0..1_000u32)
            .map(|n| {
                let bytes = [&b"\x44"[..], &n.to_be_bytes()].concat();
                (block_cid::<NativeHasher>(DAG_CBOR, &bytes), bytes)
            })
            .collect();
        let cids: Vec<_> = junk.keys().copied().collect();
        let told = told_of(home.told().head, None, &cids);
        let synced = sync(&home.replica, &liar(told.encode(), junk).await).await.unwrap();
        assert_eq!((synced.received.edits, synced.received.bytes), (0, 64 * 5));
        assert_eq!(synced.refused.values().filter(|why| why.contains("not asked for")).count(), 1_000 - 64);
        assert_eq!((synced.refused.len(), synced.sent.edits, synced.equal), (1_000, 1, false));
    });
}

/// An edit that is signed well by somebody whom nobody gave a right.
fn dag_cbor_edit(author: &Identity, n: u64, time: u64) -> Vec<u8> {
    // What `seal` would refuse: signed as the space's, and then for another author, with that one's key.
    let map =
        |fields: Vec<(&str, Ipld)>| Ipld::Map(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect());
    let text = |did: BucketId| Ipld::String(did.to_string());
    let payload = map(vec![
        ("space", text(space())),
        ("author", text(author.did())),
        ("n", Ipld::Integer(n.into())),
        ("time", Ipld::Integer(time.into())),
        ("ops", ops([("/a", Some(1))]).to_ipld()),
        ("prf", Ipld::List(vec![])),
    ]);
    bucket_core::ucan::seal(&author.public(), "space/edit@1", payload, |message| author.sign(message))
}

#[test]
fn heads_need_evidence() {
    run(async {
        let home = victim();
        let ours = home.told().head;
        let chain = Chain::with_entries(20);
        let later = Head { seq: ours.seq + 1, ..chain.head.clone() };
        let ask = async |evidence: Option<Vec<u8>>| {
            let told = told_of(later.clone(), evidence.as_deref(), &[]);
            refused(&home, &liar(told.encode(), evident(chain.blocks.clone(), &evidence.unwrap_or_default())).await)
                .await
        };
        assert!(ask(None).await.contains("got none"));
        assert!(ask(Some(b"junk".to_vec())).await.contains("evidence"));
        // Signed by somebody else.
        assert!(
            ask(Some(vouch(&key(101), &space(), PUSH, later.to_ipld()))).await.contains("whom this replica trusts")
        );
        // Of another space, another command, another head.
        let other = key(7).did();
        assert!(
            ask(Some(vouch(&service(), &other, PUSH, later.to_ipld())))
                .await
                .contains("expected a receipt of /space/push")
        );
        assert!(ask(Some(vouch(&service(), &space(), "/echo", later.to_ipld()))).await.contains("/echo"));
        assert!(ask(Some(vouch(&service(), &space(), PUSH, chain.head.to_ipld()))).await.contains("with root"));
        assert!(ask(Some(vouch(&service(), &space(), PUSH, Ipld::Null))).await.contains("head"));
        // One whose signature is broken.
        let good = vouch(&service(), &space(), PUSH, later.to_ipld());
        let mut forged = good.clone();
        let last = forged.len() - 100;
        forged[last] ^= 1;
        assert!(ask(Some(forged)).await.contains("evidence"));
        // The good one is believed, and an older head is not looked at.
        let told = told_of(later.clone(), Some(&good), &[]).encode();
        // It has to be shown.
        assert!(refused(&home, &liar(told.clone(), chain.blocks.clone()).await).await.contains("got none"));
        sync(&home.replica, &liar(told, evident(chain.blocks.clone(), &good)).await).await.unwrap();
        assert_eq!(home.told().head, later);
        sync(&home.replica, &liar(told_of(ours, None, &[]).encode(), Blocks::new()).await).await.unwrap();
        assert_eq!(home.told().head, later);
    });
}

#[test]
fn bad_nodes_are_refused() {
    run(async {
        let home = victim();
        let chain = Chain::with_entries(3_000);
        let later = Head { seq: 9, ..chain.head.clone() };
        let signed = vouch(&service(), &space(), PUSH, later.to_ipld());
        let told = told_of(later.clone(), Some(&signed), &[]);
        let with = async |change: &dyn Fn(&mut Blocks)| {
            let mut blocks = chain.blocks.clone();
            change(&mut blocks);
            refused(&home, &liar(told.encode(), evident(blocks, &signed)).await).await
        };
        assert!(with(&|blocks| blocks.clear()).await.contains("expected node"));
        let some = *chain.blocks.keys().find(|cid| **cid != later.root).unwrap();
        assert!(with(&|blocks| drop(blocks.remove(&some))).await.contains("expected node"));
        assert!(with(&|blocks| drop(blocks.insert(some, b"junk".to_vec()))).await.contains("something else"));
        assert!(
            with(&|blocks| drop(blocks.insert(some, vec![0; prolly::NODE_BYTES_MAX + 1]))).await.contains("at most")
        );
        // Whatever was kept of the tries, the true tree is taken.
        sync(&home.replica, &liar(told.encode(), evident(chain.blocks.clone(), &signed)).await).await.unwrap();
        assert_eq!(home.told().head, later);
        // A root that is no tree, though the service signed it.
        let junk = block_cid::<NativeHasher>(DAG_CBOR, b"\xa0");
        let head = Head { root: junk, seq: 10, ..later };
        let signed = vouch(&service(), &space(), PUSH, head.to_ipld());
        let blocks = evident([(junk, b"\xa0".to_vec())].into(), &signed);
        let remote = liar(told_of(head, Some(&signed), &[]).encode(), blocks).await;
        assert!(refused(&home, &remote).await.contains("the tree"));
    });
}

#[test]
fn bad_values_and_answers_are_refused() {
    run(async {
        let home = victim();
        let raw = block_cid::<NativeHasher>(RAW, b"a photo");
        home.edit(2, Ops::new([("/photo".to_owned(), Some(Ipld::Link(raw)))]).unwrap());
        let head = home.told().head;
        let same = told_of(head, None, &[]);
        let with = async |bytes: Vec<u8>| liar(same.encode(), [(raw, bytes)].into()).await;
        assert!(refused(&home, &with(b"another".to_vec()).await).await.contains("something else"));
        // What is too large is left out, and keeps nobody from the rest.
        sync(&home.replica, &with(vec![0; 2 << 20]).await).await.unwrap();
        assert_eq!(home.replica.read(|kept| kept.block(&raw)).unwrap(), None);
        sync(&home.replica, &with(b"a photo".to_vec()).await).await.unwrap();
        assert!(home.replica.read(|kept| kept.block(&raw)).unwrap().is_some());
        // Answers that are none.
        let say = async |bytes: Vec<u8>| {
            refused(&home, &serve_at(Router::new().fallback(get(move || async move { bytes }))).await).await
        };
        assert!(say(b"junk".to_vec()).await.contains("DAG-CBOR"));
        assert!(say(vec![0; TOLD_BYTES_MAX + 1]).await.contains("at most"));
        let other = Told { space: key(7).did(), ..same.clone() };
        assert!(say(other.encode()).await.contains("expected a state of"));
        assert!(say(vec![]).await.contains("DAG-CBOR"));
        assert!(refused(&home, &Remote::new("http://127.0.0.1:1").unwrap()).await.contains("replica at"));
    });
}

/// One who never has enough is left after a while, not asked for ever.
#[test]
fn who_wants_everything_gets_each_thing_once() {
    run(async {
        let home = victim();
        let told = home.told();
        let root = told.head.root;
        let answer =
            Answer { told: told.clone(), missing: vec![root; 5], wanted: vec![root], refused: vec![] }.encode();
        let router = Router::new()
            .route("/v1/spaces/{did}", get(move || async move { told.encode() }).post(move || async move { answer }));
        let synced = sync(&home.replica, &serve_at(router).await).await.unwrap();
        assert_eq!(synced.sent.blocks(), 1);
    });
}

#[test]
fn a_server_takes_only_what_is_good_and_wanted() {
    run(async {
        let home = victim();
        let remote = home.serve().await;
        let path = format!("v1/spaces/{}", space());
        let before = (home.told(), home.root());
        let post = async |body: Vec<u8>| {
            let (status, body) = remote.post(&path, body, TOLD_BYTES_MAX).await.unwrap();
            (status.as_u16(), String::from_utf8_lossy(&body).into_owned())
        };
        let head = home.told().head;
        let (raw, junk) = (vec![7; 1000], told_of(head.clone(), None, &[]));
        assert_eq!(post(b"junk".to_vec()).await.0, 400);
        // It may hang up before it has read all of it, so this is a connection of its own.
        let large = home.serve().await.post(&path, vec![0; 9 << 20], TOLD_BYTES_MAX).await;
        assert!(large.is_err() || large.is_ok_and(|(status, _)| status.as_u16() == 413));
        // A block that nobody asked for is not kept.
        assert_eq!(post(junk.with([(RAW, &raw[..])])).await.0, 200);
        let unwanted = block_cid::<NativeHasher>(RAW, &raw);
        assert_eq!(home.replica.read(|kept| kept.block(&unwanted)).unwrap(), None);
        // A head without evidence, with one's own, and an edit without a right.
        let later = Head { seq: 99, ..head.clone() };
        assert_eq!(post(told_of(later.clone(), None, &[]).with([])).await.0, 403);
        let mine = vouch(&key(101), &space(), PUSH, later.to_ipld());
        let told = told_of(later.clone(), Some(&mine), &[]);
        assert_eq!(post(told.with([(RAW, &mine[..])])).await.0, 403);
        // Without the block it is asked for; nothing is taken over.
        assert_eq!(post(told.with([])).await.0, 200);
        let edit = dag_cbor_edit(&key(50), 1, 5);
        let cid = block_cid::<NativeHasher>(DAG_CBOR, &edit);
        let sent = told_of(head.clone(), None, &[cid]).with([(DAG_CBOR, &edit[..])]);
        let (status, answer) = remote.post(&path, sent, TOLD_BYTES_MAX).await.unwrap();
        let refused = Answer::decode(&answer).unwrap().refused;
        assert_eq!((status.as_u16(), refused.len(), refused[0].0), (200, 1, cid));
        assert!(refused[0].1.contains("InvalidClaim"), "{refused:?}");
        // Another space's state, and a space that isn't here.
        let other = Told { space: key(7).did(), ..told_of(head.clone(), None, &[]) };
        assert_eq!(post(other.with([])).await.0, 400);
        let (status, _) = remote.post(&format!("v1/spaces/{}", key(7).did()), other.with([]), 1000).await.unwrap();
        assert_eq!(status.as_u16(), 404);
        assert_eq!((home.told(), home.root()), before);
        assert_eq!(remote.get("ipfs/nonsense", 1000).await.unwrap().0.as_u16(), 400);
        assert_eq!(remote.block(&unwanted, 1000).await.unwrap(), None);
    });
}

#[test]
fn one_author_cant_fill_a_replica() {
    let home = Home::new();
    let all: Vec<_> =
        (1..=AUTHOR_EDITS_MAX as u64 + 1).map(|n| (*edit(2, n, n, ops([("/a", Some(1))]))).clone()).collect();
    let take = |edits: &[Edit]| home.replica.write(|kept| kept.take(edits.to_vec())).unwrap();
    // What there is no room for is left out: the last.
    let left = take(&all);
    assert!(matches!(&left[..], [(cid, SpaceError::TooMany { max: AUTHOR_EDITS_MAX, .. })] if *cid == all[1024].cid));
    assert_eq!(home.told().edits.len(), AUTHOR_EDITS_MAX);
    // Another author has room, ...
    assert!(take(&[(*edit(3, 1, 1, ops([("/a", Some(1))]))).clone()]).is_empty());
    // ... and what a head includes takes none.
    let mut chain = Chain::new();
    chain.push(&[("/a".into(), Some(Ipld::Integer(1)))].into(), 2, 24);
    home.pull(&chain).unwrap();
    assert!(take(&all).is_empty());
    assert_eq!(home.told().edits.len(), 1001 + 1);
}

#[test]
fn edits_that_a_head_includes_take_no_room_on_the_way() {
    run(async {
        let (alice, bob) = (Home::new(), Home::new());
        let all: Vec<_> = (1..=30).map(|n| (*edit(2, n, n, ops([("/a", Some(1))]))).clone()).collect();
        let mut chain = Chain::with_entries(300);
        chain.push(&[("/a".into(), Some(Ipld::Integer(1)))].into(), 2, 20);
        alice.pull(&chain).unwrap();
        for home in [&alice, &bob] {
            home.replica.write(|kept| kept.take(all.clone())).unwrap();
        }
        // As many as there is room for, were it not for the head.
        let more = 31..=AUTHOR_EDITS_MAX as u64 + 20;
        let more: Vec<_> = more.map(|n| (*edit(2, n, n, ops([("/a", Some(1))]))).clone()).collect();
        alice.replica.write(|kept| kept.take(more)).unwrap();
        let full = alice.told().edits.len();
        assert_eq!(full, AUTHOR_EDITS_MAX);
        // Whoever asks: the head comes before the edits.
        let carol = Home::new();
        carol.replica.write(|kept| kept.take(all.clone())).unwrap();
        let there = alice.serve().await;
        for synced in
            [sync(&bob.replica, &there).await.unwrap(), sync(&alice.replica, &carol.serve().await).await.unwrap()]
        {
            assert!(
                synced.equal && synced.refused.is_empty() && synced.refused_there.is_empty(),
                "{:?}",
                synced.refused
            );
        }
    });
}

/// More edits are left out than one answer can ask for, and still the others come through, whoever asks.
#[test]
fn edits_that_are_left_out_hide_no_others() {
    run(async {
        let (alice, bob) = (Home::new(), Home::new());
        let all = |author: u8| (1..=1_000).map(move |n| (*edit(author, n, n, ops([("/a", Some(1))]))).clone());
        alice.replica.write(|kept| kept.take(all(3).chain(all(4)).collect())).unwrap();
        let good: Vec<_> = all(2).take(900).collect();
        alice.replica.write(|kept| kept.take(good.clone())).unwrap();
        bob.replica.write(|kept| [3, 4].iter().try_for_each(|n| kept.refuse(&key(*n).did()).map(drop))).unwrap();
        let synced = sync(&alice.replica, &bob.serve().await).await.unwrap();
        assert_eq!((synced.refused_there.len(), synced.sent.edits, synced.equal), (2_000, 2_900, false));
        assert_eq!(bob.told().edits, good.iter().map(|edit| edit.cid).collect());
        // Again, and from the other side.
        let carol = Home::new();
        carol.replica.write(|kept| [3, 4].iter().try_for_each(|n| kept.refuse(&key(*n).did()).map(drop))).unwrap();
        let synced = sync(&carol.replica, &alice.serve().await).await.unwrap();
        assert_eq!((synced.refused.len(), synced.received.edits), (2_000, 900));
        assert_eq!(carol.told().edits, bob.told().edits);
    });
}
