//! What happens to locks and sessions.
//!
//! An engine counts with counters that it has at hand: it looks for them when a lockspace, a mode or an outcome comes for the first
//! time, and compares a name with the one before afterwards.

use std::collections::HashMap;
use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use sixpin_core::broker::api::{Ended, Fact, LostReason};
use sixpin_core::mode::Mode;
use sixpin_core::name::{Lockspace, ResourceId};

use super::histogram::{Histogram, LOCKS};
use super::labels::{Classes, Counters, Histograms, Labels, Lockspaces, OTHER, label};
use super::losses::{Loss, Losses};

/// What all engines count together.
#[derive(Debug, Clone)]
pub(super) struct Locks {
    lockspaces: Arc<Lockspaces>,
    classes: Arc<Classes>,
    requests: Counters,
    waits: Histograms,
    holds: Histograms,
    lost: Counters,
    losses: Losses,
}

impl Locks {
    pub(super) fn new(lockspaces: Lockspaces, classes: Classes) -> Self {
        let histograms = || Histograms::new_with_constructor(|| Histogram::new(&LOCKS));
        let lost = Counters::default();
        // What never happened is shown as well, or nobody could see how often it did since.
        for reason in [LostReason::Expired, LostReason::Forced, LostReason::Amnesia, LostReason::Moved] {
            lost.get_or_create_owned(&label("reason", word(reason)));
        }
        let (waits, holds) = (histograms(), histograms());
        let (lockspaces, classes, requests) = (Arc::new(lockspaces), Arc::new(classes), Counters::default());
        Self { lockspaces, classes, requests, waits, holds, lost, losses: Losses::default() }
    }

    /// The sessions lost last.
    pub(super) fn losses(&self) -> &Losses {
        &self.losses
    }

    pub(super) fn lockspaces(&self) -> &Arc<Lockspaces> {
        &self.lockspaces
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Locks and conversions that were asked for, by how that ended";
        registry.register("sixpin_lock_requests", help, self.requests.clone());
        let help = "How long locks and conversions that were granted were waited for";
        registry.register("sixpin_lock_wait_seconds", help, self.waits.clone());
        let help = "How long locks were held that are not held any more";
        registry.register("sixpin_lock_hold_seconds", help, self.holds.clone());
        let help = "Sessions that were lost, by what took them";
        registry.register("sixpin_sessions_lost", help, self.lost.clone());
    }
}

fn word(reason: LostReason) -> &'static str {
    match reason {
        LostReason::Expired => "expired",
        LostReason::Forced => "forced",
        LostReason::Amnesia => "amnesia",
        LostReason::Moved => "moved",
        LostReason::Closed => "closed",
    }
}

/// What one engine counts.
#[derive(Debug)]
pub struct LockCounts {
    locks: Locks,
    cells: Vec<Cell>,
    /// Where lockspaces that have their own are counted, each class of names apart, and where all others are.
    places: HashMap<(Lockspace, Option<usize>), usize>,
    others: HashMap<Option<usize>, usize>,
    /// What came last, and where its counters are.
    last: Option<((Lockspace, Option<usize>), usize)>,
}

impl LockCounts {
    /// Nothing was counted yet.
    pub(super) fn new(locks: Locks) -> Self {
        Self { cells: Vec::new(), places: HashMap::new(), others: HashMap::new(), last: None, locks }
    }

    /// Counts what the machine has noted.
    pub fn count(&mut self, fact: Fact) {
        match fact {
            Fact::Asked { on, mode, ended, waited, .. } => {
                let (cell, locks) = self.cell(on);
                cell.request(locks, mode, ended).inc();
                if ended == Ended::Granted {
                    cell.wait.took(waited);
                }
            }
            Fact::Held { on, held, .. } => self.cell(on).0.hold.took(held),
            Fact::Lost { reason, sessions, which } => {
                let lost = self.locks.lost.get_or_create_owned(&label("reason", word(reason)));
                lost.inc_by(sessions as u64);
                self.locks.losses.add(Loss::now(reason, sessions, which));
            }
        }
    }

    /// Where a resource is counted.
    fn cell(&mut self, on: ResourceId) -> (&mut Cell, &Locks) {
        let class = self.locks.classes.of(&on.name);
        let place = match &self.last {
            Some(((lockspace, last), place)) if *lockspace == on.lockspace && *last == class => *place,
            _ => {
                let place = self.place(&on.lockspace, class);
                self.last = Some(((on.lockspace, class), place));
                place
            }
        };
        (&mut self.cells[place], &self.locks)
    }

    fn place(&mut self, lockspace: &Lockspace, class: Option<usize>) -> usize {
        let key = (lockspace.clone(), class);
        if let Some(place) = self.places.get(&key) {
            return *place;
        }
        if self.locks.lockspaces.has_own(lockspace) {
            let place = self.add(lockspace.as_str(), class);
            self.places.insert(key, place);
            return place;
        }
        if let Some(place) = self.others.get(&class) {
            return *place;
        }
        let place = self.add(OTHER, class);
        self.others.insert(class, place);
        place
    }

    fn add(&mut self, lockspace: &str, class: Option<usize>) -> usize {
        let classes = &self.locks.classes;
        let mut labels = label("lockspace", lockspace);
        labels.extend(classes.are_there().then(|| ("class", classes.called(class, lockspace).to_owned())));
        self.cells.push(Cell::new(&self.locks, labels));
        self.cells.len() - 1
    }
}

