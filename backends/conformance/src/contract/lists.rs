//! Pages of keys.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sixpin_core::backend::{Family, Key, StoreError};
use sixpin_core::name::{Lockspace, Version};
use sixpin_testkit::until;
use tokio::time::sleep;

use crate::broker::{Broker, patience, resource, resource_in, session};
use crate::fixture::Fixture;

/// Goes through all pages. Each key comes once, each page keeps the limit, and the pages end.
pub async fn list_all(broker: &Broker, family: &Family, limit: usize) -> BTreeSet<(Key, Version)> {
    let mut keys = BTreeSet::new();
    let mut listed = BTreeSet::new();
    let mut after: Option<String> = None;
    for _ in 0..100_000 {
        let page = broker.backend.list(family, after.as_deref(), limit).await;
        let page = match page {
            Ok(page) => page,
            Err(StoreError::Unavailable(_) | StoreError::Unknown(_)) => {
                sleep(Duration::from_millis(10)).await;
                continue;
            }
            Err(error) => panic!("a list of {family:?}: {error}"),
        };
        assert!(page.keys.len() <= limit, "a page has at most {limit} keys");
        for (key, version) in page.keys {
            assert!(keys.insert(key.clone()), "{key:?} was listed twice");
            listed.insert((key, version));
        }
        let Some(next) = page.next else { return listed };
        assert_ne!(after.as_ref(), Some(&next), "a list goes on");
        after = Some(next);
    }
    panic!("a list of {family:?} does not end");
}

/// A list is a hint; sooner or later it is this.
async fn lists(broker: &Broker, family: &Family, limit: usize, expected: &BTreeSet<(Key, Version)>) {
    let listed = until(patience(), || async { list_all(broker, family, limit).await == *expected }).await;
    assert!(listed, "{family:?} by {limit}: {:?} should be {expected:?}", list_all(broker, family, limit).await);
}

fn in_lockspace(name: &str, prefix: &str) -> Family {
    Family::Resources { lockspace: Lockspace::new(name).expect("a valid lockspace"), prefix: prefix.into() }
}

/// Nothing lists as nothing.
pub async fn an_empty_store_lists_nothing(fixture: &dyn Fixture) {
    let broker = Broker::join(fixture).await;
    for family in [Family::AllResources, Family::Sessions, in_lockspace("default", ""), in_lockspace("x", "y")] {
        lists(&broker, &family, 10, &BTreeSet::new()).await;
    }
}

/// Whatever the size of the pages, each key comes exactly once.
pub async fn pages_of_every_size_cover_everything_once(fixture: &dyn Fixture) {
    let broker = Broker::join(fixture).await;
    let mut expected = BTreeSet::new();
    for number in 0..24 {
        let key = resource(&format!("r{number}"));
        expected.insert((key.clone(), broker.put(&key, Version::ABSENT, "x").await));
    }
    for limit in [1, 5, 8, 24, 25, 1_000] {
        lists(&broker, &Family::AllResources, limit, &expected).await;
        lists(&broker, &in_lockspace("default", ""), limit, &expected).await;
    }
}

/// A prefix is compared byte by byte, in one lockspace, and is not a pattern.
pub async fn a_list_can_be_limited_to_a_prefix(fixture: &dyn Fixture) {
    let broker = Broker::join(fixture).await;
    let mut all = BTreeSet::new();
    let names = [
        "a",
        "a.",
        "a.b",
        "a.b.c",
        "a.c",
        "a/b",
        "ab",
        "A",
        "A.b",
        "b",
        "*",
        "*a",
        "a*",
        "á",
        "日本",
        "日本語",
        "{a}",
        ">",
        "%",
        "a b",
        "a ",
        "é",
        "\u{10ffff}",
        "\u{10ffff}a",
    ];
    for name in names {
        for lockspace in ["default", "other"] {
            let key = resource_in(lockspace, name);
            all.insert((key.clone(), broker.put(&key, Version::ABSENT, "x").await));
        }
    }
    let prefixes =
        ["", "a", "a.", "a.b", "a ", "A", "á", "日", "日本語", "*", ">", "{", "%", "b", "nothing", "\u{10ffff}", "e"];
    for prefix in prefixes {
        let belongs = |key: &Key| {
            matches!(key, Key::Resource(id)
                if id.lockspace.as_str() == "default" && id.name.as_str().starts_with(prefix))
        };
        let expected = all.iter().filter(|(key, _)| belongs(key)).cloned().collect();
        for limit in [2, 100] {
            lists(&broker, &in_lockspace("default", prefix), limit, &expected).await;
        }
    }
}

