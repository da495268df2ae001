//! Listings of a store that is large enough to be read in parts.

use std::collections::BTreeSet;

use sixpin_conformance::broker::{Broker, delete, put, resource};
use sixpin_conformance::contract::lists::list_all;
use sixpin_core::backend::{Family, Key, WriteOutcome};
use sixpin_core::name::{Lockspace, Version};

use crate::support::Nats;

#[tokio::test]
async fn a_large_store_is_listed_in_parts_and_nothing_is_missed() {
    let store = Nats::start().await;
    let broker = Broker::join(&store).await;
    let mut expected = BTreeSet::new();
    // More than one part has room for.
    for batch in 0..10 {
        let keys: Vec<Key> = (0..1_000).map(|number| resource(&format!("r{batch}/{number}"))).collect();
        let outcomes = broker.commit(keys.iter().map(|key| put(key, Version::ABSENT, "x")).collect()).await;
        for (key, outcome) in keys.into_iter().zip(outcomes) {
            let WriteOutcome::Committed(version) = outcome else { panic!("{outcome:?}") };
            expected.insert((key, version));
        }
    }
    let gone: Vec<(Key, Version)> = expected.iter().step_by(3).cloned().collect();
    for part in gone.chunks(1_000) {
        broker.commit(part.iter().map(|(key, version)| delete(key, *version)).collect()).await;
    }
    for entry in &gone {
        expected.remove(entry);
    }
    assert_eq!(list_all(&broker, &Family::AllResources, 1_000).await, expected);
    let family = Family::Resources { lockspace: Lockspace::default(), prefix: "r7/99".into() };
    let belongs = |key: &Key| matches!(key, Key::Resource(id) if id.name.as_str().starts_with("r7/99"));
    let some: BTreeSet<_> = expected.iter().filter(|(key, _)| belongs(key)).cloned().collect();
    assert!(!some.is_empty());
    assert_eq!(list_all(&broker, &family, 3).await, some);
    assert_eq!(list_all(&broker, &Family::Sessions, 10).await, BTreeSet::new());
}
