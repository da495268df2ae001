//! What a broker process offers, whoever asks in whatever protocol.
//!
//! A front end speaks one protocol. It turns what its clients send into the words of this module, which know no protocol, and
//! the answers into what its clients read; it decides nothing. Everything that holds for all of them is here: what is a valid name, a
//! TTL or a wait, who has asked, which engine is asked, and how a stream that carries a session goes on.
//!
//! # Layout, in reading order
//!
//! * [`Caller`]: who asks; [`identity`]: the same on what lasts;
//! * [`checks`], [`names`]: whether what they say makes sense, as far as that needs no state; [`errors`]: what they are told if not;
//! * [`calls`]: one request about a session, one answer;
//! * [`conversation`]: a stream that carries a session; [`listening`]: one on which its client only hears of it;
//! * [`inspect`]: who holds and who waits; [`waits`]: who waits longest and for whom, and what most wait for;
//! * [`admin`]: what administrators do.
//!
//! A new front end needs a folder beside `grpc`. A new verb is a method here, and one translation in each front end.

pub mod admin;
pub mod calls;
pub mod caller;
pub mod checks;
pub mod conversation;
pub mod errors;
pub mod identity;
pub mod inspect;
pub mod listening;
pub mod names;
pub mod waits;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sixpin_core::access::{Place, Verb};
use sixpin_core::broker::api::{ClaimState, LockspaceConfig, Query, Reply, RequestError, Secret, StoreState};
use sixpin_core::limits::Limits;
use sixpin_core::name::{Lockspace, SessionId};
use sixpin_core::token::SessionToken;

use crate::access::Access;
use crate::audit::{Audit, Outcome};
use crate::lately::Lately;
use crate::metrics::refusals::SESSION_TOKEN;
use crate::runtime::{Connection, EngineHandle, Runtime};
use crate::traces::Traces;
use crate::traces::stream::StreamSpans;
pub use caller::Caller;
use errors::unexpected;

/// What was checked, or why it is refused. Nothing changed then.
pub type Checked<T> = Result<T, RequestError>;

/// The API of one process. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    runtime: Runtime,
    access: Arc<Access>,
    /// What happened on resources.
    lately: Lately,
    /// Absent: nothing is traced.
    traces: Option<Traces>,
    /// See [`Api::found_not_serving`].
    not_serving: Arc<RwLock<Vec<(String, String)>>>,
}

/// What the client of a session that was opened is told.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The session. It knows its TTL.
    pub session: SessionId,
    /// What its client shows with every call.
    pub token: SessionToken,
    /// When the first keepalive should come.
    pub keepalive: Duration,
    /// Bytes of value blocks in the lockspace that the session was opened for.
    pub value_block_bytes: usize,
}

/// What the client of a session that was resumed is told.
#[derive(Debug, Clone)]
pub struct Resumed {
    /// The number of its move.
    pub move_number: u32,
    /// How often keepalives should come.
    pub keepalive: Duration,
    /// How its claims stand.
    pub claims: Vec<ClaimState>,
}

impl Api {
    /// Offers the engines of `runtime` to whom `access` lets in.
    pub(crate) fn new(runtime: Runtime, access: Arc<Access>, lately: Lately, traces: Option<Traces>) -> Self {
        Self { runtime, access, lately, traces, not_serving: Arc::default() }
    }

    /// Who is let in.
    pub fn access(&self) -> &Arc<Access> {
        &self.access
    }

    /// Where spans go, if anything is traced.
    pub fn traces(&self) -> Option<&Traces> {
        self.traces.as_ref()
    }

    /// What is traced of a stream that somebody begins, if anything is.
    pub(super) fn stream_spans(&self, from: &Caller) -> Option<Box<StreamSpans>> {
        self.traces().map(|traces| Box::new(StreamSpans::new(traces.clone(), from.origin)))
    }

    /// Refuses what a caller may not do, and writes that down.
    pub(super) fn check(&self, from: &Caller, verb: Verb, place: Place<'_>) -> Checked<()> {
        from.check(verb, place).inspect_err(|error| note_denied(self.access.audit(), from, error))
    }

    /// The broker's name, for people.
    pub fn broker(&self) -> &str {
        self.runtime.name()
    }

    /// The limits that clients are told of; they stay as they were at the start.
    pub fn limits(&self) -> &Limits {
        self.runtime.limits()
    }

    /// The settings of a lockspace.
    pub fn lockspace_config(&self, lockspace: &Lockspace) -> LockspaceConfig {
        self.runtime.lockspace_config(lockspace)
    }

    /// Begins a stream of answers and events from the store of a lockspace.
    pub fn connect(&self, lockspace: &Lockspace) -> Connection {
        self.engine(lockspace).connect(None)
    }

    /// True if every engine serves just now.
    pub async fn serves(&self) -> bool {
        let not = self.not_serving().await;
        let serves = not.is_empty();
        *self.not_serving.write().unwrap_or_else(PoisonError::into_inner) = not;
        serves
    }

    /// The stores whose engines did not serve when that was asked last, by their names in the configuration, and why.
    pub fn found_not_serving(&self) -> Vec<(String, String)> {
        self.not_serving.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn not_serving(&self) -> Vec<(String, String)> {
        let mut not = Vec::new();
        for engine in self.runtime.engines() {
            let why = match engine.query(Query::Status).await {
                // One that settles opens sessions and keeps them alive.
                Ok(Reply::Status(status)) => match status.state {
                    StoreState::Serving | StoreState::Settling => continue,
                    state => format!("the broker is {} there", format!("{state:?}").to_lowercase()),
                },
                Ok(other) => unexpected(&other).to_string(),
                Err(error) => error.to_string(),
            };
            not.push((engine.name().to_owned(), why));
        }
        not
    }

    /// What is said of a session that was opened for this lockspace.
    pub fn opened(&self, session: SessionId, secret: Secret, lockspace: &Lockspace) -> Opened {
        Opened {
            session,
            token: SessionToken { session, secret, lockspace: lockspace.clone() },
            keepalive: self.limits().first_keepalive(session.ttl()),
            value_block_bytes: self.runtime.lockspace_config(lockspace).value_block_bytes,
        }
    }

    /// What is said of a session that was resumed.
    pub fn resumed(&self, session: SessionId, move_number: u32, claims: Vec<ClaimState>) -> Resumed {
        Resumed { move_number, keepalive: session.ttl() / KEEPALIVES_PER_TTL, claims }
    }

    fn engine(&self, lockspace: &Lockspace) -> &EngineHandle {
        self.runtime.engine(lockspace)
    }
}

/// Writes down that something was refused which a caller may not do: with verb and place as whoever refused it says them, because a
/// request need not name them.
pub(crate) fn note_denied(audit: &Audit, from: &Caller, error: &RequestError) {
    match error {
        RequestError::Denied(denied) => {
            let verb = denied.verb();
            let line = || from.line(&verb).at(denied.lockspace.as_ref(), denied.name.as_ref());
            // Which mode was asked for is counted with the requests.
            let counted = verb.split(':').next().unwrap_or_default();
            audit.denied(counted, || line().outcome(Outcome::Refused, error));
        }
        RequestError::WrongToken(session) => {
            let line = || from.line("session").session(*session);
            audit.not_authenticated(SESSION_TOKEN, || line().outcome(Outcome::Refused, error));
        }
        _ => {}
    }
}

pub use sixpin_core::limits::KEEPALIVES_PER_TTL;
