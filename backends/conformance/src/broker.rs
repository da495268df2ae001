//! A minimal broker for the behaviours: one backend, one registration, one lane.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use sixpin_core::backend::{
    Backend, Beat, BrokerInfo, Change, Contract, Generation, Guard, Key, Lane, Profile, Pulse, Slot, StoreError, Write,
    WriteOutcome,
};
use sixpin_core::format::Formats;
use sixpin_core::name::{Incarnation, Lockspace, ResourceId, ResourceName, SessionId, Version};
use sixpin_core::standing::{History, Standing};
use sixpin_testkit::until;
use tokio::time::{Instant, sleep};

use crate::fixture::{Fixture, Link};

thread_local! {
    static PATIENCE: Cell<Duration> = const { Cell::new(Duration::from_secs(60)) };
}

/// The longest that anything may take which the contract says happens. Reached only when it does not.
pub fn patience() -> Duration {
    PATIENCE.get()
}

/// Changes [`patience`] on this thread. For tests of the suite itself, in which things do not happen on purpose.
pub(crate) fn set_patience(patience: Duration) {
    PATIENCE.set(patience);
}

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(10);

/// A broker as the contract sees it.
pub struct Broker {
    /// Its view of the store.
    pub backend: Arc<dyn Backend>,
    /// Who it is.
    pub incarnation: Incarnation,
    /// Its lane. Tests that need more lanes make guards of their own.
    pub lane: Lane,
    /// The generation of its lane.
    pub generation: Generation,
    /// The version of its registration.
    pub registration: Version,
    /// The number of its last beat.
    pub beat_number: u64,
}

impl Broker {
    /// Opens the namespace once more and registers.
    pub async fn join(fixture: &dyn Fixture) -> Self {
        let mut broker = Self::with(fixture.open().await);
        broker.register().await;
        broker
    }

    /// The same through a network that can be broken.
    pub async fn join_through(link: &dyn Link) -> Self {
        let mut broker = Self::with(link.open().await);
        broker.register().await;
        broker
    }

    /// A broker that has not registered yet.
    pub fn with(backend: Arc<dyn Backend>) -> Self {
        Self {
            backend,
            incarnation: fresh_incarnation(),
            lane: Lane(0),
            generation: Generation(1),
            registration: Version::ABSENT,
            beat_number: 0,
        }
    }

    async fn register(&mut self) {
        self.registration = self.backend.beat(self.next_beat()).await.expect("a fresh broker can register");
    }

    /// Facts about its store.
    pub fn profile(&self) -> Profile {
        self.backend.profile()
    }

    /// What its store promises.
    pub fn contract(&self) -> Contract {
        self.profile().contract
    }

    /// Its guard, as it stands.
    pub fn guard(&self) -> Guard {
        Guard { broker: self.incarnation, lane: self.lane, generation: self.generation }
    }

    /// The beat that it would send next, or its registration.
    pub fn next_beat(&self) -> Beat {
        Beat {
            broker: self.incarnation,
            expected: self.registration,
            number: if self.registration.is_absent() { 0 } else { self.beat_number + 1 },
            broker_ttl: Duration::from_secs(5),
            round_trip: Duration::from_millis(3),
            standing: standing(),
            info: info(self.incarnation),
        }
    }

    /// Sends its next beat, which must succeed.
    pub async fn renew(&mut self) -> Version {
        let beat = self.next_beat();
        self.beat_number = beat.number;
        self.registration = self.backend.beat(beat).await.expect("a beat on the right version succeeds");
        self.registration
    }

    /// Sends its next beat until it is known to have arrived. Repeats carry the same number.
    pub async fn renew_patiently(&mut self) {
        let beat = self.next_beat();
        let deadline = Instant::now() + patience();
        loop {
            match self.backend.beat(beat.clone()).await {
                Ok(version) => {
                    (self.beat_number, self.registration) = (beat.number, version);
                    return;
                }
                Err(error @ (StoreError::Unavailable(_) | StoreError::Unknown(_))) => {
                    assert!(Instant::now() < deadline, "no beat arrived in time: {error}");
                }
                Err(error) => panic!("a registered broker can renew: {error}"),
            }
            sleep(PAUSE).await;
        }
    }

