//! Schedules that every change must hold, what makes a schedule worth running, and bugs that must be found.

use sixpin_simulation::plan::{Changes, Fault, Plan};
use sixpin_simulation::planted::Planted;
use sixpin_simulation::run::{self, Case};

/// Schedules that found something once. Each line says what.
const FOUND: &[(u64, &str)] = &[
    (51, "what a dead session held was given to waiters before the lock-delay had passed"),
    (
        65,
        "a claim taken away stayed for ever when its session moved before the broker heard that the loss was confirmed",
    ),
    (856, "a broker freed a claim that it had taken away although its session had moved and held on to it"),
    (3422, "the same, after a cut"),
    (16046, "an idle record stayed when its broker went before it could delete it"),
    (16795, "the same, where the store does not check registrations"),
    (
        22945,
        "a session came back to a broker that knew an earlier operation of its claim, and was never told of the later one",
    ),
    (47877, "a grant seen while the move of its session was written was never told"),
    (63281, "a session came back to a broker that answered from what it knew before the session lived elsewhere"),
    (
        74897,
        "a session that moved was told of a lost claim, from a write that had been done before another broker granted it",
    ),
    (76103, "the same, with more clients"),
    (
        79899,
        "a registration in doubt was repeated after the broker had been declared dead and forgotten: others buried its sessions",
    ),
    (87799, "a forgotten broker known again from an old read could not be declared dead: its sessions stayed"),
    (21766, "a late copy from a broker that had left created again what was deleted: its generations had gone with it"),
    (76391, "a claim that had been taken away stayed when its session moved once more after it was told of the loss"),
    (84371, "a mark stayed that a late copy wrote after its broker had been cleared away"),
    (15791, "taking a claim away brought a buried session's mark back from the dead"),
    (194_499, "an old read made a broker forget an idle record whose deletion was in doubt"),
    (
        379_103,
        "a move written after its session had ended was taken for where the session lives: a claim given up later stayed",
    ),
    (476_216, "the same, and the mark was cleared without a sweep"),
    (631_313, "the same, at a broker of a later move"),
    (927_653, "a session was closed before a sweep had found what it gave up when it moved: that stayed"),
    (1_307_569, "the same, where the broker before had been killed"),
    (
        1_941_852,
        "a session that came back was told of a claim from memory, because a wait of that claim had just ended: its conversion \
         was refused as busy, although it had happened",
    ),
    (734, "what a broker wrote into a new store, before it knew of the loss, was never cleared away"),
    (8942, "a release that the store lost left a claim that its session, which had moved, did not know"),
    (57858, "a queued conversion that the store lost was waited for, for ever, by a session that had moved"),
    (26966, "the same, where the broker took what it read for older than what it knew"),
    (262_808, "a conversion that the store lost: the session moved, and its client went on believing in the new mode"),
    (193_503, "the same, and the fence of its next grant was lower"),
    (233_978, "the same, after which a conversion was waited for, for ever"),
    (37_614, "what the store had lost of a session that then died was free before the lock-delay had passed"),
    (64_467, "the same, where the session died just after its time to stop had passed"),
    (
        143_466,
        "a session came back to a broker where an operation waited that had ended elsewhere: every later one was refused",
    ),
    (766_392, "an old read made a broker forget a record that it kept without claims"),
];

