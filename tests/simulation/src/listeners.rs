//! Who only listens: callers that hear of their session by a connection where they ask nothing else, and others that try to listen to a
//! session which has a stream. And an administrator who asks holders once more to let go.
//!
//! What is said to a listener comes in order, as on a stream, and its end is heard by each side when it is. A caller believes what it
//! hears there as it believes an answer, and goes on asking; so it acts on grants that no call told it of.

use sixpin_core::broker::api::{
    AdminRequest, Event as Said, Input, LostReason, Reply, ReplyTo, Request, RequestError, Secret, SessionRef,
};
use sixpin_core::name::SessionId;

use crate::network::connection;
use crate::plan::{Fault, MS, SECOND, Time};
use crate::unary::{Ask, Stage};
use crate::wire;
use crate::world::{Event, World};

/// Who listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listener {
    /// A caller, in this life.
    Caller(usize, u32),
    /// Somebody beside a client that has a stream.
    Beside(usize),
}

/// A connection of somebody who only listens.
#[derive(Debug)]
pub(crate) struct Ear {
    who: Listener,
    slot: usize,
    identity: (SessionId, Secret),
    /// The broker process that it reached.
    incarnation: Option<u64>,
    /// When the last of what was said on it is heard.
    last: Time,
    /// Nobody listens any more; its broker does not know yet.
    closed: bool,
}

/// What happens to it.
#[derive(Debug)]
pub(crate) enum Sound {
    /// It reaches its broker.
    Arrives,
    /// Its broker learns that nobody listens any more.
    Closed,
    /// The answer is heard.
    Answer(Box<Reply>),
    /// An event is heard.
    Event(Box<Said>),
    /// Its end is heard.
    Ends,
}

impl World {
    /// The first of what happens with listeners.
    pub(crate) fn begin_listening(&mut self) {
        if self.plan.faults.has(Fault::Listeners) {
            self.at(200 * MS, Event::Listeners);
        }
    }

    /// Somebody begins to listen, or ends it, or a holder is asked to let go.
    pub(crate) fn listeners_act(&mut self) {
        if self.leaving {
            return;
        }
        match self.ear_rng.u32(..10) {
            0..6 if !self.callers.is_empty() => {
                let caller = self.ear_rng.usize(..self.callers.len());
                if self.ear_rng.u32(..4) == 0 { self.stop_listening(caller) } else { self.listen(caller) }
            }
            0..8 => {
                let client = self.ear_rng.usize(..self.clients.len());
                self.listen_beside(client);
            }
            _ => {
                let client = self.ear_rng.usize(..self.clients.len());
                self.ask_to_let_go(client);
            }
        }
        let pause = self.ear_rng.u64(5 * MS..120 * MS);
        self.after(pause, Event::Listeners);
    }

    fn listen(&mut self, caller: usize) {
        let node = &self.callers[caller];
        if let Some(identity) = node.identity.filter(|_| node.is_valid(self.now) && !node.is_moving()) {
            self.open_ear(Listener::Caller(caller, node.life), node.slot, identity);
        }
    }

    /// Whoever knows the secret may ask; the session's stream must not suffer from it.
    fn listen_beside(&mut self, client: usize) {
        let Some(session) = self.clients[client].session.filter(|_| self.clients[client].is_running()) else { return };
        let Some(secret) = self.secrets.get(&session) else { return };
        let (identity, slot) = ((session, *secret), self.ear_rng.usize(..self.plan.brokers));
        self.open_ear(Listener::Beside(client), slot, identity);
    }

    fn ask_to_let_go(&mut self, client: usize) {
        let Some(session) = self.clients[client].session else { return };
        let resource = self.plan.resource(self.ear_rng.usize(..self.plan.resources));
        self.trace(|| format!("administrator asks {session} to let go of {resource}"));
        for slot in 0..self.plan.brokers {
            self.admin(slot, AdminRequest::Notify { resource: resource.clone(), session, claim: None });
        }
    }

