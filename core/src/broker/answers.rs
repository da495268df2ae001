//! What is said: answers, events, and lines of the log.
//!
//! Invariant: a broker that may have been declared dead says nothing.

use super::Broker;
use super::api::{Done, DoneStatus, Effect, Event, LogLevel, LogLine, Reply, ReplyTo, RequestError};
use crate::command::{Completion, Extras};
use crate::name::{ClaimId, ClaimNumber, OperationNumber, Version};

impl Done {
    /// A completion as clients see it, given the version of its write.
    pub(super) fn of(completion: Completion, version: Version) -> Self {
        Self {
            claim: completion.claim.number,
            operation: completion.operation,
            status: DoneStatus::Is(completion.status),
            mode: completion.mode,
            fence: completion.fence.map(|stamp| stamp.resolve(version)),
            grant_seq: completion.grant_seq,
            immediate: completion.immediate,
            demoted: completion.demoted,
            alternate: completion.alternate,
            extras: completion.extras,
        }
    }

    /// An answer that holds nothing.
    pub(super) fn empty(claim: ClaimNumber, operation: OperationNumber, status: DoneStatus) -> Self {
        Self {
            claim,
            operation,
            status,
            mode: None,
            fence: None,
            grant_seq: 0,
            immediate: false,
            demoted: false,
            alternate: false,
            extras: Extras::default(),
        }
    }
}

impl Broker {
    /// Sends an answer, unless this broker may not speak.
    pub(super) fn reply(&mut self, to: ReplyTo, reply: Reply) {
        self.calls.remove(&to.connection);
        if !self.muted {
            self.out.push(Effect::Reply { to, reply });
        } else if !self.connections.contains_key(&to.connection) {
            // Streams are ended; a call would wait for ever. It may have happened, and it may count for nothing.
            let text = "this broker may have been declared dead: repeat the request".to_owned();
            self.out.push(Effect::Reply { to, reply: Reply::Error(RequestError::Unknown(text)) });
        }
    }

    pub(super) fn reply_all(&mut self, answers: impl IntoIterator<Item = (ReplyTo, Reply)>) {
        for (to, reply) in answers {
            self.reply(to, reply);
        }
    }

    pub(super) fn reply_error(&mut self, to: ReplyTo, error: RequestError) {
        self.reply(to, Reply::Error(error));
    }

    /// Sends an event to a session's connection, if it has one.
    pub(super) fn tell(&mut self, claim: ClaimId, event: Event) {
        if self.muted {
            return;
        }
        let Some(session) = self.sessions.get_mut(&claim.session) else { return };
        if session.resuming.is_some() {
            session.held_back.push(event);
        } else if let Some(connection) = session.connection {
            self.out.push(Effect::Event { connection, event });
        }
    }

    pub(super) fn log(&mut self, level: LogLevel, step: &'static str, subject: String, detail: String) {
        self.out.push(Effect::Log(LogLine { level, step, subject, detail }));
    }
}
