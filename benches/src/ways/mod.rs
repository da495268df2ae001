//! The ways to take and release a lock.

pub(crate) mod client;
pub(crate) mod etcd;
pub(crate) mod library;
pub(crate) mod nats;
pub(crate) mod redis;

use std::fmt;
use std::time::Duration;

use futures::future::join_all;

use crate::load::Tally;

/// Which way, in the order of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    /// The store's own.
    Own,
    /// Sixpin's broker, without a network in front of it.
    Library,
    /// Sixpin through its client, which speaks frames.
    Frames,
    /// The same where the client is told to speak gRPC.
    Grpc,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own => "the store's own",
            Self::Library => "sixpin, library",
            Self::Frames => "sixpin, frames",
            Self::Grpc => "sixpin, gRPC",
        })
    }
}

/// A way that is at work for a slice of time.
pub(crate) trait Work {
    /// Keeps this many pairs in flight.
    async fn slice(&self, in_flight: usize, slice: Duration) -> Tally;
}

/// A way that lets many wait for one lock.
pub(crate) trait Queue {
    /// Hands it over among this many for a slice of time.
    async fn hand_over(&self, contenders: usize, slice: Duration) -> Tally;
}

/// All ways on one server.
pub(crate) struct Ways<O> {
    own: O,
    library: library::Library,
    broker: client::Broker,
}

impl<O: Work + Queue> Ways<O> {
    /// Opens sixpin on the store at this URL, beside the store's own way.
    pub(crate) async fn open(url: String, own: O) -> Self {
        Self { own, library: library::Library::open(&url).await, broker: client::Broker::start(&url, 0).await }
    }

    /// One turn for each.
    pub(crate) async fn turn(&self, in_flight: usize, slice: Duration) -> Vec<(Name, Tally)> {
        vec![
            (Name::Own, self.own.slice(in_flight, slice).await),
            (Name::Library, self.library.slice(in_flight, slice).await),
            (Name::Frames, self.broker.frames.slice(in_flight, slice).await),
            (Name::Grpc, self.broker.grpc.slice(in_flight, slice).await),
        ]
    }

    /// The store's own way, and sixpin through its client with the load spread over one broker more than these.
    pub(crate) async fn spread(
        &self,
        more: &[client::Broker],
        in_flight: usize,
        slice: Duration,
    ) -> Vec<(Name, Tally)> {
        let own = self.own.slice(in_flight, slice).await;
        let brokers = || std::iter::once(&self.broker).chain(more);
        let each = in_flight / brokers().count();
        let tallies = join_all(brokers().map(|broker| broker.frames.slice(each, slice))).await;
        let all = tallies.into_iter().reduce(|mut all, tally| {
            all.merge(&tally);
            all
        });
        vec![(Name::Own, own), (Name::Frames, all.expect("there is one broker at least"))]
    }

    /// One turn for each, on a lock that so many want. The library has no client that waits.
    pub(crate) async fn hand_over(&self, contenders: usize, slice: Duration) -> Vec<(Name, Tally)> {
        vec![
            (Name::Own, self.own.hand_over(contenders, slice).await),
            (Name::Frames, self.broker.frames.hand_over(contenders, slice).await),
        ]
    }

    /// Ends sixpin.
    pub(crate) async fn close(self) {
        self.broker.stop().await;
    }
}
