//! CARs that give no right, and the ways in which a stranger sends them.

use bucket_core::abi::*;
use bucket_core::bucket::{Chain, Mode};
use bucket_core::car::Car;
use bucket_core::cid::{Cid, Hasher, NativeHasher};
use bucket_core::dag_cbor::{Ipld, encode};
use bucket_core::did::BucketId;
use bucket_core::map::Bytes;
use bucket_core::task::Task;
use bucket_tests::cars::{id, map, task, text};
use bucket_tests::keys::{Parts, cid, grant, pack, pack_with, signed};
use proptest::prelude::*;
use proptest::sample::Index;

use super::cast::{Cast, address, invoke};
use super::{ALICE, BOB};

/// A CAR that gives no right, or none any more.
#[derive(Debug, Clone)]
pub enum Loot {
    /// A task that nobody signed.
    Unsigned(Wish),
    /// Signed by a stranger, with these proofs.
    Signed(Wish, Proofs),
    /// A rightful CAR, sent or not, with a bit of its root changed.
    Flipped { of: Index, at: Index, bit: u8 },
    /// A rightful CAR, sent or not, with a bit of another block changed.
    FlippedProof { of: Index, at: Index, bit: u8 },
    /// A rightful signed CAR, sent or not, that says something else now: signed by a stranger, or not again.
    Rewritten { of: Index, field: usize, resign: bool },
    /// A rightful CAR, sent or not, without its proofs.
    Truncated { of: Index },
    /// One that was sent already, in another CAR or in the same.
    Replayed { of: Index, rewrap: bool },
}

/// What a stranger would like done.
#[derive(Debug, Clone)]
pub struct Wish {
    cmd: usize,
    nonce: u64,
}

const WISHES: [&str; 7] =
    ["/kv/put", "/kv/del", "/echo", "/echo/then", "/bucket/open", "/ucan/revoke", "/bucket/create"];

/// What a stranger has of proofs.
#[derive(Debug, Clone, Copy)]
pub enum Proofs {
    None,
    /// Delegations that lead to somebody else.
    Stolen,
    /// Delegations that the stranger signed in the victim's name.
    Forged,
    /// Somebody's whose delegation is revoked, with the signature of that somebody.
    Revoked,
    /// The stranger's own, about its own bucket.
    Own,
}

/// How it comes.
#[derive(Debug, Clone, Copy)]
pub enum Way {
    Invoke {
        force: bool,
    },
    Schedule {
        force: bool,
    },
    Staged,
    /// By a continuation of the strangers' bucket, which names it as a task or as what is signed.
    Forked,
    /// As if another instance had sent it.
    Delivered,
    /// As the proof of a creation.
    Create,
}

pub fn loot() -> impl Strategy<Value = Loot> {
    let wish = || (0..WISHES.len(), 0u64..4).prop_map(|(cmd, nonce)| Wish { cmd, nonce });
    let proofs = prop::sample::select(vec![Proofs::None, Proofs::Stolen, Proofs::Forged, Proofs::Revoked, Proofs::Own]);
    prop_oneof![
        2 => wish().prop_map(Loot::Unsigned),
        4 => (wish(), proofs).prop_map(|(wish, proofs)| Loot::Signed(wish, proofs)),
        3 => (any::<Index>(), any::<Index>(), 0u8..8).prop_map(|(of, at, bit)| Loot::Flipped { of, at, bit }),
        2 => (any::<Index>(), any::<Index>(), 0u8..8).prop_map(|(of, at, bit)| Loot::FlippedProof { of, at, bit }),
        3 => (any::<Index>(), 0usize..5, any::<bool>()).prop_map(|(of, field, resign)| Loot::Rewritten { of, field, resign }),
        1 => any::<Index>().prop_map(|of| Loot::Truncated { of }),
        3 => (any::<Index>(), any::<bool>()).prop_map(|(of, rewrap)| Loot::Replayed { of, rewrap }),
    ]
}

