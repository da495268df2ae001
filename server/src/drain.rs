//! The end of a broker: clients are told to move, waiters keep their places elsewhere, and the broker leaves its
//! stores. Begun by a signal or by an administrator, whoever comes first.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use sixpin_core::broker::api::{AdminRequest, Reply};
use tokio::sync::watch;

use crate::frontend::grpc::health::Health;
use crate::runtime::{EngineHandle, Runtime};

/// What the stores may take to hear the goodbye, beyond what holders may take.
const GOODBYE: Duration = Duration::from_secs(5);

/// The drain of one process: happens once, and everybody can wait for it.
pub struct Drain {
    runtime: Runtime,
    health: Health,
    timeout: Duration,
    begun: AtomicBool,
    /// How many sessions were told to move, once it is over.
    over: watch::Sender<Option<u32>>,
    /// Where it goes on: whoever begins it may be in the runtime of another program.
    here: tokio::runtime::Handle,
}

impl Drain {
    /// `timeout` is how long holders may take unless an administrator says otherwise.
    pub fn new(runtime: Runtime, health: Health, timeout: Duration) -> Arc<Self> {
        let (begun, over) = (AtomicBool::new(false), watch::Sender::new(None));
        Arc::new(Self { runtime, health, timeout, begun, over, here: tokio::runtime::Handle::current() })
    }

    /// Begins, unless it has begun, and waits until it is over. Says how many sessions were told to move. It goes on
    /// if the caller stops waiting.
    pub async fn begin(self: &Arc<Self>, timeout: Option<Duration>) -> u32 {
        if !self.begun.swap(true, Ordering::Relaxed) {
            let (drain, timeout) = (self.clone(), timeout.unwrap_or(self.timeout));
            self.here.spawn(async move {
                let sessions = drain.run(timeout).await;
                drain.over.send_replace(Some(sessions));
            });
        }
        self.over().await
    }

    /// Waits until it is over, whoever begins it.
    pub async fn over(&self) -> u32 {
        let mut over = self.over.subscribe();
        // The sender lives as long as `self`: the wait cannot fail.
        over.wait_for(Option::is_some).await.map_or(0, |sessions| sessions.unwrap_or_default())
    }

    async fn run(&self, timeout: Duration) -> u32 {
        tracing::info!(timeout_ms = timeout.as_millis() as u64, "draining");
        self.health.report(false).await;
        let sessions = join_all(self.runtime.engines().iter().map(|engine| drain(engine, timeout))).await;
        let sessions = sessions.into_iter().sum();
        tracing::info!(sessions, "drained");
        sessions
    }
}

async fn drain(engine: &EngineHandle, timeout: Duration) -> u32 {
    let asked = engine.admin(AdminRequest::Drain { timeout });
    match tokio::time::timeout(timeout + GOODBYE, asked).await {
        Ok(Ok(Reply::Drained { sessions })) => sessions,
        Ok(Ok(_)) => 0,
        Ok(Err(error)) => {
            tracing::warn!(backend = engine.name(), %error, "the drain was cut short");
            0
        }
        Err(_) => {
            tracing::warn!(
                backend = engine.name(),
                "the store did not hear the goodbye in time: sessions move when others notice"
            );
            0
        }
    }
}
