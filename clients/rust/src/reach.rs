//! Finding a broker that answers, outside sessions: addresses are tried side by side.
//!
//! One address after the other is tried, each a moment after the one before it or as soon as that has failed (RFC 8305
//! in spirit). The first broker that answers is taken. To accept a connection is no answer: a process that hangs has a
//! kernel that accepts for it. So each is asked for its health, and any answer will do.

use std::collections::VecDeque;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use tonic::client::Grpc;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::calls::Connection;
use crate::connect::Connector;
use crate::error::Tried;
use crate::status::{describe, is_of_a_broker};

/// How long one address may be silent before the next one is tried beside it.
const STAGGER: Duration = Duration::from_millis(250);

/// Looks for brokers that answer. Sessions look for theirs themselves.
pub(crate) struct Reach {
    waiting: VecDeque<String>,
    under_way: FuturesUnordered<BoxFuture<'static, (String, Result<Connection, String>)>>,
    connector: Connector,
    tried: Vec<Tried>,
}

impl Reach {
    /// Looks at these addresses, `host:port`, best first. Each may take the connector's time to answer.
    pub(crate) fn new<I>(addresses: I, connector: Connector) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let waiting = addresses.into_iter().map(Into::into).collect();
        Self { waiting, under_way: FuturesUnordered::new(), connector, tried: Vec::new() }
    }

    /// The next broker that answers: its address and a connection to it. `None` when there is no other; [`Self::tried`]
    /// then says why.
    pub(crate) async fn next(&mut self) -> Option<(String, Connection)> {
        loop {
            if self.under_way.is_empty() && !self.start_one() {
                return None;
            }
            let stagger = if self.waiting.is_empty() { self.connector.timeout } else { STAGGER };
            match tokio::time::timeout(stagger, self.under_way.next()).await {
                Ok(Some((address, Ok(connection)))) => return Some((address, connection)),
                Ok(Some((address, Err(what)))) => {
                    self.failed(address, what);
                    self.start_one();
                }
                Ok(None) => {}
                Err(_) => {
                    self.start_one();
                }
            }
        }
    }

    /// Notes that a broker which answered could not do what it was asked.
    pub(crate) fn failed(&mut self, address: impl Into<String>, what: impl Into<String>) {
        self.tried.push(Tried { address: address.into(), what: what.into() });
    }

    /// What was met at each address that failed.
    pub(crate) fn tried(self) -> Vec<Tried> {
        self.tried
    }

    /// Starts with the next address, if there is one.
    fn start_one(&mut self) -> bool {
        let Some(address) = self.waiting.pop_front() else { return false };
        let connector = self.connector.clone();
        self.under_way.push(async move { (address.clone(), alive(&address, &connector).await) }.boxed());
        true
    }
}

/// Connects to an address, and sees that something answers there.
async fn alive(address: &str, connector: &Connector) -> Result<Connection, String> {
    let attempt = async {
        let connection = connector.connect(address).await?;
        match ask_for_health(connection.clone()).await {
            Ok(()) => Ok(connection),
            Err(status) if is_an_answer(&status) => Ok(connection),
            Err(status) => Err(describe(&status)),
        }
    };
    match tokio::time::timeout(connector.timeout, attempt).await {
        Ok(result) => result,
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// Only whether there is an answer matters, so nothing of it is read.
async fn ask_for_health(connection: Connection) -> Result<(), Status> {
    let mut client = Grpc::new(connection);
    client.ready().await.map_err(Status::from_error)?;
    let path = http::uri::PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    client.unary::<(), (), _>(Request::new(()), path, ProstCodec::default()).await.map(drop)
}

/// Whether a refusal came from a broker, and not from the way to it.
fn is_an_answer(status: &Status) -> bool {
    let refused = matches!(
        status.code(),
        Code::Unimplemented | Code::NotFound | Code::PermissionDenied | Code::Unauthenticated | Code::InvalidArgument
    );
    refused && is_of_a_broker(status)
}
