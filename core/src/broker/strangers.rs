//! Sessions of other brokers: who vouches for them, and when they may be buried.
//!
//! Invariants (rules 2, 10 and 11 of the liveness rules): a stranger is buried only when its broker is `gone`, and TTL
//! plus tolerance have passed on this broker's own clock since it first saw both that and the session's mark as it now
//! is; a dead mark is deleted only when no claim of its session is left, as a sweep found that began after it was seen, or
//! as the only broker knows that the session ever lived at.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::api::{Effect, LogLevel};
use super::mark::Mark;
use super::marks::{MarkJob, MarkPurpose};
use super::shard::{Entry, Pending, Purpose};
use super::timers::Timer;
use super::{Broker, Phase};
use crate::backend::{Key, Slot};
use crate::command::Command;
use crate::limits::with_tolerance;
use crate::name::{ClaimId, ClaimNumber, Incarnation, ResourceId, SessionId, Version};
use crate::planted::Bug;
use crate::resource::Resource;

/// Where sessions went that moved away, for the answer `not here`: as many as this are remembered.
const MOVED_AWAY_KEPT: usize = 10_000;

/// Burials wait for the next multiple of this: thousands of sessions that were met one after the other are then buried in
/// a few looks, instead of each in one that goes through all the others.
const BURIAL_STEP: Duration = Duration::from_millis(100);

/// A session that somebody else vouches for, met on a resource.
#[derive(Debug)]
struct Stranger {
    /// Its mark as read: version, and what it says; absent until read.
    mark: Option<(Version, Option<Mark>)>,
    /// When the mark was first seen as it is, monotonic.
    first_seen: Duration,
    /// Where its claims were met.
    resources: BTreeSet<ResourceId>,
    reading: bool,
    burying: bool,
    /// When it was last met, monotonic.
    met: Duration,
}

/// A session that is known to be dead.
#[derive(Debug)]
struct DeadMark {
    version: Version,
    seen: Duration,
    /// No claim of it is left.
    clean: bool,
    clearing: bool,
}

/// What is known of other brokers' sessions.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    known: BTreeMap<SessionId, Stranger>,
    dead: BTreeMap<SessionId, DeadMark>,
    moved_away: BTreeMap<SessionId, Incarnation>,
}

impl Strangers {
    /// Puts the removal of dead claims before whatever waits on a resource, so that nobody dead is granted; not before
    /// the lock-delay has passed since they were seen dead.
    pub(super) fn condemn(&self, entry: &mut Entry, now: Duration, delay: Duration) {
        let mut first = Vec::new();
        let ripe = |session: &SessionId| self.dead.get(session).is_some_and(|dead| dead.seen + delay <= now);
        for session in self.dead_on(&entry.state.view()).into_iter().filter(ripe) {
            first.push(Pending::new(Command::Bury { session }, Purpose::Bury(session), now));
        }
        for pending in first {
            if !entry.pending.iter().any(|known| known.purpose == pending.purpose) {
                entry.pending.push_front(pending);
            }
        }
    }

    /// Dead sessions with a claim here; walks the shorter of the two lists.
    fn dead_on(&self, resource: &Resource) -> Vec<SessionId> {
        if self.dead.is_empty() {
            return Vec::new();
        }
        if self.dead.len() <= 8 {
            let here = |session: &&SessionId| resource.claims_of(**session).any(|view| !view.orphan);
            return self.dead.keys().filter(here).copied().collect();
        }
        resource.sessions().filter(|session| self.dead.contains_key(session)).collect()
    }

    /// A sweep that began then met claims of these sessions and no others.
    pub(super) fn swept(&mut self, began: Duration, claimants: &BTreeSet<SessionId>) {
        for (id, dead) in &mut self.dead {
            dead.clean |= dead.seen <= began && !claimants.contains(id);
        }
    }

    pub(super) fn note_moved_away(&mut self, id: SessionId, to: Incarnation) {
        if self.moved_away.len() >= MOVED_AWAY_KEPT {
            self.moved_away.pop_first();
        }
        self.moved_away.insert(id, to);
    }

    /// Marks that were read may be others now.
    pub(super) fn forget_what_was_read(&mut self) {
        self.known.clear();
        self.dead.clear();
    }

    /// A session is this broker's own now.
    pub(super) fn came_here(&mut self, id: SessionId) {
        self.known.remove(&id);
        self.moved_away.remove(&id);
    }

    /// The claims of a session left a resource.
    pub(super) fn left(&mut self, id: SessionId, resource: &ResourceId) {
        if let Some(stranger) = self.known.get_mut(&id) {
            stranger.resources.remove(resource);
        }
    }

