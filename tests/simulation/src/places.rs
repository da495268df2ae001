//! Callers who do not give up when they go away: they leave what they wait for at its place in the queue, and ask again later.
//!
//! Such a caller first asks for its place, and then waits. When its patience is over, a copy of its request that waits for
//! nothing takes the place of the one that waits, whose end then means nothing. That is done as the door of a broker does it, which
//! sees to it that the copy comes before the end. Sometimes it is left to the network: then the end may come first, and gives the
//! claim up.

use std::time::Duration;

use sixpin_core::broker::api::{ClaimState, Done, DoneStatus, Request, SessionRef};
use sixpin_core::command::Status;
use sixpin_core::name::{ClaimId, ClaimNumber, Fence, OperationNumber, SessionId, Version};
use sixpin_core::resource::Resource;

use crate::plan::{Fault, MS, Time};
use crate::unary::{Ask, Stage, Wanted};
use crate::world::World;

/// How a caller waits for a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// By one call, which gives the claim up when it is cut.
    Waits,
    /// So that the claim keeps its place.
    Leaves {
        /// It was told its place.
        queued: bool,
        /// A call that waited was cut, and nothing took its place before: whenever that is heard of, the claim is given up.
        given_up: bool,
        /// Until when it does not ask.
        away_until: Time,
    },
}

/// What is known of a claim that may be left at its place.
#[derive(Debug)]
pub(crate) struct Place {
    resource: usize,
    /// Its wait ends by itself.
    bounded: bool,
    stored: bool,
    /// It was cancelled, or the call that waited for it ended before another one took its place.
    given_up: bool,
    left: bool,
    ticket: Option<Fence>,
    /// The fence in its record.
    fence: Option<Fence>,
}

impl Wanted {
    /// It waits, and keeps its place when its session moves.
    pub(crate) fn is_queued(&self) -> bool {
        self.stage == Stage::Asking && matches!(self.patience, Patience::Leaves { queued: true, given_up: false, .. })
    }

    /// The operation that waits, and how much longer.
    pub(crate) fn waiting(&self, now: Time) -> Option<(OperationNumber, Option<Duration>)> {
        let age = Duration::from_micros(now - self.asked_at);
        self.is_queued().then(|| (self.request.operation, self.request.wait.map(|wait| wait.saturating_sub(age))))
    }
}

impl World {
    pub(crate) fn draw_patience(&mut self) -> Patience {
        if self.plan.faults.has(Fault::PlacesLeft) && self.call_rng.bool() {
            Patience::Leaves { queued: false, given_up: false, away_until: 0 }
        } else {
            Patience::Waits
        }
    }

    /// A claim is wanted that may be left at its place.
    pub(crate) fn note_place(&mut self, caller: usize, wanted: &Wanted) {
        let Some(session) = self.callers[caller].session().filter(|_| wanted.patience != Patience::Waits) else {
            return;
        };
        let place = Place {
            resource: wanted.resource,
            bounded: wanted.request.wait.is_some(),
            stored: false,
            given_up: false,
            left: false,
            ticket: None,
            fence: None,
        };
        self.check.places.insert(ClaimId { session, number: wanted.request.claim }, place);
    }

    /// Asks how far a lock is, without waiting for it.
    pub(crate) fn look(&mut self, caller: usize, number: u64) {
        self.look_after(0, caller, number);
    }

    /// The same, at a broker that hears of it after some moment. Gives back the number of the call.
    fn look_after(&mut self, earliest: Time, caller: usize, number: u64) -> Option<u64> {
        let node = &self.callers[caller];
        let (session, secret) = node.identity?;
        let (slot, lock) = (node.slot, node.wanted.get(&number)?.request.clone());
        let request = Request::Lock { lock, until_done: false };
        let session = SessionRef::Named(session, secret);
        Some(self.send_call_after(earliest, caller, slot, Ask::Look(number), session, request))
    }

    fn calls_out(&self, caller: usize, ask: Ask) -> Vec<u64> {
        let own = self.calls.iter().filter(|(_, call)| call.caller == caller && call.ask == ask && !call.cut);
        own.map(|(id, _)| *id).collect()
    }

