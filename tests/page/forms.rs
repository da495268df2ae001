//! What takes something away: by whom, and by nobody else.

use http::Method;
use sixpin_client::Mode;

use super::{Tokens, World, encoded, hidden, html, post, with};
use crate::support::http::Http;
use crate::support::until;

/// The fields of a form of the page, as a browser sends them.
pub struct Form {
    pub address: &'static str,
    fields: Vec<(String, String)>,
}

impl Form {
    pub async fn of(http: &Http, address: &'static str, query: &str, names: &[&str]) -> Self {
        let page = http.get(&format!("{address}?{query}")).await;
        Self::on(html(&page, 200), address, names)
    }

    /// The first form of a page that goes to this address.
    pub fn on(page: &str, address: &'static str, names: &[&str]) -> Self {
        let begin = format!("action=\"{address}\">");
        let form = page.split_once(&begin).unwrap_or_else(|| panic!("no form to {address}: {page}")).1;
        let field = |name: &&str| ((*name).to_owned(), hidden(form, name).replace("&amp;", "&"));
        Self { address, fields: names.iter().map(field).collect() }
    }

    pub async fn to_force(http: &Http, name: &str, session: &str, claim: u64) -> Self {
        let query = format!("lockspace=default&name={}&session={session}&claim={claim}", encoded(name));
        Self::of(http, "/force-unlock", &query, &["lockspace", "name", "session", "claim", "seal"]).await
    }

    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut fields = self.fields.clone();
        fields.retain(|(own, _)| own != name);
        fields.push((name.to_owned(), value.to_owned()));
        Self { address: self.address, fields }
    }

    pub fn all(&self) -> Vec<(&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }
}

#[tokio::test]
async fn a_claim_is_taken_away_once_its_resource_is_named() {
    let world = World::start().await;
    let (holder, waiter) = (world.session("holder").await, world.session("waiter").await);
    let guard = holder.lock("a b/\"c\"", Mode::EX).await.unwrap();
    let waiting = tokio::spawn(waiter.lock("a b/\"c\"", Mode::EX).into_future());
    until("it waits", async || world.waiting("a b/\"c\"").await == 1).await;
    let form = Form::to_force(&world.page, "a b/\"c\"", &holder.id(), guard.claim()).await;
    let form = form.with("name", "a b/\"c\"");
    let wrong = world.send(&world.page, form.address, &form.with("typed", "a b").all()).await;
    assert!(html(&wrong, 400).contains("the name that was typed is another one"));
    assert!(guard.is_valid() && !waiting.is_finished());
    let done = world.send(&world.page, form.address, &form.with("typed", "a b/\"c\"").all()).await;
    let done = html(&done, 200);
    assert!(done.contains("Taken away") && done.contains("is free"), "{done}");
    let granted = crate::support::soon("the grant", waiting).await.unwrap().unwrap();
    until("the holder knows", async || !guard.is_valid()).await;
    assert!(granted.is_valid());
}

#[tokio::test]
async fn at_once_is_free_once_it_is_said_so() {
    let world = World::start().await;
    let (holder, waiter) = (world.session("holder").await, world.session("waiter").await);
    let guard = holder.lock("r", Mode::EX).await.unwrap();
    let form =
        Form::to_force(&world.page, "r", &holder.id(), guard.claim()).await.with("typed", "r").with("now", "yes");
    assert!(html(&world.send(&world.page, form.address, &form.all()).await, 200).contains(" is free."));
    drop(waiter.lock("r", Mode::EX).try_lock().await.unwrap());
    let _held = holder.lock("s", Mode::EX).await.unwrap();
    let query = format!("session={}", holder.id());
    let expire = Form::of(&world.page, "/expire", &query, &["session", "seal", "lockspace"]).await;
    let expire = expire.with("typed", &holder.id()).with("now", "yes");
    assert!(html(&world.send(&world.page, expire.address, &expire.all()).await, 200).contains(" is free."));
    drop(waiter.lock("s", Mode::EX).try_lock().await.unwrap());
}

#[tokio::test]
async fn what_a_session_held_may_be_withheld_after_it() {
    let world = World::start().await;
    let holder = world.session("holder").await;
    let page = world.page.get(&format!("/expire?session={}", holder.id())).await;
    assert!(html(&page, 200).contains("lock-delay"));
    let expire =
        Form::of(&world.page, "/expire", &format!("session={}", holder.id()), &["session", "seal", "lockspace"]).await;
    let done = world.send(&world.page, expire.address, &expire.with("typed", &holder.id()).all()).await;
    assert!(html(&done, 200).contains(" is free in at most ") && html(&done, 200).contains("lock-delay"));
}