pub fn way() -> impl Strategy<Value = Way> {
    prop_oneof![
        4 => any::<bool>().prop_map(|force| Way::Invoke { force }),
        3 => any::<bool>().prop_map(|force| Way::Schedule { force }),
        1 => Just(Way::Staged),
        3 => Just(Way::Forked),
        1 => Just(Way::Delivered),
        1 => Just(Way::Create),
    ]
}

/// Blocks of a CAR in their order; the root is the last.
fn blocks(car: &[u8]) -> Vec<Vec<u8>> {
    let car = Car::decode::<NativeHasher>(car.to_vec()).expect("a CAR");
    car.blocks().map(|(_, block)| block.to_vec()).collect()
}

fn flip(block: &mut [u8], at: &Index, bit: u8) {
    let at = at.index(block.len());
    block[at] ^= 1 << bit;
}

impl Cast {
    fn wish(&self, wish: &Wish, sub: &BucketId) -> Task {
        let cmd = WISHES[wish.cmd];
        let args = match cmd {
            "/kv/put" => map([("key", Ipld::Integer(1)), ("value", text("taken"))]),
            "/kv/del" => map([("key", Ipld::Integer(1))]),
            "/bucket/open" => map([("cmd", text("/kv"))]),
            "/ucan/revoke" => map([("ucan", Ipld::Link(self.some_proof()))]),
            "/echo/then" => map([("tasks", Ipld::List(vec![]))]),
            "/bucket/create" => bucket_core::create::args(&[address(BOB)], Mode::Atomic),
            _ => map([]),
        };
        task(sub, cmd, args, wish.nonce)
    }

    fn some_proof(&self) -> Cid {
        cid(&blocks(&self.rightful[1])[0])
    }

    /// The CAR, if there is one of its kind; `sent` of the rightful were sent.
    pub fn loot(&self, loot: &Loot, sent: usize) -> Option<Vec<u8>> {
        let any = |of: &Index| blocks(of.get::<Vec<u8>>(&self.rightful));
        let signed_one = |of: &Index| blocks(of.get::<Vec<u8>>(&self.rightful[..12]));
        Some(match loot {
            Loot::Unsigned(wish) => self.wish(wish, &self.victim).to_car::<NativeHasher>(),
            Loot::Signed(wish, proofs) => self.sign(self.wish(wish, &self.victim), *proofs),
            Loot::Flipped { of, at, bit } => {
                let mut blocks = signed_one(of);
                let root = blocks.last_mut()?;
                flip(root, at, *bit);
                pack(&blocks)
            }
            Loot::FlippedProof { of, at, bit } => {
                let mut blocks = any(of);
                let proofs = blocks.len() - 1;
                if proofs == 0 {
                    return None;
                }
                flip(&mut blocks[at.index(proofs)], at, *bit);
                pack(&blocks)
            }
            Loot::Rewritten { of, field, resign } => {
                let mut blocks = signed_one(of);
                let root = blocks.pop()?;
                pack_with(&blocks, self.rewrite(&root, *field, *resign))
            }
            Loot::Truncated { of } => {
                let blocks = any(of);
                if blocks.len() == 1 {
                    return None;
                }
                pack(&blocks[blocks.len() - 1..])
            }
            Loot::Replayed { .. } if sent == 0 => return None,
            Loot::Replayed { of, rewrap: false } => of.get::<Vec<u8>>(&self.rightful[..sent]).clone(),
            Loot::Replayed { of, rewrap: true } => {
                pack(&[&[encode(&text("more"))], &blocks(of.get::<Vec<u8>>(&self.rightful[..sent]))[..]].concat())
            }
        })
    }

