//! One connection, from its beginning to its end, and when it may not go on.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;

use super::beginning::Beginning;
use super::gate::Pass;
use super::protocol::Protocol;
use super::unread::Traffic;
use super::{greeted, http};

/// A connection that has asked for nothing by then is closed.
pub(super) const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long connections may take to say goodbye, when the process stops or nothing goes on.
pub(crate) const FAREWELL: Duration = Duration::from_secs(1);
/// How long a peer may leave an answer unread, or its socket full.
pub(super) const STALL_MAX: Duration = Duration::from_secs(20);
/// After this much silence it is found out whether a peer is still there.
pub(super) const PING_INTERVAL: Duration = Duration::from_secs(20);
/// How often a connection is looked at.
pub(super) const LOOK: Duration = Duration::from_secs(2);

/// Serves one connection until either side ends it.
pub(super) async fn serve(
    tcp: TcpStream,
    protocol: Protocol,
    beginning: Arc<Beginning>,
    pass: Pass,
    mut stop: watch::Receiver<bool>,
) {
    let traffic = Traffic::new();
    let begun = tokio::select! {
        begun = beginning.begin(tcp, pass.share()) => begun,
        () = told_to_stop(&mut stop) => return,
    };
    let Some(begun) = begun else { return };
    match protocol.greeted.clone().filter(|_| begun.greets) {
        Some(door) => greeted::serve(begun, door, pass, traffic, stop).await,
        None => http::serve(begun, protocol, pass, traffic, stop).await,
    }
}

/// Why a connection may not go on, if so.
pub(super) fn reason_to_cut(traffic: &Traffic) -> Option<&'static str> {
    if traffic.silent().is_some_and(|silent| silent >= FIRST_REQUEST_TIMEOUT) {
        return Some("it asked for nothing");
    }
    if traffic.stuck().is_some_and(|stuck| stuck >= STALL_MAX) {
        return Some("its peer reads nothing");
    }
    // Streams that stall are cut before; what they leave in the buffers of HTTP/2 may fill the connection all the same.
    if traffic.standstill().is_some_and(|standstill| standstill >= STALL_MAX + LOOK) {
        return Some("its peer lets nothing through");
    }
    None
}

/// The guard that `wait_for` returns may not be held while waiting for something else.
pub(super) async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
