//! What it means that something else stands where a mark was to be written: one decision for every job.

use super::job::{MarkJob, MarkPurpose};
use super::mark::{Mark, MarkError};
use crate::backend::Slot;
use crate::broker::table::Life;
use crate::name::{ClaimNumber, Incarnation};

/// What this broker knows of the session, as far as a conflict depends on it.
#[derive(Debug, Clone, Copy)]
pub(in crate::broker) struct Known {
    pub(in crate::broker) own: Incarnation,
    /// Absent: the session is not in the table.
    pub(in crate::broker) life: Option<Life>,
    /// Its newest move number; 0 before the first.
    pub(in crate::broker) move_number: u32,
    /// A bug is planted: later moves are written over.
    pub(in crate::broker) writes_over_later_moves: bool,
}

/// What a conflict means for a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::broker) enum Verdict {
    /// What the job was for is true: a copy of it was stored, or somebody else wrote the same.
    Written,
    /// This mark is no news: it is replaced.
    Replace(Mark),
    /// The session lives there since a move that is no older than the newest known here. The job is over.
    Elsewhere(Incarnation, Vec<ClaimNumber>),
    /// The move is refused, because a later one to there was written.
    Superseded(Incarnation),
    /// The move is refused, because the session is dead or its end was decided.
    MoveTooLate,
    /// Others buried the session.
    BuriedByOthers,
    /// The session ended before the move that was found, which was written late: its end is written over it.
    EndedBefore,
    /// A session of another broker has this mark now, which says no more than if it had been read.
    AsRead,
    /// The bytes are no mark of a format known here: they are left alone, and so is the session.
    Unreadable(MarkError),
    /// Nothing is to be done about it here.
    LeftAlone,
}

/// What it means that this stands where a job expected something else.
pub(in crate::broker) fn verdict(job: &MarkJob, slot: &Slot, known: Known) -> Verdict {
    match job.purpose {
        // What is known of the sessions of others is kept with them.
        MarkPurpose::BuryStranger => return Verdict::AsRead,
        // Somebody else cleared it, or wrote there what is not this broker's to clear.
        MarkPurpose::Clear => return Verdict::Written,
        MarkPurpose::BuryOwn | MarkPurpose::Move | MarkPurpose::TakeAway | MarkPurpose::CloseDead => {}
    }
    let found = match Mark::at(slot) {
        Ok(found) => found,
        Err(error) => return Verdict::Unreadable(error),
    };
    match job.purpose {
        MarkPurpose::BuryOwn => of_burial(found, known),
        MarkPurpose::Move => of_move(found, known),
        MarkPurpose::TakeAway if found == job.mark => Verdict::Written,
        MarkPurpose::TakeAway => of_taking(found, known),
        MarkPurpose::CloseDead => of_closing(found, known),
        MarkPurpose::BuryStranger | MarkPurpose::Clear => Verdict::LeftAlone,
    }
}

fn of_burial(found: Option<Mark>, known: Known) -> Verdict {
    match found {
        // Others buried it, and may have cleared the mark since.
        None | Some(Mark::Dead) => Verdict::Written,
        Some(Mark::Moved { to, number, void, .. }) if known.lives_at(to, number) => Verdict::Elsewhere(to, void),
        Some(mark) => Verdict::Replace(mark),
    }
}

fn of_move(found: Option<Mark>, known: Known) -> Verdict {
    match found {
        // It was refused, and the session left the table, while a copy of the job was on its way.
        _ if known.life.is_none() => Verdict::LeftAlone,
        // Where nothing is found there was a mark, which was cleared: the session ended.
        None | Some(Mark::Dead) => Verdict::MoveTooLate,
        Some(Mark::Moved { to, number, .. }) if to == known.own && number == known.move_number => Verdict::Written,
        Some(Mark::Moved { to, number, .. }) if number >= known.move_number && !known.writes_over_later_moves => {
            Verdict::Superseded(to)
        }
        Some(Mark::Moved { ending: true, .. }) => Verdict::MoveTooLate,
        Some(mark) => Verdict::Replace(mark),
    }
}

fn of_taking(found: Option<Mark>, known: Known) -> Verdict {
    let is_vouched_for = known.life.is_some_and(Life::is_vouched_for);
    match found {
        None | Some(Mark::Dead) => Verdict::BuriedByOthers,
        Some(Mark::Moved { to, .. }) if to != known.own && !is_vouched_for => Verdict::LeftAlone,
        Some(Mark::Moved { to, number, void, .. }) if known.lives_at(to, number) => Verdict::Elsewhere(to, void),
        Some(Mark::Moved { to, .. }) if to != known.own => Verdict::EndedBefore,
        // It ended meanwhile, and nobody else would clear its mark.
        Some(Mark::Moved { .. }) if known.life.is_none() => Verdict::Written,
        Some(mark) => Verdict::Replace(mark),
    }
}

fn of_closing(found: Option<Mark>, known: Known) -> Verdict {
    match found {
        Some(Mark::Dead) => Verdict::Written,
        // What an administrator took was still being written.
        Some(mark @ Mark::Moved { to, .. }) if to == known.own => Verdict::Replace(mark),
        // The session lives at another broker, or another broker cleared what was left.
        Some(Mark::Moved { .. }) | None => Verdict::LeftAlone,
    }
}

