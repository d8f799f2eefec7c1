//! Signed invocations that give no right: each is refused with its own exit code and name, whichever way it comes, and
//! nothing changes.

use bucket_client::Identity;
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::limits::PROOFS_MAX;
use bucket_core::ucan::{DelegationDraft, InvocationDraft, Policy};
use bucket_tests::cars::{map, put, task, text};
use bucket_tests::keys::{self, KINDS};
use bucket_tests::keys::{Parts, ask, chain, cid, ed25519, forged, grant, key, other_form, pack, pack_with, signed};
use bucket_tests::{User, World};

use super::{int, invoke};

/// Strangers bring a CAR in both ways: refused with this code and name, and nothing changes.
pub fn denied(world: &mut dyn World, bucket: &BucketId, what: &str, car: &[u8], code: u32, name: &str) {
    let before = (world.bucket(bucket).expect("it exists"), world.check().0);
    let invoked = world.invoke(User::Bob, bucket, car, false).expect_err(what);
    let scheduled = world.schedule(User::Eve, bucket, car, false).expect_err(what);
    for refused in [invoked, scheduled] {
        assert_eq!(refused.code(), code, "{what}: {}", refused.message());
        assert!(refused.message().contains(name), "{what}: {}", refused.message());
    }
    assert_eq!((world.bucket(bucket).expect("it exists"), world.check().0), before, "{what} changed the state");
}

/// Alice's key, her bucket, and two that a chain of delegations of `/kv` leads to.
struct Scene {
    b: BucketId,
    owner: Identity,
    middle: Identity,
    asker: Identity,
    proofs: Vec<Vec<u8>>,
}

impl Scene {
    fn new(world: &mut dyn World, number: u8) -> Self {
        let [owner, middle, asker] = [0, 1, 2].map(|at| key(KINDS[usize::from(number + at) % 3], 10 * number + at + 1));
        let b = keys::create(world, &owner);
        invoke(world, &b, &put(&b, text("a"), int(1), 99));
        let proofs = chain(&[&owner, &middle, &asker], "/kv");
        Self { b, owner, middle, asker, proofs }
    }

    /// An invocation of `/kv/put`, to be changed.
    fn ask(&self) -> InvocationDraft {
        let args = map([("key", text("a")), ("value", int(2))]);
        ask(&self.asker, task(&self.b, "/kv/put", args, 0), &self.proofs)
    }

    fn car(&self, change: impl FnOnce(&mut InvocationDraft)) -> Vec<u8> {
        let mut draft = self.ask();
        change(&mut draft);
        pack_with(&self.proofs, self.asker.seal(&draft))
    }

    /// The invocation with these proofs in the place of its own.
    fn with(&self, proofs: &[Vec<u8>]) -> Vec<u8> {
        signed(&self.asker, self.ask().task, proofs)
    }

    /// The invocation, with its second delegation changed.
    fn second(&self, change: impl FnOnce(&mut DelegationDraft)) -> Vec<u8> {
        let mut draft = grant(&self.middle, &self.asker, &self.b, "/kv");
        change(&mut draft);
        self.with(&[self.proofs[0].clone(), self.middle.delegate(&draft)])
    }

    /// The good one: what all others here differ from.
    fn runs(&self, world: &mut dyn World) {
        assert_eq!(world.invoke(User::Bob, &self.b, &self.car(|_| ()), false).expect("allowed").ok, Some(true));
    }
}

