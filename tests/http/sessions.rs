//! Sessions and their claims.

use serde_json::json;

use super::{broker, lock, session};
use crate::support::http::Http;
use crate::support::{Broker, until};

#[tokio::test]
async fn all_that_a_session_does_with_its_claims() {
    let (broker, http) = broker().await;
    let (path, mine) = session(&http).await;
    let claims = format!("{path}/claims");
    let granted = mine.post(&claims, lock(1, "r", "EX")).await.is(200);
    assert_eq!((&granted["status"], &granted["mode"]), (&json!("GRANTED"), &json!("EX")));
    assert_eq!(mine.post(&claims, lock(1, "r", "EX")).await.is(200)["fence"], granted["fence"], "a repeat");
    let down = json!({ "operation": 2, "mode": "PR", "valueBlock": true, "value": { "text": "hello" } });
    assert_eq!(mine.post(&format!("{claims}/1:convert"), down).await.is(200)["mode"], "PR");
    assert_eq!(http.get("/v1/resources/r").await.is(200)["value"]["text"], "hello");
    assert_eq!(mine.post(&format!("{path}:keepAlive"), json!({})).await.is(200)["lostClaims"], json!([]));

    let (other_path, other) = session(&http).await;
    let refused = json!({ "claim": 1, "operation": 1, "resource": { "name": "r" }, "mode": "EX", "timeout": "0s" });
    assert_eq!(other.post(&format!("{other_path}/claims"), refused).await.is(409)["reason"], "WOULD_WAIT");
    other.post(&format!("{path}/claims"), lock(2, "r", "EX")).await.is(400);

    let listed = http.get(&format!("/v1/claims?session={}", path.rsplit('/').next().unwrap())).await.is(200);
    assert_eq!(listed["claims"][0]["resource"]["name"], "r");
    let unlocked = mine.delete(&format!("{claims}/1?operation=3")).await.is(200);
    assert_eq!(unlocked["status"], "RELEASED");
    for claim in 2..5 {
        mine.post(&claims, lock(claim, &format!("s{claim}"), "EX")).await.is(200);
    }
    assert_eq!(mine.post(&format!("{path}:unlockAll"), json!({})).await.is(200)["released"], 3);
    mine.post(&format!("{path}:close"), json!({})).await.is(200);
    mine.post(&claims, lock(9, "r", "EX")).await.is(410);
    other.post(&format!("{other_path}:close"), json!({})).await.is(200);
    until("no sessions", async || broker.sessions().await == 0).await;
}

