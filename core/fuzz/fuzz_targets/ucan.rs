//! Signed invocations from strangers: reading and checking one never panics, and nothing passes that a key did not sign.
#![no_main]

use bucket_core::car::{Car, Transaction};
use bucket_core::cid::{DAG_CBOR, NativeHasher};
use bucket_core::dag_cbor;
use bucket_core::ucan::{Policy, Request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Inputs are blocks, each after its length in two bytes, the root last; a whole CAR is read as well.
    let mut transaction = Transaction::<NativeHasher>::default();
    let mut rest = bytes;
    while let Some((len, tail)) = rest.split_first_chunk::<2>() {
        let (block, tail) = tail.split_at(tail.len().min(usize::from(u16::from_be_bytes(*len))));
        if let Ok(value) = dag_cbor::decode(block)
            && let Ok(policy) = Policy::from_ipld(value.clone())
        {
            assert_eq!(Policy::from_ipld(policy.to_ipld()).as_ref(), Ok(&policy));
            drop(policy.is_met(&value));
        }
        transaction.write_block(DAG_CBOR, block);
        rest = tail;
    }
    let packed = transaction.commit().ok();
    for car in [Some(bytes.to_vec()), packed].into_iter().flatten() {
        let Ok(car) = Car::decode::<NativeHasher>(car) else { continue };
        let Ok(Some(request)) = Request::from_car::<NativeHasher>(&car) else { continue };
        drop(request.check(1_700_000_000, Some(&request.invocation.task.sub)));
        drop(request.check_signatures::<NativeHasher>());
        assert_eq!(request.revocable().count(), request.proofs.len());
    }
});
