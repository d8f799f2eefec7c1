//! Effects: the interpreter against one that simply does everything, the forms as data, and their bounds.

use std::collections::{BTreeMap, BTreeSet};

use bucket_core::cid::{Cid, NativeHasher};
use bucket_core::dag_cbor::{self, Ipld};
use bucket_core::effect::{Effect, Job, Memo, Outcome, Ready, Step, next, pack, promise, unpack};
use bucket_core::error::Failure;
use bucket_core::limits::{EFFECT_DEPTH_MAX, EFFECT_NODES_MAX};
use proptest::prelude::*;

fn job(name: &str) -> Job {
    Job::new(&format!("/{name}"), [])
}

fn cid(job: &Job) -> Cid {
    job.cid::<NativeHasher>()
}

fn ok(text: &str) -> Outcome {
    Ok(Ipld::String(text.into()))
}

fn no() -> Outcome {
    Err(Failure::new("No", "expected yes, got no"))
}

fn memo<const N: usize>(done: [(&Job, Outcome); N]) -> Memo {
    done.map(|(job, outcome)| (cid(job), outcome)).into()
}

/// The commands that can be begun.
fn commands(step: Step) -> Vec<String> {
    let Step::Run(ready) = step else { panic!("expected jobs, got {step:?}") };
    let mut commands: Vec<_> = ready.into_iter().map(|ready| ready.job.cmd).collect();
    commands.sort();
    commands
}

fn only(effect: Effect, memo: &Memo) -> Outcome {
    match next::<NativeHasher>(&[effect], memo) {
        Step::Done(mut outcomes) => outcomes.remove(0),
        other => panic!("expected an outcome, got {other:?}"),
    }
}

#[test]
fn and_does_the_second_after_the_first() {
    let (a, b) = (job("a"), job("b"));
    let both = Effect::from(a.clone()).and(b.clone());
    let step = |memo| next::<NativeHasher>(std::slice::from_ref(&both), &memo);
    assert_eq!(commands(step(memo([]))), ["/a"]);
    assert_eq!(commands(step(memo([(&a, ok("a"))]))), ["/b"]);
    assert_eq!(step(memo([(&a, no())])), Step::Done(vec![no()]));
    assert_eq!(step(memo([(&a, ok("a")), (&b, ok("b"))])), Step::Done(vec![ok("b")]));
    assert_eq!(step(memo([(&a, ok("a")), (&b, no())])), Step::Done(vec![no()]));
}

#[test]
fn catch_is_the_other_branch_and_try_never_fails() {
    let a = job("a");
    let (good, bad) = (memo([(&a, ok("a"))]), memo([(&a, no())]));
    let a = Effect::from(a);
    let error = [("name", "No"), ("message", "expected yes, got no")];
    let error = error.map(|(field, text)| (field.to_owned(), Ipld::String(text.into())));
    assert_eq!(only(a.clone().catch(), &bad), Ok(Ipld::Map(error.into())));
    assert_eq!(only(a.clone().catch(), &good).unwrap_err().name, "Caught");
    assert_eq!(only(a.clone().try_(), &good), ok("a"));
    assert_eq!(only(a.try_(), &bad), Ok(Ipld::Null));
}

#[test]
fn a_job_in_several_effects_is_done_once() {
    let (a, b, c) = (job("a"), job("b"), job("c"));
    let effects = [Effect::from(a.clone()).and(b), Effect::from(a.clone()).catch().and(c), a.clone().into()];
    assert_eq!(commands(next::<NativeHasher>(&effects, &memo([]))), ["/a"]);
    assert_eq!(commands(next::<NativeHasher>(&effects, &memo([(&a, ok("a"))]))), ["/b"]);
    assert_eq!(commands(next::<NativeHasher>(&effects, &memo([(&a, no())]))), ["/c"]);
}

