//! What is noted for whoever counts: each request once, whatever became of it, and how long that took.

mod support;

use std::time::Duration;

use sixpin_core::backend::StoreError;
use sixpin_core::broker::api::{
    AdminRequest, BrokerConfig, ClientInfo, ConnectionId, Effect, Ended, Fact, Input, LiveClaim, LostReason,
};
use sixpin_core::broker::api::{ConvertRequest, Query, Reply, ReplyTo, Request, ResumeRequest, SessionRef, Tally};
use sixpin_core::command::Options;
use sixpin_core::limits::Limits;
use sixpin_core::mode::Mode;
use sixpin_core::name::{ClaimId, ClaimNumber, Incarnation, Label, Lockspace, OperationNumber, SessionId};
use support::machine::{HOLDER, WAITER, World, config, lock, lock_call, resource, unlock};

fn world(limits: Limits) -> World {
    let mut world = World::with(limits);
    assert_eq!(world.broker.take_facts().count(), 0, "nobody wanted any");
    world.broker.want_facts();
    world
}

fn asked(ended: Ended, waited: u64) -> Fact {
    asked_for(Some(Mode::EX), ended, waited)
}

fn asked_for(mode: Option<Mode>, ended: Ended, waited: u64) -> Fact {
    Fact::Asked { on: resource(), claim: CLAIM, mode, ended, queued: false, waited: Duration::from_millis(waited) }
}

fn held(held: u64) -> Fact {
    Fact::Held { on: resource(), claim: CLAIM, mode: None, lost: false, held: Duration::from_millis(held) }
}

/// Stands for every claim where it does not matter which it is.
const CLAIM: ClaimId =
    ClaimId { session: SessionId { opener: Incarnation(0), serial: 0, ttl_ms: 0 }, number: ClaimNumber(0) };

/// A fact without what only one test is about.
fn brief(fact: Fact) -> Fact {
    match fact {
        Fact::Asked { on, mode, ended, waited, .. } => {
            Fact::Asked { on, claim: CLAIM, mode, ended, queued: false, waited }
        }
        Fact::Held { on, held, .. } => Fact::Held { on, claim: CLAIM, mode: None, lost: false, held },
        lost @ Fact::Lost { .. } => lost,
    }
}

fn lost(reason: LostReason, session: SessionId) -> Fact {
    Fact::Lost { reason, sessions: 1, which: Some((session, Label::default())) }
}

fn facts(world: &mut World) -> Vec<Fact> {
    whole_facts(world).into_iter().map(brief).collect()
}

fn whole_facts(world: &mut World) -> Vec<Fact> {
    world.settle();
    world.broker.take_facts().collect()
}

