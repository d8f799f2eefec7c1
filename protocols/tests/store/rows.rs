//! What receipts, rows and state hold.

use std::collections::BTreeMap;

use bucket_core::bucket::{Entries, Mode};
use bucket_core::cid::NativeHasher;
use bucket_core::dag_cbor::{self, Ipld};
use bucket_core::limits::CELL_BYTES_MAX;
use bucket_core::stm::{Cell, Path};
use bucket_protocols::store::{self, Row, Status};
use expect_test::{expect, expect_file};

use crate::kit::{Bucket, block, link, upload};
use crate::spec::Event;

fn json(text: &str) -> BTreeMap<String, Ipld> {
    serde_json::from_str(text).unwrap()
}

/// What state has of entry 1.
fn cell(bucket: &Bucket) -> Vec<u8> {
    let root = bucket.memory.bucket(&bucket.did()).unwrap().root;
    let entries = Entries::<_, NativeHasher>::load(bucket.memory.store(), &root, "entries").unwrap();
    entries.get(&[&[store::NUMBER], &link(1).0[..]].concat()).unwrap().unwrap().0
}

fn show(value: &Ipld) -> String {
    serde_json::to_string(&Shown(value)).unwrap()
}

/// Links as text.
struct Shown<'a>(&'a Ipld);

impl serde::Serialize for Shown<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Ipld::Link(cid) => serializer.collect_str(cid),
            Ipld::List(list) => serializer.collect_seq(list.iter().map(Shown)),
            Ipld::Map(map) => serializer.collect_map(map.iter().map(|(field, value)| (field, Shown(value)))),
            other => serde::Serialize::serialize(other, serializer),
        }
    }
}

/// What a client sees of an entry from beginning to end: each receipt's `out` and the rows behind it.
#[test]
fn receipts_and_rows() {
    let mut bucket = Bucket::new(Mode::Atomic);
    let mut seen = String::new();
    let events = [
        Event::Put(1),
        Event::Add(10),
        Event::Receive(1),
        Event::Expire(1),
        Event::Done(1),
        Event::Add(20),
        Event::Put(2),
    ];
    for event in events {
        bucket.memory.epoch += 200;
        let out = bucket.send(1, event).unwrap();
        seen += &format!("{} at {}\n  {}\n", event.name(), bucket.memory.epoch, show(&out));
        for (key, row) in bucket.rows.iter().filter(|(key, _)| !key.ends_with(b"provider!")) {
            seen += &format!("  {}\n    {}\n", String::from_utf8_lossy(key), show(row));
        }
        let upload = upload(1).to_block();
        assert_eq!(bucket.blocks.contains_key(&block(&upload)), !matches!(event, Event::Put(1) | Event::Add(10)));
    }
    expect_file!["life.txt"].assert_eq(&seen);
}

