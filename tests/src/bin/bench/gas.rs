//! Gas of messages, against the same message to an actor that does nothing.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use bucket_core::abi::{CarParams, Message, RunParams};
use bucket_core::bucket::Mode;
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_devnet::{IDLE, Message as ChainMessage};
use bucket_tests::cars::{car, did, map, put, text};
use bucket_tests::node::NodeWorld;
use bucket_tests::{User, World};
use fvm_shared::address::Address;

use crate::{Report, Row};

const CAR_BYTES: usize = 1024;
const SAMPLES: u64 = 20;
const RECEIPTS: [u64; 3] = [10, 1_000, 100_000];
const BATCH: u64 = 50;

struct Bench<'r> {
    report: &'r Report,
    world: NodeWorld,
    idle: Address,
    nonce: u64,
}

pub fn run(report: &Report) -> Result<()> {
    let mut world = NodeWorld::default();
    let idle = world.deploy(IDLE)?.robust;
    let mut bench = Bench { report, world, idle, nonce: 0 };
    let mut echo_before = None;
    for receipts in RECEIPTS {
        let bucket = did(&format!("Gas{receipts}"));
        bench.world.create(&bucket, Mode::Mutex).map_err(|refused| anyhow::anyhow!("{refused:?}"))?;
        report.progress(&format!("filling a bucket with {receipts} receipts"));
        bench.world.fill(&bucket, receipts)?;
        let echo = bench.invoke(&bucket, &format!("gas/invoke/{receipts}"), |bucket, nonce| {
            sized(|pad| car(bucket, "/echo", map([("pad", Ipld::Bytes(pad))]), nonce))
        })?;
        if let Some((before, gas)) = echo_before.replace((receipts, echo)) {
            report.row(Row {
                bench: format!("gas/invoke/growth/{before}-{receipts}"),
                value: echo,
                unit: "gas",
                against: format!("invoke at {before}"),
                against_value: gas,
            });
        }
        bench.invoke(&bucket, &format!("gas/kv-put/{receipts}"), |bucket, nonce| {
            sized(|pad| put(bucket, text("key"), Ipld::Bytes(pad), nonce))
        })?;
        bench.batch(&bucket, receipts, echo)?;
    }
    Ok(())
}

/// Pads a CAR to its size.
fn sized(make: impl Fn(Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    let mut pad = CAR_BYTES - make(vec![]).len();
    while make(vec![7; pad]).len() > CAR_BYTES {
        pad -= 1;
    }
    make(vec![7; pad])
}

impl Bench<'_> {
    /// Mean gas of some invocations, with where it goes.
    fn invoke(&mut self, bucket: &BucketId, name: &str, make: impl Fn(&BucketId, u64) -> Vec<u8>) -> Result<f64> {
        let (mut gas, mut idle) = (0, 0);
        let mut parts = BTreeMap::<String, u64>::new();
        for _ in 0..SAMPLES {
            self.nonce += 1;
            let car = make(bucket, (1 << 40) + self.nonce);
            let (method, params) =
                Message::Invoke(CarParams { bucket: bucket.clone(), car, force: false, hook: None }).encode();
            let message = |to| ChainMessage::new(self.world.address(User::Alice), to, method, params.to_vec());
            let (to_us, to_idle) = (message(self.world.actor), message(self.idle));
            let executed = self.world.execute(to_us)?;
            gas += executed.receipt.gas_used;
            for (part, (_, spent)) in executed.gas {
                *parts.entry(part).or_default() += spent;
            }
            idle += self.world.execute(to_idle)?.receipt.gas_used;
        }
        let mean = |sum: u64| sum as f64 / SAMPLES as f64;
        let row = |bench: String, value, against: &str, against_value| {
            self.report.row(Row { bench, value, unit: "gas", against: against.into(), against_value });
        };
        row(name.to_owned(), mean(gas), "the same to an idle actor", mean(idle));
        let mut parts: Vec<_> = parts.into_iter().collect();
        parts.sort_by_key(|(_, spent)| std::cmp::Reverse(*spent));
        for (part, spent) in parts.into_iter().filter(|(_, spent)| spent * 200 > gas) {
            row(format!("{name}/{part}"), mean(spent), "the whole", mean(gas));
        }
        Ok(mean(gas))
    }

    /// Gas of each task of a mutex batch, against one invoked alone.
    fn batch(&mut self, bucket: &BucketId, receipts: u64, single: f64) -> Result<()> {
        for _ in 0..BATCH {
            self.nonce += 1;
            let nonce = (1 << 40) + self.nonce;
            let car = sized(|pad| car(bucket, "/echo", map([("pad", Ipld::Bytes(pad))]), nonce));
            self.send(Message::Schedule(CarParams { bucket: bucket.clone(), car, force: false, hook: None }))?;
        }
        let gas = self.send(Message::Run(RunParams { bucket: bucket.clone(), max: BATCH }))?;
        self.report.row(Row {
            bench: format!("gas/mutex-batch-of-{BATCH}/{receipts}"),
            value: gas as f64 / BATCH as f64,
            unit: "gas",
            against: "invoke alone".into(),
            against_value: single,
        });
        Ok(())
    }

    fn send(&mut self, message: Message) -> Result<u64> {
        let (method, params) = message.encode();
        let to_us = ChainMessage::new(self.world.address(User::Alice), self.world.actor, method, params.to_vec());
        let executed = self.world.execute(to_us)?;
        ensure!(executed.receipt.exit_code.is_success(), "{}", executed.failure);
        Ok(executed.receipt.gas_used)
    }
}
