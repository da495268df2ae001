//! How a connection begins: TLS or not, and what is spoken on it.
//!
//! Where a listener has TLS, ALPN says what is spoken; who names nothing speaks HTTP/2. Where it has none, the first byte says it.
//!
//! Who is wrong about TLS is told so in its own words, as far as it has any, and the log says it once in a while: a client that
//! only sees its connection closed looks for the mistake in the network.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::complaint::Complaint;
use super::connection::{FAREWELL, FIRST_REQUEST_TIMEOUT};
use super::protocol::Greeted;
use super::share::Share;
use super::transport::Transport;
use crate::tls::Tls;
use crate::tls::peer::PeerCertificate;

/// How long a handshake may take, with the wait for its turn.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// The first byte of a TLS handshake (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;
/// How long a client without TLS is waited for to ask for something, and how many frames it may send before.
const REQUEST_WITHIN: Duration = Duration::from_millis(500);
const FRAMES_BEFORE_REQUEST_MAX: usize = 16;
/// A peer that was told that it is wrong may still have sent so much.
const IGNORED_BYTES_MAX: u64 = 64 * 1024;

/// A connection of which is known what it speaks.
pub(super) struct Begun {
    pub(super) transport: Transport,
    /// It begins with a greeting, and not with HTTP/2.
    pub(super) greets: bool,
    /// What it has shown of itself.
    pub(super) shown: Shown,
}

/// What a connection has shown of itself before its first request. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shown {
    /// The client's certificate.
    pub(crate) certificate: Option<Arc<PeerCertificate>>,
}

/// How connections of one listener begin.
pub(super) struct Beginning {
    tls: Option<Arc<Tls>>,
    /// Clients may begin with its greeting.
    greeted: Option<Arc<dyn Greeted>>,
    wrong: Complaint,
}

impl Beginning {
    /// With this TLS, or without; clients may begin with the greeting of `greeted`.
    pub(super) fn new(tls: Option<Arc<Tls>>, greeted: Option<Arc<dyn Greeted>>) -> Self {
        Self { tls, greeted, wrong: Complaint::new() }
    }

    /// Begins a connection. None if it came to nothing.
    pub(super) async fn begin(&self, tcp: TcpStream, share: &Share) -> Option<Begun> {
        let first = first_byte(&tcp).await?;
        match &self.tls {
            None if first == TLS_HANDSHAKE => {
                self.complain(&tcp, "it speaks TLS, and this listener has none");
                refuse_tls(tcp).await;
                None
            }
            None => Some(Begun {
                transport: Transport::Left(tcp),
                greets: self.greeted.as_ref().is_some_and(|door| door.greeting().first() == Some(&first)),
                shown: Shown::default(),
            }),
            Some(_) if first != TLS_HANDSHAKE => {
                self.complain(&tcp, "it speaks without TLS, and this listener wants it");
                refuse(tcp, first, self.greeted.as_deref()).await;
                None
            }
            Some(tls) => self.shake_hands(tcp, tls, share).await,
        }
    }

