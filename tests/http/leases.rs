//! Leases.

use std::time::Duration;

use serde_json::{Value, json};

use super::broker;
use crate::support::http::Http;
use crate::support::until;

fn path(lease: &Value, verb: &str) -> String {
    format!("/v1/leases/{}{verb}", lease["lease"].as_str().unwrap())
}

fn of(http: &Http, lease: &Value) -> Http {
    http.of(lease["token"].as_str().unwrap())
}

fn exclusive(name: &str) -> Value {
    json!({ "resource": name, "mode": "EX", "ttl": "20s", "label": "host-7" })
}

#[tokio::test]
async fn a_lease_is_taken_shown_renewed_and_released() {
    let (_broker, http) = broker().await;
    let lease = http.post("/v1/leases", exclusive("a/b c")).await.is(200);
    assert_eq!((&lease["ttlMs"], &lease["mode"], &lease["resource"]), (&json!(20_000), &json!("EX"), &json!("a/b c")));
    assert!(lease["fence"].as_str().unwrap().parse::<u64>().unwrap() > 0);
    let refused = http.post("/v1/leases", exclusive("a/b c")).await.is(409);
    assert_eq!(
        (&refused["reason"], &refused["completion"]["blockers"][0]["label"]),
        (&json!("WOULD_WAIT"), &json!("host-7"))
    );

    let seen = http.get("/v1/resources/a%2Fb%20c").await.is(200);
    assert_eq!(seen["claims"][0]["granted"], "EX");
    let by_body = http.post("/v1/resources:get", json!({ "resource": { "name": "a/b c" } })).await.is(200);
    assert_eq!(by_body["claims"][0]["session"], seen["claims"][0]["session"]);
    let still = of(&http, &lease).get(&path(&lease, "")).await.is(200);
    assert_eq!((&still["fence"], &still["mode"], still.get("token")), (&lease["fence"], &lease["mode"], None));
    let renewed = of(&http, &lease).post(&path(&lease, ":renew"), json!({})).await.is(200);
    assert!(renewed["validForMs"].as_u64().unwrap() >= 20_000);

    for _ in 0..2 {
        assert_eq!(of(&http, &lease).delete(&path(&lease, "")).await.is(200)["status"], "RELEASED");
    }
    assert_eq!(of(&http, &lease).get(&path(&lease, "")).await.is(410)["reason"], "SESSION_GONE");
    let next = http.post("/v1/leases", exclusive("a/b c")).await.is(200);
    let fence = |lease: &Value| lease["fence"].as_str().unwrap().parse::<u64>().unwrap();
    assert!(fence(&next) > fence(&lease));
}

#[tokio::test]
async fn a_lease_that_is_not_renewed_is_over_and_not_before() {
    let (broker, http) = broker().await;
    let lease = http.post("/v1/leases", json!({ "resource": "r", "mode": "EX", "ttlMs": 3_000 })).await.is(200);
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        of(&http, &lease).post(&path(&lease, ":renew"), json!({})).await.is(200);
    }
    assert_eq!(broker.state("r").await.claims.len(), 1);
    until("the end of the lease", async || broker.state("r").await.claims.is_empty()).await;
    of(&http, &lease).post(&path(&lease, ":renew"), json!({})).await.is(410);
}

#[tokio::test]
async fn a_lease_waits_as_long_as_it_says_also_beyond_its_ttl() {
    let (_broker, http) = broker().await;
    let first = http.post("/v1/leases", json!({ "resource": "r", "mode": "PR", "ttl": "4s" })).await.is(200);
    let brief = json!({ "resource": "r", "mode": "EX", "wait": "300ms" });
    assert_eq!(http.post("/v1/leases", brief).await.is(409)["reason"], "TIMED_OUT");
    let waits = tokio::spawn({
        let http = http.clone();
        async move { http.post("/v1/leases", json!({ "resource": "r", "mode": "EX", "ttl": "2s", "wait": "20s" })).await }
    });
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        of(&http, &first).post(&path(&first, ":renew"), json!({})).await.is(200);
    }
    assert!(!waits.is_finished());
    of(&http, &first).delete(&path(&first, "")).await.is(200);
    let lease = waits.await.unwrap().is(200);
    assert!(lease["validForMs"].as_u64().unwrap() >= 7_000, "it counts from when the request was sent: {lease}");
    of(&http, &lease).post(&path(&lease, ":renew"), json!({})).await.is(200);
}

