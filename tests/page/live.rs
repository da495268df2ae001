//! A view again whenever it has changed.

use bytes::Bytes;
use http::Method;
use sixpin_client::Mode;

use super::sign::signed_in;
use super::{Tokens, World, html, with};
use crate::support::http::{Events, Http};
use crate::support::soon;

async fn follow(http: &Http, path: &str) -> Events {
    Events::new(http.begin(Method::GET, path, None, Bytes::new()).await)
}

/// Waits for a view that says this.
async fn says(events: &mut Events, text: &str) {
    soon(text, async {
        loop {
            let (name, _, view) = events.next().await.unwrap();
            assert_eq!(name, "view");
            if view.as_str().unwrap().contains(text) {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn what_changes_is_sent() {
    let world = World::start().await;
    let mut home = follow(&world.page, "/live/home").await;
    let mut resource = follow(&world.page, "/live/resource?lockspace=default&name=r").await;
    says(&mut home, "Nobody waits at this broker").await;
    says(&mut resource, "Nobody has a claim").await;
    let (holder, waiter) = (world.session("holder").await, world.session("waiter").await);
    let mut session = follow(&world.page, &format!("/live/session?id={}", waiter.id())).await;
    let held = holder.lock("r", Mode::EX).label("<first>").await.unwrap();
    says(&mut resource, "&lt;first&gt;").await;
    let waiting = tokio::spawn(waiter.lock("r", Mode::EX).label("second").into_future());
    for events in [&mut home, &mut resource, &mut session] {
        says(events, "second").await;
    }
    held.release().await.unwrap();
    says(&mut home, "Nobody waits at this broker").await;
    says(&mut session, ">granted<").await;
    says(&mut resource, "waited, and was granted").await;
    drop(waiting.await.unwrap().unwrap());
}

#[tokio::test]
async fn who_may_not_watch_looks_once_and_who_is_not_known_any_more_is_told() {
    let tokens = Tokens::new();
    let world = World::configured(&tokens.settings).await;
    let (operator, reader) = (with(&world.page, &tokens.operator), with(&world.page, &tokens.reader));
    html(&reader.get("/").await, 200);
    html(&reader.get("/live/home").await, 403);
    html(&reader.get("/live/resource?name=r").await, 403);
    html(&world.page.get("/live/home").await, 401);
    let mut home = follow(&operator, "/live/home").await;
    says(&mut home, "Nobody waits").await;
    world.server.reload(super::config(&tokens.settings.replace(", \"watch\"", ""))).await.unwrap();
    let (name, _, why) = loop {
        let event = home.next().await.unwrap();
        if event.0 != "view" {
            break event;
        }
    };
    assert!(name == "over" && why.as_str().unwrap().contains("watch"), "{why}");
    assert!(home.next().await.is_none());
}

#[tokio::test]
async fn signing_out_ends_what_was_followed() {
    let tokens = Tokens::new();
    let world = World::configured(&tokens.settings).await;
    let (_, http) = signed_in(&world, tokens.operator.reveal()).await;
    let mut home = follow(&http, "/live/home").await;
    says(&mut home, "Nobody waits").await;
    assert_eq!(world.send(&http, "/sign-out", &[]).await.status, 303);
    soon("the end", async { while home.next().await.is_some_and(|(name, _, _)| name != "over") {} }).await;
    assert!(home.next().await.is_none());
}

#[tokio::test]
async fn a_right_to_watch_one_resource_shows_no_other_view() {
    let tokens = Tokens::new();
    let rules = "allow = [\"inspect\"] }, { lockspace = \"*\", prefix = \"x/\", allow = [\"watch\"] }]";
    let world = World::configured(&tokens.settings.replace("allow = [\"inspect\"] }]", rules)).await;
    let reader = with(&world.page, &tokens.reader);
    let mut resource = follow(&reader, "/live/resource?name=x%2Fa").await;
    says(&mut resource, "Nobody has a claim").await;
    for path in ["/live/home", "/live/home?name=x%2Fa", "/live/session?id=0000000000000001-1-1000&name=x%2Fa"] {
        html(&reader.get(path).await, 403);
    }
    html(&reader.get("/live/resource?name=y").await, 403);
}

#[tokio::test]
async fn streams_of_one_principal_count_as_watches() {
    let tokens = Tokens::new();
    let settings = format!("{}[access.quotas]\nwatches = 2\n", tokens.settings);
    let world = World::configured(&settings).await;
    let operator = with(&world.page, &tokens.operator);
    let first = follow(&operator, "/live/home").await;
    let second = follow(&operator, "/live/home").await;
    let refused = operator.get("/live/home").await;
    assert!(html(&refused, 429).contains("access.quotas.watches"));
    drop((first, second));
    crate::support::until("there is room again", async || {
        operator.begin(Method::GET, "/live/home", None, Bytes::new()).await.status() == 200
    })
    .await;
}