/// The same, found since there are callers.
const FOUND_WITH_CALLERS: &[(u64, &str)] = &[
    (
        111_607,
        "a session came back to a broker that remembered a claim whose release at another broker the store had lost",
    ),
    (297_136, "a grant that nobody could be told stayed, though the caller that asked again walked away"),
    (486_871, "the same, and the claim that nobody held kept others waiting for ever"),
    (567_351, "a wait that had ended through another broker was told as lost"),
    (
        584_978,
        "a claim stood in a record that had lost its conversion, with an earlier one: the conversion was waited for, for ever",
    ),
    (
        593_362,
        "a withdrawal of a lock that was refused ended the next claim of its number while that was being written",
    ),
    (
        626_649,
        "a broker that had been frozen while the store was away took the silence of others in that time for theirs",
    ),
    (
        648_793,
        "a session moved and lost a claim to a damaged record that an administrator had removed before it was granted",
    ),
    (
        909_038,
        "a session came back to a broker that knew its claim, and did not hear that an administrator had taken it at another one",
    ),
    (469_825, "a late copy of a lock request was cut while the session moved, and took the lock that its client held"),
    (730_597, "a conversion that still waited for the store to be settled was taken for one that the store had lost"),
    (1_200_767, "a stream that its client had closed was taken for one that a bound session still had"),
    (1_655_231, "a lock that had come with a move was taken back, because a late copy of its request was cut"),
    (1_668_420, "a conversion was taken for lost when its session came back before the store was settled"),
    (
        72_455,
        "what the store had lost of a dead session was granted again, and the check took that for what its client had",
    ),
];

/// For each planted bug, the first schedule that finds it, as the hunt said.
const PLANTED: &[(&str, u64)] = &[
    ("AnsweredDuringBurial", 41_118),
    ("AnsweredFromMemory", 24),
    ("BeatAgedWithoutSuspend", 8386),
    ("BoundReleasedOnCut", 81),
    ("BurialByRead", 43),
    ("BurialGivenUpInDoubt", 31),
    ("BurialWithoutWaiting", 64),
    ("ClientClockStops", 0),
    ("PieceForgotten", 0),
    ("PlaceGivenUp", 2314),
    ("ColdTakenForEmpty", 0),
    ("ConversionEndedAlone", 17),
    ("CopyCreatesAgain", 0),
    ("CopyTakenForFirst", 18),
    ("DamagedRecordForgotten", 1157),
    ("DeadlineFromReply", 948),
    ("EmptyStartGrants", 374),
    ("EndInDoubtForgotten", 14),
    ("EvictionByRead", 11),
    ("FenceFromMemory", 3),
    ("ForcedFreeAtOnce", 15),
    ("ForcedWithoutMark", 45_347),
    ("GenerationUnchecked", 52),
    ("GivenBackTold", 250),
    ("GoneBrokerBeats", 13),
    ("GraceOfOwnSessions", 3623),
    ("HeldRecordNotLookedAt", 16),
    ("HintsReliedUpon", 144),
    ("HistoryNotAskedAbout", 11_558),
    ("IdleAssumed", 2),
    ("KeptIdleStays", 77),
    ("ListenerTakesStream", 3),
    ("ListenerToldInDoubt", 14),
    ("LockDelayIgnored", 24),
    ("LossIgnored", 11),
    ("LostGrantBelieved", 22_692),
    ("MarkInTwoBatches", 8093),
    ("MoveGivenUpInDoubt", 1868),
    ("MoveNumberReused", 3),
    ("MoveWithinLimits", 123),
    ("NewFormatAtOnce", 21),
    ("NoSweep", 0),
    ("ObserverGoesOnCounting", 10),
    ("OldMoveAccepted", 0),
    ("OldStoreTakenForSettled", 1820),
    ("OwnBurialWithoutMark", 7),
    ("QuotaNotGivenBack", 1),
    ("ReadTakenForTruth", 18),
    ("RecordInTwoBatches", 2),
    ("RefusedCopyCreates", 1756),
    ("RegistrationUnchecked", 3700),
    ("ReleaseNotRepeated", 30),
    ("RepeatWithoutGuard", 1),
    ("ReplacedCallWithdraws", 92),
    ("ResumeForgotten", 4),
    ("SilenceTakenForRefusal", 0),
    ("SilentBrokerVouches", 37),
    ("UnansweredKeepsNumber", 82),
    ("UntoldGrantKept", 42),
    ("ValueStaysValid", 9),
    ("VoidClaimsStay", 66),
    ("WaitLeftToTheBroker", 9),
    ("WaiterToldToLetGo", 15),
    ("WaiterDroppedOnMove", 4),
];

