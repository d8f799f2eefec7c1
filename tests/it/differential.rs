//! The same random messages in memory and on the FVM: every answer, state root and receipt id is compared.

use std::cell::RefCell;

use bucket_core::abi::{CarParams, CreateParams, Message, Returned, RunParams};
use bucket_core::bucket::Mode;
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::memory::Memory;
use bucket_protocols::TABLE;
use bucket_tests::cars::{Tx, car, did, id, map, task, text};
use bucket_tests::memory::MemoryWorld;
use bucket_tests::node::NodeWorld;
use bucket_tests::{Refused, USERS, User, World};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

/// One message, with buckets by number.
#[derive(Debug, Clone)]
enum Step {
    Create { bucket: usize, mutex: bool },
    Schedule { user: User, bucket: usize, task: Job, force: bool },
    Invoke { user: User, bucket: usize, task: Job, force: bool },
    Run { bucket: usize, max: u64 },
    Broken { bucket: usize, task: Job, at: Index, byte: u8, cut: bool },
}

/// A task, for whatever bucket it is sent to.
#[derive(Debug, Clone)]
struct Job {
    cmd: String,
    args: Ipld,
    nonce: u64,
    block: Option<Vec<u8>>,
    elsewhere: bool,
}

fn value() -> impl Strategy<Value = Ipld> {
    let leaf = prop_oneof![
        Just(Ipld::Null),
        any::<bool>().prop_map(Ipld::Bool),
        (-5i64..500).prop_map(|n| Ipld::Integer(n.into())),
        any::<f64>().prop_filter("finite", |x| x.is_finite()).prop_map(Ipld::Float),
        "[a-e!?\"]{0,5}".prop_map(Ipld::String),
        proptest::collection::vec(any::<u8>(), 0..80).prop_map(Ipld::Bytes),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Ipld::List),
            proptest::collection::btree_map("[a-c]{1,2}", inner, 0..3).prop_map(Ipld::Map),
        ]
    })
}

fn op() -> impl Strategy<Value = Ipld> {
    let key = prop_oneof![4 => (0i64..12).prop_map(|n| Ipld::Integer(n.into())), 1 => value()];
    let put =
        (key.clone(), value()).prop_map(|(key, value)| map([("type", text("put")), ("key", key), ("value", value)]));
    prop_oneof![2 => put, 1 => key.prop_map(|key| map([("type", text("del")), ("key", key)]))]
}

fn without_type(op: Ipld) -> (String, Ipld) {
    let Ipld::Map(mut op) = op else { panic!("a map") };
    let Some(Ipld::String(kind)) = op.remove("type") else { panic!("a type") };
    (format!("/kv/{kind}"), Ipld::Map(op))
}

fn simple() -> impl Strategy<Value = (String, Ipld)> {
    prop_oneof![
        4 => op().prop_map(without_type),
        2 => proptest::collection::vec(op(), 0..6).prop_map(|ops| ("/kv/batch".into(), map([("ops", Ipld::List(ops))]))),
        1 => value().prop_map(|value| ("/echo".into(), map([("value", value)]))),
        1 => "[a-z]{0,5}".prop_map(|why| ("/echo/fail".into(), map([("message", text(&why))]))),
        1 => Just(("/echo/peers".into(), map([]))),
        1 => value().prop_map(|value| ("/kv/put".into(), map([("value", value)]))),
        1 => Just(("/no/such".into(), map([]))),
    ]
}

fn command() -> impl Strategy<Value = (String, Ipld)> {
    let nested = |inner: BoxedStrategy<(String, Ipld)>| {
        proptest::collection::vec(inner, 0..4).prop_map(|tasks| {
            let task = |(cmd, args): (String, Ipld)| map([("cmd", text(&cmd)), ("args", args)]);
            ("/echo/then".to_owned(), map([("tasks", Ipld::List(tasks.into_iter().map(task).collect()))]))
        })
    };
    let once = prop_oneof![3 => simple(), 1 => nested(simple().boxed())].boxed();
    prop_oneof![4 => simple(), 1 => nested(once)]
}

