//! How long it takes until a lock is free again, and until a client whose broker died works on.
//!
//! Nothing here asserts an upper bound: a busy machine would break it. That a lock is never given away too early is
//! asserted by the tests that call this.

use std::time::Duration;

use sixpin_client::{Guard, Locking, Mode, Session, proto};
use sixpin_testkit::until;

use crate::history::{History, Time, What, now};
use crate::load::{Load, resource};
use crate::process::{ClientProcess, Job};
use crate::register::Registers;
use crate::world::{PATIENCE, Plan, World};

/// How a dead client's lock came to a waiter.
#[derive(Debug, Clone, Copy)]
pub struct Freed {
    /// Since the client sent the last keepalive that was acknowledged.
    pub since_keepalive: Duration,
    /// Since the client died.
    pub since_death: Duration,
}

/// What a client whose broker was killed went through.
#[derive(Debug, Clone, Copy)]
pub struct Moved {
    /// Until a new lock was granted to it elsewhere.
    pub works_again: Duration,
    /// Its lock was valid all the time and kept its fence.
    pub kept_lock: bool,
    /// It was granted what it waited for before somebody who came later.
    pub kept_place: bool,
}

/// Kills a client that holds a lock, and its broker too if `with_broker`, and measures until a waiter at another broker
/// is granted it.
pub async fn freed(plan: &Plan, ttl: Duration, with_broker: bool) -> Freed {
    let world = World::start(plan).await;
    let history = History::default();
    let registers = Registers::new(1).serve().await.expect("the registers are served");
    let load = Load { endpoints: world.endpoints(0), ttl, resources: 1, workers: 1, seed: 0 };
    let holder = ClientProcess::start(plan.program, Job::Hold, &load, registers, &history);
    let granted = until(PATIENCE, async || !history.seen().events.is_empty()).await;
    assert!(granted, "the holder is granted its lock");
    let waiter = open(&world, 1, ttl).await;
    let waiting = waiter.lock(resource(0), Mode::EX).into_future();
    // Somewhere between two keepalives.
    tokio::time::sleep(ttl.mul_f64(0.4 + 0.3 * f64::from(rand::random::<u8>()) / 256.0)).await;
    if with_broker {
        world.brokers[0].process.kill();
    }
    let died = now();
    holder.kill().await;
    let guard = tokio::time::timeout(PATIENCE, waiting).await.expect("a dead client's lock is freed");
    let granted = now();
    drop(guard.expect("the waiter is granted it"));
    let proofs = history.seen().events.into_iter().filter_map(|event| match event.what {
        What::Valid(until) => Some(until),
        _ => None,
    });
    let promised = proofs.max().expect("the holder proved that it held");
    let sent = promised.saturating_sub(nanos(validity(ttl)));
    Freed { since_keepalive: between(sent, granted), since_death: between(died, granted) }
}

/// Kills the broker of a client that holds one lock and waits for another.
pub async fn moved(plan: &Plan, ttl: Duration) -> Moved {
    let world = World::start(plan).await;
    let (mover, other, late) = (open(&world, 0, ttl).await, open(&world, 1, ttl).await, open(&world, 2, ttl).await);
    let held = mover.lock("held", Mode::EX).await.expect("it is free");
    let fence = held.fence();
    let wanted = other.lock("wanted", Mode::EX).await.expect("it is free");
    let first = mover.lock("wanted", Mode::EX).into_future();
    queued(&world, "wanted", 2).await;
    let second = late.lock("wanted", Mode::EX).into_future();
    queued(&world, "wanted", 3).await;
    let killed = now();
    world.brokers[0].process.kill();
    let new = mover.lock("new", Mode::EX).await.expect("it works on at another broker");
    let works_again = between(killed, now());
    let kept_lock = held.is_valid() && held.fence() == fence;
    wanted.release().await.expect("it is held");
    let first = soon(first).await;
    let first_fence = first.fence();
    first.release().await.expect("it is held");
    let kept_place = soon(second).await.fence() > first_fence;
    drop((held, new));
    Moved { works_again, kept_lock, kept_place }
}

async fn soon(lock: Locking) -> Guard {
    tokio::time::timeout(PATIENCE, lock).await.expect("it is granted in the end").expect("its session lives")
}

async fn open(world: &World, first: usize, ttl: Duration) -> Session {
    world.client(first).session().ttl(ttl).open().await.expect("a session can be opened")
}

/// Waits until a resource has so many claims.
pub async fn queued(world: &World, name: &str, claims: usize) {
    let inspection = world.client(1).inspection().of_one().await.expect("a broker answers");
    let resource = Some(proto::Resource { lockspace: String::new(), name: name.into() });
    let there = until(PATIENCE, || {
        let (inspection, resource) = (inspection.clone(), resource.clone());
        async move {
            let state = inspection.get_resource(proto::GetResourceRequest { resource }).await;
            state.is_ok_and(|state| state.claims.len() == claims)
        }
    })
    .await;
    assert!(there, "{name} never has {claims} claims");
}

/// For how long a client counts its session valid after it sent a keepalive that was acknowledged.
fn validity(ttl: Duration) -> Duration {
    ttl.mul_f64(0.99).saturating_sub((ttl / 20).max(Duration::from_millis(100)))
}

fn nanos(time: Duration) -> Time {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn between(from: Time, to: Time) -> Duration {
    Duration::from_nanos(to.saturating_sub(from))
}
