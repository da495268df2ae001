//! Reads, hints and polls: what a look at the store says of a resource.
//!
//! A read may be old, so it decides nothing. It says which version to expect next, and whether something is there to be told;
//! what it says of claims of this broker is told once a compare has confirmed it (`reconcile`).
//!
//! What somebody waits for here is watched, and read again every second, because every hint may be lost; where somebody only
//! wants to hear whom it blocks, every five.
//!
//! Invariant: at most one read of a resource is under way, and none while a write of it is.

use std::time::Duration;

use super::Broker;
use super::api::{Effect, Ending};
use super::lanes::PAUSE_FIRST;
use super::shard::{Entry, Review, Stored};
use super::state::State;
use super::timers::Timer;
use crate::backend::{Key, Slot, StoreError};
use crate::name::{ClaimId, ResourceId, Version};
use crate::planted::Bug;
use crate::record::RecordError;
use crate::resource::Resource;

/// A resource on which somebody waits is read again after this, in case every hint was lost.
const POLL_WAITING: Duration = Duration::from_secs(1);
/// The same where somebody only wants to hear whom it blocks.
const POLL_LISTENING: Duration = Duration::from_secs(5);

impl Broker {
    /// Slots that were read. Those that changed while the read was under way are better known already.
    pub(super) fn take_slots(&mut self, keys: Vec<Key>, result: Result<Vec<Slot>, StoreError>) {
        let slots = match result {
            Ok(slots) if slots.len() == keys.len() => slots.into_iter().map(Some).collect(),
            Ok(_) => vec![None; keys.len()],
            Err(StoreError::Amnesia(text)) => {
                self.store_forgot(text);
                return;
            }
            Err(StoreError::Evicted) => {
                self.end(Ending::Evicted);
                return;
            }
            Err(_) => {
                self.looked_in_vain(&keys);
                vec![None; keys.len()]
            }
        };
        for (key, slot) in keys.into_iter().zip(slots) {
            self.sweep_saw(&key, slot.as_ref());
            match key {
                Key::Resource(id) => self.resource_slot(&id, slot),
                Key::Session(session) => self.mark_slot(session, slot),
            }
        }
    }

    fn resource_slot(&mut self, id: &ResourceId, slot: Option<Slot>) {
        let at = self.lane_of(id);
        let now = self.now.mono;
        let Some(entry) = self.shards[at].entries.get_mut(id) else { return };
        entry.reading = false;
        if entry.in_flight {
            return;
        }
        match (slot, entry.stored.version()) {
            (Some(slot), None) => self.load(at, id, slot, false),
            (Some(slot), Some(known)) if slot.version != known && !is_older(&slot, known) => {
                self.load(at, id, slot, false);
            }
            (Some(_), Some(_)) => {}
            (None, _) => {
                self.timers.set(now + PAUSE_FIRST * 5, Timer::Resource(id.clone()));
                self.refuse_impatient(at, id, "it is away");
                return;
            }
        }
        self.shards[at].make_ready(id);
        self.follow(at, id);
    }

    /// Takes what a conflict or a read says is stored. Nobody is told yet: claims of this broker that changed are told
    /// once a compare has confirmed it.
    pub(super) fn load(&mut self, at: usize, id: &ResourceId, slot: Slot, compared: bool) {
        let Some(entry) = self.shards[at].entries.get_mut(id) else { return };
        entry.met_other_writer();
        let resource = match &slot.bytes {
            None => Ok(Resource::new()),
            Some(bytes) => Resource::decode_up_to(self.config.format_max, bytes, slot.version),
        };
        match resource {
            Ok(resource) => {
                // What is read may be from before a record was left idle here: then it is still to be deleted.
                let left_before =
                    !compared && slot.version.is_absent() && entry.stored.is_record() && entry.state.is_idle();
                entry.stored = Stored::of(&slot);
                entry.state = State::of(resource);
                let idle_left = left_before || (entry.stored.is_record() && entry.state.is_idle());
                entry.review = Review::of(!entry.locals.is_empty(), entry.review.is_due() || idle_left);
                self.meet_strangers(at, id);
                self.confirm_news(at, id);
            }
            Err(RecordError::Format(format)) => self.outdated(format),
            Err(error) if compared => self.damaged(at, id, slot.version, &error),
            Err(_) => self.read_damaged(at, id, slot.version),
        }
    }

