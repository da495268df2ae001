//! Resources, waits, sessions and brokers as inspection shows them.

use std::sync::Arc;

use sixpin_core::backend::Durability;
use sixpin_core::broker::api::{BrokerState, BrokerView, SessionState, SessionView, StoreState};
use sixpin_core::name::{Fence, ResourceId, Stamp, Version};
use sixpin_core::resource::{ClaimView, Queue, Resource};
use sixpin_proto::{API_LEVEL, v1};

use super::replies::mode;
use crate::frontend::api::inspect::{BackendStatus, ProcessStatus, Stored};
use crate::frontend::api::waits::{End, Wait};
use crate::runtime::clock;

/// Bytes of claims in one answer: what is beyond is counted as left out. Well below what clients accept (4 MiB).
const CLAIMS_BYTES_MAX: usize = 1024 * 1024;

/// A resource as it is stored.
pub(crate) fn resource(id: &ResourceId, found: Option<&(Version, Stored)>) -> v1::ResourceState {
    match found {
        None => absent(id),
        Some((version, Ok(resource))) => present(id, *version, resource),
        Some((version, Err(error))) => {
            v1::ResourceState { version: version.0, damage: error.to_string(), ..absent(id) }
        }
    }
}

/// A resource that nobody has a claim on.
fn absent(id: &ResourceId) -> v1::ResourceState {
    v1::ResourceState { resource: Some(resource_id(id)), ..Default::default() }
}

/// A resource, in queue order, as far as it fits.
fn present(id: &ResourceId, version: Version, resource: &Resource) -> v1::ResourceState {
    let mut claims = Vec::new();
    let mut bytes = 0;
    let mut left_out = 0;
    for view in resource.granted().chain(resource.converting()).chain(resource.waiting()) {
        let info = claim(&view);
        bytes += prost::Message::encoded_len(&info);
        if bytes > CLAIMS_BYTES_MAX {
            left_out += 1;
        } else {
            claims.push(info);
        }
    }
    let value = v1::Value {
        bytes: Some(resource.value_bytes().to_vec().into()),
        seq: resource.value_seq(),
        invalid: resource.value_invalid(),
    };
    v1::ResourceState { version: version.0, claims, value: Some(value), left_out, ..absent(id) }
}

/// A resource in one line.
pub(crate) fn summary(id: &ResourceId, version: Version, stored: &Stored) -> v1::ResourceSummary {
    let empty = v1::ResourceSummary { resource: Some(resource_id(id)), version: version.0, ..Default::default() };
    let resource = match stored {
        Ok(resource) => resource,
        Err(error) => return v1::ResourceSummary { damage: error.to_string(), ..empty },
    };
    let held = || resource.granted().chain(resource.converting());
    let mut modes: Vec<_> = held().filter_map(|view| view.granted).collect();
    modes.sort_unstable();
    modes.dedup();
    v1::ResourceSummary {
        granted: resource.granted().count() as u32,
        converting: resource.converting().count() as u32,
        waiting: resource.waiting().count() as u32,
        modes: modes.into_iter().map(|held| mode(Some(held)).into()).collect(),
        held_ms: oldest(resource.granted()),
        waiting_ms: oldest(resource.converting().chain(resource.waiting())),
        ..empty
    }
}

/// The age of the claim that came first to these queues.
fn oldest<'a>(claims: impl Iterator<Item = ClaimView<'a>>) -> u64 {
    claims.map(|view| age_ms(&view)).max().unwrap_or_default()
}

/// Milliseconds since a claim came to its queue, by wall clocks, of which that of another broker may be ahead.
fn age_ms(view: &ClaimView<'_>) -> u64 {
    clock::wall_ms().saturating_sub(view.since_ms)
}

/// One claim, with its resource.
pub(crate) fn claim_on(id: &ResourceId, view: &ClaimView<'_>) -> v1::ClaimInfo {
    v1::ClaimInfo { resource: Some(resource_id(id)), ..claim(view) }
}

/// Waits, as far as they fit.
pub(crate) fn waits(waits: Vec<Wait<Arc<v1::ClaimInfo>>>) -> v1::ListWaitsResponse {
    let (number, mut bytes) = (waits.len(), 0);
    let fits = |info: &v1::WaitInfo| {
        bytes += prost::Message::encoded_len(info);
        bytes <= CLAIMS_BYTES_MAX
    };
    let waits: Vec<_> = waits.into_iter().map(wait).take_while(fits).collect();
    v1::ListWaitsResponse { left_out: (number - waits.len()) as u32, waits }
}

fn wait(wait: Wait<Arc<v1::ClaimInfo>>) -> v1::WaitInfo {
    let end = match wait.end {
        End::Holder => v1::ChainEnd::Holder,
        End::Cycle => v1::ChainEnd::Cycle,
        End::Elsewhere => v1::ChainEnd::Elsewhere,
        End::Long => v1::ChainEnd::Long,
    };
    v1::WaitInfo {
        claim: Some(Arc::unwrap_or_clone(wait.claim)),
        chain: wait.chain.into_iter().map(Arc::unwrap_or_clone).collect(),
        end: end.into(),
    }
}

