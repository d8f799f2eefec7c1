use std::cell::RefCell;
use std::collections::BTreeMap;

use bucket_core::abi::{CarParams, CreateParams, Message, Returned, RunParams, Status};
use bucket_core::bucket::Mode;
use bucket_core::car::archive;
use bucket_core::cid::NativeHasher;
use bucket_core::memory::Memory;
use bucket_core::task::Task;
use bucket_rpc::json::{BlockHeader, Ticket, blake2b_cid};
use fvm_ipld_blockstore::{Blockstore, MemoryBlockstore};
use fvm_ipld_encoding::CborStore;
use fvm_ipld_hamt::Hamt;
use fvm_shared::HAMT_BIT_WIDTH;
use fvm_shared::econ::TokenAmount;
use fvm_shared::state::{ActorState, StateRoot, StateTreeVersion};
use multihash_codetable::Code::Blake2b256;

use super::*;
use crate::error::ClientError;

const ACTOR: ActorID = 1005;
const CALLER: ActorID = 100;

/// A chain of one header, over an actor that took messages.
struct Chain {
    memory: Memory,
    store: MemoryBlockstore,
    header: Cid,
    asked: RefCell<Vec<Cid>>,
    /// What is answered in a block's place.
    lies: BTreeMap<Cid, Vec<u8>>,
}

fn did(name: &str) -> BucketId {
    format!("did:key:z{name}").parse().unwrap()
}

fn car(bucket: &BucketId, nonce: u64) -> Vec<u8> {
    let nonce = nonce.to_be_bytes().to_vec();
    Task { sub: bucket.clone(), cmd: "/echo".into(), args: BTreeMap::new(), nonce }.to_car::<NativeHasher>()
}

fn id(nonce: u64) -> CarId {
    CarId::of::<NativeHasher>(&car(&did("a"), nonce))
}

fn params(nonce: u64, force: bool) -> CarParams {
    CarParams { bucket: did("a"), car: car(&did("a"), nonce), force, hook: None }
}

/// Two buckets and more; in `a` the CARs 0 … 59 ran, 7 of them twice, and 60, 61 and 8 are pending.
fn memory() -> Memory {
    let mut memory = Memory::new(bucket_protocols::TABLE);
    let mut apply = |message| memory.apply(CALLER, message).unwrap().returned;
    for bucket in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"].map(did) {
        apply(Message::Create(CreateParams { bucket, controllers: vec![], mode: Mode::Atomic, proof: None }));
    }
    (0..60).for_each(|nonce| drop(apply(Message::Schedule(params(nonce, false)))));
    let ran = apply(Message::Run(RunParams { bucket: did("a"), max: 60 }));
    assert!(matches!(ran, Returned::Run(ran) if ran.ran == 60 && ran.failed == 0));
    apply(Message::Invoke(params(7, true)));
    for (nonce, force) in [(60, false), (61, false), (8, true)] {
        apply(Message::Schedule(params(nonce, force)));
    }
    memory
}

fn header(parent_state_root: Cid) -> BlockHeader {
    let some = blake2b_cid(b"something");
    BlockHeader {
        miner: Address::new_id(1000),
        ticket: Some(Ticket { vrf_proof: vec![1; 96] }),
        election_proof: None,
        beacon_entries: vec![],
        win_post_proof: vec![],
        parents: vec![some],
        parent_weight: 12_345.into(),
        height: 42,
        parent_state_root,
        parent_message_receipts: some,
        messages: some,
        bls_aggregate: None,
        timestamp: 1_700_000_000,
        block_sig: None,
        fork_signaling: 0,
        parent_base_fee: TokenAmount::from_atto(100),
    }
}

impl Chain {
    fn new() -> Self {
        Self::over(memory(), StateTreeVersion::V5)
    }

    fn over(memory: Memory, version: StateTreeVersion) -> Self {
        let store = MemoryBlockstore::new();
        let state = |head| ActorState::new(blake2b_cid(b"code"), head, TokenAmount::from_whole(3), 1, None);
        let mut actors = Hamt::<_, ActorState>::new_with_bit_width(&store, HAMT_BIT_WIDTH);
        for other in (0..200).map(|id| ACTOR - 100 + id) {
            let head = if other == ACTOR { memory.root } else { blake2b_cid(&other.to_be_bytes()) };
            actors.set(Address::new_id(other).to_bytes().into(), state(head)).unwrap();
        }
        let actors = actors.flush().unwrap();
        let info = store.put_cbor(&Vec::<u64>::new(), Blake2b256).unwrap();
        let root = store.put_cbor(&StateRoot { version, actors, info }, Blake2b256).unwrap();
        let header = header(root).to_cbor().unwrap();
        let cid = blake2b_cid(&header);
        store.put_keyed(&cid, &header).unwrap();
        Self { memory, store, header: cid, asked: RefCell::default(), lies: BTreeMap::new() }
    }

