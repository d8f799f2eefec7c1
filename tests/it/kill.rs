//! An indexer that is killed (SIGKILL) in the middle of its work has lost and doubled nothing.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bucket_core::bucket::Mode;
use bucket_core::dag_cbor::Ipld;
use bucket_indexer::Indexer;
use bucket_rpc::json::parse_address;
use bucket_tests::cars::{did, put};
use bucket_tests::network::NetworkWorld;
use bucket_tests::{User, World};

const NODE: &str = "BUCKET_TEST_NODE";
const ACTOR: &str = "BUCKET_TEST_ACTOR";
const DATA: &str = "BUCKET_TEST_DATA";

/// The process that is killed: this very program, running this one test.
#[test]
#[ignore = "a process of the test below"]
fn victim() {
    let var = |name| std::env::var(name).expect("started by the test below");
    let mut config = bucket_indexer::Config::new(var(NODE), parse_address(&var(ACTOR)).unwrap(), var(DATA));
    config.listen.set_port(0);
    config.poll_interval = Duration::from_millis(1);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let run = async { Indexer::build(config).await?.run(std::future::pending()).await };
    runtime.block_on(run).expect("it runs until it is killed");
}

fn start(world: &NetworkWorld, data: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::victim", "--ignored", "--nocapture"])
        .env(NODE, world.devnet.url())
        .env(ACTOR, world.clients[0].address().to_string())
        .env(DATA, data)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn nothing_is_lost_or_doubled() {
    const ROUNDS: u64 = 12;
    const PUTS: u64 = 5;
    let mut world = NetworkWorld::default();
    let b = did("Kill");
    world.create(&b, Mode::Atomic).unwrap();
    let data = tempfile::tempdir().unwrap();
    let mut alive_at_kill = 0;
    for round in 0..ROUNDS {
        let mut victim = start(&world, data.path());
        // The more messages before the kill, the deeper into its work it dies.
        std::thread::sleep(Duration::from_millis(17 * round));
        for n in 0..PUTS {
            let n = Ipld::Integer((round * PUTS + n).into());
            let car = put(&b, n.clone(), n.clone(), round);
            assert!(world.invoke(User::Alice, &b, &car, false).unwrap().ran);
        }
        alive_at_kill += u64::from(victim.try_wait().unwrap().is_none());
        victim.kill().unwrap();
        victim.wait().unwrap();
    }
    assert_eq!(alive_at_kill, ROUNDS, "every indexer was alive when it was killed");
    let files = std::fs::read_dir(data.path()).unwrap().count();
    assert!(files > 0, "the victims wrote something");

    // The world's own indexer gives way to one over what the killed ones left.
    world.restart_indexer(data.path());
    let (_, violations) = world.check();
    assert_eq!(violations, Vec::<String>::new());
    let expected: Vec<_> = (0..ROUNDS * PUTS).map(|n| (Ipld::Integer(n.into()), Ipld::Integer(n.into()))).collect();
    assert_eq!(world.rows(&b), expected);
    let receipts = world.index(&b, "/receipts?limit=1000");
    assert_eq!(receipts["items"].as_array().map(Vec::len), Some(expected.len()));
    let one = receipts["items"][0]["ran"].as_str().expect("text").parse().expect("an id");
    let found = world.receipt(&b, one).unwrap();
    assert_eq!(world.receipt_car(&b, found.receipt.unwrap()).ran, one);
}
