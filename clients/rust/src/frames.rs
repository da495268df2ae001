//! Session streams without HTTP/2: what is said first on a connection, and what follows.
//!
//! A broker that speaks frames answers the greeting. Whoever does not (an older broker, a balancer that knows HTTP alone) answers
//! with something else, closes the connection, or waits for more; then the stream goes over gRPC.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::{Sink as _, SinkExt as _, Stream as _, StreamExt as _};
use sixpin_proto::frames::{FrameError, Frames, GREETING};
use sixpin_proto::v1;
use sixpin_proto::v1::session_response::Body;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};
use tokio_util::codec::Framed;

use crate::error::is_about_identity;
use crate::socket::{self, Socket};
use crate::tls::GRPC;
use crate::token::Secret;

/// Longest message of a broker, in bytes, whatever brings it: the answer to a resume names every claim of the session.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long an answer to the greeting is waited for.
const GREETING_WITHIN: Duration = Duration::from_secs(1);
/// How long it is remembered that something else than a broker with frames answered at an address.
const REMEMBERED: Duration = Duration::from_secs(300);
/// The same where nothing answered: it may have been a broker in trouble.
const REMEMBERED_SILENCE: Duration = Duration::from_secs(10);
/// So many such addresses are remembered.
const REMEMBERED_MAX: usize = 1_024;
/// So much is written without waiting for more to come.
const WRITTEN_AT_ONCE: usize = 8 * 1024;

/// A connection whose greeting was answered.
///
/// What is sent is written when everything else that can run has had its turn: the program's tasks that were just woken by answers
/// ask for their next locks, and one write takes all of it.
#[derive(Debug)]
pub(crate) struct FrameStream {
    wire: Framed<Socket, Frames<v1::SessionResponse, v1::SessionRequest>>,
    unsent: Unsent,
}

/// What waits to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unsent {
    Nothing,
    /// Others have not had their turn since.
    Fresh,
    /// They have.
    Due,
}

/// Greets, and says who asks.
async fn greet(mut stream: Socket, token: Option<&Secret>) -> Greeted {
    if socket::spoken(&stream) == Some(GRPC) {
        return Greeted::Otherwise;
    }
    let mut answer = [0; GREETING.len()];
    let greeted = async {
        // If this fails, reading says why: a broker that does not want this program's certificate has said so.
        let _ = stream.write_all(&GREETING).await;
        let _ = stream.flush().await;
        let mut come = 0;
        while come < answer.len() && answer[..come] == GREETING[..come] {
            match stream.read(&mut answer[come..]).await? {
                0 => break,
                more => come += more,
            }
        }
        Ok::<usize, std::io::Error>(come)
    };
    match timeout(GREETING_WITHIN, greeted).await {
        Ok(Ok(_)) if answer == GREETING => {
            let wire = Framed::new(stream, Frames::new(MESSAGE_BYTES_MAX));
            let mut frames = FrameStream { wire, unsent: Unsent::Nothing };
            if let Some(token) = token {
                let authenticate = v1::Authenticate { token: token.text.clone() };
                let body = Some(v1::session_request::Body::Authenticate(authenticate));
                frames.send(v1::SessionRequest { request: 0, body });
            }
            Greeted::InKind(frames)
        }
        Ok(Ok(come)) if come > 0 => Greeted::Otherwise,
        Ok(_) | Err(_) => socket::trouble(&stream).map_or(Greeted::Silence, Greeted::Trouble),
    }
}

/// What is answered to a greeting.
enum Greeted {
    InKind(FrameStream),
    Otherwise,
    Silence,
    /// TLS has failed, which it does on any connection.
    Trouble(String),
}

impl FrameStream {
    /// Takes a message, which leaves when the stream is polled.
    pub(crate) fn send(&mut self, message: v1::SessionRequest) {
        // It takes any message; if the connection has failed, reading says so.
        let _ = Pin::new(&mut self.wire).start_send(message);
        self.unsent = Unsent::Fresh;
    }

    /// The next answer; `Err` says, for people, why there is none any more.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<v1::SessionResponse, String>> {
        let Poll::Ready(next) = Pin::new(&mut self.wire).poll_next(context) else {
            // What came before a failure was read.
            return self.poll_write(context).map(|error| Err(self.describe(&error)));
        };
        Poll::Ready(match next {
            Some(Ok(v1::SessionResponse { request: 0, body: Some(Body::Error(error)) }))
                if !is_about_identity(error.reason()) =>
            {
                Err(error.message)
            }
            Some(Ok(message)) => Ok(message),
            Some(Err(error)) => Err(self.describe(&error)),
            None => Err("the broker ended the stream".to_owned()),
        })
    }

    /// Writes what is due. Ready only if that failed.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<FrameError> {
        let much = self.wire.write_buffer().len() >= WRITTEN_AT_ONCE;
        match self.unsent {
            Unsent::Nothing => return Poll::Pending,
            Unsent::Fresh if !much => {
                self.unsent = Unsent::Due;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Unsent::Fresh | Unsent::Due => {}
        }
        match ready!(Pin::new(&mut self.wire).poll_flush(context)) {
            Ok(()) => {
                self.unsent = Unsent::Nothing;
                Poll::Pending
            }
            Err(error) => Poll::Ready(error),
        }
    }

    fn describe(&self, error: &FrameError) -> String {
        socket::trouble(self.wire.get_ref()).unwrap_or_else(|| error.to_string().to_lowercase())
    }

    /// Sends what is left, says that no more comes, and waits for the end.
    pub(crate) async fn finish(mut self) {
        if self.wire.close().await.is_ok() {
            while let Some(Ok(_)) = self.wire.next().await {}
        }
    }
}

/// Addresses at which nobody speaks frames, and until when that is believed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unspoken(Arc<Mutex<HashMap<String, Instant>>>);

impl Unspoken {
    /// Greets at an address, and notes what came of it; also if the attempt is given up before anything did.
    /// Gives nothing if nobody answers in kind; `Err` says, for people, that nobody will in any way.
    pub(crate) async fn greet(
        &self,
        address: &str,
        stream: Socket,
        token: Option<&Secret>,
    ) -> Result<Option<FrameStream>, String> {
        let mut attempt = Attempt { noted: self, address, believed: Some(REMEMBERED_SILENCE) };
        match greet(stream, token).await {
            Greeted::InKind(frames) => {
                attempt.believed = None;
                Ok(Some(frames))
            }
            Greeted::Otherwise => {
                attempt.believed = Some(REMEMBERED);
                Ok(None)
            }
            Greeted::Silence => Ok(None),
            Greeted::Trouble(words) => {
                attempt.believed = None;
                Err(words)
            }
        }
    }

    /// True if it was noted lately.
    pub(crate) fn is(&self, address: &str) -> bool {
        self.lock().get(address).is_some_and(|until| *until > Instant::now())
    }

    fn note(&self, address: &str, believed: Duration) {
        let (mut noted, now) = (self.lock(), Instant::now());
        noted.retain(|_, until| *until > now);
        if noted.len() < REMEMBERED_MAX {
            noted.insert(address.to_owned(), now + believed);
        }
    }

    /// Nothing here panics while the lock is held.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A greeting that is not answered yet.
struct Attempt<'a> {
    noted: &'a Unspoken,
    address: &'a str,
    /// How long it is believed that nobody speaks frames there, if it ends now.
    believed: Option<Duration>,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if let Some(believed) = self.believed {
            self.noted.note(self.address, believed);
        }
    }
}
