//! The join of two replicas, in small.

use super::*;
use crate::space::State;
use crate::space::model::is_later;

fn state(head: Head, edits: &[&Arc<Edit>]) -> State {
    let mut state = State::new(head);
    edits.iter().for_each(|edit| state.insert(Arc::clone(edit)));
    state
}

fn join(a: &State, b: &State) -> State {
    let mut joined = a.clone();
    joined.join(b);
    joined
}

#[test]
fn the_later_head_drops_what_it_includes() {
    let (first, second, other) = (
        edit(2, 1, 1, ops([("/a", Some(1))])),
        edit(2, 2, 2, ops([("/a", None)])),
        edit(3, 1, 3, ops([("/b", Some(1))])),
    );
    let away = state(head(0, []), &[&first, &second, &other]);
    let here = state(head(2, [(2, 1)]), &[]);
    let joined = join(&away, &here);
    assert_eq!(joined.head, here.head);
    // The author's later edit of the same key stays.
    assert_eq!(joined.waiting(), [&second, &other]);
    assert_eq!(join(&here, &away), joined);
    // What was included doesn't come back from one who was away.
    assert_eq!(join(&joined, &away), joined);
    let mut done = joined.clone();
    done.advance(&head(4, [(2, 2), (3, 1)]));
    assert!(join(&done, &away).edits().is_empty());
    done.advance(&head(3, [(2, 2)]));
    assert_eq!(done.head.seq, 4, "a head only goes on");
}

#[test]
fn the_last_operation_of_a_key_counts_and_deletes_stay() {
    let put = edit(2, 1, 1, ops([("/a", Some(1)), ("/b", Some(1))]));
    let gone = edit(3, 1, 2, ops([("/a", None)]));
    let both = state(head(0, []), &[&gone, &put]);
    assert_eq!(both.changes(), [("/a".into(), None), ("/b".into(), Some(Ipld::Integer(1)))].into());
    // In whatever order they come, also from somebody who has the put alone.
    let late = join(&state(head(0, []), &[&gone]), &state(head(0, []), &[&put]));
    assert_eq!(late.changes(), both.changes());
    // At the same time the CID decides, the same everywhere.
    let (a, b) = (edit(2, 1, 5, ops([("/a", Some(2))])), edit(3, 1, 5, ops([("/a", Some(3))])));
    let last = if a.cid > b.cid { 2 } else { 3 };
    assert_eq!(state(head(0, []), &[&a, &b]).changes()["/a"], Some(Ipld::Integer(last)));
}

#[test]
fn an_authors_next_edit_is_behind_all_that_it_knows() {
    let mut state = state(head(9, [(2, 4)]), &[&edit(3, 1, 1_000, ops([("/a", Some(1))]))]);
    let (two, four) = (key(2).did(), key(4).did());
    assert_eq!(state.next(two.as_str(), 5), (5, 1_001), "though its clock is behind");
    assert_eq!(state.next(four.as_str(), 2_000), (1, 2_000));
    state.insert(edit(2, 7, 3_000, ops([("/a", Some(1))])));
    assert_eq!(state.next(two.as_str(), 2_000), (8, 3_001));
}

#[test]
fn one_number_on_two_devices_is_two_edits_until_a_head_includes_one() {
    let (here, there) = (edit(2, 1, 1, ops([("/a", Some(1))])), edit(2, 1, 2, ops([("/b", Some(2))])));
    let both = join(&state(head(0, []), &[&here]), &state(head(0, []), &[&there]));
    assert_eq!(both.edits().len(), 2);
    assert_eq!(both.changes().len(), 2);
    assert!(join(&both, &state(head(1, [(2, 1)]), &[])).edits().is_empty());
}

#[test]
fn of_two_forks_all_take_the_same() {
    let (a, b) = (head(3, [(2, 1)]), Head { root: head(7, []).root, ..head(3, [(3, 1)]) });
    assert!(is_later(&a, &b) != is_later(&b, &a));
    let (a, b) = (state(a, &[]), state(b, &[]));
    assert_eq!(join(&a, &b), join(&b, &a));
}
