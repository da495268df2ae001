//! One connection that begins with a greeting: one stream that carries a session, and no more.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt;
use sixpin_core::broker::api::Client;
use sixpin_core::limits::LARGE_ANSWER_BYTES;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout_at};

use super::admission::{self, OpeningPlace, place};
use super::beginning::{Begun, Shown};
use super::connection::{FAREWELL, FIRST_REQUEST_TIMEOUT, LOOK, PING_INTERVAL, reason_to_cut, told_to_stop};
use super::counting::{Counting, LENGTHS};
use super::gate::Pass;
use super::protocol::Greeted;
use super::share::{Large, Share};
use super::transport::{self, Transport};
use super::unread::Traffic;
use crate::access::{Access, Unknown};
use crate::runtime::Turns;

/// Probes of a peer that is silent for so long as another one would be pinged, and how many are lost before the connection is.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
const PROBES: u32 = 2;

/// A connection whose greeting was answered.
pub(crate) type Socket = Counting<Transport>;

/// Who has greeted, and what it may do.
pub(crate) struct Admitted {
    /// From where it comes.
    pub(crate) address: Option<SocketAddr>,
    /// What it has shown of itself.
    pub(crate) shown: Shown,
    /// In whose share it counts.
    pub(crate) client: Client,
    /// What it may have on its way to the broker.
    pub(crate) turns: Turns,
    /// Its place among streams without a session; dropped once it has one.
    pub(crate) place: OpeningPlace,
    /// Counts what it leaves unread.
    pub(crate) unread: Unread,
    share: Arc<Share>,
}

impl Admitted {
    /// Why it is not let in. Whoever asked is told no more than that, and not at once.
    pub(crate) async fn refused(&self, access: &Access, why: &Unknown) {
        admission::refused(access, &self.share, self.address, why).await;
    }
}

/// Counts the large answers of a connection that wait to be written, among those of its client.
pub(crate) struct Unread {
    share: Arc<Share>,
    counted: Option<Large>,
}

impl Unread {
    /// So much waits now.
    pub(crate) fn note(&mut self, bytes: usize) {
        if bytes < LARGE_ANSWER_BYTES {
            self.counted = None;
        } else if self.counted.is_none() {
            self.counted = self.share.large(bytes, false).ok();
        }
    }
}

/// Serves one connection until either side ends it.
pub(super) async fn serve(
    begun: Begun,
    door: Arc<dyn Greeted>,
    pass: Pass,
    traffic: Arc<Traffic>,
    mut stop: watch::Receiver<bool>,
) {
    let Begun { mut transport, shown, .. } = begun;
    let share = pass.share().clone();
    let greeted = tokio::select! {
        greeted = greet(&mut transport, door.greeting(), &share) => greeted,
        () = told_to_stop(&mut stop) => return,
    };
    let place = match greeted {
        Ok(place) => place,
        Err(why) => {
            tracing::debug!(why, "a connection is closed");
            return;
        }
    };
    traffic.asked();
    probe(transport::tcp(&transport));
    let admitted = Admitted {
        address: transport::tcp(&transport).peer_addr().ok(),
        shown,
        client: share.client,
        turns: share.turns.clone(),
        place,
        unread: Unread { share: share.clone(), counted: None },
        share: share.clone(),
    };
    let mut served = door.serve(Counting::new(transport, LENGTHS, traffic.clone(), share), admitted);
    let mut look = interval_at(Instant::now() + LOOK, LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = &mut served => return,
            _ = look.tick() => {
                if let Some(why) = reason_to_cut(&traffic) {
                    tracing::debug!(why, "a connection is closed");
                    return;
                }
            }
            () = told_to_stop(&mut stop) => {
                // The services were drained before: what is left are clients that do not listen.
                let _ = tokio::time::timeout(FAREWELL, served).await;
                return;
            }
        }
    }
}

/// Hears the greeting and answers it, if there is a place for another stream. Who is not answered goes to gRPC, which says
/// what is wrong.
async fn greet(stream: &mut Transport, greeting: [u8; 8], share: &Share) -> Result<OpeningPlace, &'static str> {
    let by = Instant::now() + FIRST_REQUEST_TIMEOUT;
    let mut heard = [0; 8];
    let read = timeout_at(by, stream.read_exact(&mut heard)).await;
    if !matches!(read, Ok(Ok(_))) || heard != greeting {
        return Err("it began to greet and did not go on so");
    }
    let place = opening_place(share)?;
    let answered = async {
        stream.write_all(&greeting).await?;
        stream.flush().await
    };
    match timeout_at(by, answered).await {
        Ok(Ok(())) => Ok(place),
        _ => Err("it did not hear the answer to its greeting"),
    }
}

/// There are no pings: the system finds out that a peer is gone, about as soon as they would. Where it cannot, the session ends
/// by its TTL.
fn probe(stream: &TcpStream) {
    let probed = sockopt::set_socket_keepalive(stream, true)
        .and_then(|()| sockopt::set_tcp_keepidle(stream, PING_INTERVAL))
        .and_then(|()| sockopt::set_tcp_keepintvl(stream, PROBE_INTERVAL))
        .and_then(|()| sockopt::set_tcp_keepcnt(stream, PROBES));
    #[cfg(target_os = "linux")]
    let probed = probed.and_then(|()| {
        let patience = PING_INTERVAL + PROBE_INTERVAL * PROBES;
        sockopt::set_tcp_user_timeout(stream, patience.as_millis() as u32)
    });
    if let Err(error) = probed {
        tracing::debug!(%error, "a connection is not probed");
    }
}

/// The stream counts as a call until it has a session; from then on the session counts.
fn opening_place(share: &Share) -> Result<OpeningPlace, &'static str> {
    let call = place(&share.calls).ok_or("calls in progress of this client")?;
    let opening = place(&share.opening).ok_or("session streams without a session of this client")?;
    Ok(OpeningPlace::of((opening, call)))
}