#[test]
fn promises_are_kept_where_they_stand() {
    let sign = job("sign");
    let nested = Ipld::List(vec![Ipld::Integer(1), Ipld::Map([("at".to_owned(), promise(cid(&sign)))].into())]);
    let send = Job::new("/send", [("plain", Ipld::Bool(true)), ("top", promise(cid(&sign))), ("nested", nested)]);
    let effects = [Effect::from(sign.clone()), Effect::from(send.clone())];
    assert_eq!(commands(next::<NativeHasher>(&effects, &memo([]))), ["/sign"], "what waits for it isn't ready");

    let Step::Run(ready) = next::<NativeHasher>(&effects, &memo([(&sign, ok("signed"))])) else { panic!("a job") };
    let text = Ipld::String("signed".into());
    let nested = Ipld::List(vec![Ipld::Integer(1), Ipld::Map([("at".to_owned(), text.clone())].into())]);
    let args = [("plain", Ipld::Bool(true)), ("top", text), ("nested", nested)];
    let args = args.map(|(field, value)| (field.to_owned(), value)).into();
    assert_eq!(ready, [Ready { id: cid(&send), job: send.clone(), args }]);

    let failed = next::<NativeHasher>(&effects, &memo([(&sign, no())]));
    assert_eq!(failed, Step::Done(vec![no(), no()]), "what awaits a failure fails");
    let alone = next::<NativeHasher>(&[send.into()], &memo([]));
    assert_eq!(alone, Step::Stuck(vec![cid(&sign)]), "nobody does what is awaited");
}

