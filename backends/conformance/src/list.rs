//! The list of all behaviours.
//!
//! It is a macro because two things are made of it: one test per behaviour ([`conformance_tests`](crate::conformance_tests)),
//! and the list as data ([`behaviours`]).

use std::future::Future;

use crate::fixture::{Fixture, FixtureFuture, Group};

/// One behaviour of the contract.
#[derive(Clone, Copy)]
pub struct Behaviour {
    /// Its name, a sentence.
    pub name: &'static str,
    /// Shows it on a fresh fixture of its group, and panics if the store behaves otherwise.
    pub run: for<'a> fn(&'a dyn Fixture) -> FixtureFuture<'a, ()>,
}

/// All behaviours of a group.
pub fn behaviours(group: Group) -> Vec<Behaviour> {
    match group {
        Group::Contract => crate::__group!(contract, __list,),
        Group::Links => crate::__group!(links, __list,),
        Group::Restarts => crate::__group!(restarts, __list,),
        Group::Freezes => crate::__group!(freezes, __list,),
        Group::Refusals => crate::__group!(refusals, __list,),
        Group::Hints => crate::__group!(hints, __list,),
        Group::Wipes => crate::__group!(wipes, __list,),
    }
}

/// Runs the behaviours of these groups one after the other, each on a fresh fixture. For stores that are tested without
/// the test harness; the macro gives better reports.
pub async fn run<X, F>(groups: &[Group], fixture: impl Fn(Group) -> F)
where
    X: Fixture,
    F: Future<Output = X>,
{
    for &group in groups {
        for behaviour in behaviours(group) {
            let fixture = fixture(group).await;
            (behaviour.run)(&fixture).await;
        }
    }
}

/// One test per behaviour of the groups named, on fixtures made by an `async fn(Group) -> impl Fixture`.
#[macro_export]
macro_rules! conformance_tests {
    ($fixture:ident: $($group:ident),+ $(,)?) => {
        $( $crate::__group!($group, __tests, $fixture); )+

        #[test]
        fn what_the_fixture_declares_is_exercised() {
            $crate::runner::check_groups(&[$( $crate::__variant!($group) ),+], $fixture);
        }
    };
}