    fn sign(&self, task: Task, proofs: Proofs) -> Vec<u8> {
        let (stranger, victim) = (&self.stranger, &self.victim);
        let given = match proofs {
            Proofs::None => vec![],
            Proofs::Stolen => {
                let mut stolen = blocks(&self.rightful[2]);
                stolen.pop();
                stolen
            }
            Proofs::Forged => {
                let draft = grant(stranger, stranger, victim, "/");
                let mut parts = Parts::of(&stranger.delegate(&draft));
                parts.payload.insert("iss".into(), text(victim.as_str()));
                vec![parts.sign(stranger).join()]
            }
            Proofs::Revoked => return signed(&self.former, task, &self.former_proofs),
            Proofs::Own => vec![stranger.delegate(&grant(stranger, stranger, &stranger.did(), "/"))],
        };
        signed(stranger, task, &given)
    }

    /// Says something else: only who signed it could.
    fn rewrite(&self, root: &[u8], field: usize, resign: bool) -> Vec<u8> {
        let mut parts = Parts::of(root);
        let (field, value) = [
            ("nonce", Ipld::Bytes(b"again".to_vec())),
            ("cmd", text("/echo")),
            ("args", map([("key", Ipld::Integer(2)), ("value", text("taken"))])),
            ("iss", text(self.stranger.did().as_str())),
            ("exp", Ipld::Integer(1 << 40)),
        ]
        .into_iter()
        .nth(field)
        .expect("one of them");
        parts.payload.insert(field.into(), value);
        if resign { parts.sign(&self.stranger).join() } else { parts.join() }
    }

    pub fn messages(&self, car: Vec<u8>, way: Way) -> Vec<Message> {
        let victim = || self.victim.clone();
        match way {
            Way::Invoke { force } => vec![Message::Invoke(CarParams { force, ..CarParams::new(victim(), car) })],
            Way::Schedule { force } => vec![Message::Schedule(CarParams { force, ..CarParams::new(victim(), car) })],
            Way::Staged => {
                let (name, size) = (id(&car), car.len() as u64);
                let stage = StageParams { car: name, size, chunks: vec![Bytes(NativeHasher::sha2_256(&car).to_vec())] };
                vec![
                    Message::Stage(stage),
                    Message::Chunk(ChunkParams { car: name, index: 0, data: car }),
                    invoke(&self.victim, name.to_cid().to_bytes()),
                ]
            }
            Way::Forked => self.forked(&car),
            Way::Delivered => {
                let chain = Chain { cause: id(b"any"), depth: 1, work: 100, issuer: None, full: true, foreign: false };
                vec![Message::Deliver(DeliverParams { car, from: Some(victim()), chain, caller: ALICE })]
            }
            Way::Create => {
                let controllers = vec![address(BOB)];
                let proof = Some(Bytes(car));
                vec![Message::Create(CreateParams { bucket: victim(), controllers, mode: Mode::Atomic, proof })]
            }
        }
    }

    /// Tasks of the strangers' bucket that continue with this on the victim.
    fn forked(&self, car: &[u8]) -> Vec<Message> {
        let Ok(car) = Car::decode::<NativeHasher>(car.to_vec()) else { return vec![] };
        let mut blocks: Vec<Vec<u8>> = car.blocks().map(|(_, block)| block.to_vec()).collect();
        let next = match Task::from_ipld(car.root_value()) {
            Ok(task) => {
                let Ipld::Map(mut next) = task.to_ipld() else { unreachable!() };
                next.insert("sub".into(), text(self.victim.as_str()));
                Ipld::Map(next)
            }
            Err(_) => map([("signed", Ipld::Link(car.root()))]),
        };
        let then = task(&self.strangers, "/echo/then", map([("tasks", Ipld::List(vec![next]))]), 0);
        blocks.push(encode(&then.to_ipld()));
        let car = pack(&blocks);
        let params = CarParams { force: true, ..CarParams::new(self.strangers.clone(), car) };
        let run = Message::Run(RunParams { bucket: self.strangers.clone(), max: 10 });
        vec![Message::Invoke(params.clone()), Message::Schedule(params), run]
    }
}
