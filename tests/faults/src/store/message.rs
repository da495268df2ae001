//! What is asked of the store, and what it answers.

use serde::{Deserialize, Serialize};

use super::words;

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
    Read(Vec<words::Key>),
    /// See `Backend::commit`.
    Commit(words::Guard, Vec<words::Write>),
    /// See `Backend::advance`.
    Advance(words::Guard),
    /// See `Backend::changed`.
    Changed(words::Key, u64),
    /// Nobody waits for the answer to this number any more.
    GiveUp(u64),
    /// See `Backend::list`.
    List(words::Family, Option<String>, u32),
    /// See `Backend::beat`.
    Beat(words::Beat),
    /// See `Backend::leave`.
    Leave(u64),
    /// See `Backend::evict`.
    Evict(words::Guard, u64, u64),
    /// See `Backend::clear`.
    Clear(words::Guard, u64, u64),
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
    Opened(words::Root, words::Kind),
    /// To `Read`.
    Slots(Result<Vec<words::Slot>, words::StoreError>),
    /// To `Commit`, `Evict` and `Clear`.
    Outcomes(Vec<words::WriteOutcome>),
    /// To `Advance` and `Leave`.
    Done(Result<(), words::StoreError>),
    /// To `Changed`.
    MayDiffer,
    /// To `List`.
    Page(Result<words::Page, words::StoreError>),
    /// To `Beat`.
    Beaten(Result<u64, words::StoreError>),
    /// To `Pulses`.
    Pulses(Result<Vec<words::Pulse>, words::StoreError>),
}
