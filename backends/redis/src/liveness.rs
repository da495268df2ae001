//! Registrations: who is alive, who is gone.
//!
//! With one tag a registration is one hash. In a cluster each tag has a copy that says only whether the broker is live,
//! for the commits under that tag to check. Whoever ends a registration first makes it `going` under the first tag, at
//! the version observed, which is final: it can never beat again. Then the copies are struck, and only when all of them
//! are, the registration is `gone` and shows as such. Whoever dies in between leaves one that is silent, and the next
//! observer ends it in the same way.

use futures::future::join_all;
use redis::Value;
use sixpin_core::backend::{Beat, Generation, Guard, Pulse, StoreError, WriteOutcome};
use sixpin_core::name::{Incarnation, Version};
use sixpin_core::registration::Registration;

use crate::backend::{Store, lane_name};
use crate::keys::{Tag, version_of, version_text};
use crate::scripts::{ADVANCE, BEAT, ENLIST, EVICT, FORGET, LEAVE, Reply, STRIKE, bytes_of};

/// How long what is left of a registration refuses a late one: longer than any request can be on its way.
const REMAINS_MS: u64 = 24 * 3600 * 1000;

impl Store {
    fn other_tags(&self) -> impl Iterator<Item = Tag> + use<> {
        self.keys.tags().skip(1)
    }

    /// See the trait.
    pub(crate) async fn beat(&self, beat: Beat) -> Result<Version, StoreError> {
        self.witness.remembers()?;
        let registration = Registration::of(&beat).encode();
        let mut call = self.call(Tag::FIRST);
        call.key(self.keys.broker(Tag::FIRST, beat.broker)).key(self.keys.brokers());
        call.argument(beat.broker.to_string()).argument(beat.number.to_string());
        call.argument(version_text(beat.expected)).argument(registration);
        for (lane, version) in self.witness.acknowledged_by(beat.broker, Tag::FIRST) {
            call.argument(lane_name(lane)).argument(version_text(version));
        }
        if beat.standing.checked.is_some() && self.has_another_history() {
            self.check_other_tags(beat.broker).await?;
        }
        let version = match self.write(Tag::FIRST, &BEAT, &call).await {
            Ok(Reply::Ok(parts)) => self.saw_version(&parts)?,
            Ok(refusal) => return Err(self.refusal(refusal)),
            Err(failure) => return Err(self.error(&failure, false)),
        };
        if beat.number == 0 {
            self.on_copies(beat.broker, Enlisting::Enlist).await?;
        }
        Ok(version)
    }

    /// See the trait.
    pub(crate) async fn leave(&self, broker: Incarnation) -> Result<(), StoreError> {
        self.witness.remembers()?;
        if self.keys.tag_count() > 1 {
            self.end(broker, "going").await?;
            self.on_copies(broker, Enlisting::Strike).await?;
        }
        self.end(broker, "gone").await?;
        self.witness.left(broker);
        Ok(())
    }

    /// See the trait.
    pub(crate) async fn evict(&self, guard: Guard, target: Incarnation, seen: Version) -> WriteOutcome {
        let last_word = if self.keys.tag_count() > 1 { "going" } else { "gone" };
        let reply = match self.about(guard, target, seen, last_word, &EVICT).await {
            Ok(parts) => {
                let version = self.saw_version(&parts);
                if let (Ok(version), Some(Value::Int(1))) = (&version, parts.get(1)) {
                    self.witness.acknowledge(guard, Tag::FIRST, *version);
                }
                version
            }
            Err(outcome) => return outcome,
        };
        let in_doubt = |error: StoreError| WriteOutcome::Unknown(error.to_string());
        let version = match reply {
            Ok(version) => version,
            Err(error) => return in_doubt(error),
        };
        if last_word == "gone" {
            return WriteOutcome::Committed(version);
        }
        // It is over for the target, but until its copies are struck it may still write: only then it is gone.
        if let Err(error) = self.on_copies(target, Enlisting::Strike).await {
            return in_doubt(error);
        }
        self.end(target, "gone").await.map_or_else(in_doubt, WriteOutcome::Committed)
    }

    /// See the trait. Copies need not be forgotten: they vanish by themselves a day after they were struck.
    pub(crate) async fn clear(&self, guard: Guard, target: Incarnation, seen: Version) -> WriteOutcome {
        match self.about(guard, target, seen, &REMAINS_MS.to_string(), &FORGET).await {
            Ok(_) => WriteOutcome::Committed(Version::ABSENT),
            Err(outcome) => outcome,
        }
    }

    /// See the trait.
    pub(crate) async fn pulses(&self) -> Result<Vec<Pulse>, StoreError> {
        self.witness.remembers()?;
        let before = self.witness.high(Tag::FIRST);
        let mut command = redis::cmd("MGET");
        command.arg(self.keys.root(Tag::FIRST)).arg(self.keys.high(Tag::FIRST));
        let values = self.values(Tag::FIRST, &command).await?;
        let [root, high] = values.as_slice() else { return Err(strange()) };
        self.witness.check(Tag::FIRST, root, high, before)?;
        let members = self.values(Tag::FIRST, redis::cmd("SMEMBERS").arg(self.keys.brokers())).await?;
        let brokers: Option<Vec<Incarnation>> = members.iter().map(incarnation_of).collect();
        let mut brokers =
            brokers.ok_or_else(|| StoreError::Corrupt("the set of brokers holds something else".into()))?;
        brokers.sort_unstable();
        let pulses = brokers.into_iter().map(|broker| self.pulse(broker));
        let pulses: Result<Vec<Option<Pulse>>, StoreError> = join_all(pulses).await.into_iter().collect();
        Ok(pulses?.into_iter().flatten().collect())
    }

