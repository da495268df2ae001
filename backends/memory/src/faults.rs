//! A backend around a backend that misbehaves on purpose.
//!
//! It does what networks and servers do: refuse, lose the request, lose the answer, deliver late, conflict for no visible
//! reason, delay, evict, lose hints and serve old reads. A plan decides what happens to each call. Everything it answers
//! is something that the contract allows, so whatever goes wrong behind it is a mistake of the caller.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sixpin_core::backend::{
    Backend, Beat, Family, Guard, Key, Page, Profile, Pulse, Root, Slot, StoreError, Write, WriteOutcome,
};
use sixpin_core::name::{Incarnation, Version};
use sixpin_core::standing::History;

/// Requests held back at most. When one more comes the oldest is lost, which an unknown outcome allows as well.
const HELD_MAX: usize = 1_024;
/// Keys whose previous slot is remembered, to be served as an old read.
const OLD_SLOTS_MAX: usize = 4_096;

/// A method of the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is the method of that name")]
pub enum Operation {
    Read,
    Commit,
    Advance,
    Changed,
    List,
    Beat,
    Leave,
    Evict,
    Clear,
    Pulses,
}

/// A call, as the plan sees it.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Which method.
    pub operation: Operation,
    /// Counts all calls, from 0.
    pub number: u64,
    /// The writes of a commit; empty for other methods.
    pub writes: &'a [Write],
}

/// What happens to a call. Where a fault makes no sense (a read that conflicts), the call goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Goes through.
    None,
    /// Answered with unavailable, and not done.
    Unavailable,
    /// Done, and answered with unknown: the reply was lost.
    ReplyLost,
    /// Not done, and answered with unknown: the request was lost.
    RequestLost,
    /// Answered with unknown, and done when [`Faulty::deliver_late`] is called.
    Late,
    /// Not done, and answered with a conflict that does not say what is there.
    Conflict,
    /// Goes through after this long.
    Delay(Duration),
    /// The caller's registration is turned into `gone` just before.
    Evict,
    /// Its hint never comes.
    LoseHint,
    /// Answered with what stood there before the last write that went through here.
    OldRead,
}

/// A request that will arrive late.
#[derive(Debug)]
enum Late {
    Commit(Guard, Vec<Write>),
    Advance(Guard),
    Beat(Beat),
    Leave(Incarnation),
    Evict(Guard, Incarnation, Version),
    Clear(Guard, Incarnation, Version),
}

