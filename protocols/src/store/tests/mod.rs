use bucket_core::cid::NativeHasher;
use bucket_core::effect::Job;

use super::effects;

#[test]
fn what_is_awaited_is_the_job_that_signs() {
    assert_eq!(effects::sign(), Job::new(effects::SIGN, []).cid::<NativeHasher>());
}
