//! The session stream over WebSocket: the messages of `LockService.Session`, as JSON (`sixpin.v1.json`, texts) or as they are on
//! gRPC (`sixpin.v1.proto`, binary). What they mean is decided where it is for gRPC (`api`, `messages`).
//!
//! Who asks is said by a header or, where a browser can set none, by a first message `authenticate`, as on frames.
//!
//! One task does all of a connection, as on frames: while the client does not take its answers nothing more is read from it. A
//! peer that is silent is pinged; one that does not answer is gone.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::FromRequestParts as _;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use bytes::Bytes;
use futures::future::poll_fn;
use futures::{FutureExt as _, Sink as _, SinkExt as _, Stream as _};
use http::header::AUTHORIZATION;
use serde_json::{Map, Value};
use sixpin_core::broker::api::RequestError;
use sixpin_core::limits::MESSAGE_BYTES_MAX;
use sixpin_proto::prost::Message as _;
use sixpin_proto::v1;
use tokio::time::{Instant, Sleep, sleep, timeout};
use v1::session_request::Body as Request;
use v1::session_response::Body;

use super::asked::Asked;
use super::json;
use super::routes::Answered;
use crate::frontend::api::conversation::{Failure, Kind};
use crate::frontend::api::errors::{invalid, undecodable};
use crate::frontend::api::{Api, Caller};
use crate::frontend::listener::{FAREWELL, OpeningPlace, Upgraded};
use crate::frontend::messages::errors::to_proto;
use crate::frontend::messages::session::{Incoming, Messages, Session};
use crate::runtime::Turns;
use crate::traces::Door as Way;

const JSON: &str = "sixpin.v1.json";
const PROTO: &str = "sixpin.v1.proto";
/// A peer of which nothing was heard for so long is pinged, and is gone after twice that.
const SILENCE: Duration = Duration::from_secs(10);
/// How long a client that has connected may say nothing.
const FIRST_MESSAGE_WITHIN: Duration = Duration::from_secs(10);
/// What is kept for each direction of a connection, which for most is idle.
const BUFFER_BYTES: usize = 8 * 1024;
/// What is kept of a connection's answers, beyond the largest one.
const WRITTEN_BYTES_MAX: usize = 17 * 1024 * 1024;
/// Longest reason of a close frame (RFC 6455, section 5.5).
const REASON_BYTES_MAX: usize = 123;

pub(super) async fn stream(mut asked: Asked) -> Answered {
    let upgrade = WebSocketUpgrade::from_request_parts(&mut asked.parts, &()).await;
    let upgrade = upgrade.map_err(|why| invalid(format!("this is for WebSockets: {why}")))?;
    let upgrade = upgrade.protocols([JSON, PROTO]);
    let form = match upgrade.selected_protocol().and_then(|chosen| chosen.to_str().ok()) {
        Some(JSON) => Form::Json,
        Some(PROTO) => Form::Proto,
        _ => return Err(invalid(format!("ask for the subprotocol `{JSON}` or `{PROTO}`")).into()),
    };
    let extensions = &mut asked.parts.extensions;
    let (place, turns, upgraded) = (extensions.remove(), extensions.remove(), extensions.remove::<Upgraded>());
    let Some(upgraded) = upgraded else {
        return Err(invalid("WebSockets are for HTTP/1.1").into());
    };
    asked.from.origin.door = Way::WebSocket;
    let api = asked.door.api.clone();
    // Who says it in a header takes no place without being known.
    let header = asked.parts.headers.get(AUTHORIZATION);
    if let Some(header) = header {
        let who = upgraded.identify(api.access(), Some(header), None).await;
        asked.from.who = who.ok_or(RequestError::Unauthenticated)?;
    }
    let begun = Begun { api, said_by_header: header.is_some(), from: asked.from, form, place, turns, upgraded };
    let response: Response = upgrade
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_write_buffer_size(WRITTEN_BYTES_MAX)
        .on_upgrade(|socket| begun.serve(socket));
    Ok(response)
}

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Proto,
}