#[test]
fn it_is_noted_whose_it_was_and_whether_it_stood_in_the_queue_or_was_lost() {
    let mut world = world(Limits::default());
    let claim =
        |world: &World, who: u64, number: u64| ClaimId { session: world.sessions[&who].0, number: ClaimNumber(number) };
    let (of_holder, of_waiter) = (claim(&world, HOLDER, 1), claim(&world, WAITER, 1));
    let (on, mode) = (resource(), Some(Mode::EX));
    let held = |claim, lost| Fact::Held { on: on.clone(), claim, mode, lost, held: Duration::from_millis(10) };
    let asked = |claim, queued, waited| {
        let waited = Duration::from_millis(waited);
        Fact::Asked { on: on.clone(), claim, mode, ended: Ended::Granted, queued, waited }
    };
    world.ask(WAITER, lock(1, None));
    world.settle();
    world.wait(10);
    world.ask(HOLDER, unlock(1));
    assert_eq!(whole_facts(&mut world), [held(of_holder, false), asked(of_waiter, true, 10)]);
    world.wait(10);
    let (session, now) = (of_waiter.session, true);
    world.administer(90, AdminRequest::ForceUnlock { resource: resource(), session, claim: None, now, no_wait: true });
    assert_eq!(whole_facts(&mut world), [held(of_waiter, true)]);
    world.ask(HOLDER, lock(2, None));
    assert_eq!(whole_facts(&mut world), [asked(claim(&world, HOLDER, 2), false, 0)]);
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
fn a_refused_copy_of_a_request_is_none_of_its_own() {
    let mut world = world(Limits { requests_per_broker: 1, ..Limits::default() });
    world.call(10, lock_call(1, None));
    world.settle();
    world.wait(100);
    // One request is on its way to the store, and there is no room for more.
    world.ask(HOLDER, unlock(1));
    world.call(11, lock_call(1, None));
    assert!(world.effects.iter().any(is_error), "the copy is refused");
    assert_eq!(facts(&mut world), [held(100), asked(Ended::Granted, 100)]);
}

fn is_error(effect: &Effect) -> bool {
    matches!(effect, Effect::Reply { reply: Reply::Error(_), .. })
}

#[test]
fn a_conversion_that_came_by_a_move_and_was_not_granted_has_no_mode() {
    let mut world = world(Limits::default());
    world.ask(HOLDER, unlock(1));
    world.ask(HOLDER, read(2));
    world.ask(WAITER, read(1));
    world.settle();
    let convert = ConvertRequest {
        claim: ClaimNumber(1),
        operation: OperationNumber(2),
        mode: Mode::EX,
        options: Options::empty(),
        conversion_deadlock: None,
        wait: None,
        blocking: None,
        value: None,
    };
    world.ask(WAITER, Request::Convert { convert, until_done: false });
    world.settle();
    let live = LiveClaim {
        claim: ClaimNumber(1),
        resource: resource(),
        last_operation: OperationNumber(2),
        grant_seq: 1,
        waiting: Some((OperationNumber(2), None)),
    };
    let mut other = moved(&world, vec![live]);
    other.broker.want_facts();
    let (session, secret) = world.sessions[&WAITER];
    other.send(21, SessionRef::Named(session, secret), Request::Cancel { claim: ClaimNumber(1), operation: None });
    assert_eq!(facts(&mut other), [asked_for(None, Ended::Cancelled, 0)]);
}

fn read(claim: u64) -> Request {
    let Request::Lock { mut lock, until_done } = lock(claim, None) else { unreachable!("it is a lock") };
    lock.mode = Mode::PR;
    Request::Lock { lock, until_done }
}

#[test]
fn a_session_that_has_moved_away_is_not_counted_as_expired() {
    let mut world = world(Limits::default());
    let other = moved(&world, Vec::new());
    (world.stored, world.version) = (other.stored, other.version);
    silent(&mut world);
    assert_eq!(facts(&mut world), []);
}

/// The other broker, to which the waiter's session goes with these claims. The first one does not hear of it.
fn moved(world: &World, claims: Vec<LiveClaim>) -> World {
    let mut other = World::of(BrokerConfig { incarnation: Incarnation(8), ..config() });
    // What it has of its own is on a resource of the same name.
    other.ask(HOLDER, Request::Close);
    other.settle();
    other.stored = world.stored.clone();
    other.version = world.version + 100;
    let (session, secret) = world.sessions[&WAITER];
    let resume = ResumeRequest {
        session,
        secret,
        move_number: 1,
        next_claim: ClaimNumber(1 + claims.len() as u64),
        claims,
        void: Vec::new(),
        client: ClientInfo::default(),
        attach: false,
    };
    other.send(20, SessionRef::Named(session, secret), Request::Resume(Box::new(resume)));
    other.settle();
    assert_eq!(other.errors, []);
    other
}

/// The store has forgotten everything, and the broker hears of it.
fn forget(world: &mut World) {
    let result = Err(StoreError::Amnesia("it is empty".into()));
    world.broker.handle(world.now(), Input::Pulses { result }, &mut world.effects);
}

/// The waiter is not heard until it is over with its session, and the holder is.
fn silent(world: &mut World) {
    for _ in 0..10 {
        world.wait(10_000);
        world.ask(HOLDER, Request::KeepAlive { move_number: 0 });
    }
}

#[test]
fn a_session_that_an_administrator_ends_is_counted_as_that_also_if_its_client_is_silent() {
    let mut world = world(Limits::default());
    let session = world.sessions[&WAITER].0;
    world.administer(90, AdminRequest::ExpireSession { session, now: false, no_wait: true });
    assert_eq!(facts(&mut world), []);
    silent(&mut world);
    assert_eq!(facts(&mut world), [lost(LostReason::Forced, session)]);
}

#[test]
fn what_goes_with_its_broker_is_counted_too() {
    let mut world = world(Limits::default());
    world.ask(WAITER, lock(1, None));
    world.settle();
    world.wait(200);
    forget(&mut world);
    let lost = Fact::Lost { reason: LostReason::Amnesia, sessions: 2, which: None };
    assert_eq!(facts(&mut world), [held(200), asked(Ended::Lost, 200), lost]);
}

#[test]
fn a_session_that_its_client_has_closed_is_not_lost_with_its_broker() {
    let mut world = world(Limits::default());
    world.kept_back = Some(Vec::new());
    world.ask(HOLDER, Request::Close);
    world.settle();
    forget(&mut world);
    assert_eq!(facts(&mut world), [held(0), Fact::Lost { reason: LostReason::Amnesia, sessions: 1, which: None }]);
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
    let lost = lost(LostReason::Expired, world.sessions[&WAITER].0);
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