    fn query(&self, bucket: &str, nonce: u64) -> Query {
        Query { header: self.header, actor: ACTOR, bucket: did(bucket), car: id(nonce) }
    }

    fn prove(&self, query: &Query) -> Result<Proof, ProofError> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(prove(self, query))
    }
}

impl ReadBlock for Chain {
    fn read_block(&self, cid: &Cid) -> impl Future<Output = Result<Vec<u8>, ClientError>> + Send {
        self.asked.borrow_mut().push(*cid);
        let lie = self.lies.get(cid).cloned();
        let found = lie.or_else(|| self.store.get(cid).unwrap()).or_else(|| self.memory.store().get(cid).unwrap());
        std::future::ready(found.ok_or_else(|| ClientError::Input(format!("block {cid} not found"))))
    }
}

/// A CAR with the blocks of another one, changed.
fn rewrite(bytes: &[u8], change: impl FnOnce(&mut Vec<(Cid, Vec<u8>)>)) -> Vec<u8> {
    let archive = archive::open(bytes).unwrap();
    let sections = archive.sections().map(Result::unwrap);
    let mut blocks: Vec<_> = sections.map(|section| (section.cid, bytes[section.data].to_vec())).collect();
    change(&mut blocks);
    claim::car(&blocks[0].0, blocks.iter().map(|(cid, data)| (cid, &data[..])))
}

#[test]
fn a_receipt_is_proven_and_the_file_alone_tells_it() {
    let chain = Chain::new();
    let proof = chain.prove(&chain.query("a", 5)).unwrap();
    let known = chain.memory.receipt(&bucket_core::abi::ReceiptParams { bucket: did("a"), car: id(5) }).unwrap();
    assert_eq!((known.status, known.version), (Status::Done, 1));
    assert_eq!(proof.found, known);
    assert_eq!((proof.height, proof.code, proof.bucket_exists), (42, blake2b_cid(b"code"), true));
    // Only what is on the way was asked for, each block once.
    let blocks: Vec<_> = proof.blocks().map(|(cid, _)| *cid).collect();
    assert_eq!(blocks, *chain.asked.borrow());
    assert_eq!(blocks[0], chain.header);
    assert!((7..16).contains(&blocks.len()), "{}", blocks.len());

    let bytes = proof.to_car();
    assert_eq!(verify(&bytes).unwrap(), proof);
    assert_eq!(archive::open(&bytes).unwrap().roots, [proof.root()]);
}

#[test]
fn whatever_the_chain_knows_of_a_car_is_proven() {
    let chain = Chain::new();
    let cases = [
        ("a", 7, Status::Done, 2, None),
        ("a", 8, Status::Done, 1, Some(2)),
        ("a", 60, Status::Pending, 0, Some(0)),
        ("a", 61, Status::Pending, 0, Some(1)),
        ("a", 62, Status::NotFound, 0, None),
        ("b", 5, Status::NotFound, 0, None),
        ("nobody", 5, Status::NotFound, 0, None),
    ];
    for (bucket, nonce, status, version, position) in cases {
        let proof = chain.prove(&chain.query(bucket, nonce)).unwrap();
        let found = &proof.found;
        assert_eq!((found.status, found.version, found.position), (status, version, position), "{bucket} {nonce}");
        assert_eq!((found.receipt.is_some(), proof.bucket_exists), (status == Status::Done, bucket != "nobody"));
        assert_eq!(verify(&proof.to_car()).unwrap(), proof);
    }
    let error = chain.prove(&Query { actor: 7, ..chain.query("a", 5) }).unwrap_err();
    assert!(error.to_string().starts_with("there is no actor t07 in the state under the header baf"), "{error}");
    // Some other actor, whose state isn't there at all.
    assert!(matches!(chain.prove(&Query { actor: 1006, ..chain.query("a", 5) }), Err(ProofError::Read(_))));
}

#[test]
fn no_bit_of_a_proof_can_change() {
    let chain = Chain::new();
    for nonce in [5, 7, 60, 62] {
        let good = chain.prove(&chain.query("a", nonce)).unwrap().to_car();
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                assert!(verify(&bad).is_err(), "byte {at}, bit {bit}");
            }
        }
        (0..good.len()).for_each(|end| assert!(verify(&good[..end]).is_err(), "{end}"));
        assert!(verify(&[&good[..], &[0]].concat()).is_err());
    }
}

