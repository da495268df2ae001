//! What must hold of a history.

use std::collections::BTreeMap;

use sixpin_client::Mode;

use crate::history::{Event, Queue, Seen, Time, What};

/// How much happened: a history in which nothing happened proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Locks and conversions granted.
    pub grants: usize,
    /// Claims found lost.
    pub losses: usize,
    /// Sessions that had a claim.
    pub sessions: usize,
    /// Waiters seen to be granted, or to stay, behind others.
    pub orders: usize,
}

/// A stretch of time in which a client could use a mode.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Use {
    who: String,
    mode: Mode,
    from: Time,
    to: Time,
}

/// Checks everything. Violations are sentences.
pub fn check(seen: &Seen) -> (Tally, Vec<String>) {
    let mut events: Vec<&Event> = seen.events.iter().collect();
    events.sort_by_key(|event| event.at);
    let mut violations = Vec::new();
    let mut tally = Tally {
        grants: events.iter().filter(|event| matches!(event.what, What::Granted(..))).count(),
        losses: events.iter().filter(|event| matches!(event.what, What::Lost(_))).count(),
        sessions: events.iter().map(|event| &event.session).collect::<std::collections::BTreeSet<_>>().len(),
        orders: 0,
    };
    check_fences(&events, &mut violations);
    for (resource, uses) in uses(&events) {
        check_overlaps(resource, uses, &mut violations);
    }
    tally.orders = check_order(&seen.queues, &mut violations);
    (tally, violations)
}

/// In these runs nobody takes anything away, but a store that forgot: an outcome that is not known ends as granted, queued
/// or refused.
pub fn taken(seen: &Seen) -> Vec<String> {
    let taken = |event: &Event| match &event.what {
        What::Taken(asked) => {
            let (resource, at) = (event.resource, event.at);
            Some(format!("r{resource}: {} was told at {at} that its {asked} was taken away", name(event)))
        }
        _ => None,
    };
    seen.events.iter().filter_map(taken).collect()
}

/// Each grant that was heard while its lock was valid has a higher fence than every conflicting one heard before.
fn check_fences(events: &[&Event], violations: &mut Vec<String>) {
    let mut highest: BTreeMap<(usize, u8), (u64, String)> = BTreeMap::new();
    for event in events {
        let What::Granted(number, fence) = event.what else { continue };
        let Some(mode) = mode(number) else { continue };
        for other in Mode::ALL.into_iter().filter(|other| !mode.compatible(*other)) {
            if let Some((earlier, who)) = highest.get(&(event.resource, other as u8))
                && fence <= *earlier
            {
                violations.push(format!(
                    "r{}: {} got fence {fence} in {mode} after {who} had got {earlier} in {other}",
                    event.resource,
                    name(event)
                ));
            }
        }
        let entry = highest.entry((event.resource, number)).or_default();
        if fence > entry.0 {
            *entry = (fence, name(event));
        }
    }
}

/// When each resource was used, by whom, in which mode.
fn uses(events: &[&Event]) -> BTreeMap<usize, Vec<Use>> {
    let mut claims: BTreeMap<(&str, u64), Vec<&Event>> = BTreeMap::new();
    for event in events {
        claims.entry((&event.session, event.claim)).or_default().push(event);
    }
    let mut uses: BTreeMap<usize, Vec<Use>> = BTreeMap::new();
    for events in claims.into_values() {
        let resource = events[0].resource;
        uses.entry(resource).or_default().extend(uses_of_claim(&events));
    }
    uses
}

fn uses_of_claim(events: &[&Event]) -> Vec<Use> {
    let mut uses: Vec<Use> = Vec::new();
    // What the claim promises if nothing more is heard of it.
    let mut promise = 0;
    for event in events {
        let held = uses.last().map(|last| last.mode);
        match &event.what {
            What::Granted(number, _) | What::Lowered(number) => {
                if let Some(mode) = mode(*number) {
                    uses.push(Use { who: name(event), mode, from: event.at, to: event.at });
                }
            }
            What::Valid(until) => {
                promise = *until;
                if let (Some(last), Some(_)) = (uses.last_mut(), held) {
                    last.to = last.to.max(event.at);
                }
            }
            What::Released | What::Lost(_) | What::Taken(_) => return uses,
        }
    }
    // It was killed, or stands still: it may use the lock until its own deadline.
    if let Some(last) = uses.last_mut() {
        last.to = last.to.max(promise);
    }
    uses
}

fn check_overlaps(resource: usize, mut uses: Vec<Use>, violations: &mut Vec<String>) {
    uses.sort_by_key(|one| one.from);
    let mut open: Vec<Use> = Vec::new();
    for next in uses {
        open.retain(|earlier| earlier.to > next.from);
        for earlier in open.iter().filter(|earlier| earlier.who != next.who && !earlier.mode.compatible(next.mode)) {
            violations.push(format!(
                "r{resource}: {} used it in {} until {}, {} in {} from {}",
                earlier.who, earlier.mode, earlier.to, next.who, next.mode, next.from
            ));
        }
        open.push(next);
    }
}

