//! One connection that speaks HTTP, 1.1 or 2: its first bytes say which.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use sixpin_core::limits::STREAMS_PER_CONNECTION_MAX;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tonic::transport::server::TcpConnectInfo;

use super::admission::{Admission, Encrypted, From};
use super::beginning::Begun;
use super::connection::{FAREWELL, LOOK, PING_INTERVAL, STALL_MAX, reason_to_cut, told_to_stop};
use super::counting::{Counting, Flood, HTTP};
use super::gate::Pass;
use super::protocol::Protocol;
use super::transport;
use super::unread::{Streams, Traffic};

/// After this a client is asked to connect anew, so that load spreads over brokers that came later. Streams that are
/// open stay open.
const AGE_MAX: Duration = Duration::from_secs(3600);
/// How long a ping may be unanswered.
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// What one stream and one connection may send without being read. Larger than what requests in flight need, because
/// a stream that pipelines is held up by its window before anything else.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What HTTP/2 keeps of one stream's answers.
const SEND_BUFFER: usize = 64 * 1024;
/// Header bytes of one request, and headers of one of HTTP/1.1.
const HEADER_BYTES_MAX: u32 = 16 * 1024;
const HEADERS_MAX: usize = 64;
/// How long the head of a request of HTTP/1.1 may take, with the silence before it.
const HEAD_WITHIN: Duration = Duration::from_secs(75);
/// Streams that the peer made us reset, and resets that we have not looked at: floods of either end the connection.
const LOCAL_RESETS_MAX: usize = 1_024;
const PENDING_RESETS_MAX: usize = 20;

/// Serves one connection until either side ends it.
pub(super) async fn serve(
    begun: Begun,
    protocol: Protocol,
    pass: Pass,
    traffic: Arc<Traffic>,
    mut stop: watch::Receiver<bool>,
) {
    // Services find it where tonic's own server puts it.
    let Begun { transport, shown, .. } = begun;
    let tcp = transport::tcp(&transport);
    let pass = Arc::new(pass);
    let from = From {
        connection: TcpConnectInfo { local_addr: tcp.local_addr().ok(), remote_addr: tcp.peer_addr().ok() },
        shown,
        encrypted: Encrypted(transport::is_encrypted(&transport)),
        pass: pass.clone(),
        traffic: traffic.clone(),
    };
    let admission = Admission::new(protocol, from);
    let socket = TokioIo::new(Counting::new(transport, HTTP, traffic.clone(), pass.share().clone()));
    let settings = settings(traffic.clone());
    let mut connection = Box::pin(settings.serve_connection_with_upgrades(socket, admission));
    let mut look = tokio::time::interval_at(Instant::now() + LOOK, LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let old = Instant::now() + jittered(AGE_MAX);
    let mut told = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    log_end(&*error);
                }
                return;
            }
            _ = look.tick() => {
                if let Some(why) = reason_to_cut(&traffic) {
                    tracing::debug!(why, "a connection is closed");
                    return;
                }
                let cut = traffic.cut_stalled(STALL_MAX);
                if cut > 0 {
                    tracing::debug!(cut, "streams are cut whose answers were not read");
                }
                let idle = traffic.idle().is_some_and(|idle| idle >= pass.idle());
                if !told && (idle || Instant::now() >= old) {
                    told = true;
                    connection.as_mut().graceful_shutdown();
                } else if idle && traffic.idle().is_some_and(|idle| idle >= pass.idle() + LOOK + FAREWELL) {
                    // It was told, and does not listen.
                    return;
                }
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

/// Peers go away in many ways; none of them is worth more than a line for who looks for it.
fn log_end(error: &(dyn std::error::Error + Send + Sync + 'static)) {
    let mut source = error.source();
    while let Some(inner) = source {
        if inner.downcast_ref::<Flood>().is_some() {
            tracing::debug!(%inner, "a connection is closed");
            return;
        }
        source = inner.source();
    }
    tracing::debug!(%error, "connection ended");
}

fn settings(traffic: Arc<Traffic>) -> auto::Builder<Streams> {
    let mut settings = auto::Builder::new(Streams(traffic));
    settings
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEADER_BYTES_MAX as usize)
        .max_headers(HEADERS_MAX);
    settings
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADER_BYTES_MAX)
        .max_send_buf_size(SEND_BUFFER)
        .max_local_error_reset_streams(LOCAL_RESETS_MAX)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX);
    settings
}

/// Ten percent up or down, so that connections made together do not end together.
fn jittered(time: Duration) -> Duration {
    time.mul_f64(rand::random_range(0.9..1.1))
}
