//! The longest waits and what most wait for, of all brokers that can be asked.
//!
//! Each broker knows the waits of its own sessions. Where a chain leads to a session of another broker, all are asked for the waits
//! of that session, and the chain goes on with what they say.
//!
//! Invariants: a chain ends with a holder only if every broker that could know better was asked and answered; whoever did not
//! answer is named.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sixpin_proto::v1;

use super::failure::Failure;
use super::vouchers::Neighbours;

/// Chains are followed so often from broker to broker.
const ROUNDS_MAX: usize = 8;
/// The most entries that a broker takes or gives at once.
const PAGE: usize = 1_000;

/// Which waits, and which resources.
#[derive(Debug, Clone)]
pub struct Which {
    /// The lockspace; empty: all.
    pub lockspace: String,
    /// The beginning of the resources' names.
    pub prefix: String,
    /// Waits of at least this long.
    pub min: Duration,
    /// At most so many.
    pub limit: u32,
}

/// What the brokers said.
#[derive(Debug)]
pub struct Gathered<T> {
    /// All of it together.
    pub found: Vec<T>,
    /// How many shorter waits were left out, because answers would have been too large.
    pub left_out: u32,
    /// Brokers that answered.
    answered: Vec<v1::BrokerEntry>,
    /// Names of those that did not.
    pub unanswered: Vec<String>,
    /// Why the last of these did not.
    pub trouble: Option<Failure>,
}

/// A wait, and which waits its chain has passed.
struct Followed {
    info: v1::WaitInfo,
    passed: BTreeSet<(String, u64)>,
}

/// The longest waits, each with its chain as far as it can be followed.
pub async fn waits(neighbours: &Neighbours, brokers: &[v1::BrokerEntry], which: &Which) -> Gathered<v1::WaitInfo> {
    let request = v1::ListWaitsRequest {
        lockspace: which.lockspace.clone(),
        prefix: which.prefix.clone(),
        min_ms: which.min.as_millis() as u64,
        limit: which.limit,
        sessions: Vec::new(),
    };
    let mut gathered = ask_for_waits(neighbours, brokers, &request).await;
    gathered.found.truncate(which.limit as usize);
    let waits = std::mem::take(&mut gathered.found).into_iter().map(Followed::new).collect();
    // One that was not asked may know more, as one inside a program does.
    let all = gathered.answered.len() == neighbours.vouching().len() && neighbours.inside().is_empty();
    gathered.found = follow(neighbours, &gathered.answered, all, waits).await;
    gathered
}

/// Follows chains from broker to broker, among those that answered, which may be all.
async fn follow(
    neighbours: &Neighbours,
    brokers: &[v1::BrokerEntry],
    all: bool,
    mut waits: Vec<Followed>,
) -> Vec<v1::WaitInfo> {
    for _ in 0..ROUNDS_MAX {
        let sessions: BTreeSet<String> = waits.iter().filter_map(Followed::leads_to).map(str::to_owned).collect();
        if sessions.is_empty() {
            break;
        }
        let (longest, answered) = waits_of(neighbours, brokers, sessions).await;
        let went_on = waits.iter_mut().filter_map(|wait| wait.follow(&longest, all && answered).then_some(())).count();
        if went_on == 0 {
            break;
        }
    }
    waits.into_iter().map(|wait| wait.info).collect()
}

/// The longest wait of each of these sessions, and whether all brokers answered.
async fn waits_of(
    neighbours: &Neighbours,
    brokers: &[v1::BrokerEntry],
    sessions: BTreeSet<String>,
) -> (BTreeMap<String, v1::WaitInfo>, bool) {
    let sessions: Vec<String> = sessions.into_iter().collect();
    let (mut longest, mut all_answered) = (BTreeMap::new(), true);
    for sessions in sessions.chunks(PAGE) {
        let request = v1::ListWaitsRequest { limit: PAGE as u32, sessions: sessions.to_vec(), ..Default::default() };
        let gathered = ask_for_waits(neighbours, brokers, &request).await;
        all_answered &= gathered.trouble.is_none();
        for wait in gathered.found {
            longest.entry(claim_of(&wait).0).or_insert(wait);
        }
    }
    (longest, all_answered)
}

/// What all brokers say to this, the longest wait first. Of a session that moved two brokers may speak.
async fn ask_for_waits(
    neighbours: &Neighbours,
    brokers: &[v1::BrokerEntry],
    request: &v1::ListWaitsRequest,
) -> Gathered<v1::WaitInfo> {
    let answers = brokers.iter().map(async |broker| {
        let answer = neighbours.ask(broker, async |way| way.list_waits(request.clone()).await).await;
        (broker, answer.map(|answer| (answer.waits, answer.left_out)))
    });
    let mut gathered = Gathered::new();
    let mut waits = BTreeMap::new();
    for (broker, answer) in futures::future::join_all(answers).await {
        let Some((found, beyond)) = gathered.answer(broker, answer) else { continue };
        gathered.left_out += beyond;
        for wait in found {
            waits.entry(claim_of(&wait)).or_insert(wait);
        }
    }
    gathered.found = waits.into_values().collect();
    gathered.found.sort_by_key(|wait| Reverse(wait.claim.as_ref().map_or(0, |claim| claim.age_ms)));
    gathered
}

