//! One lock that many want: how long it takes from the moment that its holder lets go until the next one knows that it has it.
//!
//! Whoever has let go asks again only when somebody else has it. Otherwise a client that polls would take the lock back
//! itself, before anybody else looks, and its hand-overs would seem short. And each holds it for a moment, so that the next one has
//! looked in vain and really waits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::load::{Tally, Window};

/// Clients that poll look this often, as the usual libraries do, give or take a half so that they do not keep step.
const POLL: Duration = Duration::from_millis(100);
/// How long each has the lock.
const HOLD: Duration = Duration::from_millis(5);

/// The pause of a client that has looked in vain.
pub(crate) async fn look_later() {
    tokio::time::sleep(POLL.mul_f64(rand::random_range(0.5..1.5))).await;
}

/// Somebody who wants the lock.
pub(crate) trait Contender: Send + 'static {
    /// What is held.
    type Held: Send;

    /// Waits for it.
    fn lock(&mut self) -> impl Future<Output = Self::Held> + Send;
    /// Lets go of it.
    fn release(&mut self, held: Self::Held) -> impl Future<Output = ()> + Send;
}

/// What the contenders of one slice share.
struct Turns {
    /// How often the lock was granted, and when its holder let go.
    granted: watch::Sender<(u64, Option<Instant>)>,
    window: Window,
}

/// So many contenders hand the lock over for a slice of time.
pub(crate) async fn hand_over<C: Contender>(contenders: Vec<C>, slice: Duration) -> Tally {
    let window = Window::new(slice);
    let turns = Arc::new(Turns { granted: watch::Sender::new((0, None)), window });
    let mut working = JoinSet::new();
    for contender in contenders {
        working.spawn(contend(contender, turns.clone()));
    }
    let mut total = Tally::new(window);
    while let Some(done) = working.join_next().await {
        total.merge(&done.expect("no contender fails"));
    }
    total
}

async fn contend<C: Contender>(mut contender: C, turns: Arc<Turns>) -> Tally {
    let mut tally = Tally::new(turns.window);
    while !turns.window.is_over(Instant::now()) {
        let held = contender.lock().await;
        let now = Instant::now();
        let mut turn = 0;
        turns.granted.send_modify(|(granted, let_go)| {
            if let Some(let_go) = let_go.take() {
                tally.pair(let_go, now);
            }
            *granted += 1;
            turn = *granted;
        });
        tokio::time::sleep(HOLD).await;
        turns.granted.send_modify(|(_, let_go)| *let_go = Some(Instant::now()));
        contender.release(held).await;
        let next = async {
            let _ = turns.granted.subscribe().wait_for(|(granted, _)| *granted > turn).await;
        };
        // The last ones of a slice hand it over to nobody.
        let _ = tokio::time::timeout(turns.window.left(), next).await;
    }
    tally
}
