//! What is noted for whoever counts: each request once, whatever became of it, and how long that took.

mod support;

use std::time::Duration;

use sixpin_core::broker::api::{ConnectionId, Effect, Input, Reply, Request, Tally};
use sixpin_core::broker::api::{Ended, Fact, LostReason, Query, ReplyTo};
use sixpin_core::limits::Limits;
use sixpin_core::mode::Mode;
use sixpin_core::name::Lockspace;
use support::machine::{HOLDER, WAITER, World, lock, lock_call, unlock};

fn world(limits: Limits) -> World {
    let mut world = World::with(limits);
    assert_eq!(world.broker.take_facts().count(), 0, "nobody wanted any");
    world.broker.want_facts();
    world
}

fn asked(ended: Ended, waited: u64) -> Fact {
    let (lockspace, waited) = (Lockspace::default(), Duration::from_millis(waited));
    Fact::Asked { lockspace, mode: Some(Mode::EX), ended, waited }
}

fn held(held: u64) -> Fact {
    Fact::Held { lockspace: Lockspace::default(), held: Duration::from_millis(held) }
}

fn facts(world: &mut World) -> Vec<Fact> {
    world.settle();
    world.broker.take_facts().collect()
}

#[test]
fn a_grant_is_noted_with_its_wait_and_a_release_with_the_time_between() {
    let mut world = world(Limits::default());
    world.ask(WAITER, lock(1, None));
    assert_eq!(facts(&mut world), []);
    world.wait(300);
    world.ask(HOLDER, unlock(1));
    assert_eq!(facts(&mut world), [held(300), asked(Ended::Granted, 300)]);
    world.wait(50);
    world.ask(WAITER, unlock(1));
    assert_eq!(facts(&mut world), [held(50)]);
}

#[test]
fn a_request_and_its_copies_are_one_that_began_with_the_first() {
    let mut world = world(Limits::default());
    world.call(10, lock_call(1, None));
    world.settle();
    world.wait(100);
    world.call(11, lock_call(1, None));
    world.settle();
    world.wait(100);
    world.doubt = true;
    world.ask(HOLDER, unlock(1));
    world.settle();
    world.call(12, lock_call(1, None));
    assert_eq!(facts(&mut world), [held(200), asked(Ended::Granted, 200)]);
}

#[test]
fn what_is_not_granted_is_noted_by_how_it_ended() {
    let mut world = world(Limits::default());
    world.ask(WAITER, lock(1, Some(0)));
    assert_eq!(facts(&mut world), [asked(Ended::WouldWait, 0)]);
    world.ask(WAITER, lock(2, Some(100)));
    world.settle();
    world.wait(100);
    assert_eq!(facts(&mut world), [asked(Ended::TimedOut, 100)]);
    world.ask(WAITER, lock(3, None));
    world.settle();
    world.ask(WAITER, unlock(3));
    assert_eq!(facts(&mut world), [asked(Ended::Cancelled, 0)]);
    world.ask(WAITER, lock(4, None));
    world.settle();
    world.ask(WAITER, Request::UnlockAll { owner: None });
    assert_eq!(facts(&mut world), [asked(Ended::Cancelled, 0)]);
}

#[test]
fn what_is_refused_is_noted_at_once() {
    let mut world = world(Limits { claims_per_session: 1, ..Limits::default() });
    world.ask(HOLDER, lock(2, None));
    assert_eq!(facts(&mut world), [asked(Ended::Limit, 0)]);
}

#[test]
fn a_session_that_expires_ends_what_it_held_and_waited_for() {
    let mut world = world(Limits::default());
    world.ask(WAITER, lock(1, None));
    world.settle();
    world.wait(30_000);
    world.ask(HOLDER, Request::KeepAlive { move_number: 0 });
    world.settle();
    assert_eq!(facts(&mut world), []);
    for _ in 0..10 {
        world.wait(10_000);
        world.ask(HOLDER, Request::KeepAlive { move_number: 0 });
    }
    let facts = facts(&mut world);
    let lost = Fact::Lost { reason: LostReason::Expired, sessions: 1 };
    assert_eq!(facts.len(), 2, "{facts:?}");
    assert!(facts.contains(&lost), "{facts:?}");
    assert!(matches!(facts[1], Fact::Asked { ended: Ended::Lost, .. }), "{facts:?}");
}

#[test]
fn claims_are_counted_a_part_at_a_time() {
    let mut world = world(Limits::default());
    world.ask(WAITER, lock(1, None));
    world.settle();
    world.wait(700);
    let mut tally = |after, claims| -> Tally {
        let from = ReplyTo { connection: ConnectionId(99), request: 1 };
        world.broker.handle(
            world.now(),
            Input::Query { from, query: Query::Tally { after, claims } },
            &mut world.effects,
        );
        let reply = world.effects.drain(..).find_map(|effect| match effect {
            Effect::Reply { reply: Reply::Tally(tally), .. } => Some(tally),
            _ => None,
        });
        *reply.expect("an answer")
    };
    let whole = tally(None, 100);
    let sum = whole.lockspaces[&Lockspace::default()];
    assert_eq!((sum.granted, sum.converting, sum.waiting, whole.next), (1, 0, 1, None));
    assert_eq!(sum.oldest_wait, Duration::from_millis(700));
    let first = tally(None, 1);
    assert!(first.next.is_some());
    let second = tally(first.next, 1);
    let parts = [first, second].map(|part| part.lockspaces[&Lockspace::default()]);
    assert_eq!(parts.map(|part| part.granted + part.waiting), [1, 1]);
    assert_eq!(tally(None, 1).lockspaces.len(), 1);
}