#[tokio::test]
async fn a_caller_who_goes_away_while_a_lease_waits_leaves_nothing() {
    let (broker, http) = broker().await;
    let first = http.post("/v1/leases", exclusive("r")).await.is(200);
    let waits = tokio::spawn({
        let http = http.clone();
        async move { http.post("/v1/leases", json!({ "resource": "r", "mode": "EX", "ttl": "60s", "wait": "50s" })).await }
    });
    until("the wait", async || broker.state("r").await.claims.len() == 2).await;
    waits.abort();
    until("its end", async || broker.sessions().await == 1).await;
    of(&http, &first).delete(&path(&first, "")).await.is(200);
    until("nothing", async || broker.state("r").await.claims.is_empty()).await;
}

#[tokio::test]
async fn a_repeat_with_the_same_key_is_answered_as_the_first_was() {
    let (broker, http) = broker().await;
    let keyed = http.with("idempotency-key", "nightly-1");
    let (one, two) = tokio::join!(keyed.post("/v1/leases", exclusive("r")), keyed.post("/v1/leases", exclusive("r")));
    let (one, two) = (one.is(200), two.is(200));
    assert_eq!((&one["token"], &one["fence"]), (&two["token"], &two["fence"]));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let later = keyed.post("/v1/leases", exclusive("r")).await.is(200);
    assert_eq!(later["token"], one["token"]);
    // It counts from when the copy was sent, and the session was heard before.
    assert!(later["validForMs"].as_u64().unwrap() < 19_100, "{later}");
    assert_eq!(broker.sessions().await, 1);
    let other = keyed.post("/v1/leases", exclusive("other")).await.is(400);
    assert!(other["detail"].as_str().unwrap().contains("used for another request"), "{other}");
    http.with("idempotency-key", "nightly-2").post("/v1/leases", exclusive("r")).await.is(409);
    http.with("idempotency-key", &"k".repeat(129)).post("/v1/leases", exclusive("r")).await.is(400);
    let opened = http.with("idempotency-key", "s").post("/v1/sessions", json!({})).await.is(200);
    assert_eq!(http.with("idempotency-key", "s").post("/v1/sessions", json!({})).await.is(200), opened);
}

#[tokio::test]
async fn what_cannot_be_a_lease_is_refused_and_leaves_nothing() {
    let (broker, http) = broker().await;
    for (body, text) in [
        (json!({ "mode": "EX" }), "resource.name"),
        (json!({ "resource": "r" }), "mode"),
        (json!({ "resource": "r", "mode": "EX", "wait": "1m" }), "55,000"),
        (json!({ "resource": "r", "mode": "EX", "ttl": "1ms" }), "`ttl_ms` is 1"),
        (json!({ "resource": "r", "mode": "EX", "tll": "30s" }), "`tll` is not known"),
    ] {
        let problem = http.post("/v1/leases", body.clone()).await.is(400);
        assert!(problem["detail"].as_str().unwrap().contains(text), "{body}: {problem}");
        assert_eq!(problem["mayHaveHappened"], false);
    }
    let lease = http.post("/v1/leases", exclusive("r")).await.is(200);
    http.post(&path(&lease, ":renew"), json!({})).await.is(400);
    let token = lease["token"].as_str().unwrap();
    http.post(&path(&lease, &format!(":renew?token={token}")), json!({})).await.is(400);
    http.of("sxs1~nonsense").post(&path(&lease, ":renew"), json!({})).await.is(400);
    let other = http.post("/v1/leases", exclusive("other")).await.is(200);
    of(&http, &other).delete(&path(&lease, "")).await.is(400);
    let mut forged = lease["token"].as_str().unwrap().to_owned();
    let last = if forged.pop() == Some('0') { '1' } else { '0' };
    forged.push(last);
    assert_eq!(http.of(&forged).delete(&path(&lease, "")).await.is(403)["reason"], "WRONG_TOKEN");
    assert_eq!(broker.sessions().await, 2);
}