/// Lockspaces whose names begin alike, sessions and resources: each list has its own only.
pub async fn lists_do_not_mix(fixture: &dyn Fixture) {
    let broker = Broker::join(fixture).await;
    let (mut resources, mut sessions) = (BTreeSet::new(), BTreeSet::new());
    for lockspace in ["a", "a.", "a.b", "a-", "aa"] {
        let key = resource_in(lockspace, "r");
        resources.insert((key.clone(), broker.put(&key, Version::ABSENT, "x").await));
    }
    for serial in 0..5 {
        let key = session(7, serial, 10_000);
        sessions.insert((key.clone(), broker.put(&key, Version::ABSENT, "x").await));
    }
    lists(&broker, &Family::AllResources, 2, &resources).await;
    lists(&broker, &Family::Sessions, 2, &sessions).await;
    let expected = resources.iter().filter(|(key, _)| *key == resource_in("a", "r")).cloned().collect();
    lists(&broker, &in_lockspace("a", ""), 2, &expected).await;
}

/// Where a list goes on comes from whoever asks: what no page can have named is told from a store that is away.
pub async fn a_list_goes_on_only_from_where_a_page_ended(fixture: &dyn Fixture) {
    let broker = Broker::join(fixture).await;
    broker.put(&resource("r"), Version::ABSENT, "x").await;
    for after in ["", "nowhere", "~", "DEFAULT r"] {
        for family in [Family::AllResources, Family::Sessions, in_lockspace("default", "")] {
            let answer = loop {
                match broker.backend.list(&family, Some(after), 10).await {
                    Err(StoreError::Unavailable(_) | StoreError::Unknown(_)) => sleep(Duration::from_millis(10)).await,
                    answer => break answer,
                }
            };
            assert_eq!(answer, Err(StoreError::NoSuchPlace), "a list of {family:?} after {after:?}");
        }
    }
}

/// What was deleted is not listed, and what was changed is listed at its new version.
pub async fn a_list_follows_the_records(fixture: &dyn Fixture) {
    let broker = Broker::join(fixture).await;
    let mut expected = BTreeSet::new();
    for number in 0..12 {
        let key = resource(&format!("r{number}"));
        let version = broker.put(&key, Version::ABSENT, "x").await;
        match number % 3 {
            0 => drop(broker.delete(&key, version).await),
            1 => drop(expected.insert((key.clone(), broker.put(&key, version, "y").await))),
            _ => drop(expected.insert((key, version))),
        }
    }
    lists(&broker, &Family::AllResources, 5, &expected).await;
}

/// Keys that stand all the time are in every listing, once, while others come and go.
pub async fn a_list_misses_nothing_while_others_write(fixture: &dyn Fixture) {
    let (broker, writer) = (Broker::join(fixture).await, Broker::join(fixture).await);
    let mut standing = BTreeSet::new();
    for number in 0..30 {
        let key = resource(&format!("standing {number}"));
        standing.insert((key.clone(), broker.put(&key, Version::ABSENT, "x").await));
    }
    lists(&broker, &Family::AllResources, 1_000, &standing).await;
    let done = AtomicBool::new(false);
    let listing = async {
        for _ in 0..5 {
            let listed = list_all(&broker, &Family::AllResources, 4).await;
            assert!(standing.is_subset(&listed), "a listing missed {:?}", standing.difference(&listed));
        }
        done.store(true, Ordering::SeqCst);
    };
    let writing = async {
        let mut expected = [Version::ABSENT; 10];
        while !done.load(Ordering::SeqCst) {
            for (number, expected) in expected.iter_mut().enumerate() {
                let key = resource(&format!("standing {number} not"));
                let version = writer.put(&key, *expected, "x").await;
                *expected = writer.delete(&key, version).await;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(listing, writing);
}
