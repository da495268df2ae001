//! Clients that lock, convert, cancel and release at random, and say what they see.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sixpin_client::{Client, Error, Guard, Loss, Mode, Session};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::history::{Event, Recorder, Time, What, now};
use crate::register::Access;

/// What one session does.
#[derive(Clone)]
pub struct Load {
    /// The brokers, in the order in which they are tried.
    pub endpoints: Vec<String>,
    /// Of the session.
    pub ttl: Duration,
    /// How many resources there are.
    pub resources: usize,
    /// How many locks it wants at once.
    pub workers: usize,
    /// Where its randomness begins.
    pub seed: u64,
}

/// How a session's life went.
#[derive(Debug, Clone, Default)]
pub struct Lives {
    /// Sessions opened, one after the other.
    pub opened: usize,
    /// Why they were lost, and how often.
    pub lost: BTreeMap<String, usize>,
    /// When they were found lost.
    pub losses: Vec<Time>,
    /// How often they moved.
    pub moves: u64,
}

impl Lives {
    fn lost_one(&mut self, reason: String) {
        *self.lost.entry(reason).or_default() += 1;
        self.losses.push(now());
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.opened += other.opened;
        self.moves += other.moves;
        self.losses.extend(&other.losses);
        for (reason, count) in &other.lost {
            *self.lost.entry(reason.clone()).or_default() += count;
        }
    }
}

/// The name of a resource.
pub fn resource(number: usize) -> String {
    format!("torture/{number}")
}

