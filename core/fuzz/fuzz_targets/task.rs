//! DAG-CBOR and the tasks in it: what is accepted has one encoding, its own.
#![no_main]

use bucket_core::car::Car;
use bucket_core::cid::{NativeHasher, RAW, block_cid};
use bucket_core::dag_cbor::{self, Ipld};
use bucket_core::task::Task;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let decoded = dag_cbor::decode(bytes);
    assert_eq!(dag_cbor::validate(bytes).err(), decoded.as_ref().err().cloned(), "validate and decode agree");
    let Ok(value) = decoded else { return };
    assert_eq!(dag_cbor::check(&value), Ok(()));
    assert_eq!(dag_cbor::encode(&value), bytes, "one value, one encoding");
    let other: Ipld = serde_ipld_dagcbor::from_slice(bytes).expect("what is strict, others read as well");
    assert_eq!(other, value);

    let Ok(task) = Task::from_ipld(value.clone()) else { return };
    assert_eq!(task.to_ipld(), value);
    let car = Car::decode::<NativeHasher>(task.to_car::<NativeHasher>()).expect("a task's CAR");
    assert_eq!(car.root_value(), value);
    assert_eq!(Task::from_ipld(car.root_value()), Ok(task.clone()));

    // From a CAR with a block that it doesn't link to, the task travels without it, or with it when it does.
    let mut links = Vec::new();
    dag_cbor::links(&value, &mut links);
    let mut source = bucket_core::car::Transaction::<NativeHasher>::default();
    let beside = source.write(&Ipld::Bytes(b"beside".to_vec()));
    assert_eq!(beside, block_cid::<NativeHasher>(RAW, b"beside"));
    let source = Car::decode::<NativeHasher>(task.to_car_with(source)).expect("a CAR with a block beside the task");
    let alone = task.to_car_from::<NativeHasher>(&source).expect("few blocks, all readable");
    let alone = Car::decode::<NativeHasher>(alone).expect("the task's CAR");
    assert_eq!(alone.root_value(), value);
    assert_eq!(alone.block(&beside).is_some(), links.contains(&beside));
});
