//! Edits that stop to count while they wait: their delegations end, are taken back, or their author is refused.

use std::collections::BTreeSet;

use super::world::{Chain, Home};
use super::*;
use crate::space::SpaceError;
use crate::space::kept::Holds as _;
use crate::space::store::{EDITS, OWN, Read as _, Replica};
use crate::ucan::revoked::Mark;

fn proofs(author: u8, exp: Option<u64>) -> Vec<Vec<u8>> {
    vec![delegation(&SPACE, &key(author).did(), "/space", exp)]
}

/// The same replica at the second 5, when the delegations of these tests hold, and at the second 10, when they don't.
fn times(home: &Home) -> [Replica; 2] {
    [home.replica.with_clock(|| 5_000), home.replica.with_clock(|| 10_000)]
}

fn waiting(replica: &Replica) -> BTreeSet<Cid> {
    replica.read(|kept| Ok(kept.state()?.edits().keys().copied().collect())).unwrap()
}

fn root(replica: &Replica) -> Cid {
    replica.read(|kept| Ok(kept.view()?.root())).unwrap()
}

fn rows(replica: &Replica) -> usize {
    replica.read(|kept| Ok(kept.below(EDITS, &[])?.len())).unwrap()
}

/// The delegation of an edit, taken back by the space.
fn taken_back(edit: &Edit) -> Mark {
    let mark = Home::new();
    mark.replica.write(|kept| kept.take(vec![edit.clone()])).unwrap();
    mark.replica.read(|kept| kept.revocable()).unwrap().into_iter().find(|(_, by)| *by == space()).unwrap()
}

#[test]
fn an_edit_counts_as_long_as_its_delegations() {
    let (home, ended, lasting) = (Home::new(), until(2, 1, 9), edit(3, 1, 1_000, ops([("/3", Some(1))])));
    let [before, after] = times(&home);
    let take = |replica: &Replica| {
        replica
            .write(|kept| kept.take(vec![(*ended).clone(), (*lasting).clone()]))
            .unwrap()
            .into_iter()
            .map(|left| left.1)
    };
    assert_eq!(take(&before).count(), 0);
    assert_eq!(waiting(&before), [ended.cid, lasting.cid].into());
    assert_eq!(waiting(&home.replica.with_clock(|| 9_999)).len(), 2, "until the end of its last second");
    // Nobody has to do anything: the time is enough.
    assert_eq!(waiting(&after), [lasting.cid].into());
    assert_eq!(after.read(|kept| kept.view()?.get("/2")).unwrap(), None);
    assert_eq!((waiting(&before).len(), rows(&before)), (2, 2));
    // It doesn't come in then, and the next change drops it.
    let why: Vec<_> = take(&after).collect();
    assert!(matches!(&why[..], [SpaceError::Denied(denied)] if denied.name() == "Expired"), "{why:?}");
    assert_eq!(rows(&after), 1);
}

/// In whatever order they hear of edits, and whether they had them before or after: at one time they see the same.
#[test]
fn two_with_the_same_edits_and_clocks_see_the_same() {
    let edits: Vec<_> = (1..20u64).map(|n| (*until(2 + (n % 4) as u8, n, 3 + (n * 7) % 11)).clone()).collect();
    let (one, other) = (Home::new(), Home::new());
    let clocks: [fn() -> u64; 5] = [|| 4_000, || 6_999, || 7_000, || 11_000, || 14_000];
    let mut seen = BTreeSet::new();
    for (at, clock) in clocks.into_iter().enumerate() {
        let [one, other] = [&one, &other].map(|home| home.replica.with_clock(clock));
        // One hears of all of them each time, the other of a few at a time.
        one.write(|kept| kept.take(edits.clone())).unwrap();
        for some in edits.chunks(at + 1).rev() {
            other.write(|kept| kept.take(some.to_vec())).unwrap();
        }
        assert_eq!((waiting(&one), root(&one)), (waiting(&other), root(&other)), "{at}");
        let expected = edits.iter().filter(|edit| clock() / 1000 <= 3 + (edit.n * 7) % 11);
        assert_eq!(waiting(&one), expected.map(|edit| edit.cid).collect());
        seen.insert(waiting(&one).len());
    }
    assert!(seen.len() == 5 && seen.contains(&0), "{seen:?}");
}

