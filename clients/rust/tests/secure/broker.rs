//! A broker of a few lines behind TLS: it opens sessions by frames and answers that it is alive by gRPC.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use futures::{SinkExt as _, StreamExt as _};
use http::{Request, Response};
use rustls::ServerConfig;
use sixpin_client::proto as v1;
use sixpin_client::proto::session_request::Body as Asked;
use sixpin_client::proto::session_response::Body as Said;
use sixpin_proto::frames::{Frames, GREETING};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::codec::Framed;
use tonic::body::Body;

/// The token that it lets in, where it asks for one.
pub(crate) const TOKEN: &str = "the.right~token";

#[derive(Clone)]
pub(crate) struct Broker {
    pub(crate) address: String,
    /// `authorization` of the newest call, and whether its header was to be kept secret on the way.
    seen: Arc<Mutex<Seen>>,
}

/// How often it was spoken with in which way, and what it was told.
#[derive(Default, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) frames: u32,
    pub(crate) calls: u32,
    pub(crate) token: Option<String>,
}

impl Broker {
    /// Without `config`, without TLS.
    pub(crate) async fn start(config: Option<Arc<ServerConfig>>, wants_token: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let broker = Self { address: listener.local_addr().unwrap().to_string(), seen: Arc::default() };
        let serving = broker.clone();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(serving.clone().connected(tcp, config.clone(), wants_token));
            }
        });
        broker
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    async fn connected(self, tcp: TcpStream, config: Option<Arc<ServerConfig>>, wants_token: bool) {
        let Some(config) = config else { return self.serve(tcp, wants_token).await };
        let Ok(tls) = TlsAcceptor::from(config).accept(tcp).await else { return };
        if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
            self.call(tls, wants_token).await;
        } else {
            self.serve(tls, wants_token).await;
        }
    }

    /// Frames, for a session.
    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(self, mut stream: S, wants_token: bool) {
        let mut greeting = [0; GREETING.len()];
        if stream.read_exact(&mut greeting).await.is_err() || greeting != GREETING {
            return;
        }
        stream.write_all(&GREETING).await.unwrap();
        self.seen.lock().unwrap().frames += 1;
        let mut frames = Framed::new(stream, Frames::<v1::SessionRequest, v1::SessionResponse>::new(1 << 20));
        let mut token = None;
        while let Some(Ok(v1::SessionRequest { request, body: Some(asked) })) = frames.next().await {
            let said = match asked {
                Asked::Authenticate(shown) => {
                    assert_eq!(request, 0);
                    token = Some(shown.token);
                    self.seen.lock().unwrap().token.clone_from(&token);
                    continue;
                }
                Asked::Open(_) if wants_token && token.as_deref() != Some(TOKEN) => {
                    let reason = v1::Reason::Unauthenticated.into();
                    let error = v1::Error {
                        reason,
                        message: "nobody is known by this token".to_owned(),
                        ..v1::Error::default()
                    };
                    let _ = frames.send(v1::SessionResponse { request: 0, body: Some(Said::Error(error)) }).await;
                    return;
                }
                Asked::Open(_) => Said::Opened(v1::Opened {
                    session: "S1".to_owned(),
                    token: "secret".to_owned(),
                    ttl_ms: 10_000,
                    requests_max: 256,
                    ..v1::Opened::default()
                }),
                Asked::Close(_) => Said::Closed(v1::Closed {}),
                _ => continue,
            };
            if frames.send(v1::SessionResponse { request, body: Some(said) }).await.is_err() {
                return;
            }
        }
    }

    /// gRPC, in which it knows nothing but who asks.
    async fn call<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: S, wants_token: bool) {
        let answer = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
            let shown = request.headers().get("authorization").map(|shown| shown.to_str().unwrap().to_owned());
            let known = !wants_token || shown.as_deref() == Some(&format!("Bearer {TOKEN}"));
            let mut seen = self.seen.lock().unwrap();
            seen.calls += 1;
            seen.token = shown;
            // UNIMPLEMENTED, UNAUTHENTICATED
            let (code, message) = if known { ("12", "not here") } else { ("16", "nobody is known by this token") };
            async move {
                let head = Response::builder().header("content-type", "application/grpc");
                let answer = head.header("grpc-status", code).header("grpc-message", message).body(Body::empty());
                Ok::<_, Infallible>(answer.unwrap())
            }
        });
        let executor = hyper_util::rt::TokioExecutor::new();
        let _ = hyper::server::conn::http2::Builder::new(executor)
            .serve_connection(hyper_util::rt::TokioIo::new(stream), answer)
            .await;
    }
}
