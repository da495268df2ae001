//! One connection to one server, made again whenever it breaks.
//!
//! The connection manager of the client crate is not used, for three reasons. It does not tell a request that was never
//! sent (unavailable) from one whose answer is missing (unknown). It keeps a connection on which answers have stopped
//! coming until the system gives it up, which can take a quarter of an hour; here a request that is not answered in
//! time costs the connection, and one that ended while idle is noticed before the next request. And each new connection
//! is checked before anything is sent on it: the server must be a master, and must remember what this process has seen.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, PushInfo, PushKind, RedisError, Value};
use sixpin_core::backend::{OpenError, WriteOutcome};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::dial::{Dialer, OnPush};
use crate::keys::{Keys, Tag};
use crate::scripts::{Call, Reply, Script};
use crate::witness::Witness;

/// After a connection could not be made, callers are told so at once for this long, before the next one tries.
const PAUSE: Duration = Duration::from_millis(100);

/// Refusals that come before a command has done anything. In a script they come before its first write, or the script
/// itself says otherwise.
const REFUSALS: [&str; 17] = [
    "NOSCRIPT",
    "OOM",
    "MISCONF",
    "NOREPLICAS",
    "READONLY",
    "LOADING",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "MOVED",
    "ASK",
    "TRYAGAIN",
    "CROSSSLOT",
    "NOAUTH",
    "NOPERM",
    "BUSY",
    "WRONGPASS",
    "DENIED",
];

/// Refusals of a server that is no master any more, or one that is cut off from its replicas: another one may have taken
/// its place, which a new connection finds out.
const OUSTED: [&str; 2] = ["READONLY", "NOREPLICAS"];

/// Why a request brought no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// There was no connection: it was not sent.
    NotSent(String),
    /// The server refused it, and did nothing.
    Refused { code: String, text: String },
    /// It may have been done, and may still be.
    Doubt(String),
}

impl Failure {
    /// What an error of the client means for the request that met it.
    pub(crate) fn of(error: &RedisError) -> Self {
        match error.code() {
            Some(code) if REFUSALS.contains(&code) => Self::Refused { code: code.to_owned(), text: error.to_string() },
            _ => Self::Doubt(error.to_string()),
        }
    }

    /// What it means for a conditional write.
    pub(crate) fn outcome(&self) -> WriteOutcome {
        match self {
            Self::NotSent(text) | Self::Refused { text, .. } => WriteOutcome::Unavailable(text.clone()),
            Self::Doubt(text) => WriteOutcome::Unknown(text.clone()),
        }
    }

    /// The server refused it with this code.
    pub(crate) fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Refused { code, .. } if code == wanted)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent(text) | Self::Refused { text, .. } | Self::Doubt(text) => f.write_str(text),
        }
    }
}

/// The replicas that must have a write before it counts as done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Replicas {
    pub(crate) count: u32,
    pub(crate) timeout: Duration,
}

enum State {
    Open { connection: MultiplexedConnection, number: u64, ended: Arc<AtomicBool> },
    Closed { tried: Option<(Instant, OpenError)> },
}

/// See the module. Requests of all callers share the connection and do not wait for each other.
pub(crate) struct Link {
    dialer: Dialer,
    keys: Keys,
    // The tags whose memory is checked when a connection is made: those that live on this server.
    tags: Vec<Tag>,
    witness: Arc<Witness>,
    replicas: Option<Replicas>,
    // Of the server that answered last, as a number; 0 before any did.
    history: AtomicU64,
    // Where it does not matter who answers.
    lasting: bool,
    // Held while connecting, so that one connection is made for all who wait.
    state: Mutex<(State, u64)>,
}

impl Link {
    /// A link that has not connected yet.
    pub(crate) fn new(
        dialer: Dialer,
        keys: Keys,
        tags: Vec<Tag>,
        witness: Arc<Witness>,
        replicas: Option<Replicas>,
        lasting: bool,
    ) -> Self {
        let state = Mutex::new((State::Closed { tried: None }, 0));
        Self { dialer, keys, tags, witness, replicas, history: AtomicU64::new(0), lasting, state }
    }

    /// The history of the server that answered last; 0 before any did, and where none can be lost.
    pub(crate) fn history(&self) -> u64 {
        if self.lasting { 0 } else { self.history.load(Ordering::SeqCst) }
    }

    /// This is the history of the server that answers.
    pub(crate) fn saw_history(&self, history: u64) {
        self.history.store(history, Ordering::SeqCst);
    }

    /// Connects now, if it is not connected.
    pub(crate) async fn connect(&self) -> Result<(), OpenError> {
        self.connection().await.map(drop)
    }

    /// Sends one command.
    pub(crate) async fn send(&self, command: &Cmd) -> Result<Value, Failure> {
        let (mut connection, number) = self.connection().await.map_err(|error| Failure::NotSent(error.to_string()))?;
        self.send_on(&mut connection, number, command).await
    }

    /// Calls a script. `Ok` means that it ran.
    pub(crate) async fn call(&self, script: &Script, call: &Call) -> Result<Reply, Failure> {
        let (mut connection, number) = self.connection().await.map_err(|error| Failure::NotSent(error.to_string()))?;
        self.call_on(&mut connection, number, script, call).await
    }

    /// Calls a script, and then waits for the replicas if that was asked for. If they take too long the outcome is in
    /// doubt although the script ran.
    pub(crate) async fn call_and_wait(&self, script: &Script, call: &Call) -> Result<Reply, Failure> {
        let (connection, number) = self.connection().await.map_err(|error| Failure::NotSent(error.to_string()))?;
        self.call_and_wait_on(connection, number, script, call).await
    }

