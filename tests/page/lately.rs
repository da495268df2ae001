//! What happened on a resource lately.

use std::time::Duration;

use sixpin_client::Mode;

use super::forms::Form;
use super::{Tokens, World, html, with};
use crate::support::until;

/// The rows of the section, as people read them: without markup.
async fn rows(world: &World, name: &str) -> Vec<String> {
    let page = world.page.get(&format!("/resource?name={name}")).await;
    let section = html(&page, 200).split_once("<h2>Lately</h2>").expect("the section").1.split("</section>").next();
    let rows = section.unwrap().split("<tr role=\"row\" data-key").skip(1);
    let text = |row: &str| row.split('<').filter_map(|part| part.split_once('>')).map(|(_, text)| text).collect();
    rows.map(text).collect()
}

#[tokio::test]
async fn what_waited_was_refused_and_was_taken_away_is_shown_the_newest_first() {
    let world = World::start().await;
    let (holder, waiter) = (world.session("holder").await, world.session("waiter").await);
    let page = world.page.get("/resource?name=r").await;
    let text = html(&page, 200);
    assert!(text.contains("remembers nothing") && text.contains("since it started"), "{text}");
    let held = holder.lock("r", Mode::EX).await.unwrap();
    for _ in 0..3 {
        assert!(waiter.lock("r", Mode::PR).try_lock().await.unwrap_err().would_wait());
    }
    let waiting = tokio::spawn(waiter.lock("r", Mode::EX).into_future());
    until("it waits", async || world.waiting("r").await == 1).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    held.release().await.unwrap();
    let granted = waiting.await.unwrap().unwrap();
    until("both are shown", async || rows(&world, "r").await.len() == 2).await;
    let shown = rows(&world, "r").await;
    assert!(shown[0].contains("waited, and was granted") && shown[0].contains("EX"), "{shown:?}");
    assert!(shown[0].contains(&waiter.id()) && shown[0].contains(" ms"), "{shown:?}");
    assert!(shown[1].contains("would have waited") && shown[1].contains("3 times"), "{shown:?}");

    let form = Form::to_force(&world.page, "r", &waiter.id(), granted.claim()).await;
    let form = form.with("typed", "r").with("now", "yes");
    html(&world.send(&world.page, form.address, &form.all()).await, 200);
    until("it is shown", async || rows(&world, "r").await.len() == 4).await;
    let shown = rows(&world, "r").await;
    let find =
        |words: &str| shown.iter().find(|row| row.contains(words)).unwrap_or_else(|| panic!("{words}: {shown:?}"));
    assert!(find("force-unlock").contains("anonymous") && find("was held, and lost").contains(&waiter.id()));
}

#[tokio::test]
async fn a_session_that_is_expired_is_shown_on_what_it_held_and_a_long_hold_once_it_ends() {
    let world = World::start().await;
    let holder = world.session("holder").await;
    let long = holder.lock("long", Mode::PW).await.unwrap();
    let short = holder.lock("short", Mode::PW).await.unwrap();
    let _kept = holder.lock("kept", Mode::EX).await.unwrap();
    short.release().await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    long.release().await.unwrap();
    until("it is shown", async || !rows(&world, "long").await.is_empty()).await;
    let shown = rows(&world, "long").await;
    assert!(shown[0].contains("was held") && shown[0].contains("PW") && shown[0].contains("1 s"), "{shown:?}");
    assert!(rows(&world, "short").await.is_empty());
    let query = format!("session={}", holder.id());
    let expire = Form::of(&world.page, "/expire", &query, &["session", "seal", "lockspace"]).await;
    let expire = expire.with("typed", &holder.id()).with("now", "yes");
    html(&world.send(&world.page, expire.address, &expire.all()).await, 200);
    until("it is shown", async || rows(&world, "kept").await.iter().any(|row| row.contains("session expired"))).await;
    assert!(rows(&world, "short").await.is_empty());
}

#[tokio::test]
async fn who_may_not_inspect_a_resource_does_not_learn_what_happened_there() {
    let tokens = Tokens::new();
    let settings = tokens.settings.replace("allow = [\"inspect\"]", "allow = [\"metrics\"]");
    let world = World::configured(&settings).await;
    let holder = world.client_of(&tokens.operator).session().open().await.unwrap();
    let held = holder.lock("r", Mode::EX).await.unwrap();
    assert!(holder.lock("r", Mode::EX).try_lock().await.unwrap_err().would_wait());
    let page = with(&world.page, &tokens.reader).get("/resource?name=r").await;
    assert!(!html(&page, 403).contains("Lately"));
    until("whoever may sees it", async || {
        let page = with(&world.page, &tokens.operator).get("/resource?name=r").await;
        html(&page, 200).contains("would have waited")
    })
    .await;
    drop(held);
}
