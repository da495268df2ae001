//! The store behind the trait.

use std::sync::Arc;

use async_trait::async_trait;
use sixpin_core::backend::{
    Backend, Beat, Durability, Family, Guard, Key, Lane, OpenError, Page, Profile, Pulse, Root, Slot, StoreError,
    Write, WriteOutcome,
};
use sixpin_core::name::{Incarnation, Version};
use sixpin_core::standing::History;
use tokio::task::JoinHandle;

use crate::config::RedisConfig;
use crate::connection::Failure;
use crate::hints::Hints;
use crate::keys::{Keys, Tag, version_of, version_text};
use crate::opening;
use crate::routes::Routes;
use crate::scripts::{Call, Reply, Script};
use crate::witness::Witness;

/// A store in Redis. Its connections end when it is dropped.
pub struct RedisBackend {
    store: Arc<Store>,
    // Listening for hints, and checking the server.
    tasks: Vec<JoinHandle<()>>,
}

/// What the methods of the backend and its tasks share.
pub(crate) struct Store {
    pub(crate) routes: Routes,
    pub(crate) keys: Keys,
    pub(crate) witness: Arc<Witness>,
    pub(crate) hints: Arc<Hints>,
    pub(crate) root: Root,
    pub(crate) profile: Profile,
    pub(crate) channel: String,
}

impl RedisBackend {
    /// Connects, checks that the server is at least this durable and safe in all other ways, and reads or creates the
    /// root record. Must be called inside a tokio runtime, which goes on checking.
    pub async fn open(config: &RedisConfig, require: Durability) -> Result<Self, OpenError> {
        let (store, tasks) = opening::open(config, require).await?;
        Ok(Self { store, tasks })
    }
}

impl Drop for RedisBackend {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl std::fmt::Debug for RedisBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisBackend").field("root", &self.store.root).finish_non_exhaustive()
    }
}

/// A lane's field in a registration.
pub(crate) fn lane_name(lane: Lane) -> String {
    format!("l{}", lane.0)
}

impl Store {
    /// One number for the histories of all servers.
    fn history(&self) -> History {
        History(self.routes.histories().into_iter().fold(0, |all, one| all ^ one))
    }

    /// Another history answers than the one that the broker knows of.
    pub(crate) fn has_another_history(&self) -> bool {
        !self.routes.histories().iter().all(|history| self.witness.trusts(*history))
    }

    fn trust(&self, history: History) {
        let histories = self.routes.histories();
        if self.history() == history {
            self.witness.trust(histories);
        }
    }

    /// A call of a script about a tag: what all of them begin with.
    pub(crate) fn call(&self, tag: Tag) -> Call {
        let mut call = Call::default();
        call.key(self.keys.root(tag)).key(self.keys.high(tag));
        call.argument(self.witness.identity().to_owned()).argument(version_text(self.witness.high(tag)));
        call
    }

    /// A call of a script that checks its sender.
    pub(crate) fn guarded(&self, tag: Tag, guard: Guard) -> Call {
        let mut call = self.call(tag);
        call.key(self.keys.broker(tag, guard.broker));
        call.argument(lane_name(guard.lane)).argument(format!("{:020}", guard.generation.0));
        call.argument(version_text(self.witness.acknowledged(guard, tag)));
        call
    }

    /// Calls a script that may write.
    pub(crate) async fn write(&self, tag: Tag, script: &Script, call: &Call) -> Result<Reply, Failure> {
        let reply = match self.routes.link(tag).await {
            Ok(link) => link.call_and_wait(script, call).await,
            Err(failure) => Err(failure),
        };
        reply.inspect_err(|failure| self.routes.failed(failure))
    }

    /// What it means for a method that is no commit that a request failed. `reads`: it could not have changed anything.
    pub(crate) fn error(&self, failure: &Failure, reads: bool) -> StoreError {
        if let Err(amnesia) = self.witness.remembers() {
            return amnesia;
        }
        match failure {
            Failure::Doubt(text) if !reads => StoreError::Unknown(text.clone()),
            Failure::NotSent(text) | Failure::Refused { text, .. } | Failure::Doubt(text) => {
                StoreError::Unavailable(text.clone())
            }
        }
    }

