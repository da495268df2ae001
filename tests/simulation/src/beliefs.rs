//! What clients believe, held against what is stored: a client that counts its session valid is right in all that it
//! believes to have.

use sixpin_client::Loss;
use sixpin_client::logic::State;
use sixpin_core::backend::{Key, Slot};
use sixpin_core::broker::mark::Mark;
use sixpin_core::name::{ClaimId, ClaimNumber, SessionId};
use sixpin_core::resource::Resource;
use sixpin_proto::v1;
use v1::session_request::Body as Up;
use v1::session_response::Body as Down;

use crate::check::{core, mode};
use crate::network::Stream;
use crate::plan::{MS, SECOND};
use crate::world::World;

impl World {
    /// A record or mark was written: whoever believes something else is not valid any more.
    pub(crate) fn check_believers(&mut self, key: &Key, slot: &Slot) {
        match key {
            Key::Session(session) => self.check_buried(*session, slot),
            Key::Resource(id) => {
                let resource = (0..self.plan.resources).find(|resource| self.plan.resource(*resource) == *id);
                let stored = slot.bytes.as_ref().and_then(|bytes| Resource::decode(bytes, slot.version).ok());
                let (Some(resource), stored) = (resource, stored.unwrap_or_default()) else { return };
                self.check_ghosts(id, &stored);
                self.check_callers(resource, &stored);
                self.check_places(resource, &stored);
                for client in 0..self.clients.len() {
                    self.check_belief(client, resource, &stored);
                }
            }
        }
    }

    /// A session is buried: its client knows that it is over, by its own clock.
    fn check_buried(&mut self, session: SessionId, slot: &Slot) {
        // What a mark said may be lost; nothing is granted then before its client knows.
        if self.may_miss() || slot.bytes.as_ref().and_then(|bytes| Mark::decode(bytes).ok()) != Some(Mark::Dead) {
            return;
        }
        let valid = self.clients.iter().find(|node| node.session == Some(session) && node.is_valid(self.now));
        if let Some(client) = valid.map(|node| node.number).filter(|client| !self.is_abandoned(*client)) {
            self.check.fail(format!("session {session} was buried while c{client} counts it valid"));
        }
        let valid = |node: &crate::unary::Caller| node.session() == Some(session) && node.is_valid(self.now);
        if let Some(caller) = self.callers.iter().position(valid) {
            self.check.fail(format!("session {session} was buried while u{caller} counts it valid"));
        }
    }

    /// A session that is bound to a connection which ended, and by which its client holds nothing: nobody hears of it any
    /// more, whatever time it has (rule 12). The streams that its client tried before, or side by side, carry no session:
    /// they are over for the client, also where a broker never accepted them or has not heard of their end. The one that
    /// carries the session is not, while the client counts the session valid.
    fn is_abandoned(&self, client: usize) -> bool {
        let node = &self.clients[client];
        let own = |it: &Stream| it.client == client && it.life == node.life && !it.client_closed;
        let connected = self.streams.values().any(|it| own(it) && !it.broker_closed);
        let holds = node.held.keys().any(|claim| node.valid_mode(*claim, self.now).is_some());
        client < self.plan.bound && !connected && !holds
    }

    /// What a client believes to hold on a resource is in the record, in at least that mode.
    fn check_belief(&mut self, client: usize, resource: usize, stored: &Resource) {
        if self.may_miss() {
            return;
        }
        let node = &self.clients[client];
        let Some(session) = node.session else { return };
        let wrong = node.held.iter().filter(|(_, held)| held.resource == resource).find_map(|(claim, _)| {
            let believed = node.valid_mode(*claim, self.now).filter(|_| !self.is_touched(session, *claim))?;
            let view = stored.claim(ClaimId { session, number: ClaimNumber(*claim) });
            let granted = view.and_then(|view| view.granted);
            let kept = granted.is_some_and(|granted| core(believed).at_most(granted));
            (!kept).then(|| format!("c{client} believes to hold r{resource} in {believed:?} by claim {claim}, but the record says {granted:?}"))
        });
        if let Some(text) = wrong {
            self.check.fail(text);
        }
    }

    /// The same for one client that was told something.
    pub(crate) fn check_belief_now(&mut self, client: usize, resource: usize) {
        let key = Key::Resource(self.plan.resource(resource));
        let slot = self.store.read(std::slice::from_ref(&key)).pop().unwrap_or_default();
        let stored = slot.bytes.as_ref().and_then(|bytes| Resource::decode(bytes, slot.version).ok());
        self.check_belief(client, resource, &stored.unwrap_or_default());
    }

