//! A load that looks like real life: few names are wanted by many and many by few, most want to read, locks are held for a
//! moment, and now and then a holder converts.
//!
//! It goes through the client library, one lock at a time in each session. A slice has no floor: what it shows is how long a
//! lock takes, the waits for others among it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sixpin_client::{Error, Guard, Mode, Session};
use tokio::task::JoinSet;

use super::library::{failed, open};
use super::plan::Plan;
use super::tally::{Tally, Window, count, gather, sample};
use super::target::Target;
use crate::cli::failure::Failure;

/// Names in all.
const NAMES: usize = 10_000;
/// Of a hundred locks so many are PR, the others EX.
const READS: u8 = 70;
/// Of a hundred holders so many convert: readers to EX if nobody else reads, the others to PR.
const CONVERSIONS: u8 = 5;
/// A lock is held for this long at most.
const HELD_MAX: Duration = Duration::from_millis(5);

/// One slice.
pub(super) async fn slice(plan: &Plan, target: &Target, time: Duration) -> Result<Tally, Failure> {
    let client = target.client(true)?;
    let (window, meter) = target.window(plan.sessions, time);
    let names = Arc::new(Names::new(target));
    let mut workers = JoinSet::new();
    for number in 0..plan.sessions {
        let session = open(&client, target).await?;
        let (window, names) = (window.clone(), names.clone());
        let draw = fastrand::Rng::with_seed(number as u64);
        workers.spawn(async move {
            let tally = work(&session, &names, draw, &window).await.map_err(|error| failed(&error))?;
            session.close().await.map_err(|error| failed(&error))?;
            Ok(tally)
        });
    }
    gather(workers, meter).await
}

async fn work(session: &Session, names: &Names, mut draw: fastrand::Rng, window: &Window) -> Result<Tally, Error> {
    let mut tally = Tally { time: window.time(), ..Default::default() };
    let open = window.open().await;
    loop {
        let reads = draw.u8(..100) < READS;
        let begun = Instant::now();
        let guard = session.lock(names.draw(&mut draw), if reads { Mode::PR } else { Mode::EX }).await?;
        let locked = Instant::now();
        tokio::time::sleep(HELD_MAX.mul_f64(draw.f64())).await;
        if draw.u8(..100) < CONVERSIONS {
            convert(&guard, reads).await?;
        }
        let released = Instant::now();
        guard.release().await?;
        let ended = Instant::now();
        if open.counts(ended) {
            tally.locks.push(sample(locked - begun));
            tally.unlocks.push(sample(ended - released));
        }
        if open.is_over(ended) {
            return Ok(tally);
        }
    }
}

/// Two readers that both want to write would wait for each other, so they only try.
async fn convert(guard: &Guard, reads: bool) -> Result<(), Error> {
    match guard.convert(if reads { Mode::EX } else { Mode::PR }).no_wait().await {
        Err(error) if error.would_wait() => Ok(()),
        converted => converted.map(drop),
    }
}

/// Names, the first of which are wanted most: the second half as often as the first, the third a third as often (Zipf).
struct Names {
    names: Vec<String>,
    /// The sums of their weights.
    sums: Vec<f64>,
}

impl Names {
    fn new(target: &Target) -> Self {
        let names = target.resources("mixed", 1, NAMES, false).into_iter().flatten().map(|resource| resource.name);
        let sums = (1..=NAMES).scan(0.0, |sum, rank| {
            *sum += 1.0 / count(rank);
            Some(*sum)
        });
        Self { names: names.collect(), sums: sums.collect() }
    }

    fn draw(&self, draw: &mut fastrand::Rng) -> &str {
        let place = draw.f64() * self.sums.last().copied().unwrap_or_default();
        let rank = self.sums.partition_point(|sum| *sum <= place);
        &self.names[rank.min(NAMES - 1)]
    }
}
