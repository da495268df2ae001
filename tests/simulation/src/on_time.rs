//! How long a dead client's lock stays taken when its broker died with it, in simulated time and without other faults.

use std::time::Duration;

use sixpin_core::backend::Key;
use sixpin_core::mode::Mode;
use sixpin_core::name::SessionId;
use sixpin_core::resource::Resource;

use crate::plan::{Faults, MS, Plan, SECOND, Time};
use crate::world::World;

const TTL: Time = 10 * SECOND;
const BROKER_TTL: Time = 5 * SECOND;
/// What is promised: the broker is given up, then the session, and two seconds are for tolerances and calls.
const PROMISED: Time = BROKER_TTL + TTL + 2 * SECOND;
/// The client that dies, and the one that works on with the same resource.
const DEAD: usize = 0;
const ALIVE: usize = 1;

#[test]
fn what_died_with_its_broker_is_free_on_time() {
    let waits: Vec<Time> = (0..200).filter_map(wait_for_the_dead).collect();
    assert!(waits.len() >= 50, "only {} schedules in which the two clients meet at two brokers", waits.len());
    let (shortest, longest) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
    assert!(*shortest > BROKER_TTL, "free after {shortest} us");
    assert!(*longest <= PROMISED, "free after {longest} us");
}

/// How long a lock stays taken whose holder is killed together with its broker while somebody at the other broker waits.
/// None if it does not come to that with this seed.
fn wait_for_the_dead(seed: u64) -> Option<Time> {
    let mut world = World::new(plan(seed), None, false);
    let earliest = world.rng.u64(3 * SECOND..8 * SECOND);
    let session = loop {
        world.advance().unwrap();
        let (dead, alive) = (world.clients[DEAD].session, world.clients[ALIVE].session);
        let (Some(dead), Some(alive)) = (dead, alive) else { continue };
        if world.now > 30 * SECOND {
            return None;
        }
        if world.now >= earliest && holds_exclusively(&world, dead) && waits(&world, alive) {
            break dead;
        }
    };
    let slot = slot_of(&world, DEAD);
    if slot_of(&world, ALIVE) == slot {
        return None;
    }
    world.client_stops(DEAD);
    world.broker_stops(slot);
    let killed = world.now;
    while holds_exclusively(&world, session) {
        world.advance().unwrap();
    }
    Some(world.now - killed)
}

/// Two brokers, and two clients that want the same resource.
fn plan(seed: u64) -> Plan {
    Plan {
        brokers: 2,
        clients: 2,
        bound: 0,
        callers: 0,
        resources: 1,
        lock_delay: Duration::ZERO,
        ttl: Duration::from_micros(TTL),
        broker_ttl: Duration::from_micros(BROKER_TTL),
        faults: Faults::default(),
        heal_at: 60 * SECOND,
        pause_max: 200 * MS,
        ..Plan::of(seed)
    }
}

fn slot_of(world: &World, client: usize) -> usize {
    world.streams[&world.newest_stream(client).unwrap()].slot
}

fn resource(world: &World) -> Resource {
    let slot = world.store.read(&[Key::Resource(world.plan.resource(0))]).remove(0);
    slot.bytes.map(|bytes| Resource::decode(&bytes, slot.version).unwrap()).unwrap_or_default()
}

fn holds_exclusively(world: &World, session: SessionId) -> bool {
    resource(world).granted().any(|claim| claim.id.session == session && claim.granted == Some(Mode::EX))
}

fn waits(world: &World, session: SessionId) -> bool {
    resource(world).waiting().any(|claim| claim.id.session == session)
}
