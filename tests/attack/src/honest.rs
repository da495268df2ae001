//! Honest clients: sessions that lock and unlock all the time, and note how long that takes and what goes wrong.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use sixpin_client::{Client, Credentials, Error, Mode, Session, State};
use tokio::task::JoinSet;

/// Pause between two locks of a session, so that the load leaves a machine room.
const PAUSE: Duration = Duration::from_millis(50);
/// Sessions that share a resource.
const SHARING: usize = 2;
/// The longest lock that is told apart from longer ones.
const LONGEST: Duration = Duration::from_secs(60);

/// Sessions at work.
pub struct Honest {
    noted: Arc<Noted>,
    stop: Arc<AtomicBool>,
    at_work: JoinSet<Session>,
}

#[derive(Default)]
struct Noted {
    /// Microseconds from asking to having, since it was last asked for.
    times: Mutex<Option<Histogram<u64>>>,
    failures: AtomicU64,
    first_failure: Mutex<Option<String>>,
}

/// What locks took in a while.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// How many there were.
    pub locks: u64,
    /// The median.
    pub p50: Duration,
    /// All but one in a hundred were faster.
    pub p99: Duration,
    /// The slowest.
    pub max: Duration,
}

impl Honest {
    /// Opens `sessions` and lets them work.
    pub async fn start(
        broker: SocketAddr,
        credentials: Credentials,
        sessions: usize,
        ttl: Duration,
    ) -> Result<Self, Error> {
        let client = Client::builder([broker.to_string()])
            .credentials(credentials)
            .open_timeout(Duration::from_secs(60))
            .build()?;
        let noted = Arc::new(Noted::default());
        let stop = Arc::new(AtomicBool::new(false));
        let mut at_work = JoinSet::new();
        for number in 0..sessions {
            let session = client.session().ttl(ttl).label("honest").open().await?;
            at_work.spawn(work(session, number, noted.clone(), stop.clone()));
        }
        Ok(Self { noted, stop, at_work })
    }

    /// What locks took since this was called last.
    pub fn take_times(&self) -> Times {
        let mut times = self.noted.times.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(times) = times.take() else {
            return Times { locks: 0, p50: Duration::ZERO, p99: Duration::ZERO, max: Duration::ZERO };
        };
        let at = |quantile| Duration::from_micros(times.value_at_quantile(quantile));
        Times { locks: times.len(), p50: at(0.5), p99: at(0.99), max: Duration::from_micros(times.max()) }
    }

    /// What went wrong so far: how often, and the first of it.
    pub fn failures(&self) -> (u64, Option<String>) {
        let first = self.noted.first_failure.lock().unwrap_or_else(PoisonError::into_inner);
        (self.noted.failures.load(Ordering::Relaxed), first.clone())
    }

    /// Lets them finish what they do and close.
    pub async fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(session) = self.at_work.join_next().await {
            if let Ok(session) = session {
                let _ = session.close().await;
            }
        }
    }
}

impl Noted {
    fn time(&self, took: Duration) {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        if times.is_none() {
            *times = Histogram::new_with_bounds(1, LONGEST.as_micros() as u64, 3).ok();
        }
        if let Some(times) = &mut *times {
            times.saturating_record(took.as_micros() as u64);
        }
    }

    fn failure(&self, text: String) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.first_failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text);
    }
}

/// Locks and unlocks until it is told to stop, or the session is lost.
async fn work(session: Session, number: usize, noted: Arc<Noted>, stop: Arc<AtomicBool>) -> Session {
    let resource = format!("honest/{}", number / SHARING);
    while !stop.load(Ordering::Relaxed) {
        let asked = Instant::now();
        match session.lock(&resource, Mode::EX).await {
            Ok(guard) => {
                noted.time(asked.elapsed());
                if let Err(error) = guard.release().await {
                    noted.failure(format!("session {number} could not release: {error}"));
                }
            }
            Err(error) => noted.failure(format!("session {number} could not lock: {error}")),
        }
        if let State::Lost(loss) = session.state().current() {
            noted.failure(format!("session {number} is lost: {loss:?}"));
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    session
}