#[tokio::test]
async fn a_conversion_that_waits_long_says_where_it_stands_and_goes_on_at_the_same_place() {
    let (broker, http) = broker().await;
    let (reader_path, reader) = session(&http).await;
    reader.post(&format!("{reader_path}/claims"), lock(1, "r", "PR")).await.is(200);
    let (path, mine) = session(&http).await;
    mine.post(&format!("{path}/claims"), lock(1, "r", "PR")).await.is(200);
    let wanted = || json!({ "operation": 2, "mode": "EX" });
    let impatient = mine.with("prefer", "wait=0");
    let queued = impatient.post(&format!("{path}/claims/1:convert"), wanted()).await.is(202);
    assert_eq!((&queued["claim"], &queued["operation"]), (&json!("1"), &json!(2)));
    let again = impatient.post(&format!("{path}/claims/1:convert"), wanted()).await.is(202);
    assert_eq!(again["ticket"], queued["ticket"]);

    // One that goes away keeps its place as well.
    let waits = tokio::spawn({
        let (mine, path) = (mine.clone(), path.clone());
        async move { mine.post(&format!("{path}/claims/1:convert"), wanted()).await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    waits.abort();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(broker.state("r").await.claims.len(), 2);
    reader.delete(&format!("{reader_path}/claims/1?operation=2")).await.is(200);
    let granted = mine.post(&format!("{path}/claims/1:convert"), wanted()).await.is(200);
    assert_eq!((&granted["status"], &granted["mode"]), (&json!("GRANTED"), &json!("EX")));
}

#[tokio::test]
async fn a_lock_that_waits_long_says_where_it_stands_and_goes_on_at_the_same_place() {
    let (broker, http) = broker().await;
    let (holder_path, holder) = session(&http).await;
    holder.post(&format!("{holder_path}/claims"), lock(1, "r", "EX")).await.is(200);
    let (path, mine) = session(&http).await;
    let impatient = mine.with("prefer", "wait=1");
    let queued = impatient.post(&format!("{path}/claims"), lock(1, "r", "EX")).await.is(202);
    assert_eq!((&queued["claim"], &queued["position"]), (&json!("1"), &json!(0)));
    let again = impatient.post(&format!("{path}/claims"), lock(1, "r", "EX")).await.is(202);
    assert_eq!(again["ticket"], queued["ticket"]);

    // One that goes away keeps its place as well.
    let waits = tokio::spawn({
        let (mine, path) = (mine.clone(), path.clone());
        async move { mine.post(&format!("{path}/claims"), lock(1, "r", "EX")).await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    waits.abort();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(broker.state("r").await.claims.len(), 2);
    holder.delete(&format!("{holder_path}/claims/1?operation=2")).await.is(200);
    until("the grant", async || broker.state("r").await.claims.iter().any(|claim| claim.fence > 0)).await;
    let granted = mine.post(&format!("{path}/claims"), lock(1, "r", "EX")).await.is(200);
    assert_eq!(granted["status"], "GRANTED");
}

#[tokio::test]
async fn a_wait_is_withdrawn_and_answered() {
    let (broker, http) = broker().await;
    let (holder_path, holder) = session(&http).await;
    holder.post(&format!("{holder_path}/claims"), lock(1, "r", "EX")).await.is(200);
    let (path, mine) = session(&http).await;
    let waits = tokio::spawn({
        let (mine, path) = (mine.clone(), path.clone());
        async move { mine.post(&format!("{path}/claims"), lock(1, "r", "PR")).await }
    });
    until("the wait", async || broker.state("r").await.claims.len() == 2).await;
    assert_eq!(mine.post(&format!("{path}/claims/1:cancel"), json!({})).await.is(200)["result"], "CANCELLED");
    assert_eq!(waits.await.unwrap().is(409)["reason"], "CANCELLED");
    assert_eq!(broker.state("r").await.claims.len(), 1);
}

#[tokio::test]
async fn a_session_moves_to_another_broker_on_the_store() {
    let place = crate::support::store::Place::new();
    let (first, second) = (Broker::on(place.clone(), "").await, Broker::on(place, "").await);
    first.use_sockets();
    second.use_sockets();
    let (path, mine) = session(&Http::clients_of(&first)).await;
    let granted = mine.post(&format!("{path}/claims"), lock(1, "r", "EX")).await.is(200);
    let http = Http::clients_of(&second);
    let token = mine.header("sixpin-token");
    let there = http.of(&token);
    let elsewhere = there.post(&format!("{path}:keepAlive"), json!({})).await.is(421);
    assert_eq!(
        (&elsewhere["reason"], &elsewhere["address"]),
        (&json!("NOT_HERE"), &json!(first.server.address.to_string()))
    );
    let claim = json!({
        "claim": 1, "resource": { "name": "r" }, "lastOperation": 1, "mode": "EX",
        "fence": granted["fence"], "grantSeq": granted["grantSeq"],
    });
    let resume = json!({ "moveNumber": 1, "nextClaim": 2, "claims": [claim] });
    let resumed = there.post(&format!("{path}:resume"), resume).await.is(200);
    assert_eq!(resumed["claims"][0]["mode"], "EX");
    let unlocked = there.delete(&format!("{path}/claims/1?operation=2")).await.is(200);
    assert_eq!(unlocked["status"], "RELEASED");
}

#[tokio::test]
async fn what_administrators_do() {
    let (broker, http) = broker().await;
    let admin = Http::administrators_of(&broker);
    let (path, mine) = session(&http).await;
    let name = path.rsplit('/').next().unwrap();
    mine.post(&format!("{path}/claims"), lock(1, "a/b", "EX")).await.is(200);
    // A session without a stream hears nothing.
    assert_eq!(
        admin.post("/v1/resources/a%2Fb:notifyHolder", json!({ "session": name })).await.is(409)["reason"],
        "BUSY"
    );
    let other = json!({ "resource": { "name": "a" }, "session": name, "claim": "1" });
    admin.post("/v1/resources:notifyHolder", other).await.is(404);
    let force = json!({ "session": name, "now": true });
    http.post("/v1/resources/a%2Fb:forceUnlock", force.clone()).await.is(404);
    let taken = admin.post("/v1/resources/a%2Fb:forceUnlock", force).await.is(200);
    assert_eq!((&taken["claims"], &taken["free"]), (&json!(["1"]), &json!(true)));
    let whole = json!({ "resource": { "name": "a/b" } });
    admin.post("/v1/resources:purgeOrphans", whole).await.is(400);
    assert_eq!(admin.post("/v1/resources/a%2Fb:purgeOrphans", json!({ "all": true })).await.is(200)["purged"], 0);
    assert_eq!(admin.get("/v1/sessions").await.is(200)["sessions"][0]["session"], name);
    admin.post(&format!("/v1/sessions/{name}:expire"), json!({ "now": true })).await.is(200);
    mine.post(&format!("{path}:keepAlive"), json!({})).await.is(410);
    assert_eq!(admin.get("/v1/brokers").await.is(200)["brokers"][0]["own"], true);
    assert_eq!(admin.get("/v1/status").await.is(200)["backends"][0]["state"], "SERVING");
}
