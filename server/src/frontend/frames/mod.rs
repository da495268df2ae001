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

use bytes::BytesMut;
use futures::future::{BoxFuture, poll_fn};
use futures::{FutureExt as _, Sink as _, SinkExt as _, Stream as _};
use sixpin_core::broker::api::RequestError;
use sixpin_core::limits::MESSAGE_BYTES_MAX;
use sixpin_proto::frames::{FrameError, Frames, GREETING};
use sixpin_proto::v1;
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;
use tokio_util::codec::Framed;
use v1::session_response::Body;

use super::api::conversation::Failure;
use super::api::errors::{invalid, too_long, undecodable};
use super::api::{Api, Caller};
use super::listener::{Admitted, FAREWELL, Greeted, Socket};
use super::messages::errors::to_proto;
use super::messages::session::{Messages, Session};

/// What is kept for each direction of a connection, which for most is idle.
const BUFFER_BYTES: usize = 2 * 1024;
/// So much is collected before it is written.
const WRITTEN_AT_ONCE: usize = 8 * 1024;
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

impl Messages for Wire {
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<v1::SessionRequest, RequestError>>> {
        let message = ready!(Pin::new(self).poll_next(cx));
        Poll::Ready(message.map(|message| message.map_err(|error| unreadable(&error))))
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
async fn serve(api: Api, wire: Wire, admitted: Admitted) -> Result<(), FrameError> {
    let Admitted { address, client, turns, place, mut unread } = admitted;
    let mut session = Session::new(api, wire, Caller { address, client }, Some(turns), Some(place));
    let mut grown = false;
    let failure = poll_fn(|cx| -> Poll<Result<Option<Failure>, FrameError>> {
        loop {
            // Nothing is taken before there is room for it.
            ready!(Pin::new(session.messages()).poll_ready(cx))?;
            match session.poll_next(cx) {
                Poll::Ready(Some(Ok(message))) => {
                    Pin::new(session.messages()).start_send(message)?;
                    let unwritten = session.messages().write_buffer().len();
                    grown |= unwritten > WRITTEN_AT_ONCE;
                    unread.note(unwritten);
                }
                Poll::Ready(Some(Err(failure))) => return Poll::Ready(Ok(Some(failure))),
                Poll::Ready(None) => return Poll::Ready(Ok(None)),
                Poll::Pending => {
                    ready!(Pin::new(session.messages()).poll_flush(cx))?;
                    unread.note(0);
                    if std::mem::take(&mut grown) {
                        // What a large answer needed is not kept.
                        *session.messages().write_buffer_mut() = BytesMut::with_capacity(BUFFER_BYTES);
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
    farewell(session.into_messages(), error).await
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