#[test]
fn the_forms_as_data() {
    let alloc = Effect::from(job("alloc"));
    let effect = alloc.clone().catch().and(Job::new("/exceed", [("n", Ipld::Integer(1))])).and(alloc).try_();
    let json = r#"{"try":{"and":[{"and":[{"catch":{"args":{},"do":"/alloc"}},{"args":{"n":1},"do":"/exceed"}]},{"args":{},"do":"/alloc"}]}}"#;
    assert_eq!(serde_json::to_string(&effect.to_ipld()).unwrap(), json);
    let [packed] = pack([&effect]).try_into().unwrap();
    assert_eq!(serde_json::to_string(&packed).unwrap(), r#"[[[[null,"/alloc"],{"/exceed":{"n":1}}],0]]"#);
}

fn text(json: &str) -> Ipld {
    serde_json::from_str(json).unwrap()
}

#[test]
fn what_is_no_effect_is_refused() {
    let refused = [
        (r#""a""#, "expected a map, got a string"),
        (r#"{}"#, "expected one of {do, args}, {and: [a, b]}, {catch} and {try}, got another map"),
        (r#"{"do":"/a"}"#, "got another map"),
        (r#"{"do":"/a","args":{},"more":1}"#, "got another map"),
        (r#"{"do":"a","args":{}}"#, "expected a command like /kv/put, got “a”"),
        (r#"{"do":1,"args":{}}"#, "expected a command and a map of arguments, got an integer and a map"),
        (r#"{"do":"/a","args":[]}"#, "got a string and a list"),
        (r#"{"and":[]}"#, "expected two effects of “and”, got 0"),
        (r#"{"and":[{"do":"/a","args":{}}]}"#, "expected two effects of “and”, got 1"),
        (r#"{"try":{"do":"/a","args":{}},"catch":{"do":"/a","args":{}}}"#, "got another map"),
        (r#"{"do":"/a","args":{"x":{"await/ok":1}}}"#, "expected no other promise than {\"await/ok\": link}"),
        (r#"{"do":"/a","args":{"x":{"await/error":1}}}"#, "got one with “await/error”"),
        (r#"{"do":"/a","args":{"x":[{"await/*":1}]}}"#, "got one with “await/*”"),
    ];
    for (json, why) in refused {
        let error = Effect::from_ipld(text(json)).unwrap_err().to_string();
        assert!(error.starts_with("not an effect: ") && error.contains(why), "{json}: {error}");
    }
    let refused = [
        (r#"[0]"#, "expected the number of one of 0 jobs, got 0"),
        (r#"[["/a",-1]]"#, "expected the number of one of 1 jobs, got -1"),
        (r#"["/a","/a"]"#, "expected the number of the job /a, got it once more"),
        (r#"[{"/a":{}}]"#, "expected one command with arguments"),
        (r#"[{"/a":{"n":1},"/b":{"n":1}}]"#, "expected one command with arguments"),
        (r#"[{"/a":1}]"#, "got a string and an integer"),
        (r#"[[]]"#, "expected a list of one or two effects"),
        (r#"[["/a","/b","/c"]]"#, "expected a list of one or two effects"),
        (r#"[["/a",null]]"#, "expected a job or a combination, got null"),
        (r#"[[null]]"#, "expected a job or a combination, got null"),
        (r#"["a"]"#, "expected a command like /kv/put"),
    ];
    for (json, why) in refused {
        let Ipld::List(list) = text(json) else { panic!("a list") };
        let error = unpack(list).unwrap_err().to_string();
        assert!(error.contains(why), "{json}: {error}");
    }
}

#[test]
fn effects_are_bounded() {
    let a = || Effect::from(job("a"));
    let deep = |levels: usize| (1..levels).fold(a(), |effect, _| effect.try_());
    // A balanced tree of n jobs has 2n − 1 nodes.
    fn wide(jobs: usize) -> Effect {
        match jobs {
            1 => job("a").into(),
            _ => wide(jobs / 2).and(wide(jobs - jobs / 2)),
        }
    }
    for (effect, fits) in [
        (deep(EFFECT_DEPTH_MAX), true),
        (deep(EFFECT_DEPTH_MAX + 1), false),
        (wide(EFFECT_NODES_MAX / 2), true),
        (wide(EFFECT_NODES_MAX / 2 + 1), false),
    ] {
        assert_eq!(effect.check().is_ok(), fits);
        assert_eq!(Effect::from_ipld(effect.to_ipld()).is_ok(), fits);
        assert_eq!(unpack(pack([&effect])).is_ok(), fits);
    }
    let huge = Job::new("/a", [("n", Ipld::Integer(1 << 64))]);
    assert!(Effect::from(huge).check().unwrap_err().to_string().contains("expected an integer of 64 bits"));
    let unbounded = Job::new("/a", [("n", Ipld::Float(f64::NAN))]);
    assert!(Effect::from(unbounded).check().is_err());
}

/// Few jobs, so that they meet: `/a` to `/f`, some with arguments, some that await `/a`.
fn jobs() -> impl Strategy<Value = Job> {
    let name = proptest::sample::select(vec!["a", "b", "c", "d", "e", "f"]);
    (name, 0..4).prop_map(|(name, kind)| match kind {
        0 => Job::new(&format!("/{name}"), [("n", Ipld::Integer(1))]),
        1 if name != "a" => Job::new(&format!("/{name}"), [("of", promise(cid(&job("a"))))]),
        _ => job(name),
    })
}

fn effects() -> impl Strategy<Value = Effect> {
    jobs().prop_map(Effect::from).prop_recursive(6, 24, 2, |inner| {
        prop_oneof![
            2 => (inner.clone(), inner.clone()).prop_map(|(a, b)| a.and(b)),
            1 => inner.clone().prop_map(Effect::catch),
            1 => inner.prop_map(Effect::try_),
        ]
    })
}

/// Does everything at once, as the words of the module say. Answers `None` when it would wait for ever.
struct Simple<'a> {
    good: &'a dyn Fn(&Job) -> bool,
    begun: BTreeSet<Cid>,
}

impl Simple<'_> {
    fn job(&mut self, job: &Job, awaited: &dyn Fn(&mut Self) -> Option<bool>) -> Option<bool> {
        if job.args.contains_key("of") && !awaited(self)? {
            return Some(false);
        }
        self.begun.insert(cid(job));
        Some((self.good)(job))
    }

    fn run(&mut self, effect: &Effect, awaited: &dyn Fn(&mut Self) -> Option<bool>) -> Option<bool> {
        match effect {
            Effect::Do(job) => self.job(job, awaited),
            Effect::And(a, b) => {
                if self.run(a, awaited)? {
                    self.run(b, awaited)
                } else {
                    Some(false)
                }
            }
            Effect::Catch(a) => self.run(a, awaited).map(|ok| !ok),
            Effect::Try(a) => self.run(a, awaited).map(|_| true),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    /// Whatever the jobs' outcomes, and in whatever order they come: the same jobs are begun, each once, and the same comes of
    /// each effect, as when everything is done at once.
    #[test]
    fn step_by_step_is_all_at_once(
        effects in proptest::collection::vec(effects(), 1..4),
        good in proptest::collection::btree_map("/[a-f]", any::<bool>(), 0..6),
        order in proptest::collection::vec(any::<u32>(), 64),
    ) {
        let good = |job: &Job| good.get(&job.cmd).copied().unwrap_or(true);
        let (mut memo, mut order) = (Memo::new(), order.into_iter().cycle());
        let steps = loop {
            match next::<NativeHasher>(&effects, &memo) {
                Step::Run(ready) => {
                    let ids: BTreeSet<_> = ready.iter().map(|ready| ready.id).collect();
                    prop_assert_eq!(ids.len(), ready.len());
                    let Ready { id, job, args } = &ready[order.next().unwrap() as usize % ready.len()];
                    prop_assert_eq!(*id, cid(job));
                    if job.args.contains_key("of") {
                        prop_assert_eq!(&args["of"], &Ipld::String("/a".into()));
                    }
                    let outcome = if good(job) { ok(&job.cmd) } else { no() };
                    prop_assert!(memo.insert(*id, outcome).is_none(), "{} was begun twice", job.cmd);
                }
                done => break done,
            }
        };
        // What is awaited is done when some effect gets to it; so is what waits for it.
        let a = job("a");
        let mut simple = Simple { good: &good, begun: BTreeSet::new() };
        let mut outcomes = vec![None; effects.len()];
        for _ in 0..=effects.len() {
            for (effect, outcome) in effects.iter().zip(&mut outcomes) {
                *outcome = simple.run(effect, &|simple| simple.begun.contains(&cid(&a)).then(|| good(&a)));
            }
        }
        prop_assert_eq!(memo.keys().copied().collect::<BTreeSet<_>>(), simple.begun);
        match steps {
            Step::Done(steps) => {
                let steps: Vec<_> = steps.iter().map(|outcome| Some(outcome.is_ok())).collect();
                prop_assert_eq!(steps, outcomes);
            }
            Step::Stuck(awaited) => {
                prop_assert_eq!(awaited, vec![cid(&a)]);
                prop_assert!(outcomes.contains(&None));
            }
            Step::Run(_) => unreachable!("the loop goes on"),
        }
    }

    #[test]
    fn both_forms_come_back(effects in proptest::collection::vec(effects(), 0..5)) {
        for effect in &effects {
            prop_assume!(effect.check().is_ok());
            let bytes = dag_cbor::encode(&effect.to_ipld());
            prop_assert_eq!(&Effect::from_ipld(dag_cbor::decode(&bytes).unwrap()).unwrap(), effect);
        }
        let packed = pack(&effects);
        prop_assert_eq!(unpack(packed).unwrap(), effects);
    }

    /// What was packed has one form: whatever can be read is written so again.
    #[test]
    fn what_is_read_is_written_the_same(packed in proptest::collection::vec(values(), 0..4)) {
        if let Ok(effects) = unpack(packed.clone()) {
            prop_assert_eq!(pack(&effects), packed);
        }
    }

    #[test]
    fn what_has_names_is_written_the_same(value in named()) {
        if let Ok(effect) = Effect::from_ipld(value.clone()) {
            prop_assert_eq!(effect.to_ipld(), value);
        }
    }
}

/// Nearly what [`pack`] writes.
fn values() -> impl Strategy<Value = Ipld> {
    let args = proptest::collection::btree_map("[nx]", Just(Ipld::Integer(1)), 0..2).prop_map(Ipld::Map);
    let leaf = prop_oneof![
        2 => (-1i128..4).prop_map(Ipld::Integer),
        4 => "/[abc]".prop_map(Ipld::String),
        1 => Just(Ipld::Null),
        1 => proptest::collection::btree_map("/[abc]", args, 0..2).prop_map(Ipld::Map),
    ];
    leaf.prop_recursive(5, 20, 2, |inner| proptest::collection::vec(inner, 0..3).prop_map(Ipld::List))
}

/// Nearly what [`Effect::to_ipld`] writes.
fn named() -> impl Strategy<Value = Ipld> {
    let field = |name: &str, value: Ipld| BTreeMap::from([(name.to_owned(), value)]);
    let leaf = ("/?[ab]", any::<bool>()).prop_map(move |(cmd, args)| {
        let mut map = field("do", Ipld::String(cmd));
        if args {
            map.insert("args".into(), Ipld::Map(BTreeMap::new()));
        }
        Ipld::Map(map)
    });
    leaf.prop_recursive(5, 20, 2, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 1..4)
                .prop_map(move |both| Ipld::Map(field("and", Ipld::List(both)))),
            ("catch|try|and|do", inner).prop_map(move |(name, a)| Ipld::Map(field(&name, a))),
        ]
    })
}
