//! What a broker wants to be woken for: enough, and no more with time.

mod support;

use std::time::Duration;

use sixpin_core::broker::api::Request;
use support::machine::{HOLDER, WAITER, World, lock};

/// Lets time pass, each time to the moment that the broker names; says how often it was woken.
fn woken(world: &mut World, ms: u64) -> usize {
    let until = world.ms + ms;
    let mut times = 0;
    while let Some(deadline) = world.broker.deadline().filter(|deadline| *deadline <= Duration::from_millis(until)) {
        world.ms = world.ms.max(deadline.as_nanos().div_ceil(1_000_000) as u64);
        world.tick();
        times += 1;
    }
    world.ms = until;
    times
}

#[test]
fn timers_of_beats_do_not_multiply_while_the_store_is_away() {
    let mut world = World::new();
    world.away = true;
    // Until all sessions are over.
    woken(&mut world, 120_000);
    let (first, second) = (woken(&mut world, 60_000), woken(&mut world, 60_000));
    assert!(first > 60, "it goes on trying");
    assert!(second <= first + 2, "{first} times in a minute, {second} in the next");
}

#[test]
fn a_wait_longer_than_its_timer_ends_on_time() {
    let mut world = World::new();
    world.ask(WAITER, lock(1, Some(25_000)));
    world.settle();
    for _ in 0..24 {
        woken(&mut world, 1_000);
        for connection in [HOLDER, WAITER] {
            world.ask(connection, Request::KeepAlive { move_number: 0 });
        }
        world.settle();
    }
    woken(&mut world, 990);
    let timed_out = (WAITER, "TimedOut".to_owned());
    assert!(!world.said().contains(&timed_out));
    woken(&mut world, 20);
    assert!(world.said().contains(&timed_out));
}