    /// After a read: if it speaks of claims of this broker, have it confirmed before they are told.
    pub(super) fn confirm_news(&mut self, at: usize, id: &ResourceId) {
        let Some(entry) = self.shards[at].entries.get(id) else { return };
        let any = entry.review.was_read()
            && entry.locals.iter().any(|claim| self.differs(entry, *claim) || self.is_awaited_by_resume(*claim));
        if any && self.planted.has(Bug::ReadTakenForTruth) {
            self.reconcile(at, id);
        }
        if let Some(entry) = self.shards[at].entries.get_mut(id)
            && any
        {
            entry.review = entry.review.and_due(true);
        }
    }

    /// A client that resumes is told how this claim stands.
    fn is_awaited_by_resume(&self, id: ClaimId) -> bool {
        let session = self.sessions.get(&id.session);
        session.and_then(|session| session.claims.get(&id.number)).is_some_and(|claim| claim.unread)
    }

    /// Watches and polls a resource on which claims of this broker wait or want to be told.
    pub(super) fn follow(&mut self, at: usize, id: &ResourceId) {
        if !self.config.profile.contract.is_shared() {
            return;
        }
        let now = self.now.mono;
        let Some(entry) = self.shards[at].entries.get(id) else { return };
        let (waits, listens) = self.interest(entry);
        let Some(entry) = self.shards[at].entries.get_mut(id) else { return };
        entry.waited_for = waits;
        let key = || Key::Resource(id.clone());
        if !waits && !listens {
            entry.poll_at = None;
            if entry.watched.take().is_some() {
                self.out.push(Effect::Unwatch { key: key() });
            }
            return;
        }
        if let Some(version) = entry.stored.version()
            && entry.watched != Some(version)
        {
            entry.watched = Some(version);
            self.out.push(Effect::Watch { key: key(), seen: version });
        }
        let pause = if waits { POLL_WAITING } else { POLL_LISTENING };
        if entry.poll_at.is_none_or(|at| at <= now || at > now + pause) {
            entry.poll_at = Some(now + pause);
            self.timers.set(now + pause, Timer::Resource(id.clone()));
        }
    }

    /// Does a claim of this broker wait here; does one want to hear whom it blocks?
    fn interest(&self, entry: &Entry) -> (bool, bool) {
        let known = |id: &ClaimId| self.sessions.get(&id.session).and_then(|session| session.claims.get(&id.number));
        if entry.locals.iter().filter_map(known).any(|claim| claim.pending.is_some()) {
            return (true, false);
        }
        let resource = entry.state.view();
        let listens = |id: &ClaimId| known(id).is_some() && resource.claim(*id).is_some_and(|view| view.blocking);
        (false, entry.locals.iter().any(listens))
    }

    /// Something waits for a resource, or the time has come to look again.
    pub(super) fn resource_timer(&mut self, id: &ResourceId) {
        let at = self.lane_of(id);
        let now = self.now.mono;
        let Some(entry) = self.shards[at].entries.get_mut(id) else { return };
        if entry.poll_at.is_some_and(|at| at <= now) {
            entry.poll_at = None;
            if !self.planted.has(Bug::HintsReliedUpon) {
                self.read_again(at, id);
            }
            self.follow(at, id);
        }
        self.shards[at].make_ready(id);
    }

    /// A hint: look again.
    pub(super) fn changed(&mut self, key: &Key) {
        let Key::Resource(id) = key else { return };
        let at = self.lane(key);
        if let Some(entry) = self.shards[at].entries.get_mut(id) {
            entry.watched = None;
            self.read_again(at, id);
        }
    }

    pub(super) fn read_again(&mut self, at: usize, id: &ResourceId) {
        let Some(entry) = self.shards[at].entries.get_mut(id) else { return };
        if !entry.reading && !entry.in_flight {
            entry.reading = true;
            self.out.push(Effect::Read { keys: vec![Key::Resource(id.clone())] });
        }
    }
}

/// A read may show what was there before. A lower version surely is old; "absent" cannot be told and is believed until a
/// compare says otherwise.
fn is_older(slot: &Slot, known: Version) -> bool {
    !slot.version.is_absent() && slot.version < known
}
