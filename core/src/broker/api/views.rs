//! What people see of a broker.

use std::time::Duration;

use super::ClientInfo;
use crate::backend::Pulse;
use crate::name::SessionId;

/// A session, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionView {
    /// Its name.
    pub session: SessionId,
    /// Its client.
    pub client: ClientInfo,
    /// Since it was opened or came to this broker.
    pub age: Duration,
    /// Since the client was heard.
    pub silence: Duration,
    /// Claims granted.
    pub held: usize,
    /// Claims waiting or converting.
    pub waiting: usize,
    /// `vouching`, `moving`, `burying`, `closing`.
    pub state: &'static str,
    /// Ends with its connection.
    pub bound: bool,
    /// Has a connection.
    pub connected: bool,
    /// Moves so far.
    pub move_number: u32,
}

/// A broker, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerView {
    /// As last seen.
    pub pulse: Pulse,
    /// `alive`, `silent`, `gone`; of the broker that was asked also `draining`.
    pub state: &'static str,
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
    /// `starting`, `settling` (nothing is granted, because the store may have forgotten locks), `serving`, `silent`,
    /// `draining`, `over`.
    pub state: &'static str,
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