    /// Something happens to a lock that keeps its place.
    pub(crate) fn go_on_queueing(&mut self, caller: usize, number: u64, wanted: &Wanted) {
        let Patience::Leaves { queued, away_until, .. } = wanted.patience else { return };
        let (waiting, looking) = (self.calls_out(caller, Ask::Lock(number)), self.calls_out(caller, Ask::Look(number)));
        let asks = !waiting.is_empty() || !looking.is_empty();
        let away = self.now < away_until && !self.leaving;
        match self.call_rng.u32(..100) {
            0..12 if !waiting.is_empty() => self.leave_place(caller, number),
            12..15 => self.cut_calls(&looking),
            // A copy races the others.
            15..18 => self.look(caller, number),
            18..20 => self.ask_for(caller, number),
            // Gives up, as those do who do not keep their place; perhaps a copy comes before that is heard of.
            20 if !waiting.is_empty() => {
                if self.call_rng.bool() {
                    self.look(caller, number);
                }
                self.cut_calls(&waiting);
                self.note_cut(caller, number);
            }
            21 => {
                self.ask(caller, Ask::Cancel(number), Request::Cancel { claim: ClaimNumber(number), operation: None });
            }
            22 => self.let_go_of(caller, number),
            // Who leaves does not wait for what it may be in the way of itself: a lock that it was told of when it had walked away.
            23..40 if self.leaving => self.let_go_of(caller, number),
            23..65 if !asks && !away => {
                if queued {
                    self.ask_for(caller, number);
                } else {
                    self.look(caller, number);
                }
            }
            _ => {}
        }
    }

    /// Goes away from what it waits for, if it does, which keeps its place: a copy that waits for nothing comes after its calls
    /// and before their end.
    fn leave_place(&mut self, caller: usize, number: u64) {
        let waiting = self.calls_out(caller, Ask::Lock(number));
        let Some(arrived) = waiting.iter().map(|id| self.calls[id].arrives).max() else { return };
        self.trace(|| format!("u{caller} leaves claim {number} at its place"));
        self.note_left(caller, number);
        let Some(copy) = self.look_after(arrived + 1, caller, number) else { return };
        for id in waiting {
            self.replace_call(id, copy);
        }
    }

    /// The session moves, and what it waits for keeps its place.
    pub(crate) fn leave_places(&mut self, caller: usize) {
        let queued = self.callers[caller].wanted.iter().filter(|(_, wanted)| wanted.is_queued());
        for number in queued.map(|(number, _)| *number).collect::<Vec<u64>>() {
            self.leave_place(caller, number);
        }
    }

    fn note_cut(&mut self, caller: usize, number: u64) {
        if let Some(wanted) = self.callers[caller].wanted.get_mut(&number)
            && let Patience::Leaves { given_up, .. } = &mut wanted.patience
        {
            *given_up = true;
        }
    }

    fn note_left(&mut self, caller: usize, number: u64) {
        let until = self.now + self.call_rng.u64(0..400 * MS);
        if let Some(wanted) = self.callers[caller].wanted.get_mut(&number)
            && let Patience::Leaves { away_until, .. } = &mut wanted.patience
        {
            *away_until = until;
        }
        if let Some(place) = self.place(caller, number) {
            place.left = true;
            self.check.tally.left += 1;
        }
    }

    pub(crate) fn is_told_its_place(&mut self, caller: usize, number: u64) {
        if let Some(wanted) = self.callers[caller].wanted.get_mut(&number)
            && let Patience::Leaves { queued, .. } = &mut wanted.patience
        {
            *queued = true;
        }
    }

    /// A broker to which a session moved says that a claim is not held.
    pub(crate) fn hears_of_end(&mut self, caller: usize, state: &ClaimState) {
        let number = state.claim.0;
        if !self.callers[caller].wanted.get(&number).is_some_and(Wanted::is_queued) {
            self.hears_of_loss(caller, number);
            return;
        }
        let Some(done) = state.done.as_ref().filter(|_| !state.waiting) else { return };
        self.check_end_of_wait(caller, number, done);
        if done.status == DoneStatus::Lost {
            self.hears_of_loss(caller, number);
        }
        self.is_over_for(caller, number, "over when it moved");
    }