    /// One batch; one outcome per write.
    pub async fn commit(&self, writes: Vec<Write>) -> Vec<WriteOutcome> {
        let history = self.backend.history();
        self.backend.trust(history);
        let outcomes = self.commit_once(writes.clone()).await;
        // The first one that meets another history is refused: the broker hears of it in no other way.
        let refused = outcomes.iter().all(|outcome| matches!(outcome, WriteOutcome::Unavailable(_)));
        if !refused || self.backend.history() == history {
            return outcomes;
        }
        self.backend.trust(self.backend.history());
        self.commit_once(writes).await
    }

    async fn commit_once(&self, writes: Vec<Write>) -> Vec<WriteOutcome> {
        let count = writes.len();
        let outcomes = tokio::time::timeout(patience(), self.backend.commit(self.guard(), writes)).await;
        let outcomes = outcomes.expect("a commit is answered in bounded time");
        assert_eq!(outcomes.len(), count, "one outcome per write");
        outcomes
    }

    /// A batch of one.
    pub async fn write(&self, write: Write) -> WriteOutcome {
        self.commit(vec![write]).await.remove(0)
    }

    /// Writes a record, which must succeed.
    pub async fn put(&self, key: &Key, expected: Version, bytes: impl Into<Bytes>) -> Version {
        committed(&self.write(put(key, expected, bytes)).await)
    }

    /// Writes a record whatever stands there. Answers the version.
    pub async fn overwrite(&self, key: &Key, bytes: &'static str) -> Version {
        let deadline = Instant::now() + patience();
        loop {
            let slot = self.read_patiently(key).await;
            match self.write(put(key, slot.version, bytes)).await {
                WriteOutcome::Committed(version) => return version,
                outcome => assert!(Instant::now() < deadline, "no write succeeds: {outcome:?}"),
            }
            sleep(PAUSE).await;
        }
    }

    /// Deletes a record, which must succeed. Answers what the next writer expects.
    pub async fn delete(&self, key: &Key, expected: Version) -> Version {
        let version = committed(&self.write(delete(key, expected)).await);
        if self.contract().leaves_markers() { version } else { Version::ABSENT }
    }

    /// Reads a key of a store that is well.
    pub async fn read(&self, key: &Key) -> Slot {
        let mut slots = self.backend.read(std::slice::from_ref(key)).await.expect("a store that is well can be read");
        assert_eq!(slots.len(), 1, "one slot per key");
        slots.remove(0)
    }

    /// Reads a key, again and again while the store is not well.
    pub async fn read_patiently(&self, key: &Key) -> Slot {
        let mut last = String::new();
        let deadline = Instant::now() + patience();
        while Instant::now() < deadline {
            match self.backend.read(std::slice::from_ref(key)).await {
                Ok(mut slots) => return slots.remove(0),
                Err(error @ (StoreError::Unavailable(_) | StoreError::Unknown(_))) => last = error.to_string(),
                Err(error) => panic!("a store that comes back unharmed is not {error}"),
            }
            sleep(PAUSE).await;
        }
        panic!("no read succeeded for {:?}: {last}", patience());
    }

    /// A read is a hint and may be old for a while; sooner or later this must stand there.
    pub async fn sees(&self, key: &Key, version: Version, bytes: Option<&[u8]>) {
        let expected = Slot { version, bytes: bytes.map(Bytes::copy_from_slice) };
        let seen = until(patience(), || async { self.read_patiently(key).await == expected }).await;
        assert!(seen, "{key:?} should be {expected:?} and is {:?}", self.read_patiently(key).await);
    }

    /// After an unknown outcome: nothing that the lane sent so far can apply any more.
    pub async fn settle(&mut self) {
        self.generation.0 += 1;
        let deadline = Instant::now() + patience();
        loop {
            match self.backend.advance(self.guard()).await {
                Ok(()) => return,
                Err(error @ (StoreError::Unavailable(_) | StoreError::Unknown(_))) => {
                    assert!(Instant::now() < deadline, "the lane could not be moved: {error}");
                }
                Err(error) => panic!("a registered broker can move its lane: {error}"),
            }
            sleep(PAUSE).await;
        }
    }