/// Works until told to stop, then leaves with nothing held. A session that is lost is followed by another.
pub async fn work(load: Load, registers: Access, record: Recorder, mut stop: watch::Receiver<bool>) -> Lives {
    let client = Client::new(load.endpoints.clone()).expect("addresses are good");
    let mut lives = Lives::default();
    let mut seed = load.seed;
    while !*stop.borrow() {
        let opened = tokio::select! {
            opened = client.session().ttl(load.ttl).open() => opened,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let Ok(session) = opened else {
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        lives.opened += 1;
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let workers = (0..load.workers).map(|worker| Worker {
            session: &session,
            registers: &registers,
            record: &record,
            stop: &stop,
            resources: load.resources,
            rng: Mutex::new(fastrand::Rng::with_seed(seed.wrapping_add(worker as u64))),
        });
        let ((), early) = tokio::join!(
            async { drop(futures::future::join_all(workers.map(Worker::run)).await) },
            lost_early(&session, stop.clone()),
        );
        lives.moves += u64::from(session.move_number());
        if let Err(Error::Lost(loss)) = session.check() {
            let early = if early { " (before its deadline)" } else { "" };
            lives.lost_one(format!("{loss}{early}"));
        } else if let Err(Error::Lost(loss)) = session.close().await {
            lives.lost_one(format!("while it left: {loss}"));
        }
    }
    lives
}

/// Holds the first resource, and proves it again and again.
pub async fn hold(load: Load, record: Recorder, mut stop: watch::Receiver<bool>) {
    let client = Client::new(load.endpoints).expect("addresses are good");
    let session = client.session().ttl(load.ttl).open().await.expect("a broker answers");
    let guard = session.lock(resource(0), Mode::EX).await.expect("nobody else holds it");
    let held = Held { session: &session, record: &record, guard: &guard, resource: 0 };
    held.granted(guard.mode(), guard.fence());
    while held.prove().is_ok() {
        tokio::select! {
            () = sleep(Duration::from_millis(20)) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Follows a session until it is over or the work is. True if it was lost while its own clock said that it was valid.
async fn lost_early(session: &Session, mut stop: watch::Receiver<bool>) -> bool {
    let mut until = now();
    loop {
        let at = now();
        let left = session.valid_for();
        if left.is_zero() {
            return at < until;
        }
        until = at + u64::try_from(left.as_nanos()).unwrap_or(u64::MAX);
        tokio::select! {
            _ = session.lost() => {}
            () = sleep(Duration::from_millis(50)) => {}
            _ = stop.wait_for(|stop| *stop) => return false,
        }
    }
}

/// One lock at a time.
struct Worker<'a> {
    session: &'a Session,
    registers: &'a Access,
    record: &'a Recorder,
    stop: &'a watch::Receiver<bool>,
    resources: usize,
    rng: Mutex<fastrand::Rng>,
}

impl Worker<'_> {
    async fn run(self) {
        while !*self.stop.borrow() && self.session.is_valid() {
            match self.once().await {
                Ok(()) | Err(Error::NotGranted(_) | Error::Lost(_) | Error::Closed) => {}
                // A store that is away, a broker that drains: try again.
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    }

    fn random(&self, below: usize) -> usize {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).usize(..below)
    }

    fn mode(&self) -> Mode {
        // Modes that exclude others are the ones to watch.
        [Mode::NL, Mode::CR, Mode::CW, Mode::CW, Mode::PR, Mode::PR, Mode::PW, Mode::PW, Mode::EX, Mode::EX]
            [self.random(10)]
    }

    async fn pause(&self) {
        sleep(Duration::from_millis(self.random(15) as u64)).await;
    }

    /// Locks, uses, converts and releases.
    async fn once(&self) -> Result<(), Error> {
        let resource = self.random(self.resources);
        let guard = self.lock(resource).await;
        self.check_taken(resource, "lock", &guard);
        let Some(guard) = guard? else { return Ok(()) };
        let held = Held { session: self.session, record: self.record, guard: &guard, resource };
        held.granted(guard.mode(), guard.fence());
        let used = self.use_it(&held).await;
        if let Err(error) = used {
            held.see(What::Lost(error.to_string()));
            self.check_taken(resource, "held lock", &Err::<(), Error>(error.clone()));
            return Err(error);
        }
        held.see(What::Released);
        if self.random(4) == 0 {
            drop(guard);
        } else {
            let released = guard.release().await;
            self.check_taken(resource, "release", &released);
            released?;
        }
        Ok(())
    }

    /// A claim is taken away by administrators, and here are none.
    fn check_taken<T>(&self, resource: usize, asked: &str, result: &Result<T, Error>) {
        if matches!(result, Err(Error::Lost(Loss::Forced))) {
            let (session, what) = (self.session.id(), What::Taken(asked.to_owned()));
            (self.record)(Event { at: now(), session, claim: 0, resource, what });
        }
    }

    /// Absent if it changed its mind.
    async fn lock(&self, resource: usize) -> Result<Option<Guard>, Error> {
        let request = self.session.lock(self::resource(resource), self.mode());
        let request = match self.random(10) {
            0 => request.try_lock(),
            1..4 => request.wait(Duration::from_millis(50 + self.random(500) as u64)),
            _ => request.wait(Duration::from_secs(5)),
        };
        let mut locking = request.into_future();
        if self.random(8) == 0 {
            let early = Duration::from_millis(self.random(40) as u64);
            match tokio::time::timeout(early, &mut locking).await {
                Ok(guard) => return guard.map(Some),
                Err(_) if self.random(2) == 0 => locking.cancel(),
                Err(_) => return Ok(None),
            }
        }
        locking.await.map(Some)
    }

    async fn use_it(&self, held: &Held<'_>) -> Result<(), Error> {
        self.update(held).await?;
        for _ in 0..self.random(3) {
            self.convert(held, self.mode()).await?;
            self.update(held).await?;
        }
        held.prove()
    }

    /// Uses what the lock protects, as much as the mode allows.
    async fn update(&self, held: &Held<'_>) -> Result<(), Error> {
        held.prove()?;
        if matches!(held.guard.mode(), Mode::PW | Mode::EX) {
            let fence = held.guard.fence();
            let read = self.registers.read(held.resource, fence).await;
            self.pause().await;
            held.prove()?;
            if let Some(read) = read {
                self.registers.write(held.resource, fence, read).await;
            }
        } else {
            self.pause().await;
        }
        held.prove()
    }

    async fn convert(&self, held: &Held<'_>, wanted: Mode) -> Result<(), Error> {
        let mode = held.guard.mode();
        if wanted == mode {
            return Ok(());
        }
        let down = at_most(wanted, mode);
        let meanwhile = if down {
            Some(wanted)
        } else if at_most(mode, wanted) {
            None
        } else {
            Some(Mode::CR)
        };
        if let Some(mode) = meanwhile {
            held.prove()?;
            held.see(What::Lowered(mode as u8));
        }
        let request = held.guard.convert(wanted);
        let request = match self.random(3) {
            0 => request.no_wait(),
            _ => request.wait(Duration::from_millis(20 + self.random(300) as u64)),
        };
        match request.await {
            Ok(grant) if down => debug_assert_eq!(grant.mode, wanted),
            Ok(grant) => held.granted(grant.mode, grant.fence),
            Err(Error::NotGranted(_) | Error::Unavailable(_) | Error::Busy(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// A lock that is held, and says so.
struct Held<'a> {
    session: &'a Session,
    record: &'a Recorder,
    guard: &'a Guard,
    resource: usize,
}

impl Held<'_> {
    fn see(&self, what: What) {
        self.see_at(now(), what);
    }

    fn see_at(&self, at: u64, what: What) {
        let (session, claim) = (self.session.id(), self.guard.claim());
        (self.record)(Event { at, session, claim, resource: self.resource, what });
    }

    /// Says so only if the lock is valid after it was heard of.
    fn granted(&self, mode: Mode, fence: u64) {
        let at = now();
        if self.guard.is_valid() {
            self.see_at(at, What::Granted(mode as u8, fence));
        }
    }

    /// Proves that the lock is valid.
    fn prove(&self) -> Result<(), Error> {
        let at = now();
        let left = self.guard.valid_for();
        self.guard.check()?;
        self.see_at(at, What::Valid(at + u64::try_from(left.as_nanos()).unwrap_or(u64::MAX)));
        Ok(())
    }
}

/// Whether one mode allows nothing that the other does not. CW and PR have no order.
fn at_most(one: Mode, other: Mode) -> bool {
    Mode::ALL.into_iter().all(|third| one.compatible(third) || !other.compatible(third))
}
