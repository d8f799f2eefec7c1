//! A replica's file: what is made here, what is settled, what is stranded; and that a kill loses nothing.

use std::process::{Command, Stdio};
use std::time::Duration;

use bucket_core::cid::CarId;

use super::world::{Chain, Home};
use super::*;
use crate::space::kept::{Author, Evidence, Fate, Holds as _, Push};
use crate::space::push::pack;
use crate::space::store::{NODES, Read as _};
use crate::space::{Replica, SpaceError};

fn proofs(author: u8) -> Vec<Vec<u8>> {
    vec![delegation(&SPACE, &key(author).did(), "/space", None)]
}

#[test]
fn what_is_kept_is_found_again() {
    let home = Home::new();
    let chain = Chain::with_entries(50);
    home.pull(&chain).unwrap();
    let made = home.edit(2, ops([("/a", Some(1))]));
    let author = Author { did: key(2).did(), proofs: proofs(2) };
    home.replica.write(|kept| kept.set_author(&author)).unwrap();
    let again = Replica::new(home.dir.path(), space());
    again
        .read(|kept| {
            assert_eq!(kept.head()?, chain.head);
            let signed = CarId::of::<NativeHasher>(&chain.signed);
            assert_eq!(kept.evidence()?, (None, Some(signed)));
            assert_eq!(kept.block(&signed.to_cid())?, Some(chain.signed.clone()));
            assert_eq!(kept.own()?, std::slice::from_ref(&made));
            assert_eq!(kept.author()?, Some(author));
            assert_eq!(kept.trusted()?.len(), 1);
            assert_eq!(kept.view()?.get("/a")?, Some(Ipld::Integer(1)));
            Ok(())
        })
        .unwrap();
    let all: Vec<_> = Replica::all(home.dir.path()).unwrap().iter().map(|replica| replica.space().clone()).collect();
    assert_eq!(all, [space()]);
    let absent = Replica::new(home.dir.path(), key(7).did()).read(|_| Ok(())).unwrap_err();
    assert!(matches!(absent, SpaceError::Absent(_)));
    // Names of any length.
    let long: BucketId = format!("did:web:{}", "x".repeat(240)).parse().unwrap();
    Replica::new(home.dir.path(), long.clone()).write(|_| Ok(())).unwrap();
    assert_eq!(Replica::all(home.dir.path()).unwrap().len(), 2);
    assert!(Replica::new(home.dir.path(), long).exists());
}

#[test]
fn pages_go_on_behind_their_cursors() {
    let home = Home::new();
    home.pull(&Chain::with_entries(25)).unwrap();
    home.edit(2, ops([("/notes/000003", None), ("/notes/zzz", Some(1)), ("/other", Some(1))]));
    let page =
        |prefix: &str, after: Option<&str>| home.replica.read(|kept| kept.view()?.list(prefix, after, 10)).unwrap();
    let (mut keys, mut after) = (vec![], None);
    loop {
        let found = page("/notes/", after.as_deref());
        keys.extend(found.entries.into_iter().map(|(key, _)| key));
        after = found.next;
        if after.is_none() {
            break;
        }
    }
    let expected = (0..25).filter(|n| *n != 3).map(|n| format!("/notes/{n:06}")).chain(["/notes/zzz".to_owned()]);
    assert_eq!(keys, expected.collect::<Vec<_>>());
    assert_eq!(page("/nothing", None).entries, []);
    assert_eq!(page("/notes/", Some("/z")).entries, [], "a cursor behind all of them");
    assert_eq!(page("/other", Some("/a")).entries.len(), 1, "a cursor before all of them");
}

#[test]
fn a_head_without_its_tree_is_refused() {
    let home = Home::new();
    let chain = Chain::with_entries(500);
    let before = home.told();
    let evidence = Evidence::default();
    let error = home.replica.write(|kept| kept.advance(&chain.head, &evidence)).unwrap_err();
    assert!(matches!(error, SpaceError::Incomplete(first) if first == chain.head.root), "{error}");
    // Also with all but one node.
    let mut nodes: Vec<_> = chain.blocks.values().collect();
    nodes.pop();
    home.replica.write(|kept| nodes.iter().try_for_each(|node| kept.put_coming(node))).unwrap();
    assert!(home.replica.write(|kept| kept.advance(&chain.head, &evidence)).is_err());
    assert_eq!(home.told(), before);
}

