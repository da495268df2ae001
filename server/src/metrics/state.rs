//! How the broker is just now: read when somebody asks, and kept nowhere.
//!
//! Claims are counted by their engines, a part at a time, so that nobody's lock waits for long because somebody looks.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::join_all;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use sixpin_core::broker::api::{LockspaceTally, Query, Reply, StatusView, Tally};
use tokio::time::timeout;

use super::labels::{Labels, Lockspaces, OTHER, label};
use crate::runtime::{EngineHandle, Runtime};

/// Claims that an engine counts in one go: about a fifth of a millisecond.
const CLAIMS_STEP: usize = 2_000;
/// An engine that does not say for so long how it is, is shown as one that cannot vouch. Each part of the count has as long.
const PATIENCE: Duration = Duration::from_secs(2);

type Number = Gauge<u64, AtomicU64>;
type Seconds = Gauge<f64, AtomicU64>;

/// What one engine says.
pub(super) struct Engine {
    backend: String,
    /// Absent: it does not say anything.
    status: Option<StatusView>,
    /// Absent: it did not count to the end. A part would look as if claims had gone.
    tally: Option<Tally>,
}

/// Asks all engines.
pub(super) async fn engines(runtime: &Runtime) -> Vec<Engine> {
    let ask = |engine: &EngineHandle| {
        let engine = engine.clone();
        async move {
            let backend = engine.name().to_owned();
            // Who does not say how it is will not count either.
            let Some(Reply::Status(status)) = ask(&engine, Query::Status).await else {
                return Engine { backend, status: None, tally: None };
            };
            Engine { backend, status: Some(status), tally: count(&engine).await }
        }
    };
    join_all(runtime.engines().iter().map(ask)).await
}

async fn ask(engine: &EngineHandle, query: Query) -> Option<Reply> {
    timeout(PATIENCE, engine.query(query)).await.ok()?.ok()
}

async fn count(engine: &EngineHandle) -> Option<Tally> {
    let (mut whole, mut after) = (Tally::default(), None);
    loop {
        let Some(Reply::Tally(part)) = ask(engine, Query::Tally { after, claims: CLAIMS_STEP }).await else {
            return None;
        };
        after = part.next;
        whole.keepalive_lag = whole.keepalive_lag.max(part.keepalive_lag);
        for (lockspace, tally) in part.lockspaces {
            add(whole.lockspaces.entry(lockspace).or_default(), &tally);
        }
        if after.is_none() {
            return Some(whole);
        }
    }
}

fn add(sum: &mut LockspaceTally, part: &LockspaceTally) {
    sum.granted += part.granted;
    sum.converting += part.converting;
    sum.waiting += part.waiting;
    sum.oldest_wait = sum.oldest_wait.max(part.oldest_wait);
}

/// Shows what engines said.
pub(super) fn register(registry: &mut Registry, engines: Vec<Engine>, lockspaces: &Lockspaces) {
    let vouching = Family::<Labels, Number>::default();
    let (mut sessions, mut lag) = (0, Duration::ZERO);
    // Those that have no claims now stay in sight.
    let own = lockspaces.own().into_iter().map(|own| (own.to_string(), LockspaceTally::default()));
    let mut tallies: BTreeMap<String, LockspaceTally> = own.collect();
    for Engine { backend, status, tally } in engines {
        let vouches = status.as_ref().is_some_and(|status| status.vouches);
        vouching.get_or_create_owned(&label("backend", backend)).set(u64::from(vouches));
        sessions += status.map_or(0, |status| status.sessions);
        let Some(tally) = tally else { continue };
        lag = lag.max(tally.keepalive_lag);
        for (lockspace, tally) in tally.lockspaces {
            let name = if lockspaces.has_own(&lockspace) { lockspace.as_str() } else { OTHER };
            add(tallies.entry(name.to_owned()).or_default(), &tally);
        }
    }
    register_tallies(registry, &tallies);
    let gauge = Number::default();
    gauge.set(sessions as u64);
    registry.register("sixpin_sessions", "Sessions that this broker vouches for", gauge);
    let gauge = Seconds::default();
    gauge.set(lag.as_secs_f64());
    let help = "How much longer than a third of its TTL the client was silent that is most behind";
    registry.register("sixpin_keepalive_lag_seconds", help, gauge);
    let help = "1 if this broker may vouch for its sessions on this store just now";
    registry.register("sixpin_can_vouch", help, vouching);
}

fn register_tallies(registry: &mut Registry, tallies: &BTreeMap<String, LockspaceTally>) {
    let (claims, oldest) = (Family::<Labels, Number>::default(), Family::<Labels, Seconds>::default());
    for (lockspace, tally) in tallies {
        let queues = [("granted", tally.granted), ("converting", tally.converting), ("waiting", tally.waiting)];
        for (queue, number) in queues {
            let labels = vec![("lockspace", lockspace.clone()), ("queue", queue.to_owned())];
            claims.get_or_create_owned(&labels).set(number as u64);
        }
        oldest.get_or_create_owned(&label("lockspace", lockspace)).set(tally.oldest_wait.as_secs_f64());
    }
    registry.register("sixpin_claims", "Claims of sessions of this broker, by what they have", claims);
    let help = "For how long the oldest claim has waited that waits now; 0 if none does";
    registry.register("sixpin_oldest_wait_seconds", help, oldest);
}

/// One listener.
pub(super) struct Listening {
    pub(super) name: &'static str,
    pub(super) connections: usize,
    /// Absent: it has no certificate.
    pub(super) not_after: Option<SystemTime>,
}

/// Shows how many connections there are, and how long certificates are valid.
pub(super) fn register_listeners(registry: &mut Registry, listeners: &[Listening]) {
    let (connections, expiry) = (Family::<Labels, Number>::default(), Family::<Labels, Seconds>::default());
    for Listening { name, connections: open, not_after } in listeners {
        let labels = label("listener", name);
        connections.get_or_create_owned(&labels).set(*open as u64);
        if let Some(since_1970) = not_after.and_then(|moment| moment.duration_since(UNIX_EPOCH).ok()) {
            expiry.get_or_create_owned(&labels).set(since_1970.as_secs_f64());
        }
    }
    registry.register("sixpin_connections", "Open connections, by who they are for", connections);
    let help = "When the certificate of a listener expires, in seconds since 1970";
    registry.register("sixpin_certificate_not_after_seconds", help, expiry);
}

/// Shows how many lines of the audit were lost.
pub(super) fn register_audit(registry: &mut Registry, dropped: u64) {
    let counter = Counter::<u64>::default();
    counter.inc_by(dropped);
    registry.register("sixpin_audit_dropped", "Lines of the audit that could not be written", counter);
}

/// Shows how many spans were lost.
pub(super) fn register_spans(registry: &mut Registry, dropped: u64) {
    let counter = Counter::<u64>::default();
    counter.inc_by(dropped);
    registry.register("sixpin_spans_dropped", "Spans of requests that no collector has got", counter);
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn an_engine_that_does_not_count_to_the_end_vouches_all_the_same() {
        let status = StatusView { vouches: true, sessions: 3, ..StatusView::default() };
        let engine = Engine { backend: "default".to_owned(), status: Some(status), tally: None };
        let (mut registry, mut text) = (Registry::default(), String::new());
        register(&mut registry, vec![engine], &Lockspaces::new([]));
        encode(&mut text, &registry).expect("it can be written");
        assert!(text.contains("sixpin_can_vouch{backend=\"default\"} 1\n"), "{text}");
        assert!(text.contains("sixpin_sessions 3\n"), "{text}");
    }
}