    pub(super) fn voucher_of(&self, id: SessionId) -> Incarnation {
        if let Some(to) = self.moved_away.get(&id) {
            return *to;
        }
        self.known.get(&id).map_or(id.opener, |stranger| stranger.voucher(id))
    }

    /// When a session was first seen dead, monotonic.
    pub(super) fn dead_since(&self, id: SessionId) -> Option<Duration> {
        self.dead.get(&id).map(|dead| dead.seen)
    }

    pub(super) fn is_dead(&self, id: SessionId) -> bool {
        self.dead.contains_key(&id)
    }

    pub(super) fn has_moved_away(&self, id: SessionId) -> bool {
        self.moved_away.contains_key(&id)
    }

    pub(super) fn cleared(&mut self, id: SessionId) {
        self.dead.remove(&id);
    }

    /// Sessions of one broker that wait for burial.
    pub(super) fn waiting_for_burial(&self, broker: Incarnation) -> usize {
        self.known.iter().filter(|(id, stranger)| stranger.voucher(**id) == broker).count()
    }
}

impl Stranger {
    fn met(now: Duration) -> Self {
        Self { mark: None, first_seen: now, resources: BTreeSet::new(), reading: false, burying: false, met: now }
    }

    fn voucher(&self, id: SessionId) -> Incarnation {
        match &self.mark {
            Some((_, Some(Mark::Moved { to, .. }))) => *to,
            _ => id.opener,
        }
    }

    fn void(&self) -> &[ClaimNumber] {
        match &self.mark {
            Some((_, Some(Mark::Moved { void, .. }))) => void,
            _ => &[],
        }
    }
}

impl Broker {
    /// A session is dead for certain. Unless it is known that no claim of it is left, a sweep looks for them.
    pub(super) fn note_dead(&mut self, id: SessionId, version: Version, clean: bool) {
        let new = DeadMark { version, seen: self.now.mono, clean, clearing: false };
        self.strangers.dead.entry(id).or_insert(new).version = version;
        if !clean {
            self.sweeps.want();
        }
    }

    /// Notes the sessions of others on a resource that somebody here waits for.
    pub(super) fn meet_strangers(&mut self, at: usize, id: &ResourceId) {
        if !self.config.profile.contract.is_shared() {
            return;
        }
        let Some(entry) = self.shards[at].entries.get(id) else { return };
        if entry.pending.is_empty() && entry.locals.is_empty() {
            return;
        }
        let sessions: Vec<SessionId> = entry.state.view().sessions().collect();
        for session in sessions {
            self.meet(session, id);
        }
    }

    pub(super) fn meet(&mut self, session: SessionId, id: &ResourceId) {
        let now = self.now.mono;
        if self.sessions.contains_key(&session) {
            self.remove_void(session, id);
            return;
        }
        if self.strangers.is_dead(session) {
            self.bury_on(session, id, true);
            return;
        }
        let stranger = self.strangers.known.entry(session).or_insert_with(|| Stranger::met(now));
        stranger.met = now;
        stranger.resources.insert(id.clone());
        if !stranger.void().is_empty() {
            self.remove_void(session, id);
        }
    }

    /// Removes claims that their client gave up when it moved.
    fn remove_void(&mut self, session: SessionId, id: &ResourceId) {
        let own = self.sessions.get(&session).map(|session| session.void.iter().copied().collect::<Vec<_>>());
        let void = own.unwrap_or_else(|| {
            self.strangers.known.get(&session).map(|stranger| stranger.void().to_vec()).unwrap_or_default()
        });
        if void.is_empty() || self.planted.has(Bug::VoidClaimsStay) {
            return;
        }
        let at = self.lane_of(id);
        let Some(entry) = self.shards[at].entries.get(id) else { return };
        let resource = entry.state.view();
        let here = |number: &ClaimNumber| resource.claim(ClaimId { session, number: *number }).is_some();
        let claims: Vec<ClaimId> = void.into_iter().filter(here).map(|number| ClaimId { session, number }).collect();
        if !claims.is_empty() {
            self.remove_claims(id, claims);
        }
    }

    /// What a read or a conflict says of a session's mark.
    pub(super) fn mark_slot(&mut self, id: SessionId, slot: Option<Slot>) {
        let now = self.now.mono;
        let Some(stranger) = self.strangers.known.get_mut(&id) else { return };
        stranger.reading = false;
        stranger.burying = false;
        let Some(slot) = slot else { return };
        let mark = match Mark::at(&slot) {
            Ok(mark) => mark,
            Err(error) => return self.mark_unreadable(id, &error),
        };
        let seen = stranger.mark.as_ref().map(|(version, _)| *version);
        if seen != Some(slot.version) {
            stranger.first_seen = now;
        }
        stranger.mark = Some((slot.version, mark.clone()));
        if mark == Some(Mark::Dead) {
            self.stranger_buried(id, slot.version);
            return;
        }
        let resources: Vec<ResourceId> = stranger.resources.iter().cloned().collect();
        for resource in resources {
            self.remove_void(id, &resource);
        }
    }

