//! Replicas that sync over HTTP.

use bucket_core::cid::{CarId, RAW};
use proptest::prelude::*;
use tokio::runtime::Runtime;

use super::world::{Chain, Home};
use super::*;
use crate::space::Replica;
use crate::space::kept::Holds as _;
use crate::space::remote::{Moved, Remote};
use crate::space::store::{NODES, Read as _};
use crate::space::sync::{Synced, sync};

fn runtime() -> Runtime {
    Runtime::new().unwrap()
}

async fn equal(a: &Home, b: &Home) -> Synced {
    let synced = sync(&a.replica, &b.serve().await).await.unwrap();
    assert!(synced.equal);
    assert!(a.told().agrees(&b.told()));
    assert_eq!(a.root(), b.root());
    synced
}

/// A file that can't be read keeps nobody from the others.
#[test]
fn a_broken_file_is_passed_by() {
    runtime().block_on(async {
        let (alice, bob) = (Home::new(), Home::new());
        alice.edit(2, ops([("/a", Some(1))]));
        for name in ["broken.redb", "empty.redb"] {
            let file = alice.replica.path().with_file_name(name);
            std::fs::write(file, if name == "empty.redb" { vec![] } else { vec![7; 10_000] }).unwrap();
        }
        let all: Vec<_> = Replica::all(alice.dir.path()).unwrap().iter().map(|one| one.space().clone()).collect();
        assert_eq!(all, [space()]);
        equal(&bob, &alice).await;
        assert_eq!(bob.told().edits.len(), 1);
    });
}

/// Whoever asks: the edits of one whose clock is ahead are left out, and the head and others come.
#[test]
fn a_clock_that_is_ahead_keeps_nobody_from_the_rest() {
    runtime().block_on(async {
        let (ahead, asks, asked) = (Home::new(), Home::new(), Home::new());
        let mut chain = Chain::with_entries(300);
        chain.push(&[("/new".to_owned(), Some(Ipld::Integer(1)))].into(), 9, 2);
        ahead.pull(&chain).unwrap();
        let good = edit(3, 1, 5, ops([("/a", Some(1))]));
        let future = edit(4, 1, crate::space::millis() + 49 * 60 * 60 * 1000, ops([("/b", Some(1))]));
        let clock = || crate::space::millis() + 48 * 60 * 60 * 1000;
        let edits = vec![(*good).clone(), (*future).clone()];
        assert!(ahead.replica.with_clock(clock).write(|kept| kept.take(edits)).unwrap().is_empty());
        let synced = sync(&asks.replica, &ahead.serve().await).await.unwrap();
        assert_eq!(synced.refused.keys().collect::<Vec<_>>(), [&future.cid]);
        let synced = sync(&ahead.replica, &asked.serve().await).await.unwrap();
        assert_eq!(synced.refused_there.keys().collect::<Vec<_>>(), [&future.cid]);
        for home in [asks, asked] {
            let told = home.told();
            assert_eq!((told.head, told.edits.contains(&good.cid)), (chain.head.clone(), true));
            assert!(!told.edits.contains(&future.cid));
        }
    });
}

#[test]
fn edits_and_heads_go_both_ways() {
    runtime().block_on(async {
        let mut chain = Chain::with_entries(500);
        let (alice, bob) = (Home::new(), Home::new());
        alice.pull(&chain).unwrap();
        alice.edit(2, ops([("/a", Some(1)), ("/notes/000003", None)]));
        bob.edit(3, ops([("/b", Some(2))]));
        // The one who asks has the head and sends it, ...
        let synced = equal(&alice, &bob).await;
        assert_eq!((synced.sent.edits, synced.received.edits), (1, 1));
        assert!(synced.sent.nodes > 1 && synced.received.nodes == 0);
        // ... or gets it.
        bob.edit(3, ops([("/a", Some(3))]));
        bob.push(3, &mut chain);
        let synced = equal(&alice, &bob).await;
        assert!(synced.received.nodes > 0 && synced.sent.nodes == 0);
        assert_eq!(alice.told().head, chain.head);
        // What one made before is still over it.
        let view = |home: &Home, key: &str| home.replica.read(|kept| kept.view()?.get(key)).unwrap();
        assert_eq!(view(&bob, "/a"), Some(Ipld::Integer(1)));
        assert_eq!(view(&bob, "/notes/000003"), None);
        assert_eq!(view(&bob, "/b"), Some(Ipld::Integer(2)));
        // Nothing moves when there is nothing new.
        let synced = equal(&alice, &bob).await;
        assert_eq!((synced.sent, synced.received), (Moved::default(), Moved::default()));
    });
}