/// Changes a byte of a block and then every CID above it, so that all hashes are right again.
fn forge(good: &Proof, at: usize, byte: usize, bit: u8) -> Vec<u8> {
    let mut forged = good.clone();
    forged.blocks[at].1[byte] ^= 1 << bit;
    for at in (0..=at).rev() {
        let (cid, data) = &mut forged.blocks[at];
        let old = std::mem::replace(cid, blake2b_cid(data));
        let new = *cid;
        let Some(above) = at.checked_sub(1) else { continue };
        let above = &mut forged.blocks[above].1;
        let link = above.windows(32).position(|bytes| bytes == old.hash().digest()).unwrap();
        above[link..link + 32].copy_from_slice(new.hash().digest());
    }
    forged.query.header = forged.blocks[0].0;
    forged.to_car()
}

#[test]
fn broken_blocks_under_a_header_of_their_own_are_read_without_harm() {
    let chain = Chain::new();
    let good = chain.prove(&chain.query("a", 5)).unwrap();
    let mut readable = 0;
    for (at, (_, data)) in good.blocks().enumerate() {
        for byte in 0..data.len() {
            if let Ok(other) = verify(&forge(&good, at, byte, (byte % 8) as u8)) {
                assert_ne!(other.query.header, chain.header);
                readable += 1;
            }
        }
    }
    // Such as one with another balance, or with another neighbour.
    assert!(readable > 100, "{readable}");
}

#[test]
fn blocks_can_be_neither_dropped_nor_added_nor_moved() {
    let chain = Chain::new();
    let good = chain.prove(&chain.query("a", 5)).unwrap().to_car();
    let count = archive::open(&good).unwrap().sections().count();
    assert!(matches!(verify(&rewrite(&good, |blocks| drop(blocks.remove(0)))), Err(ProofError::Hash { .. })));
    for at in 1..count {
        let bad = verify(&rewrite(&good, |blocks| drop(blocks.remove(at))));
        assert!(matches!(bad, Err(ProofError::Missing(_))), "{at}: {bad:?}");
        let bad = verify(&rewrite(&good, |blocks| blocks.insert(at, blocks[count - 1].clone())));
        assert!(matches!(bad, Err(ProofError::Twice(_))), "{at}: {bad:?}");
        let extra = b"\x83\x01\x02\x03".to_vec();
        let bad = verify(&rewrite(&good, |blocks| blocks.insert(at, (blake2b_cid(&extra), extra))));
        assert!(matches!(bad, Err(ProofError::Extra(_))), "{at}: {bad:?}");
    }
    for at in 1..count - 1 {
        let bad = verify(&rewrite(&good, |blocks| blocks.swap(at, at + 1)));
        assert!(matches!(bad, Err(ProofError::Form)), "{at}: {bad:?}");
    }
    // The order of the CAR's own parts leaves no choice either: a root that is not the first block, two roots, none.
    assert!(matches!(verify(&rewrite(&good, |blocks| blocks.swap(0, 1))), Err(ProofError::Hash { .. })));
    assert!(matches!(verify(&rewrite(&good, |blocks| blocks.truncate(1))), Err(ProofError::Missing(_))));
}

#[test]
fn a_claim_of_something_else_is_refused() {
    let chain = Chain::new();
    let proof = chain.prove(&chain.query("a", 5)).unwrap();
    let claiming = |change: &dyn Fn(&mut Proof)| {
        let mut other = proof.clone();
        change(&mut other);
        verify(&other.to_car()).unwrap_err()
    };
    let error = claiming(&|proof| proof.found.receipt = Some(CarId([1; 32])));
    assert!(matches!(error, ProofError::Claimed { what: "receipt", .. }), "{error}");
    let error = claiming(&|proof| proof.found.receipt = None);
    assert!(error.to_string().starts_with("the claim says receipt none, the blocks say bag"), "{error}");
    let error = claiming(&|proof| proof.found.version = 2);
    assert_eq!(error.to_string(), "the claim says version 2, the blocks say 1");
    let elsewhere = |error: &ProofError| {
        matches!(error, ProofError::Missing(_) | ProofError::Claimed { .. } | ProofError::ActorMissing { .. })
    };
    assert!(elsewhere(&claiming(&|proof| proof.query.car = id(6))));
    assert!(elsewhere(&claiming(&|proof| proof.query.bucket = did("b"))));
    assert!(elsewhere(&claiming(&|proof| proof.query.actor = ACTOR + 1)));
    assert!(elsewhere(&claiming(&|proof| proof.query.header = blake2b_cid(b"other"))));
}