impl Form {
    fn read(self, message: &Message) -> Result<Incoming, RequestError> {
        match (self, message) {
            (Self::Json, Message::Text(text)) => read(json::parse(text.as_bytes())?),
            (Self::Proto, Message::Binary(bytes)) => {
                let message = v1::SessionRequest::decode(bytes.clone());
                message.map(Incoming::from).map_err(|error| undecodable(&error.to_string()))
            }
            (Self::Json, _) => Err(invalid(format!("the messages of `{JSON}` are texts"))),
            (Self::Proto, _) => Err(invalid(format!("the messages of `{PROTO}` are binary"))),
        }
    }

    /// As how many frames a message counts: text takes longer to read.
    fn frames(self) -> u32 {
        match self {
            Self::Json => 4,
            Self::Proto => 1,
        }
    }

    fn write(self, message: &v1::SessionResponse) -> Message {
        match self {
            Self::Json => Message::text(Value::from(json::write(message)).to_string()),
            Self::Proto => Message::binary(message.encode_to_vec()),
        }
    }
}

/// A message whose number is known is answered under it, whatever else it says.
fn read(mut fields: Map<String, Value>) -> Result<Incoming, RequestError> {
    let error = match json::read::<v1::SessionRequest>(&fields) {
        Ok(message) => return Ok(message.into()),
        Err(error) => error,
    };
    let kind = match ["open", "resume"].map(|field| fields.contains_key(field)) {
        [true, _] => Kind::Open,
        [_, true] => Kind::Resume,
        _ => Kind::Other,
    };
    fields.retain(|field, _| field == "request");
    match json::read(&fields) {
        Ok(v1::SessionRequest { request, .. }) if request > 0 => Ok(Incoming { request, kind, body: Err(error) }),
        _ => Err(error),
    }
}

/// A connection that was asked for.
struct Begun {
    api: Api,
    from: Caller,
    said_by_header: bool,
    form: Form,
    place: Option<OpeningPlace>,
    turns: Option<Turns>,
    upgraded: Upgraded,
}

impl Begun {
    async fn serve(self, socket: WebSocket) {
        let Self { api, mut from, said_by_header, form, place, turns, upgraded } = self;
        let mut wire =
            Wire { socket, form, upgraded, heard: Instant::now(), silence: None, owes: false, rest: None, first: None };
        let first = timeout(FIRST_MESSAGE_WITHIN, poll_fn(|cx| wire.poll_message(cx))).await;
        let token = match first {
            Err(_) => return wire.end(Some(invalid(format!("nothing came within {FIRST_MESSAGE_WITHIN:?}")))).await,
            Ok(None) => return wire.end(None).await,
            Ok(Some(Ok(Incoming { request: 0, body: Ok(Some(Request::Authenticate(with))), .. }))) => Some(with.token),
            Ok(first) => {
                wire.first = first;
                None
            }
        };
        if token.is_some() || !said_by_header {
            from.who = match wire.upgraded.identify(api.access(), None, token.as_deref()).await {
                Some(who) => who,
                None => return wire.end(Some(RequestError::Unauthenticated)).await,
            };
        }
        let mut session = Session::new(api, wire, from, turns, place);
        let failure = poll_fn(|cx| poll(&mut session, cx)).await;
        let error = failure.map(|failure| match failure {
            Failure::Error(error) => error,
            Failure::TooLate(text) => invalid(text),
        });
        session.into_messages().end(error).await;
    }
}

/// Says what there is to say; ready at the end.
fn poll(session: &mut Session<Wire>, cx: &mut Context<'_>) -> Poll<Option<Failure>> {
    loop {
        if session.messages().poll_silence(cx).is_ready() {
            return Poll::Ready(None);
        }
        // Nothing is taken before there is room for it.
        let socket = Pin::new(&mut session.messages().socket);
        if ready!(socket.poll_ready(cx)).is_err() {
            return Poll::Ready(None);
        }
        match session.poll_next(cx) {
            Poll::Ready(Some(Ok(message))) => {
                let wire = session.messages();
                let message = wire.form.write(&message);
                if Pin::new(&mut wire.socket).start_send(message).is_err() {
                    return Poll::Ready(None);
                }
            }
            Poll::Ready(Some(Err(failure))) => return Poll::Ready(Some(failure)),
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => {
                let flushed = Pin::new(&mut session.messages().socket).poll_flush(cx);
                return if matches!(flushed, Poll::Ready(Err(_))) { Poll::Ready(None) } else { Poll::Pending };
            }
        }
    }
}