/// Each kind of key in each place of the chain.
pub fn forged_signatures_are_refused(world: &mut dyn World) {
    for number in 0..3 {
        let scene = Scene::new(world, number);
        let Scene { b, proofs, asker, .. } = &scene;
        let invocation = asker.seal(&scene.ask());
        denied(world, b, "a forged invocation", &pack_with(proofs, forged(&invocation)), 66, "InvalidSignature");
        for at in 0..proofs.len() {
            let mut proofs = proofs.clone();
            proofs[at] = forged(&proofs[at]);
            denied(world, b, "a forged proof", &scene.with(&proofs), 66, "InvalidSignature");
        }
        // The signature of another key of the same kind, and of no key.
        let other = key(asker.kind(), 99);
        let by_other = Parts::of(&invocation).sign(&other).join();
        denied(world, b, "signed by another key", &pack_with(proofs, by_other), 66, "InvalidSignature");
        for signature in [vec![], vec![0; 64], vec![0xff; 64], vec![1; 65]] {
            let car = pack_with(proofs, Parts { signature, ..Parts::of(&invocation) }.join());
            let refused = world.invoke(User::Bob, b, &car, false).unwrap_err();
            assert!([64, 66].contains(&refused.code()), "{}", refused.message());
        }
        // A header of another kind than the issuer's key, signed or not.
        let header = Parts::of(&proofs[0]).header;
        assert_ne!(header, Parts::of(&invocation).header);
        let wrong = Parts { header, ..Parts::of(&invocation) }.sign(asker).join();
        denied(world, b, "a header of another kind", &pack_with(proofs, wrong), 65, "UnsupportedKey");
        let wrong = Parts { header: b"\x34\x01\xed\x01".to_vec(), ..Parts::of(&invocation) }.sign(asker).join();
        denied(world, b, "half a header", &pack_with(proofs, wrong), 65, "UnsupportedKey");
        scene.runs(world);
    }
}

/// secp256k1 signatures have one form that counts, or recovering keys on chain would accept what others refuse.
pub fn the_greater_s_of_secp256k1_is_refused(world: &mut dyn World) {
    let koblitz = key(KINDS[1], 1);
    let b = keys::create(world, &koblitz);
    let invocation = koblitz.seal(&ask(&koblitz, task(&b, "/echo", map([]), 0), &[]));
    let high = other_form(&invocation, koblitz.kind());
    assert_eq!(other_form(&high, koblitz.kind()), invocation, "n − (n − s) = s");
    denied(world, &b, "the greater s", &pack(&[high]), 66, "InvalidSignature");
    assert_eq!(world.invoke(User::Bob, &b, &pack(&[invocation]), false).unwrap().ok, Some(true));
}

pub fn tokens_count_in_their_time(world: &mut dyn World) {
    let scene = Scene::new(world, 0);
    let b = &scene.b;
    // A day is enough for the slowest world.
    let (past, future) = (world.now() - 1, world.now() + 86_400);
    denied(world, b, "an expired invocation", &scene.car(|draft| draft.exp = Some(past)), 74, "Expired");
    denied(world, b, "an expired proof", &scene.second(|draft| draft.exp = Some(past)), 74, "Expired");
    denied(world, b, "a proof of tomorrow", &scene.second(|draft| draft.nbf = Some(future)), 75, "TooEarly");
    let never = scene.second(|draft| (draft.nbf, draft.exp) = (Some(past), Some(0)));
    denied(world, b, "a proof that never holds", &never, 74, "Expired");
    let good = scene.second(|draft| (draft.nbf, draft.exp) = (Some(past), Some(future)));
    assert_eq!(world.invoke(User::Bob, b, &good, false).unwrap().ok, Some(true));
}

pub fn tokens_for_others_are_refused(world: &mut dyn World) {
    let (scene, other) = (Scene::new(world, 1), Scene::new(world, 2));
    let (b, stranger) = (&scene.b, ed25519(77));
    let elsewhere = scene.car(|draft| draft.task.sub = other.b.clone());
    denied(world, b, "an invocation on another bucket", &elsewhere, 44, "wrong subject");
    denied(world, &other.b, "a message for another bucket", &scene.car(|_| ()), 44, "wrong subject");
    denied(world, &other.b, "the delegations of another bucket", &elsewhere, 70, "InvalidSubject");
    let about_other = scene.second(|draft| draft.sub = Some(other.b.clone()));
    denied(world, b, "a proof about another bucket", &about_other, 70, "InvalidSubject");
    let to_other = scene.second(|draft| draft.aud = stranger.did());
    denied(world, b, "a proof for somebody else", &to_other, 71, "InvalidAudience");
    for aud in [stranger.did(), scene.asker.did(), other.b.clone()] {
        denied(world, b, "for another executor", &scene.car(|draft| draft.aud = Some(aud)), 71, "InvalidAudience");
    }
    let stolen = signed(&stranger, scene.ask().task, &scene.proofs);
    denied(world, b, "a stranger with others' proofs", &stolen, 71, "InvalidAudience");
    let for_bucket = scene.car(|draft| draft.aud = Some(b.clone()));
    assert_eq!(world.invoke(User::Bob, b, &for_bucket, false).unwrap().ok, Some(true));
}

