//! Unary calls between callers and brokers: each on its own, in no order. A call that is cut is still under way, and its
//! broker learns of the cut after it.

use sixpin_core::broker::api::{Input, Reply, ReplyTo, Request, SessionRef};

use crate::plan::{MS, Time};
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
    arrives: Time,
    /// When it was sent, by the caller's clock.
    pub(crate) sent: std::time::Duration,
    /// Its caller does not listen any more.
    pub(crate) cut: bool,
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
        let id = self.next_stream;
        self.next_stream += 1;
        self.trace(|| format!("u{caller} -> b{slot} call {id} {request:?}"));
        let arrives = self.now + self.call_delay();
        let node = &self.callers[caller];
        let (life, sent) = (node.life, node.clock(self.now));
        self.calls.insert(id, Call { caller, life, ask, slot, incarnation: None, arrives, sent, cut: false });
        self.at(arrives, Event::Call { id, what: Happening::Arrives(Box::new((session, request))) });
    }

    /// The caller does not wait any longer.
    pub(crate) fn cut_call(&mut self, id: u64) {
        let delay = self.call_delay();
        let now = self.now;
        let Some(call) = self.calls.get_mut(&id).filter(|call| !call.cut) else { return };
        call.cut = true;
        // Whatever was sent on a stream of a connection arrives before its reset.
        let at = call.arrives.max(now + delay) + 1;
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
        let Some(call) = self.calls.get_mut(&id) else { return };
        let slot = call.slot;
        let node = &self.brokers[slot];
        if node.machine.is_some() && node.paused_until > self.now {
            call.arrives = node.paused_until;
            let at = node.paused_until;
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
        self.broker_event(slot, incarnation, Box::new(Input::Request { from, session, principal, request }));
    }

    /// A broker hears that a call was cut, after the call.
    fn call_is_cut(&mut self, id: u64) {
        let Some(call) = self.calls.get(&id) else { return };
        let node = &self.brokers[call.slot];
        let paused = if node.machine.is_some() { node.paused_until } else { 0 };
        let earliest = if call.incarnation.is_none() { call.arrives.max(paused) } else { paused };
        if earliest >= self.now {
            self.at(earliest + 1, Event::Call { id, what: Happening::Cut });
            return;
        }
        let (slot, reached) = (call.slot, call.incarnation);
        self.calls.remove(&id);
        if let Some(incarnation) = reached {
            let input = Box::new(Input::Disconnected { connection: crate::network::connection(id) });
            self.broker_event(slot, incarnation, input);
        }
    }

    /// A broker answers a call. False if no call has that number.
    pub(crate) fn call_reply(&mut self, slot: usize, to: ReplyTo, reply: &Reply) -> bool {
        let id = to.connection.0;
        let Some(call) = self.calls.get(&id) else { return false };
        let (caller, ask) = (call.caller, call.ask);
        self.trace(|| format!("b{slot} -> u{caller} call {id} {reply:?}"));
        self.note_said(caller, ask, reply);
        let at = self.now + self.call_delay();
        self.at(at, Event::Call { id, what: Happening::Answered(Some(Box::new(reply.clone()))) });
        true
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
