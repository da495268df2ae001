//! Sessions of other brokers: who vouches for them, and when they may be buried; and the sweep that clears up.
//!
//! Invariants (rules 2, 10 and 11 of the liveness rules): a stranger is buried only when its broker is `gone`, and TTL
//! plus tolerance have passed on this broker's own clock since it first saw both that and the session's mark as it now
//! is; a dead mark is deleted only when a sweep that began after it was seen found no claim of its session.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::api::{Effect, LogLevel};
use super::mark::Mark;
use super::shard::{Entry, MarkJob, MarkPurpose, Pending, Purpose};
use super::timers::Timer;
use super::{Broker, HOUSEKEEPING, Phase};
use crate::backend::{Family, Key, Page, Slot, StoreError};
use crate::command::{Command, PurgeScope};
use crate::limits::{PAGE_MAX, with_tolerance};
use crate::name::{ClaimId, ClaimNumber, Incarnation, ResourceId, SessionId, Version};
use crate::planted::Bug;
use crate::resource::Resource;

/// Where sessions went that moved away, for the answer `not here`: as many as this are remembered.
const MOVED_AWAY_KEPT: usize = 10_000;
/// A sweep begins at most this often.
const SWEEP_PAUSE: Duration = Duration::from_secs(2);

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

/// A walk over everything that is stored.
#[derive(Debug)]
struct Sweep {
    began: Duration,
    /// Walks the resources first, then the marks.
    marks: bool,
    awaited: BTreeSet<Key>,
    next: Option<String>,
    /// Sessions that have a claim somewhere.
    claimants: BTreeSet<SessionId>,
    /// Brokers that some claim or mark still needs.
    needed: BTreeSet<Incarnation>,
    failed: bool,
}

/// What is known of other brokers' sessions.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    known: BTreeMap<SessionId, Stranger>,
    dead: BTreeMap<SessionId, DeadMark>,
    moved_away: BTreeMap<SessionId, Incarnation>,
    sweep: Option<Sweep>,
    sweep_wanted: bool,
    last_sweep: Duration,
    forgetting: BTreeSet<Incarnation>,
    /// Orphans, by when they were first and last seen.
    orphans: BTreeMap<(ResourceId, ClaimId), (Duration, Duration)>,
}

impl Strangers {
    pub(super) fn want_sweep(&mut self) {
        self.sweep_wanted = true;
    }

