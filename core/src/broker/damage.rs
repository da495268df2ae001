//! Records that cannot be understood: a wrong checksum, another format, bytes that somebody else put there.
//!
//! Nobody can say who holds what there, so nothing is granted there. Whoever asks or waits is refused; whoever holds
//! something goes on holding it, because nobody else gets it; and nothing is written over such a record until an
//! administrator says so.
//!
//! Invariants:
//!
//! * A damaged record is replaced by a compare-and-swap on exactly the version that the administrator saw damaged, and only
//!   if what stands there still cannot be understood.
//! * Until nobody can believe in what it said, nothing is granted in its place: a session that nobody keeps alive, of the
//!   broker that replaced it, holds the resource in EX, and ends as every session does that falls silent. Whoever looks sees
//!   it, and whatever happens to its broker, others bury it as any other. `now` is the one exception.
//! * Fences rise: they come from versions, and what is written at the place of a version has a larger one.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Broker;
use super::api::{Done, DoneStatus, LogLevel, RequestError};
use super::shard::{Pending, Purpose, Review, Stored};
use super::state::State;
use crate::name::{ClaimId, ResourceId, Version};
use crate::record::RecordError;

/// One damaged record is told to the log this often.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// What is known of a record that cannot be understood.
#[derive(Debug, Default)]
pub(super) struct Damage {
    /// When it was told to the log last, monotonic.
    said: Option<Duration>,
    /// The version that the state of the entry is to replace.
    replaces: Option<Version>,
}

impl Damage {
    /// The log was told of it not long ago.
    pub(super) fn is_remembered(&self, now: Duration) -> bool {
        self.said.is_some_and(|said| now.saturating_sub(said) < SAY_EVERY)
    }

    /// The state of the entry is not what is stored, but what an administrator's command is to put in its place.
    pub(super) fn is_being_replaced(&self) -> bool {
        self.replaces.is_some()
    }

    /// The state of the entry is to replace this version.
    pub(super) fn is_replacing(&self, version: Version) -> bool {
        self.replaces == Some(version)
    }

    /// What was to be replaced was written, or must be read again.
    pub(super) fn read_again(&mut self) {
        self.replaces = None;
    }
}

impl Broker {
    /// What a read shows of a record cannot be understood. A read decides nothing: the record is presumed absent, so that the
    /// next compare tells what stands there.
    pub(super) fn read_damaged(&mut self, at: usize, id: &ResourceId, version: Version) {
        if self.begin_to_replace(at, id, version) {
            return;
        }
        let Some(entry) = self.shards[at].entries.get_mut(id) else { return };
        entry.stored = Stored::Nothing(Version::ABSENT);
        entry.state = State::default();
        entry.review = Review::of(!entry.locals.is_empty(), true);
    }

    /// What stands there cannot be understood, as a compare has told.
    pub(super) fn damaged(&mut self, at: usize, id: &ResourceId, version: Version, error: &RecordError) {
        if self.begin_to_replace(at, id, version) {
            return;
        }
        let now = self.now.mono;
        let Some(entry) = self.shards[at].entries.get_mut(id) else { return };
        entry.stored = Stored::Unread;
        // Reading it again at once would show the same.
        entry.review = entry.review.and_due(false);
        let is_news = !entry.damage.is_remembered(now);
        if is_news {
            entry.damage.said = Some(now);
            self.log(LogLevel::Error, "record damaged", id.to_string(), format!("{error}; version {version}"));
        }
        let name = &id.name;
        let text = format!(
            "the record of `{id}` is damaged at version {version} ({error}), so nothing is granted there: \
             `sixpin purge --damaged '{name}'` removes it"
        );
        let error = RequestError::Damaged(text);
        self.take_conversions(at, id);
        self.refuse_all(at, id, &error);
        self.end_waits(at, id, &error);
    }

    /// If that is what somebody waits for, an empty resource is put in its place, to be written at exactly this version. The
    /// administrator's command comes before all others.
    fn begin_to_replace(&mut self, at: usize, id: &ResourceId, version: Version) -> bool {
        let Some(entry) = self.shards[at].entries.get_mut(id) else { return false };
        let wanted =
            |pending: &Pending| matches!(&pending.purpose, Purpose::Replace(replacing) if replacing.is_of(version));
        let Some(place) = entry.pending.iter().position(wanted) else { return false };
        if let Some(pending) = entry.pending.remove(place) {
            entry.pending.push_front(pending);
        }
        entry.stored = Stored::Record(version);
        entry.state = State::default();
        entry.damage.replaces = Some(version);
        entry.review = Review::of(!entry.locals.is_empty(), true);
        true
    }

    /// A conversion is not refused: a copy of it may have happened before, and its client would go on in the old mode. Its claim
    /// is lost.
    fn take_conversions(&mut self, at: usize, id: &ResourceId) {
        let Some(entry) = self.shards[at].entries.get_mut(id) else { return };
        let pending = std::mem::take(&mut entry.pending);
        let converts = |pending: &Pending| match &pending.purpose {
            Purpose::Operation(claim, _) => self.sessions.get(&claim.session).is_some_and(|session| {
                session.claims.get(&claim.number).is_some_and(|claim| claim.granted.is_some() || claim.believed_seq > 0)
            }),
            _ => false,
        };
        let (taken, kept): (Vec<Pending>, Vec<Pending>) = pending.into_iter().partition(converts);
        if let Some(entry) = self.shards[at].entries.get_mut(id) {
            entry.pending = kept.into();
        }
        for pending in taken {
            self.queued = self.queued.saturating_sub(1);
            if let Purpose::Operation(claim, _) = pending.purpose {
                self.command_done(claim);
            }
        }
    }

    /// Whoever waits there is told, and whoever comes from another broker with a lock that cannot be looked up. Those who hold
    /// something go on.
    fn end_waits(&mut self, at: usize, id: &ResourceId, error: &RequestError) {
        let Some(entry) = self.shards[at].entries.get(id) else { return };
        let mut unread = BTreeSet::new();
        let locals: Vec<ClaimId> = entry.locals.iter().copied().collect();
        for claim in locals {
            if self.is_left_alone(claim) {
                continue;
            }
            let Some(known) = self.claim_mut(claim) else { continue };
            let held = known.is_held();
            let (waits, is_unread) = (known.pending.is_some(), known.unread);
            if is_unread {
                unread.insert(claim);
            }
            if waits && !held {
                self.end_wait(claim, error);
            } else if waits || is_unread {
                // Nobody can say in which mode a conversion left it, or whether it was still held elsewhere.
                self.lost_by_store(claim);
            }
        }
        self.resumed_claims_read(&unread);
    }

    fn end_wait(&mut self, id: ClaimId, error: &RequestError) {
        let Some(pending) = self.claim_mut(id).and_then(|claim| claim.pending.as_mut()) else { return };
        let number = pending.number;
        match pending.reply.take() {
            Some(to) => {
                let gone = Done::empty(id.number, number, DoneStatus::Gone);
                self.drop_claim(id, Some(gone));
                self.reply_error(to, error.clone());
            }
            // Asked anew, it is refused with the reason.
            None => self.end_claim(id, DoneStatus::Gone, None),
        }
    }
}