/// First come, first served: those who wait keep their order, and nobody is granted past somebody who still waits.
/// Returns how many pairs of looks said something.
fn check_order(queues: &[Queue], violations: &mut Vec<String>) -> usize {
    let mut by_resource: BTreeMap<usize, BTreeMap<u64, &Queue>> = BTreeMap::new();
    for queue in queues {
        by_resource.entry(queue.resource).or_default().insert(queue.version, queue);
    }
    let mut compared = 0;
    for (resource, looks) in by_resource {
        let looks: Vec<&Queue> = looks.into_values().collect();
        for pair in looks.windows(2) {
            let (before, after) = (pair[0], pair[1]);
            let kept: Vec<&String> = before.waiting.iter().filter(|claim| after.waiting.contains(claim)).collect();
            let keeps: Vec<&String> = after.waiting.iter().filter(|claim| before.waiting.contains(claim)).collect();
            compared += usize::from(!before.waiting.is_empty());
            if kept != keeps {
                violations.push(format!("r{resource}: the queue was {:?}, then {:?}", before.waiting, after.waiting));
            }
            for (place, claim) in before.waiting.iter().enumerate() {
                let passed = before.waiting[..place].iter().find(|ahead| after.waiting.contains(ahead));
                if let Some(passed) = passed.filter(|_| after.granted.contains(claim)) {
                    violations.push(format!("r{resource}: {claim} was granted past {passed}, which came first"));
                }
            }
        }
    }
    compared
}

fn name(event: &Event) -> String {
    format!("{}#{}", event.session, event.claim)
}

fn mode(number: u8) -> Option<Mode> {
    Mode::ALL.into_iter().find(|mode| *mode as u8 == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PR: u8 = 4;
    const EX: u8 = 6;

    fn event(at: Time, session: &str, what: What) -> Event {
        Event { at, session: session.into(), claim: 1, resource: 0, what }
    }

    fn violations(events: &[Event]) -> Vec<String> {
        check(&Seen { events: events.to_vec(), queues: Vec::new() }).1
    }

    /// One holder after the other, with a proof of validity at the end of each use.
    fn in_turn() -> Vec<Event> {
        vec![
            event(10, "a", What::Granted(EX, 1)),
            event(20, "a", What::Valid(100)),
            event(21, "a", What::Released),
            event(30, "b", What::Granted(EX, 2)),
            event(40, "b", What::Valid(100)),
            event(41, "b", What::Released),
        ]
    }

    #[test]
    fn holders_in_turn_are_good() {
        assert_eq!(violations(&in_turn()), Vec::<String>::new());
    }

    #[test]
    fn two_holders_at_once_are_found() {
        let mut events = in_turn();
        events[1].at = 35;
        events[2].at = 36;
        assert!(violations(&events).iter().any(|text| text.contains("until 35")), "{:?}", violations(&events));
    }

    #[test]
    fn what_nobody_took_away_is_found() {
        let mut events = in_turn();
        events.push(Event { claim: 2, ..event(50, "b", What::Taken("lock".into())) });
        assert_eq!(taken(&Seen { events, queues: Vec::new() }).len(), 1);
    }

    #[test]
    fn holders_in_compatible_modes_are_good() {
        let events = [
            event(10, "a", What::Granted(PR, 1)),
            event(11, "b", What::Granted(PR, 1)),
            event(20, "a", What::Valid(100)),
            event(20, "b", What::Valid(100)),
        ];
        assert_eq!(violations(&events), Vec::<String>::new());
    }

    #[test]
    fn who_was_killed_holds_until_its_deadline() {
        let mut events = in_turn();
        events.remove(2);
        assert!(!violations(&events).is_empty(), "b was granted at 30, a may go on until 100");
        events[1].what = What::Valid(29);
        assert_eq!(violations(&events), Vec::<String>::new());
    }

    #[test]
    fn who_found_it_lost_held_until_the_last_proof() {
        let mut events = in_turn();
        events[2] = event(60, "a", What::Lost("deadline".into()));
        assert_eq!(violations(&events), Vec::<String>::new());
    }

    #[test]
    fn a_holder_that_lowered_its_mode_lets_others_in() {
        let mut events = vec![
            event(10, "a", What::Granted(EX, 1)),
            event(20, "a", What::Valid(100)),
            event(20, "a", What::Lowered(PR)),
            event(30, "b", What::Granted(PR, 2)),
            event(40, "a", What::Valid(100)),
            event(40, "b", What::Valid(100)),
        ];
        assert_eq!(violations(&events), Vec::<String>::new());
        events.remove(2);
        assert_eq!(violations(&events).len(), 1);
    }

    #[test]
    fn a_fence_that_falls_or_repeats_is_found() {
        for fence in [0, 1] {
            let mut events = in_turn();
            events[3].what = What::Granted(EX, fence);
            assert_eq!(violations(&events).len(), 1, "{fence}");
        }
        // Of grants that coexist, fences say nothing.
        let events = [event(10, "a", What::Granted(PR, 2)), event(11, "b", What::Granted(PR, 1))];
        assert_eq!(violations(&events), Vec::<String>::new());
    }

    fn queue(version: u64, waiting: &[&str], granted: &[&str]) -> Queue {
        let text = |claims: &[&str]| claims.iter().map(|claim| (*claim).to_owned()).collect();
        Queue { resource: 0, version, waiting: text(waiting), granted: text(granted) }
    }

    fn order(queues: &[Queue]) -> Vec<String> {
        check(&Seen { events: Vec::new(), queues: queues.to_vec() }).1
    }

    #[test]
    fn queues_are_compared_in_the_order_of_versions() {
        let served = [queue(3, &["c"], &["a", "b"]), queue(1, &["a", "b", "c"], &[]), queue(2, &["b", "c"], &["a"])];
        assert_eq!(order(&served), Vec::<String>::new());
    }

    #[test]
    fn a_queue_that_changes_its_order_is_found() {
        assert_eq!(order(&[queue(1, &["a", "b"], &[]), queue(2, &["b", "a"], &[])]).len(), 1);
    }

    #[test]
    fn who_is_granted_past_somebody_is_found() {
        assert_eq!(order(&[queue(1, &["a", "b"], &[]), queue(2, &["a"], &["b"])]).len(), 1);
        assert_eq!(order(&[queue(1, &["a", "b"], &[]), queue(2, &[], &["b"])]), Vec::<String>::new());
    }
}
