//! The connection of today, and the next one when it broke.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sixpin_core::backend::StoreError;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::api::{Api, Failure};
use crate::check;
use crate::config::NatsConfig;
use crate::connection::{Connection, Ending};
use crate::outcome::code;
use crate::witness::Witness;

/// The pause after the first failed attempt to connect; it doubles up to the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_LONGEST: Duration = Duration::from_millis(500);

/// Keeps one connection to the store. A new one is handed out only after the store was seen to be the same: a server that
/// stands still or is cut off from the others does not get that far, and servers are tried side by side, so it holds
/// nobody up.
#[derive(Debug)]
pub(crate) struct Link {
    config: Arc<NatsConfig>,
    api: Arc<Api>,
    witness: Arc<Witness>,
    // Held while connecting, so that many who wait make one connection.
    current: tokio::sync::Mutex<Current>,
    // Those that were given up and may not have ended yet.
    ending: Mutex<Vec<Ending>>,
}

#[derive(Debug)]
struct Current {
    connection: Option<Arc<Connection>>,
    // The one that answered last comes first, the one that failed last comes last.
    servers: Vec<String>,
    failures: u32,
    not_before: Instant,
}

impl Current {
    /// This server failed.
    fn last(&mut self, server: &str) {
        self.servers.sort_by_key(|other| other == server);
    }

    /// This server answered.
    fn first(&mut self, server: &str) {
        self.servers.sort_by_key(|other| other != server);
    }
}

impl Link {
    /// A link that begins with this connection.
    pub(crate) fn new(
        config: Arc<NatsConfig>,
        api: Arc<Api>,
        witness: Arc<Witness>,
        connection: Option<Connection>,
    ) -> Self {
        let connection = connection.map(Arc::new);
        let servers = config.servers.clone();
        let current = Current { connection, servers, failures: 0, not_before: Instant::now() };
        Self { config, api, witness, current: tokio::sync::Mutex::new(current), ending: Mutex::default() }
    }

    /// An open connection, if there is one until the deadline.
    pub(crate) async fn connection(&self, deadline: Instant) -> Result<Arc<Connection>, StoreError> {
        self.witness.check()?;
        let late = || StoreError::Unavailable(format!("NATS at {} cannot be reached", self.config.names()));
        let mut current = timeout_at(deadline, self.current.lock()).await.map_err(|_| late())?;
        loop {
            if let Some(connection) = current.connection.as_ref().filter(|connection| connection.is_open()) {
                return Ok(connection.clone());
            }
            if let Some(broken) = current.connection.take() {
                self.give_up(&broken);
                current.last(broken.server());
            }
            timeout_at(deadline, sleep_until(current.not_before)).await.map_err(|_| late())?;
            let connected = timeout_at(deadline, self.connect(&current.servers)).await;
            match connected {
                Ok(Ok(connection)) => {
                    current.failures = 0;
                    current.first(connection.server());
                    current.connection = Some(Arc::new(connection));
                }
                Ok(Err(error)) => {
                    current.failures += 1;
                    let pause = (PAUSE_FIRST * 2_u32.pow(current.failures.min(10))).min(PAUSE_LONGEST);
                    current.not_before = Instant::now() + pause;
                    if matches!(error, StoreError::Amnesia(_)) || current.not_before >= deadline {
                        return Err(error);
                    }
                }
                Err(_) => return Err(late()),
            }
        }
    }

    /// Gives a connection up. Nothing more of it is sent once [`Link::settled`] has returned.
    pub(crate) fn give_up(&self, connection: &Connection) {
        connection.close();
        let mut ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
        ending.retain(|ending| !ending.is_over());
        ending.push(connection.ending());
    }

    /// Returns when nothing is left of the connections that were given up.
    pub(crate) async fn settled(&self) {
        let mut ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for ending in &mut ending {
            ending.wait().await;
        }
    }

    /// Compares the store with what was seen of it.
    pub(crate) async fn verify(&self, connection: &Connection) -> Result<(), StoreError> {
        let highest = self.witness.highest();
        match self.api.info_of_leader(connection.client()).await {
            Ok(info) => {
                self.witness.compare(&info, highest)?;
                self.witness.answered(info.history(connection.client()));
                // Somebody may have changed the stream's settings while nobody looked.
                let checked = check::stream(&self.config, &self.api, &info.config);
                checked.map_err(|error| StoreError::Unavailable(error.to_string()))
            }
            Err(Failure::Api(error)) if error.err_code == code::NO_STREAM => {
                Err(self.witness.lose("the stream is gone".into()))
            }
            Err(failure) => Err(StoreError::Unavailable(failure.to_string())),
        }
    }

    /// A connection to the first server that answers and shows the store as it should be.
    async fn connect(&self, servers: &[String]) -> Result<Connection, StoreError> {
        let connected = sixpin_race::race(servers.iter().map(|server| self.connect_to(server)).collect()).await;
        connected.map(|(_, connection)| connection).map_err(|errors| {
            let lost = errors.iter().find(|error| matches!(error, StoreError::Amnesia(_))).cloned();
            let last =
                || errors.last().cloned().unwrap_or_else(|| StoreError::Unavailable("no server is named".into()));
            lost.unwrap_or_else(last)
        })
    }

    async fn connect_to(&self, server: &str) -> Result<Connection, StoreError> {
        let connection = Connection::open(&self.config, server.to_owned(), self.config.timeout()).await;
        let connection = connection.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        check::server(connection.client()).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        self.verify(&connection).await?;
        Ok(connection)
    }
}
