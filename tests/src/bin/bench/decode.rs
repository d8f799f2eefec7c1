//! Decoding a CAR with everything verified, against SHA-256 of the same bytes.

use std::time::{Duration, Instant};

use anyhow::Result;
use bucket_core::car::Car;
use bucket_core::cid::{Hasher, NativeHasher};
use bucket_core::dag_cbor::Ipld;
use bucket_tests::cars::{Tx, map, text};

use crate::{Report, Row};

const BLOCKS: usize = 1000;

pub fn run(report: &Report) -> Result<()> {
    let raw: Vec<Ipld> = (0..BLOCKS).map(|n| Ipld::Bytes(vec![n as u8; 5000])).collect();
    let cbor: Vec<Ipld> = (0..BLOCKS).map(record).collect();
    for (name, blocks) in [("raw", raw), ("dag-cbor", cbor)] {
        let mut tx = Tx::default();
        blocks.iter().for_each(|block| _ = tx.write(block));
        let car = tx.commit()?;
        // Alternating, the best of each: what disturbs the machine disturbs both.
        let (mut hash, mut decode) = (Duration::MAX, Duration::MAX);
        for _ in 0..20 {
            let start = Instant::now();
            std::hint::black_box(NativeHasher::sha2_256(&car));
            hash = hash.min(start.elapsed());
            let input = car.clone();
            let start = Instant::now();
            std::hint::black_box(Car::decode::<NativeHasher>(input)?);
            decode = decode.min(start.elapsed());
        }
        let speed = |time: Duration| car.len() as f64 / time.as_secs_f64() / 1e6;
        report.row(Row {
            bench: format!("decode/{name}"),
            value: speed(decode),
            unit: "MB/s",
            against: "sha2-256 of the same bytes".into(),
            against_value: speed(hash),
        });
    }
    Ok(())
}

/// About 5 kB of the kind that protocols keep: a map with a list of small records.
fn record(n: usize) -> Ipld {
    let item = |i: usize| {
        map([
            ("id", Ipld::Integer((n * 100 + i) as i128)),
            ("name", text(&format!("record {i} of block {n}"))),
            ("data", Ipld::Bytes(vec![i as u8; 100])),
        ])
    };
    map([("items", Ipld::List((0..33).map(item).collect()))])
}
