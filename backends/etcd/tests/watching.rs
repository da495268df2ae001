//! Hints when the watch breaks.

use std::time::Duration;

use sixpin_conformance::broker::{Broker, patience, resource};
use sixpin_core::backend::{Backend, Key};
use sixpin_core::name::Version;
use sixpin_etcd::Settings;
use sixpin_testkit::proxy::Mode;
use sixpin_testkit::{Proxy, ServerProcess};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::{admin, fresh_prefix, opened, patient_settings, revision, server};

struct Scene {
    server: ServerProcess,
    proxy: Proxy,
    // Its connections go through the proxy; the writer's do not.
    watcher: Broker,
    writer: Broker,
}

async fn scene() -> Scene {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await.unwrap();
    let settings = Settings { prefix: fresh_prefix(), ..patient_settings() };
    let watcher = Broker::with(opened(proxy.address(), &settings).await);
    let mut writer = Broker::with(opened(server.address(), &settings).await);
    writer.registration = writer.backend.beat(writer.next_beat()).await.expect("a fresh broker can register");
    Scene { server, proxy, watcher, writer }
}

/// Waits for a change in a task of its own.
fn wait(backend: &std::sync::Arc<dyn Backend>, key: &Key, seen: Version) -> JoinHandle<()> {
    let (backend, key) = (backend.clone(), key.clone());
    tokio::spawn(async move { backend.changed(key, seen).await })
}

async fn ends(wait: JoinHandle<()>) {
    timeout(patience(), wait).await.expect("a hint comes").expect("nothing panics");
}

/// What changed while the watch was cut off is heard when it is back: it goes on where it was. Nobody else is woken.
#[tokio::test]
async fn a_change_during_a_disconnect_is_hinted_afterwards() {
    let scene = scene().await;
    let Scene { proxy, watcher, writer, .. } = &scene;
    let (key, quiet) = (resource("r"), resource("quiet"));
    for round in 0..3 {
        let seen = writer.read(&key).await.version;
        let (woken, asleep) = (wait(&watcher.backend, &key, seen), wait(&watcher.backend, &quiet, Version::ABSENT));
        proxy.set(Mode::Cut);
        writer.put(&key, seen, format!("{round}")).await;
        // Still cut: nothing can have been heard.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!woken.is_finished());
        proxy.set(Mode::Pass);
        ends(woken).await;
        assert!(!asleep.is_finished(), "nothing was in doubt");
        asleep.abort();
    }
}

/// If the history from where the watch was is gone, everybody is woken; and the watch works again.
#[tokio::test]
async fn a_compaction_during_a_disconnect_wakes_everybody() {
    let scene = scene().await;
    let Scene { server, proxy, watcher, writer } = &scene;
    let (key, quiet) = (resource("r"), resource("quiet"));
    let mut version = writer.put(&key, Version::ABSENT, "0").await;
    let (woken, doubtful) = (wait(&watcher.backend, &key, version), wait(&watcher.backend, &quiet, Version::ABSENT));
    proxy.set(Mode::Cut);
    for number in 1..20 {
        version = writer.put(&key, version, format!("{number}")).await;
    }
    let body = format!(r#"{{"revision":"{}","physical":true}}"#, revision(server.address()).await);
    admin(server.address(), "kv/compaction", None, &body).await;
    assert!(!woken.is_finished() && !doubtful.is_finished());
    proxy.set(Mode::Pass);
    ends(woken).await;
    ends(doubtful).await;

    let again = wait(&watcher.backend, &key, version);
    writer.put(&key, version, "again").await;
    ends(again).await;
}

/// A compaction under a watch that is connected disturbs nobody.
#[tokio::test]
async fn a_compaction_under_a_watch_is_not_noticed() {
    let scene = scene().await;
    let Scene { server, watcher, writer, .. } = &scene;
    let (key, quiet) = (resource("r"), resource("quiet"));
    let asleep = wait(&watcher.backend, &quiet, Version::ABSENT);
    let mut version = Version::ABSENT;
    for round in 0..5 {
        version = writer.put(&key, version, format!("{round}")).await;
        let body = format!(r#"{{"revision":"{}"}}"#, revision(server.address()).await);
        admin(server.address(), "kv/compaction", None, &body).await;
        let woken = wait(&watcher.backend, &key, version);
        version = writer.put(&key, version, "changed").await;
        ends(woken).await;
    }
    assert!(!asleep.is_finished());
}

/// A change that comes between a read and the wait for the next change is not lost.
#[tokio::test]
async fn a_change_before_the_wait_is_hinted() {
    let scene = scene().await;
    let Scene { watcher, writer, .. } = &scene;
    let key = resource("r");
    let first = writer.put(&key, Version::ABSENT, "0").await;
    let second = writer.put(&key, first, "1").await;
    // The watch has heard of both when a wait for the second one, begun with the first, ends at once.
    ends(wait(&watcher.backend, &key, first)).await;
    timeout(patience(), watcher.backend.changed(key.clone(), first)).await.expect("heard before");
    let asleep = timeout(Duration::from_millis(300), watcher.backend.changed(key, second)).await;
    assert!(asleep.is_err(), "the caller has seen the last change");
}
