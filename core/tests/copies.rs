//! Copies of requests, ends in doubt, callers that leave: what a broker says of a claim is what the store says of it.

mod support;

use sixpin_core::broker::api::{ClientInfo, Input, LiveClaim, OpenRequest, Request, ResumeRequest, SessionRef};
use sixpin_core::limits::Limits;
use sixpin_core::name::{ClaimNumber, OperationNumber};
use sixpin_core::standing::History;
use support::machine::{HOLDER, WAITER, World, lock, lock_call, resource, unlock};

#[test]
fn a_wait_that_ends_in_doubt_timed_out() {
    let mut world = World::new();
    world.ask(WAITER, lock(1, Some(100)));
    world.settle();
    world.doubt = true;
    world.wait(200);
    assert_eq!(world.said(), [(WAITER, "TimedOut".to_owned())]);
    assert_eq!(world.stored_claims(WAITER), 0);
}

#[test]
fn a_cancel_in_doubt_cancelled() {
    let mut world = World::new();
    world.ask(WAITER, lock(1, None));
    world.settle();
    world.doubt = true;
    world.ask(WAITER, Request::Cancel { claim: ClaimNumber(1), operation: None });
    world.settle();
    let said = world.said();
    assert_eq!(said, [(WAITER, "Cancelled".to_owned()), (WAITER, "Cancelled".to_owned())], "the lock and the cancel");
}

#[test]
fn a_release_of_everything_in_doubt_released() {
    let mut world = World::new();
    world.doubt = true;
    world.ask(HOLDER, Request::UnlockAll { owner: None });
    world.settle();
    assert_eq!(world.said(), [(HOLDER, "1 released".to_owned())], "and nothing is lost");
}

/// A call is cut while it waits and comes again before its withdrawal was written.
fn a_copy_behind_a_cut(doubt: bool) {
    let mut world = World::new();
    world.call(10, lock_call(1, None));
    world.settle();
    world.doubt = doubt;
    world.cut(10);
    world.call(11, lock_call(1, None));
    world.ask(HOLDER, unlock(1));
    world.settle();
    let said = world.said();
    assert!(said.contains(&(11, "Cancelled".to_owned())), "{said:?}");
    assert_eq!(world.stored_claims(WAITER), 0);
}

#[test]
fn a_copy_behind_a_cut_creates_nothing() {
    a_copy_behind_a_cut(false);
}

#[test]
fn a_copy_behind_a_cut_in_doubt_creates_nothing() {
    a_copy_behind_a_cut(true);
}

#[test]
fn a_copy_behind_a_release_creates_nothing() {
    let mut world = World::new();
    world.ask(HOLDER, unlock(1));
    world.call(10, lock_call(1, None));
    world.settle();
    world.call(11, unlock(1));
    world.call(12, lock_call(1, None));
    world.settle();
    let said = world.said();
    assert!(said.contains(&(12, "Gone".to_owned())), "{said:?}");
    assert_eq!(world.stored_claims(WAITER), 0);
}

/// The first copy is refused while the end of it is on its way.
fn a_copy_behind_the_end_of_what_was_refused(end: Request) {
    let mut world = World::with(Limits { queued_per_resource: 0, ..Limits::default() });
    world.call(10, lock_call(1, None));
    world.call(11, end);
    world.settle();
    let said = world.said();
    assert!(said.iter().any(|(call, _)| *call == 11), "{said:?}");
    world.ask(HOLDER, unlock(1));
    world.settle();
    world.call(12, lock_call(1, None));
    world.settle();
    let said = world.said();
    assert!(said.contains(&(12, "Gone".to_owned())), "{said:?}");
    assert_eq!(world.stored_claims(WAITER), 0);
}

#[test]
fn a_copy_behind_the_cancel_of_what_was_refused_creates_nothing() {
    a_copy_behind_the_end_of_what_was_refused(Request::Cancel { claim: ClaimNumber(1), operation: None });
}

#[test]
fn a_copy_behind_the_release_of_what_was_refused_creates_nothing() {
    a_copy_behind_the_end_of_what_was_refused(unlock(1));
}

#[test]
fn a_copy_that_meets_the_end_of_the_wait_does_not_hide_the_claim() {
    let mut world = World::new();
    world.call(10, lock_call(1, Some(100)));
    world.settle();
    world.ms += 200;
    world.call(11, lock_call(1, Some(100)));
    // The wait ends before the copy was sent.
    world.tick();
    let said = world.said();
    assert!(said.contains(&(11, "TimedOut".to_owned())), "{said:?}");
    assert_eq!(world.stored_claims(WAITER), 0);
}