    /// Puts the removal of dead claims before whatever waits on a resource, so that nobody dead is granted; not before
    /// the lock-delay has passed since they were seen dead.
    pub(super) fn condemn(&self, entry: &mut Entry, now: Duration, delay: Duration) {
        let mut first = Vec::new();
        let ripe = |session: &SessionId| self.dead.get(session).is_some_and(|dead| dead.seen + delay <= now);
        for session in self.dead_on(&entry.resource).into_iter().filter(ripe) {
            first.push(Pending::new(Command::Forget { session }, Purpose::Bury(session), now));
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

    pub(super) fn note_dead(&mut self, id: SessionId, version: Version, now: Duration, clean: bool) {
        self.dead.entry(id).or_insert(DeadMark { version, seen: now, clean, clearing: false }).version = version;
        if !clean {
            self.sweep_wanted = true;
        }
    }

    pub(super) fn note_moved_away(&mut self, id: SessionId, to: Incarnation) {
        if self.moved_away.len() >= MOVED_AWAY_KEPT {
            self.moved_away.pop_first();
        }
        self.moved_away.insert(id, to);
    }

    /// A session is this broker's own now.
    pub(super) fn forget(&mut self, id: SessionId) {
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

    fn has_moved_away(&self, id: SessionId) -> bool {
        self.moved_away.contains_key(&id)
    }

    pub(super) fn cleared(&mut self, id: SessionId) {
        self.dead.remove(&id);
    }

    pub(super) fn registration_forgotten(&mut self, broker: Incarnation) {
        self.forgetting.remove(&broker);
    }

    pub(super) fn registration_kept(&mut self, broker: Incarnation) {
        self.forgetting.remove(&broker);
        self.sweep_wanted = true;
    }

    /// Sessions of one broker that wait for burial.
    pub(super) fn waiting_for_burial(&self, broker: Incarnation) -> usize {
        self.known.iter().filter(|(id, stranger)| stranger.voucher(**id) == broker).count()
    }
}

impl Stranger {
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
    /// A session that this broker opened and that is not in its table any more, nor known to have moved.
    pub(super) fn buried_here(&self, id: SessionId) -> bool {
        self.strangers.is_dead(id) || (id.opener == self.config.incarnation && !self.strangers.has_moved_away(id))
    }

    /// Notes the sessions of others on a resource that somebody here waits for.
    pub(super) fn meet_strangers(&mut self, at: usize, id: &ResourceId) {
        if !self.config.profile.shared {
            return;
        }
        let Some(entry) = self.shards[at].entries.get(id) else { return };
        if entry.pending.is_empty() && entry.locals.is_empty() {
            return;
        }
        let sessions: Vec<SessionId> = entry.resource.sessions().collect();
        for session in sessions {
            self.meet(session, id);
        }
    }

    fn meet(&mut self, session: SessionId, id: &ResourceId) {
        let now = self.now.mono;
        if self.sessions.contains_key(&session) {
            self.remove_void(session, id);
            return;
        }
        if self.strangers.is_dead(session) {
            self.bury_on(session, id, true);
            return;
        }
        let stranger = self.strangers.known.entry(session).or_insert_with(|| Stranger {
            mark: None,
            first_seen: now,
            resources: BTreeSet::new(),
            reading: false,
            burying: false,
            met: now,
        });
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
        let here = |number: &ClaimNumber| entry.resource.claim(ClaimId { session, number: *number }).is_some();
        let claims: Vec<ClaimId> = void.into_iter().filter(here).map(|number| ClaimId { session, number }).collect();
        if !claims.is_empty() {
            self.remove_claims(id, claims);
        }
    }

    pub(super) fn remove_claims(&mut self, id: &ResourceId, claims: Vec<ClaimId>) {
        let command = Command::Remove { claims: claims.clone() };
        self.push_command(id, command, Purpose::Remove(claims), None);
    }

    /// What a read or a conflict says of a session's mark.
    pub(super) fn mark_slot(&mut self, id: SessionId, slot: Option<Slot>) {
        let now = self.now.mono;
        self.sweep_saw(&Key::Session(id), slot.as_ref());
        let Some(stranger) = self.strangers.known.get_mut(&id) else { return };
        stranger.reading = false;
        stranger.burying = false;
        let Some(slot) = slot else { return };
        let mark = self.decode_mark(id, &slot);
        let Some(stranger) = self.strangers.known.get_mut(&id) else { return };
        if mark.is_none() && slot.bytes.is_some() {
            return;
        }
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
        let now = self.now.mono;
        self.strangers.note_dead(id, version, now, false);
        self.log(LogLevel::Info, "session buried", id.to_string(), "its broker is gone".into());
        let Some(stranger) = self.strangers.known.remove(&id) else { return };
        for resource in stranger.resources {
            self.bury_on(id, &resource, true);
        }
    }

    /// Looks after strangers, dead marks and the sweep.
    pub(super) fn housekeeping(&mut self) {
        if matches!(self.phase, Phase::Over | Phase::Leaving) {
            return;
        }
        let now = self.now.mono;
        self.timers.set(now + HOUSEKEEPING, Timer::Housekeeping);
        self.forget_idle_entries();
        if self.config.profile.shared {
            self.look_after_strangers();
            self.clear_dead_marks();
        }
        self.begin_sweep();
    }

    fn look_after_strangers(&mut self) {
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
                    self.evict_unseen(voucher);
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
        let waited = now.saturating_sub(gone_since.max(stranger.first_seen));
        if waited < with_tolerance(id.ttl()) && !self.planted.has(Bug::BurialWithoutWaiting) {
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

    fn clear_dead_marks(&mut self) {
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
            self.strangers.sweep_wanted = true;
        }
    }

    fn begin_sweep(&mut self) {
        let now = self.now.mono;
        let gone = self.liveness.others.values().any(|known| known.gone_since.is_some());
        let orphans = self.config.lockspaces.values().any(|lockspace| lockspace.orphan_ttl.is_some());
        let wanted = self.strangers.sweep_wanted || gone || orphans;
        let rested = now.saturating_sub(self.strangers.last_sweep) >= SWEEP_PAUSE;
        if !wanted || !rested || self.strangers.sweep.is_some() || self.planted.has(Bug::NoSweep) {
            return;
        }
        self.strangers.sweep_wanted = false;
        self.strangers.sweep = Some(Sweep {
            began: now,
            marks: false,
            awaited: BTreeSet::new(),
            next: None,
            claimants: BTreeSet::new(),
            needed: BTreeSet::new(),
            failed: false,
        });
        self.out.push(Effect::List { family: Family::AllResources, after: None, limit: PAGE_MAX });
    }

    /// A page of the sweep.
    pub(super) fn listed(&mut self, result: Result<Page, StoreError>) {
        let batch = self.config.profile.batch_writes_max.max(1);
        let Some(sweep) = &mut self.strangers.sweep else { return };
        match result {
            Ok(page) => {
                sweep.next = page.next;
                let keys: Vec<Key> = page.keys.into_iter().map(|(key, _)| key).collect();
                sweep.awaited = keys.iter().cloned().collect();
                for chunk in keys.chunks(batch) {
                    self.out.push(Effect::Read { keys: chunk.to_vec() });
                }
                self.sweep_on();
            }
            Err(_) => {
                self.strangers.sweep = None;
                self.strangers.sweep_wanted = true;
                self.strangers.last_sweep = self.now.mono;
            }
        }
    }

    /// Goes on when everything of a page was read.
    fn sweep_on(&mut self) {
        let Some(sweep) = &mut self.strangers.sweep else { return };
        if !sweep.awaited.is_empty() {
            return;
        }
        let next = sweep.next.take();
        if next.is_none() && sweep.marks {
            self.end_sweep();
            return;
        }
        sweep.marks |= next.is_none();
        let family = if sweep.marks { Family::Sessions } else { Family::AllResources };
        self.out.push(Effect::List { family, after: next, limit: PAGE_MAX });
    }

    /// What a read brought, if the sweep waits for it.
    pub(super) fn sweep_saw(&mut self, key: &Key, slot: Option<&Slot>) {
        let Some(sweep) = &mut self.strangers.sweep else { return };
        if !sweep.awaited.remove(key) {
            return;
        }
        let Some(slot) = slot else {
            sweep.failed = true;
            self.sweep_on();
            return;
        };
        match key {
            Key::Resource(id) => self.sweep_resource(id, slot),
            Key::Session(id) => self.sweep_mark(*id, slot),
        }
        self.sweep_on();
    }

    fn sweep_resource(&mut self, id: &ResourceId, slot: &Slot) {
        let Some(bytes) = &slot.bytes else { return };
        let Ok(resource) = Resource::decode(bytes, slot.version) else {
            // Not ours to interpret: nothing may be cleared on its account.
            if let Some(sweep) = &mut self.strangers.sweep {
                sweep.failed = true;
            }
            return;
        };
        if resource.is_idle() {
            // Its broker went before it could delete it: what follows the sweep finds a record that is due.
            let at = self.lane_of(id);
            self.shards[at].entries.get_or_make(id);
        }
        self.sweep_orphans(id, &resource);
        let sessions: Vec<SessionId> = resource.sessions().collect();
        if let Some(sweep) = &mut self.strangers.sweep {
            sweep.claimants.extend(&sessions);
            sweep.needed.extend(sessions.iter().map(|session| session.opener));
        }
        for session in sessions {
            let void = self.sessions.get(&session).map(|session| session.void.clone()).unwrap_or_default();
            if self.sessions.contains_key(&session) {
                let claims: Vec<ClaimId> = resource
                    .claims_of(session)
                    .filter(|view| void.contains(&view.id.number))
                    .map(|view| view.id)
                    .collect();
                if !claims.is_empty() && !self.planted.has(Bug::VoidClaimsStay) {
                    self.remove_claims(id, claims);
                }
            } else {
                self.meet(session, id);
            }
        }
    }

    /// Purges orphans that are older than their lockspace allows (F9), counted from when this broker first saw them.
    fn sweep_orphans(&mut self, id: &ResourceId, resource: &Resource) {
        let Some(ttl) = self.lockspace(&id.lockspace).orphan_ttl else { return };
        if !resource.has_orphans() {
            return;
        }
        let now = self.now.mono;
        let orphans: Vec<ClaimId> = resource.granted().filter(|view| view.orphan).map(|view| view.id).collect();
        for claim in orphans {
            let (first, last) = self.strangers.orphans.entry((id.clone(), claim)).or_insert((now, now));
            *last = now;
            if now.saturating_sub(*first) >= ttl {
                let scope = PurgeScope::Claim(claim);
                self.push_command(id, Command::Purge { scope }, Purpose::Purge(None), None);
            }
        }
    }

    fn sweep_mark(&mut self, id: SessionId, slot: &Slot) {
        let now = self.now.mono;
        if slot.bytes.is_none() {
            return;
        }
        let mark = self.decode_mark(id, slot);
        let own = self.config.incarnation;
        match mark {
            Some(Mark::Dead) => {
                if !self.sessions.contains_key(&id) {
                    self.strangers.note_dead(id, slot.version, now, false);
                }
            }
            Some(Mark::Moved { to, .. }) => {
                if let Some(sweep) = &mut self.strangers.sweep {
                    sweep.needed.insert(to);
                    sweep.needed.insert(id.opener);
                }
                if to != own || !self.sessions.contains_key(&id) {
                    self.meet_mark(id, slot.version, mark);
                }
            }
            None => {
                if let Some(sweep) = &mut self.strangers.sweep {
                    sweep.failed = true;
                }
            }
        }
    }

    /// A mark without a claim that was met: its session is looked after like any other stranger.
    fn meet_mark(&mut self, id: SessionId, version: Version, mark: Option<Mark>) {
        let now = self.now.mono;
        if self.strangers.is_dead(id) || self.sessions.contains_key(&id) {
            return;
        }
        let stranger = self.strangers.known.entry(id).or_insert_with(|| Stranger {
            mark: None,
            first_seen: now,
            resources: BTreeSet::new(),
            reading: false,
            burying: false,
            met: now,
        });
        stranger.met = now;
        if stranger.mark.as_ref().is_none_or(|(seen, _)| *seen < version) {
            stranger.mark = Some((version, mark));
            stranger.first_seen = now;
        }
    }

    fn end_sweep(&mut self) {
        let now = self.now.mono;
        let Some(sweep) = self.strangers.sweep.take() else { return };
        self.strangers.last_sweep = now;
        if sweep.failed {
            self.strangers.sweep_wanted = true;
            return;
        }
        self.strangers.orphans.retain(|_, (_, last)| *last >= sweep.began);
        for (id, dead) in &mut self.strangers.dead {
            if dead.seen <= sweep.began && !sweep.claimants.contains(id) {
                dead.clean = true;
            }
        }
        let unneeded: Vec<(Incarnation, Version)> = self
            .liveness
            .others
            .iter()
            .filter(|(broker, known)| {
                known.gone_since.is_some_and(|gone| gone <= sweep.began)
                    && !sweep.needed.contains(broker)
                    && !self.strangers.forgetting.contains(broker)
            })
            .map(|(broker, known)| (*broker, known.pulse.version))
            .collect();
        for (target, seen) in unneeded {
            self.strangers.forgetting.insert(target);
            self.out.push(Effect::Forget { guard: self.control_guard(), target, seen });
        }
    }
}
