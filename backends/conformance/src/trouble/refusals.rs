//! A server that refuses to store anything, for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sixpin_core::backend::WriteOutcome;
use sixpin_core::name::Version;
use sixpin_testkit::until;

use crate::broker::{Broker, patience, put, resource};
use crate::fixture::{Fixture, Refusals};
use crate::workload::{self, Work};

fn server(fixture: &dyn Fixture) -> &dyn Refusals {
    fixture.refusals().expect("this group is only for fixtures that can do it")
}

/// A refused write is unavailable, or unknown where the server does not say that it stored nothing; and is not stored.
pub async fn a_refused_write_is_not_stored(fixture: &dyn Fixture) {
    let mut broker = Broker::join(fixture).await;
    let (key, new) = (resource("r"), resource("new"));
    let version = broker.put(&key, Version::ABSENT, "one").await;
    server(fixture).refuse().await;
    let mut settled = true;
    for write in [put(&key, version, vec![7; 1_000]), put(&new, Version::ABSENT, vec![7; 1_000])] {
        let outcome = broker.write(write).await;
        assert!(matches!(outcome, WriteOutcome::Unavailable(_) | WriteOutcome::Unknown(_)), "{outcome:?}");
        settled &= matches!(outcome, WriteOutcome::Unavailable(_));
    }
    server(fixture).accept().await;
    if !settled {
        broker.settle().await;
    }
    broker.sees(&key, version, Some(b"one")).await;
    broker.sees(&new, Version::ABSENT, None).await;
    workload::append(&mut broker, &resource("journal"), "0-0").await;
    workload::check_journal(&broker, &resource("journal"), &[1]).await;
}

/// Work goes on, without anything opened anew, as soon as the server accepts writes again; and nothing is lost.
pub async fn work_goes_on_when_writes_are_accepted_again(fixture: &dyn Fixture) {
    let keys = [resource("journal")];
    let observer = Broker::join(fixture).await;
    let mut brokers = Vec::new();
    for _ in 0..3 {
        brokers.push(Broker::join(fixture).await);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let load = workload::append_at_once(brokers, &keys, Work::until(&stop));
    let refusals = async {
        for round in 0..2 {
            workload::goes_on(&observer, &keys[0]).await;
            server(fixture).refuse().await;
            // Until a write is seen to be refused, so that the writers have met it as well.
            let mut probe = 0;
            let refused = until(patience(), || {
                probe += 1;
                let key = resource(&format!("probe {round} {probe}"));
                let write = put(&key, Version::ABSENT, vec![7; 1_000]);
                async { !matches!(observer.write(write).await, WriteOutcome::Committed(_)) }
            });
            assert!(refused.await, "the server refuses writes");
            server(fixture).accept().await;
        }
        workload::goes_on(&observer, &keys[0]).await;
        stop.store(true, Ordering::SeqCst);
    };
    let (done, ()) = tokio::join!(load, refusals);
    let counts: Vec<usize> = done.into_iter().map(|(_, count)| count).collect();
    workload::check_journal(&observer, &keys[0], &counts).await;
}