pub fn broken_chains_are_refused(world: &mut dyn World) {
    let scene = Scene::new(world, 0);
    let Scene { b, owner, middle, asker, proofs } = &scene;
    let [first, second] = &proofs[..] else { unreachable!() };
    denied(world, b, "no proofs", &scene.with(&[]), 69, "InvalidClaim");
    denied(world, b, "without the first", &scene.with(std::slice::from_ref(second)), 69, "InvalidClaim");
    denied(world, b, "without the last", &scene.with(std::slice::from_ref(first)), 71, "InvalidAudience");
    denied(world, b, "in the wrong order", &scene.with(&[second.clone(), first.clone()]), 69, "InvalidClaim");
    denied(world, b, "one twice", &scene.with(&[first.clone(), first.clone(), second.clone()]), 71, "InvalidAudience");
    for at in 0..2 {
        let mut sent = proofs.clone();
        sent.remove(at);
        let absent = pack_with(&sent, asker.seal(&scene.ask()));
        denied(world, b, "a proof that stayed at home", &absent, 67, "UnavailableProof");
    }
    let unlinked = pack_with(proofs, asker.seal(&InvocationDraft { prf: vec![], ..scene.ask() }));
    denied(world, b, "proofs that nothing names", &unlinked, 69, "InvalidClaim");

    // Delegating in a circle leads nowhere but to the bucket, whose chain begins there.
    let back = middle.delegate(&grant(middle, owner, b, "/kv"));
    let circle = signed(owner, scene.ask().task, &[back.clone(), first.clone()]);
    denied(world, b, "a circle without the bucket's beginning", &circle, 69, "InvalidClaim");
    let (x, y) = (ed25519(71), ed25519(72));
    let xy = [x.delegate(&grant(&x, &y, b, "/kv")), y.delegate(&grant(&y, &x, b, "/kv"))];
    denied(world, b, "a circle of strangers", &signed(&x, scene.ask().task, &xy), 69, "InvalidClaim");
    let powerline = x.delegate(&DelegationDraft { sub: None, ..grant(&x, &y, b, "/kv") });
    denied(world, b, "a powerline alone", &signed(&y, scene.ask().task, &[powerline]), 69, "InvalidClaim");

    let mut long = vec![first.clone()];
    for at in 1..PROOFS_MAX {
        let (from, to) = if at % 2 == 1 { (middle, owner) } else { (owner, middle) };
        long.push(from.delegate(&grant(from, to, b, "/kv")));
    }
    assert_eq!(long.len(), PROOFS_MAX);
    let tail = if PROOFS_MAX.is_multiple_of(2) { owner } else { middle };
    long.push(tail.delegate(&grant(tail, asker, b, "/kv")));
    denied(world, b, "too many proofs", &scene.with(&long), 68, "TooManyProofs");
    scene.runs(world);
}

