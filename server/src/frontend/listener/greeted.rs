//! One connection that begins with a greeting: one stream that carries a session, and no more.

use std::net::SocketAddr;
use std::sync::Arc;

use sixpin_core::broker::api::Client;
use sixpin_core::limits::LARGE_ANSWER_BYTES;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout_at};

use super::admission::{OpeningPlace, place};
use super::connection::{FAREWELL, FIRST_REQUEST_TIMEOUT, LOOK, reason_to_cut, told_to_stop};
use super::counting::{Counting, LENGTHS};
use super::gate::Pass;
use super::protocol::Greeted;
use super::share::{Large, Share};
use super::unread::Traffic;
use crate::runtime::Turns;

/// A connection whose greeting was answered.
pub(crate) type Socket = Counting<TcpStream>;

/// Who has greeted, and what it may do.
pub(crate) struct Admitted {
    /// From where it comes.
    pub(crate) address: Option<SocketAddr>,
    /// In whose share it counts.
    pub(crate) client: Client,
    /// What it may have on its way to the broker.
    pub(crate) turns: Turns,
    /// Its place among streams without a session; dropped once it has one.
    pub(crate) place: OpeningPlace,
    /// Counts what it leaves unread.
    pub(crate) unread: Unread,
}

/// Counts the large answers of a connection that wait to be written, among those of its client.
pub(crate) struct Unread {
    share: Arc<Share>,
    counted: Option<Large>,
}

impl Unread {
    /// So much waits now. True if it was much before, and is not any more.
    pub(crate) fn note(&mut self, bytes: usize) -> bool {
        if bytes < LARGE_ANSWER_BYTES {
            return self.counted.take().is_some();
        }
        if self.counted.is_none() {
            self.counted = self.share.large(bytes, false).ok();
        }
        false
    }
}

/// Serves one connection until either side ends it.
pub(super) async fn serve(
    mut stream: TcpStream,
    door: Arc<dyn Greeted>,
    pass: Pass,
    traffic: Arc<Traffic>,
    mut stop: watch::Receiver<bool>,
) {
    let greeted = tokio::select! {
        greeted = greet(&mut stream, door.greeting()) => greeted,
        () = told_to_stop(&mut stop) => return,
    };
    if greeted.is_none() {
        tracing::debug!("a connection is closed: it began to greet and did not go on so");
        return;
    }
    traffic.asked();
    let share = pass.share().clone();
    let address = stream.peer_addr().ok();
    let socket = Counting::new(stream, LENGTHS, traffic.clone(), share.clone());
    let mut served = match opening_place(&share) {
        Ok(place) => {
            let (client, turns) = (share.client, share.turns.clone());
            door.serve(socket, Admitted { address, client, turns, place, unread: Unread { share, counted: None } })
        }
        Err(limit) => door.refuse(socket, limit),
    };
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

/// Hears the greeting and answers it. Absent if something else came, or not in time.
async fn greet(stream: &mut TcpStream, greeting: [u8; 8]) -> Option<()> {
    let by = Instant::now() + FIRST_REQUEST_TIMEOUT;
    let mut heard = [0; 8];
    timeout_at(by, stream.read_exact(&mut heard)).await.ok()?.ok()?;
    if heard != greeting {
        return None;
    }
    timeout_at(by, stream.write_all(&greeting)).await.ok()?.ok()
}

/// The stream counts as a call until it has a session; from then on the session counts.
fn opening_place(share: &Share) -> Result<OpeningPlace, &'static str> {
    let call = place(&share.calls).ok_or("calls in progress of this client")?;
    let opening = place(&share.opening).ok_or("session streams without a session of this client")?;
    Ok(OpeningPlace::of((opening, call)))
}
