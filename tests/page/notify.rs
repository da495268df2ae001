//! The button that asks a holder to let go.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Method;
use sixpin_client::{ClaimEvent, Mode};
use sixpin_core::backend::Backend;
use sixpin_memory::MemoryStore;
use sixpin_server::config;
use sixpin_server::server::Server;

use super::forms::Form;
use super::{Tokens, World, encoded, html, post, with};
use crate::support::http::Http;
use crate::support::{soon, until};

const FIELDS: &[&str] = &["lockspace", "name", "session", "claim", "seal"];

/// The form beside the first holder.
async fn form(http: &Http, name: &str) -> Form {
    let page = http.get(&format!("/resource?lockspace=default&name={}", encoded(name))).await;
    Form::on(html(&page, 200), "/notify", FIELDS)
}

#[tokio::test]
async fn a_holder_is_told_what_is_wanted_and_loses_nothing() {
    let world = World::start().await;
    let (holder, waiter) = (world.session("holder").await, world.session("waiter").await);
    let guard = holder.lock("a \"b\"", Mode::EX).blocking().await.unwrap();
    let waiting = tokio::spawn(waiter.lock("a \"b\"", Mode::PR).into_future());
    let hears = async || soon("the notification", guard.next_event()).await;
    assert_eq!(hears().await, ClaimEvent::Blocking { wanted: Mode::PR, own: false });
    let form = form(&world.page, "a \"b\"").await.with("name", "a \"b\"");
    let said = world.send(&world.page, form.address, &form.all()).await;
    let said = html(&said, 200);
    let words = format!("Told claim {} of session", guard.claim());
    assert!(said.contains(&words) && said.contains(">PR<") && said.contains(&holder.id()), "{said}");
    assert_eq!(hears().await, ClaimEvent::Blocking { wanted: Mode::PR, own: false });
    assert!(guard.is_valid() && !waiting.is_finished());
    waiting.abort();
}

#[tokio::test]
async fn who_was_not_told_is_said_with_the_reason() {
    let world = World::start().await;
    let holder = world.session("holder").await;
    let deaf = holder.lock("r", Mode::EX).await.unwrap();
    let ask = async |form: &Form| world.send(&world.page, form.address, &form.all()).await;
    let to_deaf = form(&world.page, "r").await;
    let said = ask(&to_deaf).await;
    let said = html(&said, 200);
    assert!(said.contains("Not told") && said.contains("does not listen for that"), "{said}");
    deaf.release().await.unwrap();
    assert!(html(&ask(&to_deaf).await, 404).contains("holds nothing"));
    // Nobody but a holder has the button.
    let page = world.page.get("/resource?name=r").await;
    assert!(!html(&page, 200).contains("action=\"/notify\""));
}

#[tokio::test]
async fn another_broker_is_named() {
    let store = MemoryStore::new();
    let mut worlds = Vec::new();
    for _ in 0..2 {
        let backend: Arc<dyn Backend> = Arc::new(store.backend(true));
        let stores = BTreeMap::from([(config::DEFAULT_BACKEND.to_string(), backend)]);
        let server = Server::start_on(super::config(""), stores).await.unwrap();
        let page = Http::to(server.admin_address.unwrap());
        worlds.push(World { server, page });
    }
    let holder = worlds[0].session("holder").await;
    let _guard = holder.lock("r", Mode::EX).blocking().await.unwrap();
    let form = form(&worlds[1].page, "r").await;
    let said = worlds[1].send(&worlds[1].page, form.address, &form.all()).await;
    let address = worlds[0].server.admin_address.unwrap().to_string();
    assert!(html(&said, 421).contains(&address), "{}", said.body);
}

#[tokio::test]
async fn a_form_of_another_page_and_of_who_may_not_tells_nobody() {
    let tokens = Tokens::new();
    let world = World::configured(&tokens.settings).await;
    let (operator, reader) = (with(&world.page, &tokens.operator), with(&world.page, &tokens.reader));
    let holder = world.client_of(&tokens.operator).session().open().await.unwrap();
    let guard = holder.lock("r", Mode::EX).blocking().await.unwrap();
    let page = reader.get("/resource?name=r").await;
    assert!(!html(&page, 200).contains("Notify"));
    let form = form(&operator, "r").await;
    html(&post(&operator, form.address, &form.all()).await, 403);
    html(&post(&operator.with("sec-fetch-site", "cross-site"), form.address, &form.all()).await, 403);
    let forged = world.send(&operator, form.address, &form.with("seal", "x").all()).await;
    assert!(html(&forged, 403).contains("not made by this broker for you"));
    // A seal is of one claim, and of one thing that is done to it.
    html(&world.send(&operator, form.address, &form.with("claim", "2").all()).await, 403);
    let force = Form::to_force(&operator, "r", &holder.id(), guard.claim()).await;
    html(&world.send(&operator, "/notify", &force.all()).await, 403);
    html(&world.send(&operator, "/force-unlock", &form.with("typed", "r").all()).await, 403);
    html(&world.send(&reader, form.address, &form.all()).await, 403);
    html(&world.send(&world.page, form.address, &form.all()).await, 401);
    assert!(operator.ask(Method::GET, "/notify", None).await.status.is_client_error());
    world.server.reload(super::config(&tokens.settings.replace(", \"notify\"", ""))).await.unwrap();
    until("it is refused", async || {
        let refused = world.send(&operator, form.address, &form.all()).await;
        html(&refused, 403).contains("notify")
    })
    .await;
    let nothing = tokio::time::timeout(std::time::Duration::from_millis(100), guard.next_event()).await;
    assert!(nothing.is_err(), "{nothing:?}");
}
