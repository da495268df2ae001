//! Makes a schedule that violates something smaller, and its trace shorter, for people.

use crate::plan::{Changes, Fault};
use crate::run::{self, Case};

/// Takes away whatever can be taken away so that something still does not hold: faults, clients, brokers, resources, time.
///
/// Each change makes another schedule of the same seed, so this is a search and no proof that all that is left is needed.
pub fn shrink(case: &Case) -> Case {
    let mut best = case.clone();
    for _ in 0..2 {
        let before = best.changes.clone();
        for (fault, ..) in Fault::ALL {
            if best.plan().faults.has(*fault) {
                try_change(&mut best, |changes| changes.without.push(*fault));
            }
        }
        for clients in 1..best.plan().clients {
            if try_change(&mut best, |changes| changes.clients = Some(clients)) {
                break;
            }
        }
        if best.plan().brokers > 1 {
            let brokers = best.plan().brokers - 1;
            try_change(&mut best, |changes| changes.brokers = Some(brokers));
        }
        for resources in 1..best.plan().resources {
            if try_change(&mut best, |changes| changes.resources = Some(resources)) {
                break;
            }
        }
        while best.plan().heal_at > 400_000 {
            let heal_ms = best.plan().heal_at * 3 / 4_000;
            if !try_change(&mut best, |changes| changes.heal_ms = Some(heal_ms)) {
                break;
            }
        }
        if best.changes == before {
            break;
        }
    }
    best
}

/// Keeps a change if something still does not hold.
fn try_change(best: &mut Case, change: impl FnOnce(&mut Changes)) -> bool {
    let mut candidate = best.clone();
    change(&mut candidate.changes);
    let fails = run::one(&candidate, false).1.is_err();
    if fails {
        *best = candidate;
    }
    fails
}

/// The lines of a trace that have to do with a violation: the parties and the resource that its text names, faults, and
/// what brokers log. The newest `lines_max` of them.
pub fn excerpt<'a>(trace: &'a [String], violation: &str, lines_max: usize) -> Vec<&'a str> {
    let names: Vec<&str> = words(violation).filter(|word| is_name(word)).collect();
    let concerns = |line: &&String| {
        let always = ["FAULT", "HEAL", " log: ", " starts", " over: ", "programs leave"];
        always.iter().any(|text| line.contains(text)) || words(line).any(|word| names.contains(&word))
    };
    let lines: Vec<&str> = trace.iter().filter(concerns).map(String::as_str).collect();
    lines[lines.len().saturating_sub(lines_max)..].to_vec()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').filter(|word| !word.is_empty())
}

/// A client, a resource or a session: `c3`, `r0`, or a session's name.
fn is_name(word: &str) -> bool {
    let numbered = |kind: char| {
        word.strip_prefix(kind).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    numbered('c') || numbered('r') || (word.contains('-') && word.len() > 16)
}