pub fn nobody_gets_more_than_was_delegated(world: &mut dyn World) {
    let scene = Scene::new(world, 1);
    let b = &scene.b;
    for cmd in ["/echo", "/bucket/open", "/ucan/revoke"] {
        denied(world, b, cmd, &scene.car(|draft| draft.task.cmd = cmd.into()), 72, "InvalidCommand");
    }
    for cmd in ["/", "/echo", "/k", "/kvx"] {
        denied(world, b, "a widened command", &scene.second(|draft| draft.cmd = cmd.into()), 72, "InvalidCommand");
    }
    denied(world, b, "another part", &scene.second(|draft| draft.cmd = "/kv/del".into()), 72, "InvalidCommand");

    // The first delegation has a policy, and the second one none: it counts all the same.
    let statement = |key: &str| Ipld::List(vec![text("=="), text(".key"), text(key)]);
    let policy =
        |keys: &[&str]| Policy::from_ipld(Ipld::List(keys.iter().map(|key| statement(key)).collect())).unwrap();
    let first = |pol| scene.owner.delegate(&DelegationDraft { pol, ..grant(&scene.owner, &scene.middle, b, "/kv") });
    let second = |pol| scene.middle.delegate(&DelegationDraft { pol, ..grant(&scene.middle, &scene.asker, b, "/kv") });
    let none = Policy::default;
    for (what, pols) in [
        ("outside the first policy", [policy(&["b"]), none()]),
        ("outside the second policy", [policy(&["a"]), policy(&["b"])]),
        ("outside one of two statements", [policy(&["a", "b"]), none()]),
    ] {
        let [one, two] = pols;
        denied(world, b, what, &scene.with(&[first(one), second(two)]), 73, "MatchError");
    }
    let within = scene.with(&[first(policy(&["a"])), second(policy(&["a", "a"]))]);
    assert_eq!(world.invoke(User::Bob, b, &within, false).unwrap().ok, Some(true));
}

/// What looks like an invocation, and isn't one.
pub fn other_roots_are_no_invocations(world: &mut dyn World) {
    let scene = Scene::new(world, 2);
    let Scene { b, asker, proofs, .. } = &scene;
    denied(world, b, "a delegation as root", &pack(proofs), 64, "Malformed");
    let invocation = asker.seal(&scene.ask());
    let changed = |change: &dyn Fn(&mut Parts)| {
        let mut parts = Parts::of(&invocation);
        change(&mut parts);
        pack_with(proofs, parts.sign(asker).join())
    };
    let field = |name: &str, value: Ipld| changed(&|parts| _ = parts.payload.insert(name.to_owned(), value.clone()));
    denied(world, b, "a field too many", &field("nbf", int(0)), 64, "Malformed");
    denied(world, b, "an unknown field", &field("only", text("on sundays")), 64, "Malformed");
    denied(world, b, "proofs that are no links", &field("prf", Ipld::List(vec![text("a")])), 64, "Malformed");
    denied(world, b, "no expiry", &changed(&|parts| _ = parts.payload.remove("exp")), 64, "Malformed");
    denied(world, b, "another version", &changed(&|parts| parts.tag = "ucan/inv@1.1.0".into()), 64, "Malformed");
    let Ok(Ipld::List(mut list)) = bucket_core::dag_cbor::decode(&invocation) else { panic!("a list") };
    let Ipld::Map(envelope) = &mut list[1] else { panic!("a map") };
    envelope.insert("more".into(), Ipld::Null);
    let root = bucket_core::dag_cbor::encode(&Ipld::List(list.clone()));
    denied(world, b, "an envelope with another field", &pack_with(proofs, root), 64, "Malformed");
    let Ipld::Map(envelope) = &mut list[1] else { panic!("a map") };
    envelope.remove("more");
    list.push(Ipld::Null);
    let root = bucket_core::dag_cbor::encode(&Ipld::List(list));
    denied(world, b, "an envelope of three", &pack_with(proofs, root), 43, "not a task");
    // Who isn't a key can't sign.
    let web = changed(&|parts| _ = parts.payload.insert("iss".into(), text("did:web:example.com")));
    denied(world, b, "an issuer that is no key", &web, 65, "UnsupportedKey");
    // A task beside the invocation is not the root.
    let beside = pack(&[invocation, bucket_core::dag_cbor::encode(&scene.ask().task.to_ipld())]);
    denied(world, b, "the task itself", &beside, 18, "not a controller");
    assert_eq!(cid(&proofs[0]), scene.ask().prf[0]);
    scene.runs(world);
}
