//! The sweep: a walk over everything that is stored, which clears up what nobody else looks at.
//!
//! Invariant (rule 11 of the liveness rules): what a sweep says of a session or a registration, it says of the time before
//! it began, and only if it read everything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Broker;
use super::api::Effect;
use super::mark::Mark;
use super::shard::Purpose;
use crate::backend::{Family, Key, Page, Slot, StoreError};
use crate::command::{Command, PurgeScope};
use crate::limits::PAGE_MAX;
use crate::name::{ClaimId, Incarnation, ResourceId, SessionId, Version};
use crate::planted::Bug;
use crate::record::RecordError;
use crate::resource::Resource;

/// A sweep begins at most this often.
const SWEEP_PAUSE: Duration = Duration::from_secs(2);

/// The pause after a sweep that met a damaged record.
const DAMAGE_PAUSE: Duration = Duration::from_secs(10);

/// The walk that is under way, and what sweeps remember.
#[derive(Debug, Default)]
pub(super) struct Sweeps {
    current: Option<Sweep>,
    wanted: bool,
    /// When the last one ended, monotonic.
    last: Duration,
    /// None begins before, because one that met a damaged record would again find nothing to clear.
    rests_until: Duration,
    /// Registrations that nothing needs, while the store is told so.
    clearing: BTreeSet<Incarnation>,
    /// Orphans, by when they were first and last seen.
    orphans: BTreeMap<(ResourceId, ClaimId), (Duration, Duration)>,
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

impl Sweeps {
    /// Something is left that only a sweep finds.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    /// Whatever kept it from clearing up is gone.
    pub(super) fn want_soon(&mut self) {
        (self.wanted, self.rests_until) = (true, Duration::ZERO);
    }

    /// What the walk under way has seen means nothing any more.
    pub(super) fn begin_again(&mut self) {
        (self.current, self.wanted) = (None, true);
        self.clearing.clear();
    }

    pub(super) fn registration_cleared(&mut self, broker: Incarnation) {
        self.clearing.remove(&broker);
    }

    pub(super) fn registration_kept(&mut self, broker: Incarnation) {
        self.clearing.remove(&broker);
        self.want();
    }
}

impl Broker {
    /// Begins one if there is a reason, and the last one is some time ago.
    pub(super) fn begin_sweep(&mut self) {
        let now = self.now.mono;
        let gone = self.liveness.others.values().any(|known| known.gone_since.is_some());
        let orphans = self.config.lockspaces.values().any(|lockspace| lockspace.orphan_ttl.is_some());
        let wanted = self.sweeps.wanted || gone || orphans;
        let rested = now.saturating_sub(self.sweeps.last) >= SWEEP_PAUSE && now >= self.sweeps.rests_until;
        if !wanted || !rested || self.sweeps.current.is_some() || self.planted.has(Bug::NoSweep) {
            return;
        }
        self.sweeps.wanted = false;
        self.sweeps.current = Some(Sweep {
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
        let Some(sweep) = &mut self.sweeps.current else { return };
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
                self.sweeps.current = None;
                self.sweeps.wanted = true;
                self.sweeps.last = self.now.mono;
            }
        }
    }

    /// Goes on when everything of a page was read.
    fn sweep_on(&mut self) {
        let Some(sweep) = &mut self.sweeps.current else { return };
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
        let Some(sweep) = &mut self.sweeps.current else { return };
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
        let resource = Resource::decode_up_to(self.config.format_max, bytes, slot.version);
        if let Err(RecordError::Format(format)) = resource {
            self.outdated(format);
            return;
        }
        let Ok(resource) = resource else {
            // Not ours to interpret: nothing may be cleared on its account.
            self.sweeps.rests_until = self.now.mono + DAMAGE_PAUSE;
            if let Some(sweep) = &mut self.sweeps.current {
                sweep.failed = true;
            }
            return;
        };
        if resource.is_idle() {
            // Its broker went before it could delete it, or keeps it for a moment: what follows the sweep finds a record that
            // is due.
            let at = self.lane_of(id);
            self.shards[at].entries.get_or_make(id);
        }
        self.sweep_orphans(id, &resource);
        let sessions: Vec<SessionId> = resource.sessions().collect();
        if let Some(sweep) = &mut self.sweeps.current {
            sweep.claimants.extend(&sessions);
            sweep.needed.extend(sessions.iter().map(|session| session.opener));
        }
        for session in sessions {
            if let Some(own) = self.sessions.get(&session) {
                let claims: Vec<ClaimId> = resource
                    .claims_of(session)
                    .filter(|view| {
                        own.void.contains(&view.id.number) || (!view.orphan && own.has_no_more(view.id.number))
                    })
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
            let (first, last) = self.sweeps.orphans.entry((id.clone(), claim)).or_insert((now, now));
            *last = now;
            if now.saturating_sub(*first) >= ttl {
                let scope = PurgeScope::Claim(claim);
                self.push_command(id, Command::Purge { scope }, Purpose::Purge(None), None);
            }
        }
    }

    fn sweep_mark(&mut self, id: SessionId, slot: &Slot) {
        let own = self.config.incarnation;
        match Mark::at(slot) {
            Ok(Some(Mark::Dead)) => {
                if !self.sessions.contains_key(&id) {
                    self.note_dead(id, slot.version, false);
                }
            }
            Ok(Some(mark @ Mark::Moved { to, .. })) => {
                if let Some(sweep) = &mut self.sweeps.current {
                    sweep.needed.insert(to);
                    sweep.needed.insert(id.opener);
                }
                if to != own || !self.sessions.contains_key(&id) {
                    self.meet_mark(id, slot.version, Some(mark));
                }
            }
            Ok(None) => {}
            Err(error) => {
                self.mark_unreadable(id, &error);
                if let Some(sweep) = &mut self.sweeps.current {
                    sweep.failed = true;
                }
            }
        }
    }

    fn end_sweep(&mut self) {
        let now = self.now.mono;
        let Some(sweep) = self.sweeps.current.take() else { return };
        self.sweeps.last = now;
        if sweep.failed {
            self.sweeps.wanted = true;
            return;
        }
        self.sweeps.orphans.retain(|_, (_, last)| *last >= sweep.began);
        self.strangers.swept(sweep.began, &sweep.claimants);
        let unneeded: Vec<(Incarnation, Version)> = self
            .liveness
            .others
            .iter()
            .filter(|(broker, known)| {
                known.gone_since.is_some_and(|gone| gone <= sweep.began)
                    && !sweep.needed.contains(broker)
                    && !self.sweeps.clearing.contains(broker)
            })
            .map(|(broker, known)| (*broker, known.pulse.version))
            .collect();
        for (target, seen) in unneeded {
            self.sweeps.clearing.insert(target);
            self.out.push(Effect::Clear { guard: self.control_guard(), target, seen });
        }
    }
}