impl Known {
    /// A mark with a lower number than is known here says nothing: its move came so late that the session had ended, and its
    /// mark was cleared, before.
    fn lives_at(self, to: Incarnation, number: u32) -> bool {
        to != self.own && number >= self.move_number
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::name::{SessionId, Version};

    const OWN: Incarnation = Incarnation(1);
    const OTHER: Incarnation = Incarnation(2);

    fn session() -> SessionId {
        SessionId { opener: OWN, serial: 1, ttl_ms: 10_000 }
    }

    fn slot(bytes: Option<Bytes>) -> Slot {
        Slot { version: Version(7), bytes }
    }

    fn nothing() -> Slot {
        slot(None)
    }

    fn unreadable() -> Slot {
        slot(Some(Bytes::from_static(b"no mark")))
    }

    fn dead() -> Slot {
        slot(Some(Mark::Dead.encode()))
    }

    fn mark(to: Incarnation, number: u32, ending: bool) -> Mark {
        Mark::Moved { to, number, void: Vec::new(), taken: Vec::new(), ending }
    }

    fn moved(to: Incarnation, number: u32) -> Slot {
        slot(Some(mark(to, number, false).encode()))
    }

    fn ending(to: Incarnation, number: u32) -> Slot {
        slot(Some(mark(to, number, true).encode()))
    }

    fn replaced(to: Incarnation, number: u32) -> Verdict {
        Verdict::Replace(mark(to, number, false))
    }

    /// What is decided of a session whose newest move known here is its third.
    fn decided(purpose: MarkPurpose, found: &Slot, life: Option<Life>) -> Verdict {
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
        let bury = |found: &Slot| decided(MarkPurpose::BuryOwn, found, Some(Life::Burying { decided: false }));
        assert_eq!(bury(&dead()), Verdict::Written);
        assert_eq!(bury(&nothing()), Verdict::Written);
        assert_eq!(bury(&moved(OTHER, 3)), elsewhere());
        assert_eq!(bury(&ending(OTHER, 4)), elsewhere());
        assert_eq!(bury(&moved(OTHER, 2)), replaced(OTHER, 2));
        assert_eq!(bury(&moved(OWN, 3)), replaced(OWN, 3));
        assert_eq!(bury(&unreadable()), Verdict::Unreadable(MarkError));
    }

    #[test]
    fn of_two_moves_the_later_one_stays() {
        let moves = |found: &Slot| decided(MarkPurpose::Move, found, Some(Life::Moving));
        assert_eq!(moves(&moved(OWN, 3)), Verdict::Written);
        assert_eq!(moves(&moved(OTHER, 3)), Verdict::Superseded(OTHER));
        assert_eq!(moves(&moved(OTHER, 4)), Verdict::Superseded(OTHER));
        assert_eq!(moves(&moved(OWN, 4)), Verdict::Superseded(OWN));
        assert_eq!(moves(&moved(OTHER, 2)), replaced(OTHER, 2));
        assert_eq!(moves(&moved(OWN, 2)), replaced(OWN, 2));
        assert_eq!(moves(&ending(OTHER, 2)), Verdict::MoveTooLate);
        assert_eq!(moves(&dead()), Verdict::MoveTooLate);
        assert_eq!(moves(&nothing()), Verdict::MoveTooLate);
        assert_eq!(moves(&unreadable()), Verdict::Unreadable(MarkError));
    }

    #[test]
    fn what_is_taken_away_is_written_where_the_session_lives() {
        let takes = |found: &Slot, life| decided(MarkPurpose::TakeAway, found, life);
        let here = || Some(Life::Vouching);
        assert_eq!(takes(&moved(OWN, 3), here()), replaced(OWN, 3));
        assert_eq!(takes(&moved(OWN, 3), None), Verdict::Written, "its mark is to be cleared");
        assert_eq!(takes(&moved(OTHER, 4), here()), elsewhere());
        assert_eq!(takes(&moved(OTHER, 2), here()), Verdict::EndedBefore);
        assert_eq!(takes(&moved(OTHER, 4), Some(Life::Closing)), Verdict::LeftAlone);
        assert_eq!(takes(&nothing(), here()), Verdict::BuriedByOthers);
        assert_eq!(takes(&unreadable(), here()), Verdict::Unreadable(MarkError));
        // A copy whose outcome was unknown had been stored.
        assert_eq!(takes(&dead(), here()), Verdict::Written);
    }

    #[test]
    fn a_closed_session_dies_unless_it_lives_elsewhere() {
        let closes = |found: &Slot| decided(MarkPurpose::CloseDead, found, None);
        assert_eq!(closes(&dead()), Verdict::Written);
        assert_eq!(closes(&moved(OWN, 3)), replaced(OWN, 3));
        assert_eq!(closes(&moved(OTHER, 4)), Verdict::LeftAlone);
        assert_eq!(closes(&nothing()), Verdict::LeftAlone);
    }

    #[test]
    fn what_others_wrote_of_their_sessions_is_theirs() {
        assert_eq!(decided(MarkPurpose::BuryStranger, &unreadable(), None), Verdict::AsRead);
        assert_eq!(decided(MarkPurpose::Clear, &moved(OTHER, 4), None), Verdict::Written);
        assert_eq!(decided(MarkPurpose::Move, &moved(OTHER, 2), None), Verdict::LeftAlone);
    }
}