    /// A session of another broker is dead for certain: its claims go from wherever they were met.
    pub(super) fn stranger_buried(&mut self, id: SessionId, version: Version) {
        self.note_dead(id, version, false);
        self.log(LogLevel::Info, "session buried", id.to_string(), "its broker is gone".into());
        let Some(stranger) = self.strangers.known.remove(&id) else { return };
        for resource in stranger.resources {
            self.bury_on(id, &resource, true);
        }
    }

    /// Buries the sessions of brokers that are gone whose time has come, and sets a timer for the others.
    pub(super) fn look_after_strangers(&mut self) {
        if self.phase == Phase::Leaving {
            return;
        }
        let now = self.now.mono;
        // A stranger that nobody has met for a while is nobody's concern; the next meeting begins anew.
        self.strangers.known.retain(|id, stranger| {
            stranger.reading || stranger.burying || now.saturating_sub(stranger.met) < with_tolerance(id.ttl()) * 3
        });
        let ids: Vec<SessionId> = self.strangers.known.keys().copied().collect();
        let mut reads = Vec::new();
        for id in ids {
            if self.look_after(id) {
                reads.push(Key::Session(id));
            }
        }
        for chunk in reads.chunks(self.config.profile.batch_writes_max.max(1)) {
            self.out.push(Effect::Read { keys: chunk.to_vec() });
        }
    }

    /// True if the stranger's mark should be read.
    fn look_after(&mut self, id: SessionId) -> bool {
        let now = self.now.mono;
        let own = self.config.incarnation;
        let Some(stranger) = self.strangers.known.get(&id) else { return false };
        if stranger.reading || stranger.burying {
            return false;
        }
        let voucher = stranger.voucher(id);
        let gone_since = if voucher == own {
            // This broker should vouch, and does not know it: nobody does.
            Some(stranger.first_seen)
        } else {
            match self.liveness.others.get(&voucher) {
                Some(known) => known.gone_since,
                None => {
                    if !self.was_cut_off() {
                        self.liveness.count_unseen(voucher, self.config.broker_ttl, now);
                    }
                    None
                }
            }
        };
        let Some(gone_since) = gone_since else { return false };
        let Some(stranger) = self.strangers.known.get_mut(&id) else { return false };
        let Some((version, _)) = &stranger.mark else {
            stranger.reading = true;
            return true;
        };
        let due = gone_since.max(stranger.first_seen) + with_tolerance(id.ttl());
        if now < due && !self.planted.has(Bug::BurialWithoutWaiting) {
            self.timers.set(next_step(due), Timer::Strangers);
            return false;
        }
        stranger.burying = true;
        let expected = *version;
        if self.planted.has(Bug::BurialByRead) {
            self.stranger_buried(id, expected);
            return false;
        }
        self.push_mark(MarkJob { session: id, purpose: MarkPurpose::BuryStranger, expected, mark: Some(Mark::Dead) });
        false
    }

    pub(super) fn clear_dead_marks(&mut self) {
        let now = self.now.mono;
        let due: Vec<(SessionId, Version)> = self
            .strangers
            .dead
            .iter_mut()
            .filter(|(id, dead)| {
                let ripe = dead.clean && now.saturating_sub(dead.seen) >= with_tolerance(id.ttl());
                !dead.clearing && ripe
            })
            .map(|(id, dead)| {
                dead.clearing = true;
                (*id, dead.version)
            })
            .collect();
        for (session, expected) in due {
            self.push_mark(MarkJob { session, purpose: MarkPurpose::Clear, expected, mark: None });
        }
        if self.strangers.dead.values().any(|dead| !dead.clean) {
            self.sweeps.want();
        }
    }

    /// A mark without a claim that was met: its session is looked after like any other stranger.
    pub(super) fn meet_mark(&mut self, id: SessionId, version: Version, mark: Option<Mark>) {
        let now = self.now.mono;
        if self.strangers.is_dead(id) || self.sessions.contains_key(&id) {
            return;
        }
        let stranger = self.strangers.known.entry(id).or_insert_with(|| Stranger::met(now));
        stranger.met = now;
        if stranger.mark.as_ref().is_none_or(|(seen, _)| *seen < version) {
            stranger.mark = Some((version, mark));
            stranger.first_seen = now;
        }
    }
}

/// The first moment for a burial that is not before `due`.
fn next_step(due: Duration) -> Duration {
    let steps = due.as_nanos().div_ceil(BURIAL_STEP.as_nanos());
    BURIAL_STEP.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX))
}
