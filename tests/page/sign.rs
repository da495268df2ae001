//! Signing in, and what that is good for.

use http::Method;
use serde_json::json;

use super::{Tokens, World, header, html, post, with};
use crate::support::http::Http;

/// What the browser keeps once somebody has signed in.
async fn signed_in(world: &World, token: &str) -> (String, Http) {
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
