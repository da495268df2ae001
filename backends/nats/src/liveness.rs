//! Registrations: who is alive, and who is gone.
//!
//! Each is a compare-and-swap on the registration's subject. A registration that was forgotten leaves a marker for a
//! day, so that its broker cannot register again; later its incarnation is never used again, because it is random.

use std::collections::VecDeque;

use futures::stream::StreamExt as _;
use sixpin_core::backend::{Beat, Guard, Pulse, Slot, StoreError, WriteOutcome};
use sixpin_core::name::{Incarnation, Version};
use sixpin_core::registration::Registration;
use tokio::time::{Instant, timeout_at};

use crate::api::{Failure, Stored, Which};
use crate::backend::{Doubt, Store, gather};
use crate::connection::Connection;
use crate::outcome::{Answer, code};

/// Incarnations remembered: one process has one at a time.
const REMEMBERED_MAX: usize = 64;
/// How often a goodbye is tried when a beat gets in between.
const GOODBYES_MAX: usize = 8;
/// Registrations read at once.
const READS_AT_ONCE: usize = 64;

/// Which of the brokers that used this backend are known to be gone: their commits are refused here, because the server
/// cannot check a registration within a publish.
#[derive(Debug, Default)]
pub(crate) struct Gone {
    own: VecDeque<Incarnation>,
    gone: VecDeque<Incarnation>,
}

impl Gone {
    /// This broker uses this backend.
    pub(crate) fn joined(&mut self, broker: Incarnation) {
        push(&mut self.own, broker);
    }

    /// This broker's registration was seen to be gone.
    pub(crate) fn saw(&mut self, broker: Incarnation) {
        if self.own.contains(&broker) {
            push(&mut self.gone, broker);
        }
    }

    pub(crate) fn contains(&self, broker: Incarnation) -> bool {
        self.gone.contains(&broker)
    }
}

fn push(queue: &mut VecDeque<Incarnation>, broker: Incarnation) {
    if queue.contains(&broker) {
        return;
    }
    if queue.len() == REMEMBERED_MAX {
        queue.pop_front();
    }
    queue.push_back(broker);
}

impl Store {
    /// A sign of life.
    pub(crate) async fn register(&self, beat: Beat) -> Result<Version, StoreError> {
        self.witness.check()?;
        let (broker, expected, number) = (beat.broker, beat.expected, beat.number);
        self.gone().joined(broker);
        let deadline = self.deadline();
        let connection = self.control.connection(deadline).await?;
        let registers = number == 0 && expected.is_absent();
        if beat.standing.checked.is_some() {
            self.look_for_own(&connection, deadline).await?;
        }
        let answer = match self.sequence(expected) {
            // Absence is expected only by a registration: a later beat must not make one.
            Some(sequence) if registers || sequence > 0 => {
                let bytes = Registration::of(&beat).encode();
                self.swap(&connection, broker, sequence, Some(bytes), deadline).await
            }
            _ => Answer::Conflict(None),
        };
        match answer {
            Answer::Stored(sequence) => Ok(self.version(sequence)),
            Answer::Refused(text) => Err(StoreError::Unavailable(text)),
            Answer::Doubtful(text) | Answer::Missing(text) => {
                self.witness.check()?;
                Err(StoreError::Unknown(text))
            }
            Answer::Conflict(_) => {
                let stored = self.registration(&connection, broker, deadline).await?;
                match stored {
                    Some((version, stored)) if !stored.gone => {
                        if stored.beat == number {
                            // A repeat: the first copy arrived, its answer did not.
                            return Ok(version);
                        }
                        if !registers {
                            return Err(StoreError::Unavailable("another beat is stored".into()));
                        }
                        Err(StoreError::Evicted)
                    }
                    _ => {
                        self.gone().saw(broker);
                        Err(StoreError::Evicted)
                    }
                }
            }
        }
    }

