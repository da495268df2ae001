//! What this broker writes into sessions' marks, and what it finds there instead.
//!
//! A mark decides where a session lives and whether it is dead, so all writes of one are compare-and-swaps, and each is a *job*
//! that stays in the table of its lane until its outcome is definite:
//!
//! 1. A job is **pushed** to the lane of its session, by whatever wants the mark to say something ([`Broker::push_mark`]).
//! 2. It is **drafted** into the lane's next batch, before the records: what it decides, they may depend on
//!    ([`Broker::draft_marks`]).
//! 3. It was **written**, or its outcome is unknown and it is pushed again, or something else stands there. For that case
//!    there is one decision, [`verdict`], which sees the job, what was found and what is known of the session, and nothing
//!    else. What each verdict means for the job is in [`Broker::mark_conflict`].
//!
//! A copy of a job that was stored although its outcome was unknown is met by the next copy as a conflict with the job's own
//! mark. So [`Verdict::Written`] is not only for what an answer confirmed.
//!
//! Invariants (rules 1, 5 and 6 of the liveness rules): dead is final; no job is given up while its outcome is open; a mark
//! that cannot be understood is left alone, and so is its session.

pub mod mark;

use std::collections::VecDeque;

use super::Broker;
use super::api::{LogLevel, RequestError};
use super::commit::Draft;
use super::shard::Item;
use super::table::Life;
use crate::backend::{Change, Key, Slot, Write, WriteOutcome};
use crate::limits::VOID_CLAIMS_MAX;
use crate::name::{ClaimNumber, Incarnation, SessionId, Version};
use crate::planted::Bug;
use mark::Mark;

/// What a mark is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MarkPurpose {
    /// A session of this broker is buried.
    BuryOwn,
    /// A session of a broker that is gone is buried.
    BuryStranger,
    /// A session moves here.
    Move,
    /// An administrator takes claims away or ends the session: whoever it moves to must know.
    TakeAway,
    /// A session of this broker was closed, and may have claims that only a sweep finds.
    CloseDead,
    /// A mark that nobody needs any more is deleted.
    Clear,
}

/// A write of a session's mark that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MarkJob {
    pub(super) session: SessionId,
    pub(super) purpose: MarkPurpose,
    /// The version to expect.
    pub(super) expected: Version,
    /// The new mark; absent: delete it to clear up, or else only look that it is as expected.
    pub(super) mark: Option<Mark>,
}

/// What stands where a mark was to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// No mark: there never was one, or it was cleared.
    Nothing,
    Mark(Mark),
    /// Bytes that are no mark of a format known here.
    Unreadable,
}

/// What this broker knows of the session, as far as a conflict depends on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    own: Incarnation,
    /// Absent: the session is not in the table.
    life: Option<Life>,
    /// Its newest move number; 0 before the first.
    move_number: u32,
    /// A bug is planted: later moves are written over.
    writes_over_later_moves: bool,
}

/// What a conflict means for a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// What the job was for is true: a copy of it was stored, or somebody else wrote the same.
    Written,
    /// What was found is no news: it is replaced.
    Replace,
    /// The session lives there since a move that is no older than the newest known here. The job is over.
    Elsewhere(Incarnation, Vec<ClaimNumber>),
    /// A later move to there was written: this one is refused.
    Superseded(Incarnation),
    /// The session is dead, or its end was decided.
    Over,
    /// The session ended before the move that was found, which was written late: its end is written over it.
    Late,
    /// Nothing may be done about it here.
    LeftAlone,
}

