//! Records that somebody deletes or damages past the brokers, on whatever store the run has.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sixpin_core::backend::{Backend, Beat, BrokerInfo, Change, Generation, Guard, Key, Lane, Write, WriteOutcome};
use sixpin_core::name::{Incarnation, Lockspace, ResourceId, ResourceName, Version};
use sixpin_core::standing::Standing;
use sixpin_proto::v1;
use tonic::Code;
use v1::session_request::Body as Ask;
use v1::session_response::Body;

use crate::support::store::Place;
use crate::support::{Broker, reason, resource, try_lock, until};

/// What is held is looked at often.
pub const OFTEN: &str = "broker_ttl = \"2s\"\nsession_ttl = \"4s\"\nsession_ttl_max = \"4s\"\n";

/// Somebody who writes into the store what no broker would. For the store it is a broker that comes and goes.
pub struct Hand {
    backend: Arc<dyn Backend>,
}

impl Hand {
    pub async fn at(place: &Place) -> Self {
        Self { backend: place.open().await }
    }

    /// Says at which version.
    async fn write(&self, name: &str, change: Change) -> Version {
        let broker = Incarnation(0x00ba_d000);
        let beat = Beat {
            broker,
            expected: Version::ABSENT,
            number: 0,
            broker_ttl: Duration::from_secs(2),
            round_trip: Duration::ZERO,
            standing: Standing::default(),
            info: BrokerInfo::default(),
        };
        self.backend.beat(beat).await.unwrap();
        let guard = Guard { broker, lane: Lane(0), generation: Generation(1) };
        let key = Key::Resource(ResourceId { lockspace: Lockspace::default(), name: ResourceName::new(name).unwrap() });
        let written = loop {
            let slot = self.backend.read(std::slice::from_ref(&key)).await.unwrap().remove(0);
            let write = Write { key: key.clone(), expected: slot.version, change: change.clone(), notify: false };
            match self.backend.commit(guard, vec![write]).await.remove(0) {
                WriteOutcome::Committed(version) => break version,
                WriteOutcome::Conflict(_) | WriteOutcome::ConflictUnread => {}
                other => panic!("{other:?}"),
            }
        };
        self.backend.leave(broker).await.unwrap();
        written
    }

    pub async fn delete(&self, name: &str) {
        self.write(name, Change::Delete).await;
    }

    pub async fn damage(&self, name: &str) -> Version {
        self.write(name, Change::Put(Bytes::from_static(b"somebody was here"))).await
    }
}

fn assert_first_claim_lost(event: &Body) {
    match event {
        Body::Lost(lost) => assert_eq!((lost.reason(), &lost.claims[..]), (v1::LostReason::Amnesia, &[1][..])),
        event => panic!("{event:?}"),
    }
}

#[tokio::test]
async fn the_holder_of_a_deleted_record_is_told_and_nobody_else() {
    let place = Place::new();
    let (first, second) = (Broker::on(&place, OFTEN).await, Broker::on(&place, OFTEN).await);
    let (mut holder, mut other) = (first.session().await, second.session().await);
    let held = holder.lock(try_lock(1, "r", v1::Mode::Ex)).await;
    other.lock(try_lock(1, "s", v1::Mode::Ex)).await;
    let hand = Hand::at(&place).await;
    hand.delete("r").await;
    assert_first_claim_lost(&holder.event().await);
    let next = other.lock(try_lock(2, "r", v1::Mode::Ex)).await;
    assert_eq!(next.status(), v1::Status::Granted);
    assert!(next.fence > held.fence, "fences rise");
    assert_eq!(other.unlock(1, 2).await.status(), v1::Status::Released);
    assert_eq!(holder.lock(try_lock(2, "t", v1::Mode::Ex)).await.status(), v1::Status::Granted);
}

#[tokio::test]
async fn a_damaged_record_is_shown_and_removed_and_its_holder_is_not_deceived() {
    let place = Place::new();
    let (first, second) = (Broker::on(&place, OFTEN).await, Broker::on(&place, OFTEN).await);
    let (mut holder, mut other) = (first.session().await, second.session().await);
    let held = holder.lock(try_lock(1, "r", v1::Mode::Ex)).await;
    holder.lock(try_lock(2, "sound", v1::Mode::Pr)).await;
    let hand = Hand::at(&place).await;
    let version = hand.damage("r").await;
    // It is listed with the others, and shown.
    let listed = second.inspect().await.list_resources(v1::ListResourcesRequest::default()).await.unwrap().into_inner();
    let mut listed: Vec<(String, bool)> = listed
        .resources
        .into_iter()
        .map(|summary| (summary.resource.unwrap().name, !summary.damage.is_empty()))
        .collect();
    listed.sort();
    assert_eq!(listed, [("r".to_owned(), true), ("sound".to_owned(), false)]);
    let state = first.state("r").await;
    assert_eq!((state.version, state.claims.len()), (version.0, 0));
    assert!(!state.damage.is_empty());
    assert_eq!(other.refused(Ask::Lock(try_lock(1, "r", v1::Mode::Nl))).await, v1::Reason::Damaged);
    // Only what was seen is removed.
    let remove = |version, now| v1::RemoveDamagedRequest { resource: Some(resource("r")), version, now };
    let status = second.admin().await.remove_damaged(remove(version.0 - 1, false)).await.unwrap_err();
    assert_eq!(reason(&status), (Code::DataLoss, v1::Reason::Damaged));
    let removed = second.admin().await.remove_damaged(remove(version.0, false)).await.unwrap().into_inner();
    assert!(removed.free_in_ms > 4_000, "{removed:?}");
    assert_first_claim_lost(&holder.event().await);
    assert_eq!(other.lock(try_lock(2, "r", v1::Mode::Ex)).await.status(), v1::Status::WouldWait);
    let state = second.state("r").await;
    assert_eq!((state.damage.as_str(), state.claims[0].label.as_str()), ("", "damaged record removed"));
    let status = second.admin().await.remove_damaged(remove(version.0, true)).await.unwrap_err();
    assert_eq!(reason(&status), (Code::NotFound, v1::Reason::NotFound));
    // When nobody can believe in the lock any more it is free.
    let mut later = second.session().await;
    let mut claim = 1;
    until("a grant", async || {
        claim += 1;
        let done = later.lock(try_lock(claim, "r", v1::Mode::Ex)).await;
        done.status() == v1::Status::Granted && done.fence > held.fence
    })
    .await;
    assert_eq!(later.unlock(claim, 2).await.status(), v1::Status::Released);
}
