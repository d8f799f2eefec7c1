//! What becomes of an entry: the whole way from `add` to its end, and each branch.

use bucket_client::worker::Settings;
use bucket_client::worker::ledger::{Attempt, Record, Standing};
use bucket_protocols::store::Status;
use bucket_tests::cars::id;
use reqwest::StatusCode;

use super::{CAPACITY, Shop, car, served, service};

#[test]
fn a_car_is_stored() {
    let mut shop = Shop::open();
    let stored = car("stored", 600);
    assert_eq!(shop.add(&stored).unwrap().status, Status::Active);
    shop.good_turn();
    let entry = shop.stands(&stored, Status::Receiving);
    let upload = entry.put.expect("where to put it");
    assert_eq!(upload.headers["content-length"], "600");

    // Nothing is there yet: the worker watches.
    shop.good_turn();
    shop.stands(&stored, Status::Receiving);
    assert_eq!(shop.put(&upload, &stored), StatusCode::OK);
    shop.good_turn();
    shop.stands(&stored, Status::Ok);
    shop.nothing_waits();
    assert_eq!(std::fs::read(shop.object(&stored)).unwrap(), stored);
    assert_eq!(shop.used(), 600);

    // Once more changes nothing, and nobody may write over it.
    assert_eq!(shop.add(&stored).unwrap().status, Status::Ok);
    assert_eq!(shop.put(&upload, &stored), StatusCode::PRECONDITION_FAILED);
    shop.good_turn();
    shop.nothing_waits();
    assert_eq!(shop.events(), ["/store/add", "/store/receive", "/store/put", "/store/add"]);
    assert_eq!(shop.used(), 600);
}

#[test]
fn what_the_service_has_already_needs_no_upload() {
    let mut shop = Shop::open();
    let known = car("known", 10);
    std::fs::write(shop.object(&known), &known).unwrap();
    shop.add(&known).unwrap();
    shop.good_turn();
    shop.stands(&known, Status::Ok);
    shop.nothing_waits();
    assert_eq!(shop.events(), ["/store/add", "/store/put"]);
    assert_eq!(shop.used(), 10);
}

#[test]
fn over_capacity_is_an_error_until_there_is_room() {
    let mut shop = Shop::open();
    let (first, second) = (car("first", 600), car("second", 401));
    shop.add(&first).unwrap();
    shop.good_turn();
    shop.add(&second).unwrap();
    shop.good_turn();
    let entry = shop.stands(&second, Status::Exceeds);
    assert_eq!(entry.attempt, 1);
    shop.stands(&first, Status::Receiving);
    assert_eq!(shop.used(), 600);

    // The first gives its room back; then a second attempt at the other succeeds.
    shop.pass(200);
    shop.good_turn();
    shop.good_turn();
    shop.stands(&first, Status::Expired);
    assert_eq!(shop.used(), 0);
    assert_eq!(shop.add(&second).unwrap().attempt, 2);
    shop.good_turn();
    let upload = shop.stands(&second, Status::Receiving).put.unwrap();
    assert_eq!(shop.put(&upload, &second), StatusCode::OK);
    shop.good_turn();
    shop.stands(&second, Status::Ok);
    shop.nothing_waits();
    assert_eq!(shop.used(), 401);
    let bucket = shop.bucket.clone();
    let attempts = shop.ledger().attempts(&bucket).unwrap();
    let standing = |(at, (standing, _)): &(Attempt, Record)| (at.link == id(&first), at.number, *standing);
    let mut standings: Vec<_> = attempts.iter().map(standing).collect();
    standings.sort_by_key(|(first, number, _)| (!first, *number));
    let expected = [(true, 1, Standing::Freed), (false, 1, Standing::Denied), (false, 2, Standing::Allocated)];
    assert_eq!(standings, expected);
}

#[test]
fn buckets_share_the_total() {
    let mut shop = Shop::new();
    let other = served(&mut shop.world, 7, &service());
    shop.start(Settings { total: Some(CAPACITY), ..Settings::new(CAPACITY) });
    let (first, second) = (car("first", 600), car("second", 401));
    shop.add(&first).unwrap();
    shop.good_turn();
    for (size, status) in [(401, Status::Exceeds), (400, Status::Receiving)] {
        shop.add_to(&other, id(&second), size).unwrap();
        shop.good_turn();
        assert_eq!(shop.entry_of(&other, &id(&second)).status, status, "{size}");
    }
    shop.stands(&first, Status::Receiving);
}

