//! A store that does not answer: that is when somebody looks.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use sixpin_client::Mode;
use sixpin_memory::{Fault, Faulty, MemoryBackend, MemoryStore, Operation};

use super::forms::Form;
use super::{World, html};
use crate::support::http::Events;
use crate::support::{soon, until};

fn store() -> Arc<Faulty<MemoryBackend>> {
    Arc::new(Faulty::new(MemoryStore::new().backend(true), |_| Fault::None))
}

/// From now on it does not do this.
fn without(store: &Faulty<MemoryBackend>, operation: Operation) {
    store.set_plan(move |call| if call.operation == operation { Fault::Unavailable } else { Fault::None });
}

#[tokio::test]
async fn nothing_is_free_before_the_store_has_it_so() {
    let store = store();
    let world = World::on(store.clone()).await;
    let holder = world.session("holder").await;
    let waiter = world.session("waiter").await;
    let guard = holder.lock("r", Mode::EX).await.unwrap();
    let force = Form::to_force(&world.page, "r", &holder.id(), guard.claim()).await;
    let query = format!("session={}", holder.id());
    let expire = Form::of(&world.page, "/expire", &query, &["session", "seal", "lockspace"]).await;
    without(&store, Operation::Commit);
    for (form, typed) in [(force, "r"), (expire, holder.id().as_str())] {
        let form = form.with("typed", typed).with("now", "yes");
        let answer = world.send(&world.page, form.address, &form.all()).await;
        let answer = html(&answer, 200);
        assert!(answer.contains("is being taken away") && !answer.contains("is free"), "{answer}");
    }
    store.set_plan(|_| Fault::None);
    drop(soon("what was asked for", waiter.lock("r", Mode::EX).into_future()).await.unwrap());
}

#[tokio::test]
async fn the_first_page_shows_what_can_be_shown() {
    let store = store();
    let world = World::on(store.clone()).await;
    let (holder, waiter) = (world.session("holder").await, world.session("waiter").await);
    let _held = holder.lock("r", Mode::EX).await.unwrap();
    let waiting = tokio::spawn(waiter.lock("r", Mode::EX).into_future());
    until("it waits", async || world.waiting("r").await == 1).await;
    without(&store, Operation::Read);
    let home = world.page.get("/").await;
    let home = html(&home, 200);
    assert_eq!(home.matches("the store does not answer").count(), 2, "{home}");
    assert!(home.contains("Brokers") && home.contains("north") && home.contains("Sessions lost lately"), "{home}");
    waiting.abort();
}

#[tokio::test]
async fn who_looks_on_is_told_and_goes_on_afterwards() {
    let store = store();
    let world = World::on(store.clone()).await;
    let path = "/live/resource?lockspace=default&name=r";
    let mut events = Events::new(world.page.begin(Method::GET, path, None, Bytes::new()).await);
    let next = async |events: &mut Events| events.next().await.expect("it goes on").0;
    assert_eq!(next(&mut events).await, "view");
    without(&store, Operation::Read);
    until("it is told", async || next(&mut events).await == "trouble").await;
    store.set_plan(|_| Fault::None);
    until("it goes on", async || next(&mut events).await == "view").await;
}