#[test]
fn a_grant_that_nobody_can_be_told_of_is_given_back() {
    let mut world = World::new();
    world.call(10, lock_call(1, None));
    world.settle();
    // The release is under way when the caller leaves.
    world.ask(HOLDER, unlock(1));
    world.broker.flush(world.now(), &mut world.effects);
    world.cut(10);
    world.settle();
    assert_eq!(world.stored_claims(WAITER), 0);
    world.ask(HOLDER, lock(2, Some(0)));
    world.settle();
    assert!(world.said().contains(&(HOLDER, "Granted".to_owned())));
}

#[test]
fn a_try_in_doubt_is_given_back_although_its_copies_wait_for_a_store_that_is_not_settled() {
    let mut world = World::new();
    world.ask(HOLDER, unlock(1));
    world.settle();
    world.doubt = true;
    world.call(10, lock_call(1, Some(0)));
    world.broker.flush(world.now(), &mut world.effects);
    world.settle_once();
    // Its outcome is unknown, and what the store is asked then is not answered.
    world.kept_back = Some(Vec::new());
    world.settle();
    world.call(11, lock_call(1, Some(0)));
    world.cut(11);
    world.broker.handle(world.now(), Input::History(History(1)), &mut world.effects);
    world.wait(1_100);
    world.wait(1_100);
    assert_eq!(world.stored_claims(WAITER), 1, "what was in doubt had happened");
    world.answers();
    assert_eq!(world.stored_claims(WAITER), 0);
}

/// The holder comes back on another stream, after a move of which nobody here heard.
fn resume(world: &World) -> Request {
    let (session, secret) = world.sessions[&HOLDER];
    let held = LiveClaim {
        claim: ClaimNumber(1),
        resource: resource(),
        last_operation: OperationNumber(1),
        grant_seq: 1,
        waiting: None,
    };
    Request::Resume(Box::new(ResumeRequest {
        session,
        secret,
        move_number: 2,
        next_claim: ClaimNumber(2),
        claims: vec![held],
        void: Vec::new(),
        client: ClientInfo::default(),
        attach: true,
    }))
}

#[test]
fn a_resume_is_answered_when_its_claim_ends_meanwhile() {
    let mut world = World::new();
    // The store takes the release and the move in one batch.
    world.ask(HOLDER, unlock(1));
    world.cut(HOLDER);
    world.ask(3, resume(&world));
    world.settle();
    assert_eq!(world.said(), [(3, "Resumed Released".to_owned()), (HOLDER, "Released".to_owned())]);
}

#[test]
fn a_resume_is_answered_when_what_its_claim_waits_for_is_refused() {
    let mut world = World::new();
    world.cut(HOLDER);
    world.ask(3, resume(&world));
    // The move is written and the resource read.
    for _ in 0..2 {
        world.broker.flush(world.now(), &mut world.effects);
        world.settle_once();
    }
    world.kept_back = Some(Vec::new());
    world.settle();
    // Its claim is being compared when a call wants to release it, and then the store goes away.
    let (session, secret) = world.sessions[&HOLDER];
    world.send(10, SessionRef::Named(session, secret), unlock(1));
    world.ms += 1_100;
    world.away = true;
    world.answers();
    assert_eq!(world.said(), [], "nobody can say how the claim stands");
    world.away = false;
    world.wait(1_100);
    assert_eq!(world.said(), [(3, "Resumed Granted".to_owned())]);
}

#[test]
fn a_bound_session_leaves_the_queue_with_its_stream() {
    let mut world = World::new();
    let open = OpenRequest { attach: true, bound: true, ..Default::default() };
    world.send(3, SessionRef::Attached, Request::Open(Box::new(open)));
    world.ask(3, lock(1, None));
    world.settle();
    assert_eq!(world.stored_claims(3), 1);
    world.cut(3);
    world.settle();
    assert_eq!(world.stored_claims(3), 0);
    world.tick();
    let (session, secret) = world.sessions[&3];
    world.send(4, SessionRef::Named(session, secret), Request::KeepAlive { move_number: 0 });
    world.ask(HOLDER, unlock(1));
    world.settle();
    assert_eq!(world.said(), [(HOLDER, "Released".to_owned())]);
}

#[test]
fn a_bound_session_releases_with_its_stream_if_it_said_so() {
    let mut world = World::new();
    world.ask(HOLDER, unlock(1));
    for release_on_end in [false, true] {
        let connection = 3 + u64::from(release_on_end);
        let open = OpenRequest { attach: true, bound: true, release_on_end, ..Default::default() };
        world.send(connection, SessionRef::Attached, Request::Open(Box::new(open)));
        world.ask(connection, lock(1, None));
        world.settle();
        if release_on_end {
            let (session, secret) = world.sessions[&3];
            world.send(9, SessionRef::Named(session, secret), unlock(1));
            world.settle();
        }
        world.cut(connection);
        world.settle();
        assert_eq!(world.stored_claims(connection), usize::from(!release_on_end));
    }
}