    fn open_ear(&mut self, who: Listener, slot: usize, identity: (SessionId, Secret)) {
        let id = self.next_stream;
        self.next_stream += 1;
        self.trace(|| format!("{who:?} -> b{slot} listens by s{id} to {}", identity.0));
        self.ears.insert(id, Ear { who, slot, identity, incarnation: None, last: self.now, closed: false });
        let delay = self.ear_delay();
        self.after(delay, Event::Ear { id, what: Sound::Arrives });
    }

    /// How long something takes on such a connection.
    fn ear_delay(&mut self) -> Time {
        let base = self.ear_rng.u64(50..3 * MS);
        let slow = !self.healed && self.ear_rng.u32(..100) < 10;
        if slow { base + self.ear_rng.u64(5 * MS..500 * MS) } else { base }
    }

    /// The caller hears nothing more by what it has.
    pub(crate) fn stop_listening(&mut self, caller: usize) {
        let own = |ear: &Ear| matches!(ear.who, Listener::Caller(of, _) if of == caller) && !ear.closed;
        let own: Vec<u64> = self.ears.iter().filter(|(_, ear)| own(ear)).map(|(id, _)| *id).collect();
        for id in own {
            // Some go on listening where nothing of theirs is said any more.
            let stays = if self.ear_rng.bool() { self.ear_rng.u64(..3 * SECOND) } else { 0 };
            let delay = self.ear_delay() + stays;
            if let Some(ear) = self.ears.get_mut(&id) {
                ear.closed = true;
                self.after(delay, Event::Ear { id, what: Sound::Closed });
            }
        }
    }

    pub(crate) fn ear_happens(&mut self, id: u64, what: Sound) {
        match what {
            Sound::Arrives => self.ear_arrives(id),
            Sound::Closed => self.ear_closed(id),
            Sound::Answer(reply) => self.ear_answered(id, &reply),
            Sound::Event(event) => self.ear_hears(id, &event),
            Sound::Ends => {
                self.ears.remove(&id);
            }
        }
    }

    fn ear_arrives(&mut self, id: u64) {
        let Some(ear) = self.ears.get_mut(&id) else { return };
        let node = &self.brokers[ear.slot];
        if node.machine.is_none() {
            self.ears.remove(&id);
            return;
        }
        if node.paused_until > self.now {
            let at = node.paused_until;
            self.at(at, Event::Ear { id, what: Sound::Arrives });
            return;
        }
        ear.incarnation = Some(node.incarnation);
        let (slot, incarnation, (session, secret)) = (ear.slot, node.incarnation, ear.identity);
        let asker = match ear.who {
            Listener::Caller(caller, _) => self.clients.len() + caller,
            Listener::Beside(client) => client,
        };
        let principal = Some(Box::new(self.principal(asker)));
        let from = ReplyTo { connection: connection(id), request: 1 };
        let session = SessionRef::Named(session, secret);
        self.broker_event(
            slot,
            incarnation,
            Box::new(Input::Request { from, session, principal, request: Request::Listen }),
        );
    }

    fn ear_closed(&mut self, id: u64) {
        let Some(ear) = self.ears.get(&id) else { return };
        let Some(incarnation) = ear.incarnation else {
            // The request comes before the end of its connection.
            self.after(20 * MS, Event::Ear { id, what: Sound::Closed });
            return;
        };
        let slot = ear.slot;
        self.ears.remove(&id);
        self.broker_event(slot, incarnation, Box::new(Input::Disconnected { connection: connection(id) }));
    }

    /// A broker answers a listener. False if there is none.
    pub(crate) fn ear_reply(&mut self, to: ReplyTo, reply: &Reply) -> bool {
        let id = to.connection.0;
        self.is_ear(id) && self.say_to_ear(id, Sound::Answer(Box::new(reply.clone())))
    }

    /// A broker tells a listener. False if there is none.
    pub(crate) fn ear_event(&mut self, id: u64, event: &Said) -> bool {
        let Some(ear) = self.ears.get(&id) else { return false };
        if matches!(event, Said::Lost { claims, reason: LostReason::Expired } if claims.is_empty()) {
            let session = ear.identity.0;
            self.check.fail(format!("whoever listens to {session} is told that it is over before that is certain"));
            return true;
        }
        match ear.who {
            Listener::Caller(caller, life) if self.callers[caller].life == life => {
                if let Said::Done(done) = event {
                    self.note_said(caller, Ask::Look(done.claim.0), &Reply::Done(done.clone()));
                }
            }
            Listener::Caller(..) => {}
            Listener::Beside(client) => self.note_told(client, &wire::event(event.clone())),
        }
        self.say_to_ear(id, Sound::Event(Box::new(event.clone())))
    }

