//! One resource: three queues, one grant test, one regrant pass.
//!
//! A [`Resource`] is a pure machine. [`Resource::apply`] takes a [`Command`] and reports what happened as a list of
//! [`Outcome`]s; the same state and the same command give the same outcomes everywhere. Each command is one atomic step,
//! its regrant pass included.
//!
//! # The model
//!
//! A claim is on exactly one of three queues: **granted**, **converting** (granted in one mode and waiting for another)
//! or **waiting**. The holder set is granted and converting together, each at its granted mode. A request is decided by
//! one grant test: nothing in the holder set may conflict, and nobody may be ahead. Whenever something is given up, a
//! regrant pass grants what can be granted, converters first.
//!
//! Names of rules in comments (G5, D2, …) and sections are those of
//! [`docs/lock-rules.md`](https://github.com/sixpin/sixpin/blob/main/docs/lock-rules.md).
//!
//! # What a step costs
//!
//! Nothing here walks along a queue or over all holders: conflicts are looked up in counters per mode, a regrant pass
//! looks at the heads and at one member of each group of NOORDER claims, notifications touch only those that are told
//! something. A step costs a few lookups in balanced trees plus what it grants, tells or removes.
//!
//! # Repeats
//!
//! A claim remembers its last operation and how it ended. A repeat is answered from that and changes nothing; a lower
//! operation number is refused. A refused try is not remembered: it had no effect, so it may be decided anew.
//!
//! # Layout
//!
//! * [`claim`]: one claim;
//! * `order`: the order of one queue;
//! * `table`: the claims and the indexes that keep every request cheap;
//! * `grant`, `regrant`: the grant test, what a grant does, the regrant pass;
//! * `lock`, `convert`, `release`: the commands;
//! * `blocking`: blocking notifications;
//! * `value`: the value block;
//! * `answer`: completions, repeats, blockers;
//! * `size`: upper estimates of the record.
//!
//! # Left out on purpose
//!
//! Time (a broker cancels what timed out), deadlocks over several resources, permissions, and queues whose order was
//! lost in a failure (G4): the order is stored.

pub mod claim;
mod order;
mod table;
mod grant;
mod regrant;
mod lock;
mod convert;
mod release;
mod blocking;
mod value;
mod answer;
mod size;
#[cfg(test)]
mod cost;

use bytes::Bytes;

use crate::command::{Command, Outcome, Refusal};
use crate::format;
use crate::name::{ClaimId, FENCE_PLACES, Fence, SessionId, Stamp, Version};
use crate::record::{self, RecordError};

pub use claim::{ClaimView, Ended, OperationKind, Queue};

pub(crate) use claim::{Alternate, Claim, Grant, Slot};
pub(crate) use table::Table;
pub(crate) use value::ValueBlock;

/// What a command needs to know besides itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// The place of the command in its write; below [`FENCE_PLACES`].
    pub index: u16,
    /// Wall clock in milliseconds, kept with claims for people to see.
    pub wall_ms: u64,
    /// Length of the value blocks of the lockspace (V10).
    pub value_bytes: usize,
    /// Most queued claims of one resource (A7).
    pub queued_max: usize,
    /// Largest record (A7).
    pub record_bytes_max: usize,
}

/// One resource: its claims and its value block. See the module.
#[derive(Debug, Clone, Default)]
pub struct Resource {
    pub(crate) table: Table,
    pub(crate) value: ValueBlock,
}

/// One command under way.
pub(crate) struct Step<'a> {
    context: &'a Context,
    outcomes: &'a mut Vec<Outcome>,
}

impl Step<'_> {
    /// Refuses the command. Nothing changed, which is what the answer says.
    fn refuse(&mut self, refusal: Refusal) -> bool {
        self.outcomes.push(Outcome::Refused { refusal });
        false
    }
}

impl Resource {
    /// A resource that nobody has a claim on.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies one command and adds what happened to `outcomes`, in order. True if the stored state changed: then, and
    /// only then, it must be written before anybody hears of the outcomes.
    pub fn apply(&mut self, command: &Command, context: &Context, outcomes: &mut Vec<Outcome>) -> bool {
        let mut step = Step { context, outcomes };
        if u64::from(context.index) >= FENCE_PLACES {
            return step.refuse(Refusal::Limit("commands per write"));
        }
        let changed = self.dispatch(command, &mut step);
        if changed {
            self.notify_blocking(&mut step);
            if self.table.is_empty() {
                // Q2: the value block goes with the last claim.
                self.value = ValueBlock::default();
            }
        }
        changed
    }