    /// The same, only if the broker knows that this server answers.
    pub(crate) async fn call_trusted(&self, script: &Script, call: &Call) -> Result<Reply, Failure> {
        let (connection, number) = self.connection().await.map_err(|error| Failure::NotSent(error.to_string()))?;
        if !self.lasting && !self.witness.trusts(self.history()) {
            return Err(Failure::NotSent(
                "another Redis answers: brokers look first whether it misses anything".into(),
            ));
        }
        self.call_and_wait_on(connection, number, script, call).await
    }

    async fn call_and_wait_on(
        &self,
        mut connection: MultiplexedConnection,
        number: u64,
        script: &Script,
        call: &Call,
    ) -> Result<Reply, Failure> {
        let reply = self.call_on(&mut connection, number, script, call).await?;
        if let (Some(replicas), Reply::Ok(_)) = (self.replicas, &reply) {
            // On the same connection: the server waits for what this connection wrote.
            let wait = redis::cmd("WAIT").arg(replicas.count).arg(replicas.timeout.as_millis() as u64).to_owned();
            let reached = match self.send_on(&mut connection, number, &wait).await {
                Ok(Value::Int(reached)) => reached,
                Ok(_) => 0,
                Err(failure) => return Err(Failure::Doubt(failure.to_string())),
            };
            if reached < i64::from(replicas.count) {
                return Err(Failure::Doubt(format!("{reached} of {} replicas have it", replicas.count)));
            }
        }
        Ok(reply)
    }

    async fn call_on(
        &self,
        connection: &mut MultiplexedConnection,
        number: u64,
        script: &Script,
        call: &Call,
    ) -> Result<Reply, Failure> {
        let value = match self.send_on(connection, number, &script.by_digest(call)).await {
            Err(failure) if failure.is("NOSCRIPT") => self.send_on(connection, number, &script.by_text(call)).await?,
            other => other?,
        };
        let reply = Reply::parse(value);
        // A script meets at its first write that its server became a replica, or lost its replicas.
        if matches!(&reply, Reply::Refused(text) if OUSTED.iter().any(|code| text.contains(code))) {
            self.discard(number).await;
        }
        Ok(reply)
    }

    async fn send_on(
        &self,
        connection: &mut MultiplexedConnection,
        number: u64,
        command: &Cmd,
    ) -> Result<Value, Failure> {
        // An error of the server comes as a value or as an error, depending on where it stands in the answer.
        let error = match connection.send_packed_command(command).await.and_then(Value::extract_error) {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let failure = Failure::of(&error);
        // A loading server refuses everything: the next connection finds out what has become of it.
        let mut codes = OUSTED.iter().chain(&["LOADING", "MASTERDOWN", "NOAUTH"]);
        let changed = codes.any(|code| failure.is(code));
        if changed || error.is_io_error() || error.is_unrecoverable_error() {
            self.discard(number).await;
        }
        Err(failure)
    }

    /// The connection, made now if there is none.
    async fn connection(&self) -> Result<(MultiplexedConnection, u64), OpenError> {
        let mut state = self.state.lock().await;
        let (current, count) = &mut *state;
        match current {
            // One that ended while nobody used it costs nobody an unknown outcome.
            State::Open { connection, number, ended } if !ended.load(Ordering::SeqCst) => {
                return Ok((connection.clone(), *number));
            }
            State::Open { .. } => {}
            State::Closed { tried: Some((when, error)) } if when.elapsed() < PAUSE => return Err(error.clone()),
            State::Closed { .. } => {}
        }
        let ended = Arc::new(AtomicBool::new(false));
        let ending = ended.clone();
        let push: OnPush = Arc::new(move |push: PushInfo| {
            if push.kind == PushKind::Disconnection {
                ending.store(true, Ordering::SeqCst);
            }
        });
        match self.dialer.verified(&self.keys, &self.tags, &self.witness, push).await {
            Ok((connection, history)) => {
                self.saw_history(history);
                *count += 1;
                *current = State::Open { connection: connection.clone(), number: *count, ended };
                Ok((connection, *count))
            }
            Err(error) => {
                *current = State::Closed { tried: Some((Instant::now(), error.clone())) };
                Err(error)
            }
        }
    }

    /// Gives up a connection, unless somebody did already. Requests that are under way on it come to their own end.
    async fn discard(&self, number: u64) {
        let mut state = self.state.lock().await;
        if matches!(&state.0, State::Open { number: current, .. } if *current == number) {
            state.0 = State::Closed { tried: None };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(answer: &str) -> Failure {
        let value = redis::parse_redis_value(answer.as_bytes()).unwrap();
        Failure::of(&value.extract_error().unwrap_err())
    }

    #[test]
    fn refusals_are_known_by_their_codes_and_everything_else_is_doubt() {
        for code in REFUSALS {
            let failure = failure(&format!("-{code} some text\r\n"));
            assert!(failure.is(code), "{failure:?}");
        }
        for answer in
            ["-ERR Error running script\r\n", "-WRONGTYPE Operation against\r\n", "-OOPS\r\n", "-UNKILLABLE x\r\n"]
        {
            assert!(matches!(failure(answer), Failure::Doubt(_)), "{answer}");
        }
        let broken = RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert!(matches!(Failure::of(&broken), Failure::Doubt(_)));
    }
}
