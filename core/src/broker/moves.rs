//! Sessions that move here from another broker, or come back after a cut stream.
//!
//! Invariants (rules 5, 6 and 9 of the liveness rules): a move is a compare-and-swap on the session's mark, with a number
//! that only rises; the session is in the table before that write is sent, and the write is repeated until its outcome is
//! definite; claims that the client gave up are void wherever they are met, and nothing is created below the first number
//! that the client never used.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Broker;
use super::api::{Effect, LiveClaim, LogLevel, ReplyTo, RequestError, ResumeRequest};
use super::marks::{MarkJob, MarkPurpose};
use super::secret::is_secret_of;
use super::shard::{Review, Stored};
use super::table::{Claim, Life, Numbers, Operation, Resuming, Session};
use super::timers::Timer;
use super::waits::wait_timer;
use crate::access::Principal;
use crate::limits::{CLAIMS_PER_SESSION_MAX, VOID_CLAIMS_MAX, with_tolerance};
use crate::name::{ClaimId, ClaimNumber, Incarnation, OperationNumber, ResourceId, SessionId, Version};
use crate::planted::Bug;

impl Broker {
    pub(super) fn resume(
        &mut self,
        from: ReplyTo,
        principal: Principal,
        resume: ResumeRequest,
    ) -> Result<(), RequestError> {
        let id = resume.session;
        if !is_secret_of(&self.config.root, id, &principal, &resume.secret) {
            return Err(RequestError::WrongToken(id));
        }
        if resume.move_number == 0 {
            return Err(RequestError::Invalid("moves are numbered from 1".into()));
        }
        if resume.void.len() > VOID_CLAIMS_MAX {
            return Err(RequestError::Limit(format!("{VOID_CLAIMS_MAX} void claims of one move")));
        }
        let claims_max = self.claims_of_a_move();
        if resume.claims.len() > claims_max {
            return Err(RequestError::Limit(format!("{claims_max} claims of one session")));
        }
        self.check_may_vouch()?;
        self.check_free(from.connection, resume.attach)?;
        match self.sessions.get(&id).map(|session| (session.life, session.move_number, session.bound)) {
            Some((Life::Burying { decided }, ..)) => Err(Self::being_buried(id, decided)),
            // Its end has been decided.
            Some((Life::Ending | Life::Closing, ..)) => Err(RequestError::SessionGone(id)),
            Some((_, _, true)) => {
                Err(RequestError::Invalid(format!("session {id} is bound to its connection and cannot be resumed")))
            }
            Some((_, number, _)) if resume.move_number < number && !self.planted.has(Bug::OldMoveAccepted) => {
                Err(RequestError::StaleMove(id))
            }
            Some((Life::Moving, number, _)) if resume.move_number > number => Err(RequestError::Unavailable(format!(
                "an earlier move of session {id} is still being written: try again"
            ))),
            Some((life, number, _)) => {
                self.resume_known(from, principal, resume, life, number);
                Ok(())
            }
            None => self.move_here(from, principal, resume),
        }
    }

    /// How many claims a session may bring along. A limit that was lowered, or is lower than elsewhere, holds for new claims: a
    /// session that could not move with those that it has would lose them.
    fn claims_of_a_move(&self) -> usize {
        if self.planted.has(Bug::MoveWithinLimits) {
            self.config.limits.claims_per_session
        } else {
            CLAIMS_PER_SESSION_MAX
        }
    }