/// What it means that this was found where a job expected something else.
pub(super) fn verdict(job: &MarkJob, found: &Found, known: Known) -> Verdict {
    // A mark with a lower number than is known here says nothing: its move came so late that the session had ended, and its
    // mark was cleared, before.
    let lives_there = |to: Incarnation, number: u32| to != known.own && number >= known.move_number;
    let is_vouched_for = known.life.is_some_and(Life::is_vouched_for);
    match (&job.purpose, found) {
        (_, Found::Unreadable) => Verdict::LeftAlone,
        // Decided where strangers and dead marks are kept.
        (MarkPurpose::BuryStranger | MarkPurpose::Clear, _) => Verdict::LeftAlone,

        // Others buried it, and may have cleared the mark since.
        (MarkPurpose::BuryOwn, Found::Mark(Mark::Dead) | Found::Nothing) => Verdict::Written,
        (MarkPurpose::BuryOwn, Found::Mark(Mark::Moved { to, number, void, .. })) if lives_there(*to, *number) => {
            Verdict::Elsewhere(*to, void.clone())
        }
        (MarkPurpose::BuryOwn, Found::Mark(Mark::Moved { .. })) => Verdict::Replace,

        // Where nothing is found there was a mark, which was cleared: the session ended.
        (MarkPurpose::Move, Found::Mark(Mark::Dead) | Found::Nothing) => Verdict::Over,
        (MarkPurpose::Move, Found::Mark(Mark::Moved { to, number, ending, .. })) => {
            if *to == known.own && *number == known.move_number {
                Verdict::Written
            } else if *number >= known.move_number && !known.writes_over_later_moves {
                Verdict::Superseded(*to)
            } else if *ending {
                Verdict::Over
            } else {
                Verdict::Replace
            }
        }

        (MarkPurpose::TakeAway, Found::Mark(mark)) if Some(mark) == job.mark.as_ref() => Verdict::Written,
        (MarkPurpose::TakeAway, Found::Mark(Mark::Dead) | Found::Nothing) => Verdict::Over,
        (MarkPurpose::TakeAway, Found::Mark(Mark::Moved { to, number, void, .. })) if *to != known.own => {
            match is_vouched_for {
                true if lives_there(*to, *number) => Verdict::Elsewhere(*to, void.clone()),
                true => Verdict::Late,
                false => Verdict::LeftAlone,
            }
        }
        // It ended meanwhile, and nobody else would clear its mark.
        (MarkPurpose::TakeAway, Found::Mark(Mark::Moved { .. })) if known.life.is_none() => Verdict::Written,
        (MarkPurpose::TakeAway, Found::Mark(Mark::Moved { .. })) => Verdict::Replace,

        (MarkPurpose::CloseDead, Found::Mark(Mark::Dead)) => Verdict::Written,
        // What an administrator took was still being written.
        (MarkPurpose::CloseDead, Found::Mark(Mark::Moved { to, .. })) if *to == known.own => Verdict::Replace,
        // The session lives at another broker, or another broker cleared what was left.
        (MarkPurpose::CloseDead, Found::Mark(Mark::Moved { .. }) | Found::Nothing) => Verdict::LeftAlone,
    }
}

impl Broker {
    /// Puts a mark in its session's lane.
    pub(super) fn push_mark(&mut self, job: MarkJob) {
        let at = self.lane(&Key::Session(job.session));
        self.shards[at].marks.push_back(job);
    }

    /// Puts marks that are to be written into a batch, one of each session at most.
    pub(super) fn draft_marks(&mut self, lane: usize, draft: &mut Draft) {
        let max = self.config.profile.batch_writes_max;
        let shard = &mut self.shards[lane];
        while draft.writes.len() < max {
            let Some(job) = shard.marks.pop_front() else { break };
            let key = Key::Session(job.session);
            if draft.writes.iter().any(|write| write.key == key) {
                shard.marks.push_front(job);
                break;
            }
            let change = match &job.mark {
                Some(mark) => Change::Put(mark.encode()),
                None if job.purpose == MarkPurpose::Clear => Change::Delete,
                None => Change::Compare,
            };
            draft.writes.push(Write { key, expected: job.expected, change, notify: false });
            draft.items.push(Item::Mark(job));
        }
    }

    /// How the write of a mark ended.
    pub(super) fn mark_outcome(&mut self, job: MarkJob, outcome: WriteOutcome) {
        match (&job.purpose, outcome) {
            (_, WriteOutcome::Committed(version)) => self.mark_written(&job, version),
            // What is known of strangers is kept where they are, and so is what a conflict tells of them.
            (MarkPurpose::BuryStranger, WriteOutcome::Conflict(slot)) => self.mark_slot(job.session, Some(slot)),
            // Somebody else cleared it, or wrote there what is not this broker's to clear.
            (MarkPurpose::Clear, WriteOutcome::Conflict(_)) => self.strangers.cleared(job.session),
            (_, WriteOutcome::Conflict(slot)) => self.mark_conflict(job, &slot),
            (MarkPurpose::Move, WriteOutcome::Unknown(text)) if self.planted.has(Bug::MoveGivenUpInDoubt) => {
                self.move_refused(job.session, RequestError::Unavailable(text));
            }
            (MarkPurpose::BuryOwn, WriteOutcome::Unknown(_)) if self.planted.has(Bug::BurialGivenUpInDoubt) => {}
            // Repeated until the outcome is definite: a copy that was stored shows as a conflict with our own mark.
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
            MarkPurpose::TakeAway => self.taken_written(id, version),
            MarkPurpose::CloseDead => self.note_dead(id, version, false),
            MarkPurpose::Clear => self.strangers.cleared(id),
        }
    }

