//! Unary calls between callers and brokers: each on its own, in no order. A call that is cut is still under way, and its
//! broker learns of the cut after it.

use sixpin_core::broker::api::{Input, Reply, ReplyTo, Request, SessionRef};

use crate::plan::{MS, Time};
use crate::planted::WorldBug;
use crate::unary::Ask;
use crate::world::{Event, World};

/// One call.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) caller: usize,
    pub(crate) life: u32,
    pub(crate) ask: Ask,
    pub(crate) slot: usize,
    /// The broker process that it reached.
    incarnation: Option<u64>,
    /// When it reaches its broker.
    pub(crate) arrives: Time,
    /// When it was sent, by the caller's clock.
    pub(crate) sent: std::time::Duration,
    /// Its caller does not listen any more.
    pub(crate) cut: bool,
    /// Its broker answered, whether or not anybody heard it.
    answered: bool,
    /// The copy that is to take its place, and comes before its end.
    replaced_by: Option<u64>,
    /// That copy was refused: so it waits on, although nobody listens.
    waits_on: bool,
}

/// What happens to a call.
#[derive(Debug)]
pub(crate) enum Happening {
    /// It reaches a broker.
    Arrives(Box<(SessionRef, Request)>),
    /// Its broker learns that the caller is gone.
    Cut,
    /// The answer reaches the caller; absent: the connection failed.
    Answered(Option<Box<Reply>>),
}

impl World {
    /// How long a message of a call takes.
    fn call_delay(&mut self) -> Time {
        let base = self.call_rng.u64(50..3 * MS);
        if self.healed {
            return base;
        }
        match self.call_rng.u32(..100) {
            0..8 => base + self.call_rng.u64(5 * MS..60 * MS),
            8..12 => base + self.call_rng.u64(60 * MS..600 * MS),
            _ => base,
        }
    }

    pub(crate) fn send_call(&mut self, caller: usize, slot: usize, ask: Ask, session: SessionRef, request: Request) {
        self.send_call_after(0, caller, slot, ask, session, request);
    }

    /// The same, and it reaches its broker after some moment. Gives back its number.
    pub(crate) fn send_call_after(
        &mut self,
        earliest: Time,
        caller: usize,
        slot: usize,
        ask: Ask,
        session: SessionRef,
        request: Request,
    ) -> u64 {
        let id = self.next_stream;
        self.next_stream += 1;
        self.trace(|| format!("u{caller} -> b{slot} call {id} {request:?}"));
        let arrives = (self.now + self.call_delay()).max(earliest);
        let node = &self.callers[caller];
        let (life, sent) = (node.life, node.clock(self.now));
        let (cut, answered, replaced_by, waits_on) = (false, false, None, false);
        let call =
            Call { caller, life, ask, slot, incarnation: None, arrives, sent, cut, answered, replaced_by, waits_on };
        self.calls.insert(id, call);
        self.at(arrives, Event::Call { id, what: Happening::Arrives(Box::new((session, request))) });
        id
    }

    /// The caller does not wait any longer.
    pub(crate) fn cut_call(&mut self, id: u64) {
        self.cut_call_after(0, id);
    }

    /// The same, and its broker learns of it after the copy that takes its place.
    pub(crate) fn replace_call(&mut self, id: u64, copy: u64) {
        let heard = self.calls.get(&copy).map_or(0, |copy| copy.arrives);
        if let Some(call) = self.calls.get_mut(&id) {
            call.replaced_by = Some(copy);
        }
        self.cut_call_after(heard, id);
    }

    fn cut_call_after(&mut self, earliest: Time, id: u64) {
        let delay = self.call_delay();
        let now = self.now;
        let Some(call) = self.calls.get_mut(&id).filter(|call| !call.cut) else { return };
        call.cut = true;
        // Whatever was sent on a stream of a connection arrives before its reset.
        let at = call.arrives.max(now + delay).max(earliest) + 1;
        self.check.tally.cuts += 1;
        self.trace(|| format!("call {id} is cut"));
        self.at(at, Event::Call { id, what: Happening::Cut });
    }

    pub(crate) fn call_happens(&mut self, id: u64, what: Happening) {
        match what {
            Happening::Arrives(request) => self.call_arrives_at(id, *request),
            Happening::Cut => self.call_is_cut(id),
            Happening::Answered(reply) => {
                if let Some(call) = self.calls.get(&id)
                    && !call.cut
                    && let Some(call) = self.calls.remove(&id)
                {
                    self.call_answered_to(id, &call, reply.map(|reply| *reply));
                }
            }
        }
    }

