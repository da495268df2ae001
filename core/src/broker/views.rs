//! What people see of a broker.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Broker;
use super::Phase;
use super::api::{
    BrokerState, BrokerView, LockspaceTally, Query, Reply, ReplyTo, SessionState, SessionView, StatusView, StoreState,
    Tally, WaitView,
};
use super::liveness::Observed;
use super::table::{Claim, Life, Session};
use crate::backend::Pulse;
use crate::limits::{KEEPALIVES_PER_TTL, PAGE_MAX};
use crate::name::{ClaimId, ClaimNumber, Lockspace, SessionId, Version};
use crate::standing::Standing;

impl Broker {
    pub(super) fn query(&mut self, from: ReplyTo, query: Query) {
        let reply = match query {
            Query::Sessions { after, limit } => self.view_sessions(after, limit),
            Query::SessionsNamed { sessions } => self.view_named(&sessions),
            Query::Claims { session, after, limit } => self.view_claims(session, after, limit),
            Query::Waits { after, looks } => self.view_waits(after, looks),
            Query::Brokers => Reply::Brokers(self.view_brokers()),
            Query::Tally { after, claims } => Reply::Tally(Box::new(self.tally(after, claims))),
            Query::Status => Reply::Status(self.view_status()),
        };
        self.reply(from, reply);
    }

    fn view_sessions(&self, after: Option<SessionId>, limit: usize) -> Reply {
        use std::ops::Bound::{Excluded, Unbounded};
        let limit = limit.clamp(1, PAGE_MAX);
        let from = after.map_or(Unbounded, Excluded);
        let mut page = self.sessions.range((from, Unbounded));
        let sessions = page.by_ref().take(limit).map(|(id, session)| self.view_session(*id, session)).collect();
        Reply::Sessions { sessions, more: page.next().is_some(), total: self.sessions.len() }
    }

    fn view_named(&self, ids: &[SessionId]) -> Reply {
        let known = ids.iter().take(PAGE_MAX).filter_map(|id| Some(self.view_session(*id, self.sessions.get(id)?)));
        Reply::Sessions { sessions: known.collect(), more: false, total: self.sessions.len() }
    }

    fn view_session(&self, id: SessionId, session: &Session) -> SessionView {
        SessionView {
            session: id,
            client: session.client.clone(),
            principal: session.principal.clone(),
            age: self.now.mono.saturating_sub(session.since),
            silence: self.now.mono.saturating_sub(session.heard),
            held: session.held(),
            waiting: session.counts.that_wait(),
            state: match session.life {
                Life::Moving => SessionState::Moving,
                Life::Vouching => SessionState::Vouching,
                Life::Ending => SessionState::Ending,
                Life::Burying { .. } => SessionState::Burying,
                Life::Closing => SessionState::Closing,
            },
            bound: session.bound,
            connected: session.connection.is_some(),
            move_number: session.move_number,
        }
    }

    fn view_claims(&self, id: SessionId, after: ClaimNumber, limit: usize) -> Reply {
        use std::ops::Bound::{Excluded, Unbounded};
        let claims = self.sessions.get(&id).map(|session| {
            let page = session.claims.range((Excluded(after), Unbounded)).take(limit);
            page.map(|(number, claim)| (*number, claim.resource.clone())).collect()
        });
        Reply::Claims(claims.unwrap_or_default())
    }

    fn view_waits(&self, after: Option<SessionId>, looks: usize) -> Reply {
        use std::ops::Bound::{Excluded, Unbounded};
        let mut sessions = self.sessions.range((after.map_or(Unbounded, Excluded), Unbounded));
        let (mut waits, mut looked, mut last) = (Vec::new(), 0, None);
        for (id, session) in sessions.by_ref() {
            last = Some(*id);
            looked += 1;
            if session.counts.that_wait() > 0 && session.life.is_vouched_for() {
                looked += session.claims.len();
                waits.extend(waits_of(*id, session));
            }
            if looked >= looks {
                break;
            }
        }
        Reply::Waits { waits, next: last.filter(|_| sessions.next().is_some()) }
    }