    /// A session's state changed. Nobody moves sessions but their own clients; no session is over before its client's
    /// deadline; and once nothing goes wrong any more, no session is lost.
    pub(crate) fn check_state(&mut self, client: usize, state: State) {
        self.trace(|| format!("c{client} is {state:?}"));
        let State::Lost(loss) = state else { return };
        let forced = self.clients[client].session.is_some_and(|session| self.check.forced.contains(&session));
        let forced = forced || self.may_miss();
        if loss == Loss::Moved {
            self.check.fail(format!("c{client} was told that somebody else moved its session"));
        }
        let bound = client < self.plan.bound;
        let node = &self.clients[client];
        if node.clock(self.now) < node.valid_until && !forced && !bound {
            self.check.fail(format!("c{client} was told that its session is over ({loss:?}) before its deadline"));
        }
        if self.well_from.saturating_add(3 * SECOND) < self.now && !forced && !bound {
            self.check.fail(format!("c{client} lost its session ({loss:?}) although nothing was wrong any more"));
        }
    }

    /// A broker evicts another one. While the store was away for all, nobody's silence meant anything (rule 3).
    pub(crate) fn check_eviction(&mut self, slot: usize) {
        let ttl = self.plan.broker_ttl.as_micros() as u64;
        let (since, until) = (self.store_away_since, self.store_away_until);
        let meaningless = until - since >= ttl && self.now >= until && (self.now - until) * 100 < ttl * 98;
        if meaningless {
            self.check.fail(format!("b{slot} evicts a broker for a silence in which the store was away"));
        }
    }

    /// What a client says may end a claim, or names what a move must keep.
    pub(crate) fn note_sent(&mut self, client: usize, stream: u64, message: &v1::SessionRequest) {
        let Some(session) = self.clients[client].session else { return };
        match &message.body {
            Some(Up::Unlock(unlock)) => {
                self.check.let_go(session, unlock.claim);
                self.check.released.insert(ClaimId { session, number: ClaimNumber(unlock.claim) });
            }
            Some(Up::Convert(convert)) => {
                self.check.converted.insert(ClaimId { session, number: ClaimNumber(convert.claim) });
            }
            Some(Up::Cancel(cancel)) => self.check.let_go(session, cancel.claim),
            Some(Up::Close(_) | Up::ConfirmLost(_)) => self.check.close(session),
            Some(Up::Resume(resume)) => {
                self.check.moved.insert(session);
                let lasts = |live: &&v1::LiveClaim| live.operation == 0 || live.wait_ms.is_none();
                let waits =
                    |live: &&v1::LiveClaim| live.operation != 0 || self.clients[client].held.contains_key(&live.claim);
                let kept = resume.claims.iter().filter(lasts).filter(waits).map(|live| live.claim).collect();
                for void in &resume.void_claims {
                    self.check.give_up(session, *void);
                }
                if let Some(stream) = self.streams.get_mut(&stream) {
                    stream.kept = kept;
                }
            }
            _ => {}
        }
    }

    /// A session that moved keeps all its claims and places.
    pub(crate) fn check_resumed(&mut self, client: usize, stream: u64, message: &v1::SessionResponse) {
        let Some(Down::Resumed(resumed)) = &message.body else { return };
        if self.may_miss() {
            return;
        }
        let node = &self.clients[client];
        let Some(session) = node.session.filter(|_| node.is_valid(self.now)) else { return };
        let Some(stream) = self.streams.get(&stream) else { return };
        let ended = |state: &&v1::ClaimState| {
            let done = state.completion.as_ref().map(v1::Completion::status);
            mode_held(state.mode().into()).is_none()
                && !state.waiting
                && matches!(done, None | Some(v1::Status::Lost | v1::Status::Gone))
        };
        let lost = resumed
            .claims
            .iter()
            .filter(ended)
            .filter(|state| !self.is_touched(session, state.claim))
            .find(|state| stream.kept.contains(&state.claim) && !self.check.is_let_go(session, state.claim));
        if let Some(state) = lost {
            let text = format!("c{client} moved and lost claim {}", state.claim);
            self.check.fail(text);
        }
    }

    /// How long it may take after the faults until everything that was held or waited for is free: brokers that are
    /// silent, their sessions, a sweep, and some patience.
    pub(crate) fn patience(&self) -> u64 {
        let delay = self.plan.lock_delay.as_micros() as u64;
        // Nothing is granted for a while after something was lost.
        let losses = if self.has_lost() { 5 * SECOND } else { 0 };
        6 * SECOND + 4 * delay + losses + self.patience_by_hand() + 100 * MS
    }
}

fn mode_held(number: i32) -> Option<sixpin_client::Mode> {
    (number != 0).then(|| mode(number))
}
