//! Schedules that every change must hold, and what makes a schedule worth running.

use sixpin_simulation::run;

/// Schedules that found something once. Each line says what.
const FOUND: &[(u64, &str)] = &[
    (1, "a resuming client was told what a batch in flight said"),
    (13, "a client told its program the old mode of a conversion that had happened"),
    (31, "a client never ended a lock whose deadline passed while it was cut off"),
    (135, "a converting claim of a moved session was taken for lost"),
    (165, "a grant by another broker was overlooked behind a cancel"),
    (208, "a burial of doubtful outcome was not repeated, and its mark stayed"),
    (267, "a mark came back after its session was closed"),
    (300, "a second resume was answered before the claims of the first were looked up"),
    (755, "a conversion that was answered as timed out happened through the broker that the session had left"),
    (1062, "a mark whose deletion had a doubtful outcome stayed"),
    (6130, "a claim that was void before it was created stayed, because its broker did not know that it was void"),
    (17623, "a session that moved twice was told of its claims before they were looked up"),
];

#[test]
fn schedules_that_found_something_hold() {
    for (seed, what) in FOUND {
        let (_, result) = run::one(*seed, false);
        assert_eq!(result, Ok(()), "seed {seed} found before: {what}");
    }
}

#[test]
fn one_seed_is_one_schedule_to_the_byte() {
    for seed in 0..8 {
        let (first, _) = run::one(seed, true);
        let (second, _) = run::one(seed, true);
        assert!(first.lines().len() > 100, "seed {seed} did next to nothing");
        assert_eq!(first.lines(), second.lines(), "seed {seed} ran differently the second time");
    }
}

/// A run in which nothing went wrong proves nothing.
#[test]
fn schedules_meet_what_they_are_for() {
    let report = run::many(0..100, 1);
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    let tally = report.tally;
    assert!(report.shortest >= 500, "a schedule had only {} events", report.shortest);
    for (what, count) in [
        ("grants", tally.grants),
        ("blocking notifications", tally.blocking),
        ("moves of sessions", tally.moves),
        ("burials", tally.burials),
        ("unknown outcomes", tally.unknowns),
        ("kills of brokers", tally.kills),
        ("evictions and drains", tally.endings),
    ] {
        assert!(count > 50, "only {count} {what} in 100 schedules");
    }
}
