//! How waits end: by time, and because nobody can be told any more.
//!
//! Invariants: a wait ends no earlier than its deadline; where a copy of the request may have been written, the store decides
//! whether the grant or the end came first; a grant that was told stays, whether or not the message arrived.

use std::time::Duration;

use super::Broker;
use super::api::{ConnectionId, LostReason};
use super::shard::Pending;
use super::timers::{Timer, Timers};
use crate::command::CancelReason;
use crate::name::{ClaimId, ClaimNumber, OperationNumber, ResourceId, SessionId};
use crate::planted::Bug;

/// Whether a wait still goes on is looked at this often.
const WAIT_LOOKED_AT: Duration = Duration::from_secs(10);

impl Broker {
    /// The wait of an operation ended. A lock that was never sent to the store is answered at once; for the others the
    /// store decides whether the grant or the deadline came first. That goes for every conversion: an earlier copy of it
    /// may be on its way through another broker, and only the record can say that it will not happen.
    pub(super) fn wait_ended(&mut self, claim: ClaimId, number: OperationNumber) {
        let now = self.now.mono;
        let Some(known) = self.claim_mut(claim) else { return };
        let Some(pending) = known.pending.as_ref().filter(|pending| pending.number == number) else { return };
        if let Some(deadline) = pending.deadline.filter(|deadline| *deadline > now) {
            wait_timer(&mut self.timers, now, deadline, claim, number);
            return;
        }
        let resource = known.resource.clone();
        let converts = known.granted.is_some() || known.unread;
        if !converts && self.unqueue(&resource, claim, number) {
            self.time_out(claim, number);
            return;
        }
        self.withdraw(claim, Some(number), CancelReason::TimedOut);
    }

    /// Takes an operation out of the queue with all its copies, if none of them was ever sent.
    fn unqueue(&mut self, resource: &ResourceId, claim: ClaimId, number: OperationNumber) -> bool {
        let at = self.lane_of(resource);
        let any_copy = self.planted.has(Bug::CopyTakenForFirst);
        let Some(entry) = self.shards[at].entries.get_mut(resource) else { return false };
        let own = |pending: &Pending| pending.is_copy_of(claim, number);
        let unsent = |pending: &Pending| own(pending) && (!pending.looks || any_copy);
        let doubtful = |pending: &Pending| own(pending) && pending.doubtful;
        if entry.in_flight || entry.pending.iter().any(doubtful) || !entry.pending.iter().any(unsent) {
            return false;
        }
        let before = entry.pending.len();
        entry.pending.retain(|pending| !own(pending));
        let taken = before - entry.pending.len();
        self.queued = self.queued.saturating_sub(taken);
        if let Some(known) = self.claim_mut(claim) {
            known.commands = known.commands.saturating_sub(taken as u32);
        }
        taken > 0
    }

    /// A stream or call ended. A session lives on without its stream, unless it is bound to it: then what was not granted
    /// yet is given up, as a unary call that waits is.
    pub(super) fn disconnected(&mut self, connection: ConnectionId) {
        if let Some(id) = self.connections.remove(&connection)
            && let Some(session) = self.sessions.get_mut(&id)
            && session.connection == Some(connection)
        {
            session.connection = None;
            if session.bound {
                self.bound_stream_ended(id, connection);
            }
        }
        if let Some(claim) = self.calls.remove(&connection) {
            self.caller_left(claim, connection);
        }
    }

    fn bound_stream_ended(&mut self, id: SessionId, connection: ConnectionId) {
        let Some(session) = self.sessions.get(&id).filter(|session| session.life.is_vouched_for()) else { return };
        if self.planted.has(Bug::BoundReleasedOnCut) {
            self.expire(id, LostReason::Expired);
        } else if session.release_on_end || session.claims.is_empty() {
            self.end_abandoned(id);
        } else {
            for number in session.claims.keys().copied().collect::<Vec<ClaimNumber>>() {
                self.caller_left(ClaimId { session: id, number }, connection);
            }
        }
    }

    /// Nobody can be told any more how the operation of a claim ended that this connection asked for. What was not granted
    /// is withdrawn, and a lock that is granted before that is given back. A grant that was told stays, whether or not the
    /// message arrived: its client may act on it.
    fn caller_left(&mut self, claim: ClaimId, connection: ConnectionId) {
        let Some(pending) = self.claim_mut(claim).and_then(|known| known.pending.as_mut()) else { return };
        if pending.reply.is_some_and(|reply| reply.connection != connection) {
            return;
        }
        pending.reply = None;
        pending.given_up = true;
        let number = pending.number;
        self.withdraw(claim, Some(number), CancelReason::Cancelled);
    }
}

/// Sets the timer for the end of a wait. It looks whether the wait still goes on, so that most waits, which end long before,
/// leave nothing behind for long.
pub(super) fn wait_timer(
    timers: &mut Timers,
    now: Duration,
    deadline: Duration,
    claim: ClaimId,
    number: OperationNumber,
) {
    timers.set(deadline.min(now + WAIT_LOOKED_AT), Timer::Wait(claim, number));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::WAIT_MAX;
    use crate::name::Incarnation;

    #[test]
    fn the_timer_of_a_wait_is_not_set_far_ahead() {
        let mut timers = Timers::default();
        let session = SessionId { opener: Incarnation(1), serial: 1, ttl_ms: 1_000 };
        let claim = ClaimId { session, number: ClaimNumber(1) };
        wait_timer(&mut timers, Duration::from_secs(5), WAIT_MAX, claim, OperationNumber(1));
        assert_eq!(timers.next(), Some(Duration::from_secs(15)));
        wait_timer(&mut timers, Duration::from_secs(5), Duration::from_secs(6), claim, OperationNumber(1));
        assert_eq!(timers.next(), Some(Duration::from_secs(6)));
    }
}
