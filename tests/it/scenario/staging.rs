//! CARs that come in pieces, from anybody, and run by their id alone.

use bucket_client::Gateway;
use bucket_core::abi::{CarParams, ChunkParams, DropParams, Message, StageParams, StageReturn, Status};
use bucket_core::bucket::Mode;
use bucket_core::cid::{CarId, Hasher, NativeHasher};
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::limits::{CHUNK_BYTES_MAX, CHUNKS_MAX, STAGE_EPOCHS, STAGED_BYTES_MAX, STAGES_MAX};
use bucket_core::map::Bytes;
use bucket_tests::cars::{Tx, car, id, map, put, task, text};
use bucket_tests::network::NetworkWorld;
use bucket_tests::node::NodeWorld;
use bucket_tests::{Refused, User, World, returned};

use super::{bucket, int, receipt_of};

/// What a CAR is staged with.
pub fn announced(car: &[u8], piece: usize) -> StageParams {
    let hash = |piece: &[u8]| Bytes(NativeHasher::sha2_256(piece).to_vec());
    StageParams { car: id(car), size: car.len() as u64, chunks: car.chunks(piece).map(hash).collect() }
}

fn stage(world: &mut dyn World, user: User, params: StageParams) -> Result<StageReturn, Refused> {
    returned!(Stage, world.apply(user, Message::Stage(params)))
}

fn chunk(world: &mut dyn World, user: User, car: CarId, index: u64, data: &[u8]) -> Result<StageReturn, Refused> {
    returned!(Chunk, world.apply(user, Message::Chunk(ChunkParams { car, index, data: data.to_vec() })))
}

fn drop_it(world: &mut dyn World, user: User, car: CarId, owner: u64) -> Result<StageReturn, Refused> {
    returned!(Drop, world.apply(user, Message::Drop(DropParams { car, owner })))
}

/// The actor id of a user, who controls a bucket of that name alone.
fn actor_id(world: &mut dyn World, user: User, name: &str) -> u64 {
    let own = super::reach::bucket_of(world, user, name, Mode::Atomic);
    world.bucket(&own).unwrap().controllers[0]
}

/// Stages a CAR in pieces of so many bytes, the last first.
pub fn stage_all(world: &mut dyn World, user: User, car: &[u8], piece: usize) {
    let count = car.chunks(piece).len();
    let staged = stage(world, user, announced(car, piece)).unwrap();
    assert_eq!(staged.missing, (0..count as u64).collect::<Vec<_>>());
    for (index, data) in car.chunks(piece).enumerate().rev() {
        let left = chunk(world, user, id(car), index as u64, data).unwrap().missing;
        assert_eq!(left, (0..index as u64).collect::<Vec<_>>());
    }
}

/// The parameters that name a staged CAR.
pub fn by_id(bucket: &BucketId, car: CarId) -> CarParams {
    CarParams::new(bucket.clone(), car.to_bytes())
}

/// A CAR of exactly so many bytes, whose task links to what makes it so large.
pub fn car_of(bucket: &BucketId, size: usize, nonce: u64) -> Vec<u8> {
    let with = |pad: usize| {
        let mut tx = Tx::default();
        let link = tx.write(&Ipld::Bytes((0..pad).map(|n| (n % 251) as u8).collect()));
        task(bucket, "/echo", map([("pad", Ipld::Link(link))]), nonce).to_car_with(tx)
    };
    let around = with(size - 1000).len() - (size - 1000);
    let car = with(size - around);
    assert_eq!(car.len(), size);
    car
}