/// What most wait for: that with most waiters first.
pub async fn contended(
    neighbours: &Neighbours,
    brokers: &[v1::BrokerEntry],
    which: &Which,
) -> Gathered<v1::ResourceSummary> {
    let request = v1::ListContendedRequest {
        lockspace: which.lockspace.clone(),
        prefix: which.prefix.clone(),
        limit: which.limit,
    };
    let answers = brokers.iter().map(async |broker| {
        let answer = neighbours.ask(broker, async |way| way.list_contended(request.clone()).await).await;
        (broker, answer)
    });
    let (mut gathered, mut newest) = (Gathered::new(), BTreeMap::new());
    for (broker, answer) in futures::future::join_all(answers).await {
        let found = gathered.answer(broker, answer).map(|answer| answer.resources).unwrap_or_default();
        for summary in found {
            let v1::Resource { lockspace, name } = summary.resource.clone().unwrap_or_default();
            let known: &mut v1::ResourceSummary = newest.entry((lockspace, name)).or_default();
            if known.version < summary.version {
                *known = summary;
            }
        }
    }
    gathered.found = newest.into_values().collect();
    gathered.found.sort_by_key(|summary| Reverse(summary.waiting + summary.converting));
    gathered.found.truncate(which.limit as usize);
    gathered
}

impl<T> Gathered<T> {
    fn new() -> Self {
        Self { found: Vec::new(), left_out: 0, answered: Vec::new(), unanswered: Vec::new(), trouble: None }
    }

    /// What a broker answered; notes that it did not.
    fn answer<A>(&mut self, broker: &v1::BrokerEntry, answer: Result<A, Failure>) -> Option<A> {
        match answer {
            Ok(answer) => {
                self.answered.push(broker.clone());
                Some(answer)
            }
            Err(failure) => {
                self.unanswered.push(broker.name.clone());
                self.trouble = Some(failure);
                None
            }
        }
    }
}

impl Followed {
    fn new(info: v1::WaitInfo) -> Self {
        Self { passed: BTreeSet::from([claim_of(&info)]), info }
    }

    /// The session of another broker to which the chain leads.
    fn leads_to(&self) -> Option<&str> {
        let last = self.info.chain.last().filter(|_| self.info.end() == v1::ChainEnd::Elsewhere)?;
        Some(&last.session)
    }

    /// Goes on where the chain leads to, with what is known of the waits there, which may be all. True if it leads further.
    fn follow(&mut self, waits: &BTreeMap<String, v1::WaitInfo>, all: bool) -> bool {
        let Some(session) = self.leads_to() else { return false };
        let Some(next) = waits.get(session) else {
            if all {
                self.info.set_end(v1::ChainEnd::Holder);
            }
            return false;
        };
        if !self.passed.insert(claim_of(next)) {
            self.info.set_end(v1::ChainEnd::Cycle);
            return false;
        }
        self.info.chain.extend(next.chain.iter().cloned());
        self.info.end = next.end;
        true
    }
}

fn claim_of(wait: &v1::WaitInfo) -> (String, u64) {
    wait.claim.as_ref().map(|claim| (claim.session.clone(), claim.claim)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(session: &str) -> v1::ClaimInfo {
        v1::ClaimInfo { session: session.into(), claim: 1, ..Default::default() }
    }

    fn wait(session: &str, blocker: &str) -> v1::WaitInfo {
        v1::WaitInfo { claim: Some(claim(session)), chain: vec![claim(blocker)], end: v1::ChainEnd::Elsewhere.into() }
    }

    /// Where a chain from `a` leads to, over several brokers, and how it ends.
    fn followed(others: &[(&str, &str)], all: bool) -> (String, v1::ChainEnd) {
        let others = others.iter().map(|(session, blocker)| ((*session).to_owned(), wait(session, blocker))).collect();
        let mut followed = Followed::new(wait("a", "b"));
        while followed.follow(&others, all) {}
        let names: Vec<&str> = followed.info.chain.iter().map(|claim| claim.session.as_str()).collect();
        (names.join(" "), followed.info.end())
    }

    #[test]
    fn a_chain_goes_on_at_another_broker() {
        assert_eq!(followed(&[], true), ("b".into(), v1::ChainEnd::Holder));
        assert_eq!(followed(&[("b", "c"), ("c", "d")], true), ("b c d".into(), v1::ChainEnd::Holder));
    }

    #[test]
    fn who_was_not_asked_may_know_more() {
        assert_eq!(followed(&[("b", "c")], false), ("b c".into(), v1::ChainEnd::Elsewhere));
    }

    #[test]
    fn a_cycle_over_several_brokers_is_seen() {
        assert_eq!(followed(&[("b", "c"), ("c", "a"), ("a", "b")], false), ("b c a".into(), v1::ChainEnd::Cycle));
        assert_eq!(followed(&[("b", "c"), ("c", "b")], false), ("b c b".into(), v1::ChainEnd::Cycle));
    }
}