#[test]
fn a_transaction_that_fails_leaves_nothing() {
    let home = Home::new();
    home.edit(2, ops([("/a", Some(1))]));
    let before = home.told();
    let failed: Result<(), _> = home.replica.write(|kept| {
        kept.make(&space(), &key(3), &proofs(3), ops([("/b", Some(1))]))?;
        Err(SpaceError::Random("for a test".into()))
    });
    assert!(failed.is_err());
    assert_eq!(home.told(), before);
    assert_eq!(home.replica.read(|kept| kept.own()).unwrap().len(), 1);
}

#[test]
fn what_was_pushed_from_another_device_strands_ones_own_and_is_made_anew() {
    let (here, there) = (Home::new(), Home::new());
    let mut chain = Chain::new();
    here.edit(2, ops([("/a", Some(1)), ("/b", Some(1))]));
    here.edit(2, ops([("/b", Some(2))]));
    let third = here.edit(2, ops([("/c", Some(3))]));
    there.edit(2, ops([("/x", Some(8))]));
    there.edit(2, ops([("/x", Some(9))]));
    there.push(2, &mut chain);
    assert_eq!(there.waiting(2), []);
    assert!(there.replica.read(|kept| kept.stranded()).unwrap().is_empty());
    // Two numbers are used: the third edit waits on, the others are stranded, and not lost.
    here.pull(&chain).unwrap();
    assert_eq!(here.told().edits, [third.cid].into());
    assert_eq!(here.replica.read(|kept| kept.stranded()).unwrap().len(), 2);
    let anew = here.replica.write(|kept| kept.make_anew(&space(), &key(2), &proofs(2))).unwrap();
    assert_eq!(anew, 2);
    let view = |key: &str| here.replica.read(|kept| kept.view()?.get(key)).unwrap();
    for (key, value) in [("/a", 1), ("/b", 2), ("/c", 3), ("/x", 9)] {
        assert_eq!(view(key), Some(Ipld::Integer(value)), "{key}");
    }
    let numbers: Vec<_> = here.waiting(2).iter().map(|edit| edit.n).collect();
    assert_eq!(numbers, [3, 4]);
    assert_eq!(here.replica.write(|kept| kept.make_anew(&space(), &key(2), &proofs(2))).unwrap(), 0);
    here.push(2, &mut chain);
    assert!(here.told().edits.is_empty());
    assert_eq!(view("/a"), Some(Ipld::Integer(1)));
}

#[test]
fn what_one_changed_later_is_not_undone_by_what_is_made_anew() {
    let (here, there) = (Home::new(), Home::new());
    let mut chain = Chain::new();
    here.edit(2, ops([("/a", Some(1)), ("/b", Some(1))]));
    here.edit(2, ops([("/a", Some(2))]));
    there.edit(2, ops([("/x", Some(1))]));
    there.push(2, &mut chain);
    here.pull(&chain).unwrap();
    here.replica.write(|kept| kept.make_anew(&space(), &key(2), &proofs(2))).unwrap();
    let view = |key: &str| here.replica.read(|kept| kept.view()?.get(key)).unwrap();
    assert_eq!((view("/a"), view("/b")), (Some(Ipld::Integer(2)), Some(Ipld::Integer(1))));
}

#[test]
fn a_push_whose_receipt_is_not_known_strands_nothing() {
    let home = Home::new();
    let mut chain = Chain::new();
    let made = home.edit(2, ops([("/a", Some(1))]));
    let car = CarId([9; 32]);
    let push = Push::new(chain.head.root, vec![made.cid]);
    home.replica.write(|kept| kept.put_push(&car, &push)).unwrap();
    assert_eq!(home.replica.read(|kept| kept.pushes()).unwrap(), [(car, push.clone())].into());
    chain.push(&[("/a".into(), Some(Ipld::Integer(1)))].into(), 2, 1);
    home.pull(&chain).unwrap();
    let stranded = || home.replica.read(|kept| kept.stranded()).unwrap();
    assert!(stranded().is_empty());
    // It failed: somebody else used the number. It went through, and the chain may take it back, or has.
    home.replica.write(|kept| kept.del_push(&car)).unwrap();
    assert_eq!(stranded(), std::slice::from_ref(&made));
    for fate in [Fate::Landed(7), Fate::TakenBack(7)] {
        let push = Push { fate, ..push.clone() };
        home.replica.write(|kept| kept.put_push(&car, &push)).unwrap();
        assert_eq!(home.replica.read(|kept| kept.pushes()).unwrap(), [(car, push)].into());
        assert!(stranded().is_empty());
        assert_eq!(home.replica.read(|kept| kept.own()).unwrap(), std::slice::from_ref(&made));
    }
    // It is final: settled.
    home.finish();
    assert!(home.replica.read(|kept| Ok((kept.own()?, kept.pushes()?))).unwrap().0.is_empty());
}