#[test]
fn a_claim_is_read_strictly() {
    let chain = Chain::new();
    let good = chain.prove(&chain.query("a", 5)).unwrap().to_car();
    let with = |data: Vec<u8>| {
        let cid = bucket_core::cid::block_cid::<NativeHasher>(bucket_core::cid::DAG_CBOR, &data);
        verify(&rewrite(&good, |blocks| blocks[0] = (cid, data))).unwrap_err().to_string()
    };
    use bucket_core::dag_cbor::{Ipld, decode, encode};
    let section = archive::open(&good).unwrap().sections().next().unwrap().unwrap();
    let Ipld::Map(claim) = decode(&good[section.data]).unwrap() else { panic!("a map") };
    let set = |key: &str, value| {
        let mut claim = claim.clone();
        claim.insert(key.into(), value);
        with(encode(&Ipld::Map(claim)))
    };
    assert!(set("more", Ipld::Null).contains("unknown field `more`"));
    assert!(set("proof", Ipld::Integer(2)).ends_with("this version reads proofs of form 1, got 2"));
    assert!(set("bucket", Ipld::String("did:".into())).contains("expected a DID"));
    assert!(set("car", Ipld::Link(chain.header)).contains("expected the CID of a CAR"));
    assert!(set("actor", Ipld::Integer(-1)).starts_with("expected a claim"));
    assert!(with(b"\xa0".to_vec()).contains("missing field `actor`"));
    assert!(with(b"\xbf\xff".to_vec()).contains("expected a definite length"));
    // The same claim under another hash would be another file of the same proof.
    let bad = rewrite(&good, |blocks| blocks[0].0 = blake2b_cid(&blocks[0].1));
    assert!(matches!(verify(&bad), Err(ProofError::Hash { .. })));
}

#[test]
fn a_made_up_state_is_under_another_header() {
    let good = Chain::new();
    let mut forged = memory();
    forged.apply(CALLER, Message::Invoke(params(62, false))).unwrap();
    let forged = Chain::over(forged, StateTreeVersion::V5);
    // A file by itself can't be told from a true one …
    let proof = verify(&forged.prove(&forged.query("a", 62)).unwrap().to_car()).unwrap();
    assert_eq!(proof.found.status, Status::Done);
    // … but its header can.
    let expected = Expected { header: Some(good.header), ..Expected::default() };
    let error = proof.check(&expected).unwrap_err().to_string();
    assert_eq!(error, format!("expected a proof for the header {}, got one for {}", good.header, forged.header));
}

#[test]
fn a_reader_who_knows_what_to_expect_is_told_what_came() {
    let chain = Chain::new();
    let proof = chain.prove(&chain.query("a", 62)).unwrap();
    let all = Expected {
        header: Some(chain.header),
        actor: Some(Address::new_id(ACTOR)),
        bucket: Some(did("a")),
        car: Some(id(62)),
        receipt: None,
    };
    proof.check(&all).unwrap();
    let none = Expected::default;
    let told = |expected: Expected| proof.check(&expected).unwrap_err().to_string();
    assert!(told(Expected { actor: Some(Address::new_id(7)), ..none() }).ends_with("actor t07, got one for t01005"));
    assert!(told(Expected { bucket: Some(did("b")), ..none() }).ends_with("bucket did:key:zb, got one for did:key:za"));
    assert!(told(Expected { car: Some(id(5)), ..none() }).starts_with("expected a proof for the CAR bag"));
    assert!(told(Expected { receipt: Some(id(5)), ..none() }).ends_with("got one for none"));
}

#[test]
fn nodes_that_lie_and_states_of_other_forms_are_refused() {
    let mut chain = Chain::new();
    let query = chain.query("a", 5);
    for cid in chain.prove(&query).unwrap().blocks().map(|(cid, _)| *cid) {
        chain.lies = BTreeMap::from([(cid, b"\x80".to_vec())]);
        let error = chain.prove(&query).unwrap_err();
        assert!(matches!(&error, ProofError::Hash { expected, .. } if *expected == cid), "{error}");
        assert_eq!(ClientError::from(error).code(), "mismatch");
    }
    let old = Chain::over(memory(), StateTreeVersion::V4);
    let error = old.prove(&old.query("a", 5)).unwrap_err();
    assert!(error.to_string().ends_with("got version 4"), "{error}");
    // A header that isn't one, and one that is not strict: its list is written with two bytes of length.
    for bytes in [b"\x81\x01".to_vec(), [b"\x98\x10", &chain.store.get(&chain.header).unwrap().unwrap()[1..]].concat()]
    {
        let header = blake2b_cid(&bytes);
        chain.store.put_keyed(&header, &bytes).unwrap();
        let error = chain.prove(&Query { header, ..chain.query("a", 5) }).unwrap_err();
        assert!(matches!(&error, ProofError::Block { cid, .. } if **cid == header), "{error}");
    }
}