    fn mark_conflict(&mut self, job: MarkJob, slot: &Slot) {
        let id = job.session;
        let found = self.find_mark(id, slot);
        let session = self.sessions.get(&id);
        let known = Known {
            own: self.config.incarnation,
            life: session.map(|session| session.life),
            move_number: session.map_or(0, |session| session.move_number),
            writes_over_later_moves: self.planted.has(Bug::OldMoveAccepted),
        };
        if job.purpose == MarkPurpose::Move && session.is_none() {
            return;
        }
        match verdict(&job, &found, known) {
            Verdict::Written => self.mark_written(&job, slot.version),
            Verdict::Replace => self.replace_mark(job, found, slot.version),
            Verdict::Elsewhere(to, void) => self.moved_away(id, to, &void),
            Verdict::Superseded(to) => {
                self.strangers.note_moved_away(id, to);
                self.move_refused(id, RequestError::StaleMove(id));
            }
            Verdict::Over if job.purpose == MarkPurpose::Move => {
                self.move_refused(id, RequestError::SessionGone(id));
            }
            Verdict::Over => self.buried_by_others(id, slot.version),
            Verdict::Late => self.end_over_stale_mark(id, slot.version),
            Verdict::LeftAlone if job.purpose == MarkPurpose::Move => {
                let text = format!("the mark of session {id} cannot be understood");
                self.move_refused(id, RequestError::Unavailable(text));
            }
            Verdict::LeftAlone => {}
        }
    }