    /// Where another history answers, the last write that was acknowledged here must be there, or a later one in its place:
    /// what was written before is there as well then, because only the end of a stream is ever lost.
    async fn look_for_own(&self, connection: &Connection, deadline: Instant) -> Result<(), StoreError> {
        let history = self.witness.history();
        let Some((subject, sequence)) = self.witness.unchecked() else { return Ok(()) };
        if sequence > 0 {
            let late = |_| StoreError::Unavailable("JetStream did not answer in time".into());
            let look = self.get(connection, Which::LastOf(&subject));
            let stored = timeout_at(deadline, look).await.map_err(late)??;
            if stored.is_none_or(|stored| stored.sequence < sequence) {
                return Err(self.witness.lose(format!("the write at sequence {sequence} is gone")));
            }
        }
        self.witness.found(history);
        Ok(())
    }

    /// A clean goodbye.
    pub(crate) async fn unregister(&self, broker: Incarnation) -> Result<(), StoreError> {
        let deadline = self.deadline();
        let connection = self.control.connection(deadline).await?;
        for _ in 0..GOODBYES_MAX {
            let stored = self.registration(&connection, broker, deadline).await?;
            let Some((version, stored)) = stored.filter(|(_, stored)| !stored.gone) else {
                self.gone().joined(broker);
                self.gone().saw(broker);
                return Ok(());
            };
            let Some(sequence) = self.sequence(version) else { continue };
            let bytes = stored.buried().encode();
            match self.swap(&connection, broker, sequence, Some(bytes), deadline).await {
                Answer::Stored(_) | Answer::Conflict(_) => {}
                Answer::Refused(text) => return Err(StoreError::Unavailable(text)),
                Answer::Doubtful(text) | Answer::Missing(text) => return Err(StoreError::Unknown(text)),
            }
        }
        Err(StoreError::Unavailable("beats kept coming between".into()))
    }

    /// Evicts another broker.
    pub(crate) async fn bury(&self, guard: Guard, target: Incarnation, seen: Version) -> WriteOutcome {
        let deadline = self.deadline();
        let (connection, found) = match self.look(guard, target, deadline).await {
            Ok(found) => found,
            Err(outcome) => return outcome,
        };
        let (sequence, registration) = match &found {
            // What was forgotten is absent; its marker is what the next write expects.
            Some(stored) if stored.bytes.is_none() && seen.is_absent() => {
                (stored.sequence, Registration::default().buried())
            }
            None if seen.is_absent() => (0, Registration::default().buried()),
            Some(stored) if self.version(stored.sequence) == seen => match decode(stored) {
                Ok(Some(registration)) if registration.gone => return WriteOutcome::Committed(seen),
                Ok(Some(registration)) => (stored.sequence, registration.buried()),
                Ok(None) => return self.differs(found.as_ref()),
                Err(error) => return WriteOutcome::Unavailable(error.to_string()),
            },
            _ => return self.differs(found.as_ref()),
        };
        let answer = self.swap(&connection, target, sequence, Some(registration.encode()), deadline).await;
        if matches!(answer, Answer::Stored(_)) {
            self.gone().saw(target);
        }
        self.swapped(answer)
    }

    /// Deletes a registration that is gone.
    pub(crate) async fn erase(&self, guard: Guard, target: Incarnation, seen: Version) -> WriteOutcome {
        let deadline = self.deadline();
        let (connection, found) = match self.look(guard, target, deadline).await {
            Ok(found) => found,
            Err(outcome) => return outcome,
        };
        let sequence = match &found {
            Some(stored) if self.version(stored.sequence) == seen => match decode(stored) {
                Ok(Some(registration)) if registration.gone => stored.sequence,
                Ok(_) => return self.differs(found.as_ref()),
                Err(error) => return WriteOutcome::Unavailable(error.to_string()),
            },
            _ => return self.differs(found.as_ref()),
        };
        let answer = self.swap(&connection, target, sequence, None, deadline).await;
        self.swapped(answer)
    }