#[test]
fn what_one_pushed_last_is_not_undone_by_what_is_made_anew() {
    let home = Home::new();
    let mut chain = Chain::new();
    home.edit(2, ops([("/a", Some(1)), ("/b", Some(1))]));
    let car = home.push(2, &mut chain);
    home.edit(2, ops([("/a", Some(2))]));
    home.push(2, &mut chain);
    // The first push failed after all: another device's is in its place.
    home.replica.write(|kept| kept.del_push(&car)).unwrap();
    assert_eq!(home.replica.write(|kept| kept.make_anew(&space(), &key(2), &proofs(2))).unwrap(), 1);
    let made = home.waiting(2);
    assert_eq!(made.iter().map(|edit| &edit.ops).collect::<Vec<_>>(), [&ops([("/b", Some(1))])]);
}

#[test]
fn a_head_that_the_chain_took_back_is_left() {
    let home = Home::new();
    let mut chain = Chain::with_entries(300);
    home.pull(&chain).unwrap();
    let (old, nodes) = (chain.head.clone(), chain.blocks.clone());
    chain.push(&[("/a".into(), Some(Ipld::Integer(1)))].into(), 2, 1);
    home.pull(&chain).unwrap();
    home.replica
        .write(|kept| {
            assert!(!kept.advance(&old, &Evidence::default())?, "a head only goes on by itself");
            // The root, then what it branches to.
            for _ in 0..2 {
                kept.missing(&old.root)?.iter().try_for_each(|cid| kept.put_coming(&nodes[cid]))?;
            }
            kept.go(&old, &Evidence::default())
        })
        .unwrap();
    assert_eq!(home.told().head, old);
    assert_eq!(home.root(), old.root);
}

/// A replica with the tree of `entries`, whose author 2 edits.
fn packing(entries: u64) -> (Home, Chain) {
    let home = Home::new();
    let chain = Chain::with_entries(entries);
    home.pull(&chain).unwrap();
    (home, chain)
}

/// Packs and pushes what waits, until nothing does; sizes of the CARs and numbers of operations.
fn drain(home: &Home, chain: &mut Chain) -> Vec<(usize, usize, Option<u64>)> {
    let mut pushes = Vec::new();
    while let Some(packed) = home.replica.read(|kept| pack(kept, &space(), &key(2), &proofs(2))).unwrap() {
        let push = &packed.prepared.push;
        assert!(packed.car.len() <= bucket_core::limits::STAGED_BYTES_MAX);
        pushes.push((packed.car.len(), push.edit.ops().len(), push.upto));
        let changes = push.edit.changes().map(|(key, value)| (key.to_owned(), value.cloned())).collect();
        let upto =
            push.upto.unwrap_or_else(|| chain.head.clock.get(key(2).did().as_str()).copied().unwrap_or_default());
        chain.push(&changes, 2, upto);
        assert_eq!(chain.head.root, packed.prepared.written.root);
        let car = CarId::of::<NativeHasher>(&packed.car);
        home.replica.write(|kept| kept.put_push(&car, &Push::new(push.base, packed.edits.clone()))).unwrap();
        home.pull(chain).unwrap();
        home.finish();
    }
    assert!(home.told().edits.is_empty());
    assert!(home.replica.read(|kept| kept.own()).unwrap().is_empty());
    pushes
}

#[test]
fn edits_go_as_one_push_or_as_several() {
    let (home, mut chain) = packing(1_000);
    for n in 0..5 {
        home.edit(2, ops([(&format!("/a/{n}")[..], Some(n)), ("/last", Some(n))]));
    }
    let pushes = drain(&home, &mut chain);
    assert_eq!(pushes.len(), 1);
    assert_eq!((pushes[0].1, pushes[0].2), (6, Some(5)), "each key once");
    assert!(pushes[0].0 < 60_000, "{} bytes fit a message", pushes[0].0);
    // More keys than one push has.
    let many =
        |from: i128| Ops::new((from..from + 200).map(|n| (format!("/b/{n:04}"), Some(Ipld::Integer(n))))).unwrap();
    (0..3).for_each(|n| drop(home.edit(2, many(n * 200))));
    let sizes: Vec<_> = drain(&home, &mut chain).iter().map(|push| push.1).collect();
    assert_eq!(sizes, [200, 200, 200]);
    let root = home.root();
    assert_eq!(root, chain.head.root);
    let view = |key: &str| home.replica.read(|kept| kept.view()?.get(key)).unwrap();
    assert_eq!((view("/last"), view("/b/0599")), (Some(Ipld::Integer(4)), Some(Ipld::Integer(599))));
}