    async fn pulse(&self, broker: Incarnation) -> Result<Option<Pulse>, StoreError> {
        let corrupt = || StoreError::Corrupt(format!("the registration of {broker} cannot be read"));
        let mut command = redis::cmd("HMGET");
        command.arg(self.keys.broker(Tag::FIRST, broker)).arg(&["s", "v", "n", "i"]);
        let values = self.values(Tag::FIRST, &command).await?;
        let [state, version, number, told] = values.as_slice() else { return Err(corrupt()) };
        let gone = match bytes_of(state) {
            // Forgotten between the two commands.
            None | Some(b"past") => return Ok(None),
            Some(state) => state == b"gone",
        };
        let version = bytes_of(version).and_then(version_of).ok_or_else(corrupt)?;
        let text = |value| bytes_of(value).and_then(|bytes| std::str::from_utf8(bytes).ok());
        let told = match bytes_of(told).map(Registration::decode) {
            // What it once told does not matter any more.
            Some(Err(_)) if gone => None,
            told => told.transpose().map_err(|_| corrupt())?,
        };
        // One that was evicted before it registered has told nothing.
        let mut registration = told.unwrap_or_default();
        // What the scripts keep in fields of their own counts.
        registration.beat = text(number).map_or(Some(0), |number| number.parse().ok()).ok_or_else(corrupt)?;
        registration.gone = gone;
        Ok(Some(registration.pulse(broker, version)))
    }

    /// Looks under the other tags whether everything is there that was acknowledged to a broker.
    async fn check_other_tags(&self, broker: Incarnation) -> Result<(), StoreError> {
        for tag in self.other_tags() {
            for (lane, _) in self.witness.acknowledged_by(broker, tag) {
                // No lane is at a smaller generation, so this moves none.
                let guard = Guard { broker, lane, generation: Generation(0) };
                match self.write(tag, &ADVANCE, &self.guarded(tag, guard)).await {
                    Ok(Reply::Ok(_)) => {}
                    Ok(refusal) => return Err(self.refusal(refusal)),
                    Err(failure) => return Err(self.error(&failure, true)),
                }
            }
        }
        Ok(())
    }

    /// A guarded script about another broker's registration.
    async fn about(
        &self,
        guard: Guard,
        target: Incarnation,
        seen: Version,
        last: &str,
        script: &crate::scripts::Script,
    ) -> Result<Vec<Value>, WriteOutcome> {
        if let Some(refusal) = self.unfit() {
            return Err(refusal);
        }
        let mut call = self.guarded(Tag::FIRST, guard);
        call.key(self.keys.broker(Tag::FIRST, target)).key(self.keys.brokers());
        call.argument(target.to_string()).argument(version_text(seen)).argument(last.to_owned());
        match self.write(Tag::FIRST, script, &call).await {
            Ok(Reply::Ok(parts)) => Ok(parts),
            Ok(refusal) => Err(self.outcome_of_refusal(refusal)),
            Err(failure) => Err(failure.outcome()),
        }
    }

    /// Ends a registration that is live or going.
    async fn end(&self, broker: Incarnation, state: &'static str) -> Result<Version, StoreError> {
        let mut call = self.call(Tag::FIRST);
        call.key(self.keys.broker(Tag::FIRST, broker)).argument(state);
        match self.write(Tag::FIRST, &LEAVE, &call).await {
            Ok(Reply::Ok(parts)) => self.saw_version(&parts),
            Ok(refusal) => Err(self.refusal(refusal)),
            Err(failure) => Err(self.error(&failure, false)),
        }
    }

    /// Does the same to all copies of a registration.
    async fn on_copies(&self, broker: Incarnation, what: Enlisting) -> Result<(), StoreError> {
        let changes = self.other_tags().map(|tag| async move {
            let mut call = self.call(tag);
            call.key(self.keys.broker(tag, broker));
            let script = match what {
                Enlisting::Enlist => &ENLIST,
                Enlisting::Strike => {
                    call.argument(REMAINS_MS.to_string());
                    &STRIKE
                }
            };
            match self.write(tag, script, &call).await {
                Ok(Reply::Ok(_)) => Ok(()),
                Ok(refusal) => Err(self.refusal(refusal)),
                // Under the first tag something is done already.
                Err(failure) => match self.error(&failure, false) {
                    StoreError::Unavailable(text) => Err(StoreError::Unknown(text)),
                    other => Err(other),
                },
            }
        });
        join_all(changes).await.into_iter().collect()
    }

    fn saw_version(&self, parts: &[Value]) -> Result<Version, StoreError> {
        let version = parts.first().and_then(bytes_of).and_then(version_of);
        let version = version.ok_or_else(|| StoreError::Unknown("the answer of a script was not understood".into()))?;
        self.witness.saw(Tag::FIRST, version);
        Ok(version)
    }
}

/// What to do to the copies of a registration.
#[derive(Debug, Clone, Copy)]
enum Enlisting {
    Enlist,
    Strike,
}

fn incarnation_of(value: &Value) -> Option<Incarnation> {
    std::str::from_utf8(bytes_of(value)?).ok()?.parse().ok()
}

fn strange() -> StoreError {
    StoreError::Unavailable("the answer of Redis was not understood".into())
}