    /// Writes a mark over what was found in its place.
    fn replace_mark(&mut self, mut job: MarkJob, found: Found, version: Version) {
        let id = job.session;
        if job.purpose == MarkPurpose::Move
            && let Found::Mark(Mark::Moved { to, void, taken, .. }) = found
        {
            self.take_along(id, to, void, taken);
        }
        job.expected = version;
        job.mark = Some(match job.purpose {
            MarkPurpose::Move | MarkPurpose::TakeAway => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.mark = version;
                }
                self.own_mark(id)
            }
            _ => Mark::Dead,
        });
        self.push_mark(job);
    }

    pub(super) fn own_mark(&self, id: SessionId) -> Mark {
        let session = self.sessions.get(&id);
        let number = session.map_or(0, |session| session.move_number);
        // The newest void numbers matter: older ones were removed by sweeps that a move begins.
        let void: VecDeque<ClaimNumber> = session
            .map(|session| session.void.iter().rev().take(VOID_CLAIMS_MAX).copied().collect())
            .unwrap_or_default();
        let taken = session
            .map(|session| session.taken.iter().rev().take(VOID_CLAIMS_MAX).copied().collect())
            .unwrap_or_default();
        let ending = session.is_some_and(|session| session.life == Life::Ending || session.life.is_burying());
        Mark::Moved { to: self.config.incarnation, number, void: void.into(), taken, ending }
    }

    /// A mark as stored. One that cannot be understood is left alone, and so is its session.
    pub(super) fn decode_mark(&mut self, id: SessionId, slot: &Slot) -> Option<Mark> {
        let bytes = slot.bytes.as_ref()?;
        match Mark::decode(bytes) {
            Ok(mark) => Some(mark),
            Err(error) => {
                self.log(LogLevel::Error, "mark refused", id.to_string(), error.to_string());
                None
            }
        }
    }

    fn find_mark(&mut self, id: SessionId, slot: &Slot) -> Found {
        match self.decode_mark(id, slot) {
            Some(mark) => Found::Mark(mark),
            None if slot.bytes.is_some() => Found::Unreadable,
            None => Found::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Incarnation = Incarnation(1);
    const OTHER: Incarnation = Incarnation(2);

    fn session() -> SessionId {
        SessionId { opener: OWN, serial: 1, ttl_ms: 10_000 }
    }

    fn moved(to: Incarnation, number: u32) -> Found {
        Found::Mark(Mark::Moved { to, number, void: Vec::new(), taken: Vec::new(), ending: false })
    }

    fn ending(to: Incarnation, number: u32) -> Found {
        Found::Mark(Mark::Moved { to, number, void: Vec::new(), taken: Vec::new(), ending: true })
    }

    /// What is decided of a session whose newest move known here is its third.
    fn decided(purpose: MarkPurpose, found: &Found, life: Option<Life>) -> Verdict {
        let mark = Some(Mark::Dead);
        let job = MarkJob { session: session(), purpose, expected: Version::ABSENT, mark };
        let known = Known { own: OWN, life, move_number: 3, writes_over_later_moves: false };
        verdict(&job, found, known)
    }

    fn elsewhere() -> Verdict {
        Verdict::Elsewhere(OTHER, Vec::new())
    }

    #[test]
    fn a_burial_stands_back_only_for_a_move_that_is_not_old() {
        let bury = |found: &Found| decided(MarkPurpose::BuryOwn, found, Some(Life::Burying { decided: false }));
        assert_eq!(bury(&Found::Mark(Mark::Dead)), Verdict::Written);
        assert_eq!(bury(&Found::Nothing), Verdict::Written);
        assert_eq!(bury(&moved(OTHER, 3)), elsewhere());
        assert_eq!(bury(&ending(OTHER, 4)), elsewhere());
        assert_eq!(bury(&moved(OTHER, 2)), Verdict::Replace);
        assert_eq!(bury(&moved(OWN, 3)), Verdict::Replace);
        assert_eq!(bury(&Found::Unreadable), Verdict::LeftAlone);
    }

    #[test]
    fn of_two_moves_the_later_one_stays() {
        let moves = |found: &Found| decided(MarkPurpose::Move, found, Some(Life::Moving));
        assert_eq!(moves(&moved(OWN, 3)), Verdict::Written);
        assert_eq!(moves(&moved(OTHER, 3)), Verdict::Superseded(OTHER));
        assert_eq!(moves(&moved(OTHER, 4)), Verdict::Superseded(OTHER));
        assert_eq!(moves(&moved(OWN, 4)), Verdict::Superseded(OWN));
        assert_eq!(moves(&moved(OTHER, 2)), Verdict::Replace);
        assert_eq!(moves(&moved(OWN, 2)), Verdict::Replace);
        assert_eq!(moves(&ending(OTHER, 2)), Verdict::Over);
        assert_eq!(moves(&Found::Mark(Mark::Dead)), Verdict::Over);
        assert_eq!(moves(&Found::Nothing), Verdict::Over);
        assert_eq!(moves(&Found::Unreadable), Verdict::LeftAlone);
    }

    #[test]
    fn what_is_taken_away_is_written_where_the_session_lives() {
        let takes = |found: &Found, life| decided(MarkPurpose::TakeAway, found, life);
        let here = || Some(Life::Vouching);
        assert_eq!(takes(&moved(OWN, 3), here()), Verdict::Replace);
        assert_eq!(takes(&moved(OWN, 3), None), Verdict::Written, "its mark is to be cleared");
        assert_eq!(takes(&moved(OTHER, 4), here()), elsewhere());
        assert_eq!(takes(&moved(OTHER, 2), here()), Verdict::Late);
        assert_eq!(takes(&moved(OTHER, 4), Some(Life::Closing)), Verdict::LeftAlone);
        assert_eq!(takes(&Found::Nothing, here()), Verdict::Over);
        assert_eq!(takes(&Found::Unreadable, here()), Verdict::LeftAlone);
        // A copy whose outcome was unknown had been stored.
        assert_eq!(takes(&Found::Mark(Mark::Dead), here()), Verdict::Written);
    }

    #[test]
    fn a_closed_session_dies_unless_it_lives_elsewhere() {
        let closes = |found: &Found| decided(MarkPurpose::CloseDead, found, None);
        assert_eq!(closes(&Found::Mark(Mark::Dead)), Verdict::Written);
        assert_eq!(closes(&moved(OWN, 3)), Verdict::Replace);
        assert_eq!(closes(&moved(OTHER, 4)), Verdict::LeftAlone);
        assert_eq!(closes(&Found::Nothing), Verdict::LeftAlone);
    }
}