fn claim(view: &ClaimView<'_>) -> v1::ClaimInfo {
    let queue = match view.queue {
        Queue::Granted => v1::Queue::Granted,
        Queue::Converting => v1::Queue::Converting,
        Queue::Waiting => v1::Queue::Waiting,
    };
    v1::ClaimInfo {
        session: view.id.session.to_string(),
        claim: view.id.number.0,
        queue: queue.into(),
        granted: mode(view.granted).into(),
        requested: mode(view.requested).into(),
        fence: stamp(view.fence),
        ticket: stamp(view.ticket),
        grant_seq: view.grant_seq,
        owner: view.owner.as_str().into(),
        label: view.label.as_str().into(),
        age_ms: age_ms(view),
        persistent: view.persistent,
        orphan: view.orphan,
        demoted: view.demoted,
        blocking: view.blocking,
        told: mode(view.blocking_level).into(),
        resource: None,
    }
}

/// A resource's name.
fn resource_id(id: &ResourceId) -> v1::Resource {
    v1::Resource { lockspace: id.lockspace.as_str().into(), name: id.name.as_str().into() }
}

/// A session. Its secret is never shown.
pub(crate) fn session(view: &SessionView) -> v1::SessionInfo {
    v1::SessionInfo {
        session: view.session.to_string(),
        label: view.client.label.as_str().into(),
        ttl_ms: view.session.ttl_ms,
        silence_ms: view.silence.as_millis() as u64,
        held: view.held as u32,
        waiting: view.waiting as u32,
        state: session_state(view.state).into(),
        connection_bound: view.bound,
        connected: view.connected,
        move_number: view.move_number,
        client_address: view.client.address.as_str().into(),
        principal: view.principal.name().into(),
        age_ms: view.age.as_millis() as u64,
        program: view.client.program.as_str().into(),
    }
}

fn session_state(state: SessionState) -> v1::SessionState {
    match state {
        SessionState::Vouching => v1::SessionState::Vouching,
        SessionState::Moving => v1::SessionState::Moving,
        SessionState::Ending => v1::SessionState::Ending,
        SessionState::Burying => v1::SessionState::Burying,
        SessionState::Closing => v1::SessionState::Closing,
    }
}

/// A broker, as seen on one backend.
pub(crate) fn broker((backend, view): (String, BrokerView)) -> v1::BrokerEntry {
    let pulse = view.pulse;
    v1::BrokerEntry {
        incarnation: pulse.broker.to_string(),
        name: pulse.info.name,
        address: pulse.info.address,
        admin_address: pulse.info.admin_address,
        program: pulse.info.program,
        state: broker_state(view.state).into(),
        silence_ms: view.silence.as_millis() as u64,
        broker_ttl_ms: pulse.broker_ttl.as_millis() as u32,
        round_trip_us: pulse.round_trip.as_micros() as u64,
        own: view.own,
        burying: view.burying as u32,
        backend,
        format_read: pulse.standing.formats.reads.into(),
        format_written: pulse.standing.formats.writes.into(),
    }
}

fn broker_state(state: BrokerState) -> v1::BrokerState {
    match state {
        BrokerState::Alive => v1::BrokerState::Alive,
        BrokerState::Silent => v1::BrokerState::Silent,
        BrokerState::Gone => v1::BrokerState::Gone,
        BrokerState::Draining => v1::BrokerState::Draining,
    }
}

/// The process.
pub(crate) fn status(status: ProcessStatus) -> v1::BrokerStatus {
    v1::BrokerStatus {
        name: status.name,
        incarnation: status.incarnation.to_string(),
        program: crate::PROGRAM.into(),
        uptime_ms: status.uptime.as_millis() as u64,
        backends: status.backends.into_iter().map(backend).collect(),
        api_level: API_LEVEL,
    }
}

fn backend(backend: BackendStatus) -> v1::BackendStatus {
    let view = backend.view;
    v1::BackendStatus {
        name: backend.kind.into(),
        durability: durability(backend.durability).into(),
        lockspaces: backend.lockspaces.iter().map(ToString::to_string).collect(),
        state: store_state(view.state).into(),
        sessions: view.sessions as u64,
        claims: view.claims as u64,
        waiting: view.waiting as u64,
        commits: view.commits,
        writes: view.writes,
        conflicts: view.conflicts,
        unknowns: view.unknowns,
    }
}

fn store_state(state: StoreState) -> v1::BackendState {
    match state {
        StoreState::Starting => v1::BackendState::Starting,
        StoreState::Settling => v1::BackendState::Settling,
        StoreState::Serving => v1::BackendState::Serving,
        StoreState::Silent => v1::BackendState::Silent,
        StoreState::Draining => v1::BackendState::Draining,
        StoreState::Over => v1::BackendState::Over,
    }
}

fn durability(durability: Durability) -> v1::Durability {
    match durability {
        Durability::Volatile => v1::Durability::Volatile,
        Durability::CrashSafe => v1::Durability::CrashSafe,
        Durability::PowerSafe => v1::Durability::PowerSafe,
        Durability::FailoverSafe => v1::Durability::FailoverSafe,
    }
}

/// What is stored is known: only the writer of a record sees stamps that are not.
fn stamp(stamp: Option<Stamp>) -> u64 {
    match stamp {
        Some(Stamp::Known(Fence(number))) => number,
        Some(Stamp::ThisWrite(_)) | None => 0,
    }
}