    fn place(&mut self, caller: usize, number: u64) -> Option<&mut Place> {
        let session = self.callers[caller].session()?;
        self.check.places.get_mut(&ClaimId { session, number: ClaimNumber(number) })
    }

    /// A broker hears that a call has ended which it had not answered, or that a claim is cancelled.
    pub(crate) fn note_given_up(&mut self, caller: usize, life: u32, ask: Ask) {
        if let Ask::Lock(number) | Ask::Cancel(number) = ask
            && self.callers[caller].life == life
            && let Some(place) = self.place(caller, number)
        {
            place.given_up = true;
        }
    }

    /// Whether a claim may go before its caller hears of a grant, or with it.
    fn may_go(&self, id: ClaimId) -> bool {
        let (session, number) = (id.session, id.number.0);
        self.check.places.get(&id).is_none_or(|place| place.given_up || place.bounded)
            || self.check.is_let_go(session, number)
            || self.check.may_lose(session, number)
            || self.is_touched(session, number)
            || self.is_anything_lost()
    }

    /// What the store lost, or what was damaged, says nothing.
    fn is_anything_lost(&self) -> bool {
        self.has_lost() || self.check.tally.damaged > 0
    }

    /// A record was written. What was left at its place is still there.
    pub(crate) fn check_places(&mut self, resource: usize, stored: &Resource) {
        let sessions: Vec<SessionId> = self.callers.iter().filter_map(crate::unary::Caller::session).collect();
        let mut missing = Vec::new();
        let here = |(id, place): &(&ClaimId, &mut Place)| place.resource == resource && sessions.contains(&id.session);
        for (id, place) in self.check.places.iter_mut().filter(here) {
            let view = stored.claim(*id);
            if place.stored && view.is_none() {
                missing.push(*id);
            }
            place.stored = view.is_some();
            if let Some(stamp) = view.and_then(|view| view.fence) {
                place.fence = Some(stamp.resolve(Version::ABSENT));
            }
        }
        if let Some(id) = missing.into_iter().find(|id| !self.may_go(*id)) {
            self.check.fail(format!("r{resource} does not have {id} any more, which was left at its place"));
        }
    }

    /// A broker tells a caller its place: it is where it was.
    pub(crate) fn check_ticket(&mut self, caller: usize, claim: ClaimNumber, ticket: Fence) {
        let lost = self.is_anything_lost();
        let Some(place) = self.place(caller, claim.0) else { return };
        let known = *place.ticket.get_or_insert(ticket);
        if known != ticket && !lost {
            let text = format!("u{caller} claim {claim} had ticket {known:?} and now has {ticket:?}");
            self.check.fail(text);
        }
    }

    /// A caller hears how its lock ended: nothing has ended it while it was left at its place, and what was granted then is told
    /// as it was granted.
    pub(crate) fn check_end_of_wait(&mut self, caller: usize, number: u64, done: &Done) {
        let Some(session) = self.callers[caller].session() else { return };
        let id = ClaimId { session, number: ClaimNumber(number) };
        let asking = self.callers[caller].wanted.get(&number).is_some_and(|wanted| wanted.stage == Stage::Asking);
        let Some(place) = self.check.places.get(&id).filter(|_| asking) else { return };
        if done.status == DoneStatus::Is(Status::Granted) {
            let (left, fence) = (place.left, place.fence);
            self.check.tally.left_granted += u64::from(left);
            if done.fence != fence
                && self.callers[caller].is_valid(self.now)
                && !self.is_touched(session, number)
                && !self.is_anything_lost()
            {
                let text = format!("u{caller} claim {number} was granted with {fence:?} and is told {:?}", done.fence);
                self.check.fail(text);
            }
        } else if !self.may_go(id) {
            self.check.fail(format!("u{caller} left claim {number} at its place and hears {:?}", done.status));
        }
    }
}