/// Makes the tests of one group.
#[doc(hidden)]
#[macro_export]
macro_rules! __tests {
    ($fixture:ident; $group:ident: $($($step:ident)::+),+ $(,)?) => {
        mod $group {
            $( $crate::__test!($fixture; $group; $($step)::+); )+
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __test {
    ($fixture:ident; $group:ident; $home:ident :: $module:ident :: $name:ident) => {
        #[test]
        fn $name() {
            let behaviour = $crate::Behaviour {
                name: concat!(stringify!($module), "::", stringify!($name)),
                run: |fixture| Box::pin($crate::$home::$module::$name(fixture)),
            };
            $crate::runner::run_test($crate::__variant!($group), super::$fixture, behaviour);
        }
    };
}

/// Makes the list of one group.
#[doc(hidden)]
#[macro_export]
macro_rules! __list {
    (; $group:ident: $($home:ident :: $module:ident :: $name:ident),+ $(,)?) => {
        vec![$( Behaviour {
            name: concat!(stringify!($module), "::", stringify!($name)),
            run: |fixture| Box::pin($crate::$home::$module::$name(fixture)),
        } ),+]
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __variant {
    (contract) => {
        $crate::Group::Contract
    };
    (links) => {
        $crate::Group::Links
    };
    (restarts) => {
        $crate::Group::Restarts
    };
    (freezes) => {
        $crate::Group::Freezes
    };
    (refusals) => {
        $crate::Group::Refusals
    };
    (hints) => {
        $crate::Group::Hints
    };
    (wipes) => {
        $crate::Group::Wipes
    };
}

/// The behaviours of a group, handed to another macro.
#[doc(hidden)]
#[macro_export]
macro_rules! __group {
    (contract, $then:ident, $($fixture:ident)?) => {
        $crate::$then! { $($fixture)?; contract:
            contract::writes::a_create_of_an_absent_key_commits,
            contract::writes::a_create_over_a_record_conflicts,
            contract::writes::an_update_at_the_right_version_commits,
            contract::writes::an_update_at_a_wrong_version_conflicts,
            contract::writes::an_update_of_an_absent_key_conflicts,
            contract::writes::a_delete_at_the_right_version_removes,
            contract::writes::a_delete_at_a_wrong_version_conflicts,
            contract::writes::a_delete_leaves_what_the_profile_says,
            contract::writes::a_compare_confirms_and_changes_nothing,
            contract::writes::any_bytes_come_back,
            contract::writes::an_empty_record_is_not_an_absent_one,
            contract::writes::a_session_mark_is_a_record_of_its_own,
            contract::writes::reads_answer_in_the_order_asked,
            contract::batches::the_profile_makes_sense,
            contract::batches::an_empty_batch_has_no_outcomes,
            contract::batches::some_conflict_and_the_others_commit,
            contract::batches::a_batch_may_mix_everything,
            contract::batches::a_batch_may_have_as_many_writes_as_the_profile_says,
            contract::batches::a_batch_may_have_as_many_bytes_as_the_profile_says,
            contract::batches::a_record_too_large_is_unavailable_and_not_stored,
            contract::batches::a_batch_over_the_limits_is_unavailable,
            contract::batches::lanes_commit_at_the_same_time,
            contract::versions::versions_rise_with_every_write,
            contract::versions::versions_rise_over_delete_and_create,
            contract::versions::versions_start_at_the_clock,
            contract::names::names_of_every_kind_are_distinct_and_list_back,
            contract::names::awkward_names_can_be_written_together,
            contract::names::sessions_of_every_kind_list_back,
            contract::lists::an_empty_store_lists_nothing,
            contract::lists::pages_of_every_size_cover_everything_once,
            contract::lists::a_list_can_be_limited_to_a_prefix,
            contract::lists::lists_do_not_mix,
            contract::lists::a_list_goes_on_only_from_where_a_page_ended,
            contract::lists::a_list_follows_the_records,
            contract::lists::a_list_misses_nothing_while_others_write,
            contract::lanes::batches_of_a_lane_go_side_by_side,
            contract::lanes::an_older_generation_is_stale,
            contract::lanes::a_stale_batch_is_stale_as_a_whole,
            contract::lanes::moving_a_lane_twice_is_moving_it_once,
            contract::lanes::a_lane_moves_alone,
            contract::lanes::a_beat_leaves_the_lanes_alone,
            contract::lanes::moving_a_lane_registers_nobody,
            contract::liveness::a_registration_is_seen_by_all,
            contract::liveness::a_beat_renews,
            contract::liveness::a_repeated_beat_is_one_beat,
            contract::liveness::a_beat_on_a_wrong_version_changes_nothing,
            contract::liveness::a_beat_never_registers_again,
            contract::liveness::who_left_is_gone,
            contract::liveness::leaving_needs_no_version,
            contract::liveness::a_stranger_cannot_write,
            contract::eviction::who_was_evicted_writes_no_more,
            contract::eviction::an_eviction_at_a_wrong_version_conflicts,
            contract::eviction::an_eviction_of_an_absent_broker_keeps_it_out,
            contract::eviction::an_eviction_of_an_absent_broker_at_a_version_conflicts,
            contract::eviction::gone_stays_gone,
            contract::eviction::who_is_forgotten_stays_out,
            contract::eviction::the_living_are_not_forgotten,
            contract::eviction::a_stale_eviction_is_stale,
            contract::eviction::an_eviction_happens_once,
            contract::hints::a_change_by_another_broker_is_hinted,
            contract::hints::a_change_by_oneself_is_hinted,
            contract::hints::creates_and_deletes_are_hinted,
            contract::hints::many_watchers_all_hear,
            contract::hints::many_keys_can_be_watched,
            contract::hints::a_dropped_watch_leaves_nothing,
            contract::races::no_increment_is_lost,
            contract::races::no_entry_is_lost,
            contract::races::one_at_a_time_gets_in,
            contract::races::batches_that_overlap_are_decided_record_by_record,
        }
    };
    (links, $then:ident, $($fixture:ident)?) => {
        $crate::$then! { $($fixture)?; links:
            trouble::links::a_broken_connection_heals,
            trouble::links::a_lost_reply_is_unknown_and_the_write_happens_once,
            trouble::links::a_late_create_never_strikes_once_the_lane_moved,
            trouble::links::a_late_create_never_strikes_after_a_delete,
            trouble::links::a_late_update_never_strikes_after_another_write,
            trouble::links::a_late_beat_revives_nobody,
            trouble::links::a_dropped_commit_is_settled_by_moving_the_lane,
            trouble::links::nothing_is_lost_while_replies_are,
            trouble::links::nobody_gets_in_twice_while_replies_are_lost,
        }
    };
    (restarts, $then:ident, $($fixture:ident)?) => {
        $crate::$then! { $($fixture)?; restarts:
            trouble::restarts::acknowledged_writes_survive_a_kill,
            trouble::restarts::registrations_survive_a_kill,
            trouble::restarts::a_dead_server_is_no_answer_within_bounded_time,
            trouble::restarts::nothing_is_lost_when_the_server_is_killed_under_load,
            trouble::restarts::nobody_gets_in_twice_when_the_server_is_killed_under_load,
            trouble::restarts::hints_come_again_after_a_restart,
        }
    };
    (freezes, $then:ident, $($fixture:ident)?) => {
        $crate::$then! { $($fixture)?; freezes:
            trouble::freezes::a_frozen_server_is_no_answer_within_bounded_time,
            trouble::freezes::batches_side_by_side_at_a_frozen_server_are_settled_at_once,
            trouble::freezes::nothing_is_lost_when_the_server_is_frozen_under_load,
            trouble::freezes::nobody_gets_in_twice_when_the_server_is_frozen_under_load,
        }
    };
    (refusals, $then:ident, $($fixture:ident)?) => {
        $crate::$then! { $($fixture)?; refusals:
            trouble::refusals::a_refused_write_is_not_stored,
            trouble::refusals::work_goes_on_when_writes_are_accepted_again,
        }
    };
    (hints, $then:ident, $($fixture:ident)?) => {
        $crate::$then! { $($fixture)?; hints:
            trouble::hints::without_hints_reading_again_still_converges,
            trouble::hints::hints_come_again_when_the_channel_is_whole,
        }
    };
    (wipes, $then:ident, $($fixture:ident)?) => {
        $crate::$then! { $($fixture)?; wipes:
            trouble::wipes::a_store_that_lost_its_memory_is_noticed,
            trouble::wipes::nobody_writes_into_a_store_that_forgot_him,
            trouble::wipes::versions_rise_over_the_loss,
        }
    };
}