#[test]
fn schedules_that_found_something_hold() {
    // They were found before there were callers, or before limits were changed, places left or sessions listened to, and with these would
    // be other schedules.
    let without = vec![Fault::ChangedLimits, Fault::PlacesLeft, Fault::Listeners];
    let with_callers = Changes { without, ..Changes::default() };
    let changes = Changes { callers: Some(0), ..with_callers.clone() };
    let case = |seed: u64, changes: &Changes| Case { changes: changes.clone(), ..Case::of(seed) };
    let before = FOUND.iter().map(|(seed, what)| (case(*seed, &changes), what));
    let since = FOUND_WITH_CALLERS.iter().map(|(seed, what)| (case(*seed, &with_callers), what));
    for (case, what) in before.chain(since) {
        let (_, result) = run::one(&case, false);
        assert_eq!(result, Ok(()), "seed {} found before: {what}", case.seed);
    }
}

#[test]
fn planted_bugs_are_found_and_nothing_is_found_without_them() {
    for (name, seed) in PLANTED {
        let planted = Planted::named(name).unwrap_or_else(|| panic!("no bug is named {name}"));
        let case = Case::planted(*seed, planted);
        let (_, result) = run::one(&case, false);
        assert!(result.is_err(), "seed {seed} does not find {name} any more: make hunt");
        let (_, result) = run::one(&case.without_bug(), false);
        assert_eq!(result, Ok(()), "seed {seed} without {name}");
    }
}

#[test]
fn every_planted_bug_has_a_schedule_that_finds_it() {
    assert!(PLANTED.len() >= 20);
    for planted in Planted::all() {
        let known = PLANTED.iter().any(|(name, _)| *name == planted.to_string());
        assert!(known, "{planted} has no schedule: make hunt BUG={planted}");
    }
}

#[test]
fn one_seed_is_one_schedule_to_the_byte() {
    for seed in 0..8 {
        let (first, _) = run::one(&Case::of(seed), true);
        let (second, _) = run::one(&Case::of(seed), true);
        assert!(first.lines().len() > 100, "seed {seed} did next to nothing");
        assert_eq!(first.lines(), second.lines(), "seed {seed} ran differently the second time");
    }
}

#[test]
fn a_failure_is_shown_smaller_and_still_fails() {
    let (name, seed) = PLANTED[0];
    let case = Case::planted(seed, Planted::named(name).expect("it is in the list"));
    let small = sixpin_simulation::shrink::shrink(&case);
    let (world, result) = run::one(&small, true);
    let violation = result.expect_err("what was made smaller fails too");
    let count = |plan: Plan| plan.faults.each().count() + plan.clients + plan.brokers + plan.resources;
    assert!(count(small.plan()) <= count(case.plan()));
    let excerpt = sixpin_simulation::shrink::excerpt(world.lines(), &violation, 50);
    assert!(!excerpt.is_empty() && excerpt.len() <= 50);
}

/// A run in which nothing went wrong proves nothing.
#[test]
fn schedules_meet_what_they_are_for() {
    let report = run::many(0..300, 2, 1, |_| {});
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    let tally = report.tally;
    assert_eq!(report.short, 0, "schedules with fewer than 500 events");
    for (what, count) in [
        ("grants", tally.grants),
        ("blocking notifications", tally.blocking),
        ("moves of sessions", tally.moves),
        ("burials", tally.burials),
        ("claims of buried sessions", tally.buried_claims),
        ("value blocks written", tally.values),
        ("value blocks that became invalid", tally.invalidated),
        ("claims taken away", tally.forced),
        ("locks granted to callers", tally.caller_grants),
        ("calls that were cut", tally.cuts),
        ("requests walked away from", tally.walked_away),
        ("waits left at their place", tally.left),
        ("grants of what was left", tally.left_granted),
        ("unknown outcomes", tally.unknowns),
        ("kills of brokers", tally.kills),
        ("evictions and drains", tally.endings),
        ("records deleted by hand", tally.deleted),
        ("records damaged by hand", tally.damaged),
        ("requests refused for a limit", tally.refused),
        ("limits of running brokers changed", tally.limits_changed),
        ("sessions listened to", tally.listened),
        ("events heard by listening", tally.overheard),
    ] {
        assert!(count > 20, "only {count} {what} in 300 schedules");
    }
}