#[test]
fn only_what_differs_moves() {
    runtime().block_on(async {
        let mut chain = Chain::with_entries(20_000);
        let (alice, bob) = (Home::new(), Home::new());
        alice.pull(&chain).unwrap();
        let all = equal(&alice, &bob).await.sent.nodes;
        assert!(all > 100, "{all} nodes in the tree");
        for round in 0..5u64 {
            let changes =
                (0..10).map(|n| (format!("/notes/{:06}", (n * 1999 + round * 77) % 20_000), Some(Ipld::Bool(true))));
            chain.push(&changes.collect(), 9, round + 2);
            alice.pull(&chain).unwrap();
            // Both ways of a head: sent, and fetched.
            let moved = match round % 2 {
                0 => equal(&alice, &bob).await.sent,
                _ => equal(&bob, &alice).await.received,
            };
            // A path for each of ten differences, that share their upper nodes, and neighbours here and there.
            assert!((10..=40).contains(&moved.nodes), "{moved:?} of {all}");
            assert_eq!(moved.blocks(), moved.nodes + 1, "and the evidence");
        }
        // Old nodes don't stay for ever.
        let nodes = bob.replica.read(|kept| Ok(kept.below(NODES, &[])?.len())).unwrap();
        assert!(nodes < all + 20, "{nodes} blocks are kept of a tree of {all}");
    });
}

#[test]
fn blocks_travel_with_the_values_that_link_to_them() {
    runtime().block_on(async {
        let (alice, bob, carol) = (Home::new(), Home::new(), Home::new());
        let photo = vec![7; 100_000];
        let raw = block_cid::<NativeHasher>(RAW, &photo);
        let car = b"whatever is in a CAR".to_vec();
        let id = CarId::of::<NativeHasher>(&car).to_cid();
        let absent = block_cid::<NativeHasher>(RAW, b"nobody has it");
        let link = |cid| Some(Ipld::Link(cid));
        let values = [("/photo", link(raw)), ("/queue/x", link(id)), ("/lost", link(absent))];
        alice.edit(2, Ops::new(values.map(|(key, value)| (key.to_owned(), value))).unwrap());
        alice.put_block(&photo);
        alice.put_block(&car);
        let sent = equal(&alice, &bob).await.sent;
        assert_eq!((sent.edits, sent.values), (1, 2));
        let received = equal(&carol, &bob).await.received;
        assert_eq!((received.edits, received.values), (1, 2));
        for (cid, bytes) in [(raw, &photo), (id, &car)] {
            assert_eq!(carol.replica.read(|kept| kept.block(&cid)).unwrap().as_ref(), Some(bytes));
        }
        // What nobody had is asked for again, and is no error; when it is there, it travels.
        assert_eq!(equal(&carol, &bob).await.received.values, 0);
        alice.put_block(b"nobody has it");
        assert_eq!(equal(&alice, &bob).await.sent.values, 1);
        assert_eq!(equal(&carol, &bob).await.received.values, 1);
    });
}

#[test]
fn a_large_difference_goes_in_pieces() {
    runtime().block_on(async {
        let (alice, bob) = (Home::new(), Home::new());
        let chain = Chain::with_entries(60_000);
        alice.pull(&chain).unwrap();
        let blocks: Vec<_> = (0..6u8).map(|n| vec![n; 900_000]).collect();
        for (n, block) in blocks.iter().enumerate() {
            let value = Ipld::Link(block_cid::<NativeHasher>(RAW, block));
            alice.edit(2, Ops::new([(format!("/file/{n}"), Some(value))]).unwrap());
            alice.put_block(block);
        }
        let sent = equal(&alice, &bob).await.sent;
        assert!(sent.values == 7 && sent.edits == 6 && sent.nodes > 500, "{sent:?}");
    });
}

#[derive(Debug, Clone)]
enum Step {
    Edit(usize, u8, Option<u8>),
    Sync(usize, usize),
    Push(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..2usize, 0u8..5, proptest::option::weighted(0.7, 0u8..9)).prop_map(|(a, k, v)| Step::Edit(a, k, v)),
        3 => (0..4usize, 0..4usize).prop_map(|(a, b)| Step::Sync(a, b)),
        1 => (0..2usize).prop_map(Step::Push),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// The last two have no key.
    #[test]
    fn any_pairs_in_any_order_converge(steps in proptest::collection::vec(step(), 1..16)) {
        runtime().block_on(async {
            let homes = [Home::new(), Home::new(), Home::new(), Home::new()];
            let mut remotes: Vec<Remote> = vec![];
            for home in &homes {
                remotes.push(home.serve().await);
            }
            let mut chain = Chain::new();
            for step in steps {
                match step {
                    Step::Edit(a, key, value) => {
                        homes[a].edit(a as u8 + 2, ops([(&format!("/{key}")[..], value.map(i128::from))]));
                    }
                    Step::Sync(a, b) if a != b => {
                        let synced = sync(&homes[a].replica, &remotes[b]).await.unwrap();
                        assert!(synced.equal && homes[a].root() == homes[b].root());
                    }
                    Step::Sync(..) => {}
                    Step::Push(a) => {
                        homes[a].pull(&chain).unwrap();
                        if !homes[a].waiting(a as u8 + 2).is_empty() {
                            homes[a].push(a as u8 + 2, &mut chain);
                        }
                    }
                }
            }
            for _ in 0..2 {
                for home in &homes[1..] {
                    sync(&home.replica, &remotes[0]).await.unwrap();
                }
            }
            for home in &homes {
                assert!(home.told().agrees(&homes[0].told()));
                assert_eq!(home.root(), homes[0].root());
                assert_eq!(home.told().head, chain.head);
            }
        });
    }
}