type Plan = Box<dyn FnMut(&Call<'_>) -> Fault + Send>;

struct State {
    plan: Plan,
    calls: u64,
    held: VecDeque<Late>,
    old: BTreeMap<Key, Slot>,
}

/// A backend that does to each call what a plan says.
pub struct Faulty<B> {
    inner: B,
    state: Mutex<State>,
}

impl<B: fmt::Debug> fmt::Debug for Faulty<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<B: Backend> Faulty<B> {
    /// Wraps a backend. The plan is asked once per call, in the order of the calls.
    pub fn new(inner: B, plan: impl FnMut(&Call<'_>) -> Fault + Send + 'static) -> Self {
        let state = State { plan: Box::new(plan), calls: 0, held: VecDeque::new(), old: BTreeMap::new() };
        Self { inner, state: Mutex::new(state) }
    }

    /// Wraps a backend with a list: each fault strikes the next call of its method, in order; other calls go through.
    pub fn scripted(inner: B, script: impl IntoIterator<Item = (Operation, Fault)>) -> Self {
        let mut script: Vec<(Operation, Fault)> = script.into_iter().collect();
        Self::new(inner, move |call| {
            let place = script.iter().position(|(operation, _)| *operation == call.operation);
            place.map_or(Fault::None, |place| script.remove(place).1)
        })
    }

    /// Replaces the plan.
    pub fn set_plan(&self, plan: impl FnMut(&Call<'_>) -> Fault + Send + 'static) {
        self.state().plan = Box::new(plan);
    }

    /// The backend inside.
    pub fn inner(&self) -> &B {
        &self.inner
    }

    /// Lets the requests that are late arrive, in order. Their answers go nowhere. Says how many there were.
    pub async fn deliver_late(&self) -> usize {
        let held = std::mem::take(&mut self.state().held);
        let count = held.len();
        for request in held {
            match request {
                Late::Commit(guard, writes) => drop(self.inner.commit(guard, writes).await),
                Late::Advance(guard) => drop(self.inner.advance(guard).await),
                Late::Beat(beat) => drop(self.inner.beat(beat).await),
                Late::Leave(broker) => drop(self.inner.leave(broker).await),
                Late::Evict(guard, target, seen) => drop(self.inner.evict(guard, target, seen).await),
                Late::Clear(guard, target, seen) => drop(self.inner.clear(guard, target, seen).await),
            }
        }
        count
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault(&self, operation: Operation, writes: &[Write]) -> Fault {
        let mut state = self.state();
        let number = state.calls;
        state.calls += 1;
        (state.plan)(&Call { operation, number, writes })
    }

    /// Does to a call that may change the store what the plan says.
    async fn strike<T: Answer>(
        &self,
        fault: Fault,
        writes: usize,
        broker: Incarnation,
        late: Late,
        call: impl Future<Output = T> + Send,
    ) -> T {
        match fault {
            Fault::Unavailable => return T::unavailable(writes),
            Fault::RequestLost => return T::unknown(writes),
            Fault::ReplyLost => {
                call.await;
                return T::unknown(writes);
            }
            Fault::Late => {
                let mut state = self.state();
                if state.held.len() == HELD_MAX {
                    state.held.pop_front();
                }
                state.held.push_back(late);
                return T::unknown(writes);
            }
            Fault::Conflict => {
                if let Some(answer) = T::conflict(writes) {
                    return answer;
                }
            }
            Fault::Evict => drop(self.inner.leave(broker).await),
            Fault::Delay(time) => tokio::time::sleep(time).await,
            Fault::None | Fault::LoseHint | Fault::OldRead => {}
        }
        call.await
    }

    /// Does to a call that changes nothing what the plan says.
    async fn strike_hint<T: Send>(
        &self,
        fault: Fault,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        match fault {
            Fault::Unavailable => return Err(unavailable()),
            Fault::RequestLost | Fault::ReplyLost | Fault::Late => return Err(unknown()),
            Fault::Delay(time) => tokio::time::sleep(time).await,
            Fault::None | Fault::Conflict | Fault::Evict | Fault::LoseHint | Fault::OldRead => {}
        }
        call.await
    }

    /// Remembers what stands where a commit is going to write.
    async fn remember(&self, writes: &[Write]) {
        let keys: Vec<Key> = writes.iter().map(|write| write.key.clone()).collect();
        let Ok(slots) = self.inner.read(&keys).await else { return };
        let mut state = self.state();
        for (key, slot) in keys.into_iter().zip(slots) {
            if state.old.len() == OLD_SLOTS_MAX && !state.old.contains_key(&key) {
                state.old.pop_first();
            }
            state.old.insert(key, slot);
        }
    }
}

/// The answers that a fault gives instead of the store.
trait Answer: Sized + Send {
    fn unavailable(writes: usize) -> Self;
    fn unknown(writes: usize) -> Self;
    fn conflict(writes: usize) -> Option<Self>;
}

impl Answer for WriteOutcome {
    fn unavailable(_: usize) -> Self {
        Self::Unavailable(REASON.into())
    }

    fn unknown(_: usize) -> Self {
        Self::Unknown(REASON.into())
    }

    fn conflict(_: usize) -> Option<Self> {
        Some(Self::ConflictUnread)
    }
}

impl Answer for Vec<WriteOutcome> {
    fn unavailable(writes: usize) -> Self {
        vec![WriteOutcome::unavailable(1); writes]
    }

    fn unknown(writes: usize) -> Self {
        vec![WriteOutcome::unknown(1); writes]
    }

    fn conflict(writes: usize) -> Option<Self> {
        Some(vec![WriteOutcome::ConflictUnread; writes])
    }
}

impl<T: Send> Answer for Result<T, StoreError> {
    fn unavailable(_: usize) -> Self {
        Err(unavailable())
    }

    fn unknown(_: usize) -> Self {
        Err(unknown())
    }

    fn conflict(_: usize) -> Option<Self> {
        None
    }
}

const REASON: &str = "a planned fault";

fn unavailable() -> StoreError {
    StoreError::Unavailable(REASON.into())
}

fn unknown() -> StoreError {
    StoreError::Unknown(REASON.into())
}

#[async_trait]
impl<B: Backend> Backend for Faulty<B> {
    fn profile(&self) -> Profile {
        self.inner.profile()
    }

    fn root(&self) -> Root {
        self.inner.root()
    }

    async fn read(&self, keys: &[Key]) -> Result<Vec<Slot>, StoreError> {
        let fault = self.fault(Operation::Read, &[]);
        let mut slots = self.strike_hint(fault, self.inner.read(keys)).await?;
        if fault == Fault::OldRead {
            let state = self.state();
            for (slot, old) in slots.iter_mut().zip(keys.iter().map(|key| state.old.get(key))) {
                if let Some(old) = old {
                    slot.clone_from(old);
                }
            }
        }
        Ok(slots)
    }

    async fn commit(&self, guard: Guard, writes: Vec<Write>) -> Vec<WriteOutcome> {
        let fault = self.fault(Operation::Commit, &writes);
        self.remember(&writes).await;
        let late = Late::Commit(guard, writes.clone());
        self.strike(fault, writes.len(), guard.broker, late, self.inner.commit(guard, writes)).await
    }

    async fn advance(&self, guard: Guard) -> Result<(), StoreError> {
        let fault = self.fault(Operation::Advance, &[]);
        self.strike(fault, 1, guard.broker, Late::Advance(guard), self.inner.advance(guard)).await
    }

    async fn changed(&self, key: Key, seen: Version) {
        match self.fault(Operation::Changed, &[]) {
            Fault::LoseHint => std::future::pending().await,
            Fault::Delay(time) => tokio::time::sleep(time).await,
            _ => {}
        }
        self.inner.changed(key, seen).await;
    }

    async fn list(&self, family: &Family, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        let fault = self.fault(Operation::List, &[]);
        self.strike_hint(fault, self.inner.list(family, after, limit)).await
    }

    async fn beat(&self, beat: Beat) -> Result<Version, StoreError> {
        let fault = self.fault(Operation::Beat, &[]);
        let late = Late::Beat(beat.clone());
        self.strike(fault, 1, beat.broker, late, self.inner.beat(beat)).await
    }

    async fn leave(&self, broker: Incarnation) -> Result<(), StoreError> {
        let fault = self.fault(Operation::Leave, &[]);
        self.strike(fault, 1, broker, Late::Leave(broker), self.inner.leave(broker)).await
    }

    async fn evict(&self, guard: Guard, target: Incarnation, seen: Version) -> WriteOutcome {
        let fault = self.fault(Operation::Evict, &[]);
        let late = Late::Evict(guard, target, seen);
        self.strike(fault, 1, guard.broker, late, self.inner.evict(guard, target, seen)).await
    }

    async fn clear(&self, guard: Guard, target: Incarnation, seen: Version) -> WriteOutcome {
        let fault = self.fault(Operation::Clear, &[]);
        let late = Late::Clear(guard, target, seen);
        self.strike(fault, 1, guard.broker, late, self.inner.clear(guard, target, seen)).await
    }

    fn history(&self) -> History {
        self.inner.history()
    }

    fn trust(&self, history: History) {
        self.inner.trust(history);
    }

    async fn pulses(&self) -> Result<Vec<Pulse>, StoreError> {
        let fault = self.fault(Operation::Pulses, &[]);
        self.strike_hint(fault, self.inner.pulses()).await
    }
}
