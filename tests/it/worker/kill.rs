//! A worker that is killed (SIGKILL) before and after each of its steps has lost and doubled nothing.

use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bucket_client::worker::ledger::{Ledger, Standing};
use bucket_client::worker::s3::{S3 as Client, Settings as Store};
use bucket_client::worker::{Observer, Settings, Worker};
use bucket_client::{ActorClient, Gateway, Key};
use bucket_protocols::store::Status;
use bucket_rpc::json::parse_address;
use bucket_tests::cars::id;
use bucket_tests::keys::ed25519;

use super::{CARS, PAYER, Shop, car, service};

const NODE: &str = "BUCKET_TEST_NODE";
const ACTOR: &str = "BUCKET_TEST_ACTOR";
const INDEXER: &str = "BUCKET_TEST_INDEXER";
const S3: &str = "BUCKET_TEST_S3";
const DATA: &str = "BUCKET_TEST_DATA";
const SECRET: &str = "BUCKET_TEST_SECRET";
const KILL_AT: &str = "BUCKET_TEST_KILL_AT";

/// Bytes of each CAR that has room, and what all of them together may have.
const SIZE: usize = 10;
const CAPACITY: u64 = 1 << 20;

/// More steps than any entry takes.
const STEPS_MAX: u64 = 120;

/// And fewer than the shortest way takes.
const STEPS_MIN: u64 = 12;

/// Only a broken worker takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A worker takes its last steps behind the end of the entry.
const LAST_STEPS: Duration = Duration::from_millis(400);

/// Kills the process at a step.
struct Killer {
    at: u64,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    steps: u64,
    last: Option<(&'static str, &'static str)>,
    /// Looking for an object again and again is one step: how often is a matter of luck.
    again: bool,
}

impl Killer {
    fn step(&self, when: &'static str, step: &'static str) {
        let mut seen = self.seen.lock().unwrap();
        let again = match when {
            "before" => seen.last == Some(("after", "s3 head")) && step == "s3 head",
            _ => seen.again,
        };
        (seen.again, seen.last) = (again, Some((when, step)));
        seen.steps += u64::from(!again);
        if seen.steps == self.at {
            let me = std::process::id().to_string();
            Command::new("kill").args(["-9", &me]).status().unwrap();
            std::thread::sleep(PATIENCE);
        }
    }
}

impl Observer for Killer {
    fn before(&self, step: &'static str) {
        self.step("before", step);
    }

    fn after(&self, step: &'static str) {
        self.step("after", step);
    }
}

/// The process that is killed: this very program, running this one test.
#[test]
#[ignore = "a process of the tests below"]
fn victim() {
    let var = |name| std::env::var(name).expect("started by the tests below");
    let rpc = bucket_rpc::Client::new(&var(NODE), None).unwrap();
    let secret: [u8; 32] = hex::decode(var(SECRET)).unwrap().try_into().unwrap();
    let client = ActorClient::new(rpc, parse_address(&var(ACTOR)).unwrap())
        .with_signer(Key::from_secret(&secret).unwrap())
        .with_gateway(Gateway::new(&var(INDEXER)).unwrap());
    let s3 = Client::new(&Store::new(&var(S3), CARS, "us-east-1", "key", "secret")).unwrap();
    let ledger = Ledger::open(var(DATA).as_ref()).unwrap();
    let settings = Settings { poll: Duration::from_millis(20), ..Settings::new(CAPACITY) };
    let killer = Killer { at: var(KILL_AT).parse().unwrap(), seen: Mutex::default() };
    let worker = Worker::new(client, service(), s3, ledger, settings).with_observer(killer);
    tokio::runtime::Runtime::new().unwrap().block_on(worker.run(std::future::pending()));
}

fn start(shop: &Shop, kill_at: u64) -> Child {
    let secret = shop.world.devnet.account(PAYER).unwrap().private_key();
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "worker::kill::victim", "--ignored", "--nocapture"])
        .env(NODE, shop.world.devnet.url())
        .env(ACTOR, shop.world.clients[0].address().to_string())
        .env(INDEXER, shop.world.gateway.url())
        .env(S3, shop.s3.url())
        .env(DATA, shop.data())
        .env(SECRET, hex::encode(secret))
        .env(KILL_AT, kill_at.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// What happens to an entry while it is receiving, and how it ends.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Stored,
    /// The CAR is there before it is added.
    Known,
    /// It was stored in another term of the provider.
    Again,
    Expired,
    Exceeded,
}

impl Way {
    fn end(self) -> Status {
        match self {
            Self::Stored | Self::Known | Self::Again => Status::Ok,
            Self::Expired => Status::Expired,
            Self::Exceeded => Status::Exceeds,
        }
    }