    /// The session is in the table: its stream was cut, or the client repeats its move, or it comes back.
    fn resume_known(&mut self, from: ReplyTo, principal: Principal, resume: ResumeRequest, life: Life, number: u32) {
        let id = resume.session;
        let now = self.now.mono;
        let repeat = resume.move_number == number;
        let void: BTreeSet<ClaimNumber> = resume.void.iter().copied().collect();
        self.give_up(id, &void);
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.heard = now;
        session.meet(&resume.client);
        session.principal = principal;
        session.came_back = true;
        session.move_number = resume.move_number;
        session.numbers.use_all_below(resume.next_claim);
        if let Some(old) = session.resuming.take() {
            self.reply_error(old.to, RequestError::StaleMove(id));
        }
        if resume.move_number > number.saturating_add(1) {
            // There was a move between, of which no mark may be left where the store loses what it acknowledged.
            self.lived_elsewhere(id);
        }
        self.expect_answer(from, &resume);
        if life == Life::Moving {
            return;
        }
        // Without other brokers there is nobody whom a late move could reach, so no mark is needed.
        if repeat || !self.config.profile.contract.is_shared() {
            self.settle_claims(id);
        } else {
            self.write_move(id);
        }
    }

    fn move_here(&mut self, from: ReplyTo, principal: Principal, resume: ResumeRequest) -> Result<(), RequestError> {
        let id = resume.session;
        // One that was opened here and is not in the table any more may have lived on elsewhere: its mark decides.
        if !self.config.profile.contract.is_shared() || self.strangers.is_dead(id) {
            return Err(RequestError::SessionGone(id));
        }
        self.check_room(resume.client.shares, &principal)?;
        let mut session = Session::new(resume.client.clone(), false, Life::Moving, self.now.mono);
        session.came_back = true;
        session.principal = principal;
        session.move_number = resume.move_number;
        session.from_elsewhere = true;
        self.settling.vouches_for(id.ttl());
        session.numbers = Numbers::starting_at(resume.next_claim);
        session.void = resume.void.iter().copied().collect();
        self.insert_session(id, session);
        self.arm_session(id);
        self.expect_answer(from, &resume);
        self.write_move(id);
        Ok(())
    }

    fn expect_answer(&mut self, from: ReplyTo, resume: &ResumeRequest) {
        if resume.attach {
            self.attach(resume.session, from.connection);
        }
        if let Some(session) = self.sessions.get_mut(&resume.session) {
            let resuming = Resuming { to: from, unread: BTreeSet::new(), claims: resume.claims.clone() };
            session.resuming = Some(Box::new(resuming));
        }
    }

    fn write_move(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.life = Life::Moving;
        let expected = session.mark;
        let mark = self.own_mark(id);
        self.push_mark(MarkJob { session: id, purpose: MarkPurpose::Move, expected, mark });
    }

