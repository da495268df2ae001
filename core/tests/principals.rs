//! Who asks on a stream is said there once; calls beside it say it each time.

// A test may panic.
#![allow(clippy::unwrap_used)]

mod support;

use sixpin_core::access::{NOBODY, Principal, Quotas};
use sixpin_core::broker::api::{RequestError, SessionRef};
use support::machine::{WAITER, World, lock};

/// What the last request was refused with, if it was.
fn refusal(world: &mut World) -> Option<RequestError> {
    world.settle();
    let refused = world.errors.pop().map(|(_, error)| error);
    world.errors.clear();
    refused
}

#[test]
fn a_call_beside_a_stream_has_its_own_rights_and_gives_the_stream_none() {
    let mut world = World::new();
    let (session, secret) = world.sessions[&WAITER];
    // The same principal with fewer rights: another token of it, or other rules.
    let less = || Some(Principal::new(NOBODY, vec![], Quotas::default()));
    let denied = |refused| matches!(refused, Some(RequestError::Denied(_)));

    world.send_as(WAITER, SessionRef::Attached, None, lock(10, None));
    assert_eq!(refusal(&mut world), None);
    // What is said with a request holds from then on, also if that request is refused.
    world.send_as(WAITER, SessionRef::Attached, less(), lock(11, None));
    assert!(denied(refusal(&mut world)));
    world.send_as(50, SessionRef::Named(session, secret), Some(Principal::default()), lock(12, None));
    assert_eq!(refusal(&mut world), None);
    world.send_as(WAITER, SessionRef::Attached, None, lock(13, None));
    assert!(denied(refusal(&mut world)));
    // Nor does a call with fewer take the stream's away.
    world.send_as(WAITER, SessionRef::Attached, Some(Principal::default()), lock(14, None));
    assert_eq!(refusal(&mut world), None);
    world.send_as(51, SessionRef::Named(session, secret), less(), lock(15, None));
    assert!(denied(refusal(&mut world)));
    world.send_as(WAITER, SessionRef::Attached, None, lock(16, None));
    assert_eq!(refusal(&mut world), None);
}

#[test]
fn a_call_of_nobody_is_refused() {
    let mut world = World::new();
    let (session, secret) = world.sessions[&WAITER];
    world.send_as(50, SessionRef::Named(session, secret), None, lock(10, None));
    assert_eq!(refusal(&mut world), Some(RequestError::Unauthenticated));
}