pub fn a_large_car_is_staged_by_one_and_scheduled_by_another(world: &mut dyn World) {
    let b = bucket(world, "Large", Mode::Atomic);
    let large = car_of(&b, STAGED_BYTES_MAX, 1);
    let before = world.check().0;
    assert_eq!(world.apply(User::Alice, Message::Schedule(by_id(&b, id(&large)))).unwrap_err().code(), 59);
    assert_eq!(world.check().0, before);
    stage_all(world, User::Bob, &large, CHUNK_BYTES_MAX);
    assert_eq!(world.apply(User::Bob, Message::Schedule(by_id(&b, id(&large)))).unwrap_err().code(), 18);
    let scheduled = returned!(Schedule, world.apply(User::Alice, Message::Schedule(by_id(&b, id(&large)))));
    let scheduled = scheduled.unwrap();
    assert_eq!((scheduled.car, scheduled.status, scheduled.position), (id(&large), Status::Pending, Some(0)));
    assert_eq!(world.queue(&b), [id(&large)]);
    // What is scheduled is staged no longer.
    assert_eq!(world.apply(User::Alice, Message::Schedule(by_id(&b, id(&large)))).unwrap_err().code(), 59);
    let run = world.run(User::Eve, &b, 10).unwrap();
    assert_eq!((run.ran, run.failed), (1, 0));
    assert!(matches!(&receipt_of(world, &b, id(&large)).out, Ok(Ipld::Map(out)) if out.contains_key("pad")));
}

pub fn a_staged_car_has_the_receipt_that_it_has_otherwise(world: &mut dyn World) {
    let name = "Both";
    let b = bucket(world, name, Mode::Atomic);
    let cars = [put(&b, text("a"), int(1), 1), car(&b, "/echo/fail", map([("message", text("no"))]), 2)];
    let mut receipts = Vec::new();
    for (car, invoke) in cars.iter().zip([true, false]) {
        stage_all(world, User::Eve, car, car.len().div_ceil(3));
        let params = by_id(&b, id(car));
        if invoke {
            assert!(returned!(Invoke, world.apply(User::Alice, Message::Invoke(params.clone()))).unwrap().ran);
            assert_eq!(world.apply(User::Alice, Message::Invoke(params)).unwrap_err().code(), 59, "taken");
        } else {
            world.apply(User::Alice, Message::Schedule(params)).unwrap();
            assert_eq!(world.run(User::Bob, &b, 1).unwrap().failed, 1);
        }
        receipts.push(world.receipt(&b, id(car)).unwrap().receipt);
    }
    assert_eq!(world.rows(&b), [(text("a"), int(1))]);
    // The same bucket in another instance gets the same CARs as they are.
    world.swap();
    bucket(world, name, Mode::Atomic);
    for (car, receipt) in cars.iter().zip(receipts) {
        assert_eq!(Some(world.invoke(User::Alice, &b, car, false).unwrap().receipt), receipt);
    }
    world.swap();
}

pub fn what_does_not_fit_is_refused_each_in_its_own_words(world: &mut dyn World) {
    let b = bucket(world, "Pieces", Mode::Atomic);
    let good = car_of(&b, 5000, 1);
    let of = |change: &dyn Fn(&mut StageParams)| {
        let mut params = announced(&good, 1000);
        change(&mut params);
        params
    };
    let (before, _) = world.check();
    let hashes = |count| vec![Bytes(vec![7; 32]); count];
    let cases: [(StageParams, &str); 6] = [
        (of(&|p| p.size = 0), "a CAR of 1 to 1048576 bytes, got one of 0"),
        (of(&|p| p.size = STAGED_BYTES_MAX as u64 + 1), "got one of 1048577"),
        (of(&|p| p.chunks = vec![]), "1 to 32 pieces, got 0"),
        (of(&|p| p.chunks = hashes(CHUNKS_MAX + 1)), "got 33"),
        (of(&|p| p.chunks[1].0.truncate(31)), "32 bytes, got 31"),
        (of(&|p| p.chunks[0].0.push(1)), "32 bytes, got 33"),
    ];
    for (params, words) in cases {
        let refused = stage(world, User::Bob, params).unwrap_err();
        assert!(refused.code() == 60 && refused.message().contains(words), "{refused:?}");
    }
    assert_eq!(chunk(world, User::Bob, id(&good), 0, &good[..1000]).unwrap_err().code(), 59, "nothing is staged");
    assert_eq!(world.check().0, before);

    stage(world, User::Bob, announced(&good, 1000)).unwrap();
    chunk(world, User::Bob, id(&good), 4, &good[4000..]).unwrap();
    let (before, _) = world.check();
    let long = vec![0; CHUNK_BYTES_MAX + 1];
    let cases: [(User, u64, &[u8], u32, &str); 6] = [
        (User::Bob, 0, &good[1..1001], 60, "piece 0 doesn't have the hash"),
        (User::Bob, 0, &good[1000..2000], 60, "piece 0 doesn't have the hash"),
        (User::Bob, 5, &good[..1000], 60, "a piece from 0 to 4, got 5"),
        (User::Bob, u64::MAX, &good[..1000], 60, "a piece from 0 to 4"),
        (User::Bob, 0, &long, 60, "a piece of at most 61440 bytes, got 61441"),
        (User::Alice, 0, &good[..1000], 59, "not staged"),
    ];
    for (user, index, data, code, words) in cases {
        let refused = chunk(world, user, id(&good), index, data).unwrap_err();
        assert!(refused.code() == code && refused.message().contains(words), "{refused:?}");
        assert_eq!(world.check().0, before, "{refused:?}");
    }
    // Asking again changes nothing, and says what is missing.
    assert_eq!(stage(world, User::Bob, announced(&good, 700)).unwrap().missing, [0, 1, 2, 3]);
    assert_eq!(chunk(world, User::Bob, id(&good), 4, b"whatever").unwrap().missing, [0, 1, 2, 3]);
    assert_eq!(world.check().0, before);
}

