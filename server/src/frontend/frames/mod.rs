//! Frames: the session stream without HTTP/2, for programs that have a connection each and little in flight.
//!
//! The messages are those of the gRPC stream, and what they mean is decided where it is for gRPC (`api`, `messages`). Here is only
//! how they travel: `sixpin_proto::frames` says it.
//!
//! One task does all of a connection. Each time it runs it reads what has come, hands it to the engine, takes the answers that
//! wait, and writes them in one go. While the client does not take its answers nothing more is read from it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use futures::future::{BoxFuture, poll_fn};
use futures::{FutureExt as _, Sink as _, SinkExt as _, Stream as _, StreamExt as _};
use sixpin_core::broker::api::RequestError;
use sixpin_core::limits::MESSAGE_BYTES_MAX;
use sixpin_proto::frames::{ALPN, FrameError, Frames, GREETING};
use sixpin_proto::v1;
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;
use tokio_util::codec::{Encoder as _, Framed};
use v1::session_request::Body as Request;
use v1::session_response::Body;

use super::api::conversation::Failure;
use super::api::errors::{invalid, too_long, undecodable};
use super::api::{Api, Caller};
use super::listener::{Admitted, FAREWELL, Greeted, Socket};
use super::messages::errors::to_proto;
use super::messages::session::{Incoming, Messages, Session};
use crate::traces::{Door as Way, Origin};

/// What is kept for each direction of a connection, which for most is idle.
const BUFFER_BYTES: usize = 2 * 1024;
/// So much is collected before it is written.
const WRITTEN_AT_ONCE: usize = 8 * 1024;
/// How long a client that has greeted may say nothing.
const FIRST_MESSAGE_WITHIN: Duration = Duration::from_secs(10);
/// What a client may still send after its stream has ended, so that it hears why.
const IGNORED_BYTES_MAX: u64 = 1024 * 1024;

/// Frames, on a listener.
pub(crate) fn door(api: &Api) -> Arc<dyn Greeted> {
    Arc::new(Door { api: api.clone() })
}

struct Door {
    api: Api,
}

impl Greeted for Door {
    fn greeting(&self) -> [u8; 8] {
        GREETING
    }

    fn refusal(&self, reason: &str) -> Vec<u8> {
        let error = to_proto(&invalid(reason));
        let message = v1::SessionResponse { request: 0, body: Some(Body::Error(error)) };
        let mut bytes = BytesMut::from(&GREETING[..]);
        let mut frames: Frames<v1::SessionRequest, v1::SessionResponse> = Frames::new(MESSAGE_BYTES_MAX);
        // It fails only for messages that are too long.
        let _ = frames.encode(message, &mut bytes);
        bytes.to_vec()
    }

    fn alpn(&self) -> &'static [u8] {
        ALPN
    }

    fn serve(&self, socket: Socket, admitted: Admitted) -> BoxFuture<'static, ()> {
        serve(self.api.clone(), wire(socket), admitted).map(log).boxed()
    }
}

/// Peers go away in many ways; none of them is worth more than a line for who looks for it.
fn log(ended: Result<(), FrameError>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

type Wire = Framed<Socket, Frames<v1::SessionRequest, v1::SessionResponse>>;

fn wire(socket: Socket) -> Wire {
    let mut wire = Framed::with_capacity(socket, Frames::new(MESSAGE_BYTES_MAX), BUFFER_BYTES);
    wire.set_backpressure_boundary(WRITTEN_AT_ONCE);
    wire
}

/// What a client says.
struct Inbound {
    /// What came first, if that did not say who asks.
    first: Option<Result<v1::SessionRequest, FrameError>>,
    wire: Wire,
}

impl Messages for Inbound {
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Incoming, RequestError>>> {
        let message = match self.first.take() {
            Some(first) => Some(first),
            None => ready!(Pin::new(&mut self.wire).poll_next(cx)),
        };
        Poll::Ready(message.map(|message| message.map(Incoming::from).map_err(|error| unreadable(&error))))
    }
}

fn unreadable(error: &FrameError) -> RequestError {
    match error {
        FrameError::TooLong { .. } => too_long(),
        FrameError::Undecodable(error) => undecodable(&error.to_string()),
        // It ended within a message. Where the connection is broken nobody hears this.
        FrameError::Connection(error) => undecodable(&error.to_string()),
    }
}

/// Serves one connection, and says why it ends.
async fn serve(api: Api, mut wire: Wire, admitted: Admitted) -> Result<(), FrameError> {
    let Ok(first) = timeout(FIRST_MESSAGE_WITHIN, wire.next()).await else {
        let text = format!("nothing came after the greeting within {FIRST_MESSAGE_WITHIN:?}");
        return farewell(wire, Some(invalid(text))).await;
    };
    let Some(first) = first else { return Ok(()) };
    let (token, first) = match first {
        Ok(v1::SessionRequest { request: 0, body: Some(Request::Authenticate(with)) }) => (Some(with.token), None),
        first => (None, Some(first)),
    };
    let who = match api.access().identify_by(token.as_deref(), &admitted.shown) {
        Ok(who) => who,
        Err(why) => {
            admitted.refused(api.access(), &why).await;
            return farewell(wire, Some(RequestError::Unauthenticated)).await;
        }
    };
    let Admitted { address, client, turns, place, mut unread, .. } = admitted;
    let messages = Inbound { first, wire };
    let from = Caller { address, client, who, origin: Origin::of(Way::Frames) };
    let mut session = Session::new(api, messages, from, Some(turns), Some(place));
    let mut grown = false;
    let failure = poll_fn(|cx| -> Poll<Result<Option<Failure>, FrameError>> {
        loop {
            // Nothing is taken before there is room for it.
            ready!(Pin::new(&mut session.messages().wire).poll_ready(cx))?;
            match session.poll_next(cx) {
                Poll::Ready(Some(Ok(message))) => {
                    Pin::new(&mut session.messages().wire).start_send(message)?;
                    let unwritten = session.messages().wire.write_buffer().len();
                    grown |= unwritten > WRITTEN_AT_ONCE;
                    unread.note(unwritten);
                }
                Poll::Ready(Some(Err(failure))) => return Poll::Ready(Ok(Some(failure))),
                Poll::Ready(None) => return Poll::Ready(Ok(None)),
                Poll::Pending => {
                    ready!(Pin::new(&mut session.messages().wire).poll_flush(cx))?;
                    unread.note(0);
                    if std::mem::take(&mut grown) {
                        // What a large answer needed is not kept.
                        *session.messages().wire.write_buffer_mut() = BytesMut::with_capacity(BUFFER_BYTES);
                    }
                    return Poll::Pending;
                }
            }
        }
    })
    .await?;
    let error = failure.map(|failure| match failure {
        Failure::Error(error) => error,
        Failure::TooLate(text) => invalid(text),
    });
    farewell(session.into_messages().wire, error).await
}

/// Says why nothing more comes, if there is a reason, and ends the connection.
async fn farewell(mut wire: Wire, error: Option<RequestError>) -> Result<(), FrameError> {
    if let Some(error) = error {
        wire.feed(v1::SessionResponse { request: 0, body: Some(Body::Error(to_proto(&error))) }).await?;
    }
    wire.close().await?;
    // A connection that is closed while something of the client is unread takes back what was said last.
    let rest = async { tokio::io::copy(&mut wire.get_mut().take(IGNORED_BYTES_MAX), &mut tokio::io::sink()).await };
    let _ = timeout(FAREWELL, rest).await;
    Ok(())
}
