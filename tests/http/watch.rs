//! A resource, now and after each change.

use bytes::Bytes;
use http::Method;
use serde_json::json;

use super::broker;
use crate::support::http::{Events, Http};

const PATH: &str = "/v1/resources/a%2Fb:watch";

async fn events(http: &Http) -> Events {
    Events::new(http.begin(Method::GET, PATH, None, Bytes::new()).await)
}

async fn lease(http: &Http) -> (String, Http) {
    let lease = http.post("/v1/leases", json!({ "resource": "a/b", "mode": "EX" })).await.is(200);
    (format!("/v1/leases/{}", lease["lease"].as_str().unwrap()), http.of(lease["token"].as_str().unwrap()))
}

#[tokio::test]
async fn each_state_is_an_event_and_who_comes_back_hears_only_of_new_ones() {
    let (_broker, http) = broker().await;
    let mut watch = events(&http).await;
    let (name, id, state) = watch.next().await.unwrap();
    assert_eq!((name.as_str(), id.as_str(), &state["claims"]), ("state", "0", &json!([])));
    let (path, mine) = lease(&http).await;
    let (_, id, state) = watch.next().await.unwrap();
    assert_eq!((state["claims"][0]["granted"].as_str(), state["version"].as_str()), (Some("EX"), Some(id.as_str())));

    let mut same = events(&http.with("last-event-id", &id)).await;
    mine.delete(&path).await.is(200);
    for watch in [&mut watch, &mut same] {
        let (mut name, mut newer, mut state) = watch.next().await.unwrap();
        if name == "resync" {
            // It began to look after the release.
            (name, newer, state) = watch.next().await.unwrap();
        }
        assert_eq!((name.as_str(), &state["claims"]), ("state", &json!([])));
        assert_ne!(newer, id);
    }
    let mut missed = events(&http.with("last-event-id", &id)).await;
    assert_eq!(missed.next().await.unwrap().0, "resync");
    assert_eq!(missed.next().await.unwrap().0, "state");
}

#[tokio::test]
async fn one_answer_waits_for_another_version() {
    let (_broker, http) = broker().await;
    let ask = |version: &str, wait: &str| format!("{PATH}?version={version}&wait={wait}");
    assert_eq!(http.get(&ask("7", "30s")).await.is(200)["version"], "0", "another version is there already");
    assert_eq!(http.get(&ask("0", "300ms")).await.is(200)["version"], "0", "nothing changed in time");
    let waits = tokio::spawn({
        let (http, path) = (http.clone(), ask("0", "30s"));
        async move { http.get(&path).await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert!(!waits.is_finished());
    lease(&http).await;
    assert_eq!(waits.await.unwrap().is(200)["claims"][0]["granted"], "EX");
    http.get(&format!("{PATH}?wait=1s")).await.is(400);
    http.get(&ask("0", "1m")).await.is(400);
    http.get(&ask("x", "1s")).await.is(400);
}
