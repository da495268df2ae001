//! What a delete leaves, and what a full stream refuses.

use std::time::Duration;

use serde_json::json;
use sixpin_conformance::Refusals as _;
use sixpin_conformance::broker::{Broker, committed, delete, put, resource};
use sixpin_core::backend::{Family, Slot, WriteOutcome};
use sixpin_core::name::Version;
use sixpin_nats::Settings;
use sixpin_testkit::{nats, until};

use crate::support::{BUCKET, Nats};

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_marker_goes_away_after_its_life_and_versions_go_on_rising() {
    let store = Nats::with(nats(), Settings { marker_life: Duration::from_secs(1), ..Settings::default() }).await;
    let broker = Broker::join(&store).await;
    let (key, kept) = (resource("r"), resource("kept"));
    let first = broker.put(&key, Version::ABSENT, "one").await;
    let marker = broker.delete(&key, first).await;
    // A record that is written over a marker does not inherit its end.
    let over = broker.put(&kept, Version::ABSENT, "one").await;
    let over = broker.delete(&kept, over).await;
    let over = broker.put(&kept, over, "two").await;

    assert!(until(PATIENCE, || async { broker.read(&key).await.version.is_absent() }).await, "the marker goes away");
    for wrong in [first, marker] {
        // Not just "something else": a mark that is written again and again would never hear what is there.
        assert_eq!(broker.write(put(&key, wrong, "wrong")).await, WriteOutcome::Conflict(Slot::default()));
    }
    let again = broker.put(&key, Version::ABSENT, "again").await;
    assert!(again > marker, "versions rise even when nothing is left to compare with");
    broker.sees(&kept, over, Some(b"two")).await;
    let page = broker.backend.list(&Family::AllResources, None, 10).await.unwrap();
    assert_eq!(page.keys.len(), 2);
}

#[tokio::test]
async fn only_markers_have_an_end() {
    let store = Nats::start().await;
    let broker = Broker::join(&store).await;
    let key = resource("r");
    let version = broker.put(&key, Version::ABSENT, "one").await;
    broker.delete(&key, version).await;
    broker.put(&resource("s"), Version::ABSENT, "one").await;
    let last = store.stream().await["state"]["last_seq"].as_u64().unwrap();
    let mut ends = Vec::new();
    for sequence in 1..=last {
        let client = store.client().await;
        let subject = format!("$JS.API.STREAM.MSG.GET.{BUCKET}");
        let reply = client.request(subject, json!({ "seq": sequence }).to_string().into()).await.unwrap();
        // Those that were replaced are not there any more.
        let Some(text) = serde_json::from_slice::<serde_json::Value>(&reply.payload).unwrap()["message"]["hdrs"]
            .as_str()
            .map(|text| base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).unwrap())
        else {
            continue;
        };
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("Nats-Expected-Last-Subject-Sequence"), "{text}");
        ends.push((text.contains("Nats-TTL: 86400s"), text.contains("KV-Operation: DEL")));
    }
    assert_eq!(ends.iter().filter(|end| **end == (true, true)).count(), 1);
    assert!(ends.iter().all(|end| matches!(end, (true, true) | (false, false))), "{ends:?}");
}

#[tokio::test]
async fn a_full_stream_refuses_new_locks_and_lets_old_ones_go() {
    let store = Nats::start().await;
    let broker = Broker::join(&store).await;
    let (old, new) = (resource("old"), resource("new"));
    let version = broker.put(&old, Version::ABSENT, vec![7; 500]).await;
    store.refuse().await;
    let outcome = broker.write(put(&new, Version::ABSENT, vec![7; 500])).await;
    // The server says that its store failed, not that nothing was stored.
    assert!(matches!(&outcome, WriteOutcome::Unknown(text) if text.contains("maximum bytes")), "{outcome:?}");
    broker.sees(&new, Version::ABSENT, None).await;
    // A release shortens the record, so it still works; so does whatever was known to be answered.
    committed(&broker.write(delete(&old, version)).await);
    store.accept().await;
    committed(&broker.write(put(&new, Version::ABSENT, "x")).await);
}
