//! One HTTP/2 connection, from its first byte to its end.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tonic::service::Routes;
use tonic::transport::server::TcpConnectInfo;
use tonic::{Code, Status};
use tower_service::Service as _;

use super::timely::TimelyBody;
use crate::frontend::grpc::errors;

/// A connection that has asked for nothing by then is closed.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long connections may take to say goodbye when the process stops.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);
/// After this a client is asked to connect anew, so that load spreads over brokers that came later. Streams that are
/// open stay open.
const AGE_MAX: Duration = Duration::from_secs(3600);
/// Pings find out that a peer is gone: sent after this much silence, and answered within the timeout.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams of one connection.
const STREAMS_MAX: u32 = 128;
/// What one stream and one connection may send without being read. Larger than what requests in flight need, because
/// a stream that pipelines is held up by its window before anything else.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Header bytes of one request.
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// Streams that the peer made us reset, and resets that we have not looked at: floods of either end the connection.
const LOCAL_RESETS_MAX: usize = 1_024;
const PENDING_RESETS_MAX: usize = 20;

/// Serves one connection until either side ends it.
pub(super) async fn serve(stream: TcpStream, routes: Routes, mut stop: watch::Receiver<bool>) {
    let asked = Arc::new(AtomicBool::new(false));
    // Services find it where tonic's own server puts it.
    let from = TcpConnectInfo { local_addr: stream.local_addr().ok(), remote_addr: stream.peer_addr().ok() };
    let door = Door { routes, asked: asked.clone(), from };
    let mut connection = Box::pin(settings().serve_connection(TokioIo::new(stream), door));
    let mut first = Box::pin(tokio::time::sleep(FIRST_REQUEST_TIMEOUT));
    let mut age = Box::pin(tokio::time::sleep(jittered(AGE_MAX)));
    let (mut young, mut told) = (true, false);
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    // Peers go away in many ways; none of them is worth more than this.
                    tracing::debug!(%error, "connection ended");
                }
                return;
            }
            () = &mut first, if young => {
                young = false;
                if !asked.load(Ordering::Relaxed) {
                    tracing::debug!("a connection asked for nothing and is closed");
                    return;
                }
            }
            () = &mut age, if !told => {
                told = true;
                connection.as_mut().graceful_shutdown();
            }
            () = told_to_stop(&mut stop) => {
                connection.as_mut().graceful_shutdown();
                // The services were drained before: what is left are streams whose clients do not listen.
                let _ = tokio::time::timeout(FAREWELL, connection).await;
                return;
            }
        }
    }
}

/// The guard that `wait_for` returns may not be held while waiting for something else.
pub(super) async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

fn settings() -> http2::Builder<TokioExecutor> {
    let mut settings = http2::Builder::new(TokioExecutor::new());
    settings
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADER_BYTES_MAX)
        .max_local_error_reset_streams(LOCAL_RESETS_MAX)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX);
    settings
}

/// Ten percent up or down, so that connections made together do not end together.
fn jittered(time: Duration) -> Duration {
    time.mul_f64(rand::random_range(0.9..1.1))
}

/// Hands requests to the services, and notes that one came.
struct Door {
    routes: Routes,
    asked: Arc<AtomicBool>,
    from: TcpConnectInfo,
}

impl hyper::service::Service<Request<Incoming>> for Door {
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.asked.store(true, Ordering::Relaxed);
        let (parts, body) = request.into_parts();
        let body = TimelyBody::new(body, parts.uri.path());
        let mut request = Request::from_parts(parts, body);
        request.extensions_mut().insert(self.from.clone());
        let answer = self.routes.clone().call(request);
        Box::pin(async move { answer.await.map(in_our_words) })
    }
}

/// Messages that cannot be read are refused before they come to our services, with codes that say "our mistake".
/// Says instead what the proto files promise.
fn in_our_words(mut response: Response<tonic::body::Body>) -> Response<tonic::body::Body> {
    let refused = Status::from_header_map(response.headers())
        .filter(|status| matches!(status.code(), Code::Internal | Code::OutOfRange));
    if let Some(status) = refused {
        let headers = response.headers_mut();
        headers.remove(Status::GRPC_MESSAGE);
        if errors::unreadable(&status).add_header(headers).is_err() {
            headers.insert(Status::GRPC_STATUS, HeaderValue::from_static("3"));
        }
    }
    response
}
