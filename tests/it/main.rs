//! All integration tests, in one binary. Each scenario runs in every world.

mod authority;
mod budget;
mod chain;
mod differential;
mod gas;
mod hooks;
mod js;
mod kill;
mod replica;
mod scenario;
mod service;
mod ucanto;
mod w3up;
mod worker;

use bucket_tests::World;
use bucket_tests::memory::MemoryWorld;
use bucket_tests::network::NetworkWorld;
use bucket_tests::node::NodeWorld;

/// Runs a scenario, then looks for violated invariants.
fn play(mut world: impl World, scenario: fn(&mut dyn World)) {
    scenario(&mut world);
    let (root, violations) = world.check();
    assert!(violations.is_empty(), "{}, state {root}: {violations:#?}", world.name());
}

macro_rules! scenarios {
    ($($module:ident: $($name:ident)*;)*) => {
        mod memory {
            $($(#[test] fn $name() { crate::play(crate::MemoryWorld::default(), crate::scenario::$module::$name) })*)*
        }
        mod network {
            $($(#[test] fn $name() { crate::play(crate::NetworkWorld::default(), crate::scenario::$module::$name) })*)*
        }
        mod node {
            $($(#[test] fn $name() { crate::play(crate::NodeWorld::default(), crate::scenario::$module::$name) })*)*
        }
    };
}

scenarios! {
    queue: cars_run_in_the_order_of_their_scheduling run_stops_at_max anybody_may_run scheduling_twice_is_once
        a_car_invoked_meanwhile_falls_out_of_the_queue;
    modes: atomic_runs_each_task_alone mutex_hands_all_pending_tasks_over_at_once
        a_failing_task_leaves_the_others_receipts_alone the_mode_is_fixed_at_creation;
    receipts: invoke_leaves_the_queue_alone a_car_runs_once force_runs_again_and_links_back
        receipts_are_done_pending_or_not_found a_failure_changes_nothing_but_receipts known_bytes;
    kv: rows_follow_charwise_order a_batch_is_all_or_nothing keys_for_receipts_are_refused wrong_arguments_are_failures
        values_may_link_into_the_car;
    forks: continuations_run_behind_their_cause a_continuation_that_ran_is_not_run_again chains_end_at_a_depth
        foreign_and_too_many_continuations_are_failures an_unknown_command_in_a_continuation_is_a_failure
        linked_blocks_travel_with_a_continuation a_continuation_that_is_invoked_early_keeps_its_cause
        the_bytes_of_all_continuations_are_bounded;
    space: a_push_edits_the_space a_stale_root_has_to_be_rebased only_who_may_pushes an_owner_always_finds_a_place_among_the_authors
        forged_receipts_sync_and_dont_count
        a_large_edit_is_staged;
    store: a_car_is_stored only_the_service_tells_what_happened an_upload_expires wrong_events_are_failures;
    limits: bad_cars_are_refused_each_in_its_own_words bad_messages_are_refused_each_in_its_own_words
        controllers_are_resolved_and_bounded;
    authority: a_signed_invocation_runs_whoever_carries_it tokens_of_the_release_candidate_are_taken
        a_key_has_to_sign_for_its_bucket a_key_gets_the_bucket_that_it_signed_for
        a_bucket_without_controllers_takes_only_what_is_signed an_open_command_is_anybodys_until_it_is_closed
        an_open_command_covers_those_under_it what_gives_rights_away_is_never_open
        what_is_open_to_a_bucket_is_closed_to_senders the_deepest_signed_values_run;
    delegation: forged_signatures_are_refused the_greater_s_of_secp256k1_is_refused tokens_count_in_their_time
        tokens_for_others_are_refused broken_chains_are_refused nobody_gets_more_than_was_delegated
        other_roots_are_no_invocations;
    replay: the_same_car_is_remembered_and_not_run the_same_invocation_in_another_car_is_refused
        the_other_form_of_a_signature_is_a_replay what_was_scheduled_and_invoked_runs_once a_carrier_may_not_force
        the_proof_of_a_creation_is_no_task continuations_of_one_run_bring_an_invocation_once;
    revocation: those_above_may_revoke nobody_else_may_revoke a_revocation_counts_for_the_revokers_own_chains
        what_waits_is_stopped_by_a_revocation a_revocation_counts_for_what_is_behind_it_in_the_queue
        what_waits_too_long_expires;
    rights: a_continuation_may_do_what_its_cause_may a_partial_right_ends_with_the_first_continuation
        a_policy_binds_continuations_as_well callers_of_open_commands_get_no_further
        a_stranger_who_runs_it_early_takes_no_right_away another_instance_gets_no_receipts_into_this_bucket;
    early: what_a_stranger_runs_early_is_still_its_senders a_stranger_repeats_nothing_with_anothers_right
        a_closed_command_is_closed_for_what_waits a_hook_is_not_dropped_in_silence
        signatures_of_continuations_are_bounded;
    hostile: the_deepest_values_run a_receipt_is_never_too_deep_to_be_read a_continuation_that_is_no_task_is_a_failure
        forcing_what_was_invoked_while_it_waited_runs_it_again;
    ends: a_chain_that_goes_to_and_fro_ends_at_a_depth a_chain_ends_when_its_work_is_done
        a_full_queue_refuses_continuations a_queue_fills_over_the_rounds_of_one_run;
    reach: a_continuation_reaches_another_bucket another_bucket_is_reached_only_with_its_leave
        who_may_do_a_little_does_not_speak_for_the_bucket a_continuation_has_no_more_right_than_its_cause
        a_signed_continuation_speaks_for_itself a_signed_continuation_counts_once_in_whatever_car
        a_forced_cause_asks_no_second_time the_order_of_asking_is_kept causes_link_a_chain_through_buckets;
    instances: a_continuation_runs_in_another_instance what_is_refused_there_is_undelivered_here
        a_forced_cause_delivers_no_second_time this_instance_is_no_other a_chain_between_instances_ends_at_a_depth
        keys_count_in_every_instance only_an_instance_delivers what_is_undelivered_leaves_own_cars_alone;
    staging: a_large_car_is_staged_by_one_and_scheduled_by_another a_staged_car_has_the_receipt_that_it_has_otherwise
        what_does_not_fit_is_refused_each_in_its_own_words the_whole_must_be_what_was_announced
        a_sender_stages_so_many_at_once what_is_staged_stays_for_a_day;
}