    /// Adds a CAR.
    fn begin(self, shop: &mut Shop, bytes: &[u8]) {
        if matches!(self, Self::Known | Self::Again) {
            std::fs::write(shop.object(bytes), bytes).unwrap();
        }
        if self == Self::Again {
            shop.add(bytes).unwrap();
            shop.start(Settings::new(CAPACITY));
            shop.good_turn();
            shop.stands(bytes, Status::Ok);
            shop.worker = None;
            shop.provide(&ed25519(98));
            shop.provide(&service());
        }
        shop.add(bytes).unwrap();
    }

    /// Does what the world has to do for an entry to come to its end, once; answers whether it is there.
    fn go_on(self, shop: &mut Shop, bytes: &[u8], helped: &mut bool) -> bool {
        let entry = shop.entry(&id(bytes));
        if entry.status == Status::Receiving && !*helped {
            *helped = true;
            match self {
                Self::Stored => drop(shop.put(&entry.put.unwrap(), bytes)),
                _ => shop.pass(200),
            }
        }
        entry.status == self.end() && shop.waiting().is_empty()
    }
}

/// Kills a worker at its first step, the next one at its second, and so on, each at an entry of its own, until one comes to
/// the end before it is killed. Answers how many entries there are.
fn kill_at_every_step(shop: &mut Shop, way: Way) -> u64 {
    for step in 1..STEPS_MAX {
        let size = if way == Way::Exceeded { CAPACITY as usize + 1 } else { SIZE };
        let bytes = car(&format!("{step}."), size);
        way.begin(shop, &bytes);
        let (mut victim, until, mut helped) = (start(shop, step), Instant::now() + PATIENCE, false);
        let ended = loop {
            if victim.try_wait().unwrap().is_some() {
                break false;
            }
            if way.go_on(shop, &bytes, &mut helped) {
                // It may still be at a step that is counted.
                std::thread::sleep(LAST_STEPS);
                break victim.try_wait().unwrap().is_none();
            }
            assert!(Instant::now() < until, "step {step}: {:?}", shop.entry(&id(&bytes)));
            std::thread::sleep(Duration::from_millis(5));
        };
        victim.kill().unwrap();
        victim.wait().unwrap();
        if ended {
            return step;
        }
        shop.start(Settings::new(CAPACITY));
        for turn in 0.. {
            shop.good_turn();
            if way.go_on(shop, &bytes, &mut helped) {
                break;
            }
            assert!(turn < 10, "killed at step {step}: {:?}", shop.entry(&id(&bytes)));
        }
        shop.worker = None;
    }
    panic!("expected an end after less than {STEPS_MAX} steps");
}

/// `standings` are those of an entry's attempts.
fn check(way: Way, events: &[&str], standings: &[Standing], used: impl Fn(u64) -> u64) {
    let mut shop = Shop::new();
    let entries = kill_at_every_step(&mut shop, way);
    assert!(entries > STEPS_MIN, "got {entries}: the worker takes more steps than that");
    shop.nothing_waits();
    // Nobody said anything twice, so each event changed something.
    let said = shop.events();
    for event in events {
        let [count, each] =
            [said.iter().filter(|cmd| cmd == event).count(), events.iter().filter(|of| *of == event).count()];
        assert_eq!(count as u64, entries * each as u64, "{event}");
    }
    assert_eq!(said.len() as u64, entries * events.len() as u64);
    let ledger = shop.ledger();
    let attempts = ledger.attempts(&shop.bucket).unwrap();
    assert_eq!(attempts.len() as u64, entries * standings.len() as u64);
    assert!(attempts.iter().all(|(at, (of, _))| *of == standings[at.number as usize - 1]), "{attempts:?}");
    assert_eq!(ledger.used(&shop.bucket).unwrap(), used(entries));
}

#[test]
fn what_is_stored_is_stored_whenever_the_worker_dies() {
    let events = ["/store/add", "/store/receive", "/store/put"];
    check(Way::Stored, &events, &[Standing::Allocated], |entries| entries * SIZE as u64);
}

#[test]
fn what_is_known_is_stored_whenever_the_worker_dies() {
    check(Way::Known, &["/store/add", "/store/put"], &[Standing::Allocated], |entries| entries * SIZE as u64);
}

#[test]
fn what_is_added_again_counts_once_whenever_the_worker_dies() {
    let events = ["/store/add", "/store/put", "/store/add", "/store/done", "/store/put"];
    check(Way::Again, &events, &[Standing::Freed, Standing::Allocated], |entries| entries * SIZE as u64);
}

#[test]
fn what_expires_gives_its_room_back_once_whenever_the_worker_dies() {
    let events = ["/store/add", "/store/receive", "/store/expire", "/store/done"];
    check(Way::Expired, &events, &[Standing::Freed], |_| 0);
}

#[test]
fn what_has_no_room_has_none_whenever_the_worker_dies() {
    check(Way::Exceeded, &["/store/add", "/store/exceed"], &[Standing::Denied], |_| 0);
}
