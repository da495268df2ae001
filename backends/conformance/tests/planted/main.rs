//! The suite judged: stores with one planted bug each, and the behaviour that must find it.
//!
//! A check that cannot fail is worth nothing. Each row below is a bug that a store might well have, and names what finds
//! it; the same behaviours pass on the same store without the bug, in `sound`.
//!
//! # Layout
//!
//! * [`bug`]: the bugs;
//! * [`mutant`]: a backend with one of them;
//! * [`machine`]: a fixture around it that can be killed, frozen, cut off and wiped, all in memory.

#![expect(clippy::unwrap_used, reason = "a poisoned lock is a test that failed already")]

mod bug;
mod machine;
mod mutant;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use sixpin_conformance::{Group, behaviours, conformance_tests};

use bug::Bug;
use machine::Machine;

/// The whole suite passes on the machine without a bug: so what fails below fails because of the bug.
mod sound {
    use super::*;

    async fn fixture(group: Group) -> Machine {
        Machine::new(group, None)
    }

    conformance_tests!(fixture: contract, links, restarts, freezes, refusals, hints, wipes);
}

/// Things do not happen on purpose here, and waiting for them long proves nothing.
const PATIENCE: Duration = Duration::from_secs(1);

fn must_find(bug: Bug, group: Group, name: &str) {
    let behaviour = behaviours(group).into_iter().find(|behaviour| behaviour.name.ends_with(&format!("::{name}")));
    let behaviour = behaviour.unwrap_or_else(|| panic!("there is no behaviour {name} in {group:?}"));
    let found = catch_unwind(AssertUnwindSafe(|| {
        sixpin_conformance::runner::run_test_within(
            PATIENCE,
            group,
            async |group| Machine::new(group, Some(bug)),
            behaviour,
        );
    }));
    assert!(found.is_err(), "{name} does not find {bug:?}");
}

macro_rules! planted {
    ($($bug:ident: $group:ident $($name:ident),+;)+) => {
        $(
            #[test]
            #[expect(non_snake_case, reason = "the name of the bug is the name of the test")]
            fn $bug() {
                $( must_find(Bug::$bug, Group::$group, stringify!($name)); )+
            }
        )+
    };
}

mod finds {
    use super::*;

    planted! {
        IgnoresVersions: Contract a_create_over_a_record_conflicts, an_update_at_a_wrong_version_conflicts, no_increment_is_lost;
        ComparesThenSwaps: Contract no_increment_is_lost, no_entry_is_lost, one_at_a_time_gets_in;
        DeletesAnyVersion: Contract a_delete_at_a_wrong_version_conflicts;
        AllOrNothing: Contract some_conflict_and_the_others_commit;
        ReversesOutcomes: Contract some_conflict_and_the_others_commit, a_batch_may_mix_everything;
        DropsTheEndOfLargeBatches: Contract a_batch_may_have_as_many_writes_as_the_profile_says;
        StoresTooLarge: Contract a_record_too_large_is_unavailable_and_not_stored;
        StoresBatchesTooLarge: Contract a_batch_over_the_limits_is_unavailable;
        CutsBytesAtNul: Contract any_bytes_come_back;
        TakesEmptyForAbsent: Contract an_empty_record_is_not_an_absent_one;
        ComparesNothing: Contract a_compare_confirms_and_changes_nothing;
        ConflictsTellTheWrongThing: Contract a_create_over_a_record_conflicts;
        ServesOldReads: Contract an_update_at_the_right_version_commits;
        FoldsCase: Contract names_of_every_kind_are_distinct_and_list_back;
        TrimsNames: Contract names_of_every_kind_are_distinct_and_list_back;
        CutsLongNames: Contract names_of_every_kind_are_distinct_and_list_back;
        MixesLockspaces: Contract names_of_every_kind_are_distinct_and_list_back, lists_do_not_mix;
        ListsOnePageOnly: Contract pages_of_every_size_cover_everything_once;
        SkipsAtPageEnds: Contract pages_of_every_size_cover_everything_once, a_list_misses_nothing_while_others_write;
        IgnoresPrefixes: Contract a_list_can_be_limited_to_a_prefix;
        GoesOnFromAnywhere: Contract a_list_goes_on_only_from_where_a_page_ended;
        RepeatsVersions: Contract versions_rise_with_every_write;
        RestartsVersionsAfterDelete: Contract versions_rise_over_delete_and_create;
        CountsFromOne: Contract versions_start_at_the_clock;
        ForgetsGenerations: Contract an_older_generation_is_stale, a_stale_eviction_is_stale;
        LetsLanesGoBack: Contract moving_a_lane_twice_is_moving_it_once;
        MovesAllLanes: Contract a_lane_moves_alone;
        AcceptsTheEvicted: Contract who_was_evicted_writes_no_more, a_stranger_cannot_write, who_is_forgotten_stays_out;
        RevivesByBeat: Contract who_was_evicted_writes_no_more, a_beat_never_registers_again;
        RefusesRepeatedBeats: Contract a_repeated_beat_is_one_beat;
        BeatsOnAnyVersion: Contract a_beat_on_a_wrong_version_changes_nothing;
        BeatsKeepTheVersion: Contract a_beat_renews;
        EvictsAnyVersion: Contract an_eviction_at_a_wrong_version_conflicts;
        EvictsNothingOfTheAbsent: Contract an_eviction_of_an_absent_broker_keeps_it_out;
        ForgetsTheLiving: Contract the_living_are_not_forgotten;
        LeavesNothing: Contract who_left_is_gone;
        NeverHints: Contract a_change_by_another_broker_is_hinted, many_watchers_all_hear, creates_and_deletes_are_hinted;
        WakesOneWatcher: Contract many_watchers_all_hear;
    }
}

mod finds_on_links {
    use super::*;

    planted! {
        CallsUnknownUnavailable: Links a_lost_reply_is_unknown_and_the_write_happens_once;
        SendsAgainByItself: Links a_lost_reply_is_unknown_and_the_write_happens_once, nobody_gets_in_twice_while_replies_are_lost;
        IgnoresMovedLanes: Links a_late_create_never_strikes_once_the_lane_moved, a_late_create_never_strikes_after_a_delete;
        WritesLateUpdates: Links a_late_update_never_strikes_after_another_write;
        RevivesByLateBeat: Links a_late_beat_revives_nobody;
    }
}

mod finds_in_trouble {
    use super::*;

    planted! {
        ForgetsOnRestart: Restarts acknowledged_writes_survive_a_kill, nothing_is_lost_when_the_server_is_killed_under_load;
        ForgetsTheGoneOnRestart: Restarts registrations_survive_a_kill;
        CallsLateUnavailable: Freezes a_frozen_server_is_no_answer_within_bounded_time;
        LateAfterFreeze: Freezes a_frozen_server_is_no_answer_within_bounded_time;
        StoresWhatItRefuses: Refusals a_refused_write_is_not_stored;
        StaysDeaf: Hints hints_come_again_when_the_channel_is_whole;
        NoticesNoLoss: Wipes a_store_that_lost_its_memory_is_noticed;
        RegistersAfterLoss: Wipes nobody_writes_into_a_store_that_forgot_him;
    }
}
