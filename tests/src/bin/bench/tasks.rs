//! Tasks per second on one core: in memory, and on the FVM.

use std::time::Instant;

use anyhow::Result;
use bucket_core::abi::{CarParams, CreateParams, Message, RunParams};
use bucket_core::bucket::Mode;
use bucket_core::car::Car;
use bucket_core::cid::{CarId, NativeHasher};
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::memory::Memory;
use bucket_protocols::TABLE;
use bucket_tests::cars::{car, did, map, put, text};
use bucket_tests::node::NodeWorld;
use bucket_tests::{User, World};

use crate::{Report, Row};

const ALICE: u64 = 100;
const TASKS: u64 = 20_000;
const BATCH: u64 = 1000;

pub fn run(report: &Report) -> Result<()> {
    let bucket = did("Tasks");
    let echo: Vec<_> = (0..TASKS).map(|n| car(&bucket, "/echo", map([("n", text("x"))]), n)).collect();
    let kv: Vec<_> = (0..TASKS).map(|n| put(&bucket, Ipld::Integer((n % 100).into()), text("value"), n)).collect();
    let mut best = 0.0_f64;
    for (name, cars) in [("echo", &echo), ("kv", &kv)] {
        let floor = floor(cars)?;
        let in_memory = in_memory(&bucket, cars)?;
        best = best.max(in_memory);
        report.row(Row {
            bench: format!("tasks/memory/{name}"),
            value: in_memory,
            unit: "tasks/s",
            against: "decode and hash the same CARs".into(),
            against_value: floor,
        });
        report.row(Row {
            bench: format!("tasks/memory/{name}/target"),
            value: in_memory,
            unit: "tasks/s",
            against: "target".into(),
            against_value: 100_000.0,
        });
    }
    report.progress("invoking on the FVM");
    report.row(Row {
        bench: "tasks/fvm/kv".into(),
        value: on_the_fvm(&bucket, &kv[..1000]),
        unit: "tasks/s",
        against: "in memory".into(),
        against_value: best,
    });
    Ok(())
}

/// What no machine could do without: reading each CAR, and its id.
fn floor(cars: &[Vec<u8>]) -> Result<f64> {
    let start = Instant::now();
    for car in cars {
        std::hint::black_box(CarId::of::<NativeHasher>(car));
        std::hint::black_box(Car::decode::<NativeHasher>(car.clone())?.root_value());
    }
    Ok(cars.len() as f64 / start.elapsed().as_secs_f64())
}

/// Runs queued tasks in batches; scheduling them is not counted.
fn in_memory(bucket: &BucketId, cars: &[Vec<u8>]) -> Result<f64> {
    let mut memory = Memory::unchecked(TABLE);
    let create = CreateParams { bucket: bucket.clone(), controllers: vec![], mode: Mode::Atomic, proof: None };
    memory.apply(ALICE, Message::Create(create))?;
    let mut seconds = 0.0;
    for batch in cars.chunks(BATCH as usize) {
        for car in batch {
            let params = CarParams { bucket: bucket.clone(), car: car.clone(), force: false, hook: None };
            memory.apply(ALICE, Message::Schedule(params))?;
        }
        memory.compact()?;
        let start = Instant::now();
        let applied = memory.apply(ALICE, Message::Run(RunParams { bucket: bucket.clone(), max: BATCH }))?;
        seconds += start.elapsed().as_secs_f64();
        anyhow::ensure!(applied.ran.len() == batch.len() && applied.ran.iter().all(|execution| execution.ok));
    }
    Ok(cars.len() as f64 / seconds)
}

/// One `Invoke` a message, one message a tipset.
fn on_the_fvm(bucket: &BucketId, cars: &[Vec<u8>]) -> f64 {
    let mut world = NodeWorld::default();
    world.create(bucket, Mode::Atomic).expect("created");
    let start = Instant::now();
    for car in cars {
        let params = CarParams { bucket: bucket.clone(), car: car.clone(), force: false, hook: None };
        let (method, params) = Message::Invoke(params).encode();
        let executed = world.send(User::Alice, method, params).expect("sent");
        assert!(executed.receipt.exit_code.is_success(), "{}", executed.failure);
    }
    cars.len() as f64 / start.elapsed().as_secs_f64()
}