fn job() -> impl Strategy<Value = Job> {
    let block = proptest::option::weighted(0.2, proptest::collection::vec(any::<u8>(), 0..300));
    (command(), 0u64..3, block, proptest::bool::weighted(0.03)).prop_map(|((cmd, args), nonce, block, elsewhere)| Job {
        cmd,
        args,
        nonce,
        block,
        elsewhere,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let user = || prop_oneof![9 => Just(User::Alice), 1 => Just(User::Bob)];
    let car = || (user(), 0usize..3, job(), proptest::bool::weighted(0.2));
    prop_oneof![
        1 => (0usize..3, any::<bool>()).prop_map(|(bucket, mutex)| Step::Create { bucket, mutex }),
        5 => car().prop_map(|(user, bucket, task, force)| Step::Schedule { user, bucket, task, force }),
        4 => car().prop_map(|(user, bucket, task, force)| Step::Invoke { user, bucket, task, force }),
        3 => (0usize..3, 0u64..6).prop_map(|(bucket, max)| Step::Run { bucket, max }),
        1 => (0usize..3, job(), any::<Index>(), any::<u8>(), any::<bool>())
            .prop_map(|(bucket, task, at, byte, cut)| Step::Broken { bucket, task, at, byte, cut }),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(step(), 1..25)
}

impl Job {
    fn car(&self, bucket: &BucketId) -> Vec<u8> {
        let bucket = if self.elsewhere { &did("Elsewhere") } else { bucket };
        let mut tx = Tx::default();
        let Some(block) = &self.block else { return car(bucket, &self.cmd, self.args.clone(), self.nonce) };
        let link = tx.write(&Ipld::Bytes(block.clone()));
        let Ipld::Map(mut args) = self.args.clone() else { panic!("a map") };
        if args.contains_key("value") {
            args.insert("value".into(), Ipld::Link(link));
        }
        task(bucket, &self.cmd, Ipld::Map(args), self.nonce).to_car_with(tx)
    }
}

impl Step {
    fn message(&self, name: &str) -> (User, Message) {
        let bucket = |number: &usize| did(&format!("{name}x{number}"));
        let params = |number: &usize, task: &Job, force: &bool| {
            let bucket = bucket(number);
            CarParams { car: task.car(&bucket), bucket, force: *force, hook: None }
        };
        match self {
            Step::Create { bucket: number, mutex } => {
                let mode = if *mutex { Mode::Mutex } else { Mode::Atomic };
                (
                    User::Alice,
                    Message::Create(CreateParams { bucket: bucket(number), controllers: vec![], mode, proof: None }),
                )
            }
            Step::Schedule { user, bucket, task, force } => (*user, Message::Schedule(params(bucket, task, force))),
            Step::Invoke { user, bucket, task, force } => (*user, Message::Invoke(params(bucket, task, force))),
            Step::Run { bucket: number, max } => {
                (User::Bob, Message::Run(RunParams { bucket: bucket(number), max: *max }))
            }
            Step::Broken { bucket, task, at, byte, cut } => {
                let mut params = params(bucket, task, &false);
                let at = at.index(params.car.len());
                if *cut {
                    params.car.truncate(at)
                } else {
                    params.car[at] ^= byte | 1
                }
                (User::Alice, Message::Invoke(params))
            }
        }
    }
}

/// Every sequence begins with two buckets, so that most messages reach one.
fn messages(name: &str, steps: &[Step]) -> Vec<(User, Message)> {
    let buckets = [Step::Create { bucket: 0, mutex: false }, Step::Create { bucket: 1, mutex: true }];
    buckets.iter().chain(steps).map(|step| step.message(name)).collect()
}

fn receipts(world: &mut dyn World, messages: &[(User, Message)]) -> Vec<Result<Option<String>, u32>> {
    let of = |(_, message): &(User, Message)| match message {
        Message::Schedule(params) | Message::Invoke(params) => {
            let found = world.receipt(&params.bucket, id(&params.car)).map_err(|refused| refused.code())?;
            Ok(found.receipt.map(|receipt| receipt.to_string()))
        }
        _ => Ok(None),
    };
    messages.iter().map(of).collect()
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(cases) })
}

/// Thousands of sequences: reads that the FVM would refuse make no difference, and the invariants hold after each.
#[test]
fn in_memory() {
    let outcome = runner(1500).run(&steps(), |steps| {
        let mut strict = MemoryWorld::default();
        let mut unchecked = Memory::unchecked(TABLE);
        for (user, message) in messages("Seq", &steps) {
            let answer = strict.apply(user, message.clone());
            let other = unchecked.apply(strict.ids[user as usize], message).map(|applied| applied.returned);
            prop_assert_eq!(answer, other.map_err(Refused::from));
            prop_assert_eq!(strict.memory.root, unchecked.root);
        }
        let (_, violations) = strict.check();
        prop_assert!(violations.is_empty(), "{:?}", violations);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// Hundreds of messages on the FVM. `NodeWorld` also replays each over the chain's own blocks.
#[test]
fn in_memory_and_on_the_fvm() {
    let node = RefCell::new(NodeWorld::default());
    let memory = RefCell::new(MemoryWorld::default());
    memory.borrow_mut().ids = USERS.map(|user| node.borrow().actor_id(user));
    let counts = RefCell::new((0, 0, 0));
    let outcome = runner(40).run(&steps(), |steps| {
        let (mut node, mut memory) = (node.borrow_mut(), memory.borrow_mut());
        let (case, applied, aborted) = &mut *counts.borrow_mut();
        *case += 1;
        let messages = messages(&format!("Case{case}"), &steps);
        for (user, message) in &messages {
            let on_chain = node.apply(*user, message.clone());
            let in_memory = memory.apply(*user, message.clone());
            prop_assert_eq!(&on_chain, &in_memory);
            prop_assert_eq!(node.root(), memory.memory.root);
            match on_chain {
                Ok(Returned::Invoke(_) | Returned::Run(_) | Returned::Schedule(_)) => *applied += 1,
                Ok(_) => {}
                Err(_) => *aborted += 1,
            }
        }
        prop_assert_eq!(receipts(&mut *node, &messages), receipts(&mut *memory, &messages));
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    let (_, applied, aborted) = counts.into_inner();
    println!("{applied} messages applied, {aborted} aborted, all alike");
    assert!(applied > 100 && aborted > 30, "{applied} applied, {aborted} aborted: the generator lost its variety");
}
