//! Streams between clients and brokers: ordered, and cut rather than lossy, as TCP is.

use sixpin_client::logic::{self, LinkId};
use sixpin_core::broker::api::{ConnectionId, Input};
use sixpin_proto::prost::Message;
use sixpin_proto::v1::session_response::Body;
use sixpin_proto::v1::{SessionRequest, SessionResponse};

use crate::frames::Pipe;
use crate::plan::{MS, Time};
use crate::planted::WorldBug;
use crate::wire;
use crate::world::{Event, World};

/// One stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) client: usize,
    /// Which life of the client process.
    pub(crate) life: u32,
    pub(crate) link: LinkId,
    pub(crate) slot: usize,
    /// Which incarnation of the broker process; set when it was accepted.
    pub(crate) incarnation: Option<u64>,
    /// When the last message in this direction arrives: later ones arrive later.
    pub(crate) last_up: Time,
    pub(crate) last_down: Time,
    /// Nothing is delivered to the client any more.
    pub(crate) client_closed: bool,
    /// Nothing is delivered to the broker any more.
    pub(crate) broker_closed: bool,
    /// Claims that the newest resume sent on it names and that must still be there when it is answered.
    pub(crate) kept: Vec<u64>,
    /// What its messages go through if it is one without HTTP/2.
    frames: Option<Box<(Pipe<SessionRequest>, Pipe<SessionResponse>)>>,
}

/// The number of a stream is also the broker machine's connection.
pub(crate) fn connection(stream: u64) -> ConnectionId {
    ConnectionId(stream)
}

impl World {
    /// How long a message between a client and a broker takes, given a cut between them.
    fn stream_delay(&mut self, client: usize, slot: usize) -> Time {
        let base = self.rng.u64(50..3 * MS);
        if self.healed {
            return base;
        }
        let slow = if self.rng.u32(..100) < 2 { self.rng.u64(20 * MS..500 * MS) } else { 0 };
        let cut = self.cuts.get(&(client, slot)).copied().unwrap_or(0);
        base + slow + cut.saturating_sub(self.now)
    }

    pub(crate) fn client_connects(&mut self, client: usize, link: LinkId, address: &str) {
        let slot: usize = address.trim_start_matches('b').parse().unwrap_or(0);
        let life = self.clients[client].life;
        let stream = self.next_stream;
        self.next_stream += 1;
        self.streams.insert(
            stream,
            Stream {
                client,
                life,
                link,
                slot,
                incarnation: None,
                last_up: self.now,
                last_down: self.now,
                client_closed: false,
                broker_closed: false,
                kept: Vec::new(),
                frames: (stream % 2 == 1).then(|| Box::new((Pipe::new(), Pipe::new()))),
            },
        );
        let delay = self.stream_delay(client, slot);
        self.after(delay, Event::StreamOpens { stream });
    }

    pub(crate) fn stream_opens(&mut self, id: u64) {
        let Some(stream) = self.streams.get(&id) else { return };
        let (client, slot) = (stream.client, stream.slot);
        let node = &self.brokers[slot];
        let accepted = node.machine.is_some();
        let incarnation = node.incarnation;
        if node.paused_until > self.now {
            let paused = node.paused_until;
            self.at(paused, Event::StreamOpens { stream: id });
            return;
        }
        let delay = self.stream_delay(client, slot);
        let at = self.now + delay;
        if let Some(stream) = self.streams.get_mut(&id) {
            if accepted {
                stream.incarnation = Some(incarnation);
            }
            stream.last_down = stream.last_down.max(at);
        }
        self.at(at, Event::StreamOpened { stream: id, accepted });
    }

    pub(crate) fn stream_opened(&mut self, id: u64, accepted: bool) {
        let Some(stream) = self.streams.get(&id) else { return };
        let (client, life, link, closed) = (stream.client, stream.life, stream.link, stream.client_closed);
        if closed {
            return;
        }
        if !accepted {
            self.down_ends(id);
            return;
        }
        if self.client_ready(client, life, || Event::StreamOpened { stream: id, accepted }) {
            self.client_input(client, logic::Input::Connected { link });
        }
    }

    pub(crate) fn send_up(&mut self, id: u64, message: Box<SessionRequest>) {
        let Some(stream) = self.streams.get(&id) else { return };
        let (client, slot) = (stream.client, stream.slot);
        self.trace(|| format!("c{client} -> b{slot} s{id} {message:?}"));
        self.note_sent(client, id, &message);
        let at = self.now + self.stream_delay(client, slot);
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.last_up = stream.last_up.max(at);
        let at = stream.last_up;
        self.at(at, Event::Up { stream: id, message });
    }

