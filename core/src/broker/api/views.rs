//! What people see of a broker.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ClientInfo;
use crate::access::Principal;
use crate::backend::Pulse;
use crate::mode::Mode;
use crate::name::{ClaimId, Lockspace, ResourceId, SessionId};

/// Where a session is in its life at a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// The broker vouches for it.
    Vouching,
    /// It comes from another broker: that is being written.
    Moving,
    /// An administrator ended it; its client is being told.
    Ending,
    /// Its client was silent for too long: its end is being written.
    Burying,
    /// Its client closed it: its claims are being removed.
    Closing,
}

/// How a broker looks to the one that was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerState {
    /// Its beat comes.
    Alive,
    /// Its beat is late.
    Silent,
    /// It was declared dead, for ever.
    Gone,
    /// It tells its clients to go. Only of the broker asked itself.
    Draining,
}

/// How a broker is on its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StoreState {
    /// It is not registered yet.
    #[default]
    Starting,
    /// It grants nothing yet, because the store may have forgotten locks.
    Settling,
    /// All is well.
    Serving,
    /// It cannot vouch: its beats are not acknowledged.
    Silent,
    /// It tells its clients to go.
    Draining,
    /// It has ended.
    Over,
}

/// A session, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionView {
    /// Its name.
    pub session: SessionId,
    /// Its client.
    pub client: ClientInfo,
    /// Whose it is.
    pub principal: Principal,
    /// Since it was opened or came to this broker.
    pub age: Duration,
    /// Since the client was heard.
    pub silence: Duration,
    /// Claims granted.
    pub held: usize,
    /// Claims waiting or converting.
    pub waiting: usize,
    /// Where it is in its life.
    pub state: SessionState,
    /// Ends with its connection.
    pub bound: bool,
    /// Has a connection.
    pub connected: bool,
    /// Moves so far.
    pub move_number: u32,
}

/// A claim that stands in a queue, as its broker knows it. The mode that it waits for is in the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitView {
    /// The claim.
    pub claim: ClaimId,
    /// What it waits for.
    pub resource: ResourceId,
    /// The mode that it has meanwhile, if it converts.
    pub granted: Option<Mode>,
    /// Since when, by wall clocks, in milliseconds.
    pub since_ms: u64,
}

/// A broker, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerView {
    /// As last seen.
    pub pulse: Pulse,
    /// How it looks.
    pub state: BrokerState,
    /// Since its beat changed.
    pub silence: Duration,
    /// It is the one asked.
    pub own: bool,
    /// Its sessions that wait for burial.
    pub burying: usize,
}

/// State and counters, for people and metrics.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StatusView {
    /// How the broker is.
    pub state: StoreState,
    /// It may vouch for its sessions just now.
    pub vouches: bool,
    /// Sessions in the table.
    pub sessions: usize,
    /// Claims of these sessions.
    pub claims: usize,
    /// Those that wait.
    pub waiting: usize,
    /// Batches sent.
    pub commits: u64,
    /// Writes in them.
    pub writes: u64,
    /// Writes that conflicted.
    pub conflicts: u64,
    /// Writes with unknown outcome.
    pub unknowns: u64,
}

/// Claims of sessions of this broker, counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// By lockspace; those without claims are left out.
    pub lockspaces: BTreeMap<Lockspace, LockspaceTally>,
    /// How much longer than a third of its TTL the client was silent that is most behind. Zero: all are heard as they should.
    pub keepalive_lag: Duration,
    /// After which session the next part goes on; absent: this was the last one.
    pub next: Option<SessionId>,
}

/// Claims in one lockspace, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LockspaceTally {
    /// Those that hold a lock and wait for nothing.
    pub granted: usize,
    /// Those that hold a lock and wait for another mode.
    pub converting: usize,
    /// Those that hold nothing yet.
    pub waiting: usize,
    /// For how long the oldest of those two has waited at this broker.
    pub oldest_wait: Duration,
}