/// The connection.
struct Wire {
    socket: WebSocket,
    form: Form,
    upgraded: Upgraded,
    /// When its peer was heard last.
    heard: Instant,
    /// Until it is looked at again.
    silence: Option<Pin<Box<Sleep>>>,
    /// A ping is to be answered before anything more is read: who sends pings and reads nothing is not listened to.
    owes: bool,
    /// Until then nothing is read.
    rest: Option<Pin<Box<Sleep>>>,
    /// What came first, if that did not say who asks.
    first: Option<Result<Incoming, RequestError>>,
}

impl Wire {
    /// Pings a silent peer; ready once it is gone.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let silence = self.silence.get_or_insert_with(|| Box::pin(sleep(SILENCE)));
            ready!(silence.poll_unpin(cx));
            let silent = self.heard.elapsed();
            if silent >= SILENCE * 2 || self.upgraded.is_stuck() {
                return Poll::Ready(());
            }
            self.silence = None;
            if silent >= SILENCE / 2 && Pin::new(&mut self.socket).poll_ready(cx).is_ready() {
                let _ = Pin::new(&mut self.socket).start_send(Message::Ping(Bytes::new()));
                let _ = Pin::new(&mut self.socket).poll_flush(cx);
            }
        }
    }

    /// Says why nothing more comes, and ends the connection.
    async fn end(mut self, error: Option<RequestError>) {
        let (code, reason) = match &error {
            None => (close_code::NORMAL, String::new()),
            Some(error) => (code(error), error.to_string()),
        };
        let said = async {
            if let Some(error) = &error {
                let said = v1::SessionResponse { request: 0, body: Some(Body::Error(to_proto(error))) };
                self.socket.feed(self.form.write(&said)).await?;
            }
            let fits = (0..=reason.len().min(REASON_BYTES_MAX)).rev().find(|end| reason.is_char_boundary(*end));
            let reason = &reason[..fits.unwrap_or_default()];
            self.socket.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await?;
            // Until the peer has heard it.
            while let Some(Ok(_)) = futures::StreamExt::next(&mut self.socket).await {}
            Ok::<(), axum::Error>(())
        };
        let _ = timeout(FAREWELL, said).await;
    }
}

/// RFC 6455, section 7.4.1.
fn code(error: &RequestError) -> u16 {
    match error {
        RequestError::Unavailable(_) | RequestError::Draining { .. } | RequestError::Unknown(_) => close_code::AWAY,
        RequestError::Limit(_) => close_code::AGAIN,
        _ => close_code::POLICY,
    }
}

impl Messages for Wire {
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Incoming, RequestError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        loop {
            if self.owes {
                let _ = ready!(Pin::new(&mut self.socket).poll_flush(cx));
                self.owes = false;
            }
            if let Some(rest) = &mut self.rest {
                ready!(rest.poll_unpin(cx));
                self.rest = None;
            }
            let message = match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(message)) => message,
                // Too long, or broken: then nobody hears this.
                Some(Err(error)) => return Poll::Ready(Some(Err(undecodable(&error.to_string())))),
                None => return Poll::Ready(None),
            };
            self.heard = Instant::now();
            self.rest = self.upgraded.came(self.form.frames()).map(|rest| Box::pin(sleep(rest)));
            match message {
                Message::Ping(_) => self.owes = true,
                Message::Pong(_) => {}
                Message::Close(_) => return Poll::Ready(None),
                message => return Poll::Ready(Some(self.form.read(&message))),
            }
        }
    }
}