    /// All registrations.
    pub(crate) async fn registrations(&self) -> Result<Vec<Pulse>, StoreError> {
        let deadline = self.deadline();
        let connection = self.control.connection(deadline).await?;
        let late = |_| StoreError::Unavailable("JetStream did not answer in time".into());
        let filter = self.api.subjects.brokers();
        let asked = timeout_at(deadline, self.api.info(connection.client(), Some(&filter))).await.map_err(late)?;
        let info = asked.map_err(|failure| self.without_stream(failure))?;
        self.witness.same_stream(&info)?;
        let subjects = info.state.subjects.into_keys();
        let brokers: Vec<Incarnation> =
            subjects.filter_map(|subject| self.api.subjects.incarnation_of(&subject)).collect();
        let reads = brokers.into_iter().map(|broker| {
            let connection = &connection;
            async move {
                let stored = self.registration(connection, broker, deadline).await?;
                Ok(stored.map(|(version, stored)| stored.pulse(broker, version)))
            }
        });
        let reads: Vec<Result<Option<Pulse>, StoreError>> =
            futures::stream::iter(reads).buffered(READS_AT_ONCE).collect().await;
        let pulses = reads.into_iter().filter_map(Result::transpose).collect::<Result<Vec<Pulse>, StoreError>>()?;
        for pulse in pulses.iter().filter(|pulse| pulse.gone) {
            self.gone().saw(pulse.broker);
        }
        Ok(pulses)
    }

    fn without_stream(&self, failure: Failure) -> StoreError {
        match failure {
            Failure::Api(error) if error.err_code == code::NO_STREAM => self.witness.lose("the stream is gone".into()),
            failure => StoreError::Unavailable(failure.to_string()),
        }
    }

    /// A registration and its version; none if there is none, or if it was forgotten.
    async fn registration(
        &self,
        connection: &Connection,
        broker: Incarnation,
        deadline: Instant,
    ) -> Result<Option<(Version, Registration)>, StoreError> {
        let Some(stored) = self.find(connection, broker, deadline).await? else { return Ok(None) };
        Ok(decode(&stored)?.map(|registration| (self.version(stored.sequence), registration)))
    }

    async fn find(
        &self,
        connection: &Connection,
        broker: Incarnation,
        deadline: Instant,
    ) -> Result<Option<Stored>, StoreError> {
        let subject = self.api.subjects.broker(broker);
        let found = timeout_at(deadline, self.get(connection, Which::LastOf(&subject))).await;
        found.unwrap_or_else(|_| Err(StoreError::Unavailable("JetStream did not answer in time".into())))
    }

    /// What stands at another broker's registration, for a sender who may write.
    async fn look(
        &self,
        guard: Guard,
        target: Incarnation,
        deadline: Instant,
    ) -> Result<(std::sync::Arc<Connection>, Option<Stored>), WriteOutcome> {
        if self.gone().contains(guard.broker) {
            return Err(WriteOutcome::Evicted);
        }
        // Nothing was written so far.
        let unavailable = |error: StoreError| WriteOutcome::Unavailable(error.to_string());
        let connection = self.control.connection(deadline).await.map_err(unavailable)?;
        let found = self.find(&connection, target, deadline).await.map_err(unavailable)?;
        Ok((connection, found))
    }

    /// One compare-and-swap of a registration, or its deletion.
    async fn swap(
        &self,
        connection: &Connection,
        broker: Incarnation,
        sequence: u64,
        bytes: Option<bytes::Bytes>,
        deadline: Instant,
    ) -> Answer {
        let doubt = Doubt { link: &self.control, connection, open: true };
        let request = self.publish(connection, self.api.subjects.broker(broker), sequence, bytes);
        let mut answers = gather(vec![request], deadline, doubt).await;
        answers.pop().unwrap_or(Answer::Missing("nothing was sent".into()))
    }

    fn swapped(&self, answer: Answer) -> WriteOutcome {
        match answer {
            Answer::Stored(sequence) => WriteOutcome::Committed(self.version(sequence)),
            Answer::Conflict(_) => WriteOutcome::ConflictUnread,
            Answer::Refused(text) => WriteOutcome::Unavailable(text),
            Answer::Doubtful(text) | Answer::Missing(text) => WriteOutcome::Unknown(text),
        }
    }

    /// A registration is no record: the conflict tells its version only.
    fn differs(&self, found: Option<&Stored>) -> WriteOutcome {
        let version =
            found.filter(|stored| stored.bytes.is_some()).map_or(Version::ABSENT, |it| self.version(it.sequence));
        WriteOutcome::Conflict(Slot { version, bytes: None })
    }
}

fn decode(stored: &Stored) -> Result<Option<Registration>, StoreError> {
    let corrupt = |what| StoreError::Corrupt(format!("a registration: {what}"));
    stored.bytes.as_ref().map(|bytes| Registration::decode(bytes).map_err(corrupt)).transpose()
}