    pub(crate) fn up(&mut self, id: u64, message: Box<SessionRequest>) {
        let Some(stream) = self.streams.get(&id) else { return };
        let slot = stream.slot;
        let node = &self.brokers[slot];
        if stream.broker_closed || node.machine.is_none() || stream.incarnation != Some(node.incarnation) {
            return;
        }
        if node.paused_until > self.now {
            let paused = node.paused_until;
            self.at(paused, Event::Up { stream: id, message });
            return;
        }
        let Some(message) = self.carried(id, *message, |frames| &mut frames.0) else { return };
        let number = message.request;
        match message.body.and_then(wire::request) {
            Some(request) => self.client_request(slot, id, number, request),
            None => self.check.fail(format!("client sent a message that makes no sense on stream {id}")),
        }
    }

    pub(crate) fn send_down(&mut self, id: u64, request: u64, body: Body) {
        let Some(stream) = self.streams.get(&id) else { return };
        let (client, slot) = (stream.client, stream.slot);
        if stream.broker_closed {
            return;
        }
        self.trace(|| format!("b{slot} -> c{client} s{id} #{request} {body:?}"));
        self.note_told(client, &body);
        let at = self.now + self.stream_delay(client, slot);
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.last_down = stream.last_down.max(at);
        let at = stream.last_down;
        let message = Box::new(SessionResponse { request, body: Some(body) });
        self.at(at, Event::Down { stream: id, message });
    }

    pub(crate) fn down(&mut self, id: u64, message: Box<SessionResponse>) {
        let Some(stream) = self.streams.get(&id) else { return };
        let (client, life, link) = (stream.client, stream.life, stream.link);
        if stream.client_closed || self.clients[client].life != life || !self.clients[client].is_running() {
            return;
        }
        if self.clients[client].paused_until > self.now {
            let paused = self.clients[client].paused_until;
            self.at(paused, Event::Down { stream: id, message });
            return;
        }
        let Some(message) = self.carried(id, *message, |frames| &mut frames.1).map(Box::new) else { return };
        self.check_resumed(client, id, &message);
        self.check_told(client, id, &message);
        self.client_input(client, logic::Input::Received { link, message });
    }

    /// A message as it arrives on its stream.
    fn carried<M: Message + Default + Clone + PartialEq + std::fmt::Debug>(
        &mut self,
        id: u64,
        message: M,
        pipe: impl FnOnce(&mut (Pipe<SessionRequest>, Pipe<SessionResponse>)) -> &mut Pipe<M>,
    ) -> Option<M> {
        let forgetful = self.has(WorldBug::PieceForgotten);
        let Some(frames) = self.streams.get_mut(&id).and_then(|stream| stream.frames.as_mut()) else {
            return Some(message);
        };
        let come = pipe(frames).carry(&message, forgetful);
        if come.is_none() {
            self.check.fail(format!("a message did not arrive on stream {id} as it was sent: {message:?}"));
        }
        come
    }

    /// The client drops a stream: the broker learns of it, soon or late.
    pub(crate) fn client_closes(&mut self, id: u64) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.client_closed = true;
        let (client, slot) = (stream.client, stream.slot);
        let at = self.now + self.stream_delay(client, slot);
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.last_up = stream.last_up.max(at);
        let at = stream.last_up;
        self.at(at, Event::UpEnds { stream: id });
    }

    /// The broker ends a stream: what it sent before still arrives.
    pub(crate) fn broker_closes(&mut self, id: u64) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.broker_closed = true;
        let (client, slot) = (stream.client, stream.slot);
        let at = self.now + self.stream_delay(client, slot);
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.last_down = stream.last_down.max(at);
        let at = stream.last_down;
        self.at(at, Event::DownEnds { stream: id });
    }

    pub(crate) fn up_ends(&mut self, id: u64) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let (slot, incarnation) = (stream.slot, stream.incarnation);
        if std::mem::replace(&mut stream.broker_closed, true) {
            return;
        }
        let Some(incarnation) = incarnation else { return };
        let input = Box::new(Input::Disconnected { connection: connection(id) });
        self.broker_event(slot, incarnation, input);
    }

    pub(crate) fn down_ends(&mut self, id: u64) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let (client, life, link) = (stream.client, stream.life, stream.link);
        if stream.client_closed {
            return;
        }
        if self.client_ready(client, life, || Event::DownEnds { stream: id }) {
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.client_closed = true;
            }
            self.client_input(client, logic::Input::Disconnected { link, detail: "cut".into() });
        }
    }
}