    async fn shake_hands(&self, tcp: TcpStream, tls: &Tls, share: &Share) -> Option<Begun> {
        let address = tcp.peer_addr().ok();
        let handshake = async {
            let turn = share.handshakes.turn(HANDSHAKE_TIMEOUT).await;
            let Some(()) = turn else {
                return Err((std::io::Error::other("too many handshakes of this client in a second"), tcp));
            };
            tls.acceptor().accept(tcp).into_fallible().await
        };
        let why = match timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(Ok(stream)) => {
                let session = stream.get_ref().1;
                let greets = self.greeted.as_ref().is_some_and(|door| session.alpn_protocol() == Some(door.alpn()));
                let certificate = session.peer_certificates().and_then(<[CertificateDer<'_>]>::first);
                let certificate = certificate.and_then(PeerCertificate::read).map(Arc::new);
                let shown = Shown { certificate };
                return Some(Begun { transport: Transport::Right(Box::new(stream)), greets, shown });
            }
            Ok(Err((error, tcp))) => {
                // The alert that says why would be taken back by a connection that is closed at once.
                linger(tcp).await;
                format!("the TLS handshake failed: {error}")
            }
            Err(_) => format!("its TLS handshake took longer than {HANDSHAKE_TIMEOUT:?}"),
        };
        self.wrong.say(|count| tracing::warn!(?address, count, "a connection came to nothing: {why}"));
        None
    }

    fn complain(&self, tcp: &TcpStream, why: &str) {
        let address = tcp.peer_addr().ok();
        self.wrong.say(|count| tracing::warn!(?address, count, "a connection came to nothing: {why}"));
    }
}

/// The first byte of a connection, which stays to be read; none if it does not come.
async fn first_byte(stream: &TcpStream) -> Option<u8> {
    let mut first = [0];
    let come = timeout(FIRST_REQUEST_TIMEOUT, stream.peek(&mut first)).await;
    matches!(come, Ok(Ok(1))).then_some(first[0])
}

/// What is said to who speaks without TLS where it must be.
const WANTS_TLS: &str = "TLS: this port speaks nothing else: write https:// in front of the address";

/// What is said to who speaks TLS where there is none.
const HAS_NO_TLS: &str = "this port speaks no TLS: write http:// in front of the address";

/// Tells a peer with TLS that there is none. It cannot read this, but knows from it that it was no broken connection.
async fn refuse_tls(mut tcp: TcpStream) {
    let _ = timeout(FAREWELL, tcp.write_all(bad_request(HAS_NO_TLS).as_bytes())).await;
    linger(tcp).await;
}

fn bad_request(why: &str) -> String {
    format!("HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\n\r\n{why}\n")
}

/// Tells a peer without TLS that it is needed, in what it speaks itself.
async fn refuse(mut tcp: TcpStream, first: u8, greeted: Option<&dyn Greeted>) {
    let said = async {
        match first {
            // "PRI * HTTP/2.0" begins so. A request of HTTP/1.1 that does (POST, PUT) gets an answer that it cannot read.
            b'P' => refuse_http2(&mut tcp).await?,
            b'A'..=b'Z' => tcp.write_all(bad_request(WANTS_TLS).as_bytes()).await?,
            first => {
                if let Some(greeted) = greeted.filter(|greeted| greeted.greeting().first() == Some(&first)) {
                    tcp.write_all(&greeted.refusal(WANTS_TLS)).await?;
                }
            }
        }
        Ok::<(), std::io::Error>(())
    };
    let _ = timeout(FAREWELL, said).await;
    linger(tcp).await;
}

/// Ends a connection on which the last word was said: one that is closed while something of the peer is unread takes back what was
/// said.
async fn linger(mut tcp: TcpStream) {
    let end = async {
        tcp.shutdown().await?;
        tokio::io::copy(&mut tcp.take(IGNORED_BYTES_MAX), &mut tokio::io::sink()).await
    };
    let _ = timeout(FAREWELL, end).await;
}

/// An empty SETTINGS frame and, once a request has come that can end with it, a GOAWAY with the code `INADEQUATE_SECURITY`
/// (RFC 9113, sections 6.5, 6.8 and 7). Clients that get it before they have asked for anything only say that the connection was
/// closed.
async fn refuse_http2(tcp: &mut TcpStream) -> std::io::Result<()> {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const INADEQUATE_SECURITY: u32 = 0xc;
    tcp.write_all(&SETTINGS).await?;
    let _ = timeout(REQUEST_WITHIN, first_request(tcp)).await;
    let mut frame = (8 + WANTS_TLS.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[7, 0, 0, 0, 0, 0]);
    frame.extend_from_slice(&0_u32.to_be_bytes());
    frame.extend_from_slice(&INADEQUATE_SECURITY.to_be_bytes());
    frame.extend_from_slice(WANTS_TLS.as_bytes());
    tcp.write_all(&frame).await
}

/// Reads until a frame with the headers of a request begins.
async fn first_request(tcp: &mut TcpStream) -> std::io::Result<()> {
    const PREFACE: u64 = 24;
    const HEADERS: u8 = 1;
    let mut skip = PREFACE;
    for _ in 0..FRAMES_BEFORE_REQUEST_MAX {
        tokio::io::copy(&mut tcp.take(skip), &mut tokio::io::sink()).await?;
        let mut head = [0; 9];
        tcp.read_exact(&mut head).await?;
        if head[3] == HEADERS {
            break;
        }
        skip = u64::from(u32::from_be_bytes([0, head[0], head[1], head[2]]));
    }
    Ok(())
}