    fn call_arrives_at(&mut self, id: u64, (session, request): (SessionRef, Request)) {
        let behind = self.behind_what_it_replaces(id);
        let Some(call) = self.calls.get_mut(&id) else { return };
        let slot = call.slot;
        let node = &self.brokers[slot];
        let paused = if node.machine.is_some() { node.paused_until } else { 0 };
        let at = paused.max(behind);
        if at > self.now {
            call.arrives = at;
            self.at(at, Event::Call { id, what: Happening::Arrives(Box::new((session, request))) });
            return;
        }
        if node.machine.is_none() {
            call.arrives = 0;
            let at = self.now + MS;
            self.at(at, Event::Call { id, what: Happening::Answered(None) });
            return;
        }
        call.incarnation = Some(node.incarnation);
        let (incarnation, caller, ask) = (node.incarnation, call.caller, call.ask);
        self.note_asked(caller, ask);
        let from = ReplyTo { connection: crate::network::connection(id), request: 1 };
        let principal = self.principal(self.clients.len() + caller);
        self.broker_event(
            slot,
            incarnation,
            Box::new(Input::Request { from, session, principal: Some(Box::new(principal)), request }),
        );
    }

    /// When a copy may come: a pause that ends early must not bring it before the calls whose place it takes.
    fn behind_what_it_replaces(&self, copy: u64) -> Time {
        let before = self.calls.values().filter(|call| call.replaced_by == Some(copy) && call.incarnation.is_none());
        before.map(|call| call.arrives + 1).max().unwrap_or(0)
    }

    /// A broker hears that a call was cut, after the call.
    fn call_is_cut(&mut self, id: u64) {
        let door_errs = self.has(WorldBug::PlaceGivenUp);
        let Some(call) = self.calls.get(&id).filter(|call| !call.waits_on || door_errs) else { return };
        let node = &self.brokers[call.slot];
        let paused = if node.machine.is_some() { node.paused_until } else { 0 };
        let arrives = if call.incarnation.is_none() { call.arrives } else { 0 };
        let copy = call.replaced_by.and_then(|copy| self.calls.get(&copy));
        let copied = copy.filter(|copy| copy.incarnation.is_none()).map_or(0, |copy| copy.arrives);
        let earliest = arrives.max(copied).max(paused);
        if earliest >= self.now {
            self.at(earliest + 1, Event::Call { id, what: Happening::Cut });
            return;
        }
        let (slot, reached) = (call.slot, call.incarnation);
        if let Some(call) = self.calls.remove(&id).filter(|call| !call.answered && call.replaced_by.is_none()) {
            self.note_given_up(call.caller, call.life, call.ask);
        }
        if let Some(incarnation) = reached {
            let input = Box::new(Input::Disconnected { connection: crate::network::connection(id) });
            self.broker_event(slot, incarnation, input);
        }
    }

    /// A broker answers a call. False if no call has that number.
    pub(crate) fn call_reply(&mut self, slot: usize, to: ReplyTo, reply: &Reply) -> bool {
        let id = to.connection.0;
        let Some(call) = self.calls.get_mut(&id) else { return false };
        call.answered = true;
        let (caller, life, ask) = (call.caller, call.life, call.ask);
        self.trace(|| format!("b{slot} -> u{caller} call {id} {reply:?}"));
        self.note_said(caller, ask, reply);
        if let Reply::Queued { claim, ticket, .. } = reply
            && self.callers[caller].life == life
        {
            self.check_ticket(caller, *claim, *ticket);
        }
        if matches!(reply, Reply::Error(_)) {
            self.wait_on(id);
        }
        let at = self.now + self.call_delay();
        self.at(at, Event::Call { id, what: Happening::Answered(Some(Box::new(reply.clone()))) });
        true
    }

    /// A copy was refused that was to take the place of calls. The door of a broker lets these wait on; their place would be
    /// given up with them.
    fn wait_on(&mut self, copy: u64) {
        for call in self.calls.values_mut().filter(|call| call.replaced_by == Some(copy) && !call.answered) {
            call.waits_on = true;
        }
    }

    /// The process of a broker ended: whoever waits for its answer learns of it.
    pub(crate) fn calls_break(&mut self, slot: usize) {
        let broken: Vec<u64> = self
            .calls
            .iter()
            .filter(|(_, call)| call.slot == slot && call.incarnation.is_some())
            .map(|(id, _)| *id)
            .collect();
        for id in broken {
            let at = self.now + self.call_rng.u64(MS..40 * MS);
            self.at(at, Event::Call { id, what: Happening::Answered(None) });
        }
    }
}
