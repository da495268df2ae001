//! What is measured, and with how much load.

use std::time::Duration;

use super::target::Target;
use super::{Args, Failure, Tally, library, mixed, stream, unary};

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
    /// Many sessions that hold locks for up to 5 ms: some of 10,000 names are wanted by many, most of them to read.
    Mixed,
    /// As closed, while more and more other locks are held.
    Size,
    /// Memory of the broker per idle session and per held lock.
    Memory,
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
    /// Without HTTP/2.
    pub(super) frames: bool,
}

impl Plan {
    /// What the arguments ask for.
    pub(super) fn all(args: &Args) -> Vec<Self> {
        let standard = [Workload::Closed, Workload::Pipelined, Workload::Contended, Workload::Unary];
        let workloads = if args.workloads.is_empty() { standard.as_slice() } else { &args.workloads };
        let workloads = workloads.iter().copied();
        // The library has no single calls for locks.
        let workloads = workloads.filter(|workload| !(args.client && *workload == Workload::Unary));
        workloads.map(|workload| Self::of(workload, args)).collect()
    }

    fn of(workload: Workload, args: &Args) -> Self {
        let (sessions, in_flight) = match workload {
            Workload::Closed
            | Workload::Programs
            | Workload::Unary
            | Workload::Mixed
            | Workload::Size
            | Workload::Memory => (args.sessions, 1),
            Workload::Pipelined => (args.streams, args.pipeline),
            Workload::Contended => (args.contend, 1),
        };
        let library =
            workload == Workload::Mixed || (args.client && !matches!(workload, Workload::Size | Workload::Memory));
        let frames = workload == Workload::Programs;
        Self { workload, sessions: sessions as usize, in_flight: in_flight as usize, library, frames }
    }

    /// The workload's name.
    pub(super) fn name(&self) -> &'static str {
        match self.workload {
            Workload::Closed => "closed",
            Workload::Programs => "programs",
            Workload::Pipelined => "pipelined",
            Workload::Contended => "contended",
            Workload::Unary => "unary",
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
            Workload::Programs => Some(Self { frames: false, ..self }),
            _ => None,
        }
    }

    /// One slice.
    pub(super) async fn slice(&self, target: &Target, time: Duration) -> Result<Tally, Failure> {
        match self.workload {
            Workload::Mixed => mixed::slice(self, target, time).await,
            _ if self.library && !target.is_floor() => library::slice(self, target, time).await,
            Workload::Unary => unary::slice(self, target, time).await,
            _ => stream::slice(self, target, time).await,
        }
    }
}