/// The pieces may all be as announced, and the whole something else.
pub fn the_whole_must_be_what_was_announced(world: &mut dyn World) {
    let b = bucket(world, "Whole", Mode::Atomic);
    let (good, other) = (car_of(&b, 3000, 1), car_of(&b, 3000, 2));
    let cases = [
        StageParams { car: id(&good), ..announced(&other, 1000) },
        StageParams { size: 2999, ..announced(&good, 1000) },
    ];
    for (params, pieces) in cases.into_iter().zip([&other, &good]) {
        let car = params.car;
        let bob = actor_id(world, User::Bob, &format!("BobsOf{}", params.size));
        stage(world, User::Bob, params).unwrap();
        for index in [0, 2] {
            chunk(world, User::Bob, car, index, pieces.chunks(1000).nth(index as usize).unwrap()).unwrap();
        }
        let (before, _) = world.check();
        let refused = chunk(world, User::Bob, car, 1, &pieces[1000..2000]).unwrap_err();
        assert!(refused.code() == 60 && refused.message().contains("drop it and begin anew"), "{refused:?}");
        assert_eq!(world.check().0, before);
        assert_eq!(world.apply(User::Alice, Message::Invoke(by_id(&b, car))).unwrap_err().code(), 59);
        drop_it(world, User::Bob, car, bob).unwrap();
    }
    stage_all(world, User::Bob, &good, 1000);
    assert!(returned!(Invoke, world.apply(User::Alice, Message::Invoke(by_id(&b, id(&good))))).unwrap().ran);
}

pub fn a_sender_stages_so_many_at_once(world: &mut dyn World) {
    let b = bucket(world, "Many", Mode::Atomic);
    let bob = actor_id(world, User::Bob, "BobsOwn");
    let cars: Vec<_> = (0..=STAGES_MAX).map(|nonce| car_of(&b, 2000, nonce)).collect();
    stage_all(world, User::Bob, &cars[0], 1000);
    for car in &cars[1..STAGES_MAX as usize] {
        stage(world, User::Bob, announced(car, 1000)).unwrap();
    }
    let (last, (before, _)) = (&cars[STAGES_MAX as usize], world.check());
    assert_eq!(stage(world, User::Bob, announced(last, 1000)).unwrap_err().code(), 61);
    assert_eq!(world.check().0, before);
    stage_all(world, User::Eve, last, 1000);
    // There is room again when one ran, or was dropped.
    world.apply(User::Alice, Message::Invoke(by_id(&b, id(&cars[0])))).unwrap();
    stage(world, User::Bob, announced(&cars[0], 1000)).unwrap();
    drop_it(world, User::Bob, id(&cars[1]), bob).unwrap();
    assert!(stage(world, User::Bob, announced(last, 1000)).unwrap().missing.is_empty(), "Eve's, which is complete");
    stage(world, User::Bob, announced(&cars[1], 1000)).unwrap();
    assert_eq!(stage(world, User::Bob, announced(&car_of(&b, 2000, 99), 1000)).unwrap_err().code(), 61);
}

