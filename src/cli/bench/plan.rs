//! What is measured, and with how much load.

use std::time::Duration;

use super::target::Target;
use super::{Args, Failure, Tally, http, library, mixed, stream, unary};

/// Sessions that the many of a contended resource are compared with.
const FEW: usize = 10;

/// A kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Workload {
    /// Many sessions, each with one request at a time, on resources of their own.
    Closed,
    /// As closed, with a connection for each session, over frames; with `--floor` compared with the same over gRPC.
    Programs,
    /// Few sessions with many requests in flight, on resources of their own.
    Pipelined,
    /// Many sessions that hand one resource around.
    Contended,
    /// As closed, with single calls instead of streams.
    Unary,
    /// As unary, as JSON over HTTP/1.1 with a connection for each session; with `--floor` compared with unary.
    Http,
    /// As closed, as JSON over WebSocket; with `--floor` compared with gRPC streams with a connection each.
    Websocket,
    /// The same, with the messages of gRPC.
    WebsocketProto,
    /// Many sessions that hold locks for up to 5 ms: some of 10,000 names are wanted by many, most of them to read.
    Mixed,
    /// As closed, while more and more other locks are held.
    Size,
    /// Memory of the broker per idle session and per held lock.
    Memory,
}

/// What brings the messages of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carrier {
    Grpc,
    Frames,
    /// WebSocket, with JSON.
    Json,
    /// WebSocket, with the messages of gRPC.
    Proto,
}

/// One workload, with its figures.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) workload: Workload,
    pub(super) sessions: usize,
    /// Requests in flight per session.
    pub(super) in_flight: usize,
    /// Through the client library.
    pub(super) library: bool,
    /// What brings the messages of a stream.
    pub(super) carrier: Carrier,
}

impl Plan {
    /// What the arguments ask for.
    pub(super) fn all(args: &Args) -> Vec<Self> {
        let standard = [Workload::Closed, Workload::Pipelined, Workload::Contended, Workload::Unary];
        let workloads = if args.workloads.is_empty() { standard.as_slice() } else { &args.workloads };
        let workloads = workloads.iter().copied();
        // The library has no single calls for locks.
        let single = [Workload::Unary, Workload::Http];
        let workloads = workloads.filter(|workload| !(args.client && single.contains(workload)));
        workloads.map(|workload| Self::of(workload, args)).collect()
    }

    fn of(workload: Workload, args: &Args) -> Self {
        let (sessions, in_flight) = match workload {
            Workload::Closed
            | Workload::Programs
            | Workload::Unary
            | Workload::Http
            | Workload::Websocket
            | Workload::WebsocketProto
            | Workload::Mixed
            | Workload::Size
            | Workload::Memory => (args.sessions, 1),
            Workload::Pipelined => (args.streams, args.pipeline),
            Workload::Contended => (args.contend, 1),
        };
        let library =
            workload == Workload::Mixed || (args.client && !matches!(workload, Workload::Size | Workload::Memory));
        let carrier = match workload {
            Workload::Programs => Carrier::Frames,
            Workload::Websocket => Carrier::Json,
            Workload::WebsocketProto => Carrier::Proto,
            _ => Carrier::Grpc,
        };
        Self { workload, sessions: sessions as usize, in_flight: in_flight as usize, library, carrier }
    }

    /// The workload's name.
    pub(super) fn name(&self) -> &'static str {
        match self.workload {
            Workload::Closed => "closed",
            Workload::Programs => "programs",
            Workload::Pipelined => "pipelined",
            Workload::Contended => "contended",
            Workload::Unary => "unary",
            Workload::Http => "http",
            Workload::Websocket => "websocket",
            Workload::WebsocketProto => "websocket-proto",
            Workload::Mixed => "mixed",
            Workload::Size => "size",
            Workload::Memory => "memory",
        }
    }

    /// What is about to happen.
    pub(super) fn describe(&self) -> String {
        let through = if self.library { " through the client library" } else { "" };
        format!("{}: {} sessions, {} in flight each{through}", self.name(), self.sessions, self.in_flight)
    }

    /// What it is compared with at the broker itself, if a service that only answers says nothing about it: such a service has
    /// nothing to hand around, and the other way to bring the same messages needs the same locks.
    pub(super) fn beside(self) -> Option<Self> {
        match self.workload {
            Workload::Contended => Some(Self { sessions: self.sessions.min(FEW), ..self }),
            Workload::Programs | Workload::Websocket | Workload::WebsocketProto => {
                Some(Self { carrier: Carrier::Grpc, ..self })
            }
            Workload::Http => Some(Self { workload: Workload::Unary, ..self }),
            _ => None,
        }
    }

    /// One slice.
    pub(super) async fn slice(&self, target: &Target, time: Duration) -> Result<Tally, Failure> {
        match self.workload {
            Workload::Mixed => mixed::slice(self, target, time).await,
            _ if self.library && !target.is_floor() => library::slice(self, target, time).await,
            Workload::Unary => unary::slice(self, target, time).await,
            Workload::Http => http::slice(self, target, time).await,
            _ => stream::slice(self, target, time).await,
        }
    }
}
