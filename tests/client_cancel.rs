//! Dropping any future at any point leaves no claim behind.

use std::time::Duration;

use sixpin_client::{Mode, Session};

use crate::client_world::{Broker, SOON, wait_until_no_claim_is_left};

/// A small generator: the same seed gives the same choices, though not the same schedule.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % end
    }

    /// A moment that is often very early, because that is where the races are.
    fn moment(&mut self) -> Duration {
        let bits = 6 + self.below(9);
        Duration::from_micros(self.below(1 << bits))
    }

    fn mode(&mut self) -> Mode {
        Mode::ALL[self.below(6) as usize]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn futures_dropped_at_any_point_leave_no_claim() {
    let broker = Broker::start().await;
    let client = broker.client();
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(client.session().open().await.unwrap());
    }
    let workers: Vec<_> =
        (0..24).map(|number| tokio::spawn(work(sessions[number % 3].clone(), number as u64 + 1))).collect();
    for worker in workers {
        worker.await.unwrap();
    }
    wait_until_no_claim_is_left(&client).await;
    for session in &sessions {
        assert!(session.is_valid());
        for name in 0..4 {
            session.lock(format!("r{name}"), Mode::EX).wait(SOON).await.unwrap().release().await.unwrap();
        }
    }
}

async fn work(session: Session, seed: u64) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    for _ in 0..60 {
        let name = format!("r{}", random.below(4));
        let lock = session.lock(name, random.mode()).value_block();
        let lock = match random.below(4) {
            0 => lock.try_lock(),
            1 => lock.wait(Duration::from_millis(random.below(20))),
            _ => lock,
        };
        let mut locking = lock.into_future();
        if random.below(4) == 0 {
            locking.cancel();
        }
        let patience = random.moment();
        let Ok(Ok(guard)) = tokio::time::timeout(patience, &mut locking).await else { continue };
        for _ in 0..random.below(3) {
            let mut converting = guard.convert(random.mode()).into_future();
            let _ = tokio::time::timeout(random.moment(), &mut converting).await;
        }
        match random.below(3) {
            0 => drop(guard),
            1 => drop(guard.release()),
            _ => {
                let mut releasing = guard.release().into_future();
                let _ = tokio::time::timeout(random.moment(), &mut releasing).await;
            }
        }
    }
}
