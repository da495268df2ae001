//! What the outcomes of jobs mean, carried out.

use super::Broker;
use super::decision::{Known, Verdict, verdict};
use super::job::{MarkJob, MarkPurpose};
use super::mark::Mark;
use crate::backend::{Key, Slot, WriteOutcome};
use crate::broker::api::{LostReason, RequestError};
use crate::name::{SessionId, Version};
use crate::planted::Bug;

impl Broker {
    /// How the write of a mark ended.
    pub(in crate::broker) fn mark_outcome(&mut self, job: MarkJob, outcome: WriteOutcome) {
        let at = self.lane(&Key::Session(job.session));
        self.shards[at].marks.landed(&job);
        match (job.purpose, outcome) {
            (_, WriteOutcome::Committed(version)) => self.mark_written(&job, version),
            (_, WriteOutcome::Conflict(slot)) => self.mark_conflict(job, slot),
            (MarkPurpose::Move, WriteOutcome::Unknown(text)) if self.planted.has(Bug::MoveGivenUpInDoubt) => {
                self.move_refused(job.session, RequestError::Unavailable(text));
            }
            (MarkPurpose::BuryOwn, WriteOutcome::Unknown(_)) if self.planted.has(Bug::BurialGivenUpInDoubt) => {}
            // Repeated until the outcome is definite: a copy that was stored shows as a conflict with the job's own mark.
            _ => self.push_mark(job),
        }
    }

    /// The mark says what the job wanted it to say.
    fn mark_written(&mut self, job: &MarkJob, version: Version) {
        let id = job.session;
        match job.purpose {
            MarkPurpose::BuryOwn => self.own_buried(id, version),
            MarkPurpose::BuryStranger => self.stranger_buried(id, version),
            MarkPurpose::Move => self.move_written(id, version),
            MarkPurpose::TakeAway => self.taking_written(id, version),
            MarkPurpose::CloseDead => self.note_dead(id, version, false),
            MarkPurpose::Clear => self.strangers.cleared(id),
        }
    }

    fn taking_written(&mut self, id: SessionId, version: Version) {
        if self.note_mark(id, version) {
            self.taken_marked(id);
        } else {
            // The session ended meanwhile, and nobody else would clear its mark.
            self.close_dead(id, version);
        }
    }

    fn mark_conflict(&mut self, job: MarkJob, slot: Slot) {
        let id = job.session;
        let session = self.sessions.get(&id);
        let known = Known {
            own: self.config.incarnation,
            life: session.map(|session| session.life),
            move_number: session.map_or(0, |session| session.move_number),
            writes_over_later_moves: self.planted.has(Bug::OldMoveAccepted),
        };
        match verdict(&job, &slot, known) {
            Verdict::Written => self.mark_written(&job, slot.version),
            Verdict::Replace(mark) => self.replace_mark(job, mark, slot.version),
            Verdict::Elsewhere(to, void) => self.moved_away(id, to, &void),
            Verdict::Superseded(to) => {
                self.strangers.note_moved_away(id, to);
                self.move_refused(id, RequestError::StaleMove(id));
            }
            Verdict::MoveTooLate => self.move_refused(id, RequestError::SessionGone(id)),
            Verdict::BuriedByOthers => self.buried_by_others(id, slot.version),
            Verdict::EndedBefore => {
                self.note_mark(id, slot.version);
                self.expire(id, LostReason::Forced);
            }
            Verdict::AsRead => {
                self.sweep_saw(&Key::Session(id), Some(&slot));
                self.mark_slot(id, Some(slot));
            }
            Verdict::Unreadable(error) => {
                self.mark_unreadable(id, &error);
                if job.purpose == MarkPurpose::Move {
                    let text = format!("the mark of session {id} cannot be understood");
                    self.move_refused(id, RequestError::Unavailable(text));
                }
            }
            Verdict::LeftAlone => {}
        }
    }

    /// Writes a mark over the one that was found in its place.
    fn replace_mark(&mut self, job: MarkJob, found: Mark, expected: Version) {
        let id = job.session;
        if job.purpose == MarkPurpose::Move
            && let Mark::Moved { to, void, taken, .. } = found
        {
            self.take_along(id, to, void, taken);
        }
        let mark = match job.purpose {
            MarkPurpose::Move | MarkPurpose::TakeAway => {
                self.note_mark(id, expected);
                self.own_mark(id)
            }
            _ => Some(Mark::Dead),
        };
        self.push_mark(MarkJob { expected, mark, ..job });
    }

    /// Notes at which version the mark of a session of this broker stands. False if the session is not in the table.
    fn note_mark(&mut self, id: SessionId, version: Version) -> bool {
        let session = self.sessions.get_mut(&id);
        session.map(|session| session.mark = version).is_some()
    }
}
