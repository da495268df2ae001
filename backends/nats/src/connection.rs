//! One TCP connection that can be dropped together with everything that was not sent yet.
//!
//! The client library keeps a queue of requests, and sends them whenever the connection comes back, hours later if need
//! be; the queue outlives even the client object. A lock broker cannot have that: what it called unknown must not be sent
//! afterwards. So each connection lives in a runtime of its own, on a thread of its own, and never reconnects. Ending the
//! runtime drops the socket, the queue and the task that would empty it, in one step that needs nobody's cooperation.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event};
use sixpin_core::backend::OpenError;
use tokio::sync::{oneshot, watch};

use crate::config::{Login, NatsConfig};

/// A peer that says nothing is given up after this and two more.
const PING_EVERY: Duration = Duration::from_secs(2);
/// Requests that may wait for the socket. Twice the largest batch.
const QUEUE: usize = 4_096;
/// Messages that may wait for a reader of a subscription. More are dropped, and the gap is seen.
const SUBSCRIPTION_QUEUE: usize = 16_384;
/// Addresses of one server that are tried at most.
const ATTEMPTS_MAX: usize = 8;
/// The library waits this long before it reconnects: longer than it lives.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// How far a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Open,
    /// Broken or given up: what waits for it is about to be told.
    Closing,
    /// Nothing of it is left: what was not sent never will be.
    Ended,
}

/// A connection. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Connection {
    server: String,
    client: Client,
    phase: watch::Sender<Phase>,
    complaint: Arc<Mutex<Option<String>>>,
}

impl Connection {
    /// Connects to one server and logs in, or says why not within `patience`.
    pub(crate) async fn open(config: &NatsConfig, server: String, patience: Duration) -> Result<Self, OpenError> {
        let phase = watch::Sender::new(Phase::Open);
        let complaint = Arc::new(Mutex::new(None));
        let options = options(config, patience, &phase, &complaint).await?;
        let (reply, client) = oneshot::channel();
        let (address, ending) = (server.clone(), phase.clone());
        let thread = std::thread::Builder::new().name("sixpin-nats".into());
        let started = thread.spawn(move || live(address, options, reply, &ending));
        started.map_err(|error| OpenError::Unreachable(format!("no thread for a connection to NATS: {error}")))?;
        let client = match tokio::time::timeout(patience, client).await {
            Ok(Ok(Ok(client))) => client,
            Ok(Ok(Err(error))) => return Err(refusal(&server, &error)),
            Ok(Err(_)) => return Err(unreachable(&server, "the connection ended at once")),
            Err(_) => return Err(unreachable(&server, "it did not answer in time")),
        };
        Ok(Self { server, client, phase, complaint })
    }

    /// Where it leads.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// Sends and subscribes.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// False once it broke or was given up.
    pub(crate) fn is_open(&self) -> bool {
        *self.phase.borrow() == Phase::Open
    }

    /// Gives it up. What was not sent yet is dropped as soon as its thread sees this.
    pub(crate) fn close(&self) {
        close(&self.phase);
    }

    /// Turns true when nothing of it is left.
    pub(crate) fn ending(&self) -> Ending {
        Ending(self.phase.subscribe())
    }

    /// What the server last complained of, outside any answer: a missing permission, for instance.
    pub(crate) fn complaint(&self) -> Option<String> {
        self.complaint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
    }
}

/// Waits for the end of a connection. Does not keep it alive.
#[derive(Debug, Clone)]
pub(crate) struct Ending(watch::Receiver<Phase>);

impl Ending {
    /// Returns when nothing of the connection is left.
    pub(crate) async fn wait(&mut self) {
        // The sender goes away only with the thread, which is an end as well.
        let _ = self.0.wait_for(|phase| *phase == Phase::Ended).await;
    }

    /// True when nothing of the connection is left.
    pub(crate) fn is_over(&self) -> bool {
        *self.0.borrow() == Phase::Ended
    }
}

/// The life of a connection, on its own thread.
fn live(
    server: String,
    options: ConnectOptions,
    mut reply: oneshot::Sender<Result<Client, async_nats::ConnectError>>,
    phase: &watch::Sender<Phase>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    if let Ok(runtime) = runtime {
        runtime.block_on(async {
            let connected = tokio::select! {
                connected = async_nats::connect_with_options(server, options) => connected,
                () = reply.closed() => return,
            };
            let failed = connected.is_err();
            if reply.send(connected).is_ok() && !failed {
                let mut phase = phase.subscribe();
                let _ = phase.wait_for(|phase| *phase != Phase::Open).await;
            }
        });
        // Drops all tasks, and with them the socket and the queue. Does not wait for name look-ups.
        runtime.shutdown_background();
    }
    phase.send_replace(Phase::Ended);
}

fn close(phase: &watch::Sender<Phase>) {
    phase.send_if_modified(|phase| {
        let open = *phase == Phase::Open;
        if open {
            *phase = Phase::Closing;
        }
        open
    });
}

async fn options(
    config: &NatsConfig,
    patience: Duration,
    phase: &watch::Sender<Phase>,
    complaint: &Arc<Mutex<Option<String>>>,
) -> Result<ConnectOptions, OpenError> {
    let settings = &config.settings;
    let mut options = ConnectOptions::new()
        .name("sixpin")
        .connection_timeout(patience)
        .request_timeout(None)
        .ping_interval(PING_EVERY)
        .client_capacity(QUEUE)
        .subscription_capacity(SUBSCRIPTION_QUEUE)
        .require_tls(config.tls);
    if let Some(file) = &settings.ca {
        options = options.add_root_certificates(file.clone());
    }
    if let (Some(cert), Some(key)) = (&settings.certificate, &settings.key) {
        options = options.add_client_certificate(cert.clone(), key.clone());
    }
    options = match &config.login {
        Login::Nobody => options,
        Login::User { name, password } => options.user_and_password(name.clone(), password.reveal().to_owned()),
        Login::Token(token) => options.token(token.reveal().to_owned()),
        Login::Nkey { seed } => options.nkey(seed.reveal().to_owned()),
        Login::CredentialsFile(file) => {
            let bad = |error| OpenError::BadUrl(format!("`credentials_file` cannot be used: {error}"));
            options.credentials_file(file).await.map_err(bad)?
        }
    };
    let (broken, complaint) = (phase.clone(), complaint.clone());
    options = options.event_callback(move |event| {
        match event {
            Event::Disconnected | Event::Closed => close(&broken),
            Event::ServerError(error) => {
                tracing::warn!(%error, "nats server complains");
                *complaint.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
            }
            _ => {}
        }
        std::future::ready(())
    });
    // The first connection tries the addresses of its server one after the other; a second one never comes.
    let connected = AtomicBool::new(false);
    Ok(options.reconnect_delay_callback(move |attempts| {
        let again = attempts <= 1 && connected.swap(true, Ordering::Relaxed);
        if again || attempts > ATTEMPTS_MAX { NEVER } else { Duration::ZERO }
    }))
}

fn refusal(server: &str, error: &async_nats::ConnectError) -> OpenError {
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => OpenError::Login(format!(
            "NATS at {server} refuses the login: check the user, token, nkey or credentials file"
        )),
        ConnectErrorKind::ServerParse => OpenError::BadUrl(format!("the URL of NATS cannot be used: {error}")),
        _ => unreachable(server, &error.to_string()),
    }
}

fn unreachable(server: &str, reason: &str) -> OpenError {
    OpenError::Unreachable(format!("NATS at {server} cannot be reached: {reason}"))
}