#[test]
fn blocks_that_values_link_to_go_along_and_split_what_is_too_large() {
    let (home, mut chain) = packing(10);
    let block = |n: u8| vec![n; 300_000];
    let link = |n: u8| Ipld::Link(block_cid::<NativeHasher>(bucket_core::cid::RAW, &block(n)));
    let keys = |range: std::ops::Range<u8>| Ops::new(range.map(|n| (format!("/file/{n}"), Some(link(n))))).unwrap();
    // Seven in one edit fit no push, so it goes in parts, of which the last completes it.
    home.edit(2, keys(0..7));
    home.edit(2, keys(7..8));
    home.replica.write(|kept| (0..8).try_for_each(|n| kept.put_block(&block(n)))).unwrap();
    let pushes = drain(&home, &mut chain);
    assert!(pushes.len() >= 3, "{pushes:?}");
    assert_eq!(pushes.iter().filter_map(|push| push.2).max(), Some(2));
    assert_eq!(pushes[0].2, None);
    assert_eq!(home.replica.read(|kept| kept.view()?.list("/file/", None, 20)).unwrap().entries.len(), 8);
}

#[test]
fn changes_over_a_large_tree_are_split_by_their_witness() {
    let (home, mut chain) = packing(100_000);
    let far = |n: u64| (format!("/notes/{:06}", n * 390), Some(Ipld::Bool(true)));
    home.edit(2, Ops::new((0..256).map(far)).unwrap());
    let pushes = drain(&home, &mut chain);
    assert_eq!(pushes.last().unwrap().2, Some(1));
    assert_eq!(pushes.iter().map(|push| push.1).sum::<usize>(), 256, "{pushes:?}");
}

const HOME: &str = "BUCKET_TEST_HOME";

/// The process that is killed: this very program, running this one test.
#[test]
#[ignore = "a process of the test below"]
fn victim() {
    let replica = Replica::new(std::env::var(HOME).expect("started by the test below").as_ref(), space());
    let mut chain = Chain::new();
    for n in 0.. {
        let key_of = format!("/{}", n % 50);
        let made = replica.write(|kept| kept.make(&space(), &key(2), &proofs(2), ops([(&key_of[..], Some(n))])));
        if n % 5 == 4 || made.is_err() {
            let own = replica.read(|kept| kept.own()).unwrap();
            chain.head = replica.read(|kept| kept.head()).unwrap();
            // All of its nodes, as a chain has them.
            let rows = replica.read(|kept| kept.below(NODES, &[]));
            chain
                .blocks
                .extend(rows.unwrap().into_iter().map(|(_, node)| (block_cid::<NativeHasher>(DAG_CBOR, &node), node)));
            let changes = crate::space::model::merge(own.iter().map(|edit| &edit.ops));
            chain.push(&changes, 2, own.last().unwrap().n);
            let push = Push::new(chain.head.root, own.iter().map(|edit| edit.cid).collect());
            replica.write(|kept| kept.put_push(&CarId([1; 32]), &push)).unwrap();
            replica.write(|kept| chain.blocks.values().try_for_each(|node| kept.put_coming(node))).unwrap();
            let evidence = Evidence { car: None, signed: Some(chain.signed.clone()) };
            replica
                .write(|kept| {
                    kept.advance(&chain.head, &evidence)?;
                    kept.finish_push(&CarId([1; 32]))
                })
                .unwrap();
        }
        println!("{n}");
    }
}

#[test]
fn a_kill_loses_nothing_that_was_told() {
    use std::io::{BufRead as _, BufReader};
    let dir = tempfile::tempdir().unwrap();
    let replica = Replica::new(dir.path(), space());
    let mut made = 0u64;
    for round in 0..10u64 {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "space::tests::store::victim", "--ignored", "--nocapture"])
            .env(HOME, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
        let counted =
            std::thread::spawn(move || lines.map_while(Result::ok).filter(|line| line.parse::<u64>().is_ok()).count());
        std::thread::sleep(Duration::from_millis(150 + 37 * round));
        victim.kill().unwrap();
        victim.wait().unwrap();
        made += counted.join().unwrap() as u64;
        // The tree of the head is complete, and of all edits each is in it or waits.
        let (head, own) = replica
            .read(|kept| {
                assert_eq!(kept.missing(&kept.head()?.root)?, []);
                kept.view()?.list("/", None, 100)?;
                Ok((kept.head()?, kept.own()?))
            })
            .unwrap();
        let included = crate::space::model::known(&head, key(2).did().as_str());
        let last = own.iter().map(|edit| edit.n).max().unwrap_or_default().max(included);
        assert!(last >= made, "{last} edits are there, {made} were made");
    }
    assert!(made > 50, "{made}");
}