    /// What a reply other than `ok` means for a method that is no commit.
    pub(crate) fn refusal(&self, reply: Reply) -> StoreError {
        match reply {
            Reply::Evicted => StoreError::Evicted,
            Reply::Amnesia(text) => self.witness.lost(&text),
            Reply::Stale => StoreError::Unavailable("the lane has moved on".into()),
            Reply::Differs(_) => StoreError::Unavailable("another version is stored".into()),
            Reply::Refused(text) => StoreError::Unavailable(text),
            Reply::Partly(text) => StoreError::Unknown(text),
            Reply::Ok(_) | Reply::Strange => StoreError::Unknown("the answer of a script was not understood".into()),
        }
    }

    /// What a reply other than `ok` means for a conditional write.
    pub(crate) fn outcome_of_refusal(&self, reply: Reply) -> WriteOutcome {
        match reply {
            Reply::Evicted => WriteOutcome::Evicted,
            Reply::Stale => WriteOutcome::Stale,
            Reply::Differs(version) => match version_of(&version) {
                Some(version) => WriteOutcome::Conflict(Slot { version, bytes: None }),
                None => WriteOutcome::ConflictUnread,
            },
            // Not `Evicted`: the broker shall learn from its next read or beat why, because it has to hold back more.
            Reply::Amnesia(text) => WriteOutcome::Unavailable(self.witness.lost(&text).to_string()),
            Reply::Refused(text) => WriteOutcome::Unavailable(text),
            Reply::Partly(text) => WriteOutcome::Unknown(text),
            Reply::Ok(_) | Reply::Strange => WriteOutcome::Unknown("the answer of a script was not understood".into()),
        }
    }

    /// Refuses to write to a store that lost its memory or that the last check found unsafe.
    pub(crate) fn unfit(&self) -> Option<WriteOutcome> {
        self.witness.unfit().map(WriteOutcome::Unavailable)
    }
}

#[async_trait]
impl Backend for RedisBackend {
    fn profile(&self) -> Profile {
        self.store.profile.clone()
    }

    fn root(&self) -> Root {
        self.store.root.clone()
    }

    async fn read(&self, keys: &[Key]) -> Result<Vec<Slot>, StoreError> {
        self.store.read(keys).await
    }

    async fn commit(&self, guard: Guard, writes: Vec<Write>) -> Vec<WriteOutcome> {
        self.store.commit(guard, writes).await
    }

    async fn advance(&self, guard: Guard) -> Result<(), StoreError> {
        self.store.advance(guard).await
    }

    async fn changed(&self, key: Key, seen: Version) {
        let mut bell = std::pin::pin!(self.store.hints.heard(Keys::bell_of(&key)));
        // First listen, then look: a change between the two is heard. If looking fails, listening is all there is.
        bell.as_mut().enable();
        if self.store.version(&key).await.is_ok_and(|version| version != seen) {
            return;
        }
        bell.await;
    }

    async fn list(&self, family: &Family, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        self.store.list(family, after, limit).await
    }

    async fn beat(&self, beat: Beat) -> Result<Version, StoreError> {
        self.store.beat(beat).await
    }

    async fn leave(&self, broker: Incarnation) -> Result<(), StoreError> {
        self.store.leave(broker).await
    }

    async fn evict(&self, guard: Guard, target: Incarnation, seen: Version) -> WriteOutcome {
        self.store.evict(guard, target, seen).await
    }

    async fn clear(&self, guard: Guard, target: Incarnation, seen: Version) -> WriteOutcome {
        self.store.clear(guard, target, seen).await
    }

    fn history(&self) -> History {
        self.store.history()
    }

    fn trust(&self, history: History) {
        self.store.trust(history);
    }

    async fn pulses(&self) -> Result<Vec<Pulse>, StoreError> {
        self.store.pulses().await
    }
}
