//! What the listener has to know of the protocol that is spoken on its connections. A front end says it.

use std::sync::Arc;

use futures::future::BoxFuture;
use http::{Response, request};
use tonic::body::Body;
use tonic::service::Routes;

use super::greeted::{Admitted, Socket};
use crate::access::Access;

/// A protocol. Cheap to clone.
#[derive(Clone)]
pub struct Protocol {
    /// What answers: the first that a request is for, or else the last.
    pub dialects: Arc<[Dialect]>,
    /// The longest body of a request that is not a stream.
    pub request_bytes_max: usize,
    /// Who is let in.
    pub access: Arc<Access>,
    /// What is spoken on connections that begin with a greeting; absent: nothing.
    pub(crate) greeted: Option<Arc<dyn Greeted>>,
}

impl Protocol {
    /// What answers a request.
    pub(super) fn dialect(&self, request: &request::Parts) -> Option<&Dialect> {
        self.dialects.iter().find(|dialect| (dialect.is_for)(request)).or(self.dialects.last())
    }
}

/// One front end over HTTP. Cheap to clone.
#[derive(Clone)]
pub struct Dialect {
    /// What answers.
    pub routes: Routes,
    /// Whether a request is one of its own.
    pub is_for: fn(&request::Parts) -> bool,
    /// What a request is.
    pub what: fn(&request::Parts) -> What,
    /// The answer to a request of which nobody knows who asks.
    pub unauthenticated: fn(&request::Parts) -> Response<Body>,
    /// The answer to a request that met this limit.
    pub refusal: fn(&str) -> Response<Body>,
    /// The last look at an answer.
    pub finish: fn(Response<Body>) -> Response<Body>,
}

/// What is spoken on a connection that begins with a greeting in place of HTTP/2. It carries one session.
pub(crate) trait Greeted: Send + Sync {
    /// What a client says first, and is answered. Its first byte is that of no other protocol on the listener.
    fn greeting(&self) -> [u8; 8];

    /// What a client is answered that greets where it may not, with this reason.
    fn refusal(&self, reason: &str) -> Vec<u8>;

    /// How it is called in ALPN (RFC 7301).
    fn alpn(&self) -> &'static [u8];

    /// Serves a connection on which both have been said, until either side ends it.
    fn serve(&self, socket: Socket, admitted: Admitted) -> BoxFuture<'static, ()>;
}

/// What a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct What {
    /// What it needs a place for.
    pub kind: Kind,
    /// Its body is a stream, which may go on for ever.
    pub streams_in: bool,
    /// Whoever asks is answered.
    pub for_everybody: bool,
    /// It is for people with a browser: who asks is also known by having signed in. Nothing else may be, because a browser shows what
    /// it was given for that to whatever site makes it ask.
    pub page: bool,
}

/// What a request needs a place for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A stream that carries a session.
    Session,
    /// A stream that watches.
    Watch,
    /// An inspection.
    Inspection,
    /// A call that opens a session.
    Open,
    /// Anything else.
    Call,
}