pub fn what_is_staged_stays_for_a_day(world: &mut dyn World) {
    let b = bucket(world, "Day", Mode::Atomic);
    let bob = actor_id(world, User::Bob, "BobsDay");
    let [whole, part] = [1, 2].map(|nonce| car_of(&b, 2000, nonce));
    stage_all(world, User::Bob, &whole, 1000);
    stage(world, User::Bob, announced(&part, 1000)).unwrap();
    let kept = |world: &mut dyn World, user, car: &[u8]| {
        let refused = drop_it(world, user, id(car), bob).unwrap_err();
        assert!(refused.code() == 62, "{refused:?}");
    };
    kept(world, User::Eve, &part);
    kept(world, User::Eve, &whole);
    // Others may count on what is complete, even when it is Bob's.
    kept(world, User::Bob, &whole);
    assert_eq!(drop_it(world, User::Eve, id(b"nothing"), bob).unwrap_err().code(), 59);
    world.pass(STAGE_EPOCHS as u64 - 100);
    kept(world, User::Eve, &part);
    world.pass(100);
    for car in [&part, &whole] {
        assert_eq!(drop_it(world, User::Eve, id(car), bob).unwrap().missing, Vec::<u64>::new());
        assert_eq!(drop_it(world, User::Eve, id(car), bob).unwrap_err().code(), 59);
    }
    assert_eq!(world.apply(User::Alice, Message::Invoke(by_id(&b, id(&whole)))).unwrap_err().code(), 59);
    // Early enough, it can be staged and dropped again.
    stage(world, User::Bob, announced(&part, 1000)).unwrap();
    drop_it(world, User::Bob, id(&part), bob).unwrap();
}

/// The index serves the whole, which no message carried.
#[test]
fn an_index_serves_a_large_car() {
    let mut world = NetworkWorld::default();
    let b = bucket(&mut world, "Served", Mode::Mutex);
    let large = car_of(&b, STAGED_BYTES_MAX, 1);
    stage_all(&mut world, User::Bob, &large, CHUNK_BYTES_MAX);
    world.apply(User::Alice, Message::Schedule(by_id(&b, id(&large)))).unwrap();
    assert_eq!(world.queue(&b), [id(&large)]);
    world.run(User::Bob, &b, 1).unwrap();
    assert_eq!(world.check().1, Vec::<String>::new());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let gateway: &Gateway = &world.gateway;
    let served = runtime.block_on(gateway.fetch(&id(&large))).expect("served");
    assert!(served == large, "{} bytes", served.len());
}

/// Gas is deterministic for a build: what a piece costs, with some air.
#[test]
fn a_piece_costs_its_bytes() {
    let mut world = NodeWorld::default();
    let b = bucket(&mut world, "Price", Mode::Atomic);
    let large = car_of(&b, STAGED_BYTES_MAX, 1);
    stage(&mut world, User::Bob, announced(&large, CHUNK_BYTES_MAX)).unwrap();
    let mut gas = Vec::new();
    for (index, data) in (0..).zip(large.chunks(CHUNK_BYTES_MAX)) {
        let params = ChunkParams { car: id(&large), index, data: data.to_vec() };
        let (method, params) = Message::Chunk(params).encode();
        let executed = world.send(User::Bob, method, params).unwrap();
        assert!(executed.receipt.exit_code.is_success(), "{}", executed.failure);
        gas.push(executed.receipt.gas_used);
    }
    let (first, last) = (gas[1], gas[gas.len() - 1]);
    println!(
        "a piece of {CHUNK_BYTES_MAX} bytes: {first} gas; the last of {}, with which all is hashed: {last}",
        gas.len()
    );
    assert!(first < 8_000 * CHUNK_BYTES_MAX as u64, "{first}");
    assert!(last < 400_000_000, "{last}");
}