    fn dispatch(&mut self, command: &Command, step: &mut Step<'_>) -> bool {
        match command {
            Command::Lock(lock) => self.lock(lock, step),
            Command::Convert(convert) => self.convert(convert, step),
            Command::Unlock { claim, operation, options, value, force } => {
                let (claim, operation, options) = (*claim, *operation, *options);
                let release = release::Release { claim, operation, options, value: value.as_ref(), force: *force };
                self.unlock(&release, step)
            }
            Command::Cancel { claim, operation, reason } => self.cancel(*claim, *operation, *reason, step),
            Command::Adopt { claim, operation, mode, options, blocking, owner, label } => {
                let (claim, operation, mode) = (*claim, *operation, *mode);
                let (options, blocking) = (*options, *blocking);
                self.adopt(&lock::Adopter { claim, operation, mode, options, blocking, owner, label }, step)
            }
            Command::Bury { session } => self.bury(*session, step),
            Command::Remove { claims } => self.remove(claims, step),
            Command::UnlockAll { session, owner } => self.unlock_all(*session, owner.as_ref(), step),
            Command::Purge { scope } => self.purge(scope, step),
        }
    }

    /// A claim that belongs to a session: orphans do not (F6).
    fn live(&self, id: ClaimId) -> Option<Slot> {
        self.table.find(id).filter(|slot| !self.table.get(*slot).orphan)
    }
}

/// Storing and committing.
impl Resource {
    /// The resource as bytes. Stamps of the write that is under way are stored as "this version".
    pub fn encode(&self) -> Bytes {
        self.encode_as(format::NEWEST)
    }

    /// The same in an earlier format, for brokers that read no later one.
    pub fn encode_as(&self, format: u8) -> Bytes {
        record::encode(self, format)
    }

    /// The resource that was stored with this version. Checks everything; never guesses.
    pub fn decode(bytes: &[u8], version: Version) -> Result<Self, RecordError> {
        Self::decode_up_to(format::NEWEST, bytes, version)
    }

    /// The same for a broker that reads no format beyond this one.
    pub fn decode_up_to(format_max: u8, bytes: &[u8], version: Version) -> Result<Self, RecordError> {
        record::decode(bytes, version, format_max)
    }

    /// The write got this version: every stamp that it gave is known now. Costs what the write stamped.
    pub fn committed(&mut self, version: Version) {
        // No store reaches the largest version; the bound keeps a broken one from causing an overflow.
        let version = version.min(record::VERSION_MAX);
        self.table.resolve(|stamp| match stamp {
            Stamp::Known(_) => stamp,
            Stamp::ThisWrite(index) => Stamp::Known(Fence::new(version, index)),
        });
    }
}

/// Looking.
impl Resource {
    /// True if nobody has a claim: the record may be deleted.
    pub fn is_idle(&self) -> bool {
        self.table.is_empty()
    }

    /// One claim, an orphan too.
    pub fn claim(&self, id: ClaimId) -> Option<ClaimView<'_>> {
        self.table.find(id).map(|slot| self.table.view(slot))
    }

    /// The claims of a session by number, its orphans included.
    pub fn claims_of(&self, session: SessionId) -> impl Iterator<Item = ClaimView<'_>> {
        self.table.of_session(session).map(|slot| self.table.view(slot))
    }

    /// The sessions that have claims here, in order, each once. Those that left only orphans do not count.
    pub fn sessions(&self) -> impl Iterator<Item = SessionId> {
        let mut last = None;
        let live = self.table.by_id().map(|slot| self.table.get(slot)).filter(|claim| !claim.orphan);
        live.map(|claim| claim.id.session).filter(move |session| last.replace(*session) != Some(*session))
    }

    /// The granted queue.
    pub fn granted(&self) -> impl Iterator<Item = ClaimView<'_>> {
        self.queue(Queue::Granted)
    }

    /// The convert queue, head first.
    pub fn converting(&self) -> impl Iterator<Item = ClaimView<'_>> {
        self.queue(Queue::Converting)
    }

    /// The wait queue, head first.
    pub fn waiting(&self) -> impl Iterator<Item = ClaimView<'_>> {
        self.queue(Queue::Waiting)
    }

    fn queue(&self, queue: Queue) -> impl Iterator<Item = ClaimView<'_>> {
        self.table.line(queue).iter().map(|slot| self.table.view(slot))
    }

    /// All claims, granted or queued.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// The same as [`Resource::is_idle`].
    pub fn is_empty(&self) -> bool {
        self.is_idle()
    }

    /// Converters and waiters.
    pub fn queued_len(&self) -> usize {
        self.table.queued()
    }

    /// The value block; empty while nobody has a claim.
    pub fn value_bytes(&self) -> &[u8] {
        &self.value.bytes
    }

    /// How often the value block was written since the resource came into being.
    pub fn value_seq(&self) -> u64 {
        self.value.seq
    }

    /// True if the value block cannot be trusted (V9).
    pub fn value_invalid(&self) -> bool {
        self.value.invalid
    }

    /// True if a claim here belongs to no session any more (F6).
    pub fn has_orphans(&self) -> bool {
        self.table.has_orphans()
    }

    /// Upper estimate of the length of [`Resource::encode`], without encoding.
    pub fn encoded_len_max(&self) -> usize {
        size::HEADER + self.value.bytes.len() + self.table.bytes()
    }
}