    pub(super) fn move_written(&mut self, id: SessionId, version: Version) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.mark = version;
        if session.life != Life::Moving {
            return;
        }
        session.life = Life::Vouching;
        session.heard = self.now.mono;
        let detail = format!("move {}", session.move_number);
        let void = !session.void.is_empty();
        self.strangers.came_here(id);
        self.arm_session(id);
        self.log(LogLevel::Info, "session moved here", id.to_string(), detail);
        if void {
            self.sweeps.want();
        }
        self.look_again(id);
        self.settle_claims(id);
    }

    /// While the move was written nothing was told of the session's claims: what happened to them since is told now.
    fn look_again(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(&id) else { return };
        let claims: Vec<(ClaimNumber, ResourceId, bool)> =
            session.claims.iter().map(|(number, claim)| (*number, claim.resource.clone(), claim.unread)).collect();
        for (number, resource, unread) in claims {
            if unread {
                self.look_up(&resource);
                continue;
            }
            let at = self.lane_of(&resource);
            let Some(entry) = self.shards[at].entries.get(&resource) else { continue };
            if !self.differs(entry, ClaimId { session: id, number }) {
                continue;
            }
            if let Some(entry) = self.shards[at].entries.get_mut(&resource)
                && entry.review != Review::OnceMore
            {
                entry.review = Review::News;
            }
            self.shards[at].make_ready(&resource);
        }
    }

    /// A mark that is written over said what else is to be done with claims of the session.
    pub(super) fn take_along(
        &mut self,
        id: SessionId,
        from: Incarnation,
        void: Vec<ClaimNumber>,
        taken: Vec<ClaimNumber>,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.note_void(void);
        session.taken.extend(taken);
        if from != self.config.incarnation {
            self.lived_elsewhere(id);
        }
    }

    /// The session comes back from another broker: what was known here of its claims may be long over.
    fn lived_elsewhere(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.from_elsewhere = true;
        let mut resources = BTreeSet::new();
        session.claims.for_each_mut(|_, claim| {
            claim.unread = true;
            resources.insert(claim.resource.clone());
        });
        for resource in resources {
            let at = self.lane_of(&resource);
            if let Some(entry) = self.shards[at].entries.get_mut(&resource).filter(|entry| !entry.in_flight) {
                entry.stored = Stored::Unread;
            }
        }
    }

    pub(super) fn move_refused(&mut self, id: SessionId, error: RequestError) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let resuming = session.resuming.take();
        let claims: Vec<ClaimNumber> = session.claims.keys().copied().collect();
        let connection = session.connection;
        for number in claims {
            let waiting = self.drop_claim(ClaimId { session: id, number }, None).and_then(|claim| claim.pending?.reply);
            if let Some(to) = waiting {
                self.reply_error(to, error.clone());
            }
        }
        self.remove_session(id);
        if let Some(connection) = connection {
            self.connections.remove(&connection);
            // Where the move was asked for, its answer is the end.
            if resuming.as_ref().is_none_or(|resuming| resuming.to.connection != connection) {
                self.out.push(Effect::Disconnect { connection });
            }
        }
        if let Some(resuming) = resuming {
            self.reply_error(resuming.to, error);
        }
        self.taken_from_moved(id);
    }

    /// Claims that the client gave up count as dead from now on: it will never ask for them again under these numbers.
    fn give_up(&mut self, id: SessionId, given_up: &BTreeSet<ClaimNumber>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.note_void(given_up.iter().copied());
        for number in given_up {
            session.numbers.mark_once(*number);
        }
        let resource_of = |number: &ClaimNumber| Some((*number, session.claims.get(number)?.resource.clone()));
        let known: Vec<(ClaimNumber, ResourceId)> = given_up.iter().filter_map(resource_of).collect();
        for (number, resource) in known {
            self.remove_claims(&resource, vec![ClaimId { session: id, number }]);
        }
    }

    /// The session is vouched for: look up what stands behind each live claim, then answer.
    fn settle_claims(&mut self, id: SessionId) {
        let Some(resuming) = self.sessions.get_mut(&id).and_then(|session| session.resuming.take()) else { return };
        self.give_up_unnamed(id, &resuming.claims);
        let mut unread = BTreeSet::new();
        for live in &resuming.claims {
            if self.take_over(id, live) {
                unread.insert(live.claim);
            }
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.resuming = Some(Box::new(Resuming { unread, ..*resuming }));
        }
        self.answer_resume(id);
    }

    /// Claims that the client does not name any more: what was taken away while another broker vouched, and what this broker
    /// knew before the session lived elsewhere. The client was told there that they are over, so nobody holds them; but the
    /// store may have lost the write that ended them, and nobody else would free them.
    fn give_up_unnamed(&mut self, id: SessionId, live: &[LiveClaim]) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let live: BTreeSet<ClaimNumber> = live.iter().map(|live| live.claim).collect();
        let taken = session.taken.iter().copied().filter(|number| !session.claims.contains_key(number));
        let left = session.claims.iter().filter(|(_, claim)| claim.unread).map(|(number, _)| *number);
        let given_up: BTreeSet<ClaimNumber> = taken.chain(left).filter(|number| !live.contains(number)).collect();
        if given_up.is_empty() {
            return;
        }
        self.sweeps.want();
        self.give_up(id, &given_up);
    }

    /// Notes a live claim. True if its resource must be read before the client can be told how it stands.
    fn take_over(&mut self, id: SessionId, live: &LiveClaim) -> bool {
        let claim = ClaimId { session: id, number: live.claim };
        if !self.is_to_be_taken_over(id, live) {
            return false;
        }
        if live.waiting.is_some() && self.planted.has(Bug::WaiterDroppedOnMove) {
            self.remove_claims(&live.resource, vec![claim]);
            return false;
        }
        let Some(session) = self.sessions.get(&id) else { return false };
        let known = session.claims.get(&live.claim);
        let asked_elsewhere = live.waiting.filter(|(number, _)| known.is_none_or(|known| known.operation < *number));
        if let Some(known) = known
            && asked_elsewhere.is_none()
            && known.grant_seq >= live.grant_seq
        {
            let (unread, resource) = (known.unread, known.resource.clone());
            self.give_time_if_taken(claim);
            if unread {
                self.look_up(&resource);
            }
            return unread;
        }
        self.note_live(claim, live, asked_elsewhere);
        self.give_time_if_taken(claim);
        let at = self.lane_of(&live.resource);
        let entry = self.shards[at].entries.get_or_make(&live.resource);
        entry.locals.insert(claim);
        if !entry.in_flight {
            entry.stored = Stored::Unread;
        }
        self.look_up(&live.resource);
        true
    }

    /// Whether a claim that the client names may be one. Its number is used from now on.
    fn is_to_be_taken_over(&mut self, id: SessionId, live: &LiveClaim) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        if session.void.contains(&live.claim) {
            return false;
        }
        session.numbers.mark_once(live.claim);
        // One that ended here, and its client has not heard of it, is not.
        session.claims.contains_key(&live.claim) || session.finished(live.claim).is_none()
    }

    /// Notes what the client says of a claim: what it was told, and what it asked for at another broker and still waits for.
    fn note_live(&mut self, id: ClaimId, live: &LiveClaim, asked: Option<(OperationNumber, Option<Duration>)>) {
        let now = self.now.mono;
        let Some(session) = self.sessions.get_mut(&id.session) else { return };
        let claim = session.claim(live.claim, || Claim::new(live.resource.clone(), live.last_operation));
        claim.unread = true;
        claim.believed_seq = if self.planted.has(Bug::LostGrantBelieved) { 0 } else { live.grant_seq };
        if let Some((number, wait)) = asked {
            let deadline = wait.map(|wait| now + wait);
            let operation = Operation {
                number,
                reply: None,
                until_done: false,
                mode: None,
                asked: Some(now),
                deadline,
                queued: None,
                given_up: false,
                since_ms: self.now.wall_ms,
            };
            let more = claim.pending.replace(operation).is_none();
            claim.operation = claim.operation.max(number);
            session.counts.waiting(isize::from(more));
            if let Some(deadline) = deadline {
                wait_timer(&mut self.timers, now, deadline, id, number);
            }
        }
    }

    /// A claim that was taken away while another broker vouched: the client hears of it with the answer, and gets its time.
    fn give_time_if_taken(&mut self, id: ClaimId) {
        let Some(session) = self.sessions.get_mut(&id.session).filter(|session| session.taken.contains(&id.number))
        else {
            return;
        };
        if let Some(claim) = session.claims.get_mut(&id.number).filter(|claim| !claim.forced) {
            claim.forced = true;
            self.timers.set(self.now.mono + with_tolerance(id.session.ttl()), Timer::Forced(id));
        }
    }

    /// Finds out how a claim stands that a client resumes with: what is known is compared with the store, and told then.
    /// A write that is under way says nothing: it may have been done before another broker changed the claim and the
    /// session came here.
    fn look_up(&mut self, resource: &ResourceId) {
        let at = self.lane_of(resource);
        let entry = self.shards[at].entries.get_or_make(resource);
        entry.review = if entry.in_flight { Review::OnceMore } else { Review::News };
        self.shards[at].make_ready(resource);
    }
}