/// The modes, and one place for what is known of none.
const MODES: usize = 7;
const OUTCOMES: usize = Ended::ALL.len();

/// The counters of one lockspace, or of one class of names in it.
#[derive(Debug)]
struct Cell {
    /// What all of them are labelled with.
    labels: Labels,
    /// By mode and outcome; those that never came are not there yet.
    requests: [[Option<Counter>; OUTCOMES]; MODES],
    wait: Histogram,
    hold: Histogram,
}

impl Cell {
    fn new(locks: &Locks, labels: Labels) -> Self {
        Self {
            requests: Default::default(),
            wait: locks.waits.get_or_create_owned(&labels),
            hold: locks.holds.get_or_create_owned(&labels),
            labels,
        }
    }

    fn request(&mut self, locks: &Locks, mode: Option<Mode>, ended: Ended) -> &Counter {
        let place = mode.map_or(MODES - 1, |mode| usize::from(mode.number()));
        self.requests[place][ended as usize].get_or_insert_with(|| {
            let mode = mode.map_or_else(|| "unknown".to_owned(), |mode| mode.to_string().to_lowercase());
            let mut labels = self.labels.clone();
            labels.extend([("mode", mode), ("outcome", ended.to_string())]);
            locks.requests.get_or_create_owned(&labels)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus_client::encoding::text::encode;

    use sixpin_core::name::{ClaimId, ClaimNumber, Incarnation, ResourceName, SessionId};

    use super::*;
    use crate::metrics::LOCKSPACES_MAX;

    fn text(locks: &Locks) -> String {
        let (mut registry, mut text) = (Registry::default(), String::new());
        locks.register(&mut registry);
        encode(&mut text, &registry).unwrap();
        text
    }

    fn asked(lockspace: &str, ended: Ended) -> Fact {
        asked_for(lockspace, "r", ended)
    }

    fn asked_for(lockspace: &str, name: &str, ended: Ended) -> Fact {
        let (lockspace, name) = (Lockspace::new(lockspace).unwrap(), ResourceName::new(name).unwrap());
        let (on, waited) = (ResourceId { lockspace, name }, Duration::from_millis(3));
        let session = SessionId { opener: Incarnation(1), serial: 1, ttl_ms: 1_000 };
        let claim = ClaimId { session, number: ClaimNumber(1) };
        Fact::Asked { on, claim, mode: Some(Mode::EX), ended, queued: false, waited }
    }

    #[test]
    fn each_is_counted_where_it_belongs() {
        let locks = Locks::new(Lockspaces::new([]), Classes::default());
        let mut counts = LockCounts::new(locks.clone());
        for lockspace in ["a", "b", "a", "a"] {
            counts.count(asked(lockspace, Ended::Granted));
        }
        counts.count(asked("a", Ended::TimedOut));
        counts.count(Fact::Lost { reason: LostReason::Expired, sessions: 2, which: None });
        let text = text(&locks);
        for line in [
            "sixpin_lock_requests_total{lockspace=\"a\",mode=\"ex\",outcome=\"granted\"} 3\n",
            "sixpin_lock_requests_total{lockspace=\"b\",mode=\"ex\",outcome=\"granted\"} 1\n",
            "sixpin_lock_requests_total{lockspace=\"a\",mode=\"ex\",outcome=\"timed_out\"} 1\n",
            "sixpin_lock_wait_seconds_count{lockspace=\"a\"} 3\n",
            "sixpin_sessions_lost_total{reason=\"expired\"} 2\n",
            "sixpin_sessions_lost_total{reason=\"amnesia\"} 0\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        assert!(!text.contains(OTHER), "{text}");
    }

    #[test]
    fn classes_of_names_are_counted_apart() {
        let classes = Classes::new(&[("invoice/".to_owned(), "invoices".to_owned())].into(), []);
        let locks = Locks::new(Lockspaces::new([]), classes);
        let mut counts = LockCounts::new(locks.clone());
        for name in ["invoice/1", "invoice/2", "job"] {
            counts.count(asked_for("a", name, Ended::Granted));
        }
        let text = text(&locks);
        let requests = "sixpin_lock_requests_total{lockspace=\"a\",class=";
        for line in [
            format!("{requests}\"invoices\",mode=\"ex\",outcome=\"granted\"}} 2\n"),
            format!("{requests}\"other\",mode=\"ex\",outcome=\"granted\"}} 1\n"),
            "sixpin_lock_wait_seconds_count{lockspace=\"a\",class=\"invoices\"} 2\n".to_owned(),
        ] {
            assert!(text.contains(&line), "{line}{text}");
        }
        assert!(!text.contains("invoice/"), "{text}");
    }

    #[test]
    fn what_has_no_series_of_its_own_is_counted_together() {
        let locks = Locks::new(Lockspaces::new([]), Classes::default());
        let mut counts = LockCounts::new(locks.clone());
        for n in 0..1_000 {
            counts.count(asked(&format!("l{n}"), Ended::Granted));
        }
        let text = text(&locks);
        let rest = 1_000 - (LOCKSPACES_MAX - 1);
        let line =
            format!("sixpin_lock_requests_total{{lockspace=\"other\",mode=\"ex\",outcome=\"granted\"}} {rest}\n");
        assert!(text.contains(&line), "{text}");
        assert!(text.lines().count() < LOCKSPACES_MAX * 50);
    }
}