    /// Its registration as this or another broker sees it.
    pub async fn pulse_of(&self, broker: Incarnation) -> Option<Pulse> {
        let pulses = self.backend.pulses().await.expect("the registrations of a store that is well can be read");
        pulses.into_iter().find(|pulse| pulse.broker == broker)
    }

    /// Sees, sooner or later, the registration in this state.
    pub async fn sees_pulse(&self, broker: Incarnation, wanted: impl Fn(Option<&Pulse>) -> bool) -> Option<Pulse> {
        let seen = until(patience(), || async { wanted(self.pulse_of(broker).await.as_ref()) }).await;
        let pulse = self.pulse_of(broker).await;
        assert!(seen, "the registration of {broker} is not as it should be: {pulse:?}");
        pulse
    }
}

/// An incarnation that no other test of this process has used.
pub fn fresh_incarnation() -> Incarnation {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // Spread over all 64 bits, because stores keep it as text and as numbers.
    let count = NEXT.fetch_add(1, Ordering::Relaxed) + 1;
    Incarnation(count.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// The wall clock in the unit of versions.
pub fn clock_10us() -> u64 {
    let since_epoch = std::time::UNIX_EPOCH.elapsed().expect("the clock stands after 1970");
    u64::try_from(since_epoch.as_micros() / 10).expect("the clock stands before the year 5 million")
}

/// What a broker says of the store's memory, and all that can be said.
pub fn standing() -> Standing {
    Standing {
        formats: Formats { reads: 2, writes: 1 },
        session_ttl_max: Duration::from_secs(3600),
        checked: None,
        settled: Some(History(u64::MAX)),
        known: vec![Incarnation(0), Incarnation(u64::MAX)],
    }
}

/// What a broker of the suite says about itself.
pub fn info(broker: Incarnation) -> BrokerInfo {
    BrokerInfo {
        name: format!("broker {broker} «ü»"),
        address: "127.0.0.1:6616".into(),
        admin_address: String::new(),
        program: "0.1.0".into(),
    }
}

/// A resource of the default lockspace.
pub fn resource(name: &str) -> Key {
    resource_in("default", name)
}

/// A resource of a lockspace.
pub fn resource_in(lockspace: &str, name: &str) -> Key {
    let lockspace = Lockspace::new(lockspace).expect("the suite uses valid lockspaces");
    Key::Resource(ResourceId { lockspace, name: ResourceName::new(name).expect("the suite uses valid names") })
}

/// The mark of a session.
pub fn session(opener: u64, serial: u32, ttl_ms: u32) -> Key {
    Key::Session(SessionId { opener: Incarnation(opener), serial, ttl_ms })
}

/// Store these bytes.
pub fn put(key: &Key, expected: Version, bytes: impl Into<Bytes>) -> Write {
    Write { key: key.clone(), expected, change: Change::Put(bytes.into()), notify: false }
}

/// Delete.
pub fn delete(key: &Key, expected: Version) -> Write {
    Write { key: key.clone(), expected, change: Change::Delete, notify: false }
}

/// Only confirm the version.
pub fn compare(key: &Key, expected: Version) -> Write {
    Write { key: key.clone(), expected, change: Change::Compare, notify: false }
}

/// The same with a hint.
#[must_use]
pub fn notifying(write: Write) -> Write {
    Write { notify: true, ..write }
}

/// The version of a write that must have succeeded.
#[track_caller]
pub fn committed(outcome: &WriteOutcome) -> Version {
    let WriteOutcome::Committed(version) = outcome else { panic!("should be committed and is {outcome:?}") };
    *version
}

/// The write must have been refused because of its version; if the answer tells what is there, it must be this.
#[track_caller]
pub fn conflicts_with(outcome: &WriteOutcome, version: Version, bytes: Option<&[u8]>) {
    match outcome {
        WriteOutcome::ConflictUnread => {}
        WriteOutcome::Conflict(slot) => {
            assert_eq!(slot.version, version, "a conflict tells the version that is there");
            assert_eq!(slot.bytes.as_deref(), bytes, "a conflict tells the record that is there");
        }
        _ => panic!("should be a conflict and is {outcome:?}"),
    }
}
