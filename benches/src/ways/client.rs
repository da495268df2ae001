//! Sixpin over a network, through its client: over frames, as it is used, and over gRPC.

use std::time::Duration;

use sixpin_client::{Client, Guard, Mode, Session};
use sixpin_server::config;
use sixpin_server::server::Server;

use super::{Queue, Work};
use crate::handover::{Contender, hand_over};
use crate::load::{Tally, closed_loop};

/// Sessions over which the places are spread.
const SESSIONS: usize = 4;

/// A broker on the store, and sessions of its clients.
pub(crate) struct Broker {
    server: Server,
    pub(crate) frames: Sessions,
    pub(crate) grpc: Sessions,
}

/// Sessions of clients that speak the same, with resources of their own.
pub(crate) struct Sessions {
    name: String,
    sessions: Vec<Session>,
}

impl Broker {
    /// One of several on one store.
    pub(crate) async fn start(url: &str, number: usize) -> Self {
        let settings = format!(
            "listen = \"127.0.0.1:0\"\nadmin_listen = \"off\"\nname = \"bench-{number}\"\nrequire = \"volatile\"\nfirst_start_grace = \"0s\"\n\
             [backends.default]\nurl = \"{url}\"\n"
        );
        let config = config::parse(&settings, "", [], toml::Table::new()).unwrap();
        let server = Server::start(config).await.unwrap();
        let frames = Sessions::open(format!("frames/{number}"), &server.address.to_string()).await;
        let grpc = Sessions::open(format!("grpc/{number}"), &format!("grpc://{}", server.address)).await;
        Self { server, frames, grpc }
    }

    pub(crate) async fn stop(self) {
        for session in self.frames.sessions.into_iter().chain(self.grpc.sessions) {
            session.close().await.unwrap();
        }
        self.server.drain().await;
        self.server.stop().await;
    }
}

impl Sessions {
    async fn open(name: String, address: &str) -> Self {
        let mut sessions = Vec::new();
        for _ in 0..SESSIONS {
            // A connection each.
            let client = Client::new([address]).unwrap();
            sessions.push(client.session().open().await.unwrap());
        }
        Self { name, sessions }
    }
}

impl Work for Sessions {
    async fn slice(&self, in_flight: usize, slice: Duration) -> Tally {
        closed_loop(in_flight, slice, |place| {
            let session = self.sessions[place % self.sessions.len()].clone();
            let name = format!("{}/{place}", self.name);
            move || pair(session.clone(), name.clone())
        })
        .await
    }
}

impl Queue for Sessions {
    async fn hand_over(&self, contenders: usize, slice: Duration) -> Tally {
        let waiting = |place: usize| Waiting(self.sessions[place % self.sessions.len()].clone());
        hand_over((0..contenders).map(waiting).collect(), slice).await
    }
}

/// A claim in the queue.
struct Waiting(Session);

impl Contender for Waiting {
    type Held = Guard;

    async fn lock(&mut self) -> Guard {
        self.0.lock("contended", Mode::EX).await.unwrap()
    }

    async fn release(&mut self, guard: Guard) {
        guard.release().await.unwrap();
    }
}

async fn pair(session: Session, name: String) {
    session.lock(name, Mode::EX).await.unwrap().release().await.unwrap();
}
