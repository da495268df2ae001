//! A broker inside another program.
//!
//! It is a broker like any other on its store: it registers, beats, vouches for the sessions of its program, and acts as
//! one with all others there. It differs in that nobody else opens sessions at it: it has no listener for clients, tells
//! others no address where one could go, and serves its program by [`Services`].
//!
//! It runs on a thread and a runtime of its own, because a program that keeps its runtime busy would otherwise let its
//! broker fall silent, and others would declare it dead.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sixpin_core::backend::BrokerInfo;
use tokio::sync::{oneshot, watch};

use crate::access::Access;
use crate::audit::Audit;
use crate::broker::Broker;
use crate::config::sources::Sources;
use crate::config::{Config, ConfigError};
use crate::engines::open_all;
use crate::error::StartError;
use crate::frontend::grpc::inside::Services;
use crate::listening::Listening;
use crate::runtime::incarnation::Process;
use crate::{backends, listening};

/// How long its end may take once the program has let go of it, if its store does not answer.
const END_MAX: Duration = Duration::from_secs(10);

/// What a configuration file with these settings asks for, on the store at this URL. Administrators are let in only if the
/// settings say where.
pub fn configuration(url: &str, settings: &str, given: toml::Table) -> Result<Config, ConfigError> {
    let mut flags = toml::Table::from_iter([("backend".to_owned(), url.into())]);
    // What cannot be read is told below.
    let lets_in = toml::from_str::<toml::Table>(settings).is_ok_and(|table| table.contains_key("admin_listen"));
    if !lets_in {
        flags.insert("admin_listen".to_owned(), "off".into());
    }
    flags.extend(given);
    let sources = Sources::new(settings, "settings of the embedded broker", [], flags)?;
    sources.with_flags_called(ToString::to_string).config()
}

/// A broker that runs until this is dropped or told to end.
pub struct Embedded {
    services: Services,
    /// Dropped to let it end.
    keep: Mutex<Option<oneshot::Sender<()>>>,
    /// Its other end is held by the broker's thread.
    ended: watch::Receiver<()>,
}

impl Embedded {
    /// Starts a broker. Of the configuration, what is about clients that connect is not looked at. Administrators reach it
    /// if `admin_listen` says where. `program` is what other brokers and people are told of it.
    pub async fn start(config: Config, program: String) -> Result<Self, StartError> {
        let (started, start) = oneshot::channel();
        let (keep, kept) = oneshot::channel();
        let (at_work, ended) = watch::channel(());
        let run = move || {
            run(config, program, started, kept);
            drop(at_work);
        };
        std::thread::Builder::new().name("sixpin-broker".into()).spawn(run).map_err(StartError::Thread)?;
        let services = start.await.unwrap_or_else(|_| {
            Err(StartError::Thread(std::io::Error::other("the thread of the broker panicked while it started")))
        })?;
        Ok(Self { services, keep: Mutex::new(Some(keep)), ended })
    }

    /// What the program calls; nothing once the broker has ended.
    pub fn services(&self) -> Option<Services> {
        // It fails when the thread is gone.
        self.ended.has_changed().is_ok().then(|| self.services.clone())
    }

    /// Tells it to leave its stores, and waits until it has. What it still vouches for ends as with any broker that is gone.
    pub async fn end(&self) {
        self.keep.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut ended = self.ended.clone();
        // Nothing is ever sent: it fails when the thread is gone.
        while ended.changed().await.is_ok() {}
    }
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded").finish_non_exhaustive()
    }
}

/// The life of the broker, on its thread.
fn run(
    config: Config,
    program: String,
    started: oneshot::Sender<Result<Services, StartError>>,
    kept: oneshot::Receiver<()>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = started.send(Err(StartError::Thread(error)));
            return;
        }
    };
    runtime.block_on(async {
        let broker = match start(config, program).await {
            Ok(broker) => broker,
            Err(error) => {
                let _ = started.send(Err(error));
                return;
            }
        };
        if started.send(Ok(broker.services())).is_ok() {
            tokio::select! {
                // It fails when the program lets go: nothing is ever sent.
                _ = kept => {}
                // Then there is nothing left to serve.
                () = broker.failed() => {}
            }
        }
        // It waits for no holder: the program has dropped every handle, or has closed the client.
        let end = async {
            broker.drain(Some(Duration::ZERO)).await;
            broker.stop().await;
        };
        let _ = tokio::time::timeout(END_MAX, end).await;
    });
    runtime.shutdown_background();
}

async fn start(config: Config, program: String) -> Result<Broker, StartError> {
    let opener = backends::opener();
    let admin = match config.admin_listen {
        Some(address) => Some(Listening::at(address, config.admin_tls.as_ref()).await?),
        None => None,
    };
    let admin_address = admin.as_ref().map(|admin| listening::reachable(admin.address));
    let info = BrokerInfo {
        name: config.name.clone(),
        // Nobody else can come here.
        address: String::new(),
        admin_address: admin_address.unwrap_or_default(),
        program,
    };
    let stores = open_all(&config, &opener).await?;
    let audit = Audit::start(config.audit.as_ref(), &config.name)?;
    let access = Access::new(config.access.clone(), audit)?;
    let mut broker = Broker::start(&config, access, stores, &info, &opener, Process::Program);
    if let Some(admin) = admin {
        broker.listen_for_administrators(admin, listening::for_administrators(&config.connections))?;
    }
    broker.begin().await;
    Ok(broker)
}