/// The bytes that are paid for.
#[test]
fn an_entry_takes_few_bytes() {
    let mut bucket = Bucket::new(Mode::Atomic);
    bucket.memory.epoch = 3_000_000;
    let mut sizes = vec![];
    for event in [
        Event::Add(1_000_000),
        Event::Receive(1),
        Event::Expire(1),
        Event::Done(1),
        Event::Add(1_000_000),
        Event::Put(2),
    ] {
        bucket.memory.epoch += 200;
        bucket.send(1, event).unwrap();
        let cell = cell(&bucket);
        sizes.push(format!("{event:?}: {} {}", cell.len(), show(&dag_cbor::decode(&cell).unwrap())));
    }
    expect![[r#"
        Add(1000000): 203 [[0,1,1000000,3000200],[[1,0,3000200,[[[null,"/storage/allocate"],"/store/exceed"]]],[1,1,3000200,[[[0,"/storage/stat"],"/store/put"]]],[1,2,3000200,[[[[0,[null,[0,2]]],"/storage/sign"],{"/store/receive":{"upload":{"await/ok":"bafyreia4h35dbyebghh2pwlbyo4kkg4aejmksw6k24aygkpaclwoxl3c5y"}}}]]]]]
        Receive(1): 155 [[1,1,1000000,3000600,"bafyreie62qrxoefcpfb5ozhzqms43ukcv7q6awyx24lhndtktdutlk6rgu"],[[1,3,3000400,"/s3/put"],[1,4,3000400,[["/storage/watch","/store/put"]]],[1,5,3000400,[[{"/task/sleep":{"epochs":200}},"/store/expire"]]]]]
        Expire(1): 73 [[4,1,1000000],[[1,6,3000600,[{"/storage/deallocate":{"size":1000000}},{"/store/done":{"effect":6}}]]]]
        Done(1): 10 [[4,1,1000000],[]]
        Add(1000000): 203 [[0,2,1000000,3001000],[[2,0,3001000,[[[null,"/storage/allocate"],"/store/exceed"]]],[2,1,3001000,[[[0,"/storage/stat"],"/store/put"]]],[2,2,3001000,[[[[0,[null,[0,2]]],"/storage/sign"],{"/store/receive":{"upload":{"await/ok":"bafyreia4h35dbyebghh2pwlbyo4kkg4aejmksw6k24aygkpaclwoxl3c5y"}}}]]]]]
        Put(2): 11 [[2,2,1000000,1],[]]"#]].assert_eq(&sizes.join("\n"));
}

/// Attempts that nobody serves: each leaves a deallocation behind, until the outbox is full.
#[test]
fn an_outbox_is_bounded() {
    let mut bucket = Bucket::new(Mode::Atomic);
    let mut attempts = 0;
    let failure = loop {
        match bucket.add(1, 1000 + attempts) {
            Ok(_) => attempts += 1,
            Err(failure) => break failure,
        }
        assert!(attempts < 100);
        bucket.memory.epoch += 2881;
    };
    assert_eq!(failure.to_string(), "OutboxFull: expected at most 16 effects to wait for delivery, got 17");
    assert_eq!(attempts, 14, "3 effects of the last attempt, and 13 deallocations");
    let entry = bucket.entry(1).unwrap();
    assert_eq!((entry.status, entry.attempt), (Status::Active, 14), "it stays as it was");
    let cell = cell(&bucket);
    let path = Path { bucket: bucket.did(), link: link(1) };
    assert!(cell.len() < CELL_BYTES_MAX / 4, "{} bytes", cell.len());
    let cell = Cell::decode(&cell, &path).unwrap();
    assert_eq!(cell.outbox, bucket.outbox(1).unwrap().items, "the row says what state says");

    // The service comes back.
    bucket.send(1, Event::Done(1)).unwrap();
    assert_eq!(store::Entry::read(&bucket.add(1, 5).unwrap()).unwrap().attempt, 15);
    bucket.send(1, Event::Put(15)).unwrap();
    for attempt in 2..15 {
        bucket.send(1, Event::Done(attempt)).unwrap();
    }
    assert_eq!(bucket.outbox(1), None);
    assert_eq!(bucket.entry(1).unwrap().status, Status::Ok);
}

#[test]
fn rows_of_others_are_not_this_protocol_s() {
    let mut bucket = Bucket::new(Mode::Atomic);
    bucket.add(1, 10).unwrap();
    let key = |kind: &str, n: u8| {
        Ipld::List(vec![Ipld::String("store".into()), Ipld::String(kind.into()), Ipld::String(link(n).to_string())])
    };
    let entry = bucket.rows[&store::rows::entry_key(&link(1))].clone();
    assert_eq!(Row::read("kv", &key("entry", 1), &entry), Ok(None), "anybody may put this key");
    assert!(matches!(Row::read("store", &key("entry", 1), &entry), Ok(Some(Row::Entry(_)))));
    for (key, value) in [
        (key("entry", 2), entry.clone()),
        (key("outbox", 1), entry.clone()),
        (key("other", 1), entry.clone()),
        (Ipld::Null, entry.clone()),
        (key("entry", 1), Ipld::Null),
        (key("entry", 1), Ipld::Map(json(r#"{"status":"gone","attempt":1,"gone":{}}"#))),
        (key("entry", 1), Ipld::Map(json(r#"{"status":"error","attempt":1,"error":{"name":"Other"}}"#))),
    ] {
        assert_eq!(Row::read("store", &key, &value).unwrap_err().name, "ArgsInvalid");
    }
}