#[test]
fn own_edits_whose_delegation_ended_are_made_anew_with_another() {
    let home = Home::new();
    let [before, after] = times(&home);
    let make = |replica: &Replica, exp, change| {
        replica.write(|kept| kept.make(&space(), &key(2), &proofs(2, exp), ops([change])))
    };
    make(&before, Some(9), ("/a", Some(1))).unwrap();
    make(&before, None, ("/b", Some(1))).unwrap();
    make(&before, Some(9), ("/b", Some(2))).unwrap();
    make(&before, Some(9), ("/c", Some(1))).unwrap();
    make(&before, None, ("/c", Some(2))).unwrap();
    assert!(matches!(make(&after, Some(9), ("/d", Some(1))), Err(SpaceError::Denied(_))));
    let stranded = after.read(|kept| kept.stranded()).unwrap();
    assert_eq!(stranded.iter().map(|edit| edit.n).collect::<Vec<_>>(), [1, 3, 4]);
    // As long as there is no other, they are kept.
    assert!(after.write(|kept| kept.make_anew(&space(), &key(2), &proofs(2, Some(9)))).is_err());
    assert_eq!(after.write(|kept| kept.make_anew(&space(), &key(2), &proofs(2, None))).unwrap(), 3);
    let view = |key: &str| after.read(|kept| kept.view()?.get(key)).unwrap();
    for (key, value) in [("/a", 1), ("/b", 2), ("/c", 2)] {
        assert_eq!(view(key), Some(Ipld::Integer(value)), "{key}");
    }
    let own = after.read(|kept| kept.own()).unwrap();
    assert_eq!(own.iter().map(|edit| edit.n).collect::<Vec<_>>(), [2, 5, 6]);
    assert_eq!(own[2].ops.ops().len(), 2, "what a later one changed is left alone");
    assert!(after.read(|kept| kept.stranded()).unwrap().is_empty());
}

#[test]
fn edits_whose_delegation_was_taken_back_dont_count() {
    let home = Home::new();
    let (theirs, other) = (edit(2, 1, 1, ops([("/a", Some(1))])), edit(3, 1, 1, ops([("/b", Some(1))])));
    let both = || vec![(*theirs).clone(), (*other).clone()];
    home.replica.write(|kept| kept.take(both())).unwrap();
    let mark = taken_back(&theirs);
    // Somebody who didn't issue it can't take it back: the mark means nothing.
    home.replica.write(|kept| kept.set_revoked(&[(mark.0, key(9).did())].into())).unwrap();
    assert_eq!(waiting(&home.replica).len(), 2);
    home.replica.write(|kept| kept.set_revoked(&[mark.clone()].into())).unwrap();
    assert_eq!(waiting(&home.replica), [other.cid].into());
    let left = home.replica.write(|kept| kept.take(both())).unwrap();
    assert!(
        matches!(&left[..], [(cid, SpaceError::Denied(denied))] if *cid == theirs.cid && denied.name() == "Revoked")
    );
    // It is asked for again, though no edit here has it.
    assert!(home.replica.read(|kept| kept.revocable()).unwrap().contains(&mark));
    // The chain took the revocation back.
    home.replica.write(|kept| kept.set_revoked(&BTreeSet::new())).unwrap();
    assert!(home.replica.write(|kept| kept.take(both())).unwrap().is_empty());
    assert_eq!(waiting(&home.replica).len(), 2);
}

#[test]
fn a_refused_authors_edits_go_and_stay_away_until_they_are_allowed() {
    let home = Home::new();
    let chain = Chain::with_entries(20);
    home.pull(&chain).unwrap();
    let theirs =
        vec![(*edit(3, 1, 1, ops([("/a", Some(1))]))).clone(), (*edit(3, 2, 2, ops([("/b", Some(1))]))).clone()];
    home.replica.write(|kept| kept.take(theirs.clone())).unwrap();
    home.edit(2, ops([("/c", Some(1))]));
    let (three, two) = (key(3).did(), key(2).did());
    assert_eq!(home.replica.write(|kept| kept.refuse(&three)).unwrap(), 2);
    assert_eq!(
        (waiting(&home.replica).len(), home.replica.read(|kept| kept.refused()).unwrap()),
        (1, [three.clone()].into())
    );
    let left = home.replica.write(|kept| kept.take(theirs.clone())).unwrap();
    assert!(
        left.len() == 2 && left.iter().all(|(_, why)| matches!(why, SpaceError::Refused(author) if *author == three))
    );
    assert!(home.replica.write(|kept| kept.allow(&three)).unwrap());
    assert!(home.replica.write(|kept| kept.take(theirs)).unwrap().is_empty());
    assert_eq!(waiting(&home.replica).len(), 3);
    // One's own go as well, and nothing is made until one is allowed again.
    assert_eq!(home.replica.write(|kept| kept.refuse(&two)).unwrap(), 1);
    assert_eq!(home.replica.read(|kept| Ok(kept.below(OWN, &[])?.len())).unwrap(), 0);
    let made =
        |home: &Home| home.replica.write(|kept| kept.make(&space(), &key(2), &proofs(2, None), ops([("/c", Some(2))])));
    assert!(matches!(made(&home), Err(SpaceError::Refused(_))));
    assert!(home.replica.write(|kept| kept.allow(&two)).unwrap());
    made(&home).unwrap();
}
