//! The way of a call outside sessions.
//!
//! A call goes to the first broker that answers (see `reach`). One that answers and then cannot do what is asked, because it
//! is full, leaves, or closes the connection, is left for the next one; one that says which other broker has to do it sends
//! the call there.

use std::sync::Arc;
use std::time::Duration;

use tonic::{Response, Status};

use crate::calls::Connection;
use crate::error::Error;
use crate::reach::Reach;
use crate::settings::Settings;
use crate::status::{another_may_do_it, describe, directions, refusal};

/// How often a call lets itself be sent to another broker: a session may move while it is looked for.
const DIRECTIONS_MAX: usize = 3;

/// How brokers are reached.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    settings: Arc<Settings>,
    /// If set, all calls go over this connection, and no address is tried.
    one: Option<Connection>,
}

impl Way {
    pub(crate) fn new(settings: Arc<Settings>) -> Self {
        Self { settings, one: None }
    }

    /// The first broker that answers: its address, and the way to it.
    pub(crate) async fn first(&self) -> Result<(String, Connection), Error> {
        let mut reach = self.reach();
        match reach.next().await {
            Some(first) => Ok(first),
            None => Err(Error::Unreachable { tried: reach.tried() }),
        }
    }

    /// The same, to this broker and no other.
    pub(crate) fn at(&self, connection: Connection) -> Self {
        Self { one: Some(connection), ..self.clone() }
    }

    /// The same, to the broker at this address and no other.
    pub(crate) fn to(&self, address: String) -> Self {
        let settings = Settings { endpoints: vec![address], ..Settings::clone(&self.settings) };
        Self { settings: Arc::new(settings), one: None }
    }

    fn reach(&self) -> Reach {
        Reach::new(self.settings.endpoints.iter().cloned(), self.settings.connector.clone())
    }

    /// The answer, and the way to the broker that gave it.
    pub(crate) async fn ask<T, R>(
        &self,
        within: Option<Duration>,
        call: impl Fn(Connection) -> R,
    ) -> Result<(T, Connection), Error>
    where
        R: Future<Output = Result<Response<T>, Status>>,
    {
        if let Some(connection) = &self.one {
            let answer = timed(within, call(connection.clone())).await.map_err(|status| refusal(&status))?;
            return Ok((answer, connection.clone()));
        }
        let mut reach = self.reach();
        while let Some((address, connection)) = reach.next().await {
            match self.follow(address, connection, within, &call).await {
                Ok(answer) => return Ok(answer),
                Err((address, status)) if another_may_do_it(&status) => reach.failed(address, describe(&status)),
                Err((_, status)) => return Err(refusal(&status)),
            }
        }
        Err(Error::Unreachable { tried: reach.tried() })
    }

    /// Asks one broker, and the one that it names if it says that another one has to. A failure names who failed.
    async fn follow<T, R>(
        &self,
        address: String,
        connection: Connection,
        within: Option<Duration>,
        call: &impl Fn(Connection) -> R,
    ) -> Result<(T, Connection), (String, Status)>
    where
        R: Future<Output = Result<Response<T>, Status>>,
    {
        let (mut address, mut connection) = (address, connection);
        let mut directions_left = DIRECTIONS_MAX;
        loop {
            let status = match timed(within, call(connection.clone())).await {
                Ok(answer) => return Ok((answer, connection)),
                Err(status) => status,
            };
            let there = directions(&status).filter(|_| directions_left > 0);
            let Some(there) = there else { return Err((address, status)) };
            directions_left -= 1;
            let mut reach = Reach::new([there.clone()], self.settings.connector.clone());
            let Some(found) = reach.next().await else {
                let what = reach.tried().pop().map(|tried| tried.what).unwrap_or_default();
                return Err((there, Status::unavailable(what)));
            };
            (address, connection) = found;
        }
    }
}

async fn timed<T>(
    within: Option<Duration>,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Status> {
    let answer = match within {
        Some(within) => tokio::time::timeout(within, call)
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded(format!("no answer within {within:?}")))),
        None => call.await,
    };
    answer.map(Response::into_inner)
}