#[test]
fn what_nobody_puts_expires_and_gives_its_room_back_once() {
    let mut shop = Shop::open();
    let late = car("late", CAPACITY as usize);
    shop.add(&late).unwrap();
    shop.good_turn();
    let entry = shop.stands(&late, Status::Receiving);
    shop.pass(150);
    shop.good_turn();
    shop.stands(&late, Status::Receiving);
    shop.pass(50);
    // It expires, and then its room is given back.
    shop.good_turn();
    shop.stands(&late, Status::Expired);
    assert_eq!(shop.used(), CAPACITY);
    shop.good_turn();
    assert_eq!(shop.used(), 0);
    shop.nothing_waits();
    let events = ["/store/add", "/store/receive", "/store/expire", "/store/done"];
    assert_eq!(shop.events(), events);

    // Too late for this attempt, and there for the next.
    assert_eq!(shop.put(&entry.put.unwrap(), &late), StatusCode::OK);
    shop.good_turn();
    shop.stands(&late, Status::Expired);
    assert_eq!(shop.add(&late).unwrap().attempt, 2);
    shop.good_turn();
    shop.stands(&late, Status::Ok);
    shop.nothing_waits();
    assert_eq!(shop.events()[4..], ["/store/add", "/store/put"]);
    assert_eq!(shop.used(), CAPACITY);
}

#[test]
fn a_put_in_the_last_moment_counts_and_ends_the_sleep() {
    let mut shop = Shop::open();
    let close = car("close", 10);
    shop.add(&close).unwrap();
    shop.good_turn();
    let upload = shop.stands(&close, Status::Receiving).put.unwrap();
    assert_eq!(shop.put(&upload, &close), StatusCode::OK);
    // The worker was away until the sleep was over, and finds both.
    shop.pass(300);
    shop.good_turn();
    shop.stands(&close, Status::Ok);
    shop.good_turn();
    shop.stands(&close, Status::Ok);
    shop.nothing_waits();
    assert_eq!(shop.used(), 10);
}

#[test]
fn only_the_right_bytes_count() {
    let mut shop = Shop::open();
    let right = car("right", 64);
    shop.add(&right).unwrap();
    shop.good_turn();
    let upload = shop.stands(&right, Status::Receiving).put.unwrap();

    // Another size, and another hash that is told, have no signature; a lie about the hash is refused.
    assert_eq!(shop.put(&upload, &right[1..]), StatusCode::FORBIDDEN);
    let wrong = car("wrong", 64);
    assert_eq!(shop.put(&upload, &wrong), StatusCode::BAD_REQUEST);
    // But this server keeps what it refused.
    assert_eq!(std::fs::read(shop.object(&right)).unwrap(), wrong);
    shop.good_turn();
    shop.stands(&right, Status::Receiving);
    assert!(!shop.object(&right).exists(), "what is wrong is taken away");
    std::fs::write(shop.object(&right), &right[..63]).unwrap();
    shop.good_turn();
    shop.stands(&right, Status::Receiving);
    assert!(!shop.object(&right).exists(), "so is what is short");

    assert_eq!(shop.put(&upload, &right), StatusCode::OK);
    shop.good_turn();
    shop.stands(&right, Status::Ok);
}

#[test]
fn something_else_under_the_name_is_no_car() {
    let mut shop = Shop::open();
    let right = car("right", 64);
    std::fs::write(shop.object(&right), car("wrong", 64)).unwrap();
    shop.add(&right).unwrap();
    shop.good_turn();
    shop.stands(&right, Status::Receiving);
    assert!(!shop.object(&right).exists());
}

#[test]
fn another_buckets_wrong_size_takes_nothing_away() {
    let mut shop = Shop::open();
    let right = car("right", 64);
    shop.add(&right).unwrap();
    shop.good_turn();
    let upload = shop.stands(&right, Status::Receiving).put.unwrap();
    assert_eq!(shop.put(&upload, &right), StatusCode::OK);
    shop.good_turn();
    shop.stands(&right, Status::Ok);
    let other = served(&mut shop.world, 7, &service());
    for size in [63, 65] {
        shop.add_to(&other, id(&right), size).unwrap();
        shop.good_turn();
        shop.good_turn();
        assert_eq!(shop.entry_of(&other, &id(&right)).status, Status::Receiving);
        assert_eq!(std::fs::read(shop.object(&right)).unwrap(), right);
    }
    shop.stands(&right, Status::Ok);
}

#[test]
fn what_was_verified_is_verified_again_when_it_is_another() {
    let mut shop = Shop::open();
    let right = car("right", 64);
    std::fs::write(shop.object(&right), &right).unwrap();
    shop.add(&right).unwrap();
    shop.good_turn();
    shop.stands(&right, Status::Ok);
    // Of the same size, but nobody signed for it.
    std::fs::write(shop.object(&right), car("wrong", 64)).unwrap();
    let other = served(&mut shop.world, 7, &service());
    shop.add_to(&other, id(&right), 64).unwrap();
    shop.good_turn();
    assert_eq!(shop.entry_of(&other, &id(&right)).status, Status::Receiving);
    assert!(!shop.object(&right).exists());
}
