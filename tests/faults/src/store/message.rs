//! What is asked of the store, and what it answers.

use serde::{Deserialize, Serialize};

use super::wire;

/// A request, with the number by which its answer is told apart.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ask {
    /// Chosen by the asker, rising.
    pub number: u64,
    /// The identity of the store that the asker opened; 0 while it opens it.
    pub identity: u64,
    /// What is asked.
    pub request: Request,
}

/// One call of the contract.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Request {
    /// The root record and the kind of store.
    Open,
    /// See `Backend::read`.
    Read(Vec<wire::Key>),
    /// See `Backend::commit`.
    Commit(wire::Guard, Vec<wire::Write>),
    /// See `Backend::advance`.
    Advance(wire::Guard),
    /// See `Backend::changed`.
    Changed(wire::Key, u64),
    /// Nobody waits for the answer to this number any more.
    GiveUp(u64),
    /// See `Backend::list`.
    List(wire::Family, Option<String>, u32),
    /// See `Backend::beat`.
    Beat(wire::Beat),
    /// See `Backend::leave`.
    Leave(u64),
    /// See `Backend::evict`.
    Evict(wire::Guard, u64, u64),
    /// See `Backend::clear`.
    Clear(wire::Guard, u64, u64),
    /// See `Backend::pulses`.
    Pulses,
}

impl Request {
    /// Whether it can change what is stored, and so must be in the journal.
    pub fn changes(&self) -> bool {
        matches!(
            self,
            Self::Commit(..) | Self::Advance(_) | Self::Beat(_) | Self::Leave(_) | Self::Evict(..) | Self::Clear(..)
        )
    }
}

/// An answer, with the number of what was asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    /// That of the request.
    pub number: u64,
    /// What is answered.
    pub response: Response,
}

/// The answer to one call.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Response {
    /// To `Open`.
    Opened(wire::Root, wire::Kind),
    /// To `Read`.
    Slots(Result<Vec<wire::Slot>, wire::StoreError>),
    /// To `Commit`, `Evict` and `Clear`.
    Outcomes(Vec<wire::WriteOutcome>),
    /// To `Advance` and `Leave`.
    Done(Result<(), wire::StoreError>),
    /// To `Changed`.
    MayDiffer,
    /// To `List`.
    Page(Result<wire::Page, wire::StoreError>),
    /// To `Beat`.
    Beaten(Result<u64, wire::StoreError>),
    /// To `Pulses`.
    Pulses(Result<Vec<wire::Pulse>, wire::StoreError>),
}
