//! Change hints: who is told that a key may have changed.
//!
//! One connection listens to the channel on which scripts publish what they changed. A hint names bells, not keys: a
//! fixed number of bells, each for many keys. So memory is bounded whatever is watched, nothing is cleaned up when a
//! watcher goes away, and whoever is woken for another key just looks again.
//!
//! Redis forgets what it could not deliver. So after every new subscription all bells ring, and after one that ends as
//! well, because nobody knows what was missed. The connection is asked for a sign of life now and then, or one that
//! died silently would never be missed.

use std::sync::Arc;
use std::time::Duration;

use redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::dial::{Dialer, OnPush};
use crate::scripts::bytes_of;

const BELLS: usize = 16_384;
/// Between two signs of life.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);
/// Between two tries to listen: the first, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The bells of one store.
pub(crate) struct Hints {
    bells: Box<[Notify]>,
}

impl Hints {
    /// Bells that nobody rings yet.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { bells: (0..BELLS).map(|_| Notify::new()).collect() })
    }

    /// Waits for the bell with this number.
    pub(crate) fn heard(&self, bell: u32) -> Notified<'_> {
        self.bells[bell as usize % BELLS].notified()
    }

    /// Everybody looks again.
    pub(crate) fn ring_all(&self) {
        self.bells.iter().for_each(Notify::notify_waiters);
    }

    /// Takes what the server sent unasked. Must not block: it runs inside the connection, whose end is told to `ended`.
    fn take(&self, push: &PushInfo, ended: &Notify) {
        match push.kind {
            PushKind::Disconnection => ended.notify_one(),
            PushKind::Message => {
                if let Some(payload) = push.data.get(1).and_then(bytes_of) {
                    self.ring(payload);
                }
            }
            _ => {}
        }
    }

    fn ring(&self, payload: &[u8]) {
        for number in payload.split(|&byte| byte == b' ') {
            let number: Option<u32> = std::str::from_utf8(number).ok().and_then(|text| text.parse().ok());
            if let Some(number) = number {
                self.bells[number as usize % BELLS].notify_waiters();
            }
        }
    }
}

/// Listens for ever. To be spawned, and aborted when the store is closed.
pub(crate) async fn listen(hints: Arc<Hints>, dialer: Dialer, channel: String) {
    let mut pause = PAUSE_MIN;
    let mut deaf = false;
    loop {
        match listen_once(&hints, &dialer, &channel).await {
            Ended::AfterListening => {
                (pause, deaf) = (PAUSE_MIN, false);
                hints.ring_all();
            }
            Ended::Before(text) => {
                if !deaf {
                    tracing::warn!(reason = text, "no change hints from Redis: waiting is slower, and still right");
                }
                deaf = true;
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// How listening ended: after a while, or before it had begun.
enum Ended {
    AfterListening,
    Before(String),
}

async fn listen_once(hints: &Arc<Hints>, dialer: &Dialer, channel: &str) -> Ended {
    let ended = Arc::new(Notify::new());
    let (taker, ending) = (hints.clone(), ended.clone());
    let push: OnPush = Arc::new(move |push: PushInfo| taker.take(&push, &ending));
    let (mut connection, _) = match dialer.connect(push).await {
        Ok(connected) => connected,
        Err(error) => return Ended::Before(error.to_string()),
    };
    if let Err(error) = connection.subscribe(channel).await {
        return Ended::Before(error.to_string());
    }
    // After the subscription, so that nothing falls between this look and the first hint.
    hints.ring_all();
    loop {
        tokio::select! {
            () = ended.notified() => return Ended::AfterListening,
            () = tokio::time::sleep(SIGN_OF_LIFE) => {
                let alive = connection.send_packed_command(&redis::cmd("PING")).await.and_then(Value::extract_error);
                if alive.is_err() {
                    return Ended::AfterListening;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[test]
    fn a_hint_rings_the_bells_it_names_and_no_others() {
        let hints = Hints::new();
        let mut bells: Vec<_> = [7, 8, 9, 7 + 16_384].into_iter().map(|bell| Box::pin(hints.heard(bell))).collect();
        for bell in &mut bells {
            bell.as_mut().enable();
        }
        hints.ring(b"7 x  99999999999 9");
        let rung: Vec<bool> = bells.into_iter().map(|bell| bell.now_or_never().is_some()).collect();
        assert_eq!(rung, [true, false, true, true]);
    }

    #[test]
    fn after_a_gap_everybody_looks_again() {
        let hints = Hints::new();
        let mut bell = Box::pin(hints.heard(5));
        bell.as_mut().enable();
        hints.ring_all();
        assert!(bell.now_or_never().is_some());
    }
}
