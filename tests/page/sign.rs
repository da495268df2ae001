//! Signing in, and what that is good for.

use http::Method;
use serde_json::json;

use super::{Tokens, World, header, html, post, with};
use crate::support::http::Http;

/// What the browser keeps once somebody has signed in.
pub async fn signed_in(world: &World, token: &str) -> (String, Http) {
    let answer = world.send(&world.page, "/sign-in", &[("credential", token)]).await;
    assert_eq!((answer.status.as_u16(), header(&answer.headers, "location")), (303, "/"));
    let cookie = header(&answer.headers, "set-cookie").to_owned();
    let shown = cookie.split(';').next().unwrap().to_owned();
    let http = world.page.with("cookie", &format!("other=1; {shown}"));
    (cookie, http)
}

#[tokio::test]
async fn a_token_opens_the_page_and_nothing_else() {
    let tokens = Tokens::new();
    let world = World::configured(&tokens.settings).await;
    let unknown = world.page.get("/").await;
    assert!(html(&unknown, 401).contains("name=\"credential\""));
    assert_eq!(world.page.get("/page.css").await.status, 200, "what the form looks like is no secret");
    for wrong in ["", "x", "sxp_operator_wrong"] {
        assert!(html(&world.send(&world.page, "/sign-in", &[("credential", wrong)]).await, 401).contains("not taken"));
    }
    let (cookie, http) = signed_in(&world, tokens.operator.reveal()).await;
    for part in ["; HttpOnly", "; SameSite=Strict", "; Path=/", "; Max-Age=43200"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains(tokens.operator.reveal()) && !cookie.contains("Secure"));
    let home = http.get("/").await;
    assert!(html(&home, 200).contains("token:operator") && html(&home, 200).contains("Sign out"));
    // A page of another site could make a browser send the cookie to a call. No call looks for it.
    http.get("/v1/status").await.is(401);
    http.get("/metrics").await.is(401);
    http.post("/v1/resources/r:forceUnlock", json!({ "session": "0000000000000001-1-1000" })).await.is(401);
    assert_eq!(http.get("/v1/resources/r:watch").await.status, 401);
    // A header says more than a cookie.
    let reader = with(&http, &tokens.reader);
    assert!(html(&reader.get("/").await, 200).contains("token:reader"));
    html(&http.with("authorization", "Bearer sxp_x_y").get("/").await, 401);

    html(&post(&http.with("origin", "http://evil.example"), "/sign-out", &[]).await, 403);
    html(&http.get("/").await, 200);
    let out = world.send(&http, "/sign-out", &[]).await;
    assert!(header(&out.headers, "set-cookie").contains("Max-Age=0"));
    html(&http.get("/").await, 401);
}

#[tokio::test]
async fn cookies_of_other_brokers_are_none_of_this_one() {
    let tokens = Tokens::new();
    let (north, south) = (World::configured(&tokens.settings).await, World::configured(&tokens.settings).await);
    let (_, of_north) = signed_in(&north, tokens.operator.reveal()).await;
    let (_, of_south) = signed_in(&south, tokens.operator.reveal()).await;
    let (first, second) = (of_north.header("cookie"), of_south.header("cookie"));
    let name = |cookie: &str| cookie.rsplit_once("sixpin-page-").unwrap().1.split('=').next().unwrap().to_owned();
    assert_ne!(name(&first), name(&second));
    // As many as a browser has gathered of brokers that it calls by the same host.
    let others: Vec<_> = (0..40).map(|number| format!("sixpin-page-{number:04}={}; ", "A".repeat(43))).collect();
    let others = others.concat();
    let both = north.page.with("cookie", &format!("{others}{second}; {first}"));
    html(&both.get("/").await, 200);
    assert_eq!(north.send(&both, "/sign-out", &[]).await.status, 303);
    html(&both.get("/").await, 401);
    html(&of_south.get("/").await, 200);
}

#[tokio::test]
async fn a_form_without_end_is_refused_before_it_is_looked_at() {
    let tokens = Tokens::new();
    let world = World::configured(&tokens.settings).await;
    let names: Vec<String> = (0..40).map(|number| format!("f{number}")).collect();
    let mut fields: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    fields.push(("credential", tokens.operator.reveal()));
    assert!(html(&world.send(&world.page, "/sign-in", &fields).await, 400).contains("at most 32 fields"));
    let long = "x".repeat(20_000);
    let fields = [("credential", tokens.operator.reveal()), ("more", long.as_str())];
    assert!(html(&world.send(&world.page, "/sign-in", &fields).await, 413).contains("16384 bytes"));
}

#[tokio::test]
async fn who_has_signed_in_is_known_for_as_long_as_the_token_is() {
    let tokens = Tokens::new();
    let world = World::configured(&tokens.settings).await;
    let (_, http) = signed_in(&world, tokens.operator.reveal()).await;
    html(&http.get("/").await, 200);
    let reader = tokens.settings.replace("roles = [\"operator\"]", "roles = [\"reader\"]");
    world.server.reload(super::config(&reader)).await.unwrap();
    html(&http.get("/force-unlock?name=r&session=0000000000000001-1-1000&claim=1").await, 403);
    let without = tokens.settings.replace(&tokens.operator.digest().to_string(), &"0".repeat(64));
    world.server.reload(super::config(&without)).await.unwrap();
    html(&http.get("/").await, 401);
}

#[tokio::test]
async fn a_link_on_another_site_leads_here_and_its_scripts_do_not() {
    let world = World::start().await;
    let elsewhere = world.page.with("sec-fetch-site", "cross-site");
    let link = elsewhere.with("sec-fetch-mode", "navigate").with("sec-fetch-dest", "document");
    html(&link.get("/").await, 200);
    html(&elsewhere.get("/").await, 403);
    html(&elsewhere.with("sec-fetch-mode", "navigate").with("sec-fetch-dest", "iframe").get("/").await, 403);
    html(&elsewhere.with("sec-fetch-mode", "no-cors").with("sec-fetch-dest", "empty").get("/live/home").await, 403);
    html(&world.page.with("host", "evil.example").get("/").await, 403);
    link.ask(Method::GET, "/v1/status", None).await.is(403);
}