    /// A broker ends it. False if there is none.
    pub(crate) fn ear_ends(&mut self, id: u64) -> bool {
        self.is_ear(id) && self.say_to_ear(id, Sound::Ends)
    }

    pub(crate) fn is_ear(&self, id: u64) -> bool {
        self.ears.contains_key(&id)
    }

    fn say_to_ear(&mut self, id: u64, what: Sound) -> bool {
        self.trace(|| format!("s{id} <- {what:?}"));
        let delay = self.ear_delay();
        let Some(ear) = self.ears.get_mut(&id) else { return false };
        ear.last = ear.last.max(self.now + delay) + 1;
        let at = ear.last;
        self.at(at, Event::Ear { id, what });
        true
    }

    /// The process of a broker ended.
    pub(crate) fn ears_break(&mut self, slot: usize) {
        let broken = self.ears.iter().filter(|(_, ear)| ear.slot == slot && ear.incarnation.is_some());
        for id in broken.map(|(id, _)| *id).collect::<Vec<u64>>() {
            self.say_to_ear(id, Sound::Ends);
        }
    }

    /// The caller that hears it, if it still listens there.
    fn who_hears(&self, id: u64) -> Option<usize> {
        let ear = self.ears.get(&id).filter(|ear| !ear.closed)?;
        let Listener::Caller(caller, life) = ear.who else { return None };
        let node = &self.callers[caller];
        (node.life == life && node.session() == Some(ear.identity.0)).then_some(caller)
    }

    fn ear_answered(&mut self, id: u64, reply: &Reply) {
        if let Some(caller) = self.who_hears(id) {
            match reply {
                Reply::Listening { lost, .. } => {
                    self.check.tally.listened += 1;
                    for number in lost {
                        self.hears_of_loss(caller, number.0);
                    }
                }
                Reply::Error(RequestError::SessionGone(_) | RequestError::WrongToken(_)) => {
                    self.caller_is_told_over(caller)
                }
                _ => {}
            }
        }
        if matches!(reply, Reply::Error(_)) {
            self.ears.remove(&id);
        }
    }

    fn ear_hears(&mut self, id: u64, event: &Said) {
        let Some(caller) = self.who_hears(id) else { return };
        self.check.tally.overheard += 1;
        match event {
            Said::Done(done) => self.lock_answered(caller, done.claim.0, done),
            Said::Blocking { claim, .. } => {
                let held = self.callers[caller].wanted.get(&claim.0);
                let holds = held.is_some_and(|wanted| matches!(wanted.stage, Stage::Held { .. }));
                if holds && self.ear_rng.bool() {
                    self.let_go_of(caller, claim.0);
                }
            }
            Said::Lost { claims, reason: LostReason::Forced } if claims.is_empty() => self.caller_is_lost(caller),
            Said::Lost { claims, .. } if claims.is_empty() => self.caller_is_told_over(caller),
            Said::Lost { claims, .. } => {
                for number in claims {
                    self.hears_of_loss(caller, number.0);
                }
            }
            Said::Move { .. } => self.callers[caller].must_move(),
        }
    }

    /// Nobody who only listens ends a stream.
    pub(crate) fn check_listening_ends_no_stream(&mut self, stream: u64) {
        if self.streams.contains_key(&stream) {
            self.check.fail(format!("somebody who only listens took the place of stream {stream}"));
        }
    }
}

/// A holder is asked to let go of what it was granted.
pub(crate) fn asks_for_a_grant(event: &Said) -> bool {
    !matches!(event, Said::Blocking { grant_seq: 0, .. })
}

/// Callers ask to hear whom they block where somebody may listen.
pub(crate) fn hears_of_blocking(world: &mut World) -> bool {
    world.plan.faults.has(Fault::Listeners) && world.ear_rng.bool()
}