#[tokio::test]
async fn a_form_of_another_page_changes_nothing() {
    let world = World::start().await;
    let holder = world.session("holder").await;
    let (guard, other) = (holder.lock("r", Mode::EX).await.unwrap(), holder.lock("s", Mode::EX).await.unwrap());
    let form = Form::to_force(&world.page, "r", &holder.id(), guard.claim()).await.with("typed", "r");
    let (http, own) = (&world.page, world.address());
    // Browsers say from where a form comes, one way or the other, and who says nothing is none.
    for http in [
        http.clone(),
        http.with("origin", "http://evil.example"),
        http.with("origin", "null"),
        http.with("origin", &own).with("sec-fetch-site", "cross-site"),
        http.with("sec-fetch-site", "same-site"),
        http.with("sec-fetch-site", "cross-site").with("sec-fetch-mode", "navigate").with("sec-fetch-dest", "document"),
    ] {
        html(&post(&http, form.address, &form.all()).await, 403);
    }
    // A site that leads its own name here is not at home either.
    let rebound = http.with("host", "evil.example").with("origin", "http://evil.example");
    html(&post(&rebound, form.address, &form.all()).await, 403);
    let of_other = Form::to_force(http, "s", &holder.id(), other.claim()).await;
    for bad in ["", "x", &"A".repeat(43), hidden_of(&of_other)] {
        let answer = world.send(http, form.address, &form.with("seal", bad).all()).await;
        assert!(html(&answer, 403).contains("not made by this broker for you"), "{bad}");
    }
    let elsewhere = World::start().await;
    let stranger = Form::of(
        &elsewhere.page,
        "/force-unlock",
        &format!("lockspace=default&name=r&session={}&claim={}", holder.id(), guard.claim()),
        &["seal"],
    )
    .await;
    html(&world.send(http, form.address, &form.with("seal", hidden_of(&stranger)).all()).await, 403);
    // Looking changes nothing, whatever the address says.
    let query: Vec<String> = form.all().iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    html(&http.get(&format!("/force-unlock?{}", query.join("&"))).await, 200);
    assert!(http.ask(Method::PUT, "/force-unlock", None).await.status.is_client_error());
    assert!(guard.is_valid() && other.is_valid());
    assert_eq!(world.page.get("/v1/resources/r").await.is(200)["claims"][0]["granted"], "EX");
    html(&world.send(http, form.address, &form.all()).await, 200);
    until("it is taken away", async || !guard.is_valid()).await;
}

fn hidden_of(form: &Form) -> &str {
    &form.fields.iter().find(|(name, _)| name == "seal").unwrap().1
}

#[tokio::test]
async fn who_may_only_look_takes_nothing_away() {
    let tokens = Tokens::new();
    let world = World::configured(&tokens.settings).await;
    let (operator, reader) = (with(&world.page, &tokens.operator), with(&world.page, &tokens.reader));
    let holder = world.client_of(&tokens.operator).session().open().await.unwrap();
    let guard = holder.lock("r", Mode::EX).await.unwrap();
    let page = reader.get("/resource?name=r").await;
    assert!(!html(&page, 200).contains("Force-unlock") && html(&page, 200).contains("needs the verb"));
    let page = reader.get(&format!("/session?id={}", holder.id())).await;
    assert!(!html(&page, 200).contains("Expire the session") && !html(&page, 200).contains("Force-unlock"));
    let form = Form::to_force(&operator, "r", &holder.id(), guard.claim()).await.with("typed", "r");
    let query = format!("name=r&session={}&claim={}", holder.id(), guard.claim());
    html(&reader.get(&format!("/force-unlock?{query}")).await, 403);
    html(&reader.get(&format!("/expire?session={}", holder.id())).await, 403);
    // What was made for another one is none of his.
    html(&world.send(&reader, form.address, &form.all()).await, 403);
    html(&world.send(&world.page, form.address, &form.all()).await, 401);
    let expire =
        Form::of(&operator, "/expire", &format!("session={}", holder.id()), &["session", "seal", "lockspace"]).await;
    let expire = expire.with("typed", &holder.id());
    html(&world.send(&reader, expire.address, &expire.all()).await, 403);
    assert!(guard.is_valid());
    let done = world.send(&operator, expire.address, &expire.all()).await;
    assert!(html(&done, 200).contains("The session ends"));
    until("it has ended", async || !guard.is_valid()).await;
}

#[tokio::test]
async fn a_role_that_lost_the_verb_after_the_form_was_made_is_refused_by_the_call() {
    let tokens = Tokens::new();
    let world = World::configured(&tokens.settings).await;
    let operator = with(&world.page, &tokens.operator);
    let session = "0000000000000001-1-1000";
    let form = Form::to_force(&operator, "r", session, 1).await.with("typed", "r");
    world.server.reload(super::config(&tokens.settings.replace(", \"force\"", ""))).await.unwrap();
    let refused = world.send(&operator, form.address, &form.all()).await;
    assert!(html(&refused, 403).contains("force"), "{}", refused.body);
}
