//! A broker of a few lines, in this process: it opens sessions and grants locks, and does what a test tells it.
//!
//! Locks on names that begin with `taken` wait for ever; all others are granted.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use sixpin_client::proto as v1;
use sixpin_client::proto::session_request::Body as Asked;
use sixpin_client::proto::session_response::Body as Said;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::codegen::{Body, Service, StdError, http};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

type Answers = mpsc::UnboundedSender<Result<v1::SessionResponse, Status>>;

/// How the broker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    /// It accepts connections, and answers nothing on them any more.
    Silent,
    /// It opens no session, for this reason.
    Refuses(v1::Reason),
}

#[derive(Clone)]
pub(crate) struct Stub {
    pub(crate) address: String,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    mood: Mood,
    opened: u32,
    asked_to_open: u32,
    /// Claims, in the order in which they were released.
    released: Vec<u64>,
    streams: Vec<Answers>,
}

impl Stub {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let inner = Inner { mood: Mood::Well, opened: 0, asked_to_open: 0, released: Vec::new(), streams: Vec::new() };
        let address = listener.local_addr().unwrap().to_string();
        let stub = Self { address, inner: Arc::new(Mutex::new(inner)) };
        let serving = tonic::transport::Server::builder().add_service(stub.clone());
        tokio::spawn(serving.serve_with_incoming(TcpIncoming::from(listener)));
        stub
    }

    pub(crate) fn is(&self, mood: Mood) {
        self.inner.lock().unwrap().mood = mood;
    }

    /// Ends all sessions.
    pub(crate) fn lose(&self, reason: v1::LostReason) {
        for stream in self.inner.lock().unwrap().streams.drain(..) {
            let body = Some(Said::Lost(v1::Lost { reason: reason.into(), claims: Vec::new() }));
            let _ = stream.send(Ok(v1::SessionResponse { request: 0, body }));
        }
    }

    /// How many sessions it has opened.
    pub(crate) fn opened(&self) -> u32 {
        self.inner.lock().unwrap().opened
    }

    /// How many sessions it was asked to open.
    pub(crate) fn asked_to_open(&self) -> u32 {
        self.inner.lock().unwrap().asked_to_open
    }

    /// The claims that were released, in that order.
    pub(crate) fn released(&self) -> Vec<u64> {
        self.inner.lock().unwrap().released.clone()
    }

    fn mood(&self) -> Mood {
        self.inner.lock().unwrap().mood
    }

    async fn talk(self, mut asked: Streaming<v1::SessionRequest>, answers: Answers) {
        while let Ok(Some(message)) = asked.message().await {
            if self.mood() == Mood::Silent {
                continue;
            }
            let Some(body) = message.body.and_then(|body| self.answer(body, &answers)) else { continue };
            let _ = answers.send(Ok(v1::SessionResponse { request: message.request, body: Some(body) }));
        }
    }

    fn answer(&self, asked: Asked, answers: &Answers) -> Option<Said> {
        Some(match asked {
            Asked::Open(open) => self.open(&open, answers),
            Asked::KeepAlive(kept) => {
                Said::KeptAlive(v1::KeptAlive { move_number: kept.move_number, ..v1::KeptAlive::default() })
            }
            Asked::Lock(lock) => {
                let name = lock.resource.clone().unwrap_or_default().name;
                let (claim, operation) = (lock.claim, lock.operation);
                if name.starts_with("taken") {
                    Said::Queued(v1::Queued { claim, operation, ..v1::Queued::default() })
                } else {
                    let status = v1::Status::Granted.into();
                    let granted =
                        v1::Completion { claim, operation, status, held: lock.mode().held(), ..Default::default() };
                    Said::Completion(v1::Completion { fence: 7, grant_seq: 1, ..granted })
                }
            }
            Asked::Unlock(unlock) => {
                self.inner.lock().unwrap().released.push(unlock.claim);
                let (claim, operation, status) = (unlock.claim, unlock.operation, v1::Status::Released.into());
                Said::Completion(v1::Completion { claim, operation, status, ..v1::Completion::default() })
            }
            Asked::Close(_) => Said::Closed(v1::Closed {}),
            _ => return None,
        })
    }

    fn open(&self, open: &v1::Open, answers: &Answers) -> Said {
        let mut inner = self.inner.lock().unwrap();
        inner.asked_to_open += 1;
        if let Mood::Refuses(reason) = inner.mood {
            let (reason, message) = (reason.into(), "refused by the test".to_owned());
            return Said::Error(v1::Error { reason, message, ..v1::Error::default() });
        }
        inner.opened += 1;
        inner.streams.push(answers.clone());
        Said::Opened(v1::Opened {
            session: format!("S{}", inner.opened),
            token: "token".into(),
            ttl_ms: open.ttl_ms.unwrap_or(10_000),
            broker: "stub".to_owned(),
            requests_max: 256,
            ..v1::Opened::default()
        })
    }
}

impl StreamingService<v1::SessionRequest> for Stub {
    type Response = v1::SessionResponse;
    type ResponseStream = UnboundedReceiverStream<Result<v1::SessionResponse, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<v1::SessionRequest>>) -> Self::Future {
        let stub = self.clone();
        async move {
            while stub.mood() == Mood::Silent {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            let (answers, receiver) = mpsc::unbounded_channel();
            tokio::spawn(stub.talk(request.into_inner(), answers));
            Ok(Response::new(UnboundedReceiverStream::new(receiver)))
        }
        .boxed()
    }
}

/// What code generated from the proto file does for the one call that is needed here.
impl<B> Service<http::Request<B>> for Stub
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let stub = self.clone();
        async move { Ok(Grpc::new(ProstCodec::default()).streaming(stub, request).await) }.boxed()
    }
}

impl NamedService for Stub {
    const NAME: &'static str = "sixpin.v1.LockService";
}