    fn tally(&self, after: Option<SessionId>, claims: usize) -> Tally {
        use std::ops::Bound::{Excluded, Unbounded};
        let now = self.now.mono;
        let mut page = self.sessions.range((after.map_or(Unbounded, Excluded), Unbounded)).peekable();
        let (mut tally, mut seen) = (Tally::default(), 0);
        while let Some((id, session)) = page.next() {
            if session.life.is_vouched_for() && session.came_back {
                let lag = now.saturating_sub(session.heard).saturating_sub(id.ttl() / KEEPALIVES_PER_TTL);
                tally.keepalive_lag = tally.keepalive_lag.max(lag);
            }
            session.claims.values().for_each(|claim| count(&mut tally.lockspaces, claim, now));
            // One without claims takes time as well.
            seen += session.claims.len() + 1;
            if seen >= claims {
                tally.next = page.peek().is_some().then_some(*id);
                break;
            }
        }
        tally
    }

    fn view_brokers(&self) -> Vec<BrokerView> {
        let own = BrokerView {
            pulse: Pulse {
                broker: self.config.incarnation,
                version: Version::ABSENT,
                gone: false,
                beat: 0,
                broker_ttl: self.config.broker_ttl,
                round_trip: self.liveness.longest_round_trip(),
                // What it announces, others see; here it says what it does.
                standing: Standing { formats: self.writing.done(), ..self.standing() },
                info: self.config.info.clone(),
            },
            state: match self.phase {
                Phase::Draining { .. } | Phase::Leaving => BrokerState::Draining,
                _ if self.is_valid() => BrokerState::Alive,
                _ => BrokerState::Silent,
            },
            silence: Duration::ZERO,
            own: true,
            burying: self.sessions.values().filter(|session| session.life.is_burying()).count(),
        };
        let others = self.liveness.others.values().map(|known| self.view_other(known));
        std::iter::once(own).chain(others).collect()
    }

    fn view_other(&self, known: &Observed) -> BrokerView {
        let now = self.now.mono;
        let state = if known.gone_since.is_some() {
            BrokerState::Gone
        } else if known.is_silent(now) {
            BrokerState::Silent
        } else {
            BrokerState::Alive
        };
        BrokerView {
            pulse: known.pulse.clone(),
            state,
            silence: now.saturating_sub(known.since),
            own: false,
            // Those of a broker that lives are only known by sight.
            burying: if state == BrokerState::Alive {
                0
            } else {
                self.strangers.waiting_for_burial(known.pulse.broker)
            },
        }
    }

    fn view_status(&self) -> StatusView {
        let state = match self.phase {
            Phase::Starting => StoreState::Starting,
            Phase::Serving if !self.is_valid() => StoreState::Silent,
            Phase::Serving if self.settling.may_grant() => StoreState::Serving,
            Phase::Serving => StoreState::Settling,
            Phase::Draining { .. } | Phase::Leaving => StoreState::Draining,
            Phase::Over => StoreState::Over,
        };
        StatusView {
            state,
            vouches: self.is_valid(),
            sessions: self.sessions.len(),
            claims: self.sessions.values().map(|session| session.claims.len()).sum(),
            waiting: self.sessions.values().map(|session| session.counts.that_wait()).sum(),
            ..self.counters.clone()
        }
    }
}

/// The claims of a session that stand in a queue.
fn waits_of(session: SessionId, state: &Session) -> impl Iterator<Item = WaitView> {
    let waiting = state.claims.iter().filter(|(_, claim)| claim.stands_in_a_queue());
    waiting.filter_map(move |(number, claim)| {
        let since_ms = claim.pending.as_ref()?.since_ms;
        let claim_id = ClaimId { session, number: *number };
        Some(WaitView { claim: claim_id, resource: claim.resource.clone(), granted: claim.granted, since_ms })
    })
}

fn count(lockspaces: &mut BTreeMap<Lockspace, LockspaceTally>, claim: &Claim, now: Duration) {
    let lockspace = &claim.resource.lockspace;
    // Not by `entry`, which would want a copy of the name for every claim.
    let tally = match lockspaces.get_mut(lockspace) {
        Some(tally) => tally,
        None => lockspaces.entry(lockspace.clone()).or_default(),
    };
    match (&claim.pending, claim.granted) {
        (None, Some(_)) => tally.granted += 1,
        (Some(_), Some(_)) => tally.converting += 1,
        (Some(_), None) => tally.waiting += 1,
        // It came with a move, and how it stands is not known yet.
        (None, None) => {}
    }
    if let Some(asked) = claim.pending.as_ref().and_then(|operation| operation.asked) {
        tally.oldest_wait = tally.oldest_wait.max(now.saturating_sub(asked));
    }
}
